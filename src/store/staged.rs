//! Ordered reads of uncommitted rows over those of the database.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::Arc;

use hashbrown::HashSet;

use super::Result;
use super::history_cache::Most;
use super::keys::PERSON_BYTES;
use super::packed::Packed;
use super::person_history::PersonHistory;
use super::walk::{STEPS, Walk};

/// Changes to rows of one family, by key or by the end of the key; `None` deletes the row.
pub type RowChanges = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Erased persons, by the first bytes of their keys: their committed rows no longer count.
pub type Erased = HashSet<Vec<u8>>;

/// A key and its value.
pub type KeyValue = (Vec<u8>, Vec<u8>);

/// The committed rows of one family, in order.
pub struct Committed<'db> {
    rows: Walk<'db>,
    /// If set, there is no row at or after this key and before the current one.
    from: Option<Vec<u8>>,
}

impl<'db> Committed<'db> {
    /// Reads what a walk shows.
    pub fn new(rows: Walk<'db>) -> RefCell<Self> {
        RefCell::new(Self { rows, from: None })
    }

    /// Goes to the first row at or after `key`. Properties are mostly read one after the other, so that it is
    /// the current row or a few rows ahead, and stepping there is cheaper than a seek.
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

    /// Notes that there is no row at or after `key` and before the current one.
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
            // The smallest key after that.
            from.push(0);
        }
        self.rows.next();
    }

    /// Goes to the last row at or before `key`.
    fn seek_back(&mut self, key: &[u8]) {
        self.from = None;
        self.rows.seek_for_prev(key);
    }
}

/// Rows that one transaction wrote and that may be committed at any time. Read over the database, they give
/// the same result before and after the commit.
#[derive(Clone, Copy)]
pub struct Layer<'a> {
    /// The rows.
    pub staged: &'a RowChanges,
    /// The persons whose older rows do not count; `None` for rows that outlive their persons.
    pub erased: Option<&'a Erased>,
}

impl<'a> Layer<'a> {
    /// Rows within `prefix`, from a key on.
    pub fn within<'p>(
        self,
        prefix: &'p [u8],
        from: &[u8],
    ) -> impl Iterator<Item = (&'a Vec<u8>, &'a Option<Vec<u8>>)> + use<'a, 'p> {
        let from = (Bound::Included(from), Bound::Unbounded);
        let rows = self.staged.range::<[u8], _>(from);
        rows.take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// Applies what is in this layer of a person to its rows, which begin with `prefix`.
    ///
    /// # Errors
    /// If a key is damaged.
    pub fn apply(self, prefix: &[u8], history: &mut PersonHistory) -> Result<()> {
        if self.erases(prefix) {
            *history = PersonHistory::default();
        }
        self.within(prefix, prefix).try_for_each(|(key, row)| history.put_at(key, row.as_deref()))
    }

    /// Whether the person whose rows begin with `prefix` was erased.
    fn erases(self, prefix: &[u8]) -> bool {
        self.erased
            .is_some_and(|erased| !erased.is_empty() && erased.contains(&prefix[..PERSON_BYTES]))
    }
}

/// The layers, newest first: what a transaction wrote, and what the one before it wrote unless that
/// is known to be committed.
pub type Layers<'a> = [Option<Layer<'a>>; 2];

/// Ordered reads of one family, with uncommitted rows over the committed ones.
pub struct Ordered<'a, 'db> {
    /// The committed rows.
    committed: &'a RefCell<Committed<'db>>,
    /// The uncommitted ones, if this is a transaction's view.
    layers: Layers<'a>,
}

/// Where to look for the rows within a prefix.
#[derive(Clone)]
pub struct Span {
    /// If they are in memory: all rows of the prefix that are not in one of the `staged`
    /// layers, as a range of these.
    rows: Option<(Arc<Packed>, Range<usize>)>,
    /// Which layers have rows within the prefix that count.
    staged: [bool; 2],
    /// Which layers have rows of the person at all.
    staged_of_person: [bool; 2],
    /// Whether `rows` has all rows of the person in the family.
    of_person: bool,
}

impl<'a, 'db> Ordered<'a, 'db> {
    /// Reads committed rows only.
    pub fn new(committed: &'a RefCell<Committed<'db>>) -> Self {
        Self { committed, layers: [None, None] }
    }

    /// Reads the layers of a transaction over the committed rows.
    pub fn over(committed: &'a RefCell<Committed<'db>>, layers: Layers<'a>) -> Self {
        Self { committed, layers }
    }

    /// Returns which of the `asked` layers have rows within `prefix`, and whether one of them erased the
    /// person, so that no older rows count.
    fn staged_within(&self, prefix: &[u8], asked: [bool; 2]) -> ([bool; 2], bool) {
        let mut staged = [false; 2];
        for ((layer, has_rows), asked) in self.layers.iter().flatten().zip(&mut staged).zip(asked) {
            *has_rows = asked && layer.within(prefix, prefix).next().is_some();
            if layer.erases(prefix) {
                return (staged, true);
            }
        }
        (staged, false)
    }

    /// Returns where to look for rows within `prefix`.
    pub fn span(&self, prefix: &[u8]) -> Result<Span> {
        // Families without persons have shorter prefixes.
        let of_person = prefix.get(..PERSON_BYTES).unwrap_or(prefix);
        let (staged_of_person, _) = self.staged_within(of_person, [true; 2]);
        let (staged, is_erased) = self.staged_within(prefix, staged_of_person);
        let rows = if is_erased {
            Some(Arc::default())
        } else {
            self.committed.borrow_mut().rows.whole(prefix)?
        };
        let rows = rows.map(|rows| {
            let within = rows.within(prefix, 0);
            (rows, within)
        });
        let of_person = rows.is_some();
        Ok(Span { rows, staged, staged_of_person, of_person })
    }

