//! Why ingestion ends rather than skip or repeat records, and what an operator can do.

use std::fmt;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::kafka::nobody_answers;
use super::partition::Topic;
use crate::store::{self, Applied};

/// Why ingestion ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Kafka or its client failed.
    // Not its source: its own text contains that of the error below it.
    #[error("Kafka: {0}")]
    Kafka(KafkaError),
    /// librdkafka refuses a setting, and why. Not its value, as a misspelt name may be that of a secret.
    #[error("{0}")]
    Setting(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A required topic does not exist.
    #[error("there is no topic {0}")]
    NoTopic(String),
    /// Kafka does not let this user read a topic.
    #[error("its user may not read topic {0}: grant it the operation Read on the topic")]
    MayNotRead(String),
    /// Kafka did not answer this client for so long that a new one should try.
    #[error("Kafka is out of reach")]
    OutOfReach,
    /// There are many more partitions than memory was divided among.
    #[error("there are {0} partitions now")]
    MorePartitions(u32),
    /// Continuing would skip or repeat records.
    #[error("{0}")]
    Stopped(Stop),
    /// Ingestion was asked to end.
    #[error("interrupted")]
    Interrupted,
    /// An invariant broke.
    #[error("ingestion found an inconsistency: {0}")]
    Internal(&'static str),
}

impl From<KafkaError> for Error {
    fn from(error: KafkaError) -> Self {
        match error {
            KafkaError::ClientConfig(_, why, ..) => Self::Setting(why.trim_end().to_owned()),
            error => Self::Kafka(error),
        }
    }
}

impl Error {
    /// Whether no broker could be reached.
    #[must_use]
    pub fn is_out_of_reach(&self) -> bool {
        let Self::Kafka(error) = self else { return false };
        error
            .rdkafka_error_code()
            .is_some_and(|code| nobody_answers(code) || code == RDKafkaErrorCode::Resolve)
    }
}

/// The log is not the one that the store was built from, or has lost the records that come next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Records that were never applied are gone: from `stored`, the first offset not applied, to `found`, the
    /// first that Kafka still has.
    Gap(Mismatch),
    /// The log ends before what was applied: `found`, the offset of the next record to be written, is before
    /// `stored`, the first not applied.
    Truncated(Mismatch),
    /// Another record, read at `found`, is in the place of the last applied one, whose offset is `stored`.
    Changed(Mismatch),
    /// Kafka sent the record at `found` after the one at `stored`, which is not before it.
    Backwards(Mismatch),
    /// Another record is in the place of one that was read, so what was read since may be of another topic.
    Replaced(Replaced),
    /// The topic of commands, of which the store has applied some, does not exist.
    CommandsGone(String),
    /// Kafka does not have the offset that comes next.
    OutOfRange(String),
    /// The topic is compacted: Kafka deletes records that later ones of the same key supersede.
    Compacted(String),
    /// The topic of commands has several partitions.
    Unordered(String, u32),
    /// What Kafka sent for a partition cannot be read, and why.
    Unreadable(String, u32, String),
}

/// A partition, and two of its offsets that do not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    pub topic: Topic,
    pub partition: u32,
    pub stored: u64,
    pub found: u64,
}

/// A partition in which a record that was read before is no longer there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    pub topic: Topic,
    pub partition: u32,
    /// The record that was read.
    pub read: Applied,
}

const REBUILD: &str = "Point store.path to an empty folder to build a new store from this log, or \
                       bring back the topic that the store was built from";

/// What to do instead about a topic of commands: a store rebuilt without them has deleted persons again.
pub const KEEP: &str = "The commands of the lost one, deletions among them, are now only in this store; one rebuilt from \
                    Kafka has the deleted persons again. Keep this store, and bring back the topic from a copy, or \
                    set kafka.command_topic to a new name to go on with this store";

/// What to do about a store that may have records of two topics.
const MIXED: &str = "Point store.path to an empty folder to build a new store from this log; this one may \
                     have records of both";

/// Returns what to do about a topic that is not the one that the store was built from.
fn way_out(topic: &Topic) -> &'static str {
    if topic.is_of_commands() { KEEP } else { REBUILD }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap(Mismatch { topic, partition, stored, found }) => write!(
                f,
                "{}:{partition}: the records from offset {stored} to {} expired before they \
                 were applied. Start once with --accept-gap to go on without them, or restore \
                 the topic",
                topic.name,
                found - 1
            ),
            Self::Truncated(Mismatch { topic, partition, stored, found }) => write!(
                f,
                "{}:{partition}: the log ends at offset {found}, but the store has applied it \
                 up to {stored}: the topic was re-created or cut. {}",
                topic.name,
                way_out(topic)
            ),
            Self::Changed(Mismatch { topic, partition, stored, found }) => write!(
                f,
                "{}:{partition}: the last applied record, at offset {stored}, is not the one \
                 that is there now (read at offset {found}): the topic was re-created. {}",
                topic.name,
                way_out(topic)
            ),
            Self::Backwards(Mismatch { topic, partition, stored, found }) => write!(
                f,
                "{}:{partition}: Kafka sent the record at offset {found} after that at offset {stored}: the topic \
                 was re-created while it was read. Restart to have it checked",
                topic.name
            ),
            Self::Replaced(Replaced { topic, partition, read }) => write!(
                f,
                "{}:{partition}: the record that was read at offset {} is not the one that is there now: the topic \
                 was re-created while it was read. {}",
                topic.name,
                read.last_offset,
                if topic.is_of_commands() { KEEP } else { MIXED }
            ),
            Self::CommandsGone(topic) => {
                write!(f, "topic {topic} no longer exists, and is not created again. {KEEP}")
            }
            Self::OutOfRange(reason) => write!(
                f,
                "Kafka no longer has the offset that comes next ({reason}): records expired or the \
                 topic was re-created while it was read. Restart to have it checked"
            ),
            Self::Unreadable(topic, number, reason) => write!(
                f,
                "{topic}:{number}: what Kafka sent cannot be read ({reason}), and continuing would skip it. \
                 Restart to have it sent again; if that does not help, the broker's file is damaged: restore the \
                 partition from another replica"
            ),
            Self::Unordered(topic, count) => write!(
                f,
                "topic {topic} has {count} partitions, but commands are applied in one order, which only a single \
                 partition has. Set kafka.command_topic to a topic with one partition, which is created if it is \
                 missing, and restart"
            ),
            Self::Compacted(topic) => write!(
                f,
                "topic {topic} is compacted: Kafka deletes records that later ones of the same key \
                 supersede, so a rebuilt store would differ. Set its cleanup.policy to delete, and restart"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::person::record::FIRST_COMMAND_TOPIC;

    #[test]
    fn nobody_is_told_to_rebuild_a_store_whose_commands_are_lost() {
        let told = |number| {
            let topic = Topic { name: "t".into(), number };
            let mismatch = Mismatch { topic: topic.clone(), partition: 0, stored: 7, found: 3 };
            let read = Applied::default();
            let stops = [
                Stop::Truncated(mismatch.clone()),
                Stop::Changed(mismatch),
                Stop::Replaced(Replaced { topic, partition: 0, read }),
            ];
            stops.map(|stop| stop.to_string())
        };
        for of_events in told(0) {
            assert!(of_events.contains("build a new store"), "{of_events}");
        }
        for of_commands in told(FIRST_COMMAND_TOPIC) {
            assert!(!of_commands.contains("build a new store"), "{of_commands}");
            assert!(of_commands.contains("has the deleted persons again"), "{of_commands}");
        }
    }
}
