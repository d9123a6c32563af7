//! Backups: consistent copies of the store, and restoring a store from one.
//!
//! The process that writes the store makes a [`Checkpoint`]: hard links to the files of that moment, which
//! cost next to no space or time. Any process can then copy it into a folder of backups ([`Backups`]); files
//! that are already there are not copied again.

mod checksums;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rocksdb::backup::{BackupEngine, BackupEngineInfo, BackupEngineOptions, RestoreOptions};
use rocksdb::checkpoint::Checkpoint as RocksCheckpoint;
use rocksdb::{Env, ErrorKind};
use uuid::Uuid;

use super::keys::Meta;
use super::{
    Applied, Config, Error, Family, Result, Store, check_format, create_private, exists, options,
};

/// The folder of the checkpoint, within the store's folder.
const CHECKPOINT: &str = "checkpoint";

/// The folder, within the store's folder, in which a restored store is built until it is complete.
const RESTORING: &str = "restoring";

/// The folder, within a folder of backups, that has a file for each of them, named by its number.
const META: &str = "meta";

/// The entries that RocksDB creates in a folder of backups.
const PARTS: [&str; 4] = [META, "private", "shared", "shared_checksum"];

/// The files of a store at one moment. They are deleted on drop.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
}

impl Checkpoint {
    /// Returns its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        // Whatever is left is deleted at the next start.
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl Store {
    /// Makes a checkpoint of the current state, as hard links to its files.
    ///
    /// # Errors
    /// If a checkpoint exists or is being made, if the disk has no room for the write buffers, which are
    /// flushed first, or if RocksDB fails.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        let path = self.checkpoint_path();
        // RocksDB only checks for a finished checkpoint, and would delete the temporary folder of one that is
        // being made, so concurrent calls are excluded here.
        let making = self.checkpointing.try_lock();
        if making.is_err() || path.exists() {
            let reason = "another backup is being made".to_owned();
            return Err(Error::Backups { path, reason });
        }
        if let Some(reason) = self.lacks_room_to_flush() {
            return Err(Error::Backups { path, reason });
        }
        RocksCheckpoint::new(&self.db)?.create_checkpoint(&path)?;
        Ok(Checkpoint { path })
    }

    /// Returns whether there is a checkpoint, or one is being made.
    pub(super) fn has_checkpoint(&self) -> bool {
        self.checkpointing.try_lock().is_err() || self.checkpoint_path().exists()
    }

    fn checkpoint_path(&self) -> PathBuf {
        let path = fs::canonicalize(self.db.path()).unwrap_or_else(|_| self.db.path().to_owned());
        path.join(CHECKPOINT)
    }

    /// Records when a backup was completed, in seconds since 1970.
    ///
    /// # Errors
    /// If RocksDB fails.
    pub fn note_backup(&self, time: u64) -> Result<()> {
        let (family, key) = (self.family(Family::Meta), Meta::Backup.key());
        Ok(self.db.put_cf(family, key, time.to_be_bytes())?)
    }

    /// Returns when the last backup was completed, in seconds since 1970; `None` if there was none, or if it
    /// cannot be read.
    #[must_use]
    pub fn last_backup(&self) -> Option<u64> {
        let value = self.get(Family::Meta, &Meta::Backup.key()).ok()??;
        value.try_into().ok().map(u64::from_be_bytes)
    }
}

/// Deletes the checkpoint that a killed process left behind.
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

/// One backup in a folder of backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Its number; later backups have higher numbers.
    pub number: u32,
    /// When it was made, in seconds since 1970.
    pub time: u64,
    /// The size of its files in bytes; it may share some of them with other backups.
    pub bytes: u64,
}

impl From<BackupEngineInfo> for Backup {
    fn from(info: BackupEngineInfo) -> Self {
        let time = u64::try_from(info.timestamp).unwrap_or(0);
        Self { number: info.backup_id, time, bytes: info.size }
    }
}

