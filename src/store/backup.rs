//! A copy of the store as it is at one moment, and a store from a copy.
//!
//! A [`Checkpoint`] is made by the process that writes: the files of that moment under a second
//! name, which costs no space and no time. Whoever likes copies it into a folder of backups
//! ([`Backups`]), where files that are there already are not copied again.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rocksdb::Env;
use rocksdb::backup::{BackupEngine, BackupEngineInfo, BackupEngineOptions, RestoreOptions};
use rocksdb::checkpoint::Checkpoint as RocksCheckpoint;
use uuid::Uuid;

use super::keys::Meta;
use super::{
    Applied, Config, Error, Family, Result, Store, check_format, create_private, exists, options,
};

/// Where a checkpoint stands, in the store's folder.
const CHECKPOINT: &str = "checkpoint";

/// Where a restored store grows until it is whole, in the store's folder.
const RESTORING: &str = "restoring";

/// What RocksDB keeps in a folder of backups.
const PARTS: [&str; 4] = ["meta", "private", "shared", "shared_checksum"];

/// The files of a store at one moment. They are taken away when this is dropped.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
}

impl Checkpoint {
    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        // What is left is taken away at the next start.
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl Store {
    /// Gives the files of this moment a second name.
    ///
    /// # Errors
    /// Where RocksDB fails, as on a full disk, and where there is a checkpoint already.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        let path = fs::canonicalize(self.db.path()).unwrap_or_else(|_| self.db.path().to_owned());
        let path = path.join(CHECKPOINT);
        // RocksDB looks for the finished one alone, and takes away what another is about to make.
        let making = self.checkpointing.try_lock();
        if making.is_err() || path.exists() {
            let reason = "another backup is being made".to_owned();
            return Err(Error::Backups { path, reason });
        }
        RocksCheckpoint::new(&self.db)?.create_checkpoint(&path)?;
        Ok(Checkpoint { path })
    }

    /// Notes that a backup came to its end, at a time in seconds since 1970.
    ///
    /// # Errors
    /// Where RocksDB fails.
    pub fn note_backup(&self, time: u64) -> Result<()> {
        let (family, key) = (self.family(Family::Meta), Meta::Backup.key());
        Ok(self.db.put_cf(family, key, time.to_be_bytes())?)
    }

    /// When the last backup came to its end, in seconds since 1970.
    #[must_use]
    pub fn last_backup(&self) -> Option<u64> {
        let value = self.get(Family::Meta, &Meta::Backup.key()).ok()??;
        value.try_into().ok().map(u64::from_be_bytes)
    }
}

