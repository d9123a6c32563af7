//! The naive fold: everything in lists, every answer computed from the beginning.
//!
//! Written from the rules and not from the store: no heads, no indexes, no merged values, no
//! seeks. A merge row holds no value; the source is folded again wherever one is asked for.

use std::collections::{BTreeMap, BTreeSet};

use crate::person::event::Event;
use crate::person::history::{Mode, Row, State};
use crate::person::identity::{self, MergeRequest};
use crate::person::{Action, Place, Position, Time, Value, head, promotion};

/// What a read of a person should answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub uuid: uuid::Uuid,
    pub properties: BTreeMap<String, Value>,
    pub distinct_ids: Vec<String>,
    pub created_at: Option<Time>,
    pub last_seen_at: Option<Time>,
    pub is_identified: bool,
}

#[derive(Clone)]
enum Step {
    Own(Action),
    /// What the source had when it was merged.
    Merge(usize),
}

#[derive(Clone)]
struct Recorded {
    place: Place,
    known: Time,
    step: Step,
}

/// An operation of a timeline: where it stands, its event time, known time and uuid, and whom it
/// merged.
#[derive(Clone)]
struct Operation {
    place: Place,
    event_time: Time,
    known: Time,
    uuid: uuid::Uuid,
    merged: Option<usize>,
}

#[derive(Default)]
struct Person {
    uuid: uuid::Uuid,
    rows: BTreeMap<String, Vec<Recorded>>,
    operations: Vec<Operation>,
    /// Event time and known time of every event.
    events: Vec<(Time, Time)>,
    identified: Vec<(Time, Time)>,
    seen: Option<Time>,
    merged: Option<(usize, Place, Time)>,
    sources: Vec<(usize, Place, Time)>,
    ownership_changed: Option<Time>,
    joined: Vec<String>,
}

struct Entry {
    from: Time,
    known: Time,
    person: usize,
}

/// Records applied one by one.
#[derive(Default)]
pub struct Oracle {
    persons: Vec<Person>,
    owners: BTreeMap<String, Vec<Entry>>,
    /// Where a merge that took effect later would have been recorded: person, time, uuid.
    stubs: BTreeSet<(usize, Time, uuid::Uuid)>,
}

impl Oracle {
    pub fn distinct_ids(&self) -> impl Iterator<Item = &String> {
        self.owners.keys()
    }

    pub fn apply(&mut self, event: &Event, position: Position) {
        let (id, m, known) = (&event.distinct_id, event.event_time, event.known_time);
        let target = self.now(id);
        let source = event.merge.as_ref().and_then(|merge| self.now(&merge.other));
        let refused = source.is_some_and(|source| {
            Some(source) != target
                && !self.persons[source].identified.is_empty()
                && event.merge.as_ref().is_some_and(|merge| !merge.dangerously)
        });
        let merges = event.merge.is_some() && !refused;
        let both = merges && target.is_some() && source.is_some() && source != target;
        let goes_to = match (target, source) {
            (Some(target), _) if both => Some(target),
            (None, Some(source)) if merges => Some(source),
            _ => self.owner_at(id, m, Time::MAX),
        };
        if goes_to.is_some_and(|person| self.is_recorded(person, m, event.uuid)) {
            return;
        }
        let mut time = m;
        let person = if both {
            let (source, target) = (source.unwrap(), target.unwrap());
            time = self.merge(event, position, source, target);
            target
        } else {
            let person = goes_to.unwrap_or_else(|| self.create(event));
            if merges {
                self.attach(event, person, event.merge.as_ref().unwrap());
            }
            person
        };
        if event.merge.is_some() {
            let now = self.now(id).unwrap();
            self.persons[now].identified.push((m, known));
        }
        if let Some(first) = self.owners.get_mut(id).and_then(|entries| entries.first_mut()) {
            first.from = first.from.min(m);
        }
        self.persons[person].events.push((m, known));
        let mut seen = Some(person);
        while let Some(person) = seen {
            let person = &mut self.persons[person];
            person.seen = person.seen.max(Some(m.floor_to_hour()));
            seen = person.merged.map(|(into, ..)| into);
        }
        self.record(event, Place { time, position }, person, both.then(|| source.unwrap()));
    }

    fn create(&mut self, event: &Event) -> usize {
        let uuid = identity::person_uuid(event.project, &event.distinct_id);
        self.persons.push(Person { uuid, ..Person::default() });
        let person = self.persons.len() - 1;
        self.own(event, person, &event.distinct_id);
        person
    }

    fn own(&mut self, event: &Event, person: usize, distinct_id: &str) {
        let entry = Entry { from: event.event_time, known: event.known_time, person };
        self.owners.insert(distinct_id.to_owned(), vec![entry]);
        self.persons[person].joined.push(distinct_id.to_owned());
    }

