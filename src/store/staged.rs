//! Rows that a transaction has written but not committed, over those of the database.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};

use rocksdb::DBRawIterator;

use super::{Result, keys};

/// Uncommitted rows of one family; `None` is a row taken away.
pub type Staged = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Persons, by the first bytes of their keys, of whom nothing that is committed counts any more.
pub type Erased = HashSet<Vec<u8>>;

/// A key and its value.
pub type KeyValue = (Vec<u8>, Vec<u8>);

/// The committed rows of one family, in order.
pub struct Committed<'db> {
    rows: DBRawIterator<'db>,
    /// Where it is known that no row is between this key and the one that it stands at.
    from: Option<Vec<u8>>,
}

impl<'db> Committed<'db> {
    /// Rows that were not read yet.
    pub fn new(rows: DBRawIterator<'db>) -> RefCell<Self> {
        RefCell::new(Self { rows, from: None })
    }

    /// Goes to the first row that is not before `key`. Properties are mostly read one after the other:
    /// then it stands there already, and a seek is dear.
    fn seek(&mut self, key: &[u8]) {
        let nothing_between = self.from.as_deref().is_some_and(|from| from <= key);
        if !(nothing_between && self.rows.key().is_some_and(|at| at >= key)) {
            self.rows.seek(key);
            let from = self.from.get_or_insert_default();
            from.clear();
            from.extend_from_slice(key);
        }
    }

    /// Goes to the row after this one.
    fn step(&mut self) {
        if let Some(at) = self.rows.key() {
            let from = self.from.get_or_insert_default();
            from.clear();
            from.extend_from_slice(at);
            // The least key that is greater.
            from.push(0);
        }
        self.rows.next();
    }

    /// Goes to the last row that is not after `key`.
    fn seek_back(&mut self, key: &[u8]) {
        self.from = None;
        self.rows.seek_for_prev(key);
    }
}

/// Ordered reads of one family, with uncommitted rows over the committed ones.
pub struct Ordered<'a, 'db> {
    /// The committed rows.
    pub committed: &'a RefCell<Committed<'db>>,
    /// The uncommitted rows and the persons erased, if this is a transaction's view.
    pub staged: Option<(&'a Staged, &'a Erased)>,
}

impl Ordered<'_, '_> {
    /// The last row within `prefix` whose key is at most `key`.
    pub fn last(&self, prefix: &[u8], key: &[u8]) -> Result<Option<KeyValue>> {
        let mut iterator = self.committed.borrow_mut();
        let erased = self.is_erased(prefix);
        if !erased {
            iterator.seek_back(key);
        }
        let committed = loop {
            match iterator.rows.item().filter(|(key, _)| !erased && key.starts_with(prefix)) {
                Some((key, _)) if self.is_staged(key) => iterator.rows.prev(),
                found => break found.map(owned),
            }
        };
        iterator.rows.status()?;
        let staged = self.staged.and_then(|(staged, _)| {
            let mut range = staged.range(prefix.to_vec()..=key.to_vec()).rev();
            range.find_map(|(key, value)| Some((key.clone(), value.clone()?)))
        });
        Ok(committed.max(staged))
    }

    /// The first row within `prefix` whose key is at least `key`.
    pub fn first(&self, prefix: &[u8], key: &[u8]) -> Result<Option<KeyValue>> {
        let mut iterator = self.committed.borrow_mut();
        let erased = self.is_erased(prefix);
        if !erased {
            iterator.seek(key);
        }
        let committed = loop {
            match iterator.rows.item().filter(|(key, _)| !erased && key.starts_with(prefix)) {
                Some((key, _)) if self.is_staged(key) => iterator.step(),
                found => break found.map(owned),
            }
        };
        iterator.rows.status()?;
        let staged = self.staged.and_then(|(staged, _)| {
            let mut range =
                staged.range(key.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
            range.find_map(|(key, value)| Some((key.clone(), value.clone()?)))
        });
        Ok(match (committed, staged) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        })
    }

    /// Every row within `prefix` in order; `None` where there are more than `most`.
    pub fn all(&self, prefix: &[u8], most: usize) -> Result<Option<Vec<KeyValue>>> {
        let mut iterator = self.committed.borrow_mut();
        let mut rows = Vec::new();
        let erased = self.is_erased(prefix);
        if !erased {
            iterator.seek(prefix);
        }
        let is_of = |(key, _): &(&[u8], &[u8])| !erased && key.starts_with(prefix);
        while let Some(row) = iterator.rows.item().filter(is_of) {
            if !self.is_staged(row.0) {
                rows.push(owned(row));
            }
            if rows.len() > most {
                return Ok(None);
            }
            iterator.step();
        }
        iterator.rows.status()?;
        if let Some((staged, _)) = self.staged {
            let range = staged.range(prefix.to_vec()..);
            let mut range = range.take_while(|(key, _)| key.starts_with(prefix)).peekable();
            if range.peek().is_some() {
                let range = range.filter_map(|(key, value)| Some((key.clone(), value.clone()?)));
                rows.extend(range.take(most + 1));
                rows.sort_unstable();
            }
        }
        Ok((rows.len() <= most).then_some(rows))
    }

    fn is_staged(&self, key: &[u8]) -> bool {
        self.staged.is_some_and(|(staged, _)| staged.contains_key(key))
    }

    /// Whether the person whose rows begin with `prefix` was erased.
    fn is_erased(&self, prefix: &[u8]) -> bool {
        self.staged.is_some_and(|(_, erased)| {
            !erased.is_empty() && erased.contains(&prefix[..keys::PERSON_BYTES])
        })
    }
}

fn owned((key, value): (&[u8], &[u8])) -> KeyValue {
    (key.to_vec(), value.to_vec())
}
