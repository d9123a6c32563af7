//! Rows that readers asked for lately, in memory: all rows of one family that begin with the same
//! bytes, which are the person's where persons have many rows, and the whole key elsewhere.
//!
//! A snapshot is answered as the database would answer it. What is here was read from a snapshot that
//! was taken between two commits, and is taken out by the next commit that changes it, before that is
//! written: as long as it is here, every snapshot since then shows the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::sync::{Cache, DefaultLifecycle, GuardResult};
use quick_cache::{DefaultHashBuilder, Weighter};

use super::keys::PERSON_BYTES;
use super::packed::Packed;
use super::{Family, Result};

/// About what an entry takes beside its rows, in bytes.
const ENTRY: usize = 128;

/// About what an entry takes, in bytes.
const USUAL: u64 = 512;

/// The rows.
pub struct RowCache {
    rows: Cache<Vec<u8>, Cached, Bytes, DefaultHashBuilder>,
    /// How often a commit began or ended: odd while one is under way.
    commits: AtomicU64,
    /// Whether anybody asked for rows yet.
    is_asked: AtomicBool,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Clone)]
struct Cached {
    /// Every snapshot that is as new as this shows them.
    since: u64,
    /// `None` where they are too many.
    rows: Option<Arc<Packed>>,
}

/// Counts bytes.
#[derive(Clone)]
struct Bytes;

impl Weighter<Vec<u8>, Cached> for Bytes {
    fn weight(&self, key: &Vec<u8>, cached: &Cached) -> u64 {
        (ENTRY + key.len() + cached.rows.as_ref().map_or(0, |rows| rows.bytes())) as u64
    }
}

impl RowCache {
    /// Holds nothing yet, and at most so many bytes later.
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

    /// How new a snapshot is that is taken after this call.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }

    /// Whether no commit began or ended since, and none was under way then.
    #[must_use]
    pub fn is_after(&self, commits: u64) -> bool {
        commits.is_multiple_of(2) && self.now() == commits
    }

    /// All rows of a family that begin with `part`, as of commit count `at`. On a miss `read` loads them, or
    /// answers `None` for too many. `None`: ask the database.
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
        // No commit began since the snapshot was taken. One that begins now takes away the place that is
        // kept here for the rows.
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
                    // Refused where a commit came between.
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

    /// Begins a commit: what it changes is to be told before it is written.
    pub fn begin(&self) -> Invalidation<'_> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        // Whoever asks for the first time from here on finds that a commit is under way, and puts nothing in.
        let cache = self.is_asked.load(Ordering::SeqCst).then_some(self);
        Invalidation { cache, last: Vec::new() }
    }

    /// Ends a commit that was written. One that failed is under way for ever.
    pub fn end(&self) {
        self.commits.fetch_add(1, Ordering::SeqCst);
    }

    /// How often rows were found.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// How often they were not.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.misses.load(Ordering::Relaxed)
    }

    /// What it takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.rows.weight()
    }
}

/// What a commit under way changes, taken out of the cache.
pub struct Invalidation<'c> {
    /// None where nothing can be in it.
    cache: Option<&'c RowCache>,
    /// What was taken out last: rows that are cached together come one after the other.
    last: Vec<u8>,
}

impl Invalidation<'_> {
    /// Takes out a row that changes. A note that a person has too many rows stays: to count them anew would
    /// slow every reader of a busy person.
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

/// The bytes that rows which are cached together have in common; `None` where none are.
fn part(family: Family, row: &[u8]) -> Option<&[u8]> {
    match family {
        Family::History | Family::Timeline | Family::PersonDistinctId => row.get(..PERSON_BYTES),
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
    use crate::store::tests::config;
    use crate::store::walk::Walk;
    use crate::store::{Joined, Member, Store, codec, decode, keys};

    const IDS: i64 = 8;

    /// Whose a distinct id is, by way of the cache and past it.
    fn agree_on_owner(snapshot: &Snapshot<'_>, id: &str) {
        let past = snapshot.get(Family::DistinctId, &keys::distinct_id(1, id)).unwrap();
        let past =
            past.map(|row| decode(codec::decode_ownership, &row, Family::DistinctId).unwrap());
        assert_eq!(snapshot.owner(1, id).unwrap(), past);
    }

    /// What a person's rows are, by way of the cache and past it, to and fro.
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

    /// One commit: each distinct id has an owner or not, and each person one member more or fewer.
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
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&config(folder.path())).unwrap();
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
    fn what_was_read_is_cached_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&config(folder.path())).unwrap();
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
    fn of_persons_with_many_rows_nothing_is_cached() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&config(folder.path())).unwrap();
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
