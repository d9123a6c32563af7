//! Tests that readers get the columns of their own snapshots, and that the cache keeps its memory limit.

use std::time::{Duration, Instant};

use super::*;
use crate::person::history::State;
use crate::person::{Entry as OfHead, FIRST_PROPERTY, Fact, PersonId, Time, Value};
use crate::store::column::LIVE;
use crate::store::snapshot::Snapshot;
use crate::store::tests::beside::beside_commits;
use crate::store::tests::opened;
use crate::store::{By, Error, Order, Start};

const PROPERTY: PropertyId = FIRST_PROPERTY;

/// Asserts that a column reads the same with and without the cache. Returns whether the cache has it.
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
    snapshot
        .each_id_with(1, None, |id| {
            kept.push(id.to_owned());
            true
        })
        .unwrap();
    let each = |id: &str, _: &[u8]| {
        on_disk.push(id.to_owned());
        Ok(true)
    };
    snapshot.each_id(1, None, each).unwrap();
    assert_eq!(kept, on_disk);
}

/// Commits a new person, and new values for some of the persons.
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
    let (_folder, store) = opened();
    let (kept, mut persons) = (AtomicU64::new(0), Vec::new());
    let commit = |number| commit(&store, number, &mut persons);
    beside_commits(&store, 150, commit, |snapshot| {
        let found = [PROPERTY, LIVE].map(|property| agree(snapshot, property));
        let found = found.into_iter().filter(|found| *found).count();
        kept.fetch_add(found as u64, Ordering::Relaxed);
        agree_on_ids(snapshot);
    });
    assert!(kept.load(Ordering::Relaxed) > 100, "the cache had a part in it");
}

#[test]
fn a_column_is_read_once_and_brought_up_to_date_then() {
    let (_folder, store) = opened();
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

#[test]
fn a_caller_that_leaves_ends_its_own_scan_but_not_what_is_in_memory() {
    let (_folder, store) = opened();
    let mut transaction = store.transaction();
    for number in 0..2_000 {
        let began = Fact { time: Time(0), known: Time(0) };
        transaction.create(1, &number.to_string(), began).unwrap();
    }
    transaction.commit().unwrap();
    let over = store.snapshot().until(Instant::now(), || false);
    assert!(matches!(over.whole(1, LIVE), Err(Error::Ended)));
    let left = store.snapshot().until(Instant::now() + Duration::from_secs(3_600), || true);
    assert!(left.whole(1, LIVE).unwrap().is_some());
    let list = |snapshot: &Snapshot<'_>| {
        let order = Order { by: By::CreatedAt, ascending: false };
        snapshot.page(1, order, Start::Offset(0), usize::MAX, None)
    };
    assert!(matches!(list(&left), Err(Error::Ended)));
    assert_eq!(list(&store.snapshot()).unwrap().unwrap().len(), 2_000);
}

fn ids(bytes: usize) -> CachedIndex {
    let mut left = Some(vec![b'a'; bytes]);
    CachedIndex::Ids(Arc::new(MemoryIds::of(|| Ok(left.take()), usize::MAX).unwrap().unwrap()))
}

fn get(cache: &ColumnCache, project: ProjectId, at: u64, bytes: usize) -> (bool, bool) {
    let mut was_read = false;
    let read = |most| {
        was_read = true;
        Ok(Some(ids(bytes)).filter(|kept| kept.bytes() <= most))
    };
    let kept = cache.get(CacheKey::Ids(project), at, || at, read).unwrap();
    (kept.is_some(), was_read)
}

#[test]
fn the_least_recently_used_column_makes_room() {
    let cache = ColumnCache::new(1_500);
    assert_eq!(get(&cache, 1, 0, 500), (true, true));
    assert_eq!(get(&cache, 2, 2, 500), (true, true));
    assert_eq!(get(&cache, 1, 4, 500), (true, false));
    assert_eq!(get(&cache, 3, 4, 500), (true, true));
    assert_eq!(get(&cache, 1, 6, 500), (true, false));
    assert_eq!(get(&cache, 2, 6, 500), (true, true), "it had made room");
    assert!(cache.bytes() <= 1_500);
    assert_eq!(get(&cache, 4, 6, 5_000), (false, true));
    assert_eq!(get(&cache, 4, 8, 5_000), (false, false), "too large once, and not tried again");
}

#[test]
fn an_overtaken_reader_puts_nothing_into_the_cache() {
    let cache = ColumnCache::new(1 << 20);
    let of = CacheKey::Ids(1);
    let slow = |_| {
        let change = (vec![0; 1 << 20], None);
        cache.note(of, 2, [change]);
        assert_eq!(get(&cache, 1, 2, 700), (true, true), "it was given up, and is read anew");
        Ok(Some(ids(500)))
    };
    assert!(cache.get(of, 0, || 0, slow).unwrap().is_some(), "right for who read it");
    let kept = cache.get(of, 4, || 4, |_| panic!("it is there")).unwrap();
    assert_eq!(kept.unwrap().bytes(), ids(700).bytes());
}

#[test]
fn an_unfinished_read_is_begun_anew() {
    let cache = ColumnCache::new(1 << 20);
    let broken = || cache.get(CacheKey::Ids(1), 0, || 0, |_| panic!("a test"));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(broken)).is_err());
    assert!(cache.get(CacheKey::Ids(1), 0, || 0, |_| Err(Error::Broken("a test"))).is_err());
    assert_eq!(get(&cache, 1, 0, 500), (true, true));
}

#[test]
fn changes_that_nobody_asks_for_are_forgotten() {
    let cache = ColumnCache::new(1 << 20);
    assert_eq!(get(&cache, 1, 0, 500), (true, true));
    for number in 0_u64..10_000 {
        let change = (number.to_be_bytes().to_vec(), Some(Vec::new()));
        cache.note(CacheKey::Ids(1), 2 * number + 2, [change]);
        assert!(cache.bytes() < 100_000, "{}", cache.bytes());
    }
    assert_eq!(get(&cache, 1, 20_000, 500), (true, true), "read anew");
}
