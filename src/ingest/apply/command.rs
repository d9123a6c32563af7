//! Applies the writes of the API: properties, splits and resets. Deletions are in `delete.rs`.

use std::collections::{HashMap, HashSet};

use super::event::Recording;
use super::{Applying, At, Kind, Outcome};
use crate::person::{
    Act, CREATED, Command, Leaving, Life, Lives, Owned, Ownership, PersonId, PersonRow, Position,
    ProjectId, Record, Seat, Time,
};
use crate::store::{CommandOutcome, Deed, Joined, Member, Operation, Result};

/// The most merges that a split may write out, a few dozen bytes each: with each distinct id it writes those
/// that the id went through.
const MAX_MERGES: usize = if cfg!(test) { 1_000 } else { 1_000_000 };

impl At<'_> {
    /// Returns a command that takes effect at this time, which is then its event time, too.
    pub fn moved_to(self, time: Time) -> Self {
        Self { time, effective: time, ..self }
    }
}

impl Applying<'_, '_> {
    /// Applies a command, once per idempotency key.
    pub fn command(&mut self, command: &Command, record: &Record) -> Result<Outcome> {
        let Command { project, known, ref idempotency_key, .. } = *command;
        if self.transaction.outcome(project, idempotency_key, known)?.is_some() {
            return Ok(Outcome::Duplicate);
        }
        let at = At::of_command(command, record.position);
        let lives = self.lives_of(command)?;
        let outcome = match (&command.act, lives.as_slice()) {
            (Act::Reset(distinct_id), _) => self.reset(project, distinct_id)?,
            (_, []) => CommandOutcome::NotFound,
            (act @ (Act::Set(..) | Act::Unset(..)), [life, ..]) => self.update(at, *life, act)?,
            (Act::Split(_, leaving), [life, ..]) => self.split(at, *life, leaving)?,
            (Act::Delete(_), lives) => {
                lives.iter().try_for_each(|life| self.delete(at, *life))?;
                CommandOutcome::Done
            }
        };
        self.transaction.set_outcome(project, idempotency_key, known, outcome)?;
        if outcome == CommandOutcome::Done {
            return Ok(Outcome::Recorded);
        }
        log_refused(command, record, outcome);
        Ok(Outcome::Refused)
    }

    /// Returns the current lives of the persons that a command is about. If no person here ever had the
    /// command's uuid, the person was created by another of its distinct ids, because events came in another
    /// order.
    fn lives_of(&mut self, command: &Command) -> Result<Vec<Life>> {
        let (project, Some(uuid)) = (command.project, command.act.person()) else {
            return Ok(Vec::new());
        };
        if self.transaction.person_of_uuid(project, uuid)?.is_some() {
            return Ok(self.life_of_uuid(project, uuid)?.into_iter().collect());
        }
        let mut lives = Vec::new();
        for uuid in &command.other_uuids {
            lives.extend(self.life_of_uuid(project, *uuid)?.filter(|life| !lives.contains(life)));
        }
        Ok(lives)
    }

    /// Returns the current life of the person with a uuid; `None` if there is none.
    fn life_of_uuid(&mut self, project: ProjectId, uuid: uuid::Uuid) -> Result<Option<Life>> {
        let Some(person) = self.transaction.person_of_uuid(project, uuid)? else {
            return Ok(None);
        };
        let Some(PersonRow::Head(head)) = self.transaction.person_row(project, person)? else {
            return Ok(None);
        };
        let life = head.newest_life(person);
        Ok(Some(self.transaction.lives(project).now(life)?))
    }

    /// Returns when a command on a person takes effect: never before the person's newest operation or change
    /// of ownership, so that a clock that is behind cannot hide the command.
    pub fn not_before(&mut self, at: At, person: PersonId) -> Result<Time> {
        let head = self.transaction.head(at.project, person)?;
        Ok(at.time.max(head.newest.max(head.ownership_changed).unwrap_or(at.time)))
    }

    fn update(&mut self, at: At, life: Life, act: &Act) -> Result<CommandOutcome> {
        let updates = &act.updates();
        let at = At { updates, ..at.moved_to(self.not_before(at, life.person)?) };
        let changes = self.weigh(at, life.person)?;
        match self.record(at, life.person, changes, None)? {
            Recording::Refused(_) => return Ok(CommandOutcome::TooLarge),
            Recording::Unchanged => {}
            Recording::Recorded => {
                let deed = match act {
                    Act::Unset(..) => Deed::PropertiesDeleted,
                    _ => Deed::Updated,
                };
                self.record_activity(at, life.person, deed)?;
            }
        }
        Ok(CommandOutcome::Done)
    }

    fn reset(&mut self, project: ProjectId, distinct_id: &str) -> Result<CommandOutcome> {
        let owner = self.transaction.owner(project, distinct_id)?.cloned();
        let dropped = self.transaction.dropped(project, distinct_id)?;
        if owner.is_none() && dropped.is_none() {
            return Ok(CommandOutcome::NotFound);
        }
        if let Some(owner) = owner.filter(|owner| owner.deleted.is_some()) {
            let owner = Ownership { deleted: None, ..owner };
            self.transaction.set_owner(project, distinct_id, Some(owner));
        }
        if dropped.is_some() {
            self.transaction.set_dropped(project, distinct_id, None);
        }
        Ok(CommandOutcome::Done)
    }

