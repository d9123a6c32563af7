//! Applies an event: finds, creates, attaches or merges the person that it belongs to, and records the event
//! on that person's timeline.

use super::property::WeighedUpdate;
use super::{Applying, At, Outcome};
use crate::person::event::{Rejection, Warning};
use crate::person::identity::{self, Decision, MergeRequest, Side};
use crate::person::{
    CREATED, Event, IDENTIFIED, Life, Lives, Mode, Owned, Ownership, PersonId, PersonRow, Place,
    Position, ProjectId, PropertyId, Row, Seat, Stored, Time, Value, history,
};
use crate::store::{Deed, Effect, Error, Joined, Member, Operation, Result};

/// What became of the changes of an event or command.
pub enum Recording {
    /// The timeline has an operation of it.
    Recorded,
    /// There was nothing to record.
    Unchanged,
    /// The changes were refused; of a merge the timeline has an operation without them.
    Refused(Rejection),
}

impl Recording {
    fn rejection(self) -> Option<Rejection> {
        match self {
            Self::Refused(rejection) => Some(rejection),
            Self::Recorded | Self::Unchanged => None,
        }
    }
}

/// The owner of a distinct id at an event's time.
enum OwnerAtEvent {
    /// The owner was deleted: the event is dropped.
    Deleted,
    /// The owner's life; `None` if the distinct id has no owner yet.
    Life(Option<Life>),
}

impl Applying<'_, '_> {
    /// Applies one event.
    pub fn event(
        &mut self,
        event: &Event,
        numbers: &[Option<PropertyId>],
        position: Position,
    ) -> Result<(Outcome, Option<Rejection>)> {
        for warning in &event.warnings {
            self.warn(*warning);
        }
        if event.personless {
            return Ok((Outcome::Personless, None));
        }
        let at = At::of(event, numbers, position);
        let owner = self.transaction.owner(at.project, at.distinct_id)?.cloned();
        let OwnerAtEvent::Life(then) = self.owner_at_event(at, at.distinct_id, owner.as_ref())?
        else {
            return Ok((Outcome::DeletedPerson, None));
        };
        let (request, decision) = self.decide(at, owner.as_ref(), event.merge.as_ref())?.unzip();
        // The life that the event's operations go to, by what is known before it is applied.
        let goes_to = match decision {
            Some(Decision::Merge { target: person, .. } | Decision::AttachTarget(person)) => {
                Some(self.transaction.head(at.project, person)?.newest_life(person))
            }
            _ => then,
        };
        if let Some(life) = goes_to {
            if self.is_duplicate(life.person, at, owner.as_ref())? {
                return Ok((Outcome::Duplicate, None));
            }
            if decision.is_some()
                && self.is_duplicate(life.person, at.identity_only(), owner.as_ref())?
            {
                let rest = Event { merge: None, warnings: Vec::new(), ..event.clone() };
                return self.event(&rest, numbers, position);
            }
        }
        if let Some(Decision::Merge { source, target }) = decision {
            return self.apply_merge(at, source, target);
        }
        let life = self.settle_identity(at, goes_to, decision, request)?;
        let at = at.taking_effect(self.effect_on(at, life)?);
        self.record_sighting(at, life)?;
        let changes = self.weigh(at, life.person)?;
        let recorded = self.record(at, life.person, changes, None)?;
        if decision.is_some() {
            // Without a trace, a duplicate would be decided again and might undo what became of its ids since.
            match recorded {
                Recording::Recorded => {}
                Recording::Unchanged => self.leave_trace(at)?,
                Recording::Refused(_) => self.leave_trace(at.identity_only())?,
            }
        }
        Ok(match recorded {
            Recording::Recorded => (Outcome::Recorded, None),
            Recording::Unchanged => (Outcome::Unchanged, None),
            Recording::Refused(rejection) => (Outcome::DeadLetter, Some(rejection)),
        })
    }

