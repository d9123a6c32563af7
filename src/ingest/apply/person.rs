//! Whose event it is: the person is found, made, attached or merged, and the event is recorded
//! on its timeline.

use super::property::Change;
use super::{Applying, At, Outcome};
use crate::person::event::{Rejection, Warning};
use crate::person::identity::{self, Decision, MergeRequest, Side};
use crate::person::{
    CREATED, Event, IDENTIFIED, Mode, Owned, Ownership, PersonId, Place, Position, ProjectId,
    PropertyId, Row, State, Stored, Time, Value, history,
};
use crate::store::{Effect, Error, Member, Operation, Result};

impl Applying<'_, '_> {
    /// Applies one event.
    pub fn event(
        &mut self,
        event: &Event,
        position: Position,
    ) -> Result<(Outcome, Option<Rejection>)> {
        for warning in &event.warnings {
            self.warn(*warning);
        }
        if event.personless {
            return Ok((Outcome::Personless, None));
        }
        let at = At { event, position };
        let owner = self.transaction.owner(event.project, &event.distinct_id)?.cloned();
        let decision = match &event.merge {
            Some(request) => Some(self.decide(event.project, owner.as_ref(), request)?),
            None => None,
        };
        // Where the event's operations go by what is known before it is applied.
        let goes_to = match decision {
            Some(Decision::Merge { target: person, .. } | Decision::AttachTarget(person)) => {
                Some(person)
            }
            _ => owner.as_ref().and_then(|owner| owner.at(event.event_time, Time::MAX)),
        };
        if let Some(person) = goes_to
            && self.is_duplicate(person, event)?
        {
            return Ok((Outcome::Duplicate, None));
        }
        if let Some(Decision::Merge { source, target }) = decision {
            return self.merging(at, source, target);
        }
        let person = self.settle_identity(at, goes_to, decision)?;
        self.meet(at, person)?;
        let changes = self.weigh(at, person, event.event_time)?;
        let rejection = self.record(at, person, event.event_time, changes, None)?;
        Ok(match rejection {
            Ok(true) => (Outcome::Recorded, None),
            Ok(false) => (Outcome::Unchanged, None),
            Err(rejection) => (Outcome::DeadLetter, Some(rejection)),
        })
    }

    /// A merge of two persons: the event's own operations go on top of it.
    fn merging(
        &mut self,
        at: At,
        source: PersonId,
        target: PersonId,
    ) -> Result<(Outcome, Option<Rejection>)> {
        let effective = self.merge(at, source, target)?;
        self.meet(at, target)?;
        self.identify(at, target)?;
        let changes = self.weigh(at, target, effective)?;
        let rejection = self.record(at, target, effective, changes, Some(source))?;
        Ok((Outcome::Recorded, rejection.err()))
    }

    fn decide(
        &mut self,
        project: ProjectId,
        target: Option<&Ownership>,
        request: &MergeRequest,
    ) -> Result<Decision> {
        let source =
            self.transaction.owner(project, &request.other)?.map(|owner| owner.now().person);
        let target = self.side(project, target.map(|owner| owner.now().person))?;
        let source = self.side(project, source)?;
        Ok(identity::decide(target, source, request.dangerously))
    }

    fn side(&mut self, project: ProjectId, person: Option<PersonId>) -> Result<Option<Side>> {
        let Some(person) = person else {
            return Ok(None);
        };
        let identified = self.transaction.head(project, person)?.identified.is_some();
        Ok(Some(Side { person, identified }))
    }

    /// Makes and attaches what the decision asks for, short of a merge, and answers whose the
    /// event is.
    fn settle_identity(
        &mut self,
        at: At,
        goes_to: Option<PersonId>,
        decision: Option<Decision>,
    ) -> Result<PersonId> {
        let event = at.event;
        let person = match goes_to {
            Some(person) => person,
            None => self.create(at)?,
        };
        let (Some(decision), Some(request)) = (decision, &event.merge) else { return Ok(person) };
        match decision {
            Decision::CreateBoth => self.attach(at, person, &request.other)?,
            Decision::AttachTarget(source) => self.attach(at, source, &event.distinct_id)?,
            Decision::AttachSource(target) => self.attach(at, target, &request.other)?,
            Decision::Refused => self.warn(Warning::AlreadyIdentified),
            Decision::SamePerson | Decision::Merge { .. } => {}
        }
        let owner = self.transaction.owner(event.project, &event.distinct_id)?;
        let owner = owner.ok_or(Error::Broken("an event's distinct id has no owner"))?;
        let now = owner.now().person;
        self.identify(at, now)?;
        Ok(person)
    }

