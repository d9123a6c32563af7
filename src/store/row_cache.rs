//! Recently read rows, in memory. An entry has all rows of one family whose keys begin with the same bytes:
//! project and person in families with many rows of a person, and the whole key in the others.
//!
//! A snapshot gets the same rows as from the database. An entry is added only from a snapshot that was taken
//! between two commits, and the next commit that changes its rows removes it before it writes. So while an
//! entry is here, every snapshot since then shows the same rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::sync::{Cache, DefaultLifecycle, GuardResult};
use quick_cache::{DefaultHashBuilder, Weighter};

use super::keys::PERSON_BYTES;
use super::packed::Packed;
use super::{Family, Result};

/// About how much an entry takes beside its rows, in bytes.
const ENTRY: usize = 128;

/// About how much an average entry takes, in bytes.
const USUAL: u64 = 512;

/// The row cache.
pub struct RowCache {
    rows: Cache<Vec<u8>, Cached, Bytes, DefaultHashBuilder>,
    /// How often a commit began or ended; odd while one is in progress.
    commits: AtomicU64,
    /// Whether any reader has asked for rows yet; until then commits have nothing to remove.
    is_asked: AtomicBool,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Clone)]
struct Cached {
    /// The commit count from which on snapshots show these rows.
    since: u64,
    /// `None` if there are too many to cache.
    rows: Option<Arc<Packed>>,
}

/// Weighs entries in bytes.
#[derive(Clone)]
struct Bytes;

impl Weighter<Vec<u8>, Cached> for Bytes {
    fn weight(&self, key: &Vec<u8>, cached: &Cached) -> u64 {
        (ENTRY + key.len() + cached.rows.as_ref().map_or(0, |rows| rows.bytes())) as u64
    }
}

impl RowCache {
    /// Creates an empty cache that takes at most `bytes` bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let entries = usize::try_from(bytes / USUAL).unwrap_or(usize::MAX);
        let hasher = DefaultHashBuilder::default();
        let rows = Cache::with(entries, bytes, Bytes, hasher, DefaultLifecycle::default());
        Self {
            rows,
            commits: AtomicU64::new(0),
            is_asked: AtomicBool::new(false),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// Returns the commit count. A snapshot that is taken after this call is at least as new.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }

    /// Returns whether no commit was in progress at this commit count, and none has begun since.
    #[must_use]
    pub fn is_after(&self, commits: u64) -> bool {
        commits.is_multiple_of(2) && self.now() == commits
    }

    /// Returns all rows of a family whose keys begin with `part`, as of commit count `at`; `None` if the
    /// caller has to ask the database. On a miss `read` loads them, or returns `None` if they are too many.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn rows(
        &self,
        family: Family,
        part: &[u8],
        at: u64,
        read: impl FnOnce() -> Result<Option<Packed>>,
    ) -> Result<Option<Arc<Packed>>> {
        let key = key(family, part);
        // Whether no commit has begun since the snapshot was taken. One that begins later removes the
        // placeholder that is inserted here for the rows.
        let is_newest = || self.is_after(at);
        if !self.is_asked.load(Ordering::SeqCst) {
            self.is_asked.store(true, Ordering::SeqCst);
        }
        let cached = if is_newest() {
            match self.rows.get_value_or_guard(&key[..], Some(Duration::ZERO)) {
                GuardResult::Value(cached) => Some(cached),
                GuardResult::Guard(place) if is_newest() => {
                    self.misses.fetch_add(1, Ordering::Relaxed);
                    let rows = read()?.map(Arc::new);
                    // Refused if a commit has removed the placeholder meanwhile.
                    let _ = place.insert(Cached { since: at, rows: rows.clone() });
                    return Ok(rows);
                }
                GuardResult::Guard(_) | GuardResult::Timeout => None,
            }
        } else {
            self.rows.get(&key[..])
        };
        let rows = cached.filter(|cached| cached.since <= at).and_then(|cached| cached.rows);
        let count = if rows.is_some() { &self.hits } else { &self.misses };
        count.fetch_add(1, Ordering::Relaxed);
        Ok(rows)
    }

