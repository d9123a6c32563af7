//! Columns that were asked for, and the distinct ids of projects, whole and in memory.
//!
//! A snapshot gets what it would find in the database. One that was taken between two commits reads it
//! there; each commit tells what it changes before it ends, and the next such snapshot takes that up. All
//! other snapshots go to the database.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::whole::{Changes, Ids, Whole};
use super::{Result, Store};
use crate::person::{ProjectId, PropertyId};

/// Changes that nobody asks for may take this part of what they change, and then it is forgotten.
const CHANGES_PART: usize = 4;

/// Changes of so many bytes are kept of however little.
const FEW_CHANGES: usize = 64 << 10;

/// About what a change takes beside its bytes.
const CHANGE: usize = 96;

/// What is kept whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Of {
    /// The column of a property.
    Column(ProjectId, PropertyId),
    /// The distinct ids of a project.
    Ids(ProjectId),
}

/// It, as a reader gets it.
#[derive(Clone)]
pub enum Kept {
    /// A column.
    Column(Arc<Whole>),
    /// Distinct ids.
    Ids(Arc<Ids>),
}

impl Kept {
    fn with(&self, changes: &Changes) -> Option<Self> {
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
    entries: Mutex<HashMap<Of, Entry>>,
    /// How many bytes it may take.
    most: usize,
}

struct Entry {
    state: State,
    /// What was committed since, and after how many commits it holds.
    changes: Vec<(u64, Change)>,
    changed_bytes: usize,
    /// After how many commits it was asked for last.
    used: u64,
}

/// The end of a key, and the row or none any more.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

enum State {
    /// Somebody reads it, or takes up changes.
    Made,
    /// The same, but too much changed meanwhile.
    Spoiled,
    /// As it was after so many commits.
    Kept(Kept, u64),
    /// It is too large to be kept.
    TooLarge,
}

/// What a reader is to do.
enum Found {
    /// To take it.
    Kept(Kept),
    /// To read it.
    Missing,
    /// To take up changes.
    Behind(Kept, Changes),
    /// To go to the database.
    Nothing,
}

impl ColumnCache {
    /// Keeps nothing yet, and at most so many bytes later.
    #[must_use]
    pub fn new(most: u64) -> Self {
        Self { entries: Mutex::default(), most: usize::try_from(most).unwrap_or(usize::MAX) }
    }

    /// What a snapshot shows that was taken after `at` commits and before the next one began. Where it is not
    /// kept yet, `read` reads it from that snapshot, and answers `None` where it takes more than so many
    /// bytes; `now` tells how many commits there were. `None` where the database is to be asked.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn get(
        &self,
        of: Of,
        at: u64,
        now: impl Fn() -> u64,
        read: impl FnOnce(usize) -> Result<Option<Kept>>,
    ) -> Result<Option<Kept>> {
        let found = self.find(of, at, now);
        let (made, otherwise) = match found {
            Found::Kept(kept) => return Ok(Some(kept)),
            Found::Nothing => return Ok(None),
            Found::Missing => (read(self.most), Some(State::TooLarge)),
            // It is read anew by the next who asks.
            Found::Behind(kept, changes) => (Ok(kept.with(&changes)), None),
        };
        let mut entries = self.lock();
        let state = match &made {
            Ok(Some(kept)) => Some(State::Kept(kept.clone(), at)),
            Ok(None) => otherwise,
            Err(_) => None,
        };
        match (entries.get_mut(&of), state) {
            (Some(entry @ Entry { state: State::Made, .. }), Some(state)) => entry.state = state,
            _ => _ = entries.remove(&of),
        }
        self.make_room(&mut entries, of);
        made
    }

    fn find(&self, of: Of, at: u64, now: impl Fn() -> u64) -> Found {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(&of) else {
            // From here on commits tell what they change.
            let (state, changes) = (State::Made, Vec::new());
            entries.insert(of, Entry { state, changes, changed_bytes: 0, used: at });
            if now() == at {
                return Found::Missing;
            }
            entries.remove(&of);
            return Found::Nothing;
        };
        entry.used = entry.used.max(at);
        let kept = match &entry.state {
            State::Kept(kept, since) if *since <= at => kept.clone(),
            _ => return Found::Nothing,
        };
        let due = entry.changes.partition_point(|(when, _)| *when <= at);
        if due == 0 {
            return Found::Kept(kept);
        }
        let changes = entry.changes.drain(..due).map(|(_, change)| change).collect();
        entry.changed_bytes = entry.changes.iter().map(|(_, change)| bytes_of(change)).sum();
        entry.state = State::Made;
        Found::Behind(kept, changes)
    }

