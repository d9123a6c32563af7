//! A walk over rows of persons, through the row cache.

use std::cell::Cell;
use std::sync::Arc;

use rocksdb::DBRawIterator;

use super::keys::PERSON_BYTES;
use super::packed::Packed;
use super::snapshot::Snapshot;
use super::{Error, Family, Result};

/// A walk over the rows of one family whose keys begin with project and person, in order. After a seek it
/// stays with one person, whose rows come from the row cache if they are few, and else from the database.
pub struct Walk<'a> {
    cache: Option<(&'a Snapshot<'a>, Family)>,
    /// Opens an iterator of the database when one is needed.
    open: Box<dyn Fn() -> DBRawIterator<'a> + 'a>,
    database: Option<DBRawIterator<'a>>,
    /// The person last looked up in the row cache, with all of its rows if they were there.
    person: Option<([u8; PERSON_BYTES], Option<Arc<Packed>>)>,
    at: Place,
    /// How often it was moved.
    moves: u32,
    failed: Cell<Option<Error>>,
}

/// How many rows are passed over one by one before a seek is cheaper.
pub const STEPS: usize = if cfg!(test) { 2 } else { 8 };

/// After this many moves the walk checks whether the read has ended.
const ASK: u32 = if cfg!(test) { 8 } else { 256 };

/// Where a walk is.
enum Place {
    /// At no row.
    Nowhere,
    /// Where the iterator of the database is.
    Database,
    /// At one of the cached rows of a person.
    Cached(Arc<Packed>, usize),
}

