//! The column cache: whole columns, and the distinct ids of whole projects, kept in memory once they were
//! asked for.
//!
//! A snapshot finds here exactly what it would find in the database. An entry is loaded by a snapshot that
//! was taken between two commits. Each commit notes its changes to the entry before it ends, and the next
//! snapshot taken between commits applies them. All other snapshots read the database.
//!
//! Commit counts are those of `RowCache::now`: they grow by one when a commit begins and again when it ends.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::in_memory::{MemoryColumn, MemoryIds};
use super::staged::RowChanges;
use super::{Result, Store};
use crate::person::{ProjectId, PropertyId};

/// Pending changes may take up to the size of their entry divided by this. With more, the entry is dropped.
const CHANGES_PART: usize = 4;

/// Pending changes may always take up to this many bytes, however small the entry.
const FEW_CHANGES: usize = 64 << 10;

/// The estimated overhead of a pending change, in bytes.
const CHANGE: usize = 96;

/// What an entry of the cache contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheKey {
    /// The column of a property.
    Column(ProjectId, PropertyId),
    /// The distinct ids of a project.
    Ids(ProjectId),
}

/// The value of an entry, shared by its readers.
#[derive(Clone)]
pub enum CachedIndex {
    /// A column.
    Column(Arc<MemoryColumn>),
    /// Distinct ids.
    Ids(Arc<MemoryIds>),
}

impl CachedIndex {
    fn with(&self, changes: &RowChanges) -> Option<Self> {
        Some(match self {
            Self::Column(column) => Self::Column(Arc::new(column.with(changes)?)),
            Self::Ids(ids) => Self::Ids(Arc::new(ids.with(changes)?)),
        })
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Column(column) => column.bytes(),
            Self::Ids(ids) => ids.bytes(),
        }
    }
}

/// The column cache.
pub struct ColumnCache {
    entries: Mutex<HashMap<CacheKey, Entry>>,
    /// The memory limit, in bytes.
    most: usize,
    /// The number of lookups, from which each load gets its own number.
    asked: AtomicU64,
}

struct Entry {
    state: State,
    /// The changes that are not in the value yet, each with the commit count from which on it is visible.
    changes: Vec<(u64, RowChange)>,
    changed_bytes: usize,
    /// The newest commit count at which it was asked for.
    used: u64,
}

/// The end of a key, and its new row; `None` if the row is deleted.
pub type RowChange = (Vec<u8>, Option<Vec<u8>>);

enum State {
    /// A reader is loading it or applying changes to it: the number of that load.
    Awaited(u64),
    /// The value as of this commit count.
    Kept(CachedIndex, u64),
    /// It is too large for the cache, and is not loaded again.
    TooLarge,
}

