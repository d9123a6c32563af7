//! The history cache: rows of persons that are read again and again, in memory. A late event reads one
//! property after the other, and many late events, in one batch or in several, may be of one person.

use std::sync::Arc;

use hashbrown::HashMap;
use rocksdb::DBRawIterator;

use super::Result;
use super::keys::PERSON_BYTES;
use super::packed::Packed;
use super::staged::{Erased, Layer, RowChanges};

/// A person's rows are loaded in one scan after this many reads, if there are at most [`HELD_PER_READ`] rows
/// for each read: the scan then costs no more than the seeks did. In tests histories are short, and both ways
/// must be covered.
const READS: usize = 2;
const HELD_PER_READ: usize = if cfg!(test) { 3 } else { 128 };

/// The estimated overhead of a person, or of a pending change, in bytes.
const KNOWN: usize = 64;

/// The persons that were read, and the committed rows of one family of those that were read repeatedly.
pub struct HistoryCache {
    /// By the first bytes of their keys, which are project and person.
    persons: HashMap<[u8; PERSON_BYTES], Person>,
    /// The memory in use, in bytes.
    bytes: usize,
    /// The memory limit, in bytes.
    most: usize,
    /// The number of batches committed so far.
    batches: u64,
}

/// What is known of one person.
struct Person {
    /// How often it was read.
    reads: usize,
    /// The batch in which it was last read.
    batch: u64,
    /// The number of reads after which its rows are loaded, or loading them is tried again.
    due: usize,
    /// Its rows, if they were loaded and are not too many.
    rows: Option<Arc<Packed>>,
    /// The changes that were committed since the rows were loaded or last updated.
    changes: RowChanges,
    bytes: usize,
}

impl HistoryCache {
    /// Creates an empty cache that takes at most `most` bytes.
    #[must_use]
    pub fn new(most: usize) -> Self {
        // In tests histories are short, and some of them must be evicted.
        let most = if cfg!(test) { most.min(16 << 10) } else { most };
        Self { persons: HashMap::new(), bytes: 0, most, batches: 0 }
    }

    /// Returns all rows of the person whose project and id `prefix` begins with, if they are cached. If the
    /// person was read often enough, they are loaded with the iterator that `iterator` returns. That may or
    /// may not show the rows of `before`, so these are applied on top.
    pub fn rows<'i, 'db: 'i>(
        &mut self,
        prefix: &[u8],
        before: Option<Layer<'_>>,
        iterator: impl FnOnce() -> &'i mut DBRawIterator<'db>,
    ) -> Result<Option<Arc<Packed>>> {
        let Some(person) = prefix.first_chunk() else { return Ok(None) };
        if self.bytes > self.most {
            self.make_room();
        }
        let of = self.persons.entry(*person).or_insert_with(|| {
            self.bytes += KNOWN;
            Person {
                reads: 0,
                batch: 0,
                due: READS,
                rows: None,
                changes: RowChanges::new(),
                bytes: KNOWN,
            }
        });
        of.reads += 1;
        of.batch = self.batches;
        let rows = match of.rows.take() {
            Some(rows) if of.changes.is_empty() => {
                of.rows = Some(rows.clone());
                return Ok(Some(rows));
            }
            Some(rows) => Some(rows.with(&std::mem::take(&mut of.changes))),
            None if of.reads >= of.due => {
                of.due = of.reads * 4;
                let most = of.reads * HELD_PER_READ;
                let rows = Packed::all(person, iterator(), most, self.most / 2)?;
                rows.map(|rows| match before {
                    Some(before) => rows.with(&owned(before.within(person, person))),
                    None => rows,
                })
            }
            None => None,
        };
        of.rows = rows.map(Arc::new);
        let bytes = KNOWN + of.rows.as_ref().map_or(0, |rows| rows.bytes());
        self.bytes = self.bytes + bytes - of.bytes;
        of.bytes = bytes;
        Ok(of.rows.clone())
    }

    /// Applies a commit under way: the staged rows, and the persons erased.
    pub fn commit(&mut self, staged: &RowChanges, erased: &Erased) {
        self.batches += 1;
        for person in erased {
            let gone = person.first_chunk().and_then(|person| self.persons.remove(person));
            self.bytes -= gone.map_or(0, |of| of.bytes);
        }
        for (key, value) in staged {
            let of = key.first_chunk().and_then(|person| self.persons.get_mut(person));
            if let Some(of) = of.filter(|of| of.rows.is_some()) {
                let bytes = KNOWN + key.len() + value.as_ref().map_or(0, Vec::len);
                of.changes.insert(key.clone(), value.clone());
                of.bytes += bytes;
                self.bytes += bytes;
            }
        }
        // A person that is no longer read may still get new rows, which would accumulate without limit.
        if self.bytes > self.most {
            self.make_room();
        }
    }

    /// Evicts the persons that were read neither in this batch nor in the one before; if that does not free
    /// enough, evicts all.
    fn make_room(&mut self) {
        self.persons.retain(|_, of| of.batch + 1 >= self.batches);
        self.bytes = self.persons.values().map(|of| of.bytes).sum();
        if self.bytes > self.most / 2 {
            self.persons.clear();
            self.bytes = 0;
        }
    }
}

