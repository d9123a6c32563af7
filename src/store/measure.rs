//! Measurements of the store, for the metrics.

use std::sync::atomic::Ordering;

use rocksdb::Range;
use rocksdb::properties::{self, PropName};
use rocksdb::statistics::Ticker;

use super::{Family, Store, keys};

/// A measurement of the store. Counters begin at the start of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// Every family.
    pub families: Vec<FamilyMeasure>,
    /// Blocks found in the block cache.
    pub cache_hits: u64,
    /// Blocks that had to be read from disk.
    pub cache_misses: u64,
    /// Bytes of `store.memory` that the block cache and the write buffers use now.
    pub cache_bytes: u64,
    /// How often a read was answered from the row cache.
    pub row_cache_hits: u64,
    /// How often a read missed the row cache and went to the database.
    pub row_cache_misses: u64,
    /// Bytes of `store.memory` that the row cache uses now.
    pub row_cache_bytes: u64,
    /// Bytes of `store.memory` that the column cache uses now, for whole columns and distinct ids.
    pub column_cache_bytes: u64,
    /// Bytes of `store.memory` that the history cache used after the last transaction.
    pub history_cache_bytes: u64,
    /// How long writes waited for compaction, in microseconds.
    pub stall_micros: u64,
    /// Compactions that are running now.
    pub compactions_running: u64,
    /// Bytes that compaction read.
    pub compaction_read_bytes: u64,
    /// Bytes that compaction wrote.
    pub compaction_written_bytes: u64,
    /// Bytes that flushes of write buffers wrote.
    pub flush_written_bytes: u64,
    /// Bytes that were written to the write-ahead log.
    pub wal_written_bytes: u64,
    /// Bytes available on the file system of the store; `None` if the system does not report them.
    pub disk_available_bytes: Option<u64>,
    /// Whether a commit failed: the store refuses every later commit then.
    pub is_poisoned: bool,
    /// When the last backup finished, in seconds since 1970; `None` if there was none.
    pub last_backup: Option<u64>,
}

/// A measurement of one column family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FamilyMeasure {
    /// Its name.
    pub name: &'static str,
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes in write buffers.
    pub memtable_bytes: u64,
    /// Bytes that compaction has yet to rewrite.
    pub compaction_pending_bytes: u64,
}

/// Rows are small if their bytes on disk are at most 1 / this of the cache memory.
const SMALL_PART: u64 = 16;

impl Store {
    /// Gives the block cache the memory that the row cache and the column cache do not use.
    pub(super) fn share_memory(&self) {
        self.caches.leave(self.row_cache.bytes() + self.column_cache.bytes());
    }

    /// Measures the store. A value that RocksDB does not report is 0.
    #[must_use]
    pub fn measure(&self) -> Measure {
        self.share_memory();
        let count = |ticker| self.caches.options.get_ticker_count(ticker);
        let whole = self.db.property_int_value(properties::NUM_RUNNING_COMPACTIONS);
        Measure {
            families: Family::ALL.iter().map(|family| self.measure_of(*family)).collect(),
            cache_hits: count(Ticker::BlockCacheHit),
            cache_misses: count(Ticker::BlockCacheMiss),
            cache_bytes: self.caches.cache.get_usage() as u64,
            row_cache_hits: self.row_cache.hits(),
            row_cache_misses: self.row_cache.misses(),
            row_cache_bytes: self.row_cache.bytes(),
            column_cache_bytes: self.column_cache.bytes(),
            history_cache_bytes: self.history_cache_used.load(Ordering::Relaxed),
            stall_micros: count(Ticker::StallMicros),
            compactions_running: whole.ok().flatten().unwrap_or_default(),
            compaction_read_bytes: count(Ticker::CompactReadBytes),
            compaction_written_bytes: count(Ticker::CompactWriteBytes),
            flush_written_bytes: count(Ticker::FlushWriteBytes),
            wal_written_bytes: count(Ticker::WalFileBytes),
            disk_available_bytes: self.disk_available_bytes(),
            is_poisoned: self.is_poisoned(),
            last_backup: self.last_backup(),
        }
    }