    fn split(&mut self, at: At, life: Life, leaving: &Leaving) -> Result<CommandOutcome> {
        let project = at.project;
        let ids = self.distinct_ids(project, life)?;
        let leaving = leaving_of(&ids, leaving);
        if leaving.is_empty() || leaving.len() == ids.len() {
            return Ok(CommandOutcome::NothingToSplit);
        }
        if self.count_merges(project, &leaving)? > MAX_MERGES {
            return Ok(CommandOutcome::TooManyMerges);
        }
        let mut time = self.not_before(at, life.person)?;
        for id in &leaving {
            // A person's new life does not begin before its previous one has ended.
            if let Some(person) = self.transaction.lives_on_by(project, id)? {
                time = time.max(self.not_before(at, person)?);
            }
        }
        let at = at.moved_to(time);
        for id in &leaving {
            self.split_off(at, id)?;
        }
        let head = self.transaction.head_mut(project, life.person)?;
        head.ownership_changed = Some(time);
        let split = Some(u32::try_from(leaving.len()).unwrap_or(u32::MAX));
        self.put_operation(at, life.person, &Operation { split, ..at.operation() })?;
        self.transaction.set_recorded(project, life.person, time, at.uuid);
        self.record_activity(at, life.person, Deed::Split)?;
        self.count(Kind::Split);
        Ok(CommandOutcome::Done)
    }

    /// Counts the merges that distinct ids went through and that are not written out with them yet. Stops
    /// counting above [`MAX_MERGES`].
    fn count_merges(&mut self, project: ProjectId, ids: &[String]) -> Result<usize> {
        let (mut all, mut counted) = (0, HashMap::new());
        for id in ids {
            let (mut path, mut life) = (Vec::new(), Some(self.owner_of(project, id)?.last().life));
            let lives = self.transaction.lives(project);
            while let Some(next) = life.filter(|life| !counted.contains_key(life)) {
                path.push(next);
                life = lives.merged(next)?.map(|merged| merged.into);
            }
            let mut merges: usize = life.map_or(0, |life| counted[&life] + 1);
            for life in path.into_iter().rev() {
                counted.insert(life, merges);
                merges += 1;
            }
            all += merges.saturating_sub(1);
            if all > MAX_MERGES {
                break;
            }
        }
        Ok(all)
    }

    /// Moves a distinct id to a person of its own.
    fn split_off(&mut self, at: At, id: &str) -> Result<()> {
        let At { project, effective: from, known, .. } = at;
        let mut owner = self.owner_of(project, id)?;
        owner.write_out_merges(&self.transaction.lives(project))?;
        let row = owner.entries().filter_map(Owned::row).last();
        self.update_member(project, id, row, |member| Member { left: Some(from), ..member })?;
        let person = self.transaction.split_off(project, id, at.place(), known)?;
        if self.transaction.head(project, person)?.lives_on == Some(from) {
            self.begin(at, person)?;
        } else {
            self.put_fact(at, person, CREATED);
        }
        let head = self.transaction.head_mut(project, person)?;
        head.ownership_changed = Some(from);
        head.note_ahead(from, known);
        let (life, ordinal) = self.next_ordinal(project, person)?;
        owner.later.push(Owned { from, known, life, seat: Seat::Own(ordinal) });
        self.transaction.set_owner(project, id, Some(owner));
        let joined = Joined::Id(id.to_owned());
        let member = Member { joined, from, known, left: None };
        self.transaction.put_member(project, life, ordinal, &member);
        Ok(())
    }

    /// Returns the current distinct ids of a life, in the order in which they are shown.
    pub fn distinct_ids(&self, project: ProjectId, life: Life) -> Result<Vec<String>> {
        debug_assert!(self.transaction.lives(project).merged(life).is_ok_and(|it| it.is_none()));
        let mut ids = Vec::new();
        for anonymous in [false, true] {
            // The lists still to be read, each from an ordinal on; the last one is next.
            let mut listing = vec![(life, 0)];
            while let Some((life, from)) = listing.pop() {
                let member = self.transaction.member(project, life, anonymous, from)?;
                let Some((ordinal, member)) = member else {
                    continue;
                };
                listing.push((life, ordinal + 1));
                match member.joined {
                    Joined::Bundle(source) => listing.push((source, 0)),
                    Joined::Id(id) if member.left.is_none() => ids.push(id),
                    Joined::Id(_) => {}
                }
            }
        }
        Ok(ids)
    }
}

/// Logs why a command was not carried out: its author was told that it was accepted, and may ask.
fn log_refused(command: &Command, record: &Record, outcome: CommandOutcome) {
    let (topic, Position { partition, offset, .. }) = (&*record.topic, record.position);
    let Command { project, author, .. } = command;
    let (person, reason) = (command.act.person().map(tracing::field::display), outcome.name());
    let command = command.name();
    tracing::info!(
        topic,
        partition,
        offset,
        project,
        command,
        person,
        author,
        reason,
        "a command was refused"
    );
}

/// Returns which of a person's distinct ids a split takes.
fn leaving_of(ids: &[String], leaving: &Leaving) -> Vec<String> {
    let stays: HashSet<&str> = match leaving {
        Leaving::These(these) => {
            let these: HashSet<&str> = these.iter().map(String::as_str).collect();
            ids.iter().map(String::as_str).filter(|id| !these.contains(id)).collect()
        }
        Leaving::AllBut(Some(main)) => {
            // If the id is another person's, none is kept, and nothing is split then.
            let main = ids.iter().find(|id| *id == main);
            main.map(String::as_str).into_iter().collect()
        }
        Leaving::AllBut(None) => ids.first().map(String::as_str).into_iter().collect(),
    };
    ids.iter().filter(|id| !stays.contains(id.as_str())).cloned().collect()
}
