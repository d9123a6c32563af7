//! The naive fold: everything in lists, every answer computed from the beginning.
//!
//! Written from the rules, not from the store: no heads, indexes, bundles, merged values or seeks. A merge
//! row holds no value; the source is folded again whenever its value is needed. A person that is created
//! again after a deletion is another one with the same uuid.

mod command;
mod merge;
mod read;
mod size;

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::person::event::Event;
use crate::person::history::Mode;
use crate::person::identity::{self, MergeRequest};
use crate::person::{Action, Place, Position, Row, State, Time, Value, promotion};

/// The expected answer of a read of a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub uuid: Uuid,
    pub properties: BTreeMap<String, Value>,
    pub distinct_ids: Vec<String>,
    pub created_at: Option<Time>,
    pub last_seen_at: Option<Time>,
    pub is_identified: bool,
    /// Only in current reads.
    pub version: Option<u64>,
}

/// A person by its index, and the number of one of its lives.
type LifeOf = (usize, usize);

#[derive(Clone)]
enum Step {
    Own(Row),
    /// The source's value at the merge.
    Merge(LifeOf),
    /// The value of a source that was deleted since.
    Kept(State),
}

#[derive(Clone)]
struct Recorded {
    place: Place,
    known: Time,
    step: Step,
}

/// An operation of a timeline.
#[derive(Clone)]
struct Operation {
    place: Place,
    event_time: Time,
    known: Time,
    /// `None` if its properties were refused and may come again.
    uuid: Option<Uuid>,
    /// `None` for a command.
    distinct_id: Option<String>,
    merged: Option<usize>,
}

#[derive(Clone, Copy)]
struct Merge {
    life: LifeOf,
    place: Place,
    known: Time,
}

#[derive(Clone, Default)]
struct LifeSpan {
    lives_on: Option<(Place, Time)>,
    /// The merge that ended it, with the life that it went on in.
    merged: Option<Merge>,
}

#[derive(Default)]
struct Person {
    uuid: Uuid,
    rows: BTreeMap<String, Vec<Recorded>>,
    operations: Vec<Operation>,
    /// Event time and known time of every event.
    events: Vec<(Time, Time)>,
    identified: Vec<(Time, Time)>,
    seen: Option<Time>,
    lives: Vec<LifeSpan>,
    /// The lives that were merged into it.
    sources: Vec<Merge>,
    /// The beginnings of sources that were deleted since: place and known time of the merge, beginning.
    kept_beginnings: Vec<(Place, Time, Time)>,
    ownership_changed: Option<Time>,
    /// Distinct ids in the order in which they joined, each with the index of its ownership entry.
    joined: Vec<(String, usize)>,
    newest: Option<Time>,
    version: u64,
    deleted: bool,
}

impl Person {
    fn merged(&self) -> Option<Merge> {
        self.lives.last().and_then(|life| life.merged)
    }
}

struct Entry {
    from: Time,
    known: Time,
    life: LifeOf,
}

#[derive(Default)]
struct Owners {
    entries: Vec<Entry>,
    deleted: Option<Time>,
}

/// The state after records were applied one by one.
#[derive(Default)]
pub struct Oracle {
    /// Maximum size of a person's properties, in bytes.
    limit: u64,
    persons: Vec<Person>,
    owners: BTreeMap<String, Owners>,
    dropped: BTreeMap<String, Time>,
    /// Person, time and uuid by which repeats are recognised, also of events that took effect later or only
    /// on identity.
    stubs: BTreeSet<(usize, Time, Uuid)>,
    /// Applied commands that are not forgotten yet.
    done: BTreeSet<(Time, String)>,
    /// The known time of each command, by idempotency key.
    commands: BTreeMap<String, Time>,
}

impl Oracle {
    pub fn limited(limit: u64) -> Self {
        Self { limit, ..Self::default() }
    }