    fn create(&mut self, at: At) -> Result<PersonId> {
        let Event { project, distinct_id, .. } = at.event;
        let uuid = identity::person_uuid(*project, distinct_id);
        let person = self.transaction.create(*project, uuid, at.fact())?;
        self.attach(at, person, distinct_id)?;
        self.put_fact(at, person, CREATED);
        Ok(person)
    }

    /// Gives a person a distinct id that was never seen before.
    fn attach(&mut self, at: At, person: PersonId, distinct_id: &str) -> Result<()> {
        let Event { project, event_time: from, known_time: known, .. } = *at.event;
        let head = self.transaction.head_mut(project, person)?;
        let ordinal = head.distinct_ids;
        head.distinct_ids += 1;
        let owned = Owned { from, known, person, ordinal };
        self.transaction.set_owner(project, distinct_id, Ownership::new(owned));
        let member = Member { distinct_id: distinct_id.to_owned(), from, known, left: None };
        self.transaction.put_member(project, person, ordinal, &member);
        Ok(())
    }

    /// Writes that something holds of a person from the event on.
    fn put_fact(&mut self, at: At, person: PersonId, fact: PropertyId) {
        let place = Place { time: at.event.event_time, position: at.position };
        let row = Row::Once(Value::from_json("true"));
        let stored = Stored { place, known: at.event.known_time, row };
        self.transaction.put_row(at.event.project, person, fact, &stored);
    }

    /// What every event of a person does: it may be its first, and it may be the last one seen.
    fn meet(&mut self, at: At, person: PersonId) -> Result<()> {
        let Event { project, event_time: time, .. } = *at.event;
        self.list_earlier(at)?;
        self.begin(at, person)?;
        let mut next = Some(person);
        while let Some(person) = next {
            self.transaction.see(project, person, time)?;
            next = self.transaction.head(project, person)?.merged.map(|merged| merged.into);
        }
        Ok(())
    }

    /// Writes down that the person was there, where that was not known from as early on.
    fn begin(&mut self, at: At, person: PersonId) -> Result<()> {
        let (project, fact) = (at.event.project, at.fact());
        let began = self.transaction.head(project, person)?.began;
        let rows = self.transaction.rows(project);
        if began.covers(&fact) || history::began(&rows, person, fact.time, fact.known)?.is_some() {
            return Ok(());
        }
        self.put_fact(at, person, CREATED);
        let head = self.transaction.head_mut(project, person)?;
        if fact.time <= began.time {
            head.began = fact;
            head.created_at = head.created_at.min(fact.time);
        }
        self.pass_on_beginning(project, person)
    }

    /// A first owner has its distinct id from the earliest event on that shows it.
    fn list_earlier(&mut self, at: At) -> Result<()> {
        let Event { project, distinct_id, event_time: time, .. } = at.event;
        let Some(owner) = self.transaction.owner(*project, distinct_id)? else {
            return Ok(());
        };
        if *time >= owner.first.from {
            return Ok(());
        }
        let mut owner = owner.clone();
        owner.first.from = *time;
        let (person, ordinal) = (owner.first.person, owner.first.ordinal);
        self.transaction.set_owner(*project, distinct_id, owner);
        let member = self.transaction.member(*project, person, ordinal)?;
        let (found, mut member) =
            member.ok_or(Error::Broken("a distinct id is missing from its person"))?;
        debug_assert_eq!(found, ordinal);
        member.from = *time;
        self.transaction.put_member(*project, person, ordinal, &member);
        Ok(())
    }

