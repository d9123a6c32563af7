//! Rows that were written but are not committed, over those of the database.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::Arc;

use super::Result;
use super::history_cache::HistoryCache;
use super::keys::PERSON_BYTES;
use super::packed::Packed;
use super::walk::{STEPS, Walk};
use hashbrown::HashSet;

/// What changes in rows of one family, by key or by the end of it; `None` is a row taken away.
pub type RowChanges = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Persons, by the first bytes of their keys, of whom nothing that is committed counts any more.
pub type Erased = HashSet<Vec<u8>>;

/// A key and its value.
pub type KeyValue = (Vec<u8>, Vec<u8>);

/// The committed rows of one family, in order.
pub struct Committed<'db> {
    rows: Walk<'db>,
    /// Where it is known that no row is between this key and the one that it stands at.
    from: Option<Vec<u8>>,
    held: Option<HistoryCache>,
}

impl<'db> Committed<'db> {
    /// Rows that were not read yet.
    pub fn new(rows: Walk<'db>) -> RefCell<Self> {
        RefCell::new(Self { rows, from: None, held: None })
    }

    /// Rows of persons who are read again and again, with what is held of them already.
    pub fn holding(rows: Walk<'db>, held: HistoryCache) -> RefCell<Self> {
        RefCell::new(Self { rows, from: None, held: Some(held) })
    }

    /// What is held of persons.
    pub fn into_held(self) -> Option<HistoryCache> {
        self.held
    }

    /// All rows of the person whose keys begin like `prefix`, where they are at hand: as they are once
    /// `before` is committed, which may be under way.
    fn whole(&mut self, prefix: &[u8], before: Option<Layer<'_>>) -> Result<Option<Arc<Packed>>> {
        let Self { rows, from, held: Some(held) } = self else {
            return self.rows.whole(prefix);
        };
        held.rows(prefix, before, || {
            *from = None;
            rows.database()
        })
    }

    /// Goes to the first row that is not before `key`. Properties are mostly read one after the other:
    /// then it stands there already or a few rows before, and a seek is expensive.
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

/// Rows that one transaction wrote and that are not committed, or are being committed: with and without
/// the database's, they show the same.
#[derive(Clone, Copy)]
pub struct Layer<'a> {
    /// The rows.
    pub staged: &'a RowChanges,
    /// The persons of whom nothing older counts; `None` where rows outlive their persons.
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

    /// Whether the person whose rows begin with `prefix` was erased.
    fn erases(self, prefix: &[u8]) -> bool {
        self.erased
            .is_some_and(|erased| !erased.is_empty() && erased.contains(&prefix[..PERSON_BYTES]))
    }
}

/// The newest first: what a transaction wrote, and what the one before it wrote, where that is not known
/// to be committed.
pub type Layers<'a> = [Option<Layer<'a>>; 2];

/// Ordered reads of one family, with uncommitted rows over the committed ones.
pub struct Ordered<'a, 'db> {
    /// The committed rows.
    committed: &'a RefCell<Committed<'db>>,
    /// The uncommitted ones, if this is a transaction's view.
    layers: Layers<'a>,
}

/// Where rows within a prefix are looked for.
#[derive(Clone)]
pub struct Span {
    /// All rows of the prefix that are not staged: among these, where they are at hand.
    rows: Option<(Arc<Packed>, Range<usize>)>,
    /// Which layers have rows there that count.
    staged: [bool; 2],
    /// Which layers have rows of the person at all.
    staged_of_person: [bool; 2],
    /// Those rows are all that the person has in the family.
    of_person: bool,
}

impl<'a, 'db> Ordered<'a, 'db> {
    /// Reads of what is committed.
    pub fn new(committed: &'a RefCell<Committed<'db>>) -> Self {
        Self { committed, layers: [None, None] }
    }

    /// A transaction's reads.
    pub fn over(committed: &'a RefCell<Committed<'db>>, layers: Layers<'a>) -> Self {
        Self { committed, layers }
    }

    /// Which layers have rows within `prefix`, of those that are asked, and whether nothing but these counts.
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

    /// Where rows within `prefix` are looked for.
    pub fn span(&self, prefix: &[u8]) -> Result<Span> {
        // Rows of families without persons have shorter prefixes.
        let of_person = prefix.get(..PERSON_BYTES).unwrap_or(prefix);
        let (staged_of_person, _) = self.staged_within(of_person, [true; 2]);
        let (staged, is_erased) = self.staged_within(prefix, staged_of_person);
        let rows = if is_erased {
            Some(Arc::default())
        } else {
            self.committed.borrow_mut().whole(prefix, self.layers[1])?
        };
        let rows = rows.map(|rows| {
            let within = rows.within(prefix, 0);
            (rows, within)
        });
        let of_person = rows.is_some();
        Ok(Span { rows, staged, staged_of_person, of_person })
    }

    /// The same, by where rows within another prefix of the same person are. Whoever asks for one property after
    /// the other finds each where the one before it ends.
    pub fn span_after(&self, prefix: &[u8], before: &Span) -> Result<Span> {
        let Some((rows, range)) = before.rows.as_ref().filter(|_| before.of_person) else {
            return self.span(prefix);
        };
        let staged_of_person = before.staged_of_person;
        let (staged, _) = self.staged_within(prefix, staged_of_person);
        let within = rows.within(prefix, range.end);
        Ok(Span { rows: Some((rows.clone(), within)), staged, staged_of_person, of_person: true })
    }

    /// Where rows within `prefix`, all of which is in a span, are looked for: among the rows themselves, read
    /// here, where there are at most `few`.
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

    /// Reads the first row within `prefix`, all of which is in a span, whose key is at least `key`.
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

    /// The layers that have rows which count, each with how many are newer.
    fn counting(&self, span: &Span) -> impl Iterator<Item = (usize, Layer<'a>)> + use<'a> {
        let counting = self.layers.into_iter().zip(span.staged).enumerate();
        counting.filter_map(|(age, (layer, counts))| Some((age, layer.filter(|_| counts)?)))
    }

    /// A row of a layer, unless it is taken away there or a newer layer has another one.
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
        self.counting(span).any(|(_, layer)| layer.staged.contains_key(key))
    }
}

fn owned((key, value): (&[u8], &[u8])) -> KeyValue {
    (key.to_vec(), value.to_vec())
}