    fn attach(&mut self, event: &Event, person: usize, request: &MergeRequest) {
        if self.now(&event.distinct_id).is_none() {
            self.own(event, person, &event.distinct_id);
        }
        if self.now(&request.other).is_none() {
            let target = self.now(&event.distinct_id).unwrap();
            self.own(event, target, &request.other);
        }
    }

    fn merge(&mut self, event: &Event, position: Position, source: usize, target: usize) -> Time {
        let joined = self.owners[&event.distinct_id].iter().skip(1).last().map(|entry| entry.from);
        let changed = self.persons[source].ownership_changed;
        let bounds = [joined, changed].into_iter().flatten().map(|time| time.plus(1));
        let e = bounds.fold(event.event_time, std::cmp::max);
        let place = Place { time: e, position };
        let known = event.known_time;
        let (old, rows) = (&self.persons[source], self.persons[source].rows.clone());
        let (operations, seen) = (old.operations.clone(), old.seen);
        for (key, mut rows) in rows {
            rows.retain(|row| row.place.time > e);
            self.persons[target].rows.entry(key).or_default().extend(rows);
        }
        let later = operations.into_iter().filter(|operation| operation.place.time > e);
        self.persons[target].operations.extend(later);
        for (id, entries) in &mut self.owners {
            if entries.last().is_some_and(|entry| entry.person == source) {
                entries.push(Entry { from: e, known, person: target });
                debug_assert!(!self.persons[target].joined.contains(id));
            }
        }
        let joined = self.persons[source].joined.clone();
        self.persons[target].joined.extend(joined);
        let into = &mut self.persons[target];
        into.ownership_changed = into.ownership_changed.max(Some(e));
        into.seen = into.seen.max(seen);
        into.sources.push((source, place, known));
        self.persons[source].merged = Some((target, place, known));
        e
    }

    fn record(&mut self, event: &Event, place: Place, person: usize, merged: Option<usize>) {
        let mut kept = Vec::new();
        let mut any = matches!(
            event.name.as_str(),
            "$identify" | "$create_alias" | "$merge_dangerously" | "$set" | "$set_once"
        );
        for update in &event.updates {
            let key = update.name.as_ref();
            let [with_once, set_only] =
                Mode::ALL.map(|mode| self.value(person, key, place, Time::MAX, mode));
            let changes = match &update.action {
                Action::Set(value) => {
                    let same =
                        with_once.as_ref() == Some(value) && set_only.as_ref() == Some(value);
                    let hour = |time: Time| time.0.div_euclid(3_600_000_000);
                    let newest = self.newest_row(person, key, place);
                    let asserted = newest.is_some_and(|newest| hour(newest) == hour(place.time));
                    !(same && (update.promoted || asserted))
                }
                Action::Once(_) => with_once.is_none(),
                _ => true,
            };
            if !changes {
                continue;
            }
            let explicit_unset = !matches!(update.action, Action::Set(_) | Action::Once(_));
            let new = matches!(update.action, Action::Set(_)) && with_once.is_none();
            any |= explicit_unset || new || !promotion::is_volatile(key);
            kept.push((key.to_owned(), update.action.clone()));
        }
        if !any {
            kept.clear();
        }
        if kept.is_empty() && merged.is_none() {
            return;
        }
        let known = event.known_time;
        for (key, action) in kept {
            let row = Recorded { place, known, step: Step::Own(action) };
            self.persons[person].rows.entry(key).or_default().push(row);
        }
        let (event_time, uuid) = (event.event_time, event.uuid);
        self.persons[person].operations.push(Operation { place, event_time, known, uuid, merged });
        if place.time != event_time {
            let trace = self.owner_at(&event.distinct_id, event_time, Time::MAX);
            self.stubs.extend(trace.map(|person| (person, event_time, uuid)));
        }
    }

    fn is_recorded(&self, person: usize, m: Time, uuid: uuid::Uuid) -> bool {
        let mut operations = self.persons[person].operations.iter();
        let recorded = operations.any(|operation| {
            operation.place.time == m && operation.event_time == m && operation.uuid == uuid
        });
        recorded || self.stubs.contains(&(person, m, uuid))
    }

    fn now(&self, id: &str) -> Option<usize> {
        self.owners.get(id)?.last().map(|entry| entry.person)
    }

    /// The owner at a moment by what was known: the newest entry, else the first owner.
    pub fn owner_at(&self, id: &str, time: Time, known: Time) -> Option<usize> {
        let entries = self.owners.get(id)?;
        let (first, later) = entries.split_first()?;
        let newest = later.iter().rev().find(|entry| entry.from <= time && entry.known <= known);
        let entry = newest.unwrap_or(first);
        (entry.known <= known).then_some(entry.person)
    }

