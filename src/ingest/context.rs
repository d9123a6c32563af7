//! What librdkafka tells of itself while it is read from: lag, and whether Kafka is there.

use std::sync::Arc;

use rdkafka::client::ClientContext;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::{self, Broker, Statistics};

use crate::metrics::Metrics;
use crate::progress::Progress;

/// What librdkafka tells of itself.
pub struct Context {
    /// Takes lag and trouble.
    pub progress: Arc<Progress>,
    /// Takes the lag of every partition.
    pub metrics: Arc<Metrics>,
}

impl ClientContext for Context {
    fn stats(&self, statistics: Statistics) {
        let is_up = |broker: &Broker| broker.nodeid >= 0 && broker.state == "UP";
        if statistics.brokers.values().any(is_up) {
            self.progress.no_trouble();
        }
        let status = self.progress.status();
        let mut all = status.assigned.then_some(0);
        for (topic, partitions) in &statistics.topics {
            let desired = partitions.partitions.values().filter(|partition| partition.desired);
            for partition in desired.filter(|partition| partition.partition >= 0) {
                let number = partition.partition.unsigned_abs();
                let applied = status.positions.get(&(topic.clone(), number)).copied();
                let lag = lag(partition, applied, status.drained);
                if let Some(lag) = lag {
                    self.metrics.ingest_lag(topic, number, lag);
                }
                all = all.and_then(|all: u64| Some(all + lag?));
            }
        }
        self.progress.update(|status| status.lag_records = all);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // Comes through the partition's queue as well, which is where it is wanted.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
            self.progress.trouble(&format!("{error}: {reason}"));
        }
    }
}

/// Records of a partition that are not applied; `None` before its end is known.
fn lag(partition: &statistics::Partition, applied: Option<u64>, drained: bool) -> Option<u64> {
    if drained {
        // Markers of transactions have offsets too, and nothing to apply.
        return Some(0);
    }
    let end = u64::try_from(partition.ls_offset.max(partition.hi_offset)).ok()?;
    let first = u64::try_from(partition.lo_offset).unwrap_or(0);
    Some(end.saturating_sub(applied.unwrap_or(first)))
}

impl ConsumerContext for Context {}
