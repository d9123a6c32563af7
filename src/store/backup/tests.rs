//! Tests that a restore brings back exactly what was backed up, or nothing.

use super::*;
use crate::store::tests::{config, give, open};

/// A store with three backups: of no persons, of ann, and of ann and bob.
pub(super) struct World {
    pub(super) folder: tempfile::TempDir,
    store: Store,
}

impl World {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder.path().join("store"));
        let world = Self { folder, store };
        world.back_up();
        give(&world.store, ["ann"]).unwrap();
        world.back_up();
        give(&world.store, ["bob"]).unwrap();
        world.back_up();
        world
    }

    pub(super) fn backups(&self) -> Backups {
        Backups::open(&self.folder.path().join("backups")).unwrap()
    }

    pub(super) fn back_up(&self) {
        let checkpoint = self.store.checkpoint().unwrap();
        self.backups().add(checkpoint.path()).unwrap();
    }

    /// Notes the last backup in the store, as a restore does.
    fn has_noted_the_last(&self) {
        self.store.note_backup(self.backups().list().pop().unwrap().time).unwrap();
    }

    fn restored(&self, number: u32) -> Result<Store> {
        let config = config(&self.folder.path().join("restored"));
        self.backups().restore(number, &config)?;
        Store::open(&config)
    }

    /// Returns the files that backups share.
    pub(super) fn shared(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.folder.path().join("backups/shared_checksum")).unwrap();
        files.map(|file| file.unwrap().path()).collect()
    }
}

#[test]
fn each_backup_is_the_store_of_its_moment() {
    for (number, ann, bob) in [(1, false, false), (2, true, false), (3, true, true)] {
        let world = World::new();
        let restored = world.restored(number).unwrap();
        let snapshot = restored.snapshot();
        let has = |id| snapshot.owner(1, id).unwrap().is_some();
        assert_eq!((has("ann"), has("bob")), (ann, bob), "backup {number}");
        if number == 3 {
            world.has_noted_the_last();
            assert_eq!(restored.content(), world.store.content());
        }
    }
}

#[test]
fn a_restored_store_tells_itself_from_the_first_one_and_goes_on() {
    let world = World::new();
    let restored = world.restored(3).unwrap();
    assert_ne!(restored.identity(), world.store.identity());
    assert_eq!(restored.last_backup(), Some(world.backups().list()[2].time));
    assert_eq!(restored.secret, world.store.secret, "or deleted persons would come back");
    give(&restored, ["cleo"]).unwrap();
    assert!(restored.snapshot().owner(1, "cleo").unwrap().is_some());
}

#[test]
fn files_that_a_backup_has_are_not_copied_again() {
    let world = World::new();
    let before = world.shared();
    world.back_up();
    assert_eq!(world.shared().len(), before.len(), "nothing was written since");
    let numbers: Vec<u32> = world.backups().list().iter().map(|backup| backup.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    world.backups().keep(1).unwrap();
    assert_eq!(world.backups().list().len(), 1);
    assert!(world.restored(4).unwrap().snapshot().owner(1, "bob").unwrap().is_some());
}

#[test]
fn a_damaged_backup_makes_no_store() {
    let world = World::new();
    let flip = || {
        for file in world.shared() {
            let mut bytes = fs::read(&file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(file, bytes).unwrap();
        }
    };
    flip();
    let error = world.restored(3).err().unwrap().to_string();
    let name = world.shared()[0].file_name().unwrap().to_str().unwrap().to_owned();
    assert!(error.contains(&format!("shared_checksum/{name}, which backup ")), "{error}");
    assert!(error.contains("to a new folder") && error.contains("--backup N"), "{error}");
    let left = fs::read_dir(world.folder.path().join("restored")).unwrap();
    assert_eq!(left.count(), 0);
    // The failed attempt does not prevent the next one.
    flip();
    world.restored(3).unwrap();
}

#[test]
fn an_incomplete_backup_is_told_and_nothing_is_deleted() {
    let world = World::new();
    let backups = world.folder.path().join("backups");
    let missing = backups.join("private/3/CURRENT");
    let away = world.folder.path().join("away");
    fs::rename(&missing, &away).unwrap();
    let incomplete = world.backups().incomplete().unwrap();
    assert_eq!(incomplete.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [3]);
    assert_eq!(world.backups().list().len(), 2);
    let checkpoint = world.store.checkpoint().unwrap();
    let before = bytes_below(&backups);
    for refused in [
        world.backups().add(checkpoint.path()).map(|_| ()),
        world.backups().keep(1),
        world.restored(3).map(|_| ()),
    ] {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("backup 3"), "{error}");
        assert!(error.contains("/private/3/CURRENT"), "{error}");
    }
    assert_eq!(bytes_below(&backups), before);
    // The operator may put the file back, or give the backup up.
    fs::rename(away, &missing).unwrap();
    world.backups().check_complete().unwrap();
    fs::remove_file(&missing).unwrap();
    fs::remove_file(backups.join("meta/3")).unwrap();
    world.backups().add(checkpoint.path()).unwrap();
    assert!(world.backups().list().len() == 3);
}

/// Returns the number of bytes in the files below a folder.
fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let bytes = |entry: fs::DirEntry| match entry.metadata().unwrap() {
        found if found.is_dir() => bytes_below(&entry.path()),
        found => found.len(),
    };
    entries.map(bytes).sum()
}

