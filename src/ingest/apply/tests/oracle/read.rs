//! The answers of reads, each computed from the beginning.

use std::collections::{BTreeMap, BTreeSet};

use super::{Answer, LifeOf, Oracle, Owners, Recorded, Step};
use crate::person::history::{Mode, Row, State};
use crate::person::{Place, Time, Value, identity};

impl Oracle {
    pub fn distinct_ids(&self) -> impl Iterator<Item = &String> {
        self.owners.keys().chain(self.dropped.keys().filter(|id| !self.owners.contains_key(*id)))
    }

    /// Returns every uuid that a person has or had.
    pub fn uuids(&self) -> BTreeSet<uuid::Uuid> {
        self.persons.iter().map(|person| person.uuid).collect()
    }

    pub fn live(&self) -> usize {
        let live = |person: &&super::Person| !person.deleted && person.merged().is_none();
        self.persons.iter().filter(live).count()
    }

    pub(super) fn newest_life(&self, person: usize) -> LifeOf {
        (person, self.persons[person].lives.len() - 1)
    }

    /// Returns the person that owns a distinct id by everything known.
    pub(super) fn now(&self, id: &str) -> Option<usize> {
        self.owners.get(id)?.entries.last().map(|entry| entry.life.0)
    }

    /// Returns the index of the entry in effect.
    fn entry_at(owners: &Owners, time: Time, known: Time) -> Option<usize> {
        let entries = owners.entries.iter().enumerate().skip(1);
        let newest = entries.rev().find(|(_, entry)| entry.from <= time && entry.known <= known);
        let newest = newest.map_or(0, |(number, _)| number);
        (owners.entries[newest].known <= known).then_some(newest)
    }

    /// Returns the owner at a moment by what was known: the newest entry in effect, else the first owner.
    pub(super) fn life_of(&self, id: &str, time: Time, known: Time) -> Option<LifeOf> {
        let owners = self.owners.get(id)?;
        Self::entry_at(owners, time, known).map(|number| owners.entries[number].life)
    }

    /// Returns the person that owned a distinct id, as it was; `None` if it was deleted. What the person was
    /// before the life that has the id does not belong to the id.
    pub fn as_of_id(&self, id: &str, time: Time, known: Time, mode: Mode) -> Option<Answer> {
        let (person, life) = self.life_of(id, time, known)?;
        let of = &self.persons[person];
        if of.deleted {
            return None;
        }
        let until = Place::end_of(time);
        let began = |(began, learned)| began <= until && learned <= known;
        if of.lives[life].lives_on.is_none_or(began) {
            Some(self.as_of(person, time, known, mode))
        } else {
            Some(Answer { uuid: of.uuid, ..Answer::default() })
        }
    }

    /// Returns the life that a life became in the end.
    pub(super) fn root(&self, (person, life): LifeOf) -> LifeOf {
        let merged = self.persons[person].lives[life].merged;
        merged.map_or((person, life), |merged| self.root(merged.life))
    }

    /// Returns the life that a person was in at a place.
    pub(super) fn life_at(&self, person: usize, place: Place, known: Time) -> LifeOf {
        let lives = self.persons[person].lives.iter();
        let mut begun = lives.map(|life| life.lives_on);
        let begun = begun.rposition(|began| {
            began.is_none_or(|(began, learned)| began <= place && learned <= known)
        });
        (person, begun.unwrap())
    }

    /// Returns the person that the one with a uuid was at a moment; `None` if it was deleted.
    pub fn became(&self, uuid: uuid::Uuid, time: Time, known: Time) -> Option<usize> {
        let person = self.of_uuid(uuid)?;
        let mut life = self.life_at(person, Place::end_of(time), known);
        let mut newest = life;
        while let Some(merged) = self.persons[life.0].lives[life.1].merged {
            life = merged.life;
            if merged.place.time <= time && merged.known <= known {
                newest = life;
            }
        }
        let deleted = self.persons[person].deleted || self.persons[newest.0].deleted;
        (!deleted).then_some(newest.0)
    }

    /// Returns the rows of a life for a key, with a row for each merge, whatever keys its source had.
    fn rows(&self, (person, life): LifeOf, key: &str, until: Place) -> Vec<Recorded> {
        let person = &self.persons[person];
        let after = person.lives[life].lives_on.map(|(place, _)| place);
        let own = person.rows.get(key).into_iter().flatten().cloned();
        let merges = person.sources.iter().map(|merge| Recorded {
            place: merge.place,
            known: merge.known,
            step: Step::Merge(merge.life),
        });
        let mut rows: Vec<_> = own.chain(merges).collect();
        rows.retain(|row| row.place <= until && Some(row.place) > after);
        rows.sort_by_key(|row| (row.place, matches!(row.step, Step::Own(_))));
        rows
    }

