//! Taking what was deleted off the disk.
//!
//! A deletion hides its rows at once, but RocksDB keeps the bytes until it compacts them. Here the
//! ranges of deleted persons are compacted, and the indexes that may name them.

use std::collections::BTreeSet;

use rocksdb::{BottommostLevelCompaction, CompactOptions, FlushOptions};

use super::keys::{self, Meta, PERSON_BYTES};
use super::{Error, Family, Result, Store, corrupt};

/// Deleted persons whose bytes may still be on disk.
pub type Pending = BTreeSet<Vec<u8>>;

impl Store {
    /// Takes off the disk what is left of those persons that were `pending` already when this was
    /// called before: a reader that began before the deletion has ended by now, so nothing keeps
    /// the rows. Answers how many persons these were, and who is pending now.
    ///
    /// # Errors
    /// Where RocksDB fails, [`Error::NotErased`] where a compaction does; the persons stay pending.
    pub fn erase(&self, before: &Pending) -> Result<(usize, Pending)> {
        let (due, pending): (Pending, Pending) =
            self.pending()?.into_iter().partition(|key| before.contains(key));
        if due.is_empty() {
            return Ok((0, pending));
        }
        let failures = self.background_failures()?;
        // The write-ahead log holds them too, and is dropped when every family is flushed.
        self.flush()?;
        let mut columns = BTreeSet::new();
        for key in &due {
            let person = key.get(1..=PERSON_BYTES).ok_or(corrupt(Family::Meta))?;
            for family in Family::ALL_OF_PERSON {
                self.compact(family, person, &keys::after(person));
            }
            let properties = self.get(Family::Meta, key)?.unwrap_or_default();
            let project = person.get(..4).unwrap_or_default();
            columns.extend(properties.chunks_exact(4).map(|property| [project, property].concat()));
        }
        for column in columns {
            self.compact(Family::Column, &column, &keys::after(&column));
        }
        for family in [Family::DistinctId, Family::ByEmail] {
            self.compact(family, &[], &[0xff; 16]);
        }
        // RocksDB does not say what became of a compaction that was asked for.
        if self.background_failures()? > failures {
            return Err(Error::NotErased);
        }
        for key in &due {
            self.db.delete_cf(self.family(Family::Meta), key)?;
        }
        Ok((due.len(), pending))
    }

    /// How many flushes and compactions have failed since the start.
    fn background_failures(&self) -> Result<u64> {
        let failures = self.db.property_int_value(rocksdb::properties::BACKGROUND_ERRORS)?;
        failures.ok_or(Error::Broken("the database does not count its failures"))
    }

    /// Who is pending.
    ///
    /// # Errors
    /// Where RocksDB fails.
    pub fn pending(&self) -> Result<Pending> {
        let all = self.keys_of(Family::Meta, &[Meta::Erased(0, 0, 0).tag()], usize::MAX)?;
        Ok(all.unwrap_or_default().into_iter().collect())
    }

    fn flush(&self) -> Result<()> {
        let families = Family::ALL.map(|family| self.family(family));
        Ok(self.db.flush_cfs_opt(&families, &FlushOptions::default())?)
    }

    /// Rewrites a range, so that what was deleted in it is gone.
    fn compact(&self, family: Family, from: &[u8], to: &[u8]) {
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        self.db.compact_range_cf_opt(self.family(family), Some(from), Some(to), &options);
    }
}