/// Takes away the checkpoint that a process left which was killed.
pub(super) fn clean(store: &Path) -> io::Result<()> {
    for left in [CHECKPOINT.to_owned(), format!("{CHECKPOINT}.tmp")] {
        match fs::remove_dir_all(store.join(left)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// A folder of backups.
pub struct Backups {
    engine: BackupEngine,
    path: PathBuf,
}

/// One backup of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Its number; later ones have higher ones.
    pub number: u32,
    /// When it was made, in seconds since 1970.
    pub time: u64,
    /// Bytes of its files, some of which it may have in common with other backups.
    pub bytes: u64,
}

impl From<BackupEngineInfo> for Backup {
    fn from(info: BackupEngineInfo) -> Self {
        let time = u64::try_from(info.timestamp).unwrap_or(0);
        Self { number: info.backup_id, time, bytes: info.size }
    }
}

impl Backups {
    /// Opens the folder, or makes a new one.
    ///
    /// # Errors
    /// Where it cannot be written, or holds something else.
    pub fn open(path: &Path) -> Result<Self> {
        let refuse = |reason: String| Error::Backups { path: path.to_owned(), reason };
        if exists(path)? {
            let reason = "it holds a store; backups need a folder of their own";
            return Err(refuse(reason.to_owned()));
        }
        create_private(path).map_err(|error| refuse(error.to_string()))?;
        for part in PARTS {
            let odd = odd_one(&path.join(part)).map_err(|error| refuse(error.to_string()))?;
            if let Some(odd) = odd {
                let reason = "is neither a file nor a folder, and backups hold nothing else: somebody put \
                              it there, or copied them so";
                return Err(refuse(format!("{} {reason}", odd.display())));
            }
        }
        let opened = BackupEngineOptions::new(path)
            .and_then(|options| BackupEngine::open(&options, &Env::new()?));
        let engine = opened.map_err(|error| refuse(error.to_string()))?;
        Ok(Self { engine, path: path.to_owned() })
    }

    /// Its backups, the oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Backup> {
        self.engine.get_backup_info().into_iter().map(Backup::from).collect()
    }

    /// Copies a checkpoint, and of that only what no earlier backup has.
    ///
    /// # Errors
    /// Where a file cannot be read or written; what there was before stays.
    pub fn add(&mut self, checkpoint: &Path) -> Result<Backup> {
        let db = options::open_to_copy(checkpoint)?;
        self.engine.create_new_backup(&db).map_err(|error| self.failed(&error))?;
        self.list().pop().ok_or(Error::Broken("the new backup is not listed"))
    }

    /// Keeps only the newest backups, and the files that these need.
    ///
    /// # Errors
    /// Where a file cannot be taken away.
    pub fn keep(&mut self, newest: usize) -> Result<()> {
        self.engine.purge_old_backups(newest).map_err(|error| self.failed(&error))
    }

    /// Makes a store of a backup, in an empty folder. It gets an identity of its own: what it is
    /// going to number after the backup is not what others may have read from the first one. Answers
    /// how far each partition is applied there.
    ///
    /// # Errors
    /// Where there is a store already, where a file is not what was written, or the disk is full.
    /// The folder holds no store then.
    pub fn restore(&mut self, number: u32, config: &Config) -> Result<Vec<(String, u32, Applied)>> {
        let path = &config.path;
        let io_error =
            |error: io::Error| Error::Open { path: path.clone(), reason: error.to_string() };
        if exists(path)? {
            let reason = "there is a store already; stop what runs on it and move the folder away, \
                          or set store.path to an empty one";
            return Err(Error::Open { path: path.clone(), reason: reason.to_owned() });
        }
        let growing = path.join(RESTORING);
        if fs::symlink_metadata(&growing).is_ok_and(|found| !found.is_dir()) {
            let reason = "it is no folder, and a store that is restored grows in one of that name";
            return Err(Error::Open { path: growing, reason: reason.to_owned() });
        }
        take_back(&growing, path).map_err(io_error)?;
        check_format(path)?;
        create_private(&growing).map_err(io_error)?;
        self.engine.verify_backup(number).map_err(|error| self.failed(&error))?;
        let restored =
            self.engine.restore_from_backup(&growing, &growing, &RestoreOptions::default(), number);
        restored.map_err(|error| self.failed(&error))?;
        let grown = Store::open(&Config { path: growing.clone(), ..config.clone() })?;
        let (family, identity) = (grown.family(Family::Meta), Uuid::new_v4());
        grown.db.put_cf(family, Meta::Identity.key(), identity.as_bytes())?;
        let positions = grown.snapshot().positions()?;
        drop(grown);
        move_up(&growing, path).map_err(io_error)?;
        Ok(positions)
    }

    fn failed(&self, error: &rocksdb::Error) -> Error {
        Error::Backups { path: self.path.clone(), reason: error.to_string() }
    }
}

/// The first thing, from here down, that is neither a file nor a folder. RocksDB follows links: it would
/// read and take away what is elsewhere.
fn odd_one(path: &Path) -> io::Result<Option<PathBuf>> {
    let kind = match fs::symlink_metadata(path) {
        // Another process may be at work here, which takes files away.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?.file_type(),
    };
    if !kind.is_dir() {
        return Ok((!kind.is_file()).then(|| path.to_owned()));
    }
    for entry in fs::read_dir(path)? {
        if let Some(odd) = odd_one(&entry?.path())? {
            return Ok(Some(odd));
        }
    }
    Ok(None)
}

/// Moves all files one folder up. `CURRENT` makes a store of them, so it comes last.
fn move_up(from: &Path, to: &Path) -> io::Result<()> {
    let files = fs::read_dir(from)?.collect::<io::Result<Vec<_>>>()?;
    let (current, others): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| file.file_name() == OsStr::new("CURRENT"));
    for file in others.into_iter().chain(current) {
        fs::rename(file.path(), to.join(file.file_name()))?;
    }
    fs::remove_dir(from)
}

/// Takes away what [`move_up`] had moved when it was killed, which left `CURRENT` where it was: as much as
/// would be taken for somebody else's. The rest is written over.
fn take_back(from: &Path, to: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(from.join("CURRENT")).is_ok_and(|found| found.is_file()) {
        return Ok(());
    }
    for file in fs::read_dir(to)? {
        let file = file?;
        if file.file_type()?.is_file() && is_numbered(&file.file_name()) {
            fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

/// Whether it is a file of a store to which RocksDB gives a number.
fn is_numbered(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let before = ["MANIFEST-", "OPTIONS-"].iter().find_map(|start| name.strip_prefix(start));
    let number = before.or_else(|| name.strip_suffix(".sst").or(name.strip_suffix(".log")));
    number.is_some_and(|text| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()))
}

/// Whether something in a store's folder is no store and may be there all the same.
pub(super) fn is_harmless(name: &OsStr) -> bool {
    // A file system of its own has the first.
    name == OsStr::new("lost+found") || name == OsStr::new(RESTORING)
}

#[cfg(test)]
mod tests;
