//! Why the store could not do what was asked, and what to do about it.

use std::path::PathBuf;

use super::codec::Corrupt;
use super::{FORMAT, Family};

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// RocksDB failed.
    #[error("the store failed: {}", advice(.0.as_ref()))]
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
    /// The store was filled from another share of the log.
    #[error(
        "the store in {path} was filled with ingest.partitions = {found:?}, and now it is {wanted:?}: \
         what it holds of partitions that it left would grow old, and the commands of those that it \
         gets were refused long ago; set it back, or point store.path to an empty folder. Nothing was \
         changed"
    )]
    Share {
        /// The store's folder.
        path: PathBuf,
        /// The share that it was filled from.
        found: String,
        /// The share that is configured.
        wanted: String,
    },
    /// A folder of backups cannot be used.
    #[error("backups in {path}: {reason}")]
    Backups {
        /// The folder.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// Rows contradict each other.
    #[error("the store contradicts itself: {0}")]
    Broken(&'static str),
    /// An earlier commit failed.
    #[error(
        "an earlier commit failed, so no further one is taken; restart to go on from what is on disk"
    )]
    Poisoned,
    /// A compaction that takes persons off the disk failed.
    #[error(
        "a compaction failed; make room, as it writes the lists of distinct ids and of emails anew before it \
         takes the old ones away. It is tried again"
    )]
    NotErased,
    /// A read took longer than it may, or nobody waits for it any more.
    #[error("the read took longer than it may")]
    Ended,
    /// It was opened to be read only.
    #[error(
        "this store was opened to be read, beside the process that writes it; it takes no commit"
    )]
    ReadOnly,
}

/// The result of store operations.
pub type Result<T> = std::result::Result<T, Error>;

/// Bytes of this family are not what was written.
pub(super) fn corrupt(family: Family) -> Error {
    Error::Corrupt { family: family.name() }
}

/// Decodes a value of a family.
pub(super) fn decode<'b, T>(
    decode: impl Fn(&'b [u8]) -> std::result::Result<T, Corrupt>,
    bytes: &'b [u8],
    family: Family,
) -> Result<T> {
    decode(bytes).map_err(|_| corrupt(family))
}

/// What an operator may do about an error of RocksDB or of the file system.
pub(super) fn advice(text: &str) -> String {
    let lower = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    // "block" has a lock in it.
    if has(&["while lock file", "lock hold by"]) {
        format!("another process uses it ({text}); stop that one, or set another store.path")
    } else if has(&["read-only file system"]) {
        format!(
            "the disk is read-only ({text}); see what the system's log says of it, mount it so that it \
             can be written, then start again"
        )
    } else if has(&["permission denied"]) {
        format!("this user may not write there ({text}); change the folder's owner or mode")
    } else if has(&["input/output error"]) {
        format!(
            "the disk fails ({text}); see what the system's log says of it, then start again, or \
             restore a backup on another disk"
        )
    } else if has(&["no space left", "quota exceeded"]) {
        format!("the disk is full ({text}); make room there, then start again")
    } else if has(&["corruption", "no such file"]) {
        format!(
            "a file is damaged or missing ({text}); restore a backup, or build the store anew from \
             the log in an empty folder"
        )
    } else {
        text.to_owned()
    }
}
