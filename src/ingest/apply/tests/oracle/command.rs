//! Splits, deletions, resets and property updates.

use std::collections::BTreeSet;

use super::read::shown;
use super::{Entry, LifeSpan, Operation, Oracle, Person, Recorded, Step};
use crate::person::history::Mode;
use crate::person::time::DAY;
use crate::person::{Act, Command, Leaving, Place, Position, State, Time, identity};

impl Oracle {
    pub fn command(&mut self, command: &Command, position: Position) {
        let done = self.commands.get(&command.idempotency_key);
        if done.is_some_and(|done| done.0 > command.known.0 - DAY) {
            return;
        }
        let forgotten = |done: &&(Time, String)| done.0.0 <= command.known.0 - 2 * DAY;
        let forgotten: Vec<_> = self.done.iter().take_while(forgotten).take(10).cloned().collect();
        for done in forgotten {
            self.done.remove(&done);
            if self.commands.get(&done.1).is_some_and(|known| *known <= done.0) {
                self.commands.remove(&done.1);
            }
        }
        self.done.insert((command.known, command.idempotency_key.clone()));
        self.commands.insert(command.idempotency_key.clone(), command.known);
        let uuid = match &command.act {
            Act::Set(uuid, _) | Act::Unset(uuid, _) | Act::Delete(uuid) | Act::Split(uuid, _) => {
                *uuid
            }
            Act::Reset(id) => {
                self.dropped.remove(id);
                if let Some(owners) = self.owners.get_mut(id) {
                    owners.deleted = None;
                }
                return;
            }
        };
        let uuids =
            if self.of_uuid(uuid).is_some() { vec![uuid] } else { command.other_uuids.clone() };
        let found = uuids.into_iter().filter_map(|uuid| self.of_uuid(uuid));
        let found = found.filter(|person| !self.persons[*person].deleted);
        let found: Vec<_> = found.map(|person| self.root(self.newest_life(person)).0).collect();
        let Some(&person) = found.first() else { return };
        if let Act::Delete(_) = command.act {
            for person in found {
                if !self.persons[person].deleted {
                    self.delete(person, self.time_of(command, person));
                }
            }
            return;
        }
        let time = self.time_of(command, person);
        let place = Place { time, position };
        match &command.act {
            act @ (Act::Set(..) | Act::Unset(..)) => {
                let updates = &act.updates();
                let kept = self.kept(command.name(), updates, place, person);
                if !kept.is_empty() && self.add(person, place, command.known, kept) {
                    self.put(person, operation(command, place));
                }
            }
            Act::Split(_, leaving) => self.split(command, person, place, leaving),
            Act::Delete(_) | Act::Reset(_) => {}
        }
    }

    /// Returns when a command on a person takes effect.
    fn time_of(&self, command: &Command, person: usize) -> Time {
        let of = &self.persons[person];
        of.newest.max(of.ownership_changed).max(Some(command.known)).unwrap()
    }

    fn split(&mut self, command: &Command, person: usize, place: Place, leaving: &Leaving) {
        let ids = shown(self.ids_now(person));
        let leaves = |id: &&String| match leaving {
            Leaving::These(these) => these.contains(id),
            Leaving::AllBut(Some(main)) => *id != main,
            Leaving::AllBut(None) => **id != ids[0],
        };
        let leaving: Vec<_> = ids.iter().filter(leaves).cloned().collect();
        if leaving.is_empty() || leaving.len() == ids.len() {
            return;
        }
        // A person's new life does not begin before its previous one has ended.
        let (mut from, known) = (place.time, command.known);
        for id in &leaving {
            if let Some(used) = self.lives_on_by(command.project, id) {
                let Person { newest, ownership_changed, .. } = self.persons[used];
                let merged = self.persons[used].merged().unwrap().place.time;
                from = newest.max(ownership_changed).max(Some(merged.max(from))).unwrap();
            }
        }
        let place = Place { time: from, ..place };
        for id in leaving {
            let new = self.split_off(command.project, &id, place, known);
            self.persons[new].ownership_changed = Some(from);
            self.give(&id, Entry { from, known, life: self.newest_life(new) });
        }
        self.persons[person].ownership_changed = Some(from);
        self.put(person, operation(command, place));
    }

