//! Opening, refusing, committing: what the store promises besides its content.

pub mod beside;

use std::path::Path;

use super::*;
use crate::person::{Fact, Life, Owned, Ownership, Seat, Time, identity};

pub fn config(path: &Path) -> Config {
    Config { path: path.to_owned(), memory: 64 << 20, sync_writes: false }
}

pub fn open(path: &Path) -> Store {
    Store::open(&config(path)).unwrap()
}

/// Returns a new store and its folder.
pub fn opened() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    (folder, store)
}

/// Every file and its content.
fn content(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// Every table file and its content.
fn tables(path: &Path) -> impl Iterator<Item = (PathBuf, Vec<u8>)> {
    let files = content(path).into_iter();
    files.filter(|(path, _)| path.extension().is_some_and(|kind| kind == "sst"))
}

/// Returns an ownership by person 3.
pub fn owned() -> Ownership {
    let life = Life { person: 3, number: 0 };
    Ownership::new(Owned { from: Time(1), known: Time(2), life, seat: Seat::Own(0) })
}

/// Commits distinct ids of person 3, all at once.
pub fn give<Id: AsRef<str>>(store: &Store, ids: impl IntoIterator<Item = Id>) -> Result<()> {
    let mut transaction = store.transaction();
    ids.into_iter().for_each(|id| transaction.set_owner(1, id.as_ref(), Some(owned())));
    transaction.commit()
}

#[test]
fn commits_and_nothing_else_are_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    {
        let store = open(folder.path());
        let mut transaction = store.transaction();
        transaction.set_owner(1, "ann", Some(owned()));
        assert_eq!(transaction.property(1, "plan"), crate::person::FIRST_PROPERTY);
        assert_eq!(transaction.topic("events"), 0);
        transaction.commit().unwrap();
        let mut dropped = store.transaction();
        dropped.set_owner(1, "bob", Some(owned()));
        assert_eq!((dropped.property(1, "mood"), dropped.property(1, "size")), (17, 18));
        drop(dropped);
        assert_eq!(store.transaction().property(1, "seats"), 17, "a dropped name leaves no trace");
    }
    let store = open(folder.path());
    let snapshot = store.snapshot();
    assert_eq!(snapshot.owner(1, "ann").unwrap(), Some(owned()));
    assert_eq!(snapshot.owner(1, "bob").unwrap(), None);
    assert_eq!(snapshot.owner(2, "ann").unwrap(), None, "another project");
    assert_eq!(store.dictionary().property(1, "plan"), Some(16));
    assert_eq!(store.dictionary().topic_name(0).as_deref(), Some("events"));
}

#[test]
fn a_snapshot_does_not_see_what_is_committed_after_it() {
    let (_folder, store) = opened();
    let before = store.snapshot();
    give(&store, ["ann"]).unwrap();
    assert_eq!(before.owner(1, "ann").unwrap(), None);
    assert_eq!(store.snapshot().owner(1, "ann").unwrap(), Some(owned()));
}

#[test]
fn a_uuid_that_is_in_use_gives_way_to_the_next_one() {
    let (_folder, store) = opened();
    let mut transaction = store.transaction();
    let began = Fact { time: Time(0), known: Time(0) };
    let uuid = identity::person_uuid(1, "ann");
    let id = transaction.create(1, "ann", began).unwrap();
    assert_eq!(id, identity::person_id(uuid));
    let second = transaction.create(1, "ann", began).unwrap();
    assert_ne!(second, id, "the uuid is in use, so that another one is taken");
    assert_eq!(transaction.head(1, second).unwrap().uuid, identity::person_uuid(1, "ann:split"));
    let elsewhere = transaction.create(2, "ann", began).unwrap();
    assert_eq!(elsewhere, identity::person_id(identity::person_uuid(2, "ann")));
}

#[test]
fn another_format_is_refused_and_left_untouched() {
    let (folder, store) = opened();
    store.damage(Family::Meta, &Meta::Format.key(), Some(&99_u32.to_be_bytes()));
    drop(store);
    let before = content(folder.path());
    let error = Store::open(&config(folder.path())).err().unwrap();
    assert!(matches!(&error, Error::Format { found, .. } if found == "99"), "{error}");
    assert!(error.to_string().contains("format 99"), "{error}");
    assert_eq!(content(folder.path()), before);
}

