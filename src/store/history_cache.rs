//! The history cache: the rows of persons whose histories are read again and again. A late event reads one
//! property after the other, and many late events, in one batch or in several, may be of one person.
//!
//! It belongs to the transaction, and is passed on to the one that follows. It shows what the transaction
//! sees: committed rows, those of the transaction before, and its own.

use std::sync::Arc;

use hashbrown::HashMap;

use super::Result;
use super::person_history::PersonHistory;
use crate::person::{Class, PersonId, Place, ProjectId, PropertyId};

/// A person's rows are loaded in one scan after this many reads, if there are at most [`HELD_PER_READ`] rows
/// for each read: the scan then costs no more than the seeks did. In tests histories are short, and both ways
/// must be covered.
const READS: usize = 2;
const HELD_PER_READ: usize = if cfg!(test) { 3 } else { 128 };

/// The estimated overhead of a person, in bytes.
const KNOWN: usize = 96;

/// The persons that were read, and the rows of those that were read repeatedly.
pub struct HistoryCache {
    persons: HashMap<(ProjectId, PersonId), Known>,
    /// The memory in use, in bytes.
    bytes: usize,
    /// The memory limit, in bytes.
    most: usize,
    /// The number of transactions so far.
    transactions: u64,
}

/// What is known of one person.
struct Known {
    /// How often a property of it was read.
    reads: usize,
    /// The transaction in which it was last read.
    transaction: u64,
    /// The number of reads after which its rows are loaded, or loading them is tried again.
    due: usize,
    /// Its rows, if they were loaded and are not too many.
    history: Option<Arc<PersonHistory>>,
}

/// The most rows, and bytes of rows, that are loaded of a person.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// How many rows.
    pub rows: usize,
    /// How many bytes.
    pub bytes: usize,
}

impl HistoryCache {
    /// Creates an empty cache that takes at most `most` bytes.
    #[must_use]
    pub fn new(most: usize) -> Self {
        // In tests histories are short, and some of them must be evicted.
        let most = if cfg!(test) { most.min(16 << 10) } else { most };
        Self { persons: HashMap::new(), bytes: 0, most, transactions: 0 }
    }

    /// Returns all rows of a person of which a property is to be read, if they are cached. If the person was
    /// read often enough, `load` loads them, or returns `None` if they are too many.
    ///
    /// # Errors
    /// Those of `load`.
    pub fn history(
        &mut self,
        of: (ProjectId, PersonId),
        load: impl FnOnce(Most) -> Result<Option<PersonHistory>>,
    ) -> Result<Option<Arc<PersonHistory>>> {
        self.keep_limit();
        let known = self.persons.entry(of).or_insert_with(|| {
            self.bytes += KNOWN;
            Known { reads: 0, transaction: 0, due: READS, history: None }
        });
        known.reads += 1;
        known.transaction = self.transactions;
        if known.history.is_none() && known.reads >= known.due {
            known.due = known.reads * 4;
            let most = Most { rows: known.reads * HELD_PER_READ, bytes: self.most / 2 };
            known.history = load(most)?.map(Arc::new);
            self.bytes += known.history.as_ref().map_or(0, |history| history.bytes());
        }
        Ok(known.history.clone())
    }

    /// Returns whether the person's rows are cached, or were found to be too many.
    #[must_use]
    pub fn knows(&self, of: (ProjectId, PersonId)) -> bool {
        let known = self.persons.get(&of);
        known.is_some_and(|known| known.history.is_some() || known.reads >= READS)
    }

    /// Returns the memory in use, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns whether it takes more rows without evicting others.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.bytes <= self.most
    }

    /// Caches a person's rows, which were loaded because they are likely to be read.
    pub fn insert(&mut self, of: (ProjectId, PersonId), history: PersonHistory) {
        let transaction = self.transactions;
        let history = Some(Arc::new(history));
        let known = Known { reads: READS, transaction, due: READS * 4, history };
        self.bytes += known.bytes();
        let before = self.persons.insert(of, known);
        self.bytes -= before.map_or(0, |known| known.bytes());
    }

    /// Adds or replaces a row that the transaction writes; `None` removes it.
    pub fn put(
        &mut self,
        of: (ProjectId, PersonId),
        property: PropertyId,
        class: Class,
        place: Place,
        value: Option<&[u8]>,
    ) {
        let known = self.persons.get_mut(&of);
        if let Some(history) = known.and_then(|known| known.history.as_mut()) {
            self.bytes -= history.bytes();
            let history = Arc::make_mut(history);
            history.put(property, class, place, value);
            self.bytes += history.bytes();
        }
        // A person that is no longer read may still get new rows, which would accumulate without limit.
        self.keep_limit();
    }

    /// Removes a person whose history the transaction erases.
    pub fn erase(&mut self, of: (ProjectId, PersonId)) {
        let gone = self.persons.remove(&of);
        self.bytes -= gone.map_or(0, |known| known.bytes());
    }

    /// Notes that the next transaction begins.
    pub fn end_transaction(&mut self) {
        self.transactions += 1;
    }

    /// If it takes too much memory, evicts the persons that were read neither in this transaction nor in the one
    /// before; if that does not free enough, evicts all.
    pub fn keep_limit(&mut self) {
        if self.has_room() {
            return;
        }
        let is_old = |known: &mut Known| known.transaction + 1 < self.transactions;
        let mut evicted: Vec<_> =
            self.persons.extract_if(|_, known| is_old(known)).map(|(_, known)| known).collect();
        self.bytes = self.persons.values().map(Known::bytes).sum();
        if self.bytes > self.most / 2 {
            evicted.extend(self.persons.drain().map(|(_, known)| known));
            self.bytes = 0;
        }
        // Freeing this many allocations takes a while, so another thread does it.
        rayon::spawn(move || drop(evicted));
    }
}

