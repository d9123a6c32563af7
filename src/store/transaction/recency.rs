//! The recency of persons: when they were last seen, and in which order they changed.

use hashbrown::hash_map::Entry;

use super::Transaction;
use crate::person::{PersonId, ProjectId, Time};
use crate::store::{Family, Result, codec, decode, keys};

/// When a person was last seen, and which was its last change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recency {
    /// Its newest event time, floored to the hour; `None` if no event showed the person, or it was deleted.
    pub seen: Option<Time>,
    /// The number of its last change. A record takes the project's next number for each person
    /// that it changes, from 1 on.
    pub change: u64,
}

/// The recency of a person, now and before this transaction.
#[derive(Clone, Copy, Default)]
pub(super) struct LoadedRecency {
    pub now: Recency,
    pub before: Recency,
}

impl LoadedRecency {
    /// Decodes the committed recency. Without a row it is that of a person that never changed.
    pub fn committed(bytes: Option<&[u8]>) -> Result<Self> {
        let found = bytes.map(|bytes| decode(codec::decode_recency, bytes, Family::Recency));
        let before = found.transpose()?.unwrap_or_default();
        Ok(Self { now: before, before })
    }

    pub fn is_changed(&self) -> bool {
        self.now != self.before
    }

    /// A clean copy for the next transaction.
    pub fn carried(&self) -> Self {
        Self { now: self.now, before: self.now }
    }
}

impl Transaction<'_> {
    /// When a person was last seen.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn last_seen(&mut self, project: ProjectId, person: PersonId) -> Result<Option<Time>> {
        Ok(self.loaded_recency(project, person)?.now.seen)
    }

    /// Notes that a person was seen at `time`. An earlier time than the last one changes nothing.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn mark_seen(&mut self, project: ProjectId, person: PersonId, time: Time) -> Result<()> {
        let hour = Some(time.floor_to_hour());
        let loaded = self.loaded_recency(project, person)?;
        if hour > loaded.now.seen {
            loaded.now.seen = hour;
            self.touched.insert((project, person));
        }
        Ok(())
    }

    /// Ends a record: each person that it changed gets the next number of its project. So the numbers follow
    /// the order of the records, however these are cut into batches.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn number_changes(&mut self) -> Result<()> {
        for (project, person) in std::mem::take(&mut self.touched) {
            let carried = self.before.as_ref().and_then(|before| before.last_change.get(&project));
            let last = match self.working.last_change.entry(project) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(match carried {
                    Some(last) => *last,
                    None => self.store.snapshot().last_change(project)?,
                }),
            };
            *last += 1;
            let change = *last;
            self.loaded_recency(project, person)?.now.change = change;
        }
        Ok(())
    }

    pub(super) fn loaded_recency(
        &mut self,
        project: ProjectId,
        person: PersonId,
    ) -> Result<&mut LoadedRecency> {
        let before = self.before.as_deref();
        match self.working.recency.entry((project, person)) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                if let Some(carried) = before.and_then(|before| before.recency.get(entry.key())) {
                    return Ok(entry.insert(carried.carried()));
                }
                let found = self.store.get(Family::Recency, &keys::person(project, person))?;
                Ok(entry.insert(LoadedRecency::committed(found.as_deref())?))
            }
        }
    }
}
