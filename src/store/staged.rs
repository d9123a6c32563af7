//! Rows that a transaction has written but not committed, over those of the database.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::Arc;

use super::Result;
use super::held::Held;
use super::keys::PERSON_BYTES;
use super::packed::Packed;
use super::walk::Walk;
use hashbrown::HashSet;

/// Uncommitted rows of one family; `None` is a row taken away.
pub type Staged = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Persons, by the first bytes of their keys, of whom nothing that is committed counts any more.
pub type Erased = HashSet<Vec<u8>>;

/// A key and its value.
pub type KeyValue = (Vec<u8>, Vec<u8>);

/// The committed rows of one family, in order.
pub struct Committed<'db> {
    rows: Walk<'db>,
    /// Where it is known that no row is between this key and the one that it stands at.
    from: Option<Vec<u8>>,
    held: Option<Held>,
}

/// Rows that are passed over one by one before a seek is cheaper.
const STEPS: usize = if cfg!(test) { 2 } else { 8 };

impl<'db> Committed<'db> {
    /// Rows that were not read yet.
    pub fn new(rows: Walk<'db>) -> RefCell<Self> {
        RefCell::new(Self { rows, from: None, held: None })
    }

    /// The same for who reads the same persons again and again, with what is held of them already.
    pub fn holding(rows: Walk<'db>, held: Held) -> RefCell<Self> {
        RefCell::new(Self { rows, from: None, held: Some(held) })
    }

    /// What is held of persons.
    pub fn into_held(self) -> Option<Held> {
        self.held
    }

    /// All rows of the person whose keys begin like `prefix`, where they are at hand.
    fn whole(&mut self, prefix: &[u8]) -> Result<Option<Arc<Packed>>> {
        let Self { rows, from, held: Some(held) } = self else {
            return self.rows.whole(prefix);
        };
        held.rows(prefix, || {
            *from = None;
            rows.database()
        })
    }

    /// Goes to the first row that is not before `key`. Properties are mostly read one after the other:
    /// then it stands there already or a few rows before, and a seek is dear.
    fn seek(&mut self, key: &[u8]) {
        if self.from.as_deref().is_some_and(|from| from <= key) {
            for _ in 0..STEPS {
                match self.rows.key() {
                    Some(at) if at < key => self.rows.next(),
                    Some(_) => return self.nothing_from(key),
                    None => break,
                }
            }
        }
        self.rows.seek(key);
        self.nothing_from(key);
    }