    /// Tells the persons that this one was merged into that it began earlier.
    pub fn pass_on_beginning(&mut self, project: ProjectId, source: PersonId) -> Result<()> {
        let mut source = source;
        while let Some(merged) = self.transaction.head(project, source)?.merged {
            let (target, e) = (merged.into, merged.place.time);
            let rows = self.transaction.rows(project);
            let began = history::created(&rows, source, e, Time::MAX)?;
            // Where the target was known to be older as early as the merge was known, no read
            // that sees the merge is changed by it.
            let before = history::created(&rows, target, e, merged.known)?;
            if let Some(began) = began {
                if before.is_none_or(|before| began < before) {
                    let value = Some(Value::from_json("true"));
                    let state = State { current: value.clone(), set_only: value };
                    let row = Row::Merge { source, state };
                    let stored = Stored { place: merged.place, known: merged.known, row };
                    self.transaction.put_row(project, target, CREATED, &stored);
                }
                let head = self.transaction.head_mut(project, target)?;
                head.created_at = head.created_at.min(began);
            }
            source = target;
        }
        Ok(())
    }

    /// Marks a person identified from this event on.
    fn identify(&mut self, at: At, person: PersonId) -> Result<()> {
        let (project, fact) = (at.event.project, at.fact());
        let identified = self.transaction.head(project, person)?.identified;
        if let Some(identified) = identified {
            let until = Place::end_of(fact.time);
            let query = history::Query { person, property: IDENTIFIED, until, known: fact.known };
            let rows = self.transaction.rows(project);
            if identified.covers(&fact) || history::value(&rows, query, Mode::WithOnce)?.is_some() {
                return Ok(());
            }
        }
        self.put_fact(at, person, IDENTIFIED);
        if identified.is_none_or(|identified| fact.time <= identified.time) {
            self.transaction.head_mut(project, person)?.identified = Some(fact);
        }
        Ok(())
    }

    fn is_duplicate(&mut self, person: PersonId, event: &Event) -> Result<bool> {
        let Event { project, event_time, uuid, .. } = *event;
        if self.transaction.head(project, person)?.newest.is_none_or(|newest| newest < event_time) {
            return Ok(false);
        }
        self.transaction.is_recorded(project, person, (event_time, uuid))
    }

    /// Records an event's changes and the event itself. Answers whether anything was recorded,
    /// or why not.
    fn record(
        &mut self,
        at: At,
        person: PersonId,
        time: Time,
        changes: Vec<Change>,
        merged: Option<PersonId>,
    ) -> Result<std::result::Result<bool, Rejection>> {
        let effects =
            changes.iter().map(|change| (change.property, Effect::from(&change.update.action)));
        let effects: Vec<_> = effects.collect();
        let rejection = self.put_changes(at, person, time, changes)?.err();
        let effects = if rejection.is_some() { Vec::new() } else { effects };
        if effects.is_empty() && merged.is_none() {
            return Ok(rejection.map_or(Ok(false), Err));
        }
        let Event { project, event_time, .. } = *at.event;
        let head = self.transaction.head_mut(project, person)?;
        if head.newest.is_some_and(|newest| time < newest) {
            self.tally.late += 1;
        }
        head.newest = head.newest.max(Some(time));
        head.version += 1;
        let operation = Operation {
            uuid: at.event.uuid,
            event_time,
            known: at.event.known_time,
            event: at.event.name.clone(),
            distinct_id: at.event.distinct_id.clone(),
            merged,
            effects,
        };
        let place = Place { time, position: at.position };
        self.transaction.put_operation(project, person, place, &operation);
        self.transaction.set_recorded(project, person, (event_time, at.event.uuid));
        if time != event_time {
            self.leave_trace(at)?;
        }
        Ok(rejection.map_or(Ok(true), Err))
    }

    /// Leaves a trace of a merge that took effect later where a duplicate of it would be looked
    /// for: with the owner of the distinct id at the event time.
    fn leave_trace(&mut self, at: At) -> Result<()> {
        let Event { project, ref distinct_id, event_time, uuid, .. } = *at.event;
        let owner = self.transaction.owner(project, distinct_id)?;
        let Some(person) = owner.and_then(|owner| owner.at(event_time, Time::MAX)) else {
            return Ok(());
        };
        self.transaction.set_recorded(project, person, (event_time, uuid));
        let head = self.transaction.head_mut(project, person)?;
        head.newest = head.newest.max(Some(event_time));
        Ok(())
    }
}
