//! What a transaction loaded and changes. The next transaction reads it while it is being committed.

use std::collections::BTreeSet;

use hashbrown::HashMap;

use super::person::LoadedPerson;
use super::recency::LoadedRecency;
use crate::person::{Life, Ownership, PersonId, ProjectId};
use crate::store::staged::{Erased, RowChanges};
use crate::store::{Family, LifeSpan};

/// What a transaction loaded and what it changes.
#[derive(Default)]
pub struct WorkingSet {
    /// By key.
    pub owners: HashMap<Vec<u8>, Loaded<Option<Ownership>>>,
    pub persons: HashMap<(ProjectId, PersonId), LoadedPerson>,
    pub recency: HashMap<(ProjectId, PersonId), LoadedRecency>,
    /// The number of the last change in each project.
    pub last_change: HashMap<ProjectId, u64>,
    /// The ordinal of the next activity in each project.
    pub next_activity: HashMap<ProjectId, u64>,
    /// By project: the key below which no expired command rows are left.
    pub forgotten: HashMap<ProjectId, Vec<u8>>,
    pub lives: HashMap<(ProjectId, Life), LifeSpan>,
    /// Rows of the families in [`POINTS`].
    pub points: [RowChanges; POINTS.len()],
    pub history: RowChanges,
    pub timeline: RowChanges,
    pub members: RowChanges,
    pub sources: RowChanges,
    /// Keys of family `recorded`.
    pub recorded: BTreeSet<Vec<u8>>,
    /// Erased persons. Applied before everything that is staged.
    pub erased: Erased,
    /// About how much the rows staged with [`WorkingSet::put`] take, in bytes.
    pub bytes: usize,
    /// How much the loaded persons take on disk, in bytes.
    pub loaded_bytes: usize,
}

/// Families of which single rows are staged, in the order of [`WorkingSet::points`].
pub const POINTS: [Family; 4] = [Family::Uuid, Family::Dropped, Family::Command, Family::Activity];

/// A value as it is now, and whether this transaction changed it.
pub struct Loaded<T> {
    pub value: T,
    pub dirty: bool,
}

impl Loaded<Option<Ownership>> {
    /// Returns the person of the newest entry. Merges of lives may have led on from there.
    pub fn person(&self, project: ProjectId) -> Option<(ProjectId, PersonId)> {
        self.value.as_ref().map(|owner| (project, owner.last().life.person))
    }

    /// A clean copy for the next transaction.
    pub fn carried(&self) -> Self {
        Self { value: self.value.clone(), dirty: false }
    }
}

impl WorkingSet {
    /// Takes a person and its recency over from the transaction before, which has both of every person that
    /// it changed. Returns whether they are here, or were before.
    pub fn carry(&mut self, before: Option<&Self>, of: (ProjectId, PersonId)) -> bool {
        if self.persons.contains_key(&of) {
            return true;
        }
        let carried =
            before.and_then(|before| before.persons.get(&of).zip(before.recency.get(&of)));
        if let Some((person, recency)) = carried {
            self.persons.insert(of, person.carried());
            self.recency.entry(of).or_insert_with(|| recency.carried());
        }
        carried.is_some()
    }

    /// Stages a row; `None` deletes it.
    pub fn put(&mut self, family: Family, key: Vec<u8>, value: Option<Vec<u8>>) {
        /// How much a row takes beside key and value, with the map that it is in, in bytes.
        const ROW: usize = 160;
        let staged = match family {
            Family::History => &mut self.history,
            Family::Timeline => &mut self.timeline,
            Family::PersonDistinctId => &mut self.members,
            Family::Life => &mut self.sources,
            family => match POINTS.iter().position(|of| *of == family) {
                Some(index) => &mut self.points[index],
                None => unreachable!("rows of {family:?} are made when a transaction ends"),
            },
        };
        self.bytes += ROW + key.len() + value.as_ref().map_or(0, Vec::len);
        staged.insert(key, value);
    }

    /// Erases a person's history, timeline and recorded events.
    pub fn erase(&mut self, person: Vec<u8>) {
        for staged in [&mut self.history, &mut self.timeline] {
            let rows = staged.range(person.clone()..).map(|(key, _)| key);
            for key in rows.take_while(|key| key.starts_with(&person)).cloned().collect::<Vec<_>>()
            {
                staged.remove(&key);
            }
        }
        let recorded = self.recorded.range(person.clone()..);
        for key in recorded.take_while(|key| key.starts_with(&person)).cloned().collect::<Vec<_>>()
        {
            self.recorded.remove(&key);
        }
        self.erased.insert(person);
    }

    /// Returns a staged row of one of the families in [`POINTS`], if there is one.
    pub fn point(&self, family: Family, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        let index = POINTS.iter().position(|of| *of == family)?;
        self.points[index].get(key)
    }

    /// Returns the staged rows of commands.
    pub fn commands(&self) -> &RowChanges {
        const AT: usize = 2;
        const { assert!(matches!(POINTS[AT], Family::Command)) }
        &self.points[AT]
    }
}