    /// Begins a commit. The changed rows have to be reported to the result before they are written.
    pub fn begin(&self) -> Invalidation<'_> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        // A reader that asks for the first time from here on sees that a commit is in
        // progress, and inserts nothing.
        let cache = self.is_asked.load(Ordering::SeqCst).then_some(self);
        Invalidation { cache, last: Vec::new() }
    }

    /// Ends a commit that was written. A failed one stays in progress, so that nothing is inserted any more.
    pub fn end(&self) {
        self.commits.fetch_add(1, Ordering::SeqCst);
    }

    /// How often rows were found.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// How often rows were not found.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.misses.load(Ordering::Relaxed)
    }

    /// How much memory the cache takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.rows.weight()
    }
}

/// Removes from the cache what a commit in progress changes.
pub struct Invalidation<'c> {
    /// `None` if there can be nothing in it.
    cache: Option<&'c RowCache>,
    /// The key removed last: rows that share an entry come one after the other.
    last: Vec<u8>,
}

impl Invalidation<'_> {
    /// Removes the entry of a row that changes. The note that a person has too many rows stays: counting them
    /// again would slow down every reader of a busy person.
    pub fn row(&mut self, family: Family, row: &[u8]) {
        let Some((cache, part)) = self.cache.zip(part(family, row)) else { return };
        if self.last.split_first() == Some((&(family as u8), part)) {
            return;
        }
        self.last = key(family, part);
        let cached = cache.rows.peek(&self.last[..]);
        if cached.is_none_or(|cached| cached.rows.is_some()) {
            cache.rows.remove(&self.last[..]);
        }
    }
}

/// Returns the beginning of the key that rows of one entry share; `None` if the family is not cached.
fn part(family: Family, row: &[u8]) -> Option<&[u8]> {
    match family {
        family if family.lists_per_person() => row.get(..PERSON_BYTES),
        Family::Person | Family::Recency | Family::DistinctId | Family::Life | Family::Uuid => {
            Some(row)
        }
        _ => None,
    }
}

