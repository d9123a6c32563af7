//! Deletes a person: its history, and that of the persons merged into it, is removed in one batch. What stays
//! is a tombstone for each person, and a drop rule for each distinct id.

use std::collections::{HashMap, HashSet};

use super::{Applying, At, Kind};
use crate::person::{
    CREATED, Head, Life, Lives, Merged, Ownership, PersonId, ProjectId, Row, Stored, Time,
};
use crate::store::{Deed, Joined, Result};

impl Applying<'_, '_> {
    /// Deletes the person whose current life this is.
    pub fn delete(&mut self, at: At, life: Life) -> Result<()> {
        let project = at.project;
        let at = at.moved_to(self.not_before(at, life.person)?);
        let persons = self.merged_into(project, life.person)?;
        for id in self.distinct_ids(project, life)? {
            self.drop_distinct_id(project, &id, at.effective)?;
        }
        let mut seen = HashMap::new();
        // One after the other: many persons may have been merged into this one, and their heads need not be in
        // memory at once.
        for &person in &persons {
            self.keep_values(project, person, &persons)?;
            self.forget_members(project, person, &persons, &mut seen)?;
            self.transaction.forget_sources(project, person, &persons)?;
            self.transaction.erase(project, person);
            let head = self.transaction.head(project, person)?;
            let tombstone = head.tombstone(at.fact());
            self.transaction.bury(project, person, tombstone)?;
        }
        self.record_activity(at, life.person, Deed::Deleted)?;
        self.count(Kind::Deletion);
        Ok(())
    }

    /// Returns a person and all persons that ended up in it by merges. The search also passes through persons
    /// that live on, since others may have been merged into an earlier life of theirs.
    fn merged_into(&mut self, project: ProjectId, person: PersonId) -> Result<HashSet<PersonId>> {
        let mut found = HashSet::from([person]);
        let (mut seen, mut targets) = (found.clone(), vec![person]);
        while let Some(target) = targets.pop() {
            for source in self.transaction.sources(project, target)? {
                if !seen.insert(source.person) {
                    continue;
                }
                targets.push(source.person);
                let Some(newest) = self.transaction.newest_life(project, source.person)? else {
                    continue;
                };
                if self.transaction.lives(project).now(newest)?.person == person {
                    found.insert(source.person);
                }
            }
        }
        Ok(found)
    }

    /// Removes a distinct id from all its owners, and drops its events up to a time.
    fn drop_distinct_id(&mut self, project: ProjectId, id: &str, until: Time) -> Result<()> {
        let owner = self.transaction.owner(project, id)?.cloned();
        for owned in owner.iter().flat_map(Ownership::entries) {
            if let Some((life, ordinal)) = owned.row() {
                let joined = Joined::Id(id.to_owned());
                self.transaction.remove_member(project, life, ordinal, &joined);
            }
        }
        // An earlier deletion may have a later time, if its clock was ahead.
        let until = Some(until).max(owner.and_then(|owner| owner.deleted));
        self.transaction.set_owner(project, id, None);
        self.transaction.set_dropped(project, id, until);
        Ok(())
    }

    /// Keeps the values that earlier lives of a deleted person brought to persons that stay: they no longer
    /// name their source.
    fn keep_values(
        &mut self,
        project: ProjectId,
        person: PersonId,
        deleted: &HashSet<PersonId>,
    ) -> Result<()> {
        for (life, merged) in self.transaction.merges(project, person)? {
            let Merged { into, place, .. } = merged;
            if deleted.contains(&into.person) || self.is_deleted(project, into)? {
                continue;
            }
            let head = self.transaction.head(project, person)?;
            let properties: Vec<_> = head.entries.keys().copied().chain([CREATED]).collect();
            for property in properties {
                let Some(old) = self.merge_row(project, into.person, property, place)? else {
                    continue;
                };
                if let Row::Merge { source: Some(source), state } = old.row
                    && source == life
                {
                    let row = Row::Merge { source: None, state };
                    self.transaction.put_row(
                        project,
                        into.person,
                        property,
                        &Stored { row, ..old },
                    );
                }
            }
        }
        Ok(())
    }

    /// Removes the distinct-id lists of a deleted person, except of lives that were part of persons that stay,
    /// since bundles of those point to these lists. `seen` is as for [`Applying::was_of_others`].
    fn forget_members(
        &mut self,
        project: ProjectId,
        person: PersonId,
        deleted: &HashSet<PersonId>,
        seen: &mut HashMap<Life, bool>,
    ) -> Result<()> {
        let Head { first_life, life: last, .. } = *self.transaction.head(project, person)?;
        for number in first_life..=last {
            let life = Life { person, number };
            if self.was_of_others(project, life, deleted, seen)? {
                continue;
            }
            for (ordinal, member) in self.transaction.members(project, life)? {
                self.transaction.remove_member(project, life, ordinal, &member.joined);
            }
        }
        Ok(())
    }

    /// Whether merges brought a life to a person that is not deleted, even if it went on from there. `seen` has
    /// the answer for lives met before: chains of merges have their ends in common.
    fn was_of_others(
        &self,
        project: ProjectId,
        life: Life,
        deleted: &HashSet<PersonId>,
        seen: &mut HashMap<Life, bool>,
    ) -> Result<bool> {
        let lives = self.transaction.lives(project);
        let (mut path, mut next, mut of_others) = (Vec::new(), Some(life), false);
        while let Some(life) = next {
            if let Some(known) = seen.get(&life) {
                of_others = *known;
                break;
            }
            if !deleted.contains(&life.person) {
                of_others = true;
                break;
            }
            path.push(life);
            next = lives.merged(life)?.map(|merged| merged.into);
        }
        seen.extend(path.into_iter().map(|life| (life, of_others)));
        Ok(of_others)
    }
}