    /// Notes that no row is between `key` and where it stands.
    fn nothing_from(&mut self, key: &[u8]) {
        let from = self.from.get_or_insert_default();
        from.clear();
        from.extend_from_slice(key);
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

/// Where rows within a prefix are looked for.
#[derive(Clone)]
pub struct Span {
    /// All rows of the prefix that are not staged: among these, where they are at hand.
    rows: Option<(Arc<Packed>, Range<usize>)>,
    /// Whether some are staged.
    is_staged: bool,
}

impl Ordered<'_, '_> {
    /// Where rows within `prefix` are looked for.
    pub fn span(&self, prefix: &[u8]) -> Result<Span> {
        let is_staged =
            self.staged_from(prefix).next().is_some_and(|(key, _)| key.starts_with(prefix));
        let rows = if self.is_erased(prefix) {
            Some(Arc::default())
        } else {
            self.committed.borrow_mut().whole(prefix)?
        };
        let rows = rows.map(|rows| {
            let begin = rows.first_not(&(0..rows.len()), |at| at < prefix);
            let end = rows.first_not(&(begin..rows.len()), |at| at.starts_with(prefix));
            (rows, begin..end)
        });
        Ok(Span { rows, is_staged })
    }

    /// The same, with the rows at hand where there are at most so many.
    pub fn span_of_few(&self, prefix: &[u8], few: usize) -> Result<Span> {
        let span = self.span(prefix)?;
        if span.rows.is_some() {
            return Ok(span);
        }
        let Some(mut rows) = self.all_committed(&span, prefix, few)? else {
            return Ok(span);
        };
        if span.is_staged {
            let staged = self.staged_within(prefix, prefix);
            staged.take(few + 1).for_each(|row| rows.push(row));
            rows.sort();
        }
        let all = 0..rows.len();
        Ok(if all.len() <= few {
            Span { rows: Some((Arc::new(rows), all)), is_staged: false }
        } else {
            span
        })
    }

    /// The last row within `prefix` whose key is at most `key`.
    pub fn last(&self, prefix: &[u8], key: &[u8]) -> Result<Option<KeyValue>> {
        self.last_of(&self.span(prefix)?, prefix, key, |row| Ok(owned(row)))
    }

    /// The first row within `prefix` whose key is at least `key`.
    pub fn first(&self, prefix: &[u8], key: &[u8]) -> Result<Option<KeyValue>> {
        self.first_of(&self.span(prefix)?, prefix, key, |row| Ok(owned(row)))
    }

    /// Reads the last row within `prefix`, all of which is in a span, whose key is at most `key`.
    pub fn last_of<T>(
        &self,
        span: &Span,
        prefix: &[u8],
        key: &[u8],
        read: impl FnOnce((&[u8], &[u8])) -> Result<T>,
    ) -> Result<Option<T>> {
        let staged = self.staged.filter(|_| span.is_staged).and_then(|(staged, _)| {
            let range = (Bound::Included(prefix), Bound::Included(key));
            let mut range = staged.range::<[u8], _>(range).rev();
            range.find_map(|(key, value)| Some((&key[..], value.as_deref()?)))
        });
        if let Some((rows, within)) = &span.rows {
            let end = rows.first_not(within, |at| at <= key);
            let rows = (within.start..end).rev().map(|index| rows.row(index));
            return self.unstaged(span, prefix, rows).max(staged).map(read).transpose();
        }
        let mut committed = self.committed.borrow_mut();
        committed.seek_back(key);
        let found = loop {
            match committed.rows.item().filter(|(key, _)| key.starts_with(prefix)) {
                Some((key, _)) if self.is_staged(span, key) => committed.rows.prev(),
                found => break found,
            }
        };
        committed.rows.status()?;
        found.max(staged).map(read).transpose()
    }

    /// Reads the first row within `prefix`, all of which is in a span, whose key is at least `key`.
    pub fn first_of<T>(
        &self,
        span: &Span,
        prefix: &[u8],
        key: &[u8],
        read: impl FnOnce((&[u8], &[u8])) -> Result<T>,
    ) -> Result<Option<T>> {
        let staged = if span.is_staged { self.staged_within(prefix, key).next() } else { None };
        if let Some((rows, within)) = &span.rows {
            let begin = rows.first_not(within, |at| at < key);
            let rows = (begin..within.end).map(|index| rows.row(index));
            return self
                .unstaged(span, prefix, rows)
                .into_iter()
                .chain(staged)
                .min()
                .map(read)
                .transpose();
        }
        let mut committed = self.committed.borrow_mut();
        committed.seek(key);
        let found = loop {
            match committed.rows.item().filter(|(key, _)| key.starts_with(prefix)) {
                Some((key, _)) if self.is_staged(span, key) => committed.step(),
                found => break found,
            }
        };
        committed.rows.status()?;
        found.into_iter().chain(staged).min().map(read).transpose()
    }

    /// The committed rows within a prefix that are not staged, where they are at most so many.
    fn all_committed(&self, span: &Span, prefix: &[u8], most: usize) -> Result<Option<Packed>> {
        let mut committed = self.committed.borrow_mut();
        let mut rows = Packed::default();
        committed.seek(prefix);
        while let Some(row) = committed.rows.item().filter(|(key, _)| key.starts_with(prefix)) {
            if !self.is_staged(span, row.0) {
                rows.push(row);
            }
            if rows.len() > most {
                return Ok(None);
            }
            committed.step();
        }
        committed.rows.status()?;
        Ok(Some(rows))
    }

    fn staged_from(&self, key: &[u8]) -> impl Iterator<Item = (&Vec<u8>, &Option<Vec<u8>>)> {
        let from = (Bound::Included(key), Bound::Unbounded);
        let staged = self.staged.map(|(staged, _)| staged.range::<[u8], _>(from));
        staged.into_iter().flatten()
    }

    /// Rows that are staged within `prefix`, from a key on.
    fn staged_within(&self, prefix: &[u8], from: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
        let staged = self.staged_from(from).take_while(move |(key, _)| key.starts_with(prefix));
        staged.filter_map(|(key, value)| Some((&key[..], value.as_deref()?)))
    }

    /// The first of the rows at hand that is within `prefix` and counts, where those within come first.
    fn unstaged<'r>(
        &self,
        span: &Span,
        prefix: &[u8],
        rows: impl Iterator<Item = (&'r [u8], &'r [u8])>,
    ) -> Option<(&'r [u8], &'r [u8])> {
        let mut rows = rows.take_while(|(key, _)| key.starts_with(prefix));
        rows.find(|(key, _)| !self.is_staged(span, key))
    }

    fn is_staged(&self, span: &Span, key: &[u8]) -> bool {
        span.is_staged && self.staged.is_some_and(|(staged, _)| staged.contains_key(key))
    }

    /// Whether the person whose rows begin with `prefix` was erased.
    fn is_erased(&self, prefix: &[u8]) -> bool {
        self.staged.is_some_and(|(_, erased)| {
            !erased.is_empty() && erased.contains(&prefix[..PERSON_BYTES])
        })
    }
}

fn owned((key, value): (&[u8], &[u8])) -> KeyValue {
    (key.to_vec(), value.to_vec())
}