#[test]
fn a_folder_of_something_else_is_refused_and_left_untouched() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    let error = Store::open(&config(folder.path())).err().unwrap();
    assert!(error.to_string().contains("not empty"), "{error}");
    assert_eq!(content(folder.path()).len(), 1);
    let foreign = tempfile::tempdir().unwrap();
    DB::open_default(foreign.path()).unwrap().put(b"a", b"row").unwrap();
    let before = content(foreign.path());
    let error = Store::open(&config(foreign.path())).err().unwrap();
    assert!(matches!(error, Error::Format { .. }), "{error}");
    assert_eq!(content(foreign.path()), before);
}

/// The files are those that a first start leaves when it is killed at that point.
#[test]
fn a_first_start_that_was_killed_is_begun_anew() {
    let made = tempfile::tempdir().unwrap();
    drop(open(made.path()));
    let without_current = tempfile::tempdir().unwrap();
    for name in ["LOCK", "LOG", "IDENTITY", "MANIFEST-000001", "000001.dbtmp"] {
        std::fs::write(without_current.path().join(name), "half").unwrap();
    }
    let without_families = tempfile::tempdir().unwrap();
    drop(DB::open_default(without_families.path()).unwrap());
    for folder in [&without_current, &without_families] {
        drop(open(folder.path()));
        assert!(Store::open(&config(folder.path())).is_ok());
    }
    // A folder that had a store is refused: something else has happened to it.
    std::fs::remove_file(made.path().join("CURRENT")).unwrap();
    let error = Store::open(&config(made.path())).err().unwrap();
    assert!(error.to_string().contains("not empty"), "{error}");
}

#[test]
fn a_second_process_is_told_that_the_store_is_in_use() {
    let (folder, _first) = opened();
    let error = Store::open(&config(folder.path())).err().unwrap();
    assert!(error.to_string().contains("another process uses it"), "{error}");
}

#[test]
fn a_poisoned_store_takes_no_commit() {
    let (_folder, store) = opened();
    store.poisoned.store(true, Ordering::Release);
    assert!(matches!(store.transaction().commit(), Err(Error::Poisoned)));
}

#[test]
fn a_damaged_row_is_an_error_and_not_an_answer() {
    let (_folder, store) = opened();
    let family = store.family(Family::DistinctId);
    store.db.put_cf(family, keys::distinct_id(1, "ann"), [9, 9]).unwrap();
    let error = store.snapshot().owner(1, "ann").err().unwrap();
    assert!(matches!(error, Error::Corrupt { family: "distinct_id" }), "{error}");
}

#[test]
fn an_error_says_what_to_do() {
    for (error, advised) in [
        ("IO error: While lock file: /d/LOCK: Resource temporarily unavailable", "another process"),
        ("Corruption: block checksum mismatch: stored = 1 in /d/000009.sst", "restore a backup"),
        ("IO error: No such file or directory: While open a file: /d/1.sst", "restore a backup"),
        ("IO error: No space left on device: While appending to file", "make room"),
        ("Permission denied (os error 13)", "owner or mode"),
        ("IO error: While appending to file: /d/1.log: Input/output error", "the disk fails"),
        ("IO error: While appending to file: /d/1.log: Read-only file system", "mount it"),
    ] {
        let told = advice(error);
        assert!(told.contains(advised) && told.contains(error), "{told}");
    }
}

#[test]
fn a_damaged_file_is_told_as_what_it_is() {
    let (folder, store) = opened();
    give(&store, ["ann"]).unwrap();
    store.checkpoint().unwrap();
    drop(store);
    for (path, mut bytes) in tables(folder.path()) {
        let length = bytes.len();
        bytes[..length / 2].fill(0x55);
        std::fs::write(path, bytes).unwrap();
    }
    let opened = Store::open(&config(folder.path()));
    let error = opened.and_then(|store| store.snapshot().owner(1, "ann")).unwrap_err().to_string();
    assert!(error.contains("restore a backup"), "{error}");
}

