//! Taking what was deleted off the disk.
//!
//! A deletion hides its rows at once, but RocksDB keeps the bytes until it compacts them. Here the
//! ranges of deleted persons are compacted, and the indexes that may name them.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use rocksdb::{BottommostLevelCompaction, CompactOptions, FlushOptions};

use super::keys::{self, Meta, PERSON_BYTES};
use super::{Error, Family, Result, Store, corrupt};

/// RocksDB's name for it, which the crate has no word for.
const OLDEST_SNAPSHOT_SEQUENCE: &str = "rocksdb.oldest-snapshot-sequence";

/// Deleted persons whose bytes may still be on disk, as of a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// By their notes in family `meta`.
    pub persons: BTreeSet<Vec<u8>>,
    /// How much had been written: snapshots of before that may have them.
    sequence: u64,
}

impl Store {
    /// Takes off the disk what is left of those persons that were `pending` already when this was
    /// called before, unless a reader that began before that still keeps the rows. Answers how many
    /// persons these were, and who is pending now.
    ///
    /// # Errors
    /// Where RocksDB fails, [`Error::NotErased`] where a compaction does; the persons stay pending.
    pub fn erase(&self, before: &Pending) -> Result<(usize, Pending)> {
        let now = self.pending()?;
        let (due, left): (BTreeSet<_>, BTreeSet<_>) =
            now.persons.into_iter().partition(|key| before.persons.contains(key));
        let pending = Pending { persons: left, ..now };
        if due.is_empty() {
            return Ok((0, pending));
        }
        if self.is_read_as_of(before.sequence)? {
            return Ok((0, before.clone()));
        }
        let rewritten = self.rewrite(&due);
        if self.is_ending() {
            return Ok((0, before.clone()));
        }
        rewritten?;
        for key in &due {
            self.db.delete_cf(self.family(Family::Meta), key)?;
        }
        Ok((due.len(), pending))
    }

    /// Rewrites every file that may hold something of deleted persons.
    fn rewrite(&self, due: &BTreeSet<Vec<u8>>) -> Result<()> {
        let failures = self.background_failures()?;
        // The write-ahead log holds them too, and is dropped when every family is flushed.
        self.flush()?;
        let mut columns = BTreeSet::new();
        for key in due {
            if self.is_ending() {
                return Ok(());
            }
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
        let has_failed = self.background_failures()? > failures;
        if has_failed { Err(Error::NotErased) } else { Ok(()) }
    }

    /// Ends what goes on in the background, be it an erasure that would take minutes: it begins anew with the
    /// next start. For a process that ends and writes nothing more.
    pub fn end_background_work(&self) {
        self.is_ending.store(true, Ordering::Release);
        self.db.cancel_all_background_work(false);
    }

    fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Acquire)
    }

    /// How many flushes and compactions have failed since the start.
    fn background_failures(&self) -> Result<u64> {
        let failures = self.db.property_int_value(rocksdb::properties::BACKGROUND_ERRORS)?;
        failures.ok_or(Error::Broken("the database does not count its failures"))
    }

    /// Those who are pending.
    ///
    /// # Errors
    /// Where RocksDB fails.
    pub fn pending(&self) -> Result<Pending> {
        let all = self.keys_of(Family::Meta, &[Meta::Erased(0, 0, 0).tag()], usize::MAX)?;
        let persons = all.unwrap_or_default().into_iter().collect();
        // Asked for after that: whoever is noted was deleted before it.
        Ok(Pending { persons, sequence: self.db.latest_sequence_number() })
    }

    /// Whether somebody still reads what was there when so much was written.
    fn is_read_as_of(&self, sequence: u64) -> Result<bool> {
        // Nothing where nobody reads; 1 is before the first write.
        let oldest = self.db.property_int_value(OLDEST_SNAPSHOT_SEQUENCE)?;
        Ok((1..sequence).contains(&oldest.unwrap_or(0)))
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
