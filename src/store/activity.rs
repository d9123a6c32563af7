//! Reads of the activity log, newest first: of a whole project, or of one person.

use super::keys;
use super::snapshot::Snapshot;
use super::{Error, Family, Result, codec, corrupt, decode};
use crate::person::{PersonId, Place, ProjectId, Time};

/// An entry of the activity log: what was done to a person. It contains no values, so that it may outlive the
/// person; the values are in the person's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// The person.
    pub person: PersonId,
    /// What was done.
    pub deed: Deed,
    /// The place of its operation in the person's timeline.
    pub place: Place,
    /// When it was learned.
    pub known: Time,
    /// The label of the API key that did it; `None` if an event did.
    pub author: Option<String>,
}

impl Activity {
    /// Returns the persons in whose logs the entry is listed: the person and, for a merge, also the source.
    pub fn persons(&self) -> impl Iterator<Item = PersonId> + use<> {
        let source = match self.deed {
            Deed::Merged(source) => Some(source),
            _ => None,
        };
        source.into_iter().chain([self.person])
    }
}

/// What was done to a person. The numbers that the codec gives the variants are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Properties were set.
    Updated,
    /// Properties were deleted.
    PropertiesDeleted,
    /// Distinct ids were split off to other persons.
    Split,
    /// The person was deleted.
    Deleted,
    /// The person with this id was merged into it.
    Merged(PersonId),
}

/// A page of the activity log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActivityPage {
    /// The total number of entries in the log.
    pub count: u64,
    /// The entries of this page, newest first.
    pub entries: Vec<Activity>,
}

impl Snapshot<'_> {
    /// Returns a page of a project's log: at most `limit` entries after the newest `skip`. The cost depends
    /// on the number of entries returned, not on `skip`.
    ///
    /// # Errors
    /// If the store fails or is damaged.
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

    /// Returns a page of a person's log: at most `limit` entries after the newest `skip`. The entries are
    /// counted one by one, so the cost grows with the length of the log.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn activity_of(
        &self,
        project: ProjectId,
        person: PersonId,
        skip: u64,
        limit: usize,
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