#[test]
fn a_table_that_is_missing_or_cut_is_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    {
        let store = open(folder.path());
        for key in [b"a", b"b"] {
            let others = Family::ALL.into_iter().filter(|family| *family != Family::Meta);
            others.for_each(|family| store.damage(family, key, Some(b"row")));
            store.checkpoint().unwrap();
        }
        // RocksDB itself opens only the first sixteen.
        assert!(store.db.live_files().unwrap().len() > 30);
    }
    for (path, bytes) in tables(folder.path()) {
        std::fs::remove_file(&path).unwrap();
        let missing = Store::open(&config(folder.path())).err().unwrap().to_string();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let cut = Store::open(&config(folder.path())).err().unwrap().to_string();
        for told in [missing, cut] {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(told.contains(name) && told.contains("restore a backup"), "{told}");
        }
        std::fs::write(&path, &bytes).unwrap();
    }
    open(folder.path());
}

/// Commits distinct ids one by one, each with the position that it came from.
fn commit_numbered(store: &Store, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let mut transaction = store.transaction();
        let topic = transaction.topic("events");
        transaction.set_owner(1, &number.to_string(), Some(owned()));
        let applied = Applied {
            next_offset: number + 1,
            last_offset: number,
            last_timestamp: Time(1),
            last_hash: number,
        };
        transaction.set_applied(topic, 0, &applied);
        transaction.commit().unwrap();
    }
}

/// Checks that a damaged store returns an error, or exactly what the commits up to some point wrote.
/// Returns how many commits it has.
fn is_of_one_moment(path: &Path, numbers: u64) -> Result<u64> {
    let store = Store::open(&config(path))?;
    let snapshot = store.snapshot();
    let committed = snapshot.positions()?.first().map_or(0, |(.., applied)| applied.next_offset);
    for number in 0..numbers {
        let owner = snapshot.owner(1, &number.to_string())?;
        let expected = (number < committed).then(owned);
        assert_eq!(owner, expected, "{number} of {committed}");
    }
    Ok(committed)
}

#[test]
fn a_flipped_byte_is_never_a_wrong_answer() {
    const IN_TABLES: u64 = 300;
    const ALL: u64 = 330;
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original");
    {
        let store = open(&original);
        commit_numbered(&store, 0..IN_TABLES);
        store.checkpoint().unwrap();
        commit_numbered(&store, IN_TABLES..ALL);
    }
    let files = content(&original);
    let (mut errors, mut earlier, mut whole) = (0, 0, 0);
    for (path, bytes) in &files {
        let kind = path.extension().and_then(|kind| kind.to_str());
        if !matches!(kind, Some("sst" | "log")) {
            continue;
        }
        // Enough places to hit blocks, indexes, filters, footers and records of the log.
        for place in (0..bytes.len()).step_by(bytes.len().div_ceil(12).max(1)) {
            let copy = folder.path().join("copy");
            std::fs::create_dir(&copy).unwrap();
            for (path, bytes) in &files {
                std::fs::write(copy.join(path.file_name().unwrap()), bytes).unwrap();
            }
            let mut flipped = bytes.clone();
            flipped[place] ^= 0x10;
            std::fs::write(copy.join(path.file_name().unwrap()), flipped).unwrap();
            match is_of_one_moment(&copy, ALL) {
                Ok(ALL) => whole += 1,
                Ok(_) => earlier += 1,
                Err(error) => {
                    assert!(error.to_string().contains("restore"), "{error}");
                    errors += 1;
                }
            }
            std::fs::remove_dir_all(&copy).unwrap();
        }
    }
    let met = format!("{errors} errors, {earlier} earlier moments, {whole} unharmed");
    assert!(errors > 10 && earlier > 3, "{met}");
}