    /// Merges two persons, then applies the event's own operations on top.
    fn apply_merge(
        &mut self,
        at: At,
        source: PersonId,
        target: PersonId,
    ) -> Result<(Outcome, Option<Rejection>)> {
        let merged_at = self.merge(at, source, target)?;
        let life = self.transaction.head(at.project, target)?.newest_life(target);
        let sighted = at.taking_effect(self.effect_on(at, life)?);
        self.record_sighting(sighted, life)?;
        self.identify(sighted, target)?;
        let at = at.taking_effect(merged_at);
        let changes = self.weigh(at, target)?;
        let recorded = self.record(at, target, changes, Some(source))?;
        self.record_activity(at, target, Deed::Merged(source))?;
        Ok((Outcome::Recorded, recorded.rejection()))
    }

    /// Returns the owner of a distinct id at an event's time.
    fn owner_at_event(
        &mut self,
        at: At,
        distinct_id: &str,
        owner: Option<&Ownership>,
    ) -> Result<OwnerAtEvent> {
        let (then, until) = match owner {
            None => (None, self.transaction.dropped(at.project, distinct_id)?),
            Some(owner) => {
                let lives = self.transaction.lives(at.project);
                (owner.at(&lives, at.time, Time::MAX)?, owner.deleted)
            }
        };
        let is_gone = then.map_or(Ok(false), |life| self.is_deleted(at.project, life))?;
        let is_dropped = is_gone || until >= Some(at.time);
        Ok(if is_dropped { OwnerAtEvent::Deleted } else { OwnerAtEvent::Life(then) })
    }

    /// Whether the person of a life was deleted since.
    pub fn is_deleted(&mut self, project: ProjectId, life: Life) -> Result<bool> {
        Ok(match self.transaction.person_row(project, life.person)? {
            Some(PersonRow::Head(head)) => life.number < head.first_life,
            Some(PersonRow::Tombstone(_)) => true,
            None => return Err(Error::Broken("a distinct id belongs to an unknown person")),
        })
    }

