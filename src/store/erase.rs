//! Erasure: removes what was deleted from the disk.
//!
//! A deletion hides its rows at once, but RocksDB keeps their bytes until it compacts them. So the key ranges
//! of deleted persons are compacted here, and the columns and indexes that may name them.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use rocksdb::{BottommostLevelCompaction, CompactOptions, FlushOptions};

use super::column::LIVE;
use super::keys::{self, Meta, PERSON_BYTES};
use super::{Error, Family, Result, Store, corrupt};

/// The name of a RocksDB property for which the crate has no constant.
const OLDEST_SNAPSHOT_SEQUENCE: &str = "rocksdb.oldest-snapshot-sequence";

/// The rows of at most this many deleted persons are compacted person by person. Each such range rewrites every file
/// that it touches, so for more persons it is cheaper to rewrite all files once. Few in tests, to take both ways.
const FEW_PERSONS: usize = if cfg!(test) { 2 } else { 32 };

/// The families in which a deleted person may be named anywhere: under a distinct id, a time or an email, or in the
/// list of another person that had the distinct id before.
const NAMING: [Family; 5] = [
    Family::DistinctId,
    Family::PersonDistinctId,
    Family::ByEmail,
    Family::ByCreatedAt,
    Family::ByLastSeenAt,
];

/// The deleted persons whose bytes may still be on disk, as of a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// The keys of their rows in family `meta` (`Meta::Erased`).
    pub persons: BTreeSet<Vec<u8>>,
    /// The latest sequence number at that moment. Older snapshots may still show the persons.
    sequence: u64,
}

impl Store {
    /// Removes from the disk the remains of the persons that were pending at the previous call, whose result
    /// is `before`. They stay pending while a snapshot older than that, or a checkpoint, may still have them.
    /// Returns how many persons were erased, and what is pending now.
    ///
    /// # Errors
    /// If RocksDB fails; [`Error::NotErased`] if a compaction fails. The persons stay pending.
    pub fn erase(&self, before: &Pending) -> Result<(usize, Pending)> {
        let now = self.pending()?;
        let (due, left): (BTreeSet<_>, BTreeSet<_>) =
            now.persons.into_iter().partition(|key| before.persons.contains(key));
        let pending = Pending { persons: left, ..now };
        if due.is_empty() {
            return Ok((0, pending));
        }
        if self.is_read_as_of(before.sequence)? || self.has_checkpoint() {
            return Ok((0, before.clone()));
        }
        let rewritten = self.rewrite(&due);
        // A checkpoint that was made meanwhile has the files as they were before.
        if self.is_ending() || self.has_checkpoint() {
            return Ok((0, before.clone()));
        }
        rewritten?;
        let meta = self.family(Family::Meta);
        for key in &due {
            self.db.delete_cf(meta, key)?;
        }
        // With this change of the files, the manifest no longer names those that were rewritten.
        self.db.flush_cf(meta)?;
        Ok((due.len(), pending))
    }

    /// Rewrites every file that may contain something of deleted persons.
    fn rewrite(&self, due: &BTreeSet<Vec<u8>>) -> Result<()> {
        let failures = self.background_failures()?;
        // The write-ahead log contains them too; it is deleted once every family is flushed.
        self.flush()?;
        for (family, prefix) in self.ranges(due)? {
            if self.is_ending() {
                return Ok(());
            }
            self.compact(family, &prefix);
        }
        // A requested compaction does not return whether it succeeded.
        let has_failed = self.background_failures()? > failures;
        if has_failed { Err(Error::NotErased) } else { Ok(()) }
    }

    /// Returns the families that may contain something of deleted persons, each with the prefix of its keys there.
    fn ranges(&self, due: &BTreeSet<Vec<u8>>) -> Result<BTreeSet<(Family, Vec<u8>)>> {
        let whole = |family| (family, Vec::new());
        let mut ranges = BTreeSet::from(NAMING.map(whole));
        if due.len() > FEW_PERSONS {
            ranges.extend(Family::ALL_OF_PERSON.map(whole));
            ranges.insert(whole(Family::Column));
            return Ok(ranges);
        }
        for key in due {
            let person = key.get(1..=PERSON_BYTES).ok_or(corrupt(Family::Meta))?;
            ranges.extend(Family::ALL_OF_PERSON.map(|family| (family, person.to_vec())));
            let properties = self.get(Family::Meta, key)?.unwrap_or_default();
            let live = LIVE.to_be_bytes();
            let properties = properties.chunks_exact(live.len()).chain([&live[..]]);
            let project = person.get(..4).unwrap_or_default();
            let columns = properties.map(|property| [project, property].concat());
            ranges.extend(columns.map(|column| (Family::Column, column)));
        }
        // Of a family that is compacted whole, no part need be.
        ranges.retain(|(family, prefix)| prefix.is_empty() || !NAMING.contains(family));
        Ok(ranges)
    }

    /// Cancels all background work, such as an erasure that would take minutes; the next start begins it
    /// again. Only for a process that is about to end and writes nothing more.
    pub fn end_background_work(&self) {
        self.is_ending.store(true, Ordering::Release);
        self.db.cancel_all_background_work(false);
    }

    fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Acquire)
    }

    /// Returns how many flushes and compactions have failed since the store was opened.
    fn background_failures(&self) -> Result<u64> {
        let failures = self.db.property_int_value(rocksdb::properties::BACKGROUND_ERRORS)?;
        failures.ok_or(Error::Broken("the database does not count its failures"))
    }

    /// Returns the deleted persons whose bytes may still be on disk.
    ///
    /// # Errors
    /// If RocksDB fails.
    pub fn pending(&self) -> Result<Pending> {
        let all = self.keys_of(Family::Meta, &[Meta::Erased(0, 0, 0).tag()], usize::MAX)?;
        let persons = all.unwrap_or_default().into_iter().collect();
        // The sequence number is read last, so that all these persons were deleted by then.
        Ok(Pending { persons, sequence: self.db.latest_sequence_number() })
    }

    /// Returns whether a snapshot older than a sequence number is still open.
    fn is_read_as_of(&self, sequence: u64) -> Result<bool> {
        // The property is 0 if no snapshot is open; no snapshot itself is at 0, as opening a new store
        // writes.
        let oldest = self.db.property_int_value(OLDEST_SNAPSHOT_SEQUENCE)?;
        Ok((1..sequence).contains(&oldest.unwrap_or(0)))
    }

    fn flush(&self) -> Result<()> {
        let families = Family::ALL.iter().map(|family| self.family(*family));
        let families: Vec<_> = families.collect();
        Ok(self.db.flush_cfs_opt(&families, &FlushOptions::default())?)
    }

    /// Compacts the rows whose keys begin with a prefix on all levels, so that nothing deleted is left there.
    fn compact(&self, family: Family, prefix: &[u8]) {
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        // An empty bound is none: `after` an empty prefix is no key.
        let [begin, end] = [prefix.to_vec(), keys::after(prefix)]
            .map(|bound| Some(bound).filter(|bound| !bound.is_empty()));
        self.db.compact_range_cf_opt(self.family(family), begin, end, &options);
    }
}
