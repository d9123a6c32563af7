//! Read-only checks of a store's folder: whether it contains a store, in which format, and with all its
//! files.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::Path;

use rocksdb::{DB, DEFAULT_COLUMN_FAMILY_NAME, IteratorMode, LiveFile, Options};

use super::keys::Meta;
use super::{Error, FORMAT, Family, Result, advice, backup};

/// Returns whether a folder contains a store.
///
/// # Errors
/// [`Error::Open`] if that cannot be found out, for example because this user may not read there.
pub fn exists(path: &Path) -> Result<bool> {
    path.join("CURRENT").try_exists().or_else(|error| {
        let reason = match error.kind() {
            ErrorKind::NotADirectory => return Ok(false),
            ErrorKind::PermissionDenied => {
                "this user may not read there; run the command as the user of the server".to_owned()
            }
            _ => advice(&error.to_string()),
        };
        Err(Error::Open { path: path.to_owned(), reason })
    })
}

pub(super) fn format_text(found: &[u8]) -> String {
    let number = found.try_into().map(u32::from_be_bytes);
    number.map_or_else(|_| "unknown".to_owned(), |number| number.to_string())
}

/// Checks that the folder contains a store of this format or may become a new one. It only reads, so that a
/// store that is refused stays untouched.
pub(super) fn check_format(path: &Path) -> Result<()> {
    if !exists(path)? {
        let foreign = std::fs::read_dir(path).is_ok_and(|entries| {
            let mut names = entries.flatten().map(|entry| entry.file_name());
            names.any(|name| !backup::is_harmless(&name) && !is_of_a_first_start(&name))
        });
        if foreign {
            let reason =
                "the folder is not empty and contains no store; set store.path to an empty folder";
            return Err(Error::Open { path: path.to_owned(), reason: reason.to_owned() });
        }
        return Ok(());
    }
    let options = Options::default();
    let open_error = |error: &rocksdb::Error| Error::Open {
        path: path.to_owned(),
        reason: advice(error.as_ref()),
    };
    let open = |family: &str| {
        let opened = DB::open_cf_for_read_only(&options, path, [family], false);
        opened.map_err(|error| open_error(&error))
    };
    let names = DB::list_cf(&options, path).map_err(|error| open_error(&error))?;
    let unknown = |found: &str| Error::Format { path: path.to_owned(), found: found.to_owned() };
    if names == [DEFAULT_COLUMN_FAMILY_NAME] {
        // A first start that was killed before it created the families leaves only the default one, empty.
        let first = open(DEFAULT_COLUMN_FAMILY_NAME)?.iterator(IteratorMode::Start).next();
        return first.map_or(Ok(()), |_| Err(unknown("unknown")));
    }
    if !names.iter().any(|name| name == Family::Meta.name()) {
        return Err(unknown("unknown"));
    }
    let db = open(Family::Meta.name())?;
    let meta = db.cf_handle(Family::Meta.name()).ok_or_else(|| unknown("unknown"))?;
    match db.get_cf(meta, Meta::Format.key())? {
        Some(found) if *found != FORMAT.to_be_bytes() => Err(unknown(&format_text(&found))),
        // A store without a format was killed before its first write, and is empty.
        _ => Ok(()),
    }
}

/// Checks that every table of the store exists and has its full length. RocksDB opens only some of them at
/// the start, and would find a missing or truncated one only when it is read.
pub(super) fn check_files(db: &DB) -> std::result::Result<(), String> {
    let table = |file: &LiveFile| db.path().join(file.name.trim_start_matches('/'));
    let listed = || db.live_files().map_err(|error| error.to_string());
    let is_whole = |file: &LiveFile| {
        let found = std::fs::metadata(table(file));
        found.is_ok_and(|found| usize::try_from(found.len()) == Ok(file.size))
    };
    let broken: Vec<_> = listed()?.into_iter().filter(|file| !is_whole(file)).collect();
    if broken.is_empty() {
        return Ok(());
    }
    // Compaction deletes the files that it has rewritten, and may have done so just now.
    let still: HashSet<_> = listed()?.into_iter().map(|file| file.name).collect();
    let Some(file) = broken.into_iter().find(|file| still.contains(&file.name)) else {
        return Ok(());
    };
    let path = table(&file);
    Err(match std::fs::metadata(&path) {
        Ok(found) => {
            let (path, length) = (path.display(), found.len());
            format!("Corruption: {path} has {length} bytes of {}", file.size)
        }
        Err(error) => format!("{error}: {}", path.display()),
    })
}

/// Returns whether RocksDB writes a file of this name before `CURRENT`, which makes the folder a store. A
/// first start that was killed leaves such files, and the next start overwrites them. Tables and write-ahead
/// logs are written later: if there are any, there was a store.
fn is_of_a_first_start(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    matches!(name, "LOCK" | "LOG" | "IDENTITY" | "MANIFEST-000001")
        || name.starts_with("LOG.old.")
        || Path::new(name).extension() == Some(OsStr::new("dbtmp"))
}
