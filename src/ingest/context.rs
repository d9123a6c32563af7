//! The callbacks of Kafka clients: lag, broker statistics, and whether Kafka is reachable.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::{self, Broker, Statistics};

use super::kafka::nobody_answers;
use crate::metrics::{BrokerMeasure, Metrics};
use crate::progress::Progress;

/// Receives the callbacks of the consumer: statistics, errors and logs.
pub struct Context {
    /// Receives lag and connection trouble.
    progress: Arc<Progress>,
    /// Receives lag, broker statistics and bytes.
    metrics: Arc<Metrics>,
    /// The totals at this client's last report.
    counted: Mutex<Counted>,
    /// Of each partition, the offset after the last record taken from its queue.
    taken: Mutex<BTreeMap<(Arc<str>, u32), u64>>,
    /// Whether another client has taken over: callbacks of this one are then ignored.
    is_abandoned: AtomicBool,
}

/// What librdkafka counts since the client was created.
#[derive(Default)]
struct Counted {
    received_bytes: u64,
    /// Errors and disconnects, by broker.
    brokers: BTreeMap<String, (u64, u64)>,
}

impl Context {
    /// Creates the context of a new client.
    pub fn new(progress: Arc<Progress>, metrics: Arc<Metrics>) -> Self {
        Self {
            progress,
            metrics,
            counted: Mutex::default(),
            taken: Mutex::default(),
            is_abandoned: AtomicBool::new(false),
        }
    }

    /// Notes up to which offset records of a partition were taken from its queue.
    pub fn note_taken(&self, topic: &Arc<str>, partition: u32, next: u64) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.insert((topic.clone(), partition), next);
    }

    /// Ignores all further callbacks.
    pub fn leave(&self) {
        self.is_abandoned.store(true, Ordering::Release);
    }

    fn count(&self, statistics: &Statistics, brokers: &mut [BrokerMeasure]) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        for broker in brokers {
            let (errors, disconnects) = counted.brokers.entry(broker.name.clone()).or_default();
            broker.errors = grown(errors, broker.errors);
            broker.disconnects = grown(disconnects, broker.disconnects);
        }
        let received = u64::try_from(statistics.rx_bytes).unwrap_or(0);
        let received = grown(&mut counted.received_bytes, received);
        let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
        let waiting = partitions.map(|partition| partition.fetchq_size).sum();
        self.metrics.kafka_bytes(received, waiting);
    }

    /// Returns how many records of each partition that is read are not applied yet, `None` for a partition
    /// whose end is unknown. `None` for all while there is trouble with Kafka.
    fn lags<'a>(&self, statistics: &'a Statistics) -> Option<Vec<(&'a str, u32, Option<u64>)>> {
        let status = self.progress.status();
        // Numbers from before Kafka went away say nothing about now.
        if status.kafka_trouble.is_some() {
            return None;
        }
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lags = Vec::new();
        for (topic, partitions) in &statistics.topics {
            let desired = partitions.partitions.values().filter(|partition| partition.desired);
            for partition in desired.filter(|partition| partition.partition >= 0) {
                let number = partition.partition.unsigned_abs();
                let applied = status.positions.get(&(topic.clone(), number)).copied();
                let taken = taken.get(&(topic.as_str().into(), number)).copied();
                let lag = lag(partition, applied, taken);
                // Only answers to fetches report a partition's end, and a refused fetch clears it, so a known
                // lag means that the partition is read.
                if lag.is_some() {
                    self.progress.note_read(&(topic.clone(), Some(number)));
                }
                lags.push((topic.as_str(), number, lag));
            }
        }
        Some(lags)
    }
}

impl ClientContext for Context {
    fn stats(&self, statistics: Statistics) {
        if self.is_abandoned.load(Ordering::Acquire) {
            return;
        }
        // Brokers with a node id were named by Kafka; the others are bootstrap addresses.
        let brokers = statistics.brokers.values().filter(|broker| broker.nodeid >= 0);
        let mut brokers: Vec<_> = brokers.map(measure).collect();
        if brokers.iter().any(|broker| broker.is_up) {
            self.progress.clear_trouble();
        } else if !self.progress.is_in_trouble() {
            // Less specific than a reason that is already known.
            self.progress.note_trouble("no broker is connected");
        }
        self.count(&statistics, &mut brokers);
        self.metrics.kafka_brokers(&brokers);
        let lags = self.lags(&statistics);
        self.metrics.ingest_lag(lags.as_deref().unwrap_or_default());
        let found = lags.as_ref().map_or(0, Vec::len);
        let all = lags.and_then(|lags| lags.iter().map(|(.., lag)| *lag).sum());
        // The lag is unknown until every partition is read, and these statistics may be from before that.
        self.progress.update(|status| {
            status.lag_records = all.filter(|_| status.assigned && status.partitions == found);
        });
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if !self.is_abandoned.load(Ordering::Acquire) {
            note_error(&self.progress, &error, reason);
        }
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if !self.is_abandoned.load(Ordering::Acquire) {
            ErrorContext(self.progress.clone()).log(level, facility, message);
        }
    }
}

/// Notes an error of a client: as trouble if no broker answers, otherwise as the cause of it.
pub fn note_error(progress: &Progress, error: &KafkaError, reason: &str) {
    match error.rdkafka_error_code() {
        // Also comes through the partition's queue, where it is handled.
        Some(RDKafkaErrorCode::PartitionEOF) => {}
        // Less specific than a reason that is already known.
        Some(RDKafkaErrorCode::AllBrokersDown) if progress.is_in_trouble() => {}
        Some(code) if nobody_answers(code) => {
            let text = format!("{error}: {reason}");
            progress.note_trouble(&text);
            // What a request then says of the same trouble does not say why no connection was made.
            if code == RDKafkaErrorCode::BrokerTransportFailure {
                progress.note_cause(&text);
            }
        }
        _ => progress.note_cause(&format!("{error}: {reason}")),
    }
}

