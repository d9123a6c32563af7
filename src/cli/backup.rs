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

/// Refuses a backup folder inside the store's folder: clearing that folder to restore a backup
/// would delete the backups too.
fn ensure_outside_store(backups: &Path, store: &Path) -> anyhow::Result<()> {
    let absolute = std::path::absolute(backups)?;
    // The folder may not exist yet, so its nearest existing ancestor is resolved.
    let there = absolute.ancestors().find_map(|folder| folder.canonicalize().ok());
    if there.zip(store.canonicalize().ok()).is_some_and(|(there, store)| there.starts_with(store)) {
        bail!("{} is inside store.path; keep backups elsewhere", backups.display());
    }
    Ok(())
}

/// Adds a backup of the configured store to a folder, and prints a summary of it.
///
/// # Errors
///
/// If there is no store, the server that runs on it refuses, or the folder cannot be written.
pub fn back_up(
    config: &Config,
    wanted: &BackupArguments,
    output: &mut impl Write,
) -> anyhow::Result<()> {
    let began = Instant::now();
    ensure_outside_store(&wanted.directory, &config.store.path)?;
    let source = Source::take(config)?;
    let mut backups = Backups::open(&wanted.directory)?;
    let (added, written) = watched(&wanted.directory, || backups.add(source.checkpoint()));
    let added = added?;
    source.done().context("the backup is whole, but the server did not note it")?;
    if let Some(keep) = wanted.keep {
        backups.keep(keep.try_into().unwrap_or(usize::MAX))?;
    }
    writeln!(
        output,
        "{}; {} of it were new, copied in {:.1} s",
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
/// If there is a store already, or if the backup does not exist or is damaged.
pub fn restore(
    config: &Config,
    from: &RestoreArguments,
    output: &mut impl Write,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let nothing = || format!("there are no backups in {}", from.directory.display());
    // Checked first because opening a backup folder that does not exist would create it.
    if !from.directory.join("meta").is_dir() {
        bail!(nothing());
    }
    let mut backups = Backups::open(&from.directory)?;
    let list = backups.list();
    if from.list {
        for backup in &list {
            writeln!(output, "{}", text(backup))?;
        }
        return Ok(());
    }
    let newest = list.last().with_context(nothing)?.number;
    let number = from.backup.unwrap_or(newest);
    let backup = list.into_iter().find(|backup| backup.number == number);
    let backup =
        backup.with_context(|| format!("there is no backup {number}; --list shows which are"))?;
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