/// Commits many distinct ids with one position: a record of the log that spans several of its blocks.
fn commit_many(store: &Store, number: u64) {
    let mut transaction = store.transaction();
    let topic = transaction.topic("events");
    for id in 0..400 {
        transaction.set_owner(1, &format!("{number}:{id}"), Some(owned()));
    }
    let (next_offset, last_timestamp) = (number + 1, Time(1));
    let applied = Applied { next_offset, last_offset: number, last_timestamp, last_hash: number };
    transaction.set_applied(topic, 0, &applied);
    transaction.commit().unwrap();
}

/// The newest file of the write-ahead log, and its length.
fn write_ahead_log(path: &Path) -> (PathBuf, usize) {
    let mut logs = content(path).into_iter();
    let (path, bytes) =
        logs.rfind(|(path, _)| path.extension().is_some_and(|kind| kind == "log")).unwrap();
    (path, bytes.len())
}

#[test]
fn a_torn_write_ahead_log_is_the_store_of_an_earlier_commit() {
    const IN_TABLES: u64 = 2;
    const ALL: u64 = 10;
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original");
    // What the store held after each commit, and how long the log was then.
    let mut moments = Vec::new();
    {
        let store = open(&original);
        (0..IN_TABLES).for_each(|number| commit_many(&store, number));
        store.checkpoint().unwrap();
        moments.push((write_ahead_log(&original).1, store.content()));
        for number in IN_TABLES..ALL {
            commit_many(&store, number);
            moments.push((write_ahead_log(&original).1, store.content()));
        }
    }
    let (log, length) = write_ahead_log(&original);
    assert!(moments.is_sorted_by(|before, after| before.0 < after.0), "each grew the same log");
    let edges = moments.iter().map(|(end, _)| *end);
    let mut cuts: Vec<_> = edges.flat_map(|end| [end.saturating_sub(1), end, end + 1]).collect();
    // And cuts between them: within rows, and within record headers at the start of a 32 KiB block.
    cuts.extend((0..length).step_by(length / 10));
    cuts.extend((0..length).step_by(32 << 10).map(|end| end + 5));
    for cut in cuts.into_iter().filter(|cut| *cut <= length) {
        let copy = folder.path().join("copy");
        std::fs::create_dir(&copy).unwrap();
        for (path, bytes) in content(&original) {
            let kept = if path == log { &bytes[..cut] } else { &bytes[..] };
            std::fs::write(copy.join(path.file_name().unwrap()), kept).unwrap();
        }
        let whole = moments.iter().rposition(|(end, _)| *end <= cut).unwrap_or(0);
        {
            let store = open(&copy);
            assert!(store.content() == moments[whole].1, "cut at {cut}: not of commit {whole}");
            // Commits go on from there, and what was torn does not come back.
            commit_many(&store, IN_TABLES + whole as u64);
        }
        let store = open(&copy);
        let next = moments.get(whole + 1);
        assert!(next.is_none_or(|(_, next)| store.content() == *next), "went on after {cut}");
        drop(store);
        std::fs::remove_dir_all(&copy).unwrap();
    }
}

#[test]
fn a_store_is_filled_from_one_share_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).claim_share("0/3").unwrap();
    let store = open(folder.path());
    store.claim_share("0/3").unwrap();
    for other in ["all", "1/3", "0/4"] {
        let error = store.claim_share(other).unwrap_err().to_string();
        assert!(error.contains("\"0/3\"") && error.contains(other), "{error}");
    }
    store.claim_share("0/3").unwrap();
}

#[test]
fn an_id_that_is_taken_gives_way_to_the_next_one() {
    use crate::person::{Head, PersonRow};
    let (_folder, store) = opened();
    let began = Fact { time: Time(0), known: Time(0) };
    let uuid_of = |id: &str| identity::person_uuid(1, id);
    let id = identity::person_id(uuid_of("bob"));
    let taken = PersonRow::Head(Head::new(uuid_of("ann"), began));
    store.damage(Family::Person, &keys::person(1, id), Some(&codec::encode_person(&taken)));
    let mut transaction = store.transaction();
    assert_eq!(transaction.create(1, "bob", began).unwrap(), identity::next_person_id(id));
    assert_eq!(transaction.head(1, id).unwrap().uuid, uuid_of("ann"));
}
