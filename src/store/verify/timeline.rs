//! Checks that every operation has its rows in the history, that every row has its operation, and that
//! all operations are recorded.

use std::collections::BTreeSet;

use super::history::row_text;
use super::persons::{Beside, Person, recorded_time};
use super::{Cursor, Law, Standing, Verifying, time_text};
use crate::person::{Life, Lives as _, PersonRow, Place, PropertyId, Row, Stored, Time, identity};
use crate::store::{
    Effect, Error, Family, LifeSpan, Operation, Result, codec, corrupt, decode, keys,
};

/// The totals of a timeline.
#[derive(Default)]
struct Sum {
    operations: u64,
    newest: Option<Time>,
    /// By how much an operation's place is later than when it was learned, in microseconds.
    ahead: i64,
    seen: Option<Time>,
}

impl Verifying<'_> {
    pub(super) fn timeline(&mut self, person: &Person, beside: &mut Beside) -> Result<()> {
        let Person { who, head, .. } = *person;
        let prefix = keys::person(who.project, who.person);
        let mut sum = Sum::default();
        while let Some((key, value)) = beside.timeline.within(&prefix) {
            let place = keys::place_of(key).ok_or(corrupt(Family::Timeline))?;
            let operation =
                decode(|bytes| codec::decode_operation(place, bytes), value, Family::Timeline);
            match operation {
                Ok(operation) => {
                    sum.operations += 1;
                    sum.newest = sum.newest.max(Some(place.time));
                    sum.ahead = sum.ahead.max(place.time.0.saturating_sub(operation.known.0));
                    if !place.position.is_command() {
                        sum.seen = sum.seen.max(Some(operation.event_time));
                    }
                    self.operation(person, place, &operation)?;
                }
                Err(error) => self.differs(Law::Timeline, who, error.to_string()),
            }
            self.tick();
            beside.timeline.next()?;
        }
        let recorded = self.recorded(person, &mut beside.recorded)?;
        if head.newest < sum.newest.max(recorded) {
            let (found, due) = (time_text(head.newest), time_text(sum.newest.max(recorded)));
            let text = format!("found its newest time {found}, expected {due} or later");
            self.differs(Law::Heads, who, text);
        }
        if head.ahead < sum.ahead {
            let (found, due) = (head.ahead, sum.ahead);
            let text =
                format!("found that its clocks are {found} µs ahead, expected at least {due}");
            self.differs(Law::Heads, who, text);
        }
        if head.version < sum.operations {
            self.version(person, sum.operations)?;
        }
        self.seen(person, sum.seen);
        Ok(())
    }

    fn operation(&mut self, person: &Person, place: Place, operation: &Operation) -> Result<()> {
        let who = person.who;
        self.report.count(Law::Timeline, "operations");
        self.place(who, place);
        for &(property, effect) in &operation.effects {
            self.report.count(Law::Timeline, "effects");
            let key = keys::class(who.project, who.person, property, effect.class());
            let value = self.snapshot.get(Family::History, &keys::at(key, place))?;
            // A row that cannot be decoded is reported by the walk over the history.
            let row = value.and_then(|value| codec::decode_row(place, &value).ok());
            let found = row.map(|row| (effects_of(&row.row), row.known));
            let is_it = |(effects, known): (&[Effect], _)| {
                effects.contains(&effect) && known == operation.known
            };
            if !found.is_some_and(is_it) {
                let name = self.name_of(person, property);
                let text = format!(
                    "{:?} at {place:?}, property {name}: found {found:?} in the history, expected \
                     {effect:?} known {}",
                    operation.event, operation.known
                );
                self.differs(Law::Timeline, who, text);
            }
        }
        let is_recorded = |uuid| {
            let key = keys::recorded(who.project, who.person, operation.event_time, uuid);
            Ok::<_, Error>(self.snapshot.get(Family::Recorded, &key)?.is_some())
        };
        // A merge whose properties were refused is recorded under another uuid, so that a repetition of the
        // event can still bring them.
        let may_be_refused = operation.merged.is_some() && operation.effects.is_empty();
        let is_noted = is_recorded(operation.uuid)?
            || (may_be_refused && is_recorded(identity::identity_only_uuid(operation.uuid))?);
        if !is_noted {
            let (event, uuid) = (&operation.event, operation.uuid);
            let text = format!("{event:?} {uuid} at {} is not in `recorded`", place.time);
            self.differs(Law::Timeline, who, text);
        }
        let began = |(_, span): &(Life, LifeSpan)| {
            span.lives_on.is_some_and(|(began, _)| began.time.plus(1) == place.time)
        };
        let moved = operation.merged.is_some() || person.lives.iter().any(began);
        let late = operation.event_time < place.time && moved;
        if operation.event_time != place.time && !late {
            let text = format!(
                "{:?} of {} stands at {}, expected its own time",
                operation.event, operation.event_time, place.time
            );
            self.differs(Law::Timeline, who, text);
        }
        if let Some(source) = operation.merged
            && !self.was_merged(person, source, place)?
        {
            let text = format!("found a merge of person {source} at {place:?}, whom no life knows");
            self.differs(Law::Timeline, who, text);
        }
        Ok(())
    }

    fn was_merged(&self, person: &Person, source: u64, place: Place) -> Result<bool> {
        let project = person.who.project;
        let number = match self.snapshot.person_row(project, source)? {
            Some(PersonRow::Head(head)) => head.life,
            Some(PersonRow::Tombstone(tombstone)) => tombstone.life,
            None => return Ok(false),
        };
        for number in 0..=number {
            let merged = self.span(project, Life { person: source, number })?.merged;
            if merged.is_some_and(|it| (it.into.person, it.place) == (person.who.person, place)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Checks that a row of the history that is not a merge's has an operation with its effect.
    pub(super) fn operation_of(
        &mut self,
        person: &Person,
        property: PropertyId,
        row: &Stored,
    ) -> Result<()> {
        let who = person.who;
        let key = keys::at(keys::person(who.project, who.person), row.place);
        let value = self.snapshot.get(Family::Timeline, &key)?;
        // An operation that cannot be decoded is reported by the walk over the timeline.
        let operation = value.and_then(|value| codec::decode_operation(row.place, &value).ok());
        let effects = effects_of(&row.row).iter().map(|effect| (property, *effect));
        let told = operation.is_some_and(|operation| {
            effects.into_iter().any(|effect| operation.effects.contains(&effect))
        });
        if !told {
            let (name, row) = (self.name_of(person, property), row_text(row));
            let text = format!("property {name}: found a {row} that no operation tells of");
            self.differs(Law::Timeline, who, text);
        }
        Ok(())
    }

    /// Returns the newest event time among the recorded events of a person.
    fn recorded(&mut self, person: &Person, cursor: &mut Cursor) -> Result<Option<Time>> {
        let prefix = keys::person(person.who.project, person.who.person);
        let mut newest = None;
        while let Some((key, _)) = cursor.within(&prefix) {
            newest = newest.max(Some(recorded_time(key)?));
            self.report.count(Law::Timeline, "recorded events");
            self.tick();
            cursor.next()?;
        }
        Ok(newest)
    }

    /// Checks the version, which counts the operations that were recorded on the person itself. Those that a
    /// merge copied to it were counted on its source.
    fn version(&mut self, person: &Person, operations: u64) -> Result<()> {
        let Person { who, head, .. } = *person;
        let mut sources = self.cursor(Family::Life)?;
        let prefix = keys::sources(who.project, who.person);
        sources.seek(&prefix)?;
        let mut merged = Vec::new();
        while let Some((key, _)) = sources.within(&prefix) {
            let source = keys::source_of(key).ok_or(corrupt(Family::Life))?;
            if self.standing(who.project, source)? != Standing::There {
                // The operations copied from a deleted source cannot be distinguished from the person's own.
                return Ok(());
            }
            merged.push(source);
            sources.next()?;
        }
        let mut copies = BTreeSet::new();
        let mut timeline = self.cursor(Family::Timeline)?;
        for source in merged {
            // Operations up to the merge were not copied.
            let Some(merged) = self.lives_of(who.project).merged(source)? else { continue };
            let prefix = keys::person(who.project, source.person);
            timeline.seek(&keys::at(prefix.clone(), Place::end_of(merged.place.time)))?;
            while let Some((key, _)) = timeline.within(&prefix) {
                let place = keys::place_of(key).ok_or(corrupt(Family::Timeline))?;
                let copy = keys::at(keys::person(who.project, who.person), place);
                if self.snapshot.get(Family::Timeline, &copy)?.is_some() {
                    copies.insert(place);
                }
                self.tick();
                timeline.next()?;
            }
        }
        let own = operations.saturating_sub(copies.len() as u64);
        if head.version < own {
            let text =
                format!("found version {}, expected at least {own} operations", head.version);
            self.differs(Law::Heads, who, text);
        }
        Ok(())
    }
}

/// Returns the effects that match a row: its operation must have one of them.
fn effects_of(row: &Row) -> &'static [Effect] {
    match row {
        Row::Set(_) => &[Effect::Set],
        Row::Unset => &[Effect::Unset],
        Row::SetUnset(_) => &[Effect::SetUnset],
        Row::OnceUnset(_) => &[Effect::OnceUnset],
        Row::Decided(_) => &[Effect::SetUnset, Effect::OnceUnset],
        Row::Once(_) => &[Effect::Once],
        Row::Merge { .. } => &[],
    }
}
