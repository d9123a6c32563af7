//! Kafka records, their position in the log, and their place in a timeline.

use std::sync::Arc;

use super::Time;

/// Identifies one record. Its order breaks ties of event time: by topic in the order of first appearance in
/// the store, then by partition, then by offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The topic's number in the store.
    pub topic: u16,
    /// The partition of the topic.
    pub partition: u32,
    /// The offset in the partition.
    pub offset: u64,
}

/// The smallest topic number of a command topic. Event topics have smaller numbers, so that commands sort
/// after every event of the same time.
pub const FIRST_COMMAND_TOPIC: u16 = 0xff00;

impl Position {
    /// The maximum position.
    pub const MAX: Self = Self { topic: u16::MAX, partition: u32::MAX, offset: u64::MAX };

    /// Returns whether the record is a command rather than an event.
    #[must_use]
    pub fn is_command(self) -> bool {
        self.topic >= FIRST_COMMAND_TOPIC
    }
}

/// The place of an operation in a timeline: its event time, then its position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The event time, or the effective time of a merge.
    pub time: Time,
    /// The record.
    pub position: Position,
}

impl Place {
    /// The maximum place.
    pub const MAX: Self = Self::end_of(Time::MAX);

    /// Returns the last place of a moment, so that reads at `time` include everything at `time`.
    #[must_use]
    pub const fn end_of(time: Time) -> Self {
        Self { time, position: Position::MAX }
    }

    /// Returns the place just before this one; `None` if this is the first.
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

/// One Kafka message of a capture topic or the command topic.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Its position in the log.
    pub position: Position,
    /// The topic's name. With partition and offset it gives the uuid of a flat event that has none.
    pub topic: Arc<str>,
    /// Kafka's timestamp of the record; the Unix epoch if it has none.
    pub timestamp: Time,
    /// The message key, kept only for the dead letter.
    pub key: Option<Vec<u8>>,
    /// The message value; `None` is a Kafka tombstone.
    pub value: Option<Vec<u8>>,
    /// The message headers in their original order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    /// Returns approximately how much memory the record takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers = self.headers.iter().map(|(key, value)| 64 + key.len() + length(value));
        (200 + length(&self.key) + length(&self.value) + headers.sum::<usize>()) as u64
    }

    /// Returns the last header of this name; `None` if it is missing, not valid UTF-8, or blank.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().rev().find(|(key, _)| key == name)?;
        std::str::from_utf8(value.as_deref()?).ok().filter(|text| !text.trim().is_empty())
    }
}