fn key(family: Family, part: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + part.len());
    key.push(family as u8);
    key.extend_from_slice(part);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::person::{Fact, Life, Owned, Ownership, Seat, Time};
    use crate::store::snapshot::Snapshot;
    use crate::store::tests::beside::beside_commits;
    use crate::store::tests::opened;
    use crate::store::walk::Walk;
    use crate::store::{Joined, Member, Store, codec, decode, keys};

    const IDS: i64 = 8;

    /// Checks that a distinct id has the same owner with the cache and without.
    fn agree_on_owner(snapshot: &Snapshot<'_>, id: &str) {
        let past = snapshot.get(Family::DistinctId, &keys::distinct_id(1, id)).unwrap();
        let past =
            past.map(|row| decode(codec::decode_ownership, &row, Family::DistinctId).unwrap());
        assert_eq!(snapshot.owner(1, id).unwrap(), past);
    }

    /// Checks that a person has the same rows with the cache and without, forward and
    /// backward. Returns how many.
    fn agree_on_members(snapshot: &Snapshot<'_>, person: u64) -> usize {
        let prefix = keys::person(1, person);
        let family = Family::PersonDistinctId;
        let owned = |(key, row): (&[u8], &[u8])| (key.to_vec(), row.to_vec());
        let rows = |mut walk: Walk<'_>| {
            let (mut forth, mut back) = (Vec::new(), Vec::new());
            walk.seek(&prefix);
            while let Some(row) = walk.item().filter(|(key, _)| key.starts_with(&prefix)) {
                forth.push(owned(row));
                walk.next();
            }
            walk.seek_for_prev([&prefix[..], &[0xff; 16]].concat());
            while let Some(row) = walk.item().filter(|(key, _)| key.starts_with(&prefix)) {
                back.push(owned(row));
                walk.prev();
            }
            walk.status().unwrap();
            back.reverse();
            assert_eq!(forth, back);
            forth
        };
        let past = rows(Walk::over(|| snapshot.iterator(family)));
        assert_eq!(rows(Walk::new(snapshot, family)), past);
        past.len()
    }

    /// Commits changes to most ids: each gets or loses its owner, and its person gains or loses one member.
    fn commit(store: &Store, number: i64) {
        let mut transaction = store.transaction();
        let own = |life| Owned { from: Time(number), known: Time(0), life, seat: Seat::Own(0) };
        for id in (0..IDS).filter(|id| (id + number) % 3 > 0) {
            let life = Life { person: id.cast_unsigned(), number: 0 };
            let owner = ((id + number) % 3 == 1).then(|| Ownership::new(own(life)));
            transaction.set_owner(1, &id.to_string(), owner);
            let joined = Joined::Id("a".to_owned());
            let member =
                Member { from: Time(number), known: Time(0), left: None, joined: joined.clone() };
            let ordinal = u32::try_from(number % 5).unwrap();
            if number % 2 == 0 {
                transaction.put_member(1, life, ordinal, &member);
            } else {
                transaction.remove_member(1, life, ordinal, &joined);
            }
        }
        transaction.commit().unwrap();
    }

    #[test]
    fn readers_beside_commits_see_what_their_snapshot_shows() {
        let (_folder, store) = opened();
        let commit = |number: u64| commit(&store, number.cast_signed());
        beside_commits(&store, 200, commit, |snapshot| {
            for id in 0..IDS {
                agree_on_owner(snapshot, &id.to_string());
                agree_on_members(snapshot, id.cast_unsigned());
            }
        });
        assert!(store.row_cache.hits() > 0 && store.row_cache.misses() > 0);
    }

    #[test]
    fn a_row_is_cached_until_it_changes() {
        let (_folder, store) = opened();
        let mut counted = (0, 0);
        let mut now = || {
            let before = counted;
            counted = (store.row_cache.hits(), store.row_cache.misses());
            (counted.0 - before.0, counted.1 - before.1)
        };
        let before = store.snapshot();
        agree_on_owner(&before, "1");
        agree_on_owner(&before, "1");
        assert_eq!(now(), (1, 1), "that there is none is known too");
        commit(&store, 0);
        agree_on_owner(&before, "1");
        assert_eq!(now(), (0, 1), "an old snapshot puts nothing in");
        agree_on_owner(&store.snapshot(), "1");
        agree_on_owner(&store.snapshot(), "1");
        assert_eq!(now(), (1, 1));
        agree_on_owner(&before, "1");
        assert_eq!(now(), (0, 1), "what is cached is too new for it");
        commit(&store, 2);
        agree_on_owner(&store.snapshot(), "1");
        assert_eq!(now(), (1, 0), "the commit changed others");
    }

    #[test]
    fn nothing_is_cached_of_persons_with_many_rows() {
        let (_folder, store) = opened();
        let mut transaction = store.transaction();
        let began = Fact { time: Time(0), known: Time(0) };
        let person = transaction.create(1, "ann", began).unwrap();
        let life = Life { person, number: 0 };
        for ordinal in 0..20 {
            let joined = Joined::Id(ordinal.to_string());
            let member = Member { from: Time(0), known: Time(0), left: None, joined };
            transaction.put_member(1, life, ordinal, &member);
        }
        transaction.commit().unwrap();
        assert_eq!(agree_on_members(&store.snapshot(), person), 20);
        assert!(store.row_cache.bytes() < 512, "{}", store.row_cache.bytes());
        let hits = store.row_cache.hits();
        assert_eq!(agree_on_members(&store.snapshot(), person), 20);
        assert_eq!(store.row_cache.hits(), hits);
    }
}