/// What a reader has to do after a lookup.
enum Found<'c> {
    /// Use this value.
    Kept(CachedIndex),
    /// Load it from the database.
    Missing(Loading<'c>),
    /// Apply these changes to the value.
    Behind(Loading<'c>, CachedIndex, RowChanges),
    /// Read the database, without the cache.
    Bypass,
}

impl ColumnCache {
    /// Creates an empty cache that takes at most `most` bytes.
    #[must_use]
    pub fn new(most: u64) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Self { entries: Mutex::default(), most, asked: AtomicU64::new(0) }
    }

    /// Returns an entry as of commit count `at`, for a snapshot that was taken at that count, between two
    /// commits. If the entry is missing, `read` loads it from that snapshot: it is given the memory limit in
    /// bytes, and returns `None` if the entry exceeds it. `now` returns the current commit count. Returns
    /// `None` if the caller has to read the database.
    ///
    /// # Errors
    /// Returns the errors of `read`.
    pub fn get(
        &self,
        of: CacheKey,
        at: u64,
        now: impl Fn() -> u64,
        read: impl FnOnce(usize) -> Result<Option<CachedIndex>>,
    ) -> Result<Option<CachedIndex>> {
        let (loading, made, otherwise) = match self.find(of, at, now) {
            Found::Kept(kept) => return Ok(Some(kept)),
            Found::Bypass => return Ok(None),
            Found::Missing(loading) => (loading, read(self.most)?, Some(State::TooLarge)),
            // If the changes cannot be applied, the entry is dropped, and the next lookup loads it again.
            Found::Behind(loading, kept, changes) => (loading, kept.with(&changes), None),
        };
        let state = match &made {
            Some(kept) if kept.bytes() > self.most => otherwise,
            Some(kept) => Some(State::Kept(kept.clone(), at)),
            None => otherwise,
        };
        loading.end(state);
        Ok(made)
    }

    fn find(&self, of: CacheKey, at: u64, now: impl Fn() -> u64) -> Found<'_> {
        let mut entries = self.lock();
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let Some(entry) = entries.get_mut(&of) else {
            // From here on commits note their changes. Only then is it checked that none began before.
            let state = State::Awaited(number);
            entries.insert(of, Entry { state, changes: Vec::new(), changed_bytes: 0, used: at });
            if now() == at {
                return Found::Missing(Loading { cache: self, of, number });
            }
            entries.remove(&of);
            return Found::Bypass;
        };
        entry.used = entry.used.max(at);
        let kept = match &entry.state {
            State::Kept(kept, since) if *since <= at => kept.clone(),
            _ => return Found::Bypass,
        };
        let due = entry.changes.partition_point(|(when, _)| *when <= at);
        if due == 0 {
            return Found::Kept(kept);
        }
        let changes = entry.changes.drain(..due).map(|(_, change)| change).collect();
        entry.changed_bytes = entry.changes.iter().map(|(_, change)| bytes_of(change)).sum();
        entry.state = State::Awaited(number);
        Found::Behind(Loading { cache: self, of, number }, kept, changes)
    }

    /// Notes the changes of a commit that is visible from commit count `when` on.
    pub fn note(&self, of: CacheKey, when: u64, changes: impl IntoIterator<Item = RowChange>) {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(&of) else { return };
        let of_what = match &entry.state {
            State::Kept(kept, _) => kept.bytes(),
            State::Awaited(_) => self.most,
            State::TooLarge => return,
        };
        for change in changes {
            entry.changed_bytes += bytes_of(&change);
            entry.changes.push((when, change));
        }
        if entry.changed_bytes > (of_what / CHANGES_PART).max(FEW_CHANGES) {
            // A load of it that is under way finds that it is gone, and does not store its result.
            entries.remove(&of);
        }
        self.make_room(&mut entries, of);
    }

    /// Evicts the values that were asked for longest ago, except `but`, until the rest fits.
    fn make_room(&self, entries: &mut HashMap<CacheKey, Entry>, but: CacheKey) {
        while entries.values().map(Entry::bytes).sum::<usize>() > self.most {
            let is_kept = |entry: &Entry| matches!(entry.state, State::Kept(..));
            let others = entries.iter().filter(|(of, entry)| **of != but && is_kept(entry));
            let Some(of) = others.min_by_key(|(_, entry)| entry.used).map(|(of, _)| *of) else {
                return;
            };
            entries.remove(&of);
        }
    }

    /// Returns the memory in use, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lock().values().map(Entry::bytes).sum::<usize>() as u64
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CacheKey, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A load of an entry, or an application of changes to it, that is under way.
struct Loading<'c> {
    cache: &'c ColumnCache,
    of: CacheKey,
    number: u64,
}

impl Loading<'_> {
    /// Stores the result in the entry. With `None` the entry is dropped, and the next lookup loads it again.
    fn end(self, state: Option<State>) {
        let mut entries = self.cache.lock();
        if let (Some(entry), Some(state)) = (self.waiting(&mut entries), state) {
            if matches!(state, State::TooLarge) {
                (entry.changes, entry.changed_bytes) = (Vec::new(), 0);
            }
            entry.state = state;
            self.cache.make_room(&mut entries, self.of);
        }
    }

    /// Returns the entry if it still waits for this load.
    fn waiting<'e>(&self, entries: &'e mut HashMap<CacheKey, Entry>) -> Option<&'e mut Entry> {
        let is_waiting =
            |entry: &&mut Entry| matches!(entry.state, State::Awaited(by) if by == self.number);
        entries.get_mut(&self.of).filter(is_waiting)
    }
}

/// Removes the entry if the load ended without a result, as after an error or a panic.
impl Drop for Loading<'_> {
    fn drop(&mut self) {
        let mut entries = self.cache.lock();
        if self.waiting(&mut entries).is_some() {
            entries.remove(&self.of);
        }
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        let kept = if let State::Kept(kept, _) = &self.state { kept.bytes() } else { 0 };
        kept + self.changed_bytes
    }
}

fn bytes_of((key, row): &RowChange) -> usize {
    CHANGE + key.len() + row.as_ref().map_or(0, Vec::len)
}

impl Store {
    /// Notes what the commit under way changes in a column or in a project's distinct ids.
    pub(super) fn note_index_changes(
        &self,
        of: CacheKey,
        changes: impl IntoIterator<Item = RowChange>,
    ) {
        // The commit count once this commit has ended.
        let when = self.row_cache.now() + 1;
        self.column_cache.note(of, when, changes);
    }
}

#[cfg(test)]
mod tests;