#[test]
fn a_folder_without_backups_is_told_from_one_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for (path, reason) in [
        (folder.path().join("missing"), "there is no such folder"),
        (folder.path().to_owned(), "it contains none"),
        (file, "it is not a folder"),
    ] {
        let error = Backups::open_existing(&path).err().unwrap().to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was created");
}

#[test]
fn nothing_is_overwritten() {
    let world = World::new();
    let path = world.folder.path().join("store");
    let error = world.backups().restore(1, &config(&path)).unwrap_err().to_string();
    assert!(error.contains("there is a store already"), "{error}");
    let error = Backups::open(&path).err().unwrap().to_string();
    assert!(error.contains("backups need a folder of their own"), "{error}");
    let other = world.folder.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("letter"), "mine").unwrap();
    let error = world.backups().restore(1, &config(&other)).unwrap_err().to_string();
    assert!(error.contains("is not empty and contains no store"), "{error}");
    assert_eq!(fs::read_dir(other).unwrap().count(), 1);
}

#[test]
fn a_restore_that_was_killed_while_it_moved_its_files_is_done_again() {
    let world = World::new();
    drop(world.restored(2).unwrap());
    let path = world.folder.path().join("restored");
    // Recreates the state before the last file was moved.
    fs::create_dir(path.join(RESTORING)).unwrap();
    fs::rename(path.join("CURRENT"), path.join(RESTORING).join("CURRENT")).unwrap();
    fs::write(path.join("notes.txt"), "somebody else's").unwrap();
    let refused = world.restored(3).err().unwrap().to_string();
    assert!(refused.contains("contains no store"), "{refused}");
    assert_eq!(fs::read_to_string(path.join("notes.txt")).unwrap(), "somebody else's");
    fs::remove_file(path.join("notes.txt")).unwrap();
    world.has_noted_the_last();
    assert_eq!(world.restored(3).unwrap().content(), world.store.content());
}

#[test]
fn a_file_system_of_its_own_may_hold_a_store() {
    let world = World::new();
    let path = world.folder.path().join("disk");
    fs::create_dir_all(path.join("lost+found")).unwrap();
    world.backups().restore(3, &config(&path)).unwrap();
    assert!(open(&path).snapshot().owner(1, "bob").unwrap().is_some());
    let new = world.folder.path().join("new");
    fs::create_dir_all(new.join("lost+found")).unwrap();
    open(&new);
}

#[test]
fn a_checkpoint_that_was_left_is_taken_away_at_the_start() {
    let World { folder, store } = World::new();
    std::mem::forget(store.checkpoint().unwrap());
    let error = store.checkpoint().unwrap_err().to_string();
    assert!(error.contains("another backup is being made"), "{error}");
    drop(store);
    let store = open(&folder.path().join("store"));
    store.checkpoint().unwrap();
}

/// Makes a folder beside the backups, with a file that must never be restored, written or deleted.
fn beside(world: &World) -> PathBuf {
    let beside = world.folder.path().join("beside");
    fs::create_dir_all(&beside).unwrap();
    fs::write(beside.join("000009.sst"), "secret").unwrap();
    beside
}

/// Asserts that the folder beside the backups is unchanged and that its file was copied nowhere.
#[track_caller]
fn is_untouched(world: &World, about: &str) {
    let beside = fs::read_dir(world.folder.path().join("beside")).unwrap();
    let names: Vec<_> = beside.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["000009.sst"], "{about}");
    let text = fs::read_to_string(world.folder.path().join("beside/000009.sst")).unwrap();
    assert_eq!(text, "secret", "{about}");
    let restored = fs::read_dir(world.folder.path().join("restored"));
    for entry in restored.into_iter().flatten().map(|entry| entry.unwrap().path()) {
        let of_elsewhere = fs::read(&entry).is_ok_and(|bytes| bytes == b"secret");
        assert!(!of_elsewhere, "{about}: {}", entry.display());
    }
}