    /// Tells what a commit changes that holds after `when` of them.
    pub fn note(&self, of: Of, when: u64, changes: impl IntoIterator<Item = Change>) {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(&of) else { return };
        let of_what = match &entry.state {
            State::Kept(kept, _) => kept.bytes(),
            State::Made => self.most,
            State::Spoiled | State::TooLarge => return,
        };
        for change in changes {
            entry.changed_bytes += bytes_of(&change);
            entry.changes.push((when, change));
        }
        if entry.changed_bytes > (of_what / CHANGES_PART).max(FEW_CHANGES) {
            if matches!(entry.state, State::Made) {
                (entry.state, entry.changes) = (State::Spoiled, Vec::new());
            } else {
                entries.remove(&of);
            }
        }
    }

    /// Forgets what was not asked for longest, where all of it takes too much; but for one.
    fn make_room(&self, entries: &mut HashMap<Of, Entry>, but: Of) {
        while entries.values().map(Entry::bytes).sum::<usize>() > self.most {
            let others = entries.iter().filter(|(of, entry)| **of != but && entry.bytes() > 0);
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

    fn lock(&self) -> MutexGuard<'_, HashMap<Of, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        let kept = if let State::Kept(kept, _) = &self.state { kept.bytes() } else { 0 };
        kept + self.changed_bytes
    }
}

fn bytes_of((key, row): &Change) -> usize {
    CHANGE + key.len() + row.as_ref().map_or(0, Vec::len)
}

impl Store {
    /// Tells what the commit under way changes in a column or in a project's distinct ids.
    pub(super) fn tell(&self, of: Of, changes: impl IntoIterator<Item = Change>) {
        // When it has ended.
        let when = self.row_cache.now() + 1;
        self.column_cache.note(of, when, changes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;
    use crate::person::history::State;
    use crate::person::{Entry as OfHead, FIRST_PROPERTY, Fact, PersonId, Time, Value};
    use crate::store::column::LIVE;
    use crate::store::snapshot::Snapshot;
    use crate::store::tests::config;

    const PROPERTY: PropertyId = FIRST_PROPERTY;

    /// What a column is by way of the cache, which has it or not, and past it.
    fn agree(snapshot: &Snapshot<'_>, property: PropertyId) -> bool {
        let rows = |mut column: crate::store::column::Column<'_>| {
            let mut rows = Vec::new();
            while let Some(person) = column.person().unwrap() {
                rows.push((person, column.value().to_vec()));
                column.next();
            }
            rows
        };
        let on_disk = snapshot.column_on_disk(1, property, 0..PersonId::MAX);
        assert_eq!(rows(snapshot.column(1, property).unwrap()), rows(on_disk));
        snapshot.whole(1, property).unwrap().is_some()
    }

    fn agree_on_ids(snapshot: &Snapshot<'_>) {
        let (mut kept, mut on_disk) = (Vec::new(), Vec::new());
        let go_on = || true;
        snapshot
            .each_id_with(1, None, &go_on, |id| {
                kept.push(id.to_owned());
                true
            })
            .unwrap();
        let each = |id: &str, _: &[u8]| {
            on_disk.push(id.to_owned());
            Ok(true)
        };
        snapshot.each_id(1, None, &go_on, each).unwrap();
        assert_eq!(kept, on_disk);
    }

    /// One commit: somebody new, and another value for some.
    fn commit(store: &Store, number: u64, persons: &mut Vec<PersonId>) {
        let mut transaction = store.transaction();
        let began = Fact { time: Time(0), known: Time(0) };
        persons.push(transaction.create(1, &number.to_string(), began).unwrap());
        for person in persons.iter().filter(|person| (*person + number).is_multiple_of(3)) {
            let current =
                (!number.is_multiple_of(4)).then(|| Value::from_json(&(number % 7).to_string()));
            let state = State { current, set_only: None };
            let entry = OfHead { newest: Some(Time(0)), state };
            transaction.head_mut(1, *person).unwrap().put(PROPERTY, 1, entry);
        }
        transaction.commit().unwrap();
    }

    #[test]
    fn readers_beside_commits_get_the_columns_of_their_snapshot() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&config(folder.path())).unwrap();
        let (is_done, rounds, kept) =
            (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let read = || {
                while !is_done.load(Ordering::Relaxed) {
                    let snapshots = [store.snapshot(), store.snapshot()];
                    for snapshot in snapshots.iter().rev().chain(&snapshots) {
                        let found = [PROPERTY, LIVE].map(|property| agree(snapshot, property));
                        let found = found.into_iter().filter(|found| *found).count();
                        kept.fetch_add(found as u64, Ordering::Relaxed);
                        agree_on_ids(snapshot);
                    }
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            };
            let readers = [scope.spawn(read), scope.spawn(read), scope.spawn(read)];
            let mut persons = Vec::new();
            for number in 0..150 {
                commit(&store, number, &mut persons);
                // Every other commit comes while they read what was before it.
                let until = rounds.load(Ordering::Relaxed) + 3 * (number % 2);
                let is_reading = || readers.iter().all(|reader| !reader.is_finished());
                while rounds.load(Ordering::Relaxed) < until && is_reading() {
                    std::thread::yield_now();
                }
            }
            is_done.store(true, Ordering::Relaxed);
            for reader in readers {
                reader.join().unwrap();
            }
        });
        assert!(kept.load(Ordering::Relaxed) > 100, "the cache had a part in it");
    }

