//! The store: RocksDB, and the only room that names it.
//!
//! Reading order: [`keys`] what lies where → [`codec`] values as bytes → [`transaction`] the one
//! writer: load, stage, commit → [`snapshot`] the readers.
//!
//! One [`Store`] has one writer and any number of readers. Every commit is one atomic batch of
//! rows and positions; after a failed one the store is poisoned and takes no further commit,
//! since what was staged on top of it may be lost.

mod as_of;
pub mod codec;
mod dictionary;
pub mod keys;
mod list;
mod operation;
mod options;
mod rows;
pub mod snapshot;
mod staged;
pub mod transaction;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rocksdb::DB;

pub use self::as_of::Told;
pub use self::dictionary::Dictionary;
pub use self::keys::Family;
use self::keys::Meta;
pub use self::operation::{Applied, Effect, Member, Operation};
pub use self::options::Measure;
pub use self::snapshot::{Moment, Page, Person, Snapshot};
pub use self::transaction::Transaction;

/// The format that this program reads and writes.
pub const FORMAT: u32 = 1;

/// Where the store is and what it may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The folder of the store; made where missing.
    pub path: PathBuf,
    /// Memory for block cache and write buffers, in bytes.
    pub memory: u64,
    /// Whether every commit waits for the disk: a power cut then loses nothing that Kafka no
    /// longer has.
    pub sync_writes: bool,
}

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// RocksDB failed.
    #[error("the store failed: {0}")]
    Rocks(#[from] rocksdb::Error),
    /// The store cannot be opened.
    #[error("cannot open the store in {path}: {reason}")]
    Open {
        /// The store's folder.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// The store was written in another format.
    #[error(
        "the store in {path} has format {found}, and this program reads format {FORMAT}; run the \
         version of personview that wrote it, or point store.path to an empty folder to build a \
         new store from the log. Nothing was changed"
    )]
    Format {
        /// The store's folder.
        path: PathBuf,
        /// The format found there.
        found: String,
    },
    /// Bytes in the store are not what was written.
    #[error(
        "a row of `{family}` cannot be read: the store is damaged; restore it, or rebuild it from the log in an empty folder"
    )]
    Corrupt {
        /// The column family.
        family: &'static str,
    },
    /// Rows contradict each other.
    #[error("the store contradicts itself: {0}")]
    Broken(&'static str),
    /// An earlier commit failed.
    #[error(
        "an earlier commit failed, so no further one is taken; restart to go on from what is on disk"
    )]
    Poisoned,
}

/// The result of store operations.
pub type Result<T> = std::result::Result<T, Error>;

/// An open store.
pub struct Store {
    db: DB,
    dictionary: Dictionary,
    poisoned: AtomicBool,
    sync_writes: bool,
    caches: options::Caches,
}

impl Store {
    /// Opens the store, or makes a new one where the folder is empty.
    ///
    /// # Errors
    /// [`Error::Format`] for a store of another format and [`Error::Open`] where it is locked,
    /// damaged or not accessible; both leave it untouched.
    pub fn open(config: &Config) -> Result<Self> {
        let path = &config.path;
        let open_error = |reason: String| Error::Open { path: path.clone(), reason };
        check_format(path)?;
        std::fs::create_dir_all(path).map_err(|error| open_error(error.to_string()))?;
        let (db, caches) = options::open(config).map_err(|error| open_error(advice(&error)))?;
        let store = Self {
            dictionary: Dictionary::default(),
            db,
            poisoned: AtomicBool::new(false),
            sync_writes: config.sync_writes,
            caches,
        };
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
        Ok(store)
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

    /// Begins the next transaction. There is one writer: the caller does not run two at once.
    #[must_use]
    pub fn transaction(&self) -> Transaction<'_> {
        Transaction::new(self)
    }

    /// What the store measures of itself, for the metrics.
    #[must_use]
    pub fn measure(&self) -> Measure {
        self.caches.measure(&self.db)
    }

    /// Every key and value, to compare two stores by.
    #[cfg(test)]
    pub(crate) fn content(&self) -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
        let rows = Family::ALL.into_iter().flat_map(|family| {
            let rows = self.db.iterator_cf(self.family(family), rocksdb::IteratorMode::Start);
            rows.map(move |row| {
                row.map(|(key, value)| (family.name(), key.into_vec(), value.into_vec())).unwrap()
            })
        });
        rows.collect()
    }

    fn family(&self, family: Family) -> &rocksdb::ColumnFamily {
        let handle = self.db.cf_handle(family.name());
        handle.expect("every family is opened with the store")
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

fn corrupt(family: Family) -> Error {
    Error::Corrupt { family: family.name() }
}

fn format_text(found: &[u8]) -> String {
    let number = found.try_into().map(u32::from_be_bytes);
    number.map_or_else(|_| "unknown".to_owned(), |number| number.to_string())
}

/// Judges an existing store by reading it only, so that one that is refused stays untouched.
fn check_format(path: &Path) -> Result<()> {
    if !path.join("CURRENT").exists() {
        let foreign = std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
        if foreign {
            let reason =
                "the folder is not empty and holds no store; set store.path to an empty folder";
            return Err(Error::Open { path: path.to_owned(), reason: reason.to_owned() });
        }
        return Ok(());
    }
    let options = rocksdb::Options::default();
    let open_error =
        |error: &rocksdb::Error| Error::Open { path: path.to_owned(), reason: advice(error) };
    let names = DB::list_cf(&options, path).map_err(|error| open_error(&error))?;
    let unknown = |found: &str| Error::Format { path: path.to_owned(), found: found.to_owned() };
    if !names.iter().any(|name| name == Family::Meta.name()) {
        return Err(unknown("unknown"));
    }
    let db = DB::open_cf_for_read_only(&options, path, [Family::Meta.name()], false)
        .map_err(|error| open_error(&error))?;
    let meta = db.cf_handle(Family::Meta.name()).ok_or_else(|| unknown("unknown"))?;
    match db.get_cf(meta, Meta::Format.key())? {
        Some(found) if *found != FORMAT.to_be_bytes() => Err(unknown(&format_text(&found))),
        // A store whose first write did not happen has no format yet, and nothing in it.
        _ => Ok(()),
    }
}

/// What an operator may do about an error of opening.
fn advice(error: &rocksdb::Error) -> String {
    let text = error.to_string();
    let lower = text.to_lowercase();
    if lower.contains("lock") {
        format!("another process uses it ({text}); stop that one, or set another store.path")
    } else if lower.contains("permission") {
        format!("this user may not write there ({text}); change the folder's owner or mode")
    } else if lower.contains("no space") {
        format!("the disk is full ({text}); free some space")
    } else {
        text
    }
}

#[cfg(test)]
mod tests;
