//! What goes from stage to stage: records that are parsed, applied and committed together.

use super::Settings;
use crate::person::Record;
use crate::store::Applied;

/// Records that expired before they were applied, and were given up.
#[derive(Clone, Debug)]
pub struct Gap {
    /// The topic's number.
    pub topic: u16,
    /// The topic and the partition.
    pub partition: (String, u32),
    /// Where reading goes on.
    pub applied: Applied,
}

/// Records that are parsed, applied and committed together.
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order in which they are applied.
    pub records: Vec<Record>,
    bytes: u64,
    /// Nothing more was in Kafka when the batch was closed.
    pub drained: bool,
    /// Positions given up since the last batch.
    pub gaps: Vec<Gap>,
}

impl Batch {
    /// Adds a record.
    pub fn push(&mut self, record: Record) {
        self.bytes += record.bytes();
        self.records.push(record);
    }

    /// Whether there is nothing to be done about it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.gaps.is_empty()
    }

    /// Whether it takes no more: the queue's bytes are shared by the batches under way.
    #[must_use]
    pub fn is_full(&self, settings: &Settings) -> bool {
        self.records.len() >= settings.batch_records || self.bytes >= settings.queue_bytes / 8
    }
}
