//! The last stage: sends dead letters, then commits rows and positions, then reports the positions.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use super::apply::{self, Tally};
use super::batch::{Batch, Gap};
use super::dead_letters::DeadLetters;
use super::{Error, Pipeline, count, priority};
use crate::store::Sealed;

/// Work for the last stage, which takes one item after the other.
pub enum Work<'s> {
    /// The gaps of a batch: positions to be moved past expired records.
    Gaps(Arc<Batch>),
    /// Applied records of a batch.
    Records { batch: Arc<Batch>, records: Range<usize>, sealed: Box<Sealed<'s>>, tally: Tally },
    /// A batch without records, which may report that everything was read.
    Drained(Arc<Batch>),
    /// Has no content: taking it tells the sender that everything before is committed.
    Barrier,
}

impl Pipeline {
    /// Commits work in order. Owns `works`: dropping the receiver at the end ends the earlier stages.
    pub(super) fn commit(
        &self,
        works: Receiver<Work<'_>>,
        letters: &DeadLetters,
    ) -> Result<(), Error> {
        priority::give_way();
        let mut logged_reasons = BTreeSet::new();
        for work in works {
            match work {
                Work::Gaps(batch) => self.commit_gaps(&batch.gaps)?,
                Work::Records { batch, records, sealed, tally } => {
                    let is_last = records.end == batch.records.len();
                    self.commit_records(&batch, records.clone(), *sealed, &tally, letters)?;
                    count::first_of_each(&mut logged_reasons, &batch.records[records], &tally);
                    if is_last {
                        self.report_caught_up(&batch);
                    }
                }
                Work::Drained(batch) => self.report_caught_up(&batch),
                Work::Barrier => {}
            }
        }
        Ok(())
    }

    fn commit_gaps(&self, gaps: &[Gap]) -> Result<(), Error> {
        let mut transaction = self.store.transaction();
        for Gap { topic, partition, applied } in gaps {
            transaction.set_applied(*topic, partition.1, applied);
        }
        transaction.commit()?;
        let applied = gaps.iter().map(|gap| (gap.partition.clone(), gap.applied));
        self.report_applied(applied);
        Ok(())
    }

    fn commit_records(
        &self,
        batch: &Batch,
        records: Range<usize>,
        sealed: Sealed<'_>,
        tally: &Tally,
        letters: &DeadLetters,
    ) -> Result<(), Error> {
        let records = &batch.records[records];
        let go_on = |trouble: &str| {
            self.progress.note_dead_letters(Some(trouble));
            self.is_going()
        };
        let dead = tally.dead_letters(records, self.settings.partitions);
        self.runtime.block_on(letters.send(&dead, go_on))?;
        self.progress.note_dead_letters(None);
        let began = Instant::now();
        sealed.commit()?;
        self.metrics.ingest_batch_stage("commit", began.elapsed().as_secs_f64());
        count::records(&self.metrics, self.store.dictionary(), records, tally);
        let applied =
            apply::positions_after(records).into_iter().map(|((topic, partition), applied)| {
                let name = self.store.dictionary().topic_name(topic).unwrap_or_default();
                ((name, partition), applied)
            });
        self.report_applied(applied);
        Ok(())
    }

    /// Reports, after a whole batch, whether everything was read, and whether readers may rely on it.
    fn report_caught_up(&self, batch: &Batch) {
        self.progress.update(|status| {
            if batch.drained {
                status.lag_records = Some(0);
            }
            let ready = status.lag_records.is_some_and(|lag| lag <= self.settings.ready_lag);
            status.caught_up |= ready;
        });
    }
}