    /// Returns every key of a person and of those merged into it. Two persons may have been merged into each
    /// other, one after the other.
    fn keys(&self, person: usize) -> BTreeSet<&String> {
        let (mut keys, mut persons) = (BTreeSet::new(), vec![person]);
        let mut seen = BTreeSet::new();
        while let Some(person) = persons.pop() {
            if !seen.insert(person) {
                continue;
            }
            keys.extend(self.persons[person].rows.keys());
            persons.extend(self.persons[person].sources.iter().map(|merge| merge.life.0));
        }
        keys
    }

    pub(super) fn newest_row(&self, life: LifeOf, key: &str, until: Place) -> Option<Time> {
        let brings = |row: &&Recorded| match &row.step {
            Step::Own(_) => true,
            Step::Merge(source) => Mode::ALL.iter().any(|mode| {
                let until = Place::end_of(row.place.time);
                self.value(*source, key, until, Time::MAX, *mode).is_some()
            }),
            Step::Kept(state) => *state != State::default(),
        };
        self.rows(life, key, until).iter().filter(brings).map(|row| row.place.time).max()
    }

    pub(super) fn value(
        &self,
        life: LifeOf,
        key: &str,
        until: Place,
        known: Time,
        mode: Mode,
    ) -> Option<Value> {
        let rows = self.rows(life, key, until).into_iter().filter(|row| row.known <= known);
        rows.fold(None, |before, row| match &row.step {
            Step::Own(row) => row.after(mode, before),
            Step::Merge(source) => {
                let until = Place::end_of(row.place.time);
                let value = self.value(*source, key, until, known, mode);
                let state = State { current: value.clone(), set_only: value };
                Row::Merge { source: None, state }.after(mode, before)
            }
            Step::Kept(state) => {
                Row::Merge { source: None, state: state.clone() }.after(mode, before)
            }
        })
    }

    pub(super) fn created(&self, person: usize, time: Time, known: Time) -> Option<Time> {
        let person = &self.persons[person];
        let own = person.events.iter().filter(|(m, learned)| *m <= time && *learned <= known);
        let own = own.map(|(m, _)| *m);
        let sources = person.sources.iter();
        let merged = sources.filter(|merge| merge.place.time <= time && merge.known <= known);
        let merged = merged.filter_map(|merge| self.created(merge.life.0, merge.place.time, known));
        let kept = person.kept_beginnings.iter();
        let kept = kept.filter(|(place, learned, _)| place.time <= time && *learned <= known);
        own.chain(merged).chain(kept.map(|(.., began)| *began)).min()
    }

    fn last_seen(&self, person: usize, time: Time, known: Time) -> Option<Time> {
        let operations = self.persons[person].operations.iter();
        let counted = operations.filter(|op| op.place.time <= time && op.known <= known);
        let counted = counted.filter(|op| !op.place.position.is_command());
        let seen = counted.map(|op| {
            let source = op.merged.and_then(|source| self.last_seen(source, op.place.time, known));
            source.max(Some(op.event_time.floor_to_hour()))
        });
        seen.max().flatten()
    }

    /// Returns the distinct ids of a person by everything known, in the order in which they joined.
    pub(super) fn ids_now(&self, person: usize) -> Vec<String> {
        let joined = self.persons[person].joined.iter();
        let has = joined.filter(|(id, entry)| {
            self.owners.get(id).is_some_and(|owners| owners.entries.len() == entry + 1)
        });
        has.map(|(id, _)| id.clone()).collect()
    }

    fn ids_at(&self, person: usize, time: Time, known: Time) -> Vec<String> {
        let joined = self.persons[person].joined.iter();
        let had = joined.filter(|(id, entry)| {
            let Some(owners) = self.owners.get(id) else { return false };
            let first = &owners.entries[0];
            // The first owner also owns all time before, but is listed only from the first event on.
            Self::entry_at(owners, time, known) == Some(*entry)
                && (*entry > 0 || first.from <= time)
        });
        shown(had.map(|(id, _)| id.clone()).collect())
    }

