//! The activity log, newest first: of a project, or of one person.

use super::keys;
use super::snapshot::Snapshot;
use super::{Error, Family, Result, codec, corrupt, decode};
use crate::person::{PersonId, Place, ProjectId, Time};

/// What was done to a person, as the activity log keeps it: without any value, so that it may
/// outlive the person. The values stand in the person's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// The person.
    pub person: PersonId,
    /// What was done.
    pub deed: Deed,
    /// Where its operation stands in the person's timeline.
    pub place: Place,
    /// When it was learned.
    pub known: Time,
    /// The label of the API key that did it; `None` where an event did.
    pub author: Option<String>,
}

impl Activity {
    /// In whose logs it stands: the person's, and that of one that was merged into it.
    pub fn persons(&self) -> impl Iterator<Item = PersonId> + use<> {
        let source = match self.deed {
            Deed::Merged(source) => Some(source),
            _ => None,
        };
        source.into_iter().chain([self.person])
    }
}

/// What was done to a person. The numbers of the codec are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Properties were set.
    Updated,
    /// Properties were taken away.
    PropertiesDeleted,
    /// Distinct ids were given to persons of their own.
    Split,
    /// It was deleted.
    Deleted,
    /// This person was merged into it.
    Merged(PersonId),
}

/// A part of the activity log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActivityPage {
    /// How many entries there are in all.
    pub count: u64,
    /// The entries of this part, the newest first.
    pub entries: Vec<Activity>,
}

impl Snapshot<'_> {
    /// What was done in a project, at most `limit` after the newest `skip`. Costs what is answered.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn activity(&self, project: ProjectId, skip: u64, limit: usize) -> Result<ActivityPage> {
        let prefix = keys::activities(project);
        let mut iterator = self.iterator(Family::Activity);
        iterator.seek_for_prev(keys::activity(project, u64::MAX));
        let last = iterator.key().filter(|key| key.starts_with(&prefix));
        let count = last.and_then(keys::number_at_end).map_or(0, |last| last + 1);
        let mut log = ActivityPage { count, entries: Vec::new() };
        let Some(first) = count.checked_sub(skip).and_then(|left| left.checked_sub(1)) else {
            return Ok(log);
        };
        iterator.seek_for_prev(keys::activity(project, first));
        while let Some((_, row)) =
            iterator.item().filter(|(key, _)| key.starts_with(&prefix) && log.entries.len() < limit)
        {
            log.entries.push(decode(codec::decode_activity, row, Family::Activity)?);
            iterator.prev();
        }
        iterator.status()?;
        Ok(log)
    }

    /// What was done to a person, at most `limit` after the newest `skip`. Its entries are counted one by one.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn activity_of(
        &self,
        project: ProjectId,
        person: PersonId,
        (skip, limit): (u64, usize),
    ) -> Result<ActivityPage> {
        let prefix = keys::activities_of(project, person);
        let mut iterator = self.iterator(Family::Activity);
        iterator.seek_for_prev(keys::activity_of(project, person, u64::MAX));
        let (mut log, mut ask) = (ActivityPage::default(), self.asking());
        while let Some(key) = iterator.key().filter(|key| key.starts_with(&prefix)) {
            if log.count >= skip && log.entries.len() < limit {
                let ordinal = keys::number_at_end(key).ok_or(corrupt(Family::Activity))?;
                let row = self.get(Family::Activity, &keys::activity(project, ordinal))?;
                let row = row.ok_or(Error::Broken("an entry of a person's log is of nothing"))?;
                log.entries.push(decode(codec::decode_activity, &row, Family::Activity)?);
            }
            log.count += 1;
            ask()?;
            iterator.prev();
        }
        iterator.status()?;
        Ok(log)
    }
}
