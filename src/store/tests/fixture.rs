//! A store for tests, and distinct ids in it.

use std::path::Path;

use crate::person::{Life, Owned, Ownership, Seat, Time};
use crate::store::{Config, Result, Store};

/// Returns the settings of a small store.
pub fn config(path: &Path) -> Config {
    Config { path: path.to_owned(), memory: 64 << 20, sync_writes: false }
}

/// Opens the store in a folder.
pub fn open(path: &Path) -> Store {
    Store::open(&config(path)).unwrap()
}

/// Returns a new store and its folder.
pub fn opened() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    (folder, store)
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