    fn disk_available_bytes(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(self.db.path()).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Returns why the write buffers cannot be flushed: the disk lacks room for them. To try would end
    /// ingestion.
    pub(super) fn lacks_room_to_flush(&self) -> Option<String> {
        let buffers =
            Family::ALL.iter().map(|family| self.measure_of(*family).memtable_bytes).sum();
        lacks_room(self.disk_available_bytes()?, buffers)
    }

    /// Returns whether the rows of a family whose keys begin with `prefix` are small against the
    /// cache, by their bytes on disk.
    pub(super) fn is_small(&self, family: Family, prefix: &[u8]) -> bool {
        let until = keys::after(prefix);
        let range = Range::new(prefix, &until);
        let sizes = self.db.get_approximate_sizes_cf(self.family(family), &[range]);
        sizes.iter().sum::<u64>() <= self.caches.memory / SMALL_PART
    }

    fn measure_of(&self, family: Family) -> FamilyMeasure {
        let property = |name: &PropName| {
            let value = self.db.property_int_value_cf(self.family(family), name);
            value.ok().flatten().unwrap_or_default()
        };
        FamilyMeasure {
            name: family.name(),
            bytes: property(properties::TOTAL_SST_FILES_SIZE),
            memtable_bytes: property(properties::SIZE_ALL_MEM_TABLES),
            compaction_pending_bytes: property(properties::ESTIMATE_PENDING_COMPACTION_BYTES),
        }
    }
}

fn lacks_room(available: u64, buffers: u64) -> Option<String> {
    (available < buffers).then(|| {
        format!(
            "the disk of the store has {available} bytes free, and the {buffers} bytes of the write buffers \
             have to be written before a backup; make room there"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::lacks_room;
    use crate::store::Family;
    use crate::store::tests::{give, opened};

    #[test]
    fn a_checkpoint_needs_room_for_the_write_buffers() {
        let (_folder, store) = opened();
        give(&store, ["ann"]).unwrap();
        assert_eq!(store.lacks_room_to_flush(), None);
        assert!(store.measure().families.iter().any(|family| family.memtable_bytes > 0));
        assert_eq!(lacks_room(64, 64), None);
        assert!(lacks_room(63, 64).unwrap().contains("63 bytes free"));
    }

    #[test]
    fn the_history_cache_is_measured_while_a_transaction_has_it() {
        let (_folder, store) = opened();
        let mut cache = store.take_history_cache();
        cache.history((1, 7), |_| Ok(None)).unwrap();
        store.put_history_cache(cache);
        let _taken = store.take_history_cache();
        assert!(store.measure().history_cache_bytes > 0);
    }

    #[test]
    fn blocks_leave_others_their_share() {
        let (_folder, store) = opened();
        // The ids share no long prefixes, which would make the blocks small.
        let far_apart = |number: u128| number.wrapping_mul(u128::MAX / 60_000);
        let ids = (0..60_000).map(|number| format!("{:032x}", far_apart(number)).repeat(3));
        give(&store, ids).unwrap();
        store.db.flush_cf(store.family(Family::DistinctId)).unwrap();
        // Reads only a part of the rows at first, so that other blocks come in later.
        let read = |from: &[u8], until: &[u8]| {
            let mut iterator = store.db.raw_iterator_cf(store.family(Family::DistinctId));
            iterator.seek(from);
            while iterator.key().is_some_and(|key| key < until) {
                iterator.next();
            }
            iterator.status().unwrap();
            store.caches.cache.get_usage()
        };
        let all = read(b"", b"\0\0\0\x018");
        assert!(all > 3 << 20, "{all} bytes of blocks");
        store.caches.leave(store.caches.memory - (1 << 20));
        let few = read(b"\0\0\0\x018", b"\xff");
        assert!(few < 2 << 20, "{few} bytes of blocks, where 1 MiB is left");
    }
}
