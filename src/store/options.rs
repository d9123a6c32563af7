//! How RocksDB is set up.

use std::path::Path;

use rocksdb::perf::{PerfStatsLevel, set_perf_stats};
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType,
    Options, SliceTransform, WriteBufferManager, statistics::StatsLevel,
};

use super::keys::PERSON_BYTES;
use super::{Config, Family};

/// What is needed after opening: the shared memory and the counters.
pub struct Caches {
    /// The options, which contain the counters.
    pub options: Options,
    /// The block cache, to which the write buffers are charged.
    pub cache: Cache,
    /// How much both may take, in bytes.
    pub memory: u64,
}

/// 1 / this of the memory is for the history cache.
pub const HISTORY_CACHE_PART: u64 = 8;

/// At most 1 / this of the memory is for the row cache, which grows as readers ask for rows. A person's rows
/// take a tenth of the memory of the blocks that they are read from.
pub const ROW_CACHE_PART: u64 = 3;

/// At most 1 / this of the memory is for the column cache, which grows as readers ask for
/// columns and distinct ids.
pub const COLUMN_CACHE_PART: u64 = 8;

impl Caches {
    /// Sets the capacity of the block cache to what `taken` bytes leave of the memory.
    pub fn leave(&self, taken: u64) {
        let capacity = self.memory.saturating_sub(taken);
        self.cache.clone().set_capacity(usize::try_from(capacity).unwrap_or(usize::MAX));
    }
}

/// The maximum size of the write-ahead log, in bytes. A start replays it, which takes about a second.
const MAX_WAL: u64 = 64 << 20;

/// The number of flushed files that are compacted at once. With half as many, compactions would be twice as
/// frequent, each rewriting most of the level below.
const FIRST_FILES: i32 = 8;

/// Opens the database with every family.
pub fn open(config: &Config) -> Result<(DB, Caches), rocksdb::Error> {
    let memory = config.memory - config.memory / HISTORY_CACHE_PART;
    let (mut options, cache, families) = shared(memory)?;
    // Write buffers are charged to the cache: together they stay within the configured memory.
    let part = usize::try_from(memory / 8 * 3).unwrap_or(usize::MAX);
    let buffers =
        WriteBufferManager::new_write_buffer_manager_with_cache(part, false, cache.clone());
    options.set_write_buffer_manager(&buffers);
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_open_files(512);
    // Rows that are only in the write-ahead log have to be replayed at the next start.
    options.set_max_total_wal_size(MAX_WAL);
    let db = DB::open_cf_descriptors(&options, &config.path, families)?;
    Ok((db, Caches { options, cache, memory }))
}

/// Opens the database with every family read-only, while another process may write it.
pub fn open_to_read(config: &Config) -> Result<(DB, Caches), rocksdb::Error> {
    // Rows that the writing process has not flushed are replayed from its log into memtables, which may be
    // larger than this. They are not charged to the cache, or no block would stay in it.
    let memory = config.memory.min(READING_MEMORY);
    let (mut options, cache, families) = shared(memory)?;
    // Every file is opened at the start, so that the writing process cannot delete one before it is read.
    options.set_max_open_files(-1);
    let db = DB::open_cf_descriptors_read_only(&options, &config.path, families, false)?;
    Ok((db, Caches { options, cache, memory }))
}

/// Opens a checkpoint for copying, without compactions that would change its files.
pub fn open_to_copy(path: &Path) -> Result<DB, rocksdb::Error> {
    let cache = Cache::new_lru_cache(0);
    let mut options = Options::default();
    options.set_keep_log_file_num(1);
    let families = Family::ALL.iter().map(|&family| {
        let mut options = family_options(family, &cache, 0);
        options.set_disable_auto_compactions(true);
        ColumnFamilyDescriptor::new(family.name(), options)
    });
    DB::open_cf_descriptors(&options, path, families)
}

/// The most memory for the block cache of a read-only store: the writing process has its own cache.
const READING_MEMORY: u64 = 128 << 20;

/// Turns off RocksDB's per-thread counters of comparisons and blocks. They are on by default and cost a call
/// each, and nothing reads them.
pub fn count_nothing() {
    set_perf_stats(PerfStatsLevel::Disable);
}

/// The manifest contains keys, too: the first and last of every file. It is replaced with every change of the
/// files, so that no key of a deleted row stays in it.
const MANIFEST: &str = "max_manifest_file_size=1;max_manifest_space_amp_pct=0";

fn shared(memory: u64) -> Result<(Options, Cache, Vec<ColumnFamilyDescriptor>), rocksdb::Error> {
    let memory = usize::try_from(memory).unwrap_or(usize::MAX);
    // Unlike the LRU cache, it has no locks that readers contend for.
    let cache = Cache::new_hyper_clock_cache(memory, 0);
    let mut options = Options::default().get_options_from_string(MANIFEST)?;
    options.increase_parallelism(
        std::thread::available_parallelism()
            .map_or(2, |cores| i32::try_from(cores.get()).unwrap_or(2)),
    );
    options.set_bytes_per_sync(1 << 20);
    options.set_keep_log_file_num(5);
    options.enable_statistics();
    options.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
    let families = Family::ALL.iter().map(|&family| {
        ColumnFamilyDescriptor::new(family.name(), family_options(family, &cache, memory))
    });
    let families = families.collect();
    Ok((options, cache, families))
}

fn family_options(family: Family, cache: &Cache, memory: usize) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_bloom_filter(10.0, false);
    // Indexes and filters are split into blocks of a few kilobytes. A single filter per file would take
    // megabytes, which a small cache cannot hold, so that every look-up would read all of it from disk.
    blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    blocks.set_partition_filters(true);
    blocks.set_pin_top_level_index_and_filter(true);
    blocks.set_format_version(5);
    let mut options = Options::default();
    if family.lists_per_person() {
        options.set_prefix_extractor(SliceTransform::create_fixed_prefix(PERSON_BYTES));
        blocks.set_whole_key_filtering(false);
        blocks.set_block_size(8 << 10);
    }
    options.set_block_based_table_factory(&blocks);
    let buffer = write_buffer(family, memory);
    options.set_write_buffer_size(buffer);
    // As large as the flushed files that are compacted into it at once. If it were far larger, all of it
    // would be rewritten for each handful of them.
    options.set_max_bytes_for_level_base(buffer as u64 * u64::from(FIRST_FILES.unsigned_abs()));
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_level_zero_file_num_compaction_trigger(FIRST_FILES);
    options.set_compression_type(DBCompressionType::Lz4);
    // Families that every read asks for are decompressed faster.
    let is_asked_most = matches!(family, Family::Person | Family::DistinctId | Family::Recency);
    options.set_bottommost_compression_type(if is_asked_most {
        DBCompressionType::Lz4
    } else {
        DBCompressionType::Zstd
    });
    options
}

/// Returns the size of a family's write buffer, in bytes. The families with the most written bytes have
/// larger ones: the larger the flushed files, the less often the level below is rewritten.
fn write_buffer(family: Family, memory: usize) -> usize {
    let parts = match family {
        Family::History => 3,
        Family::Column | Family::Person => 2,
        _ => 1,
    };
    (memory / 16 * parts).clamp(4 << 20, 64 << 20)
}
