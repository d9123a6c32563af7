//! The errors of the store, with advice on what to do about them.

use std::path::PathBuf;

use super::codec::Corrupt;
use super::{FORMAT, Family};

/// An error of the store.
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
        /// The reason, and what to do.
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
    /// The store was filled from other partitions than those configured.
    #[error(
        "the store in {path} was filled with ingest.partitions = {found:?}, and now it is {wanted:?}: \
         what it holds of partitions that it left would grow old, and the commands of those that it \
         gets were refused long ago; set it back, or point store.path to an empty folder. Nothing was \
         changed"
    )]
    Share {
        /// The store's folder.
        path: PathBuf,
        /// The partitions that it was filled from.
        found: String,
        /// The partitions that are configured.
        wanted: String,
    },
    /// A folder of backups cannot be used.
    #[error("backups in {path}: {reason}")]
    Backups {
        /// The folder.
        path: PathBuf,
        /// The reason, and what to do.
        reason: String,
    },
    /// Rows contradict each other.
    #[error("the store is inconsistent: {0}")]
    Broken(&'static str),
    /// An earlier commit failed.
    #[error(
        "an earlier commit failed, so nothing more is committed; restart to continue from what is on disk"
    )]
    Poisoned,
    /// A compaction that removes deleted persons from the disk failed.
    #[error(
        "a compaction failed and will be retried; make room on the disk, because it writes lists again before it \
         deletes the old ones"
    )]
    NotErased,
    /// The deadline of a read has passed, or its caller has gone.
    #[error("the read took too long")]
    Ended,
    /// The store was opened read-only.
    #[error("this store was opened read-only, beside the process that writes it")]
    ReadOnly,
}

/// The result of store operations.
pub type Result<T> = std::result::Result<T, Error>;

/// Returns the error for bytes of a family that are not what was written.
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

/// Returns an error text of RocksDB or of the file system, with advice for the operator if there is any.
pub(super) fn advice(text: &str) -> String {
    let lower = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    // Not merely "lock", which is also in "block".
    if has(&["while lock file", "lock hold by"]) {
        format!("another process uses it ({text}); stop that one, or set another store.path")
    } else if has(&["read-only file system"]) {
        format!(
            "the disk is read-only ({text}); check the system's log, mount it writable, then start again"
        )
    } else if has(&["permission denied"]) {
        format!("this user may not write there ({text}); change the folder's owner or mode")
    } else if has(&["input/output error"]) {
        format!(
            "the disk fails ({text}); check the system's log, then start again, or restore a backup on \
             another disk"
        )
    } else if has(&["no space left", "quota exceeded"]) {
        format!("the disk is full ({text}); make room there, then start again")
    } else if has(&["file exists", "not a directory"]) {
        format!("it is not a folder ({text}); name another one")
    } else if has(&["too many open files"]) {
        format!("too few files may be open ({text}); raise the limit (`ulimit -n`, LimitNOFILE)")
    } else if has(&["corruption", "no such file"]) {
        format!(
            "a file is damaged or missing ({text}); restore a backup, or rebuild the store from the log \
             in an empty folder"
        )
    } else {
        text.to_owned()
    }
}
