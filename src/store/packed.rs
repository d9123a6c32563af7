//! Sorted rows in one buffer: thousands of small allocations would be slow to make and to search.

use std::ops::Range;

use rocksdb::DBRawIterator;

use super::Result;

/// How many rows are checked one by one before a binary search looks for the end.
const FEW: usize = if cfg!(test) { 1 } else { 4 };

/// Rows in the order of their keys.
#[derive(Default)]
pub struct Packed {
    bytes: Vec<u8>,
    rows: Vec<Row>,
}

/// Where a row is in the buffer: its key from `key` to `value`, its value from there to `end`.
struct Row {
    key: usize,
    value: usize,
    end: usize,
}

impl Packed {
    /// Reads all rows whose keys begin with `prefix`; `None` if there are more than `most`, or they
    /// take more than `most_bytes`.
    ///
    /// # Errors
    /// If RocksDB fails.
    pub fn all(
        prefix: &[u8],
        iterator: &mut DBRawIterator<'_>,
        most: usize,
        most_bytes: usize,
    ) -> Result<Option<Self>> {
        let mut rows = Self::default();
        iterator.seek(prefix);
        while let Some(row) = iterator.item().filter(|(key, _)| key.starts_with(prefix)) {
            rows.push(row);
            if rows.len() > most || rows.bytes() > most_bytes {
                return Ok(None);
            }
            iterator.next();
        }
        iterator.status()?;
        Ok(Some(rows))
    }

    /// Appends a row. If its key is not greater than all others, [`Packed::sort`] must follow.
    pub fn push(&mut self, (key, value): (&[u8], &[u8])) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.rows.push(Row { key: begin, value: begin + key.len(), end: self.bytes.len() });
    }

    /// Sorts the rows by key.
    pub fn sort(&mut self) {
        let Self { bytes, rows } = self;
        rows.sort_unstable_by_key(|row| &bytes[row.key..row.value]);
    }

    /// How many rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// How much memory they take, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len() + self.rows.len() * size_of::<Row>()
    }

    /// The key and the value of a row.
    #[must_use]
    pub fn row(&self, index: usize) -> (&[u8], &[u8]) {
        let row = &self.rows[index];
        (&self.bytes[row.key..row.value], &self.bytes[row.value..row.end])
    }

    /// Returns the rows whose keys begin with `prefix`. It is fast if they begin at `expected` and are
    /// few, as is mostly the case.
    #[must_use]
    pub fn within(&self, prefix: &[u8], expected: usize) -> Range<usize> {
        let all = 0..self.len();
        let is_before = |index: usize| self.row(index).0 < prefix;
        let begins_there = expected <= self.len()
            && expected.checked_sub(1).is_none_or(is_before)
            && (expected == self.len() || !is_before(expected));
        let begin = if begins_there { expected } else { self.first_not(&all, |at| at < prefix) };
        let mut near = (begin..self.len()).take(FEW);
        match near.find(|index| !self.row(*index).0.starts_with(prefix)) {
            Some(end) => begin..end,
            None => begin..self.first_not(&(begin..self.len()), |at| at.starts_with(prefix)),
        }
    }

    /// Returns the first row of `among` whose key is not `before`, or the end of `among` if there is none.
    /// The rows that are `before` must come first.
    #[must_use]
    pub fn first_not(&self, among: &Range<usize>, before: impl Fn(&[u8]) -> bool) -> usize {
        let rows = &self.rows[among.clone()];
        among.start + rows.partition_point(|row| before(&self.bytes[row.key..row.value]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_in_order_whatever_order_they_came_in() {
        let mut packed = Packed::default();
        for (key, value) in [("b", "2"), ("", ""), ("ab", "1"), ("c", "")] {
            packed.push((key.as_bytes(), value.as_bytes()));
        }
        packed.sort();
        let rows: Vec<_> = (0..packed.len()).map(|index| packed.row(index)).collect();
        assert_eq!(rows, [(&b""[..], &b""[..]), (b"ab", b"1"), (b"b", b"2"), (b"c", b"")]);
        assert_eq!(packed.first_not(&(0..4), |key| key < &b"b"[..]), 2);
        assert_eq!(packed.first_not(&(0..2), |key| key < &b"b"[..]), 2);
        assert_eq!(packed.first_not(&(3..4), |key| key < &b"b"[..]), 3);
    }

    #[test]
    fn rows_within_a_prefix_are_found_wherever_they_are_expected() {
        let mut packed = Packed::default();
        for key in ["a1", "b1", "b2", "b3", "d1"] {
            packed.push((key.as_bytes(), b""));
        }
        for expected in 0..7 {
            for (prefix, within) in
                [("", 0..5), ("a", 0..1), ("b", 1..4), ("c", 4..4), ("d", 4..5), ("e", 5..5)]
            {
                assert_eq!(packed.within(prefix.as_bytes(), expected), within, "{prefix}");
            }
        }
    }
}
