//! The store, based on RocksDB, which no other room names.
//!
//! Reading order: [`keys`], the key layout → [`codec`], the encoding of values → [`transaction`], the one
//! writer: load, stage, commit → [`snapshot`], the readers: of one person [`as_of`], [`current_identity`] and
//! [`operation_diffs`], of many [`list`], [`find`], [`search`], [`values`] and [`mod@column`] →
//! [`row_cache`], [`history_cache`] and [`column_cache`], the caches → [`backup`] and [`erase`], the
//! maintenance → [`verify`], the check of the laws.
//!
//! One [`Store`] has one writer and any number of readers. Every commit is one atomic batch of rows and
//! positions. After a failed commit the store is poisoned and takes no more, since what was staged on top of
//! it may build on lost rows.

mod activity;
mod as_of;
mod backup;
mod by_change;
pub(crate) mod codec;
mod column;
mod column_cache;
mod current_identity;
mod dictionary;
mod ending;
mod erase;
mod error;
mod family;
mod find;
mod format;
mod history_cache;
mod in_memory;
pub mod keys;
mod list;
mod lives;
mod measure;
mod members;
mod meta;
mod operation;
mod operation_diffs;
mod operations;
mod options;
mod packed;
mod person_history;
mod read_pool;
mod reading;
mod row_cache;
mod rows;
mod search;
mod snapshot;
mod staged;
mod transaction;
mod values;
pub mod verify;
mod walk;

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use hmac::{Hmac, Mac};
use rocksdb::DB;
use sha2::Sha256;
use uuid::Uuid;

pub use self::activity::{Activity, ActivityPage, Deed};
pub use self::backup::{Backup, Backups, Checkpoint};
use self::column_cache::ColumnCache;
pub use self::dictionary::Dictionary;
pub use self::erase::Pending;
pub use self::error::{Error, Result};
use self::error::{advice, corrupt, decode};
pub use self::family::Family;
pub use self::find::{By, NEVER, Order, Row, Wanted};
pub use self::format::exists;
use self::format::{check_files, check_format, format_text};
use self::history_cache::HistoryCache;
use self::keys::Meta;
pub use self::list::{Among, Start};
pub use self::lives::{Above, Group, LifeSpan, LivesOf, Spans};
pub use self::measure::{FamilyMeasure, Measure};
pub use self::members::{Had, HadIds, Joined, Member};
pub use self::meta::Applied;
pub use self::operation::{Effect, Operation};
pub use self::operation_diffs::{OperationDiff, OperationQuery, PropertyDiff};
pub use self::operations::{NewestOperations, OperationWithValues};
pub use self::read_pool::together;
use self::row_cache::RowCache;
pub use self::snapshot::{Moment, Person, Snapshot};
pub use self::transaction::{Arrival, CommandOutcome, Recency, Remembered, Sealed, Transaction};
pub use self::values::Values;

/// The format that this program reads and writes.
pub const FORMAT: u32 = 2;

/// Where the store is and what it may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The folder of the store; created if missing.
    pub path: PathBuf,
    /// Memory in bytes for the block cache, the write buffers and the caches of rows, columns and histories.
    pub memory: u64,
    /// Whether every commit waits for the disk. If not, a power cut may lose the newest commits, which are
    /// applied again if Kafka still has their records.
    pub sync_writes: bool,
}

/// Creates a folder, and missing ones above it, accessible to this user only, as it will hold personal data.
/// An existing folder keeps its mode.
fn create_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// An open store.
pub struct Store {
    db: DB,
    dictionary: Dictionary,
    /// The key with which distinct ids of deleted persons are hashed.
    secret: Vec<u8>,
    identity: Uuid,
    poisoned: AtomicBool,
    /// Whether the process is ending, so that background work stops.
    is_ending: AtomicBool,
    read_only: bool,
    sync_writes: bool,
    caches: options::Caches,
    /// The history cache, kept here between two transactions.
    history_cache: Mutex<Option<HistoryCache>>,
    /// How much the history cache may take, in bytes.
    history_cache_bytes: usize,
    /// How much the history cache took when the last transaction left it, in bytes.
    history_cache_used: AtomicU64,
    row_cache: RowCache,
    column_cache: ColumnCache,
    /// Held while a checkpoint is made.
    checkpointing: Mutex<()>,
}

impl Store {
    /// Opens the store, or creates a new one if the folder is empty or missing.
    ///
    /// # Errors
    /// [`Error::Format`] if the store has another format, [`Error::Open`] if it is locked, damaged or not
    /// accessible; both leave it untouched.
    pub fn open(config: &Config) -> Result<Self> {
        let path = &config.path;
        let open_error = |reason: String| Error::Open { path: path.clone(), reason };
        check_format(path)?;
        create_private(path).map_err(|error| open_error(advice(&error.to_string())))?;
        let (db, caches) =
            options::open(config).map_err(|error| open_error(advice(error.as_ref())))?;
        check_files(&db).map_err(|error| open_error(advice(&error)))?;
        backup::clean(path).map_err(|error| open_error(advice(&error.to_string())))?;
        let sync_writes = config.sync_writes;
        let mut store = Self { sync_writes, ..Self::of(db, caches, config.memory) };
        match store.db.get_cf(store.family(Family::Meta), Meta::Format.key())? {
            None => {
                let family = store.family(Family::Meta);
                store.db.put_cf(family, Meta::Format.key(), FORMAT.to_be_bytes())?;
            }
            Some(found) if *found == FORMAT.to_be_bytes() => {}
            Some(found) => {
                return Err(Error::Format { path: path.clone(), found: format_text(&found) });
            }
        }
        store.load_dictionary()?;
        store.load_secret()?;
        store.load_identity()?;
        Ok(store)
    }

