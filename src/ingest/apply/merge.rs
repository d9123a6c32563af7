//! Merges two persons: from the effective time on, the source's properties fill what the target lacks, and
//! the source's distinct ids belong to the target.

use super::{Applying, At, Kind};
use crate::person::history;
use crate::person::identity::{self, MAX_COPIED, MAX_COPIED_BYTES};
use crate::person::{
    Class, Head, Histories, Life, Merged, Owned, PersonId, Place, ProjectId, PropertyId, Row, Seat,
    State, Stored, Time,
};
use crate::store::{Joined, Member, Operation, Result};

/// The distinct ids of a source are moved one by one if it has at most this many, else as a bundle. Tests
/// have few ids and must take both ways.
const FEW_IDS: u32 = if cfg!(test) { 2 } else { 64 };

impl Applying<'_, '_> {
    /// Merges the source into the target and returns when the merge takes effect.
    pub fn merge(&mut self, at: At, source: PersonId, target: PersonId) -> Result<Time> {
        let At { project, known, .. } = at;
        let effective = self.effective_time(at, source, target)?;
        let place = at.taking_effect(effective).place();
        let life = self.transaction.head(project, source)?.newest_life(source);
        let head = self.transaction.head(project, target)?;
        let (into, bundle) = (head.newest_life(target), head.distinct_ids);
        let merged = Merged { into, bundle, place, known };
        self.merge_properties(project, life, merged)?;
        self.copy_operations(project, effective, source, target)?;
        self.move_distinct_ids(project, life, merged)?;
        self.transaction.end_life(project, life, merged)?;
        let Head { newest, ahead, .. } = *self.transaction.head(project, source)?;
        let head = self.transaction.head_mut(project, target)?;
        (head.newest, head.ahead) = (head.newest.max(newest), head.ahead.max(ahead));
        head.ownership_changed = head.ownership_changed.max(Some(effective));
        if let Some(seen) = self.transaction.last_seen(project, source)? {
            self.transaction.mark_seen(project, target, seen)?;
        }
        self.pass_on_beginning(project, source)?;
        self.count(Kind::Merge);
        Ok(effective)
    }

    fn effective_time(&mut self, at: At, source: PersonId, target: PersonId) -> Result<Time> {
        let project = at.project;
        let owner = self.owner_of(project, at.distinct_id)?;
        let joined = owner.joined(&self.transaction.lives(project))?;
        let lives_on = self.transaction.head(project, target)?.lives_on;
        let changed = self.transaction.head(project, source)?.ownership_changed;
        let mut effective = identity::effective_time(at.time, [joined, lives_on, changed]);
        // Operations of the source after that are copied. Move it up until they are few and small enough.
        let (mut until, mut copied, mut bytes) = (Some(Place::MAX), 0, 0);
        while let Some(place) = until {
            match self.transaction.last_operation(project, source, place)? {
                Some((place, operation)) if place.time > effective => {
                    copied += 1;
                    bytes += self.value_bytes(project, source, place, &operation)?;
                    if copied > MAX_COPIED || bytes > MAX_COPIED_BYTES {
                        effective = place.time;
                        break;
                    }
                    until = place.before();
                }
                _ => break,
            }
        }
        Ok(effective)
    }

    /// Returns the size of the values of an operation, in bytes of JSON.
    fn value_bytes(
        &self,
        project: ProjectId,
        person: PersonId,
        place: Place,
        operation: &Operation,
    ) -> Result<usize> {
        let rows = self.transaction.rows(project);
        let bytes = operation.effects.iter().map(|&(property, effect)| {
            let row = rows.at(person, property, effect.class(), place)?;
            Ok(row.and_then(|row| Some(row.row.value()?.as_json().len())).unwrap_or(0))
        });
        bytes.sum()
    }

