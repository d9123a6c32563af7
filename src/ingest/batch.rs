//! The unit of work of the stages: records that are parsed, applied and committed together.

use super::Settings;
use crate::person::Record;
use crate::store::Applied;

/// Records that expired before they were applied, and that are skipped.
#[derive(Clone, Debug)]
pub struct Gap {
    /// The topic's number.
    pub topic: u16,
    /// The topic and the partition.
    pub partition: (String, u32),
    /// The position at which reading continues.
    pub applied: Applied,
}

/// Records that are parsed, applied and committed together.
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order in which they are applied.
    pub records: Vec<Record>,
    bytes: u64,
    /// Whether Kafka had no more records when the batch was closed.
    pub drained: bool,
    /// Records skipped since the last batch.
    pub gaps: Vec<Gap>,
}

impl Batch {
    /// Adds a record.
    pub fn push(&mut self, record: Record) {
        self.bytes += record.bytes();
        self.records.push(record);
    }

    /// Whether it has neither records nor gaps.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.gaps.is_empty()
    }

    /// Whether it takes no more records. The batches in flight share the queue's bytes, so each gets an
    /// eighth.
    #[must_use]
    pub fn is_full(&self, settings: &Settings) -> bool {
        self.records.len() >= settings.batch_records || self.bytes >= settings.queue_bytes / 8
    }
}
