//! What Kafka gave, and where: the record, its position, and its place in a timeline.

use std::sync::Arc;

use super::Time;

/// Names one record. Its order breaks ties of event time: topic in the order of first
/// appearance in the store, then partition, then offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The topic's number in the store.
    pub topic: u16,
    /// The partition of the topic.
    pub partition: u32,
    /// The offset in the partition.
    pub offset: u64,
}

/// The least number of a topic of commands: those sort after every event of their time.
pub const FIRST_COMMAND_TOPIC: u16 = 0xff00;

impl Position {
    /// After every position.
    pub const MAX: Self = Self { topic: u16::MAX, partition: u32::MAX, offset: u64::MAX };

    /// Whether this is a command, and no event.
    #[must_use]
    pub fn is_command(self) -> bool {
        self.topic >= FIRST_COMMAND_TOPIC
    }
}

/// Where an operation stands in a timeline: event time, then position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The event time, or the effective time of a merge.
    pub time: Time,
    /// The record.
    pub position: Position,
}

impl Place {
    /// After every place.
    pub const MAX: Self = Self::end_of(Time::MAX);

    /// The last place of a moment: reads at `time` are inclusive of it.
    #[must_use]
    pub const fn end_of(time: Time) -> Self {
        Self { time, position: Position::MAX }
    }

    /// The place just before this one; `None` before the first.
    #[must_use]
    pub fn before(self) -> Option<Self> {
        let Position { topic, partition, offset } = self.position;
        let position = if let Some(offset) = offset.checked_sub(1) {
            Position { topic, partition, offset }
        } else if let Some(partition) = partition.checked_sub(1) {
            Position { topic, partition, offset: u64::MAX }
        } else if let Some(topic) = topic.checked_sub(1) {
            Position { topic, ..Position::MAX }
        } else {
            return Some(Self::end_of(Time(self.time.0.checked_sub(1)?)));
        };
        Some(Self { time: self.time, position })
    }
}

/// One Kafka message of the capture topic.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Where it stands in the log.
    pub position: Position,
    /// The topic's name: with partition and offset the origin of a flat event without uuid.
    pub topic: Arc<str>,
    /// Kafka's timestamp of the record; the Unix epoch where Kafka has none.
    pub timestamp: Time,
    /// The message key, kept for the dead letter only.
    pub key: Option<Vec<u8>>,
    /// The message value; `None` is a Kafka tombstone.
    pub value: Option<Vec<u8>>,
    /// The message headers in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    /// About the memory that it takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers = self.headers.iter().map(|(key, value)| 64 + key.len() + length(value));
        (200 + length(&self.key) + length(&self.value) + headers.sum::<usize>()) as u64
    }

    /// The last header of this name, where it is valid UTF-8 and not blank, which is as absent.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().rev().find(|(key, _)| key == name)?;
        std::str::from_utf8(value.as_deref()?).ok().filter(|text| !text.trim().is_empty())
    }
}