    /// Decides the merge that an event asks for. `None` if it asks for none, or if events of the other id are
    /// dropped at that time: it is then an ordinary event.
    fn decide<'r>(
        &mut self,
        at: At,
        target: Option<&Ownership>,
        request: Option<&'r MergeRequest>,
    ) -> Result<Option<(&'r MergeRequest, Decision)>> {
        let Some(request) = request else {
            return Ok(None);
        };
        let source = self.transaction.owner(at.project, &request.other)?.cloned();
        if let OwnerAtEvent::Deleted = self.owner_at_event(at, &request.other, source.as_ref())? {
            return Ok(None);
        }
        let target = self.side(at.project, target)?;
        let source = self.side(at.project, source.as_ref())?;
        Ok(Some((request, identity::decide(target, source, request.dangerously))))
    }

    fn side(&mut self, project: ProjectId, owner: Option<&Ownership>) -> Result<Option<Side>> {
        let Some(owner) = owner else {
            return Ok(None);
        };
        let person = owner.now(&self.transaction.lives(project))?.person;
        let identified = self.transaction.head(project, person)?.identified.is_some();
        Ok(Some(Side { person, identified }))
    }

    /// Carries out a decision other than a merge: creates the person, attaches the missing distinct id, marks
    /// the owner identified. Returns the life that the event goes to.
    fn settle_identity(
        &mut self,
        at: At,
        goes_to: Option<Life>,
        decision: Option<Decision>,
        request: Option<&MergeRequest>,
    ) -> Result<Life> {
        let life = match goes_to {
            Some(life) => life,
            None => self.create(at)?,
        };
        let (Some(decision), Some(request)) = (decision, request) else {
            return Ok(life);
        };
        match decision {
            Decision::CreateBoth => self.attach(at, life.person, &request.other)?,
            Decision::AttachTarget(source) => self.attach(at, source, at.distinct_id)?,
            Decision::AttachSource(target) => self.attach(at, target, &request.other)?,
            Decision::Refused => self.warn(Warning::AlreadyIdentified),
            Decision::SamePerson | Decision::Merge { .. } => {}
        }
        let owner = self.owner_of(at.project, at.distinct_id)?;
        let now = owner.now(&self.transaction.lives(at.project))?;
        self.identify(at.taking_effect(self.effect_on(at, now)?), now.person)?;
        Ok(life)
    }

    /// Returns the ownership of a distinct id that a person has.
    pub fn owner_of(&mut self, project: ProjectId, distinct_id: &str) -> Result<Ownership> {
        let owner = self.transaction.owner(project, distinct_id)?.cloned();
        owner.ok_or(Error::Broken("a distinct id of a person has no owner"))
    }

    fn create(&mut self, at: At) -> Result<Life> {
        let person = self.transaction.create(at.project, at.distinct_id, at.fact())?;
        self.attach(at, person, at.distinct_id)?;
        self.put_fact(at, person, CREATED);
        Ok(self.transaction.head(at.project, person)?.newest_life(person))
    }

    /// Attaches a distinct id that has no owner to a person.
    fn attach(&mut self, at: At, person: PersonId, distinct_id: &str) -> Result<()> {
        let At { project, known, .. } = at;
        let (life, ordinal) = self.next_ordinal(project, person)?;
        let from = self.effect_on(at, life)?;
        let owned = Owned { from, known, life, seat: Seat::Own(ordinal) };
        let deleted = self.transaction.dropped(project, distinct_id)?;
        let ownership = Ownership { deleted, ..Ownership::new(owned) };
        self.transaction.set_owner(project, distinct_id, Some(ownership));
        let joined = Joined::Id(distinct_id.to_owned());
        let member = Member { joined, from, known, left: None };
        self.transaction.put_member(project, life, ordinal, &member);
        Ok(())
    }

    /// Takes the next ordinal in the distinct-id list of a person's newest life, and returns both.
    pub fn next_ordinal(&mut self, project: ProjectId, person: PersonId) -> Result<(Life, u32)> {
        let head = self.transaction.head_mut(project, person)?;
        let ordinal = head.distinct_ids;
        head.distinct_ids += 1;
        Ok((head.newest_life(person), ordinal))
    }

    /// Writes that a fact of a person, such as [`CREATED`], is true from the event on.
    pub fn put_fact(&mut self, at: At, person: PersonId, fact: PropertyId) {
        let row = Row::Once(Value::from_json("true"));
        let stored = Stored { place: at.place(), known: at.known, row };
        self.transaction.put_row(at.project, person, fact, &stored);
    }

    /// Returns when an event takes effect on a life: at its own time, but after the split by which the life
    /// began, if it did. Rows before the split belong to an earlier life, which was merged into another
    /// person.
    fn effect_on(&self, at: At, life: Life) -> Result<Time> {
        let lives_on = self.transaction.lives(at.project).lives_on(life)?;
        Ok(identity::effective_time(at.time, [lives_on.map(|place| place.time)]))
    }

    /// Updates what any event may change: the start of the ownership, the person's beginning, and when it was
    /// last seen.
    fn record_sighting(&mut self, at: At, life: Life) -> Result<()> {
        self.extend_first_ownership(at)?;
        self.begin(at, life.person)?;
        self.transaction.mark_seen(at.project, life.person, at.time)?;
        let now = self.transaction.lives(at.project).now(life)?;
        // An earlier life of a person that lives on may have been merged into a person that was deleted
        // since.
        if now == life || self.is_deleted(at.project, now)? {
            return Ok(());
        }
        self.transaction.mark_seen(at.project, now.person, at.time)
    }

    /// Moves the start of a first ownership back to the earliest event with the distinct id.
    fn extend_first_ownership(&mut self, at: At) -> Result<()> {
        let Some(owner) = self.transaction.owner(at.project, at.distinct_id)? else {
            return Ok(());
        };
        if at.time >= owner.first.from {
            return Ok(());
        }
        let mut owner = owner.clone();
        let from = self.effect_on(at, owner.first.life)?;
        if from >= owner.first.from {
            return Ok(());
        }
        // The event may belong to a later owner: a split by an older clock may have given the id away before
        // the event. The first owner may then be deleted.
        if self.is_deleted(at.project, owner.first.life)? {
            return Ok(());
        }
        owner.first.from = from;
        let row = owner.first.row();
        self.transaction.set_owner(at.project, at.distinct_id, Some(owner));
        self.update_member(at.project, at.distinct_id, row, |member| Member { from, ..member })
    }

    /// Changes the row that lists a distinct id.
    pub fn update_member(
        &mut self,
        project: ProjectId,
        distinct_id: &str,
        row: Option<(Life, u32)>,
        change: impl FnOnce(Member) -> Member,
    ) -> Result<()> {
        let broken = Error::Broken("a distinct id is missing from its person");
        let Some((life, ordinal)) = row else {
            return Err(broken);
        };
        let anonymous = identity::is_anonymous(distinct_id);
        match self.transaction.member(project, life, anonymous, ordinal)? {
            Some((found, member)) if found == ordinal => {
                self.transaction.put_member(project, life, ordinal, &change(member));
                Ok(())
            }
            _ => Err(broken),
        }
    }

    /// Marks a person identified from this event on.
    fn identify(&mut self, at: At, person: PersonId) -> Result<()> {
        let (project, fact) = (at.project, at.fact());
        let identified = self.transaction.head(project, person)?.identified;
        if let Some(identified) = identified {
            let until = Place::end_of(fact.time);
            let (property, known) = (IDENTIFIED, fact.known);
            let query = history::Query { person, property, after: None, until, known };
            let rows = self.transaction.rows(project);
            if identified.covers(&fact) || history::value(&rows, query, Mode::WithOnce)?.is_some() {
                return Ok(());
            }
        }
        self.put_fact(at, person, IDENTIFIED);
        let head = self.transaction.head_mut(project, person)?;
        head.note_ahead(fact.time, fact.known);
        if identified.is_none_or(|identified| fact.time <= identified.time) {
            head.identified = Some(fact);
        }
        Ok(())
    }

    /// Records changes, and the event or command that made them.
    pub fn record(
        &mut self,
        at: At,
        person: PersonId,
        changes: Vec<WeighedUpdate>,
        merged: Option<PersonId>,
    ) -> Result<Recording> {
        let effects =
            changes.iter().map(|change| (change.property, Effect::from(&change.update.action)));
        let effects: Vec<_> = effects.collect();
        let rejection = self.put_changes(at, person, changes)?;
        let effects = if rejection.is_some() { Vec::new() } else { effects };
        if effects.is_empty() && merged.is_none() {
            return Ok(rejection.map_or(Recording::Unchanged, Recording::Refused));
        }
        self.put_operation(at, person, &Operation { merged, effects, ..at.operation() })?;
        // If the properties of a merge were refused, a duplicate applies them once there is room.
        let noted = if rejection.is_some() { at.identity_only() } else { at };
        self.transaction.set_recorded(at.project, person, at.time, noted.uuid);
        if at.effective != at.time {
            self.leave_trace(noted)?;
        }
        Ok(rejection.map_or(Recording::Recorded, Recording::Refused))
    }

    /// Adds an operation to a person's timeline.
    pub fn put_operation(&mut self, at: At, person: PersonId, operation: &Operation) -> Result<()> {
        let head = self.transaction.head_mut(at.project, person)?;
        if head.newest.is_some_and(|newest| at.effective < newest) {
            self.tally.late += 1;
        }
        head.newest = head.newest.max(Some(at.effective));
        head.version += 1;
        head.note_ahead(at.effective, at.known);
        self.transaction.put_operation(at.project, person, at.place(), operation);
        Ok(())
    }
}