impl Known {
    fn bytes(&self) -> usize {
        KNOWN + self.history.as_ref().map_or(0, |history| history.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::person::{Position, Time};

    const PERSON: (ProjectId, PersonId) = (1, 7);

    fn place(time: i64) -> Place {
        Place { time: Time(time), position: Position { topic: 0, partition: 0, offset: 0 } }
    }

    fn history(times: &[i64]) -> PersonHistory {
        let mut history = PersonHistory::default();
        for time in times {
            history.put(1, Class::Anchor, place(*time), Some(&[0; 100]));
        }
        history
    }

    /// Returns the times of the person's rows, as the cache has them.
    fn times(cache: &mut HistoryCache) -> Option<Vec<i64>> {
        let history = cache.history(PERSON, |_| panic!("it is loaded already")).unwrap()?;
        let (mut times, mut after) = (Vec::new(), None);
        while let Some((place, _)) = history.first(1, Class::Anchor, after) {
            times.push(place.time.0);
            after = Some(place);
        }
        Some(times)
    }

    #[test]
    fn a_person_is_loaded_when_it_was_read_repeatedly_and_has_few_rows_for_that() {
        let mut cache = HistoryCache::new(usize::MAX);
        let mut asked = Vec::new();
        for _ in 0..READS * 4 {
            let load = |most: Most| {
                asked.push(most.rows);
                Ok((most.rows > READS * HELD_PER_READ).then(|| history(&[1])))
            };
            cache.history(PERSON, load).unwrap();
        }
        assert_eq!(asked, [READS * HELD_PER_READ, READS * 4 * HELD_PER_READ]);
        assert_eq!(times(&mut cache), Some(vec![1]));
    }

    #[test]
    fn cached_rows_follow_what_is_written() {
        let mut cache = HistoryCache::new(usize::MAX);
        cache.put(PERSON, 1, Class::Anchor, place(1), Some(b"of nobody cached"));
        assert!(!cache.knows(PERSON));
        cache.insert(PERSON, history(&[1, 3]));
        assert!(cache.knows(PERSON));
        let shown = cache.history(PERSON, |_| Ok(None)).unwrap().unwrap();
        cache.put(PERSON, 1, Class::Anchor, place(2), Some(b"new"));
        cache.put(PERSON, 1, Class::Anchor, place(3), None);
        cache.put(PERSON, 1, Class::Once, place(3), Some(b"of another class"));
        assert_eq!(times(&mut cache), Some(vec![1, 2]));
        assert_eq!(*shown, history(&[1, 3]), "a reader goes on with what it has");
        cache.erase(PERSON);
        assert!(!cache.knows(PERSON));
        assert_eq!(cache.bytes, 0, "nothing of somebody erased");
    }

    #[test]
    fn the_history_cache_keeps_its_limit() {
        let mut cache = HistoryCache::new(usize::MAX);
        for person in 0..200 {
            cache.insert((1, person), history(&[1, 2, 3]));
            cache.end_transaction();
            cache.history((1, 0), |_| Ok(None)).unwrap();
            assert!(cache.bytes <= cache.most + (1 << 10), "{} bytes", cache.bytes);
        }
        let sum: usize = cache.persons.values().map(Known::bytes).sum();
        assert_eq!(cache.bytes, sum);
        cache.insert(PERSON, history(&[0]));
        for time in 0..1_000 {
            cache.put(PERSON, 1, Class::Anchor, place(time), Some(&[0; 100]));
            assert!(cache.bytes <= cache.most, "{} bytes, unread", cache.bytes);
        }
    }
}