    /// Returns a person as it was.
    pub fn as_of(&self, person: usize, time: Time, known: Time, mode: Mode) -> Answer {
        let uuid = self.persons[person].uuid;
        let Some(created_at) = self.created(person, time, known) else {
            return Answer { uuid, ..Answer::default() };
        };
        let identified = self.persons[person].identified.iter();
        let mut identified = identified.filter(|(m, learned)| *m <= time && *learned <= known);
        let until = Place::end_of(time);
        Answer {
            uuid,
            properties: self.properties(self.life_at(person, until, known), until, known, mode),
            distinct_ids: self.ids_at(person, time, known),
            created_at: Some(created_at),
            last_seen_at: self.last_seen(person, time, known),
            is_identified: identified.next().is_some(),
            version: None,
        }
    }

    /// Returns the persons that ever owned one of a person's current distinct ids, and those merged into
    /// them.
    fn persons_of(&self, person: usize) -> BTreeSet<usize> {
        let mut persons = BTreeSet::new();
        let ids = self.ids_now(person);
        let entries = ids.iter().flat_map(|id| &self.owners[id].entries);
        let mut more: Vec<usize> = entries.map(|entry| entry.life.0).chain([person]).collect();
        while let Some(person) = more.pop() {
            if persons.insert(person) {
                more.extend(self.persons[person].sources.iter().map(|merge| merge.life.0));
            }
        }
        persons.retain(|person| !self.persons[*person].deleted);
        persons
    }

    /// Returns the person of a distinct id by today's identity: everything that its current ids did, as if
    /// they had always been one person.
    pub fn as_of_today(&self, id: &str, time: Time, known: Time, mode: Mode) -> Option<Answer> {
        let today = self.current(id)?;
        let person = self.now(id)?;
        let until = Place::end_of(time);
        let mut counted = BTreeMap::new();
        for of in self.persons_of(person) {
            let timeline = &self.persons[of];
            for operation in timeline.operations.iter().filter(|op| op.place <= until) {
                let hers = match &operation.distinct_id {
                    Some(id) => self.now(id) == Some(person),
                    None => self.root(self.newest_life(of)).0 == person,
                };
                if hers && operation.known <= known {
                    counted.insert(operation.place, operation.clone());
                }
            }
        }
        let mut rows = BTreeMap::new();
        for (key, row) in self.persons.iter().flat_map(|person| &person.rows).flat_map(each) {
            if let (Step::Own(own), true) = (&row.step, counted.contains_key(&row.place)) {
                let kept = rows.entry((key, row.place)).or_insert_with(|| own.clone());
                // A copy of the row may have been decided, so keep the original.
                if own.is_dependent() {
                    *kept = own.clone();
                }
            }
        }
        let mut properties = BTreeMap::new();
        for ((key, _), row) in rows {
            let before = properties.remove(key);
            properties.extend(row.after(mode, before).map(|value| (key.clone(), value)));
        }
        let events = counted.values().filter(|operation| operation.distinct_id.is_some());
        let last_seen_at = events.map(|event| event.event_time.floor_to_hour()).max();
        let persons = self.persons_of(person).into_iter();
        let mut began = persons.filter_map(|of| self.created(of, Time::MAX, known));
        let had_begun = today.created_at <= Some(time) && began.any(|began| began <= time);
        let existed = last_seen_at.is_some() || had_begun;
        let created_at = today.created_at.filter(|_| existed);
        Some(Answer { properties, created_at, last_seen_at, version: None, ..today })
    }

    /// Returns the person of a distinct id as it is now.
    pub fn current(&self, id: &str) -> Option<Answer> {
        let person = self.now(id)?;
        let mut answer = self.as_of(person, Time::MAX, Time::MAX, Mode::WithOnce);
        answer.last_seen_at = self.persons[person].seen;
        answer.version = Some(self.persons[person].version);
        Some(answer)
    }

    pub(super) fn properties(
        &self,
        life: LifeOf,
        until: Place,
        known: Time,
        mode: Mode,
    ) -> BTreeMap<String, Value> {
        let keys = self.keys(life.0).into_iter();
        let values = keys.map(|key| (key, self.value(life, key, until, known, mode)));
        values.filter_map(|(key, value)| Some((key.clone(), value?))).collect()
    }

    pub(super) fn all_keys(&self, person: usize) -> Vec<String> {
        self.keys(person).into_iter().cloned().collect()
    }
}

fn each<'r>((key, rows): (&'r String, &'r Vec<Recorded>)) -> Vec<(&'r String, &'r Recorded)> {
    rows.iter().map(|row| (key, row)).collect()
}

/// Returns distinct ids in the order in which they are shown: those that look anonymous are last.
pub(super) fn shown(joined: Vec<String>) -> Vec<String> {
    let (anonymous, mut named): (Vec<_>, Vec<_>) =
        joined.into_iter().partition(|id| identity::is_anonymous(id));
    named.extend(anonymous);
    named
}
