//! A person at a moment of the past.

use super::codec;
use super::lives::Spans as _;
use super::rows::Rows;
use super::snapshot::{Moment, Person, Snapshot};
use super::staged::{Committed, Ordered};
use super::walk::Walk;
use super::{Family, Operation, Result, corrupt, decode, keys};
use crate::person::{Head, IDENTIFIED, Life, Mode, PersonId, Place, ProjectId, Time, history};

impl Snapshot<'_> {
    /// Whether a life had begun at a moment. A distinct id has its first owner for all time before, and
    /// so may lead to a life that began later by a split: what the person was before is none of its.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn had_begun(&self, project: ProjectId, life: Life, at: Moment) -> Result<bool> {
        if life.number == 0 {
            return Ok(true);
        }
        let until = Place::end_of(at.time);
        let began = self.span(project, life)?.lives_on;
        Ok(began.is_none_or(|(place, learned)| place <= until && learned <= at.known))
    }

    /// A person as it was at a moment, whose cost follows the number of properties it ever had,
    /// not the age of the read or the length of the timeline.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn as_of(
        &self,
        project: ProjectId,
        (id, head): (PersonId, &Head),
        at: Moment,
        mode: Mode,
    ) -> Result<Person> {
        let history = Committed::new(Walk::new(self, Family::History));
        let lives = self.lives(project);
        let ordered = Ordered::new(&history);
        let rows = Rows::of_changed(lives, ordered, head.version);
        let life = self.life_at(project, (id, head), at)?;
        let after = lives.lives_on(life)?;
        let known_until = head.known_until(at.time, at.known);
        let until = Place::end_of(known_until);
        let query =
            |property| history::Query { person: id, property, after, until, known: at.known };
        let all_known = at.known == Time::MAX;
        let in_head = all_known && life.number == head.life;
        let mut values = Vec::new();
        for (&property, entry) in &head.entries {
            let value = if in_head && entry.newest <= Some(at.time) {
                entry.state.get(mode).cloned()
            } else {
                history::value(&rows, query(property), mode)?
            };
            values.extend(value.map(|value| (property, value)));
        }
        // Nobody merged into it began earlier: the head has it.
        let created_at = if all_known && head.created_at == head.began.time {
            Some(head.created_at).filter(|began| *began <= known_until)
        } else {
            history::created(&rows, id, known_until, at.known)?
        };
        let is_identified = if all_known {
            head.identified.is_some_and(|identified| identified.time <= known_until)
        } else {
            let identified = history::Query { after: None, ..query(IDENTIFIED) };
            history::value(&rows, identified, Mode::WithOnce)?.is_some()
        };
        Ok(Person {
            id,
            uuid: head.uuid,
            distinct_ids: self.distinct_ids(project, (id, head), at, usize::MAX)?,
            properties: self.named(project, values)?,
            created_at,
            last_seen_at: self.last_seen_as_of(project, id, Moment { time: known_until, ..at })?,
            is_identified,
            version: head.version,
        })
    }

    /// The newest event time among the operations up to a moment, floored to the hour.
    fn last_seen_as_of(
        &self,
        project: ProjectId,
        person: PersonId,
        at: Moment,
    ) -> Result<Option<Time>> {
        let mut seen: Option<Time> = None;
        let mut timelines = vec![(person, at.time)];
        while let Some((person, time)) = timelines.pop() {
            self.each_operation(project, person, Moment { time, ..at }, |place, operation| {
                if place.position.is_command() {
                    return Ok(true);
                }
                seen = seen.max(Some(operation.event_time));
                // Only a merge happened before the place where it stands: what came before it, here
                // and on its source, may be newer.
                let source = operation.merged.filter(|_| operation.event_time < place.time);
                timelines.extend(source.map(|source| (source, place.time)));
                Ok(seen < Some(place.time))
            })?;
        }
        Ok(seen.map(Time::floor_to_hour))
    }

    /// Calls `each` with the operations up to a moment, newest first, until it answers `false`.
    pub(super) fn each_operation(
        &self,
        project: ProjectId,
        person: PersonId,
        at: Moment,
        each: impl FnMut(Place, Operation) -> Result<bool>,
    ) -> Result<()> {
        self.each_operation_until(project, person, Place::end_of(at.time), at.known, each)
    }

    /// Calls `each` with the operations up to and including a place that were known at a time, newest first,
    /// until it answers `false`.
    pub(super) fn each_operation_until(
        &self,
        project: ProjectId,
        person: PersonId,
        until: Place,
        known: Time,
        mut each: impl FnMut(Place, Operation) -> Result<bool>,
    ) -> Result<()> {
        // A read of many short timelines makes no walk that is long enough to ask by itself.
        self.check_not_ended()?;
        let prefix = keys::person(project, person);
        let mut iterator = Walk::new(self, Family::Timeline);
        iterator.seek_for_prev(keys::at(prefix.clone(), until));
        while let Some((key, value)) = iterator.item().filter(|(key, _)| key.starts_with(&prefix)) {
            let place = keys::place_of(key).ok_or(corrupt(Family::Timeline))?;
            let operation =
                decode(|bytes| codec::decode_operation(place, bytes), value, Family::Timeline)?;
            if operation.known <= known && !each(place, operation)? {
                break;
            }
            iterator.prev();
        }
        iterator.status()?;
        Ok(())
    }
}