/// The context of clients other than the consumer: notes errors.
#[derive(Clone)]
pub struct ErrorContext(pub Arc<Progress>);

impl ClientContext for ErrorContext {
    fn error(&self, error: KafkaError, reason: &str) {
        note_error(&self.0, &error, reason);
    }
}

impl ConsumerContext for ErrorContext {}

impl ConsumerContext for Context {}

/// Returns how much a total has grown since the last report.
fn grown(before: &mut u64, now: u64) -> u64 {
    now.saturating_sub(std::mem::replace(before, now))
}

fn measure(broker: &Broker) -> BrokerMeasure {
    let average = broker.rtt.as_ref().map_or(0, |window| window.avg);
    BrokerMeasure {
        name: broker.nodename.clone(),
        is_up: broker.state == "UP",
        round_trip: Duration::from_micros(u64::try_from(average).unwrap_or(0)),
        errors: broker.txerrs + broker.rxerrs + broker.req_timeouts,
        disconnects: broker.disconnects.and_then(|count| u64::try_from(count).ok()).unwrap_or(0),
    }
}

/// Returns how many records of a partition are not applied yet; `None` until its end is known. `taken` is the
/// offset after the last record taken from its queue.
fn lag(partition: &statistics::Partition, applied: Option<u64>, taken: Option<u64>) -> Option<u64> {
    let end = if partition.ls_offset >= 0 { partition.ls_offset } else { partition.hi_offset };
    let end = u64::try_from(end).ok()?;
    let applied = applied.unwrap_or(u64::try_from(partition.lo_offset).unwrap_or(0));
    let read_to_end = u64::try_from(partition.eof_offset).is_ok_and(|eof| eof >= end);
    if read_to_end {
        // Transaction markers and aborted records take up offsets but are never applied, so the lag is what is
        // still in the queue and what was taken from it. librdkafka's own `app_offset` counts markers too.
        let queued = u64::try_from(partition.fetchq_cnt).unwrap_or(0);
        return Some(queued + taken.unwrap_or(applied).saturating_sub(applied));
    }
    Some(end.saturating_sub(applied))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Status;

    /// A partition whose log ends at 10.
    fn partition(eof_offset: i64, fetchq_cnt: i64) -> statistics::Partition {
        let (ls_offset, hi_offset, lo_offset) = (10, 12, 2);
        statistics::Partition {
            ls_offset,
            hi_offset,
            lo_offset,
            eof_offset,
            fetchq_cnt,
            ..Default::default()
        }
    }

    #[test]
    fn lag_is_what_is_in_kafka_and_not_applied() {
        assert_eq!(lag(&partition(-1001, 0), None, None), Some(8), "nothing read yet");
        assert_eq!(lag(&partition(-1001, 2), Some(4), Some(7)), Some(6));
        assert_eq!(lag(&partition(10, 0), Some(4), Some(9)), Some(5), "all taken, some applied");
        assert_eq!(lag(&partition(10, 3), Some(4), Some(6)), Some(5), "the rest is queued");
        assert_eq!(lag(&partition(10, 0), Some(6), Some(6)), Some(0), "the end was aborted");
        assert_eq!(lag(&partition(10, 0), Some(10), None), Some(0), "nothing new since the start");
        let unknown =
            statistics::Partition { ls_offset: -1, hi_offset: -1001, ..partition(-1001, 0) };
        assert_eq!(lag(&unknown, Some(4), None), None);
    }

    #[test]
    fn a_client_that_was_left_no_longer_reports_trouble() {
        let progress = Arc::new(Progress::default());
        let context = Context::new(progress.clone(), Arc::default());
        let down = KafkaError::Global(RDKafkaErrorCode::AllBrokersDown);
        context.error(down.clone(), "gone");
        assert!(progress.is_in_trouble());
        progress.clear_trouble();
        context.leave();
        context.error(down, "gone");
        context.stats(Statistics::default());
        assert!(!progress.is_in_trouble());
    }

    #[test]
    fn the_last_connection_error_stays_the_cause_whatever_requests_say() {
        let progress = Progress::default();
        let failed = KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure);
        note_error(&progress, &failed, "ssl://kafka:9092: connecting to a PLAINTEXT listener?");
        progress.note_trouble("no broker can be reached");
        let Status { kafka_trouble, kafka_cause, .. } = progress.status();
        assert_eq!(kafka_trouble.unwrap(), "no broker can be reached");
        assert!(kafka_cause.unwrap().contains("a PLAINTEXT listener?"));
    }

    #[test]
    fn statistics_from_before_a_partition_was_read_are_no_lag() {
        let progress = Arc::new(Progress::default());
        let context = Context::new(progress.clone(), Arc::default());
        let told = |partitions: i32| {
            let up = Broker { nodeid: 1, state: "UP".to_owned(), ..Broker::default() };
            let of = |number| {
                let desired = statistics::Partition { desired: true, ..partition(10, 7) };
                (number, statistics::Partition { partition: number, ..desired })
            };
            let partitions = (0..partitions).map(of).collect();
            let topic = statistics::Topic { partitions, ..statistics::Topic::default() };
            context.stats(Statistics {
                brokers: [("b".to_owned(), up)].into(),
                topics: [("events".to_owned(), topic)].into(),
                ..Statistics::default()
            });
            progress.status().lag_records
        };
        progress.update(|status| (status.assigned, status.partitions) = (true, 2));
        assert_eq!((told(0), told(1), told(2)), (None, None, Some(14)));
        progress.update(|status| status.assigned = false);
        assert_eq!(told(2), None);
    }
}