impl Backups {
    /// Opens a folder of backups, or creates it.
    ///
    /// # Errors
    /// If the folder cannot be written, contains a store, or contains something other than backups.
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
                let reason = "is neither a file nor a folder, and backups contain nothing else; remove it, or \
                              copy the backups again without links";
                return Err(refuse(format!("{} {reason}", odd.display())));
            }
        }
        let opened = BackupEngineOptions::new(path)
            .and_then(|options| BackupEngine::open(&options, &Env::new()?));
        let engine = opened.map_err(|error| refuse(error.to_string()))?;
        Ok(Self { engine, path: path.to_owned() })
    }

    /// Opens a folder that should contain backups already. Creates nothing.
    ///
    /// # Errors
    /// Those of [`Backups::open`], and if the folder is missing, cannot be read or contains no backups.
    pub fn open_existing(path: &Path) -> Result<Self> {
        let meta = path.join(META);
        let reason = match fs::read_dir(path).and_then(|_| fs::read_dir(&meta)) {
            Ok(_) => return Self::open(path),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound if path.exists() => "it contains none".to_owned(),
                io::ErrorKind::NotFound => "there is no such folder".to_owned(),
                io::ErrorKind::NotADirectory => "it is not a folder".to_owned(),
                io::ErrorKind::PermissionDenied => {
                    format!("this user may not read them ({error}); run this as the server's user")
                }
                _ => error.to_string(),
            },
        };
        Err(Error::Backups { path: path.to_owned(), reason })
    }

    /// Returns the complete backups, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Backup> {
        self.engine.get_backup_info().into_iter().map(Backup::from).collect()
    }

    /// Returns the backups that cannot be restored because a file is missing or has another size, oldest
    /// first, each with what is wrong. A file whose bytes have changed is found by [`Backups::verify`].
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn incomplete(&self) -> Result<Vec<(u32, String)>> {
        let broken = |error: io::Error| self.refused(error.to_string());
        let entries = fs::read_dir(self.path.join(META)).map_err(broken)?;
        let names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>();
        let mut numbers: Vec<_> = names.map_err(broken)?.iter().filter_map(backup_number).collect();
        numbers.sort_unstable();
        let complete: Vec<_> = self.list().iter().map(|backup| backup.number).collect();
        numbers.retain(|number| !complete.contains(number));
        let reason = |number| {
            let error = self.engine.verify_backup(number).err()?;
            // Another process has added or deleted it since this folder was opened.
            let is_unknown = error.kind() == ErrorKind::NotFound;
            (!is_unknown).then(|| (number, error.to_string()))
        };
        Ok(numbers.into_iter().filter_map(reason).collect())
    }

    /// Checks that every backup is complete.
    ///
    /// # Errors
    /// [`Error::Backups`] that says what is wrong with each that is not.
    pub fn check_complete(&self) -> Result<()> {
        let incomplete = self.incomplete()?;
        if incomplete.is_empty() {
            return Ok(());
        }
        let each =
            incomplete.iter().map(|(number, reason)| format!("\n  - backup {number}: {reason}"));
        let each: String = each.collect();
        Err(self.refused(format!(
            "some are incomplete; put back what is missing, or give backup N up by deleting the file \
             {META}/N:{each}"
        )))
    }

    /// Copies a checkpoint into a new backup. Files that an earlier backup already has are not copied again.
    ///
    /// # Errors
    /// If a file cannot be read or written, or if an earlier backup is incomplete: RocksDB would take the rest
    /// of its files for leftovers and delete them. Earlier backups stay as they are.
    pub fn add(&mut self, checkpoint: &Path) -> Result<Backup> {
        self.check_complete()?;
        let db = options::open_to_copy(checkpoint)?;
        self.engine.create_new_backup(&db).map_err(|error| self.failed(&error))?;
        self.list().pop().ok_or(Error::Broken("the new backup is not listed"))
    }

    /// Deletes all but the newest backups, and the files that only those needed.
    ///
    /// # Errors
    /// If a file cannot be deleted, or if a backup is incomplete; then nothing is deleted.
    pub fn keep(&mut self, newest: usize) -> Result<()> {
        self.check_complete()?;
        self.engine.purge_old_backups(newest).map_err(|error| self.failed(&error))
    }

    /// Restores a backup as a new store, in an empty folder. The store gets a new identity: the changes that
    /// it numbers after the backup may differ from those that readers have already seen from the original
    /// store. Returns how far each partition is applied in it.
    ///
    /// # Errors
    /// If a store exists already, a file of the backup is damaged, or the disk is full. No store is created.
    pub fn restore(mut self, number: u32, config: &Config) -> Result<Vec<(String, u32, Applied)>> {
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
            let reason = "it is not a folder, but a restore needs a folder of this name; remove it";
            return Err(Error::Open { path: growing, reason: reason.to_owned() });
        }
        take_back(&growing, path).map_err(io_error)?;
        check_format(path)?;
        create_private(&growing).map_err(io_error)?;
        let time =
            self.list().iter().find(|backup| backup.number == number).map(|backup| backup.time);
        let copied = self.copy_back(number, &growing);
        // Its threads would go on copying after a file that is damaged.
        drop(self);
        if let Err(error) = copied {
            // It has no use without the rest, and would only hide that there is no store.
            let _ = fs::remove_dir_all(&growing);
            return Err(error);
        }
        let grown = Store::open(&Config { path: growing.clone(), ..config.clone() })?;
        let (family, identity) = (grown.family(Family::Meta), Uuid::new_v4());
        grown.db.put_cf(family, Meta::Identity.key(), identity.as_bytes())?;
        // The store contains when the backup before this one was made.
        if let Some(time) = time {
            grown.note_backup(time)?;
        }
        let positions = grown.snapshot().positions()?;
        drop(grown);
        move_up(&growing, path).map_err(io_error)?;
        Ok(positions)
    }

    /// Copies the files of a backup into a folder, and compares each with its checksum.
    fn copy_back(&mut self, number: u32, to: &Path) -> Result<()> {
        let verified = self.engine.verify_backup(number);
        let copied = verified.and_then(|()| {
            self.engine.restore_from_backup(to, to, &RestoreOptions::default(), number)
        });
        copied.map_err(|error| match error.kind() {
            // RocksDB does not tell which file it is.
            ErrorKind::Corruption => match self.verify(Some(number), |_| ()) {
                Err(damaged) => damaged,
                Ok(()) => self.refused(format!("backup {number} is damaged: {error}")),
            },
            _ => self.failed(&error),
        })
    }

    fn failed(&self, error: &rocksdb::Error) -> Error {
        self.refused(error.to_string())
    }

    fn refused(&self, reason: String) -> Error {
        Error::Backups { path: self.path.clone(), reason }
    }
}

