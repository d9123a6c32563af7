//! When a read ends before it has its answer: its time is over, or nobody waits for it any more.

use std::time::Instant;

use super::snapshot::Snapshot;
use super::{Error, Result};

/// After so many rows a scan asks whether it should go on.
const ASK: u64 = 1024;

/// What ends the reads of a snapshot.
pub struct Ending<'s> {
    deadline: Instant,
    is_abandoned: Box<dyn Fn() -> bool + Send + Sync + 's>,
}

impl<'s> Snapshot<'s> {
    /// Lets reads end with [`Error::Ended`] from a moment on, and where nobody waits for them any more,
    /// however many rows they go through.
    #[must_use]
    pub fn until(
        mut self,
        deadline: Instant,
        is_abandoned: impl Fn() -> bool + Send + Sync + 's,
    ) -> Self {
        self.ending = Some(Ending { deadline, is_abandoned: Box::new(is_abandoned) });
        self
    }

    /// Whether nobody waits for what is read any more.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| (ending.is_abandoned)())
    }

    /// Ends a read that takes longer than it may, or that nobody waits for.
    ///
    /// # Errors
    /// [`Error::Ended`].
    pub fn check_not_ended(&self) -> Result<()> {
        if self.is_abandoned() { Err(Error::Ended) } else { self.check_deadline() }
    }

    /// Ends a read that takes longer than it may.
    fn check_deadline(&self) -> Result<()> {
        let is_over = self.ending.as_ref().is_some_and(|ending| Instant::now() >= ending.deadline);
        if is_over { Err(Error::Ended) } else { Ok(()) }
    }

    /// What a long scan calls for each row, to end with the read.
    pub(super) fn asking(&self) -> impl FnMut() -> Result<()> {
        now_and_then(move || self.check_not_ended())
    }

    /// What the scan calls that reads something into memory, where others find it: who leaves does not
    /// end that.
    pub(super) fn asking_for_all(&self) -> impl FnMut() -> Result<()> {
        now_and_then(move || self.check_deadline())
    }
}

/// Asks at one row of many, as a clock costs more than a row.
fn now_and_then(ask: impl Fn() -> Result<()>) -> impl FnMut() -> Result<()> {
    let mut rows = 0_u64;
    move || {
        rows += 1;
        if rows.is_multiple_of(ASK) { ask() } else { Ok(()) }
    }
}