    pub fn apply(&mut self, event: &Event, position: Position) {
        let (id, m, known) = (&event.distinct_id, event.event_time, event.known_time);
        if self.is_dropped(id, m) {
            return;
        }
        let request = event.merge.as_ref().filter(|merge| !self.is_dropped(&merge.other, m));
        let target = self.now(id);
        let source = request.and_then(|merge| self.now(&merge.other));
        let refused = source.is_some_and(|source| {
            Some(source) != target
                && !self.persons[source].identified.is_empty()
                && request.is_some_and(|merge| !merge.dangerously)
        });
        let merges = request.is_some() && !refused;
        let both = merges && target.is_some() && source.is_some() && source != target;
        let goes_to = match (target, source) {
            (Some(target), _) if both => Some(self.newest_life(target)),
            (None, Some(source)) if merges => Some(self.newest_life(source)),
            _ => self.life_of(id, m, Time::MAX),
        };
        // The id may have changed its owner at exactly that time.
        let before = self.life_of(id, Time(m.0.saturating_sub(1)), Time::MAX);
        let of = goes_to.into_iter().chain(before.filter(|_| goes_to.is_some()));
        if of.clone().any(|(person, _)| self.is_recorded(person, m, event.uuid)) {
            return;
        }
        let done = |(person, _)| {
            self.stubs.contains(&(person, m, identity::identity_only_uuid(event.uuid)))
        };
        if request.is_some() && of.into_iter().any(done) {
            return self.apply(&Event { merge: None, ..event.clone() }, position);
        }
        let (person, life) = goes_to.unwrap_or_else(|| (self.create(event), 0));
        let began = self.effect_on((person, life), m);
        let mut time = began;
        if both {
            time = self.merge(event, position, source.unwrap(), person);
        } else if merges {
            self.attach(event, person, request.unwrap());
        }
        if request.is_some() {
            let now = self.now(id).unwrap();
            let from = self.effect_on(self.newest_life(now), m);
            self.persons[now].identified.push((from, known));
        }
        if let Some(first) = self.owners.get(id).and_then(|owners| owners.entries.first()) {
            let from = first.from.min(self.effect_on(first.life, m));
            self.owners.get_mut(id).unwrap().entries[0].from = from;
        }
        self.persons[person].events.push((began, known));
        let life = self.life_of(id, m, Time::MAX).filter(|_| !both);
        let root = life.map_or(person, |life| self.root(life).0);
        for person in [person, root] {
            let person = &mut self.persons[person];
            person.seen = person.seen.max(Some(m.floor_to_hour()));
        }
        let place = Place { time, position };
        match self.record(event, place, person, both.then(|| source.unwrap())) {
            None if request.is_some() => self.leave_trace(event, event.uuid),
            Some(false) if request.is_some() => {
                self.leave_trace(event, identity::identity_only_uuid(event.uuid));
            }
            _ => {}
        }
    }

    /// Returns when an event takes effect on a life: what is before the life belongs to an earlier one.
    fn effect_on(&self, (person, life): LifeOf, m: Time) -> Time {
        let lives_on = self.persons[person].lives[life].lives_on;
        lives_on.map_or(m, |(place, _)| m.max(place.time.plus(1)))
    }

    fn is_dropped(&self, id: &str, time: Time) -> bool {
        let owner = self.life_of(id, time, Time::MAX);
        let until = match self.owners.get(id) {
            Some(owners) => owners.deleted,
            None => self.dropped.get(id).copied(),
        };
        until >= Some(time) || owner.is_some_and(|(person, _)| self.persons[person].deleted)
    }

    fn create(&mut self, event: &Event) -> usize {
        let began = (event.event_time, event.known_time);
        let in_use = |used: Option<usize>, oracle: &Self| {
            used.is_none_or(|person| oracle.persons[person].deleted)
        };
        let mut uuids = identity::person_uuids(event.project, &event.distinct_id);
        let uuid = uuids.find(|uuid| in_use(self.of_uuid(*uuid), self)).unwrap();
        let person = self.born(uuid, began);
        self.own(event, person, &event.distinct_id);
        person
    }

    /// Returns the newest person with a uuid.
    fn of_uuid(&self, uuid: Uuid) -> Option<usize> {
        self.persons.iter().rposition(|person| person.uuid == uuid)
    }

    fn born(&mut self, uuid: Uuid, began: (Time, Time)) -> usize {
        let version = self.of_uuid(uuid).map_or(0, |before| self.persons[before].version + 1);
        let lives = vec![LifeSpan::default()];
        let events = vec![began];
        self.persons.push(Person { uuid, events, lives, version, ..Person::default() });
        self.persons.len() - 1
    }

