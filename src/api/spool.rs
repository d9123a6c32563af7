//! A ring buffer in a file for the input of a join until it is answered, so that much input takes little
//! memory and a bounded part of the disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A ring buffer of bytes. Positions count from the first byte that was ever written.
pub struct Spool {
    file: File,
    size: u64,
}

impl Spool {
    /// Creates a ring buffer of `size` bytes in a file that nothing else uses.
    pub fn new(file: File, size: u64) -> Self {
        Self { file, size }
    }

    /// Returns its capacity, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Writes bytes at a position, over the bytes `size` before them.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let (start, first) = self.split(bytes.len(), position);
        self.file.write_all_at(&bytes[..first], start)?;
        self.file.write_all_at(&bytes[first..], 0)
    }

    /// Reads the bytes at a position, which must have been written and not yet been overwritten.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(&self, length: usize, position: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let (start, first) = self.split(length, position);
        self.file.read_exact_at(&mut bytes[..first], start)?;
        self.file.read_exact_at(&mut bytes[first..], 0)?;
        Ok(bytes)
    }

    /// Returns the file offset of a position, and how many of `length` bytes come before the ring's end.
    fn split(&self, length: usize, position: u64) -> (u64, usize) {
        let start = position % self.size;
        let before_end = usize::try_from(self.size - start).unwrap_or(usize::MAX);
        (start, length.min(before_end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_the_last_bytes_that_came_and_the_file_no_more() {
        let file = tempfile::tempfile().unwrap();
        let spool = Spool::new(file.try_clone().unwrap(), 10);
        let bytes: Vec<u8> = (0..100).collect();
        let mut position = 0;
        for length in [0, 1, 10, 3, 9, 10, 7, 2, 10] {
            let (from, to) = (position, position + length);
            spool.write(&bytes[from..to], from as u64).unwrap();
            position = to;
            let held = position.saturating_sub(10);
            let read = spool.read(position - held, held as u64).unwrap();
            assert_eq!(read, bytes[held..position], "{length} bytes at {from}");
        }
        assert_eq!(file.metadata().unwrap().len(), 10);
    }
}
