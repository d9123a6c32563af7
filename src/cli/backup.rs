//! `personview backup` and `personview restore`: copy the store, even while a server runs on it, and
//! create a store from a copy.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytesize::ByteSize;
use clap::Args;

use super::pulse::Pulse;
use crate::clock;
use crate::config::Config;
use crate::control::Lease;
use crate::person::Time;
use crate::store::{self, Backup, Backups, Checkpoint, Store};

/// How often the progress of a copy is measured.
const LOOK: Duration = Duration::from_millis(200);

/// The arguments of `personview backup`.
#[derive(Debug, Args)]
pub struct BackupArguments {
    /// Folder of the backups; created if missing
    directory: PathBuf,
    /// Keep the newest N backups, including this one, and delete older ones
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
}

/// The arguments of `personview restore`.
#[derive(Debug, Args)]
pub struct RestoreArguments {
    /// Folder of the backups
    directory: PathBuf,
    /// Number of the backup, as shown by `--list`; the newest one by default
    #[arg(long, value_name = "N")]
    backup: Option<u32>,
    /// List the available backups, and do nothing else
    #[arg(long)]
    list: bool,
    /// With `--list`: also compare every file of all backups with its checksum
    #[arg(long, requires = "list")]
    verify: bool,
}

/// Where the copied files come from: a running server, or a store that no server has open.
enum Source {
    Running(Lease),
    Stopped(Box<Store>, Checkpoint),
}

impl Source {
    fn take(config: &Config) -> anyhow::Result<Self> {
        if let Some(lease) = Lease::take(&config.store.path)? {
            return Ok(Self::Running(lease));
        }
        if !store::exists(&config.store.path)? {
            bail!("there is no store in {}; check store.path", config.store.path.display());
        }
        let store = Box::new(Store::open(&config.store_config())?);
        let checkpoint = store.checkpoint()?;
        Ok(Self::Stopped(store, checkpoint))
    }

    fn checkpoint(&self) -> &Path {
        match self {
            Self::Running(lease) => lease.checkpoint(),
            Self::Stopped(_, checkpoint) => checkpoint.path(),
        }
    }

    fn done(self) -> anyhow::Result<()> {
        match self {
            Self::Running(lease) => Ok(lease.done()?),
            Self::Stopped(store, _) => Ok(store.note_backup(clock::now().as_secs())?),
        }
    }
}

/// Refuses a backup folder inside the store's folder, since clearing that folder to restore a backup
/// would delete the backups too, and one around it, which may be the store's own disk.
fn ensure_outside_store(backups: &Path, store: &Path) -> anyhow::Result<()> {
    let absolute = std::path::absolute(backups)?;
    // A store that does not exist is refused later, with a better reason.
    let Ok(store) = store.canonicalize() else { return Ok(()) };
    // The folder may not exist yet, so its nearest existing ancestor is resolved.
    let there = absolute.ancestors().find_map(|folder| folder.canonicalize().ok());
    if there.is_some_and(|there| there.starts_with(&store)) {
        bail!("{} is inside store.path; keep backups elsewhere", backups.display());
    }
    if absolute.canonicalize().is_ok_and(|folder| store.starts_with(folder)) {
        bail!("{} contains store.path; give backups a folder of their own", backups.display());
    }
    Ok(())
}

/// Adds a backup of the configured store to a folder, and prints a summary of it.
///
/// # Errors
///
/// If there is no store, the server that runs on it refuses, the folder cannot be written, an earlier
/// backup in it is incomplete, or a file of the new backup is not what was copied.
pub fn back_up(
    config: &Config,
    wanted: &BackupArguments,
    output: &mut impl Write,
) -> anyhow::Result<()> {
    let began = Instant::now();
    ensure_outside_store(&wanted.directory, &config.store.path)?;
    let source = Source::take(config)?;
    let mut backups = Backups::open(&wanted.directory)?;
    backups.check_complete().context("no backup was made, and nothing was deleted")?;
    let (added, written) = watched(&wanted.directory, || backups.add(source.checkpoint()));
    let added = added?;
    // It also needs files that were copied long ago. What fails here is not noted as a backup.
    verify(&backups, Some(added.number))
        .context("the new backup cannot be restored; no older one was deleted")?;
    source.done().context("the backup is whole, but the server did not note it")?;
    if let Some(keep) = wanted.keep {
        backups.keep(keep.try_into().unwrap_or(usize::MAX))?;
    }
    writeln!(
        output,
        "{}; {} copied, all files checked, in {:.1} s",
        text(&added),
        ByteSize(written),
        began.elapsed().as_secs_f64()
    )?;
    Ok(())
}

