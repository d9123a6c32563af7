//! Checks that a head is the fold over its history: all rows of each property, sorted and
//! applied one after the other.

use super::persons::Person;
use super::{Cursor, Law, Verifying, time_text};
use crate::person::{
    CREATED, Class, Entry, FIRST_PROPERTY, Fact, IDENTIFIED, Place, PropertyId, Row, State, Stored,
    Time, Value,
};
use crate::store::{Family, Result, codec, corrupt, keys};

/// What the rows under the reserved property numbers say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    pub began: Option<Fact>,
    pub identified: Option<Fact>,
    pub created_at: Option<Time>,
}

/// The longest value that is reported whole, in characters.
const TOLD: usize = 80;

impl Verifying<'_> {
    /// Checks every property of a person that has rows or an entry in the head. Returns the person's facts.
    pub(super) fn history(&mut self, person: &Person, cursor: &mut Cursor) -> Result<Facts> {
        let prefix = keys::person(person.who.project, person.who.person);
        let mut facts = Facts::default();
        let mut entries = person.head.entries.iter().peekable();
        while let Some((key, _)) = cursor.within(&prefix) {
            let found = keys::property_and_class_of(key).ok_or(corrupt(Family::History))?;
            let property = found.0;
            while let Some((&without, entry)) = entries.next_if(|(of, _)| **of < property) {
                self.property(person, without, Some(entry), &[])?;
            }
            let rows = self.rows_of(person, property, cursor)?;
            match property {
                CREATED | IDENTIFIED => self.fact(person, property, &rows, &mut facts)?,
                _ => {
                    let entry = entries.next_if(|(of, _)| **of == property);
                    self.property(person, property, entry.map(|(_, entry)| entry), &rows)?;
                }
            }
        }
        for (&without, entry) in entries {
            self.property(person, without, Some(entry), &[])?;
        }
        Ok(facts)
    }

    /// Returns the rows of one property in the order of the fold: at one place a merge comes
    /// before the event's own row.
    fn rows_of(
        &mut self,
        person: &Person,
        property: PropertyId,
        cursor: &mut Cursor,
    ) -> Result<Vec<Stored>> {
        let prefix = keys::property(person.who.project, person.who.person, property);
        let mut rows = Vec::new();
        while let Some((key, value)) = cursor.within(&prefix) {
            let class = keys::property_and_class_of(key).map(|(_, class)| class);
            let row = keys::place_of(key).map(|place| codec::decode_row(place, value));
            match (class, row) {
                (Some(class), Some(Ok(row))) if row.row.class() == class => rows.push(row),
                (class, Some(Ok(row))) => {
                    let name = self.name_of(person, property);
                    let text = format!("found a row of {name} under {class:?}: {}", row_text(&row));
                    self.differs(Law::Heads, person.who, text);
                }
                _ => self.differs(Law::Heads, person.who, corrupt(Family::History).to_string()),
            }
            self.tick();
            cursor.next()?;
        }
        rows.sort_by_key(|row| (row.place, !matches!(row.row, Row::Merge { .. })));
        self.report.add(Law::Heads, "rows", rows.len() as u64);
        for row in &rows {
            self.place(person.who, row.place);
        }
        Ok(rows)
    }

    fn property(
        &mut self,
        person: &Person,
        property: PropertyId,
        entry: Option<&Entry>,
        rows: &[Stored],
    ) -> Result<()> {
        self.report.count(Law::Heads, "properties");
        if property < FIRST_PROPERTY {
            let text = format!("found the reserved property number {property}, which has no use");
            self.differs(Law::Heads, person.who, text);
            return Ok(());
        }
        let after = person.lives.last().and_then(|(_, span)| span.lives_on);
        let due = Entry {
            newest: rows
                .iter()
                .filter(|row| row.row.class() != Class::MergeAbsent)
                .map(|row| row.place.time)
                .max(),
            state: fold(rows, after.map(|(place, _)| place)),
        };
        let is_written_like = |entry: &Entry| entry.state.is_written_like(&due.state);
        if entry != Some(&due) || !entry.is_some_and(is_written_like) {
            let name = self.name_of(person, property);
            let found = entry.map_or_else(|| "no entry".to_owned(), entry_text);
            let text = format!("property {name}: found {found}, expected {}", entry_text(&due));
            self.differs(Law::Heads, person.who, text);
        }
        for row in rows {
            match &row.row {
                Row::Merge { .. } => self.merged_value(person, property, row)?,
                _ => self.operation_of(person, property, row)?,
            }
        }
        self.brought(person, property, rows)
    }

    fn fact(
        &mut self,
        person: &Person,
        property: PropertyId,
        rows: &[Stored],
        facts: &mut Facts,
    ) -> Result<()> {
        let own = rows.iter().filter(|row| row.row.class() == Class::Once);
        let own = own.map(|row| Fact { time: row.place.time, known: row.known });
        let own = own.min_by_key(|fact| (fact.time, fact.known));
        if property == IDENTIFIED {
            facts.identified = own;
            return Ok(());
        }
        facts.began = own;
        facts.created_at = own.map(|fact| fact.time);
        for row in rows {
            if let Row::Merge { state, .. } = &row.row {
                let began = state.current.as_ref().and_then(|value| value.as_json().parse().ok());
                let earlier = began.map(Time).into_iter().chain(facts.created_at);
                facts.created_at = earlier.min();
                self.merged_beginning(person, row, began.map(Time))?;
            }
        }
        Ok(())
    }

    pub(super) fn name_of(&self, person: &Person, property: PropertyId) -> String {
        let name = self.snapshot.store.dictionary().property_name(person.who.project, property);
        name.map_or_else(|| format!("number {property}"), |name| format!("{name:?}"))
    }
}

/// Folds every row after a place, one after the other, which defines what a read returns.
fn fold(rows: &[Stored], after: Option<Place>) -> State {
    let counting = rows.iter().filter(|row| Some(row.place) > after);
    counting.fold(State::default(), |state, row| state.then(&row.row))
}

/// Describes a state for the report.
pub(super) fn state_text(state: &State) -> String {
    let text = |value: Option<&Value>| {
        let Some(value) = value else { return "absent".to_owned() };
        let text = value.as_json();
        match text.char_indices().nth(TOLD) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.to_owned(),
        }
    };
    let (current, set_only) = (text(state.current.as_ref()), text(state.set_only.as_ref()));
    if state.current == state.set_only {
        current
    } else {
        format!("{current} (without $set_once {set_only})")
    }
}

fn entry_text(entry: &Entry) -> String {
    format!("{} as of {}", state_text(&entry.state), time_text(entry.newest))
}

/// Describes a row for the report.
pub(super) fn row_text(stored: &Stored) -> String {
    let position = stored.place.position;
    let kind = match stored.row {
        Row::Set(_) => "$set",
        Row::Unset => "$unset",
        Row::SetUnset(_) => "$set and $unset",
        Row::OnceUnset(_) => "$set_once and $unset",
        Row::Decided(_) => "what $unset and another came to",
        Row::Once(_) => "$set_once",
        Row::Merge { .. } => "merge",
    };
    let (topic, partition, offset) = (position.topic, position.partition, position.offset);
    format!("{kind} at {} of {topic}:{partition}:{offset}", stored.place.time)
}
