//! Opening a store read-only, beside the process that writes it.

use std::path::Path;
use std::time::Duration;

use rocksdb::{DB, Options};

use super::keys::Meta;
use super::{Config, Error, FORMAT, Family, Result, Store, advice, options};

/// How often opening is tried while the files of the store keep changing.
const ATTEMPTS: u32 = 20;

impl Store {
    /// Opens the store read-only, as it is at this moment. Nothing is written to its folder, and another
    /// process may go on writing; what that process commits later is not visible.
    ///
    /// # Errors
    /// [`Error::Format`] if the store has another format, [`Error::Open`] if there is none, it is damaged or
    /// not accessible, or its files keep changing.
    pub fn open_to_read(config: &Config) -> Result<Self> {
        let path = &config.path;
        let open_error = |reason: String| Error::Open { path: path.clone(), reason };
        if !super::exists(path)? {
            return Err(open_error("there is no store; check store.path".to_owned()));
        }
        let mut pause = Duration::from_millis(20);
        let mut reason = "its files change all the time; try again when less is written".to_owned();
        for _ in 0..ATTEMPTS {
            let before = manifest(path);
            let opened = Self::open_once(config);
            // Rows that the writing process flushes between the two reads are neither in the files nor in the
            // log that were read. A flush is recorded in the manifest before the log is deleted, so an
            // unchanged manifest shows that nothing is missing.
            let unchanged = before.is_some() && before == manifest(path);
            match opened {
                Ok(store) if unchanged => return Ok(store),
                Ok(_) => {}
                Err(Error::Rocks(error)) if unchanged => {
                    return Err(open_error(advice(error.as_ref())));
                }
                Err(Error::Rocks(error)) => reason = advice(error.as_ref()),
                Err(error) => return Err(error),
            }
            std::thread::sleep(pause);
            pause = (pause * 3 / 2).min(Duration::from_secs(2));
        }
        Err(open_error(reason))
    }

    fn open_once(config: &Config) -> Result<Self> {
        let found = DB::list_cf(&Options::default(), &config.path)?;
        if !Family::ALL.iter().all(|family| found.iter().any(|name| name == family.name())) {
            super::check_format(&config.path)?;
            let reason = "it lacks what this version keeps; start `personview serve` once";
            return Err(Error::Open { path: config.path.clone(), reason: reason.to_owned() });
        }
        let (db, caches) = options::open_to_read(config)?;
        let mut store = Self { read_only: true, ..Self::of(db, caches, 0) };
        match store.get(Family::Meta, &Meta::Format.key())? {
            Some(format) if format == FORMAT.to_be_bytes() => {}
            format => {
                let found = super::format_text(&format.unwrap_or_default());
                return Err(Error::Format { path: config.path.clone(), found });
            }
        }
        store.load_dictionary()?;
        store.secret = store.get(Family::Meta, &Meta::Secret.key())?.unwrap_or_default();
        Ok(store)
    }
}

/// Returns the name and length of the current manifest, which grows with every flush and compaction.
fn manifest(path: &Path) -> Option<(String, u64)> {
    let name = std::fs::read_to_string(path.join("CURRENT")).ok()?;
    let length = path.join(name.trim_end()).metadata().ok()?.len();
    Some((name, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{config, give, opened};

    #[test]
    fn a_store_is_read_beside_the_one_that_writes_it() {
        let (folder, writer) = opened();
        give(&writer, ["ann"]).unwrap();
        let reader = Store::open_to_read(&config(folder.path())).unwrap();
        give(&writer, ["bob"]).unwrap();
        for family in Family::ALL {
            writer.db.flush_cf(writer.family(*family)).unwrap();
        }
        assert!(reader.snapshot().owner(1, "ann").unwrap().is_some());
        assert_eq!(reader.snapshot().owner(1, "bob").unwrap(), None, "committed after opening");
        let later = Store::open_to_read(&config(folder.path())).unwrap();
        assert!(later.snapshot().owner(1, "bob").unwrap().is_some());
        assert_eq!(later.hash("ann"), writer.hash("ann"));
    }

    #[test]
    fn unflushed_rows_take_no_room_from_the_blocks_that_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let writer = Store::open(&Config { memory: 512 << 20, ..config(folder.path()) }).unwrap();
        let ids = |name, count| (0..count).map(move |number| format!("{name}-{number:0>150}"));
        give(&writer, ids("ann", 2_000)).unwrap();
        writer.db.flush_cf(writer.family(Family::DistinctId)).unwrap();
        give(&writer, ids("bob", 50_000)).unwrap();
        let small = Config { memory: 4 << 20, ..config(folder.path()) };
        let reader = Store::open_to_read(&small).unwrap();
        for id in ids("ann", 2_000) {
            assert!(reader.snapshot().owner(1, &id).unwrap().is_some());
        }
        let misses = reader.measure().cache_misses;
        assert!(misses < 500, "{misses} blocks were read for 2,000 rows that stand side by side");
    }

    #[test]
    fn a_store_opened_to_read_takes_no_commit() {
        let (folder, store) = opened();
        drop(store);
        let reader = Store::open_to_read(&config(folder.path())).unwrap();
        assert!(matches!(give(&reader, ["ann"]), Err(Error::ReadOnly)));
        assert!(!reader.is_poisoned());
        assert_eq!(reader.snapshot().owner(1, "ann").unwrap(), None);
    }

    #[test]
    fn opening_to_read_creates_no_store() {
        let folder = tempfile::tempdir().unwrap();
        let error = Store::open_to_read(&config(folder.path())).err().unwrap();
        assert!(error.to_string().contains("there is no store"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn another_format_is_not_read() {
        let (folder, store) = opened();
        store.damage(Family::Meta, &Meta::Format.key(), Some(&9_u32.to_be_bytes()));
        let error = Store::open_to_read(&config(folder.path())).err().unwrap();
        assert!(matches!(error, Error::Format { .. }), "{error}");
    }
}