impl<'a> Walk<'a> {
    /// Creates a walk over what a snapshot shows.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot<'a>, family: Family) -> Self {
        let walk = Self::over(move || snapshot.iterator(family));
        Self { cache: Some((snapshot, family)), ..walk }
    }

    /// Creates a walk over the database alone, without the row cache.
    #[must_use]
    pub fn over(open: impl Fn() -> DBRawIterator<'a> + 'a) -> Self {
        let open = Box::new(open);
        Self {
            cache: None,
            open,
            database: None,
            person: None,
            at: Place::Nowhere,
            moves: 0,
            failed: Cell::default(),
        }
    }

    /// Returns the iterator of the database for the caller to move. The walk is at no row then.
    pub fn database(&mut self) -> &mut DBRawIterator<'a> {
        self.at = Place::Nowhere;
        self.database.get_or_insert_with(&self.open)
    }

    /// Returns all rows of the person whose keys begin like `key`; `None` if the row cache neither
    /// has them nor accepts them.
    ///
    /// # Errors
    /// If the store fails.
    pub fn whole(&mut self, key: &[u8]) -> Result<Option<Arc<Packed>>> {
        let (Some((snapshot, family)), Some(&person)) = (self.cache, key.first_chunk()) else {
            return Ok(None);
        };
        if let Some((of, rows)) = &self.person
            && *of == person
        {
            return Ok(rows.clone());
        }
        let rows = snapshot.rows_of(family, person, || self.database())?;
        self.person = Some((person, rows.clone()));
        Ok(rows)
    }

    /// Goes to the person's first row at or after `key`.
    pub fn seek(&mut self, key: impl AsRef<[u8]>) {
        let key = key.as_ref();
        if !self.may_move() {
            self.at = Place::Nowhere;
        } else if let Some(rows) = self.enter(key) {
            let at = rows.first_not(&(0..rows.len()), |row| row < key);
            self.stand(rows, Some(at));
        } else {
            self.database().seek(key);
            self.at = Place::Database;
        }
    }

    /// Goes to the person's last row at or before `key`.
    pub fn seek_for_prev(&mut self, key: impl AsRef<[u8]>) {
        let key = key.as_ref();
        if !self.may_move() {
            self.at = Place::Nowhere;
        } else if let Some(rows) = self.enter(key) {
            let after = rows.first_not(&(0..rows.len()), |row| row <= key);
            self.stand(rows, after.checked_sub(1));
        } else {
            self.database().seek_for_prev(key);
            self.at = Place::Database;
        }
    }

    /// Returns the person's rows if they are cached. An error is kept for [`Walk::status`].
    fn enter(&mut self, key: &[u8]) -> Option<Arc<Packed>> {
        self.whole(key).unwrap_or_else(|error| {
            self.failed.set(Some(error));
            Some(Arc::default())
        })
    }

    fn stand(&mut self, rows: Arc<Packed>, at: Option<usize>) {
        let at = at.filter(|at| *at < rows.len());
        self.at = at.map_or(Place::Nowhere, |at| Place::Cached(rows, at));
    }

    /// Returns the current row.
    #[must_use]
    pub fn item(&self) -> Option<(&[u8], &[u8])> {
        match &self.at {
            Place::Nowhere => None,
            Place::Database => self.database.as_ref()?.item(),
            Place::Cached(rows, at) => Some(rows.row(*at)),
        }
    }

    /// Returns the key of the current row.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.item().map(|(key, _)| key)
    }

    /// Goes to the row after this one.
    pub fn next(&mut self) {
        self.step(DBRawIterator::next, |at| at.checked_add(1));
    }

    /// Goes to the row before this one.
    pub fn prev(&mut self) {
        self.step(DBRawIterator::prev, |at| at.checked_sub(1));
    }

    fn step(
        &mut self,
        database: impl Fn(&mut DBRawIterator<'a>),
        cached: impl Fn(usize) -> Option<usize>,
    ) {
        match std::mem::replace(&mut self.at, Place::Nowhere) {
            _ if !self.may_move() => {}
            Place::Nowhere => {}
            Place::Database => {
                self.database.as_mut().into_iter().for_each(database);
                self.at = Place::Database;
            }
            Place::Cached(rows, at) => self.stand(rows, cached(at)),
        }
    }

    /// Returns whether the read may go on. If not, [`Walk::status`] returns the error.
    fn may_move(&mut self) -> bool {
        self.moves = self.moves.wrapping_add(1);
        if !self.moves.is_multiple_of(ASK) {
            return true;
        }
        let asked = self.cache.map_or(Ok(()), |(snapshot, _)| snapshot.check_not_ended());
        asked.map_err(|error| self.failed.set(Some(error))).is_ok()
    }

    /// Returns the error of the walk, if it failed. An error of its own is returned once.
    ///
    /// # Errors
    /// If the store failed, or the read has ended.
    pub fn status(&self) -> Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        Ok(self.database.as_ref().map_or(Ok(()), DBRawIterator::status)?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::person::{Fact, Life, Time};
    use crate::store::tests::opened;
    use crate::store::{Joined, Member, Moment};

    #[test]
    fn a_read_ends_when_its_time_is_over() {
        let (_folder, store) = opened();
        let mut transaction = store.transaction();
        let began = Fact { time: Time(0), known: Time(0) };
        let person = transaction.create(1, "ann", began).unwrap();
        for ordinal in 0..20 {
            let joined = Joined::Id(ordinal.to_string());
            let member = Member { from: Time(0), known: Time(0), left: None, joined };
            transaction.put_member(1, Life { person, number: 0 }, ordinal, &member);
        }
        transaction.commit().unwrap();
        let head = store.snapshot().head(1, person).unwrap().unwrap();
        let later = Instant::now() + Duration::from_secs(3_600);
        let ids = |snapshot: &Snapshot<'_>| {
            snapshot.distinct_ids(1, (person, &head), Moment::NOW, usize::MAX)
        };
        assert_eq!(ids(&store.snapshot().until(later, || false)).unwrap().len(), 20);
        let over = store.snapshot().until(Instant::now(), || false);
        assert!(matches!(ids(&over), Err(Error::Ended)), "in the middle of a walk");
        assert!(matches!(over.head(1, person), Err(Error::Ended)));
        let left = store.snapshot().until(later, || true);
        assert!(matches!(ids(&left), Err(Error::Ended)), "nobody waits");
    }
}
