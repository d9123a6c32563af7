//! Rows of persons that are asked for again and again, in memory: a late event asks for property
//! after property, and many of them, in one batch or in several, may be of one person.

use std::sync::Arc;

use hashbrown::HashMap;
use rocksdb::DBRawIterator;

use super::Result;
use super::keys::PERSON_BYTES;
use super::packed::Packed;
use super::staged::{Erased, Layer, RowChanges};

/// A person's rows are loaded in one walk once it was read so often, where there are at most `HELD_PER_READ` for
/// each of the reads: the walk then costs no more than the seeks did. Tests have short histories and must come
/// by both ways.
const READS: usize = 2;
const HELD_PER_READ: usize = if cfg!(test) { 3 } else { 128 };

/// About what it takes to know of somebody, or of a change, beside the rows, in bytes.
const KNOWN: usize = 64;

/// Persons who were read more than once, with their rows of one family as they are committed.
pub struct HistoryCache {
    /// By the first bytes of their keys.
    persons: HashMap<[u8; PERSON_BYTES], Person>,
    /// What they take.
    bytes: usize,
    /// What they may take.
    most: usize,
    /// How many batches were committed.
    batches: u64,
}

/// What is held of one person.
struct Person {
    /// How often it was read.
    reads: usize,
    /// The batch in which it was read last.
    batch: u64,
    /// After so many reads it is walked through, or again.
    due: usize,
    /// Its rows, where they are not too many.
    rows: Option<Arc<Packed>>,
    /// What was committed since they were put together.
    changes: RowChanges,
    bytes: usize,
}

impl HistoryCache {
    /// Holds nobody yet, and at most so many bytes later.
    #[must_use]
    pub fn new(most: usize) -> Self {
        // Tests have short histories and must see some of them let go.
        let most = if cfg!(test) { most.min(16 << 10) } else { most };
        Self { persons: HashMap::new(), bytes: 0, most, batches: 0 }
    }

    /// All rows of the person whose keys begin like `prefix`, where they are held. Where it was read
    /// often enough, they are walked through with what `iterator` answers, which may or may not have what
    /// `before` has.
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
                let most = (of.reads * HELD_PER_READ, self.most / 2);
                let rows = Packed::all(person, iterator(), most)?;
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

    /// Takes up what is being committed.
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
        // Somebody whom no late event asks for any more may have new rows for ever.
        if self.bytes > self.most {
            self.make_room();
        }
    }

    /// Lets those go who were read neither in this batch nor in the one before, and where that is not
    /// enough everybody.
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
    use crate::store::{Family, tests::config};
    use crate::store::{Store, keys};

    fn key(person: u64, row: u8) -> Vec<u8> {
        [&keys::person(1, person)[..], &[row]].concat()
    }

    /// Reads as often as it takes until somebody is held.
    fn read(
        held: &mut HistoryCache,
        store: &Store,
        person: u64,
    ) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut iterator = store.db.raw_iterator_cf(store.family(Family::History));
        let prefix = keys::person(1, person);
        for _ in 0..READS {
            held.rows(&prefix, None, || &mut iterator).unwrap();
        }
        let rows = held.rows(&prefix, None, || &mut iterator).unwrap()?;
        Some((0..rows.len()).map(|at| rows.row(at)).map(|(k, v)| (k.into(), v.into())).collect())
    }

    #[test]
    fn what_is_held_is_what_was_committed_since() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&config(folder.path())).unwrap();
        for row in [1, 3, 5] {
            store.damage(Family::History, &key(7, row), Some(&[row]));
        }
        let mut held = HistoryCache::new(usize::MAX);
        let rows = |rows: &[(u8, u8)]| {
            Some(rows.iter().map(|(row, value)| (key(7, *row), vec![*value])).collect::<Vec<_>>())
        };
        assert_eq!(read(&mut held, &store, 7), rows(&[(1, 1), (3, 3), (5, 5)]));
        let staged = [(0, Some(0)), (3, None), (4, Some(4)), (5, Some(9)), (6, Some(6))];
        let staged = staged.map(|(row, value)| (key(7, row), value.map(|value| vec![value])));
        held.commit(&RowChanges::from(staged), &Erased::default());
        held.commit(&RowChanges::from([(key(7, 4), None)]), &Erased::default());
        assert_eq!(read(&mut held, &store, 7), rows(&[(0, 0), (1, 1), (5, 9), (6, 6)]));
        held.commit(&RowChanges::new(), &Erased::from_iter([keys::person(1, 7)]));
        assert_eq!(held.bytes, 0, "nothing of somebody erased");
    }

    #[test]
    fn only_so_much_is_held() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&config(folder.path())).unwrap();
        let mut held = HistoryCache::new(usize::MAX);
        for person in 0..20 {
            store.damage(Family::History, &key(person, 1), Some(&[0; 1 << 10]));
            assert!(read(&mut held, &store, person).is_some());
            held.commit(&RowChanges::new(), &Erased::default());
            assert!(held.bytes <= held.most + (2 << 10), "{} bytes", held.bytes);
        }
        assert!(held.persons.len() < 20);
        let sum: usize = held.persons.values().map(|of| of.bytes).sum();
        assert_eq!(held.bytes, sum);
        assert!(read(&mut held, &store, 1).is_some());
        for row in 0..u8::MAX {
            let staged = RowChanges::from([(key(1, row), Some(vec![row; 1 << 10]))]);
            held.commit(&staged, &Erased::default());
            assert!(held.bytes <= held.most + (2 << 10), "{} bytes, unread", held.bytes);
        }
    }
}
