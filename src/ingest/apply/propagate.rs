//! Keeps what merges brought up to date when their sources change afterwards.

use super::Applying;
use crate::person::history;
use crate::person::{
    Class, Entry, Histories, Life, Merged, PersonId, Place, ProjectId, PropertyId, Row, Stored,
};
use crate::store::Result;

impl Applying<'_, '_> {
    /// Writes the row of a merge, and updates the property in the target's head.
    pub fn put_merged(
        &mut self,
        project: ProjectId,
        target: PersonId,
        property: PropertyId,
        stored: &Stored,
    ) -> Result<()> {
        self.transaction.put_row(project, target, property, stored);
        let head = self.transaction.head(project, target)?;
        let before = head.entries.get(&property).cloned();
        let before = before.unwrap_or_default();
        if before.newest >= Some(stored.place.time) {
            return self.fold_anew(project, target, property);
        }
        // A merge that brings no value does not change the time of the newest row.
        let absent = stored.row.class() == Class::MergeAbsent;
        let newest = if absent { before.newest } else { Some(stored.place.time) };
        let entry = Entry { newest, state: before.state.then(&stored.row) };
        self.put_entry(project, target, property, entry)
    }

    /// After a property changed at a place, recomputes its merged value on the persons that this one was merged
    /// into, and on down the chain while it changes.
    pub fn pass_on(
        &mut self,
        project: ProjectId,
        source: PersonId,
        place: Place,
        property: PropertyId,
    ) -> Result<()> {
        self.down_the_merges(project, source, place, |applying, life, merged, place| {
            applying.merged_anew(project, life, merged, place, property)
        })
    }

    /// Calls `step` for each merge of a person into another, and continues from the targets for which it
    /// returns that something changed. Targets that were deleted since are skipped.
    pub fn down_the_merges(
        &mut self,
        project: ProjectId,
        source: PersonId,
        place: Place,
        mut step: impl FnMut(&mut Self, Life, Merged, Place) -> Result<bool>,
    ) -> Result<()> {
        let mut changed = vec![(source, place)];
        while let Some((source, place)) = changed.pop() {
            for (life, merged) in self.transaction.merges(project, source)? {
                if !self.is_deleted(project, merged.into)? && step(self, life, merged, place)? {
                    changed.push((merged.into.person, merged.place));
                }
            }
        }
        Ok(())
    }

    /// Recomputes the value that a merge brings, and returns whether it changed.
    fn merged_anew(
        &mut self,
        project: ProjectId,
        source: Life,
        merged: Merged,
        place: Place,
        property: PropertyId,
    ) -> Result<bool> {
        let target = merged.into.person;
        let query = self.query(project, source, property, Place::end_of(merged.place.time))?;
        // The change belongs to another life of the source than the one that was merged.
        if place > query.until || Some(place) <= query.after {
            return Ok(false);
        }
        let state = history::state(&self.transaction.rows(project), query)?;
        let old = self.merge_row(project, target, property, merged.place)?;
        if let Some(Stored { row: old, .. }) = old {
            if let Row::Merge { source: of, state: before } = &old
                && *of == Some(source)
                && before.is_written_like(&state)
            {
                return Ok(false);
            }
            self.transaction.remove_row(project, target, property, old.class(), merged.place);
        }
        let row = Row::Merge { source: Some(source), state };
        let stored = Stored { place: merged.place, known: merged.known, row };
        self.transaction.put_row(project, target, property, &stored);
        self.fold_anew(project, target, property)?;
        Ok(true)
    }

    /// Returns the row of a merge at a place.
    pub fn merge_row(
        &self,
        project: ProjectId,
        target: PersonId,
        property: PropertyId,
        place: Place,
    ) -> Result<Option<Stored>> {
        let rows = self.transaction.rows(project);
        for class in Class::MERGES {
            let row = rows.at(target, property, class, place)?;
            if row.is_some() {
                return Ok(row);
            }
        }
        Ok(None)
    }
}