#[test]
fn a_backup_that_names_files_elsewhere_is_none() {
    let world = World::new();
    let _beside = beside(&world);
    let meta = world.folder.path().join("backups/meta/3");
    // The format: a time, a number, the number of files, and the files.
    let text = fs::read_to_string(&meta).unwrap();
    let count = text.lines().position(|line| line.contains("crc32")).unwrap() - 1;
    let folder = world.folder.path().display().to_string();
    for name in [
        "../beside/000009.sst",
        "private/3/../../../beside/000009.sst",
        "shared_checksum/../../beside/000009.sst",
        "/../beside/000009.sst",
        &format!("{folder}/beside/000009.sst"),
        "private/3/..",
    ] {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines[count] = (lines[count].parse::<usize>().unwrap() + 1).to_string();
        // The checksum is that of the real file, so that only the path is wrong.
        lines.push(format!("{name} crc32 {}", 0xb03c_4d4d_u32));
        fs::write(&meta, lines.join("\n") + "\n").unwrap();
        let listed: Vec<u32> = world.backups().list().iter().map(|backup| backup.number).collect();
        assert_eq!(listed, [1, 2], "{name}");
        assert!(world.restored(3).is_err(), "{name}");
        is_untouched(&world, name);
    }
    // Deleting old backups does not touch it either.
    fs::remove_file(&meta).unwrap();
    world.back_up();
    world.backups().keep(1).unwrap();
    assert!(world.restored(3).unwrap().snapshot().owner(1, "bob").unwrap().is_some());
    is_untouched(&world, "kept");
}

#[test]
fn a_link_in_a_folder_of_backups_is_followed_nowhere() {
    use std::os::unix::fs::symlink;
    let world = World::new();
    let beside = beside(&world);
    let backups = world.folder.path().join("backups");
    let is_refused = |about: &Path| {
        let error = Backups::open(&backups).err().unwrap().to_string();
        assert!(error.contains("neither a file nor a folder"), "{error}");
        assert!(error.contains(&about.display().to_string()), "{error}");
        is_untouched(&world, &error);
    };
    for name in ["meta", "private", "shared", "shared_checksum", "private/17", "meta/4"] {
        let (at, away) = (backups.join(name), world.folder.path().join("away"));
        let was_there = fs::rename(&at, &away).is_ok();
        symlink(&beside, &at).unwrap();
        is_refused(&at);
        fs::remove_file(&at).unwrap();
        if was_there {
            fs::rename(&away, &at).unwrap();
        }
    }
    // A link in place of a backup's file.
    let shared = world.shared().remove(0);
    fs::remove_file(&shared).unwrap();
    symlink(beside.join("000009.sst"), &shared).unwrap();
    is_refused(&shared);
    // Neither a file nor a folder: opening a pipe or a socket, for example, could block.
    fs::remove_file(&shared).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(backups.join("private/s")).unwrap();
    is_refused(&backups.join("private/s"));
    drop(listener);
}

#[test]
fn a_name_that_is_no_number_is_no_backup() {
    let world = World::new();
    let meta = world.folder.path().join("backups/meta");
    for name in ["x", "0", "-1", "+4", "04", "4x", "99999999999", "1 ", "..4"] {
        fs::copy(meta.join("3"), meta.join(name)).unwrap();
    }
    let numbers: Vec<u32> = world.backups().list().iter().map(|backup| backup.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    for number in [0, 4, u32::MAX] {
        assert!(world.restored(number).is_err(), "{number}");
    }
    world.restored(3).unwrap();
}

#[test]
fn a_store_is_restored_where_it_is_told_to_and_nowhere_else() {
    use std::os::unix::fs::symlink;
    let world = World::new();
    let beside = beside(&world);
    let path = world.folder.path().join("target");
    // The operator may name a link: it stands for the folder it points to, which here is not empty.
    symlink(&beside, &path).unwrap();
    let error = world.backups().restore(3, &config(&path)).unwrap_err().to_string();
    assert!(error.contains("is not empty and contains no store"), "{error}");
    is_untouched(&world, "a link to what is not empty");
    fs::remove_file(&path).unwrap();
    // A link in place of the folder in which the store is built is refused.
    fs::create_dir(&path).unwrap();
    symlink(&beside, path.join(RESTORING)).unwrap();
    let error = world.backups().restore(3, &config(&path)).unwrap_err().to_string();
    assert!(error.contains("it is not a folder"), "{error}");
    is_untouched(&world, "a link where the store grows");
    fs::remove_file(path.join(RESTORING)).unwrap();
    fs::remove_dir(&path).unwrap();
    let disk = world.folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    symlink(&disk, &path).unwrap();
    world.backups().restore(3, &config(&path)).unwrap();
    assert!(disk.join("CURRENT").exists(), "where the link leads");
    assert!(open(&path).snapshot().owner(1, "bob").unwrap().is_some());
}

#[test]
fn folders_that_are_made_are_nobody_elses_to_read() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let world = World::new();
    drop(world.restored(1).unwrap());
    for name in ["store", "backups", "restored"] {
        assert_eq!(mode(&world.folder.path().join(name)), 0o700, "{name}");
    }
    // An existing folder keeps its mode.
    let existing = world.folder.path().join("existing");
    fs::create_dir(&existing).unwrap();
    fs::set_permissions(&existing, fs::Permissions::from_mode(0o750)).unwrap();
    drop(open(&existing));
    assert_eq!(mode(&existing), 0o750);
}