    /// Like [`Ordered::span`], with the span of another prefix of the same person as a hint. A caller that
    /// reads properties in order finds each where the one before it ends.
    pub fn span_after(&self, prefix: &[u8], before: &Span) -> Result<Span> {
        let Some((rows, range)) = before.rows.as_ref().filter(|_| before.of_person) else {
            return self.span(prefix);
        };
        let staged_of_person = before.staged_of_person;
        let (staged, _) = self.staged_within(prefix, staged_of_person);
        let within = rows.within(prefix, range.end);
        Ok(Span { rows: Some((rows.clone(), within)), staged, staged_of_person, of_person: true })
    }

    /// Narrows `span`, which covers `prefix`: if there are at most `few` rows, they are read here, and later
    /// look-ups find them in memory.
    pub fn span_of_few(&self, span: Span, prefix: &[u8], few: usize) -> Result<Span> {
        if span.rows.is_some() {
            return Ok(span);
        }
        let Some(mut rows) = self.all_committed(&span, prefix, few)? else {
            return Ok(span);
        };
        if span.staged != [false; 2] {
            for (age, layer) in self.counting(&span) {
                let staged = layer.within(prefix, prefix);
                let staged = staged.filter_map(|row| self.shown(&span, age, row));
                staged.take(few + 1).for_each(|row| rows.push(row));
            }
            rows.sort();
        }
        let all = 0..rows.len();
        Ok(if all.len() <= few {
            let staged = [false; 2];
            Span { rows: Some((Arc::new(rows), all)), staged, of_person: false, ..span }
        } else {
            span
        })
    }

    /// Returns all rows whose keys begin with `person`; `None` if more than `most` of them are committed.
    pub fn history(&self, person: &[u8], most: Most) -> Result<Option<PersonHistory>> {
        let mut committed = self.committed.borrow_mut();
        committed.from = None;
        let rows = Packed::all(person, committed.rows.database(), most.rows, most.bytes)?;
        rows.map(|rows| self.with_staged(person, PersonHistory::of(&rows)?)).transpose()
    }

    /// Applies the layers to all committed rows whose keys begin with `person`.
    pub fn with_staged(&self, person: &[u8], mut history: PersonHistory) -> Result<PersonHistory> {
        for layer in self.layers.into_iter().rev().flatten() {
            layer.apply(person, &mut history)?;
        }
        Ok(history)
    }

    /// The last row within `prefix` whose key is at most `key`.
    pub fn last(&self, prefix: &[u8], key: &[u8]) -> Result<Option<KeyValue>> {
        self.last_of(&self.span(prefix)?, prefix, key, |row| Ok(owned(row)))
    }

    /// The first row within `prefix` whose key is at least `key`.
    pub fn first(&self, prefix: &[u8], key: &[u8]) -> Result<Option<KeyValue>> {
        self.first_of(&self.span(prefix)?, prefix, key, |row| Ok(owned(row)))
    }

    /// Reads the last row within `prefix` whose key is at most `key`. The span covers all of `prefix`.
    pub fn last_of<T>(
        &self,
        span: &Span,
        prefix: &[u8],
        key: &[u8],
        read: impl FnOnce((&[u8], &[u8])) -> Result<T>,
    ) -> Result<Option<T>> {
        let range = (Bound::Included(prefix), Bound::Included(key));
        let last = |(age, layer): (usize, Layer<'a>)| {
            let mut rows = layer.staged.range::<[u8], _>(range).rev();
            rows.find_map(|row| self.shown(span, age, row))
        };
        let staged = self.counting(span).filter_map(last).max();
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

    /// Reads the first row within `prefix` whose key is at least `key`. The span covers all of `prefix`.
    pub fn first_of<T>(
        &self,
        span: &Span,
        prefix: &[u8],
        key: &[u8],
        read: impl FnOnce((&[u8], &[u8])) -> Result<T>,
    ) -> Result<Option<T>> {
        let first = |(age, layer): (usize, Layer<'a>)| {
            layer.within(prefix, key).find_map(|row| self.shown(span, age, row))
        };
        let staged = self.counting(span).filter_map(first).min();
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

    /// Returns the committed rows within a prefix that no layer replaces; `None` if
    /// there are more than `most`.
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

    /// Returns the layers that have rows which count, each with the number of newer layers.
    fn counting(&self, span: &Span) -> impl Iterator<Item = (usize, Layer<'a>)> + use<'a> {
        let counting = self.layers.into_iter().zip(span.staged).enumerate();
        counting.filter_map(|(age, (layer, counts))| Some((age, layer.filter(|_| counts)?)))
    }

    /// Returns a row of a layer, unless it is deleted there or a newer layer has another one.
    fn shown<'r>(
        &self,
        span: &Span,
        age: usize,
        (key, value): (&'r Vec<u8>, &'r Option<Vec<u8>>),
    ) -> Option<(&'r [u8], &'r [u8])> {
        let value = value.as_deref()?;
        let is_last = !self
            .counting(span)
            .take_while(|(newer, _)| *newer < age)
            .any(|(_, layer)| layer.staged.contains_key(key));
        is_last.then_some((key, value))
    }

    /// Returns the first of `rows` that is within `prefix` and in no layer. Rows within
    /// `prefix` must come first.
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
        self.counting(span).any(|(_, layer)| layer.staged.contains_key(key))
    }
}

fn owned((key, value): (&[u8], &[u8])) -> KeyValue {
    (key.to_vec(), value.to_vec())
}
