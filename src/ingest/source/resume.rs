//! Where a partition resumes, if its topic is the one that the store was built from and can be rebuilt from.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::Source;
use crate::ingest::batch::Gap;
use crate::ingest::partition::Topic;
use crate::ingest::stop::Mismatch;
use crate::ingest::{Error, Stop, kafka};
use crate::person::record::FIRST_COMMAND_TOPIC;
use crate::store::Applied;

/// How long a broker may not know of a partition that other brokers know.
const HEARSAY: Duration = Duration::from_secs(10);

impl Source {
    /// Refuses a topic that has fewer partitions than were applied. Kafka never removes partitions, so it is
    /// another topic, unless the broker that answered does not know of the newest ones yet.
    pub(super) fn refuse_fewer(&mut self, topic: &Topic, count: u32) -> Result<(), Error> {
        let name = topic.name.to_string();
        let applied = self.applied.range((name.clone(), count)..=(name.clone(), u32::MAX));
        let owned = self.settings.partitions;
        let mut gone = applied.filter(|((_, number), _)| owned.reads(topic.number, *number));
        let Some(((_, number), applied)) = gone.next() else {
            self.fewer.remove(&topic.name);
            return Ok(());
        };
        let since = self.fewer.entry(topic.name.clone()).or_insert_with(Instant::now);
        Err(if since.elapsed() < HEARSAY {
            KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownPartition).into()
        } else {
            let (partition, stored) = (*number, applied.next_offset);
            Error::Stopped(Stop::Truncated(Mismatch { topic: name, partition, stored, found: 0 }))
        })
    }

    /// Refuses a topic of commands with several partitions: Kafka orders nothing between partitions.
    pub(super) fn refuse_unordered(topic: &Topic, count: u32) -> Result<(), Error> {
        if topic.number >= FIRST_COMMAND_TOPIC && count > 1 {
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

    /// Returns the offset at which to resume a partition, and the record that must come first there, if any.
    pub(super) fn resume(
        &mut self,
        topic: &Topic,
        number: u32,
        applied: Applied,
    ) -> Result<(u64, Option<Applied>), Error> {
        let (low, high) = kafka::watermarks(&self.consumer, &topic.name, number)?;
        let stop = |stop: fn(Mismatch) -> Stop, found| {
            let (topic, stored) = (topic.name.to_string(), applied.next_offset);
            Error::Stopped(stop(Mismatch { topic, partition: number, stored, found }))
        };
        if high < applied.next_offset {
            return Err(stop(Stop::Truncated, high));
        }
        if low > applied.next_offset {
            let gap = stop(Stop::Gap, low);
            if !self.settings.accept_gap {
                return Err(gap);
            }
            tracing::warn!("{gap}. They are skipped because of --accept-gap");
            let applied =
                Applied { next_offset: low, last_offset: low.saturating_sub(1), ..applied };
            let partition = (topic.name.to_string(), number);
            self.gaps.push(Gap { topic: topic.number, partition, applied });
            return Ok((low, None));
        }
        if low > applied.last_offset {
            return Ok((applied.next_offset, None));
        }
        Ok((applied.last_offset, Some(applied)))
    }
}
