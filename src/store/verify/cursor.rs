//! A walk over one family in the order of its keys.

use rocksdb::{DBRawIterator, ReadOptions};

use crate::store::snapshot::Snapshot;
use crate::store::{Family, Result};

/// How many bytes are read ahead.
const AHEAD: usize = 1 << 20;

/// A position at a row of a family.
pub struct Cursor<'a> {
    rows: DBRawIterator<'a>,
}

impl<'a> Cursor<'a> {
    /// Creates a cursor at the first row of a family.
    pub fn new(snapshot: &'a Snapshot<'a>, family: Family) -> Result<Self> {
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        options.set_readahead_size(AHEAD);
        // Rows that are read once are not worth caching.
        options.fill_cache(false);
        let mut rows = snapshot.scan(family, options);
        rows.seek_to_first();
        rows.status()?;
        Ok(Self { rows })
    }

    /// Goes to the first row at or after a key.
    pub fn seek(&mut self, key: &[u8]) -> Result<()> {
        self.rows.seek(key);
        Ok(self.rows.status()?)
    }

    /// The row, if there is one.
    pub fn row(&self) -> Option<(&[u8], &[u8])> {
        self.rows.item()
    }

    /// The row, if its key begins with a prefix.
    pub fn within(&self, prefix: &[u8]) -> Option<(&[u8], &[u8])> {
        self.row().filter(|(key, _)| key.starts_with(prefix))
    }

    /// Goes on to the next row.
    pub fn next(&mut self) -> Result<()> {
        self.rows.next();
        Ok(self.rows.status()?)
    }
}