/// Restores the configured store from a backup, and prints the positions where it goes on.
///
/// # Errors
///
/// If there is a store already, or if the backup does not exist, is incomplete or is damaged.
pub fn restore(
    config: &Config,
    from: &RestoreArguments,
    output: &mut impl Write,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let backups = Backups::open_existing(&from.directory)?;
    if from.list {
        return list(&backups, from, output);
    }
    let backup = chosen(&backups, from)?;
    let number = backup.number;
    let store_config = config.store_config();
    let (positions, _) = watched(&config.store.path, || backups.restore(number, &store_config));
    let positions = positions?;
    let seconds = began.elapsed().as_secs_f64();
    writeln!(
        output,
        "{}, restored to {} in {seconds:.1} s",
        text(&backup),
        config.store.path.display()
    )?;
    for (topic, partition, applied) in positions {
        writeln!(output, "goes on at {topic}:{partition}:{}", applied.next_offset)?;
    }
    Ok(())
}

/// Prints the complete backups. Then fails if others are incomplete, or if there are none at all, so that
/// scripts notice.
fn list(backups: &Backups, from: &RestoreArguments, output: &mut impl Write) -> anyhow::Result<()> {
    let complete = backups.list();
    for backup in &complete {
        writeln!(output, "{}", text(backup))?;
    }
    backups.check_complete()?;
    if complete.is_empty() {
        bail!(no_backups(from));
    }
    if from.verify {
        verify(backups, None)?;
        writeln!(output, "every file is what was copied")?;
    }
    Ok(())
}

/// Compares the files of a backup, or of all, with their checksums, and shows the progress.
fn verify(backups: &Backups, number: Option<u32>) -> store::Result<()> {
    let mut pulse =
        Pulse::new("checking", "{spinner} {binary_bytes} checked, {binary_bytes_per_sec}");
    let verified = backups.verify(number, |bytes| pulse.tick(bytes, None));
    pulse.end();
    verified
}

fn no_backups(from: &RestoreArguments) -> String {
    format!("there are no backups in {}", from.directory.display())
}

/// Returns the backup to restore: the one asked for, or else the newest.
fn chosen(backups: &Backups, from: &RestoreArguments) -> anyhow::Result<Backup> {
    let complete = backups.list();
    let incomplete = backups.incomplete()?.into_iter().map(|(number, _)| number);
    let newest = complete.iter().map(|backup| backup.number).chain(incomplete).max();
    let number = from.backup.or(newest);
    let number = number.with_context(|| no_backups(from))?;
    let Some(backup) = complete.into_iter().find(|backup| backup.number == number) else {
        // An older one is never taken unasked: the store would silently lack what came after it.
        let other = "--backup N takes another one, --list shows which there are";
        backups
            .check_complete()
            .with_context(|| format!("no backup {number} to restore; {other}"))?;
        bail!("there is no backup {number}; --list shows which there are");
    };
    Ok(backup)
}

fn text(Backup { number, time, bytes }: &Backup) -> String {
    let time = Time::from_milliseconds(i64::try_from(*time).unwrap_or(0).saturating_mul(1000));
    format!("backup {number} of {time}, {}", ByteSize(*bytes))
}

