//! Columns that were asked for, and the distinct ids of projects, whole and in memory.
//!
//! A snapshot gets what it would find in the database. One that was taken between two commits reads it
//! there; each commit tells what it changes before it ends, and the next such snapshot takes that up. All
//! other snapshots go to the database.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::in_memory::{MemoryColumn, MemoryIds};
use super::staged::RowChanges;
use super::{Result, Store};
use crate::person::{ProjectId, PropertyId};

/// Pending changes may take 1 / this of what they change; beyond that the entry is dropped.
const CHANGES_PART: usize = 4;

/// Pending changes may always take so many bytes, however small the entry.
const FEW_CHANGES: usize = 64 << 10;

/// About what a change takes beside its bytes.
const CHANGE: usize = 96;

/// What is kept whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheKey {
    /// The column of a property.
    Column(ProjectId, PropertyId),
    /// The distinct ids of a project.
    Ids(ProjectId),
}

/// The cached value that readers share.
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

/// All that is kept.
pub struct ColumnCache {
    entries: Mutex<HashMap<CacheKey, Entry>>,
    /// How many bytes it may take.
    most: usize,
    /// How often somebody asked.
    asked: AtomicU64,
}

struct Entry {
    state: State,
    /// What was committed since, and after how many commits it holds.
    changes: Vec<(u64, RowChange)>,
    changed_bytes: usize,
    /// After how many commits it was asked for last.
    used: u64,
}

/// The end of a key, and the row or none any more.
pub type RowChange = (Vec<u8>, Option<Vec<u8>>);

enum State {
    /// Somebody reads it, or takes up changes: who, by number.
    Awaited(u64),
    /// As it was after so many commits.
    Kept(CachedIndex, u64),
    /// It is too large to be kept.
    TooLarge,
}

/// What a reader is to do.
enum Found<'c> {
    /// To take it.
    Kept(CachedIndex),
    /// To read it.
    Missing(Loading<'c>),
    /// To take up changes.
    Behind(Loading<'c>, CachedIndex, RowChanges),
    /// To go to the database.
    Bypass,
}

impl ColumnCache {
    /// Keeps nothing yet, and at most so many bytes later.
    #[must_use]
    pub fn new(most: u64) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Self { entries: Mutex::default(), most, asked: AtomicU64::new(0) }
    }

    /// What a snapshot shows that was taken after `at` commits and before the next one began. Where it is not
    /// kept yet, `read` reads it from that snapshot, and answers `None` where it takes more than so many
    /// bytes; `now` tells how many commits there were. `None` where the database is to be asked.
    ///
    /// # Errors
    /// Those of `read`.
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
            // Where that cannot be, the next who asks reads it anew.
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
            // From here on commits tell what they change.
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

    /// Tells what a commit changes that holds after `when` of them.
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
            // Whoever makes it finds that it is not wanted any more.
            entries.remove(&of);
        }
        self.make_room(&mut entries, of);
    }

    /// Drops what was asked for longest ago, except `but`, until all fits.
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

    /// What it takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lock().values().map(Entry::bytes).sum::<usize>() as u64
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CacheKey, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is being made, and by whom.
struct Loading<'c> {
    cache: &'c ColumnCache,
    of: CacheKey,
    number: u64,
}

impl Loading<'_> {
    /// Puts it where it is waited for; `None` leaves it to the next who asks.
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

    /// The entry, where it still waits for this one.
    fn waiting<'e>(&self, entries: &'e mut HashMap<CacheKey, Entry>) -> Option<&'e mut Entry> {
        let is_waiting =
            |entry: &&mut Entry| matches!(entry.state, State::Awaited(by) if by == self.number);
        entries.get_mut(&self.of).filter(is_waiting)
    }
}

/// Whatever came between, nobody waits for it any more.
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
    /// Tells what the commit under way changes in a column or in a project's distinct ids.
    pub(super) fn note_index_changes(
        &self,
        of: CacheKey,
        changes: impl IntoIterator<Item = RowChange>,
    ) {
        // When it has ended.
        let when = self.row_cache.now() + 1;
        self.column_cache.note(of, when, changes);
    }
}

#[cfg(test)]
mod tests;
