//! Reads of a person as of a past moment.

use super::codec;
use super::lives::Spans as _;
use super::rows::Rows;
use super::snapshot::{Moment, Person, Snapshot};
use super::staged::{Committed, Ordered};
use super::walk::Walk;
use super::{Family, Operation, Result, corrupt, decode, keys};
use crate::person::{Head, IDENTIFIED, Life, Mode, PersonId, Place, ProjectId, Time, history};

impl Snapshot<'_> {
    /// Returns whether a life had begun at a moment. The first owner of a distinct id also owns it at all
    /// earlier times, so an id may resolve to a life that only began later, by a split. What the person was
    /// before that split does not belong to this life.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn had_begun(&self, project: ProjectId, life: Life, at: Moment) -> Result<bool> {
        if life.number == 0 {
            return Ok(true);
        }
        let until = Place::end_of(at.time);
        let began = self.span(project, life)?.lives_on;
        Ok(began.is_none_or(|(place, learned)| place <= until && learned <= at.known))
    }

    /// Returns a person as it was at a moment. The cost depends on the number of properties the person ever
    /// had, not on the age of the moment or the length of the timeline.
    ///
    /// # Errors
    /// If the store fails or is damaged.
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
        // `created_at` is the time of the person's own first event, so it is the same at all times.
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

    /// Returns the newest event time among the operations up to a moment, floored to the hour.
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
                // Only the event time of a merge can be before its place. Operations before that place, on
                // this timeline and on the source's, may then have a newer event time.
                let source = operation.merged.filter(|_| operation.event_time < place.time);
                timelines.extend(source.map(|source| (source, place.time)));
                Ok(seen < Some(place.time))
            })?;
        }
        Ok(seen.map(Time::floor_to_hour))
    }

    /// Calls `each` with the operations up to a moment, newest first, until it returns `false`.
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
    /// until it returns `false`.
    pub(super) fn each_operation_until(
        &self,
        project: ProjectId,
        person: PersonId,
        until: Place,
        known: Time,
        mut each: impl FnMut(Place, Operation) -> Result<bool>,
    ) -> Result<()> {
        // A walk checks only after many rows whether the read has ended. A read of many short timelines would
        // never get that far.
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