    /// Its own rows, and a row of each merge: for every key that there is.
    fn rows(&self, person: usize, key: &str, until: Place) -> Vec<Recorded> {
        let person = &self.persons[person];
        let own = person.rows.get(key).into_iter().flatten().cloned();
        let merges = person.sources.iter().map(|&(source, place, known)| Recorded {
            place,
            known,
            step: Step::Merge(source),
        });
        let mut rows: Vec<_> = own.chain(merges).filter(|row| row.place <= until).collect();
        rows.sort_by_key(|row| (row.place, matches!(row.step, Step::Own(_))));
        rows
    }

    fn keys(&self, person: usize) -> BTreeSet<&String> {
        let person = &self.persons[person];
        let merged = person.sources.iter().flat_map(|(source, ..)| self.keys(*source));
        person.rows.keys().chain(merged).collect()
    }

    fn newest_row(&self, person: usize, key: &str, until: Place) -> Option<Time> {
        let brings = |row: &&Recorded| match row.step {
            Step::Own(_) => true,
            Step::Merge(source) => Mode::ALL.iter().any(|mode| {
                let until = Place::end_of(row.place.time);
                self.value(source, key, until, Time::MAX, *mode).is_some()
            }),
        };
        self.rows(person, key, until).iter().filter(brings).map(|row| row.place.time).max()
    }

    fn value(
        &self,
        person: usize,
        key: &str,
        until: Place,
        known: Time,
        mode: Mode,
    ) -> Option<Value> {
        let rows = self.rows(person, key, until).into_iter().filter(|row| row.known <= known);
        rows.fold(None, |before, row| match &row.step {
            Step::Own(action) => action.clone().into_row().after(mode, before),
            Step::Merge(source) => {
                let until = Place::end_of(row.place.time);
                let value = self.value(*source, key, until, known, mode);
                let state = State { current: value.clone(), set_only: value };
                Row::Merge { source: 0, state }.after(mode, before)
            }
        })
    }

    fn created(&self, person: usize, time: Time, known: Time) -> Option<Time> {
        let person = &self.persons[person];
        let own = person.events.iter().filter(|(m, learned)| *m <= time && *learned <= known);
        let own = own.map(|(m, _)| *m);
        let sources = person.sources.iter();
        let merged = sources.filter(|(_, place, learned)| place.time <= time && *learned <= known);
        let merged =
            merged.filter_map(|(source, place, _)| self.created(*source, place.time, known));
        own.chain(merged).min()
    }

    fn last_seen(&self, person: usize, time: Time, known: Time) -> Option<Time> {
        let operations = self.persons[person].operations.iter();
        let counted = operations.filter(|op| op.place.time <= time && op.known <= known);
        let seen = counted.map(|op| {
            let source = op.merged.and_then(|source| self.last_seen(source, op.place.time, known));
            source.max(Some(op.event_time.floor_to_hour()))
        });
        seen.max().flatten()
    }

    fn ids_at(&self, person: usize, time: Time, known: Time) -> Vec<String> {
        let joined = self.persons[person].joined.iter();
        let had = joined.filter(|id| {
            let entries = &self.owners[*id];
            let since = |entry: &Entry| entry.from <= time && entry.known <= known;
            entries.iter().any(since) && self.owner_at(id, time, known) == Some(person)
        });
        head::display_order(had.cloned().collect())
    }

    /// A person as it was.
    pub fn as_of(&self, person: usize, time: Time, known: Time, mode: Mode) -> Answer {
        let uuid = self.persons[person].uuid;
        let Some(created_at) = self.created(person, time, known) else {
            return Answer { uuid, ..Answer::default() };
        };
        let identified = self.persons[person].identified.iter();
        let mut identified = identified.filter(|(m, learned)| *m <= time && *learned <= known);
        Answer {
            uuid,
            properties: self.properties(person, Place::end_of(time), known, mode),
            distinct_ids: self.ids_at(person, time, known),
            created_at: Some(created_at),
            last_seen_at: self.last_seen(person, time, known),
            is_identified: identified.next().is_some(),
        }
    }

    /// A person as it is now.
    pub fn current(&self, id: &str) -> Answer {
        let person = self.now(id).unwrap();
        let last_seen_at = self.persons[person].seen;
        let created_at = self.created(person, Time::MAX, Time::MAX);
        let mut answer = self.as_of(person, Time::MAX, Time::MAX, Mode::WithOnce);
        (answer.last_seen_at, answer.created_at) = (last_seen_at, created_at);
        answer
    }

    fn properties(
        &self,
        person: usize,
        until: Place,
        known: Time,
        mode: Mode,
    ) -> BTreeMap<String, Value> {
        let keys = self.keys(person).into_iter();
        let values = keys.map(|key| (key, self.value(person, key, until, known, mode)));
        values.filter_map(|(key, value)| Some((key.clone(), value?))).collect()
    }
}