    /// Returns the person merged away that would live on by a split.
    fn lives_on_by(&self, project: u32, id: &str) -> Option<usize> {
        for uuid in identity::person_uuids(project, id) {
            let used = self.of_uuid(uuid).filter(|used| !self.persons[*used].deleted)?;
            if self.persons[used].merged().is_some() {
                return Some(used);
            }
        }
        None
    }

    fn split_off(&mut self, project: u32, id: &str, place: Place, known: Time) -> usize {
        for uuid in identity::person_uuids(project, id) {
            let Some(used) = self.of_uuid(uuid).filter(|used| !self.persons[*used].deleted) else {
                return self.born(uuid, (place.time, known));
            };
            if self.persons[used].merged().is_some() {
                let person = &mut self.persons[used];
                person.lives.push(LifeSpan { lives_on: Some((place, known)), merged: None });
                person.newest = person.newest.max(Some(place.time));
                if !person.events.iter().any(|(m, learned)| *m <= place.time && *learned <= known) {
                    person.events.push((place.time, known));
                }
                return used;
            }
        }
        unreachable!("there are uuids without end")
    }

    fn delete(&mut self, person: usize, time: Time) {
        for id in self.ids_now(person) {
            let before = self.owners.remove(&id).and_then(|owners| owners.deleted);
            for person in &mut self.persons {
                person.joined.retain(|(joined, _)| *joined != id);
            }
            self.dropped.insert(id, before.map_or(time, |before| before.max(time)));
        }
        let root_of = |of: usize| self.root(self.newest_life(of)).0;
        let persons = 0..self.persons.len();
        let persons = persons.filter(|of| !self.persons[*of].deleted && root_of(*of) == person);
        let deleted: BTreeSet<usize> = persons.collect();
        for stays in 0..self.persons.len() {
            if !deleted.contains(&stays) {
                self.keep_values(stays, &deleted);
            }
        }
        for person in deleted {
            let old = &mut self.persons[person];
            let (uuid, version, lives) = (old.uuid, old.version, std::mem::take(&mut old.lives));
            *old = Person { uuid, version, lives, deleted: true, ..Person::default() };
            self.stubs.retain(|(of, ..)| *of != person);
        }
    }

    /// Keeps the values that deleted persons brought to one that stays.
    fn keep_values(&mut self, stays: usize, deleted: &BTreeSet<usize>) {
        let sources = std::mem::take(&mut self.persons[stays].sources);
        let (gone, stay): (Vec<_>, Vec<_>) =
            sources.into_iter().partition(|merge| deleted.contains(&merge.life.0));
        self.persons[stays].sources = stay;
        for merge in gone {
            let until = Place::end_of(merge.place.time);
            for key in self.all_keys(merge.life.0) {
                let value = |mode| self.value(merge.life, &key, until, Time::MAX, mode);
                let state =
                    State { current: value(Mode::WithOnce), set_only: value(Mode::SetOnly) };
                let (place, known) = (merge.place, merge.known);
                let row = Recorded { place, known, step: Step::Kept(state) };
                self.persons[stays].rows.entry(key).or_default().push(row);
            }
            let began = self.created(merge.life.0, merge.place.time, Time::MAX);
            let began = began.map(|began| (merge.place, merge.known, began));
            self.persons[stays].kept_beginnings.extend(began);
        }
    }
}

fn operation(command: &Command, place: Place) -> Operation {
    let (known, uuid) = (command.known, Some(command.uuid));
    let event_time = place.time;
    Operation { place, event_time, known, uuid, distinct_id: None, merged: None }
}
