//! Compares the files of backups with their checksums. RocksDB notes them when it copies a file, but compares
//! them only when it restores a backup, and never copies a file again that is there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::{Backups, META, Result};

/// How many bytes are read at once.
const CHUNK: usize = 1 << 20;

/// What backups note about one of their files.
#[derive(Default)]
struct Noted {
    checksum: u32,
    backups: Vec<u32>,
}

impl Backups {
    /// Compares every file of a backup with its checksum, or every file of all complete backups if `number`
    /// is `None`. Passes the number of bytes read so far to `progress`.
    ///
    /// # Errors
    /// [`Error::Backups`](super::Error::Backups) that names each damaged file and all backups that have it,
    /// or if the folder cannot be read.
    pub fn verify(&self, number: Option<u32>, mut progress: impl FnMut(u64)) -> Result<()> {
        let (mut read, mut damaged) = (0, Vec::new());
        for (name, noted) in self.noted()? {
            if number.is_some_and(|number| !noted.backups.contains(&number)) {
                continue;
            }
            let found = crc32c_of(&self.path.join(&name), |bytes| {
                read += bytes;
                progress(read);
            });
            let reason = match found {
                Ok(checksum) if checksum == noted.checksum => continue,
                // What is missing is told by `check_complete`, or another process has deleted the backup.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Ok(_) => "its bytes are not those that were copied".to_owned(),
                Err(error) => error.to_string(),
            };
            let backups: Vec<_> = noted.backups.iter().map(u32::to_string).collect();
            let backups = backups.join(", ");
            damaged.push(format!("\n  - {name}, which backup {backups} needs: {reason}"));
        }
        if damaged.is_empty() {
            return Ok(());
        }
        Err(self.refused(format!(
            "files are damaged, and every backup that needs one cannot be restored. Later backups in this \
             folder would need them too, because a file that is there is not copied again: back up to a new \
             folder. `restore --backup N` takes a backup that needs none of them:{}",
            damaged.concat()
        )))
    }

    /// Returns the files of all complete backups by their names in the folder.
    fn noted(&self) -> Result<BTreeMap<String, Noted>> {
        let mut files = BTreeMap::<String, Noted>::new();
        for number in self.list().into_iter().map(|backup| backup.number) {
            let text = match fs::read_to_string(self.path.join(META).join(number.to_string())) {
                // Another process has deleted the backup.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                text => text.map_err(|error| self.refused(error.to_string()))?,
            };
            for (name, checksum) in text.lines().filter_map(file_and_checksum) {
                let noted = files.entry(name.to_owned()).or_default();
                noted.checksum = checksum;
                noted.backups.push(number);
            }
        }
        Ok(files)
    }
}

/// Returns the file and the checksum of a line of a backup's own file; `None` if the line is not about a file.
/// RocksDB calls the checksum `crc32`, but it is CRC-32C.
fn file_and_checksum(line: &str) -> Option<(&str, u32)> {
    let (name, checksum) = line.split_once(" crc32 ")?;
    let checksum = checksum.split_whitespace().next()?.parse().ok()?;
    Some((name, checksum))
}

/// Returns the CRC-32C of a file, and passes the length of each chunk to `read`.
fn crc32c_of(path: &Path, mut read: impl FnMut(u64)) -> io::Result<u32> {
    let mut file = File::open(path)?;
    let (mut chunk, mut crc) = (vec![0; CHUNK], 0);
    loop {
        let length = match file.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            length => length?,
        };
        if length == 0 {
            return Ok(crc);
        }
        crc = crc32c::crc32c_append(crc, &chunk[..length]);
        read(length as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::backup::tests::World;

    #[test]
    fn a_byte_that_rots_is_told_with_the_file_and_every_backup_that_needs_it() {
        let world = World::new();
        world.back_up();
        world.backups().verify(None, |_| ()).unwrap();
        let noted = |number| {
            let meta = world.folder.path().join(format!("backups/meta/{number}"));
            fs::read_to_string(meta).unwrap()
        };
        // The file that has ann, which backup 1 does not need.
        let file = world.shared().into_iter().find(|file| {
            let name = file.file_name().unwrap().to_str().unwrap();
            !noted(1).contains(name) && (2..=4).all(|number| noted(number).contains(name))
        });
        let file = file.unwrap();
        let mut bytes = fs::read(&file).unwrap();
        bytes[7] ^= 1;
        fs::write(&file, bytes).unwrap();
        assert_eq!(world.backups().incomplete().unwrap(), [], "its size is right");
        world.backups().verify(Some(1), |_| ()).unwrap();
        for number in [None, Some(4)] {
            let error = world.backups().verify(number, |_| ()).unwrap_err().to_string();
            let name = file.file_name().unwrap().to_str().unwrap();
            assert!(error.contains(&format!("{name}, which backup 2, 3, 4 needs")), "{error}");
            assert_eq!(error.lines().count(), 2, "{error}");
        }
    }
}
