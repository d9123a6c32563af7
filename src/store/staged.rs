//! Rows that a transaction has written but not committed, over those of the database.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use rocksdb::DBRawIterator;

use super::Result;
use super::keys::PERSON_BYTES;

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
    held: Option<Held>,
}

/// Who was read so often is held where there are no more rows than `HELD_PER_READ` for each read: then one
/// walk has cost no more than the seeks did. Tests have short histories and must come by both ways.
const READS: usize = 2;
const HELD_PER_READ: usize = if cfg!(test) { 3 } else { 128 };

/// Rows that are passed over one by one before a seek is cheaper.
const STEPS: usize = if cfg!(test) { 2 } else { 8 };

/// So many rows are held at most, about 15 MB.
const HELD: usize = 100_000;

/// Persons who were read more than once, with their rows: a late event asks for property after
/// property, and many of one batch may be of one person.
#[derive(Default)]
struct Held {
    /// By the first bytes of their keys.
    persons: HashMap<[u8; PERSON_BYTES], HeldPerson>,
    rows: usize,
}

/// What is held of one person.
struct HeldPerson {
    /// How often it was read.
    reads: usize,
    /// After so many reads it is walked through, or again.
    due: usize,
    /// Its rows, where they are not too many.
    rows: Option<Arc<[KeyValue]>>,
}

impl<'db> Committed<'db> {
    /// Rows that were not read yet.
    pub fn new(rows: DBRawIterator<'db>) -> RefCell<Self> {
        RefCell::new(Self { rows, from: None, held: None })
    }

    /// The same for who reads the same persons again and again.
    pub fn holding(rows: DBRawIterator<'db>) -> RefCell<Self> {
        RefCell::new(Self { rows, from: None, held: Some(Held::default()) })
    }