fn owned<'a>(rows: impl Iterator<Item = (&'a Vec<u8>, &'a Option<Vec<u8>>)>) -> RowChanges {
    rows.map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Family, tests::opened};
    use crate::store::{Store, keys};

    fn key(person: u64, row: u8) -> Vec<u8> {
        [&keys::person(1, person)[..], &[row]].concat()
    }

    /// Reads a person as often as it takes until its rows are cached.
    fn read(
        cache: &mut HistoryCache,
        store: &Store,
        person: u64,
    ) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut iterator = store.db.raw_iterator_cf(store.family(Family::History));
        let prefix = keys::person(1, person);
        for _ in 0..READS {
            cache.rows(&prefix, None, || &mut iterator).unwrap();
        }
        let rows = cache.rows(&prefix, None, || &mut iterator).unwrap()?;
        Some((0..rows.len()).map(|at| rows.row(at)).map(|(k, v)| (k.into(), v.into())).collect())
    }

    #[test]
    fn held_rows_follow_the_commits() {
        let (_folder, store) = opened();
        for row in [1, 3, 5] {
            store.damage(Family::History, &key(7, row), Some(&[row]));
        }
        let mut cache = HistoryCache::new(usize::MAX);
        let rows = |rows: &[(u8, u8)]| {
            Some(rows.iter().map(|(row, value)| (key(7, *row), vec![*value])).collect::<Vec<_>>())
        };
        assert_eq!(read(&mut cache, &store, 7), rows(&[(1, 1), (3, 3), (5, 5)]));
        let staged = [(0, Some(0)), (3, None), (4, Some(4)), (5, Some(9)), (6, Some(6))];
        let staged = staged.map(|(row, value)| (key(7, row), value.map(|value| vec![value])));
        cache.commit(&RowChanges::from(staged), &Erased::default());
        cache.commit(&RowChanges::from([(key(7, 4), None)]), &Erased::default());
        assert_eq!(read(&mut cache, &store, 7), rows(&[(0, 0), (1, 1), (5, 9), (6, 6)]));
        cache.commit(&RowChanges::new(), &Erased::from_iter([keys::person(1, 7)]));
        assert_eq!(cache.bytes, 0, "nothing of somebody erased");
    }

    #[test]
    fn the_history_cache_keeps_its_limit() {
        let (_folder, store) = opened();
        let mut cache = HistoryCache::new(usize::MAX);
        for person in 0..20 {
            store.damage(Family::History, &key(person, 1), Some(&[0; 1 << 10]));
            assert!(read(&mut cache, &store, person).is_some());
            cache.commit(&RowChanges::new(), &Erased::default());
            assert!(cache.bytes <= cache.most + (2 << 10), "{} bytes", cache.bytes);
        }
        assert!(cache.persons.len() < 20);
        let sum: usize = cache.persons.values().map(|of| of.bytes).sum();
        assert_eq!(cache.bytes, sum);
        assert!(read(&mut cache, &store, 1).is_some());
        for row in 0..u8::MAX {
            let staged = RowChanges::from([(key(1, row), Some(vec![row; 1 << 10]))]);
            cache.commit(&staged, &Erased::default());
            assert!(cache.bytes <= cache.most + (2 << 10), "{} bytes, unread", cache.bytes);
        }
    }
}
