//! Merges of two persons.

use super::{Entry, Merge, Oracle, Recorded, Step};
use crate::person::event::Event;
use crate::person::history::Mode;
use crate::person::identity::{MAX_COPIED, MAX_COPIED_BYTES};
use crate::person::{Place, Position, Time};

impl Oracle {
    /// Merges the source into the target and returns when the merge takes effect.
    pub(super) fn merge(
        &mut self,
        event: &Event,
        position: Position,
        source: usize,
        target: usize,
    ) -> Time {
        let joined = self.owners[&event.distinct_id].entries.iter().skip(1).last();
        let joined = joined.map(|entry| entry.from);
        let changed = self.persons[source].ownership_changed;
        let lives_on = self.persons[target].lives.last().unwrap().lives_on;
        let lives_on = lives_on.map(|(place, _)| place.time);
        let bounds = [joined, changed, lives_on].into_iter().flatten().map(|time| time.plus(1));
        let e = bounds.fold(event.event_time, std::cmp::max);
        let e = self.few_after(e, source);
        let (place, known) = (Place { time: e, position }, event.known_time);
        let (life, into) = (self.newest_life(source), self.newest_life(target));
        let old = &self.persons[source];
        let (rows, operations) = (old.rows.clone(), old.operations.clone());
        let (seen, newest) = (old.seen, old.newest);
        let later = operations.into_iter().filter(|operation| operation.place.time > e);
        self.persons[target].operations.extend(later);
        let stubs = self.stubs.iter().filter(|(of, time, _)| *of == source && *time > e);
        let stubs: Vec<_> = stubs.map(|(_, time, uuid)| (target, *time, *uuid)).collect();
        self.stubs.extend(stubs);
        for id in self.ids_now(source) {
            self.give(&id, Entry { from: e, known, life: into });
        }
        let person = &mut self.persons[target];
        person.ownership_changed = person.ownership_changed.max(Some(e));
        (person.seen, person.newest) = (person.seen.max(seen), person.newest.max(newest));
        person.sources.push(Merge { life, place, known });
        let merged = Some(Merge { life: into, place, known });
        self.persons[source].lives.last_mut().unwrap().merged = merged;
        for (key, mut rows) in rows {
            rows.retain(|row| row.place.time > e);
            self.copy(target, &key, rows);
        }
        e
    }

    /// Returns the earliest time from `e` on after which the source has no more operations than a merge may
    /// copy.
    fn few_after(&self, e: Time, source: usize) -> Time {
        let places = self.persons[source].operations.iter().map(|operation| operation.place);
        let mut after: Vec<_> = places.filter(|place| place.time > e).collect();
        after.sort_unstable();
        let mut bytes = 0;
        let too_much = after.iter().rev().enumerate().find(|(newer, place)| {
            bytes += self.value_bytes(source, **place);
            *newer >= MAX_COPIED || bytes > MAX_COPIED_BYTES
        });
        too_much.map_or(e, |(_, place)| place.time)
    }

    fn value_bytes(&self, person: usize, place: Place) -> usize {
        let rows = self.persons[person].rows.values().flatten();
        let own = rows.filter(|row| row.place == place).filter_map(|row| match &row.step {
            Step::Own(row) => row.value(),
            _ => None,
        });
        own.map(|value| value.as_json().len()).sum()
    }

    /// Copies rows of another person to the target.
    fn copy(&mut self, target: usize, key: &str, mut rows: Vec<Recorded>) {
        rows.sort_by_key(|row| row.place);
        for Recorded { place, known, step } in rows {
            let step = match step {
                Step::Own(row) => {
                    let life = self.life_at(target, place, Time::MAX);
                    let before = |mode| self.value(life, key, place, Time::MAX, mode);
                    Step::Own(self.decided(target, key, place, (row, Mode::ALL.map(before))))
                }
                step => step,
            };
            let row = Recorded { place, known, step };
            self.persons[target].rows.entry(key.to_owned()).or_default().push(row);
        }
    }

    /// Adds an owner to a distinct id.
    pub(super) fn give(&mut self, id: &str, entry: Entry) {
        let owners = self.owners.get_mut(id).unwrap();
        self.persons[entry.life.0].joined.push((id.to_owned(), owners.entries.len()));
        owners.entries.push(entry);
    }
}
