//! Pages of results within the page limit, so that memory is bounded however large a result is.

use super::error::Error;
use super::read::View;

/// A JSON array of results that is being written.
pub struct Results<'o> {
    out: &'o mut Vec<u8>,
    began: usize,
    most: usize,
    shown: usize,
}

impl<'o> Results<'o> {
    /// Begins a page.
    pub fn new(view: &View<'_>, out: &'o mut Vec<u8>) -> Self {
        let began = out.len();
        out.push(b'[');
        Self { out, began, most: view.page_bytes(), shown: 0 }
    }

    /// Writes one more result, and returns whether there was room for it. There always is for the first one.
    ///
    /// # Errors
    /// The error of `write`.
    pub fn push(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let before = self.out.len();
        if self.shown > 0 {
            self.out.push(b',');
        }
        write(self.out)?;
        let fits = self.shown == 0 || self.out.len() - self.began <= self.most;
        if fits {
            self.shown += 1;
        } else {
            self.out.truncate(before);
        }
        Ok(fits)
    }

    /// Ends the page and returns its number of results.
    pub fn end(self) -> usize {
        self.out.push(b']');
        self.shown
    }
}

/// Writes rows as a JSON array and returns how many: at least the first one, and fewer than given if
/// the page would be too large.
///
/// # Errors
/// The first error of `each`.
pub fn results<T>(
    view: &View<'_>,
    out: &mut Vec<u8>,
    rows: &[T],
    mut each: impl FnMut(&mut Vec<u8>, &T) -> Result<(), Error>,
) -> Result<usize, Error> {
    let mut page = Results::new(view, out);
    for row in rows {
        if !page.push(|out| each(out, row))? {
            break;
        }
    }
    Ok(page.end())
}