    /// All rows of the person whose keys begin like `prefix`, where they are held.
    fn held(&mut self, prefix: &[u8]) -> Result<Option<Arc<[KeyValue]>>> {
        let (Some(held), Some(person)) = (&mut self.held, prefix.first_chunk()) else {
            return Ok(None);
        };
        if held.rows > HELD {
            *held = Held::default();
        }
        let new = || HeldPerson { reads: 0, due: READS, rows: None };
        let of = held.persons.entry(*person).or_insert_with(new);
        of.reads += 1;
        if of.rows.is_none() && of.reads >= of.due {
            of.due = of.reads * 4;
            let most = (of.reads * HELD_PER_READ).min(HELD / 2);
            self.from = None;
            self.rows.seek(person);
            let mut rows = Vec::new();
            while let Some(row) = self.rows.item().filter(|(key, _)| key.starts_with(person)) {
                rows.push(owned(row));
                if rows.len() > most {
                    break;
                }
                self.rows.next();
            }
            self.rows.status()?;
            held.rows += 1;
            if rows.len() <= most {
                held.rows += rows.len();
                of.rows = Some(rows.into());
            }
        }
        Ok(of.rows.clone())
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

/// What there is within a prefix.
pub enum Within {
    /// These rows, in order.
    Few(Vec<KeyValue>),
    /// More, or rows that are at hand anyway: each is looked for.
    Many(Span),
}

/// Where rows within a prefix are looked for.
pub struct Span {
    /// All rows of the person that are committed, where these are held, and which of them are within.
    held: Option<(Arc<[KeyValue]>, Range<usize>)>,
    /// Whether any are staged.
    is_staged: bool,
}

impl Span {
    fn held(&self) -> Option<&[KeyValue]> {
        self.held.as_ref().map(|(rows, within)| &rows[within.clone()])
    }
}

impl Ordered<'_, '_> {
    /// Where rows within `prefix` are looked for.
    pub fn span(&self, prefix: &[u8]) -> Result<Span> {
        let is_staged =
            self.staged_from(prefix).next().is_some_and(|(key, _)| key.starts_with(prefix));
        let rows = if self.is_erased(prefix) {
            Some(Arc::default())
        } else {
            self.committed.borrow_mut().held(prefix)?
        };
        let held = rows.map(|rows| {
            let begin = rows.partition_point(|(at, _)| &at[..] < prefix);
            let count = rows[begin..].partition_point(|(at, _)| at.starts_with(prefix));
            (rows, begin..begin + count)
        });
        Ok(Span { held, is_staged })
    }

    /// The rows within `prefix` where they are at most so many and are not at hand anyway, or where to
    /// look for them.
    pub fn within(&self, prefix: &[u8], few: usize) -> Result<Within> {
        let span = self.span(prefix)?;
        if span.held.is_some() {
            return Ok(Within::Many(span));
        }
        let Some(mut rows) = self.all_committed(&span, prefix, few)? else {
            return Ok(Within::Many(span));
        };
        if span.is_staged {
            let staged = self.staged_from(prefix).take_while(|(key, _)| key.starts_with(prefix));
            let staged = staged.filter_map(|(key, value)| Some((key.clone(), value.clone()?)));
            rows.extend(staged.take(few + 1));
            rows.sort_unstable();
        }
        Ok(if rows.len() <= few { Within::Few(rows) } else { Within::Many(span) })
    }

    /// The last row within `prefix` whose key is at most `key`.
    pub fn last(&self, prefix: &[u8], key: &[u8]) -> Result<Option<KeyValue>> {
        self.last_of(&self.span(prefix)?, prefix, key)
    }

    /// The first row within `prefix` whose key is at least `key`.
    pub fn first(&self, prefix: &[u8], key: &[u8]) -> Result<Option<KeyValue>> {
        self.first_of(&self.span(prefix)?, prefix, key)
    }

    /// The last row within `prefix`, all of which is in a span, whose key is at most `key`.
    pub fn last_of(&self, span: &Span, prefix: &[u8], key: &[u8]) -> Result<Option<KeyValue>> {
        let committed = if let Some(rows) = span.held() {
            let rows = rows[..rows.partition_point(|(at, _)| &at[..] <= key)].iter().rev();
            let mut rows = rows.take_while(|(key, _)| key.starts_with(prefix));
            rows.find(|(key, _)| !self.is_staged(span, key)).cloned()
        } else {
            self.last_committed(span, prefix, key)?
        };
        let staged = self.staged.filter(|_| span.is_staged).and_then(|(staged, _)| {
            let range = (Bound::Included(prefix), Bound::Included(key));
            let mut range = staged.range::<[u8], _>(range).rev();
            range.find_map(|(key, value)| Some((key.clone(), value.clone()?)))
        });
        Ok(committed.max(staged))
    }

    /// The first row within `prefix`, all of which is in a span, whose key is at least `key`.
    pub fn first_of(&self, span: &Span, prefix: &[u8], key: &[u8]) -> Result<Option<KeyValue>> {
        let committed = if let Some(rows) = span.held() {
            let rows = rows[rows.partition_point(|(at, _)| &at[..] < key)..].iter();
            let mut rows = rows.take_while(|(key, _)| key.starts_with(prefix));
            rows.find(|(key, _)| !self.is_staged(span, key)).cloned()
        } else {
            self.first_committed(span, prefix, key)?
        };
        if !span.is_staged {
            return Ok(committed);
        }
        let mut staged = self.staged_from(key).take_while(|(key, _)| key.starts_with(prefix));
        let staged = staged.find_map(|(key, value)| Some((key.clone(), value.clone()?)));
        Ok(match (committed, staged) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        })
    }

    fn last_committed(&self, span: &Span, prefix: &[u8], key: &[u8]) -> Result<Option<KeyValue>> {
        let mut committed = self.committed.borrow_mut();
        committed.seek_back(key);
        let found = loop {
            match committed.rows.item().filter(|(key, _)| key.starts_with(prefix)) {
                Some((key, _)) if self.is_staged(span, key) => committed.rows.prev(),
                found => break found.map(owned),
            }
        };
        committed.rows.status()?;
        Ok(found)
    }

    fn first_committed(&self, span: &Span, prefix: &[u8], key: &[u8]) -> Result<Option<KeyValue>> {
        let mut committed = self.committed.borrow_mut();
        committed.seek(key);
        let found = loop {
            match committed.rows.item().filter(|(key, _)| key.starts_with(prefix)) {
                Some((key, _)) if self.is_staged(span, key) => committed.step(),
                found => break found.map(owned),
            }
        };
        committed.rows.status()?;
        Ok(found)
    }

    fn all_committed(
        &self,
        span: &Span,
        prefix: &[u8],
        most: usize,
    ) -> Result<Option<Vec<KeyValue>>> {
        let mut committed = self.committed.borrow_mut();
        let mut rows = Vec::new();
        committed.seek(prefix);
        while let Some(row) = committed.rows.item().filter(|(key, _)| key.starts_with(prefix)) {
            if !self.is_staged(span, row.0) {
                rows.push(owned(row));
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