    fn merge_properties(
        &mut self,
        project: ProjectId,
        source: Life,
        Merged { into: Life { person: target, .. }, place, known, .. }: Merged,
    ) -> Result<()> {
        let head = self.transaction.head(project, source.person)?;
        let lives_on = head.lives_on;
        for (property, entry) in head.entries.clone() {
            let state = if (lives_on..=Some(place.time)).contains(&entry.newest) {
                Some(entry.state)
            } else {
                // Either it changed later, or its newest row is from before this life. Then a merge may still
                // have brought a value by what was known earlier, and none by what is known now.
                self.state_at(project, source, property, place.time)?
            };
            if let Some(state) = state {
                let stored =
                    Stored { place, known, row: Row::Merge { source: Some(source), state } };
                self.put_merged(project, target, property, &stored)?;
            }
            if entry.newest > Some(place.time) {
                self.copy_rows(project, place.time, source.person, target, property)?;
            }
        }
        Ok(())
    }

    /// Returns a life's state of a property at a time; `None` if it has no row by then.
    fn state_at(
        &self,
        project: ProjectId,
        life: Life,
        property: PropertyId,
        time: Time,
    ) -> Result<Option<State>> {
        let rows = self.transaction.rows(project);
        let query = self.query(project, life, property, Place::end_of(time))?;
        for class in Class::ALL {
            let row = rows.last(life.person, property, class, query.until)?;
            if row.is_some_and(|row| Some(row.place) > query.after) {
                return Ok(Some(history::state(&rows, query)?));
            }
        }
        Ok(None)
    }

    /// Copies a property's rows after a time. Merges are not among them, since a merge takes effect after its
    /// source's newest change of ownership.
    fn copy_rows(
        &mut self,
        project: ProjectId,
        time: Time,
        source: PersonId,
        target: PersonId,
        property: PropertyId,
    ) -> Result<()> {
        // `$set_once` first: what an anchor is decided to be may depend on what fills the property before it.
        for class in [Class::Once, Class::Anchor] {
            let after = Place::end_of(time);
            let rows = self.transaction.rows_after(project, source, property, class, after)?;
            for row in rows {
                self.put_own(project, target, property, row)?;
            }
        }
        self.fold_anew(project, target, property)
    }

    fn copy_operations(
        &mut self,
        project: ProjectId,
        time: Time,
        source: PersonId,
        target: PersonId,
    ) -> Result<()> {
        let mut until = Some(Place::MAX);
        while let Some(place) = until {
            match self.transaction.last_operation(project, source, place)? {
                Some((place, operation)) if place.time > time => {
                    self.transaction.put_operation(project, target, place, &operation);
                    let Operation { event_time, uuid, .. } = operation;
                    self.transaction.set_recorded(project, target, event_time, uuid);
                    until = place.before();
                }
                _ => break,
            }
        }
        // An event that only changed identity left no operation, but a duplicate of it must be recognised too.
        if self.transaction.head(project, source)?.newest > Some(time) {
            self.transaction.copy_recorded(project, source, target, time)?;
        }
        Ok(())
    }

    /// Moves the source's distinct ids to the target: few one by one, many as a bundle, whose cost does not
    /// depend on their number.
    fn move_distinct_ids(&mut self, project: ProjectId, life: Life, merged: Merged) -> Result<()> {
        let (from, known, target) = (merged.place.time, merged.known, merged.into.person);
        let joined = self.transaction.head(project, life.person)?.distinct_ids;
        let members =
            if joined > FEW_IDS { Vec::new() } else { self.transaction.members(project, life)? };
        let in_bundle = |(_, member): &(u32, Member)| matches!(member.joined, Joined::Bundle(_));
        if joined > FEW_IDS || members.iter().any(in_bundle) {
            let (into, ordinal) = self.next_ordinal(project, target)?;
            let member = Member { joined: Joined::Bundle(life), from, known, left: None };
            self.transaction.put_member(project, into, ordinal, &member);
            return Ok(());
        }
        for (ordinal, member) in members {
            let Joined::Id(id) = &member.joined else { continue };
            if member.left.is_some() {
                continue;
            }
            let mut owner = self.owner_of(project, id)?;
            let (into, place) = self.next_ordinal(project, target)?;
            owner.later.push(Owned { from, known, life: into, seat: Seat::Own(place) });
            self.transaction.set_owner(project, id, Some(owner));
            let moved = Member { from, known, ..member.clone() };
            self.transaction.put_member(project, into, place, &moved);
            let left = Member { left: Some(from), ..member };
            self.transaction.put_member(project, life, ordinal, &left);
        }
        Ok(())
    }
}
