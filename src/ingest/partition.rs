//! One partition that is read: its buffered records, and the record that must come next.

use std::sync::Arc;

use rdkafka::consumer::base_consumer::PartitionQueue;

use super::apply::fingerprint;
use super::context::Context;
use super::look_back::Marks;
use super::order::Lane;
use super::stop::Mismatch;
use super::{Error, Stop};
use crate::person::command::Command;
use crate::person::record::FIRST_COMMAND_TOPIC;
use crate::person::{Record, Time};
use crate::progress::TopicPart;
use crate::store::Applied;

/// A topic that is read, and its number in positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: Arc<str>,
    pub number: u16,
}

impl Topic {
    /// Whether its records are commands rather than events.
    pub fn is_of_commands(&self) -> bool {
        self.number >= FIRST_COMMAND_TOPIC
    }
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

    /// Takes the next record, fetched at `now`. Gaps between offsets are legal, going backwards is not.
    pub fn take(&mut self, record: Record, now: Time) -> Result<(), Error> {
        let offset = record.position.offset;
        let mismatch = |stored| {
            let topic = self.topic.clone();
            Mismatch { topic, partition: self.number, stored, found: offset }
        };
        if let Some(expected) = self.expected.take() {
            if fingerprint(&record) != expected {
                return Err(Error::Stopped(Stop::Changed(mismatch(expected.last_offset))));
            }
            self.marks.begin(expected);
        } else if let Some(last) = self.last.filter(|last| *last >= offset) {
            return Err(Error::Stopped(Stop::Backwards(mismatch(last))));
        } else {
            self.marks.note(&record);
            let command = record.position.is_command().then(|| Command::parse(&record).ok());
            let seen = command.flatten().map_or_else(Vec::new, |command| command.seen);
            // Records before a command in its own topic are handed on before it anyway.
            let seen = seen.into_iter().filter(|seen| *seen.topic != *self.topic.name).collect();
            self.lane.push(record, now, seen);
        }
        self.last = Some(offset);
        Ok(())
    }
}

#[cfg(test)]
pub mod tests {
    use std::time::Instant;

    use rdkafka::consumer::BaseConsumer;

    use super::*;
    use crate::ingest::kafka::tests::connection;
    use crate::person::Position;

    /// Returns partition 0 of a topic, of a consumer that reads nothing.
    pub fn partition(topic: &str, number: u16) -> Partition {
        let config = connection(String::new()).consumer_config(0);
        let context = Context::new(Arc::default(), Arc::default());
        let consumer: Arc<BaseConsumer<_>> = Arc::new(config.create_with_context(context).unwrap());
        Partition {
            topic: Topic { name: topic.into(), number },
            number: 0,
            queue: consumer.split_partition_queue(topic, 0).unwrap(),
            lane: Lane::new(Instant::now()),
            expected: None,
            last: None,
            marks: Marks::default(),
        }
    }

    #[test]
    fn a_partition_that_goes_backwards_is_not_said_to_differ_from_the_store() {
        let mut partition = partition("events", 0);
        let record = |offset| Record {
            position: Position { offset, ..Position::default() },
            ..Record::default()
        };
        partition.take(record(7), Time(0)).unwrap();
        let told = partition.take(record(7), Time(0)).unwrap_err().to_string();
        assert!(told.contains("offset 7 after that at offset 7"), "{told}");
    }
}