    #[test]
    fn a_column_is_read_once_and_brought_up_to_date_then() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&config(folder.path())).unwrap();
        let mut persons = Vec::new();
        commit(&store, 1, &mut persons);
        let before = store.snapshot();
        assert!(agree(&before, PROPERTY));
        commit(&store, 2, &mut persons);
        assert!(agree(&before, PROPERTY), "as it was");
        assert!(agree(&store.snapshot(), PROPERTY), "as it is");
        assert!(!agree(&before, PROPERTY), "what is kept is too new for it");
        assert!(!agree(&before, LIVE), "it puts nothing in any more");
        assert!(agree(&store.snapshot(), LIVE));
    }

    fn ids(bytes: usize) -> Kept {
        let mut left = Some(vec![b'a'; bytes]);
        Kept::Ids(Arc::new(Ids::of(|| Ok(left.take()), usize::MAX).unwrap().unwrap()))
    }

    fn get(cache: &ColumnCache, project: ProjectId, at: u64, bytes: usize) -> (bool, bool) {
        let mut was_read = false;
        let read = |most| {
            was_read = true;
            Ok(Some(ids(bytes)).filter(|kept| kept.bytes() <= most))
        };
        let kept = cache.get(Of::Ids(project), at, || at, read).unwrap();
        (kept.is_some(), was_read)
    }

    #[test]
    fn what_was_not_asked_for_longest_makes_room() {
        let cache = ColumnCache::new(3_000);
        assert_eq!(get(&cache, 1, 0, 500), (true, true));
        assert_eq!(get(&cache, 2, 2, 500), (true, true));
        assert_eq!(get(&cache, 1, 4, 500), (true, false));
        assert_eq!(get(&cache, 3, 4, 500), (true, true));
        assert_eq!(get(&cache, 1, 6, 500), (true, false));
        assert_eq!(get(&cache, 2, 6, 500), (true, true), "it had made room");
        assert!(cache.bytes() <= 3_000);
        assert_eq!(get(&cache, 4, 6, 5_000), (false, true));
        assert_eq!(get(&cache, 4, 8, 5_000), (false, false), "too large once, and not tried again");
    }

    #[test]
    fn changes_that_nobody_asks_for_are_forgotten() {
        let cache = ColumnCache::new(1 << 20);
        assert_eq!(get(&cache, 1, 0, 500), (true, true));
        for number in 0_u64..10_000 {
            let change = (number.to_be_bytes().to_vec(), Some(Vec::new()));
            cache.note(Of::Ids(1), 2 * number + 2, [change]);
            assert!(cache.bytes() < 100_000, "{}", cache.bytes());
        }
        assert_eq!(get(&cache, 1, 20_000, 500), (true, true), "read anew");
    }
}