/// Returns the number of the backup whose file in [`META`] has this name; `None` if it is not one's.
fn backup_number(name: &OsString) -> Option<u32> {
    let name = name.to_str()?;
    name.parse().ok().filter(|number: &u32| *number > 0 && number.to_string() == name)
}

/// Returns the first entry at or below `path` that is neither a file nor a folder. RocksDB follows symbolic
/// links, so it would read and delete files elsewhere.
fn odd_one(path: &Path) -> io::Result<Option<PathBuf>> {
    let kind = match fs::symlink_metadata(path) {
        // Another process may be using this folder of backups and have deleted the file.
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

/// Moves all files one folder up. `CURRENT` is what makes them a store, so it is moved last.
fn move_up(from: &Path, to: &Path) -> io::Result<()> {
    let files = fs::read_dir(from)?.collect::<io::Result<Vec<_>>>()?;
    let (current, others): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| file.file_name() == OsStr::new("CURRENT"));
    for file in others.into_iter().chain(current) {
        fs::rename(file.path(), to.join(file.file_name()))?;
    }
    fs::remove_dir(from)
}

/// Undoes a [`move_up`] that was killed before it moved `CURRENT`. Deletes only the numbered files, which
/// would be taken for files that are not the store's; the others are overwritten.
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

/// Returns whether `name` is a numbered file of a store, such as a table or a write-ahead log.
fn is_numbered(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let before = ["MANIFEST-", "OPTIONS-"].iter().find_map(|start| name.strip_prefix(start));
    let number = before.or_else(|| name.strip_suffix(".sst").or(name.strip_suffix(".log")));
    number.is_some_and(|text| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()))
}

/// Returns whether an entry may be in the folder of a new store although it does not belong to a store.
pub(super) fn is_harmless(name: &OsStr) -> bool {
    // The root folder of a file system contains `lost+found`.
    name == OsStr::new("lost+found") || name == OsStr::new(RESTORING)
}

#[cfg(test)]
mod tests;