/// Runs a copy into a folder and shows its progress. Also returns by how many bytes the folder grew.
fn watched<T: Send>(folder: &Path, copy: impl FnOnce() -> T + Send) -> (T, u64) {
    let before = bytes_of(folder);
    let mut pulse =
        Pulse::new("copying", "{spinner} {binary_bytes} copied, {binary_bytes_per_sec}");
    let result = thread::scope(|scope| {
        let working = scope.spawn(copy);
        while !working.is_finished() {
            pulse.tick(bytes_of(folder).saturating_sub(before), None);
            thread::sleep(LOOK);
        }
        working.join()
    });
    pulse.end();
    let result = result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    (result, bytes_of(folder).saturating_sub(before))
}

/// Returns the total size of all files below a folder. Files that disappear meanwhile do not count.
fn bytes_of(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_of(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.flatten().map(bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the configuration of a new store in a folder.
    fn with_store() -> (tempfile::TempDir, Config) {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store").display().to_string();
        let variable = ("PERSONVIEW_STORE__PATH".to_owned(), store);
        let config = Config::load(None, std::iter::once(variable)).unwrap();
        drop(Store::open(&config.store_config()).unwrap());
        (folder, config)
    }

    #[test]
    fn no_older_backup_is_taken_unasked_for_an_incomplete_newest_one() {
        let (folder, config) = with_store();
        let (store, directory) = (&config.store.path, folder.path().join("backups"));
        let around = BackupArguments { directory: folder.path().to_owned(), keep: None };
        let error = back_up(&config, &around, &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("contains store.path"), "{error}");
        let wanted = BackupArguments { directory: directory.clone(), keep: Some(2) };
        for _ in 0..2 {
            back_up(&config, &wanted, &mut Vec::new()).unwrap();
        }
        fs::remove_file(directory.join("private/2/CURRENT")).unwrap();
        let error = format!("{:#}", back_up(&config, &wanted, &mut Vec::new()).unwrap_err());
        assert!(error.contains("no backup was made") && error.contains("backup 2:"), "{error}");

        fs::remove_dir_all(store).unwrap();
        let asked = |backup, list| {
            let directory = directory.clone();
            let from = RestoreArguments { directory, backup, list, verify: list };
            let mut output = Vec::new();
            let done = restore(&config, &from, &mut output);
            let error = done.err().map(|error| format!("{error:#}"));
            (String::from_utf8(output).unwrap(), error)
        };
        let (listed, error) = asked(None, true);
        assert!(listed.starts_with("backup 1 of") && listed.lines().count() == 1, "{listed}");
        assert!(error.unwrap().contains("backup 2:"));
        for number in [None, Some(2)] {
            let error = asked(number, false).1.unwrap();
            assert!(error.contains("backup 2:") && error.contains("--backup N"), "{error}");
        }
        assert!(!store.exists());
        assert_eq!(asked(Some(1), false).1, None);
        assert!(store.join("CURRENT").exists());
    }

    #[test]
    fn a_backup_that_needs_a_damaged_file_fails_and_is_not_noted() {
        let (folder, config) = with_store();
        let directory = folder.path().join("backups");
        let wanted = BackupArguments { directory: directory.clone(), keep: Some(1) };
        back_up(&config, &wanted, &mut Vec::new()).unwrap();
        let noted = || Store::open(&config.store_config()).unwrap().last_backup();
        let before = noted();
        let file = fs::read_dir(directory.join("shared_checksum")).unwrap().next().unwrap();
        let file = file.unwrap().path();
        let mut bytes = fs::read(&file).unwrap();
        bytes[7] ^= 1;
        fs::write(&file, bytes).unwrap();
        let error = format!("{:#}", back_up(&config, &wanted, &mut Vec::new()).unwrap_err());
        assert!(error.contains("no older one was deleted"), "{error}");
        assert!(error.contains("which backup 1, 2 needs"), "{error}");
        assert_eq!(noted(), before);
        let from = RestoreArguments { directory, backup: None, list: true, verify: true };
        let error = restore(&config, &from, &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("to a new folder"), "{error}");
    }
}
