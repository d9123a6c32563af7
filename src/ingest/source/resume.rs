//! Where a partition resumes, if its topic is the one that the store was built from and can be rebuilt from.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::Source;
use crate::ingest::batch::Gap;
use crate::ingest::partition::Topic;
use crate::ingest::stop::{KEEP, Mismatch};
use crate::ingest::{Error, Stop, kafka};
use crate::store::Applied;

/// How long a broker may not know of a topic or a partition that other brokers know.
pub const HEARSAY: Duration = Duration::from_secs(10);

impl Source {
    /// Refuses a topic that has fewer partitions than were applied. Kafka never removes partitions, so it is
    /// another topic, unless the broker that answered does not know of the newest ones yet.
    pub(super) fn refuse_fewer(&mut self, topic: &Topic, count: u32) -> Result<(), Error> {
        let owned = self.settings.partitions;
        let is_gone = |(number, _): &(u32, Applied)| owned.reads(topic.number, *number);
        let gone = self.applied_from(&topic.name, count).find(is_gone);
        let Some((partition, Applied { next_offset: stored, .. })) = gone else {
            self.fewer.remove(&topic.name);
            return Ok(());
        };
        let since = self.fewer.entry(topic.name.clone()).or_insert_with(Instant::now);
        Err(if since.elapsed() < HEARSAY {
            KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownPartition).into()
        } else {
            let topic = topic.clone();
            Error::Stopped(Stop::Truncated(Mismatch { topic, partition, stored, found: 0 }))
        })
    }

    /// Refuses a topic of commands with several partitions: Kafka orders nothing between partitions.
    pub(super) fn refuse_unordered(topic: &Topic, count: u32) -> Result<(), Error> {
        if topic.is_of_commands() && count > 1 {
            return Err(Error::Stopped(Stop::Unordered(topic.name.to_string(), count)));
        }
        Ok(())
    }

    /// Refuses a compacted topic: a store rebuilt from it would read fewer records.
    pub(super) fn refuse_compacted(&mut self, topic: &Arc<str>) -> Result<(), Error> {
        let is_read = self.partitions.iter().any(|known| known.topic.name == *topic);
        if is_read || !self.settings.refuse_compacted || self.not_compacted.contains(topic) {
            return Ok(());
        }
        match self.runtime.block_on(self.settings.kafka.is_compacted(topic)) {
            Ok(true) => Err(Error::Stopped(Stop::Compacted(topic.to_string()))),
            Ok(false) => {
                self.not_compacted.insert(topic.clone());
                Ok(())
            }
            // A client that may not ask for the configuration may still read.
            Err(error) => {
                tracing::warn!(
                    %topic,
                    %error,
                    "it is not known whether the topic is compacted, which it must not be; grant DescribeConfigs"
                );
                Ok(())
            }
        }
    }

    /// Returns the offset at which to begin a partition of which nothing was applied.
    ///
    /// What has expired before the store first reads the topic is not missed, and noted in the store, so that what
    /// expires later is told from it.
    pub(super) fn begin(&mut self, topic: &Topic, number: u32) -> Result<u64, Error> {
        let (low, _) = kafka::watermarks(&self.consumer, &topic.name, number)?;
        if low == 0 {
            return Ok(0);
        }
        if self.applied_from(&topic.name, 0).next().is_some() {
            let mismatch =
                Mismatch { topic: topic.clone(), partition: number, stored: 0, found: low };
            self.give_up(mismatch, Applied::default())?;
        } else {
            tracing::warn!(
                topic = %topic.name,
                partition = number,
                "the {low} records before offset {low} expired before this store began to read the topic"
            );
            self.note_gap(topic, number, low, Applied::default());
        }
        Ok(low)
    }

    /// Returns the partitions of a topic, from a number on, in which the store has a position, and the position.
    fn applied_from(&self, topic: &str, first: u32) -> impl Iterator<Item = (u32, Applied)> {
        let partitions = (topic.to_owned(), first)..=(topic.to_owned(), u32::MAX);
        self.applied.range(partitions).map(|((_, number), applied)| (*number, *applied))
    }

    /// Returns why a topic that does not exist is not read.
    pub(super) fn why_missing(&self, topic: &Topic) -> String {
        let name = &topic.name;
        let positions = self.progress.status().positions;
        let was_read = positions.keys().any(|(topic, _)| **topic == **name);
        match (was_read, topic.is_of_commands()) {
            (false, _) => format!("topic {name} does not exist yet; waiting for it"),
            (true, false) => format!(
                "topic {name} no longer exists: bring it back, as a new one of this name needs a new store"
            ),
            (true, true) => format!("topic {name} no longer exists. {KEEP}"),
        }
    }

    /// Skips expired records, if that was asked for.
    fn give_up(&mut self, gap: Mismatch, applied: Applied) -> Result<(), Error> {
        let Mismatch { topic, partition, found, .. } = gap.clone();
        let gap = Error::Stopped(Stop::Gap(gap));
        if !self.settings.accept_gap {
            return Err(gap);
        }
        tracing::warn!("{gap}. They are skipped because of --accept-gap");
        self.note_gap(&topic, partition, found, applied);
        Ok(())
    }

    /// Has a partition's position noted in the store although no record leads to it.
    fn note_gap(&mut self, topic: &Topic, partition: u32, next_offset: u64, applied: Applied) {
        let applied =
            Applied { next_offset, last_offset: next_offset.saturating_sub(1), ..applied };
        let partition = (topic.name.to_string(), partition);
        self.gaps.push(Gap { topic: topic.number, partition, applied });
    }

    /// Returns the offset at which to resume a partition, and the record that must come first there, if any.
    pub(super) fn resume(
        &mut self,
        topic: &Topic,
        number: u32,
        applied: Applied,
    ) -> Result<(u64, Option<Applied>), Error> {
        let (low, high) = kafka::watermarks(&self.consumer, &topic.name, number)?;
        let mismatch = |found| {
            let (topic, stored) = (topic.clone(), applied.next_offset);
            Mismatch { topic, partition: number, stored, found }
        };
        if high < applied.next_offset {
            return Err(Error::Stopped(Stop::Truncated(mismatch(high))));
        }
        if low > applied.next_offset {
            self.give_up(mismatch(low), applied)?;
            return Ok((low, None));
        }
        if low > applied.last_offset {
            return Ok((applied.next_offset, None));
        }
        Ok((applied.last_offset, Some(applied)))
    }
}
