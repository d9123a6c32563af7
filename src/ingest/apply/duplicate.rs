//! Detects duplicates of events: each event counts once, whichever person its distinct id went to meanwhile.

use super::{Applying, At};
use crate::person::{Ownership, PersonId, Time, identity};
use crate::store::Result;

impl At<'_> {
    /// Returns this event under its [`identity::identity_only_uuid`].
    pub fn identity_only(self) -> Self {
        Self { uuid: identity::identity_only_uuid(self.uuid), ..self }
    }
}

impl Applying<'_, '_> {
    /// Whether an event is recorded on the person that it goes to, or on the previous owner of its distinct
    /// id, if that one gave the id away exactly at the event's time.
    pub fn is_duplicate(
        &mut self,
        person: PersonId,
        at: At,
        owner: Option<&Ownership>,
    ) -> Result<bool> {
        if self.is_recorded(person, at)? {
            return Ok(true);
        }
        let head = self.transaction.head(at.project, person)?;
        let changed = head.newest.max(head.ownership_changed);
        let (Some(owner), true) = (owner, changed >= Some(at.time)) else {
            return Ok(false);
        };
        let lives = self.transaction.lives(at.project);
        let before = owner.at(&lives, Time(at.time.0.saturating_sub(1)), Time::MAX)?;
        match before.filter(|before| before.person != person) {
            Some(before) if !self.is_deleted(at.project, before)? => {
                self.is_recorded(before.person, at)
            }
            _ => Ok(false),
        }
    }

    fn is_recorded(&mut self, person: PersonId, at: At) -> Result<bool> {
        let head = self.transaction.head(at.project, person)?;
        if head.newest.is_none_or(|newest| newest < at.time) {
            return Ok(false);
        }
        self.transaction.is_recorded(at.project, person, at.time, at.uuid)
    }

    /// Leaves a trace of an event that took effect later, or only on identity. It is left where a duplicate is
    /// looked for: on the owner of the distinct id at the event time.
    pub fn leave_trace(&mut self, at: At) -> Result<()> {
        let owner = self.transaction.owner(at.project, at.distinct_id)?.cloned();
        let lives = self.transaction.lives(at.project);
        let owner = owner.map(|owner| owner.at(&lives, at.time, Time::MAX)).transpose()?;
        let Some(life) = owner.flatten() else {
            return Ok(());
        };
        if !self.is_deleted(at.project, life)? {
            self.transaction.set_recorded(at.project, life.person, at.time, at.uuid);
            let head = self.transaction.head_mut(at.project, life.person)?;
            head.newest = head.newest.max(Some(at.time));
        }
        Ok(())
    }
}
