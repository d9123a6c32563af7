//! Two persons become one: from the effective time on, what the source had fills what the target
//! lacks, and the source's distinct ids are the target's.

use super::{Applying, At};
use crate::person::history::{self, Query};
use crate::person::identity::{self, MAX_COPIED};
use crate::person::{
    Class, Event, Histories, Merged, Owned, PersonId, Place, PropertyId, Row, State, Stored, Time,
};
use crate::store::{Error, Member, Result};

impl Applying<'_, '_> {
    /// Merges the source into the target and answers when that takes effect.
    pub fn merge(&mut self, at: At, source: PersonId, target: PersonId) -> Result<Time> {
        let Event { project, known_time: known, .. } = *at.event;
        let effective = self.effective_time(at, source)?;
        let place = Place { time: effective, position: at.position };
        self.merge_properties(at, place, source, target)?;
        self.copy_operations(at, effective, source, target)?;
        self.move_distinct_ids(at, effective, source, target)?;
        let head = self.transaction.head_mut(project, source)?;
        head.merged = Some(Merged { into: target, place, known });
        let newest = head.newest;
        let head = self.transaction.head_mut(project, target)?;
        head.newest = head.newest.max(newest);
        if let Some(seen) = self.transaction.last_seen(project, source)? {
            self.transaction.see(project, target, seen)?;
        }
        self.pass_on_beginning(project, source)?;
        self.count("merge");
        Ok(effective)
    }

    fn effective_time(&mut self, at: At, source: PersonId) -> Result<Time> {
        let Event { project, ref distinct_id, event_time, .. } = *at.event;
        let owner = self.transaction.owner(project, distinct_id)?;
        let joined = owner.and_then(crate::person::Ownership::joined);
        let changed = self.transaction.head(project, source)?.ownership_changed;
        let mut effective = identity::effective_time(event_time, joined, changed);
        // What the source did after that is copied: at most so many operations.
        let mut until = Some(Place::MAX);
        for copied in 0.. {
            let Some(place) = until else { break };
            match self.transaction.last_operation(project, source, place)? {
                Some((place, _)) if place.time > effective => {
                    if copied == MAX_COPIED {
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

    fn merge_properties(
        &mut self,
        at: At,
        place: Place,
        source: PersonId,
        target: PersonId,
    ) -> Result<()> {
        let Event { project, known_time: known, .. } = *at.event;
        let entries = self.transaction.head(project, source)?.entries.clone();
        for (property, entry) in entries {
            let state = if entry.newest <= Some(place.time) {
                Some(entry.state)
            } else {
                self.state_at(at, place.time, source, property)?
            };
            if let Some(state) = state {
                let stored = Stored { place, known, row: Row::Merge { source, state } };
                self.put_merged(project, target, property, &stored)?;
            }
            if entry.newest > Some(place.time) {
                self.copy_rows(at, place.time, (source, target), property)?;
            }
        }
        Ok(())
    }

    /// The source's state of a property at a time; `None` where it has no row until then.
    fn state_at(
        &self,
        at: At,
        time: Time,
        source: PersonId,
        property: PropertyId,
    ) -> Result<Option<State>> {
        let rows = self.transaction.rows(at.event.project);
        let until = Place::end_of(time);
        for class in Class::ALL {
            if rows.last(source, property, class, until)?.is_some() {
                let query = Query { person: source, property, until, known: Time::MAX };
                return Ok(Some(history::state(&rows, query)?));
            }
        }
        Ok(None)
    }

    /// Copies a property's rows after a time; merges are not among them, since a merge takes
    /// effect after the newest change of ownership of its source.
    fn copy_rows(
        &mut self,
        at: At,
        time: Time,
        (source, target): (PersonId, PersonId),
        property: PropertyId,
    ) -> Result<()> {
        let project = at.event.project;
        for class in [Class::Anchor, Class::Once] {
            let rows = self.transaction.rows_after(
                project,
                (source, property, class),
                Place::end_of(time),
            )?;
            for row in rows {
                self.transaction.put_row(project, target, property, &row);
            }
        }
        self.fold_anew(project, target, property)
    }

    fn copy_operations(
        &mut self,
        at: At,
        time: Time,
        source: PersonId,
        target: PersonId,
    ) -> Result<()> {
        let project = at.event.project;
        let mut until = Some(Place::MAX);
        while let Some(place) = until {
            match self.transaction.last_operation(project, source, place)? {
                Some((place, operation)) if place.time > time => {
                    self.transaction.put_operation(project, target, place, &operation);
                    let event = (operation.event_time, operation.uuid);
                    self.transaction.set_recorded(project, target, event);
                    until = place.before();
                }
                _ => break,
            }
        }
        Ok(())
    }

    fn move_distinct_ids(
        &mut self,
        at: At,
        from: Time,
        source: PersonId,
        target: PersonId,
    ) -> Result<()> {
        let Event { project, known_time: known, .. } = *at.event;
        let mut next = 0;
        while let Some((ordinal, member)) = self.transaction.member(project, source, next)? {
            next = ordinal + 1;
            if member.left.is_some() {
                continue;
            }
            let head = self.transaction.head_mut(project, target)?;
            let joined = Owned { from, known, person: target, ordinal: head.distinct_ids };
            head.distinct_ids += 1;
            let owner = self.transaction.owner(project, &member.distinct_id)?;
            let mut owner =
                owner.cloned().ok_or(Error::Broken("a person's distinct id has no owner"))?;
            owner.later.push(joined);
            self.transaction.set_owner(project, &member.distinct_id, owner);
            let distinct_id = member.distinct_id.clone();
            let moved = Member { distinct_id, from, known, left: None };
            self.transaction.put_member(project, target, joined.ordinal, &moved);
            let left = Member { left: Some((from, known)), ..member };
            self.transaction.put_member(project, source, ordinal, &left);
        }
        let head = self.transaction.head_mut(project, target)?;
        head.ownership_changed = head.ownership_changed.max(Some(from));
        Ok(())
    }
}
