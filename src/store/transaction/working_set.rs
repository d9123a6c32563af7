//! What a transaction loaded, and what it changes: whoever comes next reads it while it is committed.

use std::collections::BTreeSet;

use hashbrown::HashMap;

use super::person::LoadedPerson;
use super::recency::LoadedRecency;
use crate::person::{Life, Ownership, PersonId, ProjectId};
use crate::store::staged::{Erased, RowChanges};
use crate::store::{Family, LifeSpan};

/// What a transaction loaded and what it changes, by what is loaded.
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
    /// Keys of the family.
    pub recorded: BTreeSet<Vec<u8>>,
    /// Applied before everything staged.
    pub erased: Erased,
    /// About what the staged rows of [`WorkingSet::put`] take.
    pub bytes: usize,
    /// What the persons that were loaded take on the disk.
    pub loaded_bytes: usize,
}

/// Families of which single rows are staged, in the order of [`WorkingSet::points`].
pub const POINTS: [Family; 4] = [Family::Uuid, Family::Dropped, Family::Command, Family::Activity];

/// Something as it is, and whether this transaction made it so.
pub struct Loaded<T> {
    pub value: T,
    pub dirty: bool,
}

impl Loaded<Option<Ownership>> {
    /// Who owns the distinct id now.
    pub fn person(&self, project: ProjectId) -> Option<(ProjectId, PersonId)> {
        self.value.as_ref().map(|owner| (project, owner.last().life.person))
    }

    /// A clean copy for the next transaction.
    pub fn carried(&self) -> Self {
        Self { value: self.value.clone(), dirty: false }
    }
}

impl WorkingSet {
    /// Whether a person and its recency are here, or are taken over from the transaction before. That one
    /// has both of everybody whom it changed.
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

    /// Stages a row; with `None` it is taken away.
    pub fn put(&mut self, family: Family, key: Vec<u8>, value: Option<Vec<u8>>) {
        /// What a row takes beside key and value, with the map that holds it.
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

    /// Forgets everything that histories, timelines and what is recorded hold of a person.
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

    /// A single row that is staged.
    pub fn point(&self, family: Family, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        let index = POINTS.iter().position(|of| *of == family)?;
        self.points[index].get(key)
    }

    /// Rows of commands.
    pub fn commands(&self) -> &RowChanges {
        const AT: usize = 2;
        const { assert!(matches!(POINTS[AT], Family::Command)) }
        &self.points[AT]
    }
}
