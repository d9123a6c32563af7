//! What comes back is what was there, or nothing.

use super::*;
use crate::person::{Life, Owned, Ownership, Seat, Time};

fn config(path: PathBuf) -> Config {
    Config { path, memory: 64 << 20, sync_writes: false }
}

fn add(store: &Store, id: &str) {
    let mut transaction = store.transaction();
    let life = Life { person: 3, number: 0 };
    let owned = Owned { from: Time(1), known: Time(2), life, seat: Seat::Own(0) };
    transaction.set_owner(1, id, Some(Ownership::new(owned)));
    transaction.commit().unwrap();
}

/// A store with three backups: without anybody, with ann, and with ann and bob.
struct World {
    folder: tempfile::TempDir,
    store: Store,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&config(folder.path().join("store"))).unwrap();
        let world = Self { folder, store };
        world.back_up();
        add(&world.store, "ann");
        world.back_up();
        add(&world.store, "bob");
        world.back_up();
        world
    }

    fn backups(&self) -> Backups {
        Backups::open(&self.folder.path().join("backups")).unwrap()
    }

    fn back_up(&self) {
        let checkpoint = self.store.checkpoint().unwrap();
        self.backups().add(checkpoint.path()).unwrap();
    }

    fn restored(&self, number: u32) -> Result<Store> {
        let config = config(self.folder.path().join("restored"));
        self.backups().restore(number, &config)?;
        Store::open(&config)
    }

    /// Files that backups have in common.
    fn shared(&self) -> Vec<PathBuf> {
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
            assert_eq!(restored.content(), world.store.content());
        }
    }
}

#[test]
fn a_restored_store_tells_itself_from_the_first_one_and_goes_on() {
    let world = World::new();
    let restored = world.restored(3).unwrap();
    assert_ne!(restored.identity(), world.store.identity());
    assert_eq!(restored.secret, world.store.secret, "or deleted persons would come back");
    add(&restored, "cleo");
    assert!(restored.snapshot().owner(1, "cleo").unwrap().is_some());
}

#[test]
fn what_is_there_already_is_not_copied_again() {
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
    assert!(error.contains("checksum"), "{error}");
    assert!(!world.folder.path().join("restored/CURRENT").exists());
    // What the failed attempt left is in nobody's way.
    flip();
    world.restored(3).unwrap();
}

#[test]
fn nothing_that_is_there_is_written_over() {
    let world = World::new();
    let path = world.folder.path().join("store");
    let error = world.backups().restore(1, &config(path.clone())).unwrap_err().to_string();
    assert!(error.contains("there is a store already"), "{error}");
    let error = Backups::open(&path).err().unwrap().to_string();
    assert!(error.contains("backups need a folder of their own"), "{error}");
    let other = world.folder.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("letter"), "mine").unwrap();
    let error = world.backups().restore(1, &config(other.clone())).unwrap_err().to_string();
    assert!(error.contains("is not empty and holds no store"), "{error}");
    assert_eq!(fs::read_dir(other).unwrap().count(), 1);
}

#[test]
fn a_file_system_of_its_own_may_hold_a_store() {
    let world = World::new();
    let path = world.folder.path().join("disk");
    fs::create_dir_all(path.join("lost+found")).unwrap();
    world.backups().restore(3, &config(path.clone())).unwrap();
    assert!(Store::open(&config(path)).unwrap().snapshot().owner(1, "bob").unwrap().is_some());
    let new = world.folder.path().join("new");
    fs::create_dir_all(new.join("lost+found")).unwrap();
    Store::open(&config(new)).unwrap();
}

#[test]
fn a_checkpoint_that_was_left_is_taken_away_at_the_start() {
    let World { folder, store } = World::new();
    std::mem::forget(store.checkpoint().unwrap());
    let error = store.checkpoint().unwrap_err().to_string();
    assert!(error.contains("another backup is being made"), "{error}");
    drop(store);
    let store = Store::open(&config(folder.path().join("store"))).unwrap();
    store.checkpoint().unwrap();
}
