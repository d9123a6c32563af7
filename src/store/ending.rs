//! The early end of a read: when its deadline has passed, or when its caller has gone.

use std::time::Instant;

use super::snapshot::Snapshot;
use super::{Error, Result};

/// The number of rows after which a scan checks whether to go on.
const ASK: u64 = 1024;

/// What ends the reads of a snapshot early.
pub struct Ending<'s> {
    deadline: Instant,
    is_abandoned: Box<dyn Fn() -> bool + Send + Sync + 's>,
}

impl<'s> Snapshot<'s> {
    /// Ends all reads of this snapshot with [`Error::Ended`] from `deadline` on, and once `is_abandoned`
    /// returns `true`, also in the middle of a scan.
    #[must_use]
    pub fn until(
        mut self,
        deadline: Instant,
        is_abandoned: impl Fn() -> bool + Send + Sync + 's,
    ) -> Self {
        self.ending = Some(Ending { deadline, is_abandoned: Box::new(is_abandoned) });
        self
    }

    /// Returns whether the caller no longer waits for the reads of this snapshot.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| (ending.is_abandoned)())
    }

    /// Checks that the deadline has not passed and that the caller still waits.
    ///
    /// # Errors
    /// [`Error::Ended`] otherwise.
    pub fn check_not_ended(&self) -> Result<()> {
        if self.is_abandoned() { Err(Error::Ended) } else { self.check_deadline() }
    }

    /// Checks that the deadline has not passed.
    fn check_deadline(&self) -> Result<()> {
        let is_over = self.ending.as_ref().is_some_and(|ending| Instant::now() >= ending.deadline);
        if is_over { Err(Error::Ended) } else { Ok(()) }
    }

    /// Returns a function that a long scan calls for each row. It fails once the read has to end.
    pub(super) fn asking(&self) -> impl FnMut() -> Result<()> {
        now_and_then(move || self.check_not_ended())
    }

    /// Returns the function for a scan that loads something into a shared cache. Only the deadline ends such
    /// a scan: if the caller has gone, others still use the result.
    pub(super) fn asking_for_all(&self) -> impl FnMut() -> Result<()> {
        now_and_then(move || self.check_deadline())
    }
}

/// Returns a function that calls `ask` once every [`ASK`] calls: a look at the clock costs more than a row.
fn now_and_then(ask: impl Fn() -> Result<()>) -> impl FnMut() -> Result<()> {
    let mut rows = 0_u64;
    move || {
        rows += 1;
        if rows.is_multiple_of(ASK) { ask() } else { Ok(()) }
    }
}