    /// Wraps an open database whose metadata is not loaded yet. The caches of histories, rows and columns get
    /// their parts of `memory`, in bytes.
    fn of(db: DB, caches: options::Caches, memory: u64) -> Self {
        Self {
            db,
            dictionary: Dictionary::default(),
            secret: Vec::new(),
            identity: Uuid::nil(),
            poisoned: AtomicBool::new(false),
            is_ending: AtomicBool::new(false),
            read_only: false,
            sync_writes: false,
            caches,
            history_cache: Mutex::default(),
            history_cache_bytes: usize::try_from(memory / options::HISTORY_CACHE_PART)
                .unwrap_or(usize::MAX),
            history_cache_used: AtomicU64::new(0),
            row_cache: RowCache::new(memory / options::ROW_CACHE_PART),
            column_cache: ColumnCache::new(memory / options::COLUMN_CACHE_PART),
            checkpointing: Mutex::default(),
        }
    }

    /// The names of properties and topics.
    #[must_use]
    pub fn dictionary(&self) -> &Dictionary {
        &self.dictionary
    }

    /// Whether an earlier commit failed.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// A consistent view of everything committed so far.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot::new(self)
    }

    /// Begins the next transaction. There is one writer: the caller must not run two transactions at once,
    /// unless one of them only writes positions. Commits follow one another: the caches count on it.
    #[must_use]
    pub fn transaction(&self) -> Transaction<'_> {
        Transaction::new(self)
    }

    /// Returns every key and value, to compare two stores, without the secret and the identity of each, and
    /// with the keys left empty that are hashes with the secret.
    #[cfg(test)]
    pub(crate) fn content(&self) -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
        let rows = Family::ALL.iter().flat_map(|&family| {
            let rows = self.db.iterator_cf(self.family(family), rocksdb::IteratorMode::Start);
            rows.map(move |row| {
                let (key, value) = row.unwrap();
                let key = if family == Family::Dropped { Vec::new() } else { key.into_vec() };
                (family.name(), key, value.into_vec())
            })
        });
        let own = [Meta::Secret.key(), Meta::Identity.key()];
        rows.filter(|(_, key, _)| !own.contains(key)).collect()
    }

    /// Overwrites or deletes a row, so that a test can check that the damage is found.
    #[cfg(test)]
    pub(crate) fn damage(&self, family: Family, key: &[u8], value: Option<&[u8]>) {
        self.row_cache.begin().row(family, key);
        match value {
            Some(value) => self.db.put_cf(self.family(family), key, value).unwrap(),
            None => self.db.delete_cf(self.family(family), key).unwrap(),
        }
        self.row_cache.end();
    }

    fn family(&self, family: Family) -> &rocksdb::ColumnFamily {
        let handle = self.db.cf_handle(family.name());
        handle.expect("every family is opened with the store")
    }

    /// Returns a keyed hash of a distinct id, which does not reveal the id without the secret.
    fn hash(&self, distinct_id: &str) -> [u8; 16] {
        let mut hash =
            Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes a key of any length");
        hash.update(distinct_id.as_bytes());
        let hash = hash.finalize().into_bytes();
        std::array::from_fn(|index| hash[index])
    }

    /// Checks that the store may be written.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] if the store was opened read-only, [`Error::Poisoned`] after a failed commit.
    fn check_writable(&self) -> Result<()> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        if self.is_poisoned() { Err(Error::Poisoned) } else { Ok(()) }
    }

    /// Makes the store refuse every later commit.
    fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    /// Takes the history cache that the last transaction left, or a new one.
    fn take_history_cache(&self) -> HistoryCache {
        let cache = self.history_cache.lock().unwrap_or_else(PoisonError::into_inner).take();
        cache.unwrap_or_else(|| HistoryCache::new(self.history_cache_bytes))
    }

    fn put_history_cache(&self, cache: HistoryCache) {
        self.history_cache_used.store(cache.bytes() as u64, Ordering::Relaxed);
        *self.history_cache.lock().unwrap_or_else(PoisonError::into_inner) = Some(cache);
    }

    /// Returns every key of a family that begins with `prefix`; `None` if there are more than `most`.
    fn keys_of(&self, family: Family, prefix: &[u8], most: usize) -> Result<Option<Vec<Vec<u8>>>> {
        let mut iterator = self.db.raw_iterator_cf(self.family(family));
        iterator.seek(prefix);
        let mut keys = Vec::new();
        while let Some(key) = iterator.key().filter(|key| key.starts_with(prefix)) {
            if keys.len() == most {
                return Ok(None);
            }
            keys.push(key.to_vec());
            iterator.next();
        }
        iterator.status()?;
        Ok(Some(keys))
    }

    /// Creates an unnamed file in the store's folder, for data that does not fit into memory.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn spool(&self) -> io::Result<File> {
        tempfile::tempfile_in(self.db.path())
    }

    fn load_dictionary(&self) -> Result<()> {
        let family = self.family(Family::Meta);
        for entry in self.db.iterator_cf(family, rocksdb::IteratorMode::Start) {
            let (key, value) = entry?;
            self.dictionary.load(&key, &value).ok_or(corrupt(Family::Meta))?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