    fn own(&mut self, event: &Event, person: usize, distinct_id: &str) {
        let life = self.newest_life(person);
        let from = self.effect_on(life, event.event_time);
        let entry = Entry { from, known: event.known_time, life };
        let deleted = self.dropped.get(distinct_id).copied();
        let owners = Owners { entries: vec![entry], deleted };
        self.owners.insert(distinct_id.to_owned(), owners);
        self.persons[person].joined.push((distinct_id.to_owned(), 0));
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

    /// Records an event. Returns whether its properties fit; `None` if there is nothing to record.
    fn record(
        &mut self,
        event: &Event,
        place: Place,
        person: usize,
        merged: Option<usize>,
    ) -> Option<bool> {
        let kept = self.kept(&event.name, &event.updates, place, person);
        let nothing = kept.is_empty();
        let (event_time, known) = (event.event_time, event.known_time);
        let fits = self.add(person, place, known, kept);
        if (nothing || !fits) && merged.is_none() {
            return (!fits).then_some(false);
        }
        let distinct_id = Some(event.distinct_id.clone());
        let uuid = fits.then_some(event.uuid);
        let operation = Operation { place, event_time, known, uuid, distinct_id, merged };
        self.put(person, operation);
        let noted = if fits { event.uuid } else { identity::identity_only_uuid(event.uuid) };
        self.stubs.insert((person, event_time, noted));
        if place.time != event_time {
            self.leave_trace(event, noted);
        }
        Some(fits)
    }

    fn leave_trace(&mut self, event: &Event, uuid: Uuid) {
        let m = event.event_time;
        let trace = self.life_of(&event.distinct_id, m, Time::MAX);
        if let Some((person, _)) = trace.filter(|life| !self.persons[life.0].deleted) {
            self.stubs.insert((person, m, uuid));
            let person = &mut self.persons[person];
            person.newest = person.newest.max(Some(m));
        }
    }

    fn put(&mut self, person: usize, operation: Operation) {
        let person = &mut self.persons[person];
        person.newest = person.newest.max(Some(operation.place.time));
        person.version += 1;
        person.operations.push(operation);
    }

    /// Returns the rows that an event adds.
    fn kept(
        &self,
        name: &str,
        updates: &[crate::person::Update],
        place: Place,
        person: usize,
    ) -> Vec<(String, Row)> {
        let mut kept = Vec::new();
        let volatile = ["$identify", "$create_alias", "$merge_dangerously", "$set", "$set_once"];
        let mut any = volatile.contains(&name);
        let life = self.life_at(person, place, Time::MAX);
        for update in updates {
            let key = update.name.as_ref();
            let [with_once, set_only] =
                Mode::ALL.map(|mode| self.value(life, key, place, Time::MAX, mode));
            let changes = match &update.action {
                Action::Set(value) => {
                    let same =
                        with_once.as_ref() == Some(value) && set_only.as_ref() == Some(value);
                    let hour = |time: Time| time.0.div_euclid(3_600_000_000);
                    let newest = self.newest_row(life, key, place);
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
            let row = update.action.clone().into_row();
            let row = self.decided(person, key, place, (row, [with_once, set_only]));
            kept.push((key.to_owned(), row));
        }
        if any { kept } else { Vec::new() }
    }

    /// Returns the row that is kept at a place, given the property's values there under both modes.
    fn decided(
        &self,
        person: usize,
        key: &str,
        place: Place,
        (row, [current, set_only]): (Row, [Option<Value>; 2]),
    ) -> Row {
        if row.is_dependent() && self.is_crowded(person, key, place) {
            Row::Decided(State { current, set_only }.then(&row))
        } else {
            row
        }
    }

    /// Whether two or more consecutive rows around a place depend on what was before them.
    fn is_crowded(&self, person: usize, key: &str, place: Place) -> bool {
        let rows = self.persons[person].rows.get(key).into_iter().flatten();
        let anchors = rows.filter_map(|row| match &row.step {
            Step::Own(Row::Once(_)) | Step::Merge(_) | Step::Kept(_) => None,
            Step::Own(own) => Some((row.place, own.is_dependent())),
        });
        let anchors: BTreeMap<_, _> = anchors.collect();
        let before = anchors.range(..place).rev().take_while(|(_, dependent)| **dependent);
        let after = anchors.range(place..).take_while(|(_, dependent)| **dependent);
        before.count() + after.count() >= 2
    }

    fn is_recorded(&self, person: usize, m: Time, uuid: Uuid) -> bool {
        let mut operations = self.persons[person].operations.iter();
        let recorded = operations.any(|operation| {
            operation.place.time == m && operation.event_time == m && operation.uuid == Some(uuid)
        });
        recorded || self.stubs.contains(&(person, m, uuid))
    }
}
