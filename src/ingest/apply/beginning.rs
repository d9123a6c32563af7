//! When a person began: at its own first event, or that of a person merged into it.

use super::{Applying, At};
use crate::person::history::{self, began_by, began_merged};
use crate::person::{
    CREATED, Class, Histories, Life, Merged, PersonId, Place, ProjectId, Row, Stored, Time,
};
use crate::store::Result;

impl Applying<'_, '_> {
    /// Records that the person existed at the event, unless that is known from at least as early on.
    pub fn begin(&mut self, at: At, person: PersonId) -> Result<()> {
        let (project, fact) = (at.project, at.fact());
        let began = self.transaction.head(project, person)?.began;
        let rows = self.transaction.rows(project);
        if began.covers(&fact) || history::began(&rows, person, fact.time, fact.known)?.is_some() {
            return Ok(());
        }
        self.put_fact(at, person, CREATED);
        let head = self.transaction.head_mut(project, person)?;
        head.note_ahead(fact.time, fact.known);
        if fact.time <= began.time {
            head.began = fact;
            head.created_at = head.created_at.min(fact.time);
        }
        self.pass_on_beginning(project, person)
    }

    /// Passes an earlier beginning on to the persons that this one was merged into.
    pub fn pass_on_beginning(&mut self, project: ProjectId, source: PersonId) -> Result<()> {
        // A beginning is the person's in all its lives, so no place is asked for.
        self.down_the_merges(project, source, Place::MAX, |applying, life, merged, _| {
            applying.begin_merged(project, life, merged)
        })
    }

    /// Records that the target of a merge existed from its source's beginning on. Returns whether the target
    /// begins earlier by that.
    fn begin_merged(&mut self, project: ProjectId, life: Life, merged: Merged) -> Result<bool> {
        let Merged { into: Life { person: target, .. }, place, known, .. } = merged;
        let rows = self.transaction.rows(project);
        let began = history::created(&rows, life.person, place.time, Time::MAX)?;
        let Some(began) = began else {
            return Ok(false);
        };
        // If the target was known to be at least as old when the merge was learned, no read that sees the
        // merge is changed by it.
        if history::began(&rows, target, began, known)?.is_some() {
            return Ok(false);
        }
        let last = |class, until| rows.last(target, CREATED, class, until);
        let before = place.before().map(|before| last(Class::MergeBoth, before)).transpose()?;
        let before = before.flatten().and_then(|row| began_by(&row.row));
        let olds = [last(Class::MergeBoth, place)?, last(Class::MergeCurrent, place)?];
        if let Some(old) = olds.into_iter().flatten().find(|old| old.place == place) {
            if began_by(&old.row) <= Some(began) {
                return Ok(false);
            }
            self.transaction.remove_row(project, target, CREATED, old.row.class(), place);
        }
        let counts = before.is_none_or(|before| began < before);
        let row = began_merged(Some(life), began, counts);
        self.transaction.put_row(project, target, CREATED, &Stored { place, known, row });
        if counts {
            self.no_longer_count(project, target, place, began)?;
            let head = self.transaction.head_mut(project, target)?;
            head.created_at = head.created_at.min(began);
        }
        Ok(counts)
    }

    /// Moves later merges that brought no earlier beginning to the class of rows that do not count.
    fn no_longer_count(
        &mut self,
        project: ProjectId,
        target: PersonId,
        after: Place,
        began: Time,
    ) -> Result<()> {
        loop {
            let rows = self.transaction.rows(project);
            let next = rows.first(target, CREATED, Class::MergeBoth, Some(after))?;
            let Some(Stored { place, known, row: Row::Merge { source, state } }) = next else {
                return Ok(());
            };
            let row = Row::Merge { source, state };
            let Some(later) = began_by(&row).filter(|later| *later >= began) else {
                return Ok(());
            };
            self.transaction.remove_row(project, target, CREATED, Class::MergeBoth, place);
            let row = began_merged(source, later, false);
            self.transaction.put_row(project, target, CREATED, &Stored { place, known, row });
        }
    }
}
