//! Persons in the order of their last change, for readers that follow changes.

use super::keys::{self, KeyReader};
use super::snapshot::Snapshot;
use super::{Family, Result, corrupt};
use crate::person::{PersonId, ProjectId};

impl Snapshot<'_> {
    /// Returns the persons whose last change has a number above `after`, in the order of these numbers and at
    /// most `limit`. Persons that were merged away or deleted are included.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn persons_by_change(
        &self,
        project: ProjectId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, PersonId)>> {
        let prefix = project.to_be_bytes();
        let mut changed = Vec::new();
        let Some(from) = after.checked_add(1) else { return Ok(changed) };
        let mut iterator = self.iterator(Family::ByChange);
        iterator.seek(keys::by_change(project, from));
        while let Some((key, person)) =
            iterator.item().filter(|(key, _)| key.starts_with(&prefix) && changed.len() < limit)
        {
            let row = keys::number_at_end(key).zip(KeyReader(person).u64());
            changed.push(row.ok_or(corrupt(Family::ByChange))?);
            iterator.next();
        }
        iterator.status()?;
        Ok(changed)
    }

    /// Returns the number of the last change in a project; 0 if there was none. It belongs to the person that
    /// changed last, so the index always contains it.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn last_change(&self, project: ProjectId) -> Result<u64> {
        let prefix = project.to_be_bytes();
        let mut iterator = self.iterator(Family::ByChange);
        iterator.seek_for_prev(keys::by_change(project, u64::MAX));
        let last = iterator.key().filter(|key| key.starts_with(&prefix));
        let last = last.and_then(keys::number_at_end).unwrap_or(0);
        iterator.status()?;
        Ok(last)
    }
}
