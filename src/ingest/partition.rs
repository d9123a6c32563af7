//! One partition that is read: its buffered records, and the record that must come next.

use std::sync::Arc;

use rdkafka::consumer::base_consumer::PartitionQueue;

use super::apply::fingerprint;
use super::context::Context;
use super::look_back::Marks;
use super::order::Lane;
use super::stop::Mismatch;
use super::{Error, Stop};
use crate::person::Record;
use crate::person::command::Command;
use crate::progress::TopicPart;
use crate::store::Applied;

/// A topic that is read, and its number in positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: Arc<str>,
    pub number: u16,
}

/// One partition that is read.
pub struct Partition {
    pub topic: Topic,
    pub number: u32,
    pub queue: PartitionQueue<Context>,
    pub lane: Lane,
    /// The record that must come first: the last applied one, which is read again to verify the log.
    pub expected: Option<Applied>,
    /// The offset of the last record taken.
    pub last: Option<u64>,
    /// Records to be looked for again.
    pub marks: Marks,
}

impl Partition {
    pub fn part(&self) -> TopicPart {
        (self.topic.name.to_string(), Some(self.number))
    }

    /// Takes the next record. Gaps between offsets are legal, going backwards is not.
    pub fn take(&mut self, record: Record) -> Result<(), Error> {
        let offset = record.position.offset;
        let changed = |stored| {
            let topic = self.topic.name.to_string();
            Stop::Changed(Mismatch { topic, partition: self.number, stored, found: offset })
        };
        if let Some(expected) = self.expected.take() {
            if fingerprint(&record) != expected {
                return Err(Error::Stopped(changed(expected.last_offset)));
            }
            self.marks.begin(expected);
        } else if let Some(last) = self.last.filter(|last| *last >= offset) {
            return Err(Error::Stopped(changed(last)));
        } else {
            self.marks.note(&record);
            let command = record.position.is_command().then(|| Command::parse(&record).ok());
            let seen = command.flatten().map_or_else(Vec::new, |command| command.seen);
            // Records before a command in its own topic are handed on before it anyway.
            let seen = seen.into_iter().filter(|seen| *seen.topic != *self.topic.name).collect();
            self.lane.push(record, seen);
        }
        self.last = Some(offset);
        Ok(())
    }
}
