//! Topics → batches of records, from where the store left off.
//!
//! Partitions are assigned, not subscribed: one instance owns its share, so there is no
//! rebalance to survive. Positions come from the store alone. The last record that was applied
//! is read once more at start, and must be the one that the store knows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::statistics::Statistics;
use rdkafka::{Offset, TopicPartitionList};

use super::apply::fingerprint;
use super::kafka;
use super::order::{self, Lane};
use super::{Error, Settings, Stop};
use crate::metrics::Metrics;
use crate::person::{Position, Record, Time};
use crate::progress::Progress;
use crate::store::Applied;

/// How often Kafka is asked whether topics have more partitions.
const DISCOVERY: Duration = Duration::from_secs(30);

/// What librdkafka tells of itself.
pub struct Context {
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
}

impl ClientContext for Context {
    fn stats(&self, statistics: Statistics) {
        let status = self.progress.status();
        let mut all = Some(0);
        for (topic, partitions) in &statistics.topics {
            for (number, partition) in
                partitions.partitions.iter().filter(|(number, _)| **number >= 0)
            {
                if !partition.desired {
                    continue;
                }
                let end = u64::try_from(partition.ls_offset.max(partition.hi_offset)).ok();
                let number = number.unsigned_abs();
                let applied = status.positions.get(&(topic.clone(), number)).copied();
                let first = u64::try_from(partition.lo_offset).unwrap_or(0);
                let lag = end.map(|end| end.saturating_sub(applied.unwrap_or(first)));
                // Markers of transactions have offsets too, and nothing to apply.
                let lag = if status.drained { Some(0) } else { lag };
                self.metrics.ingest_lag(topic, number, lag.unwrap_or(0));
                all = all.and_then(|all: u64| Some(all + lag?));
            }
        }
        self.progress.update(|status| status.lag_records = all);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            // Comes through the partition's queue as well, which is where it is wanted.
            return;
        }
        let text = format!("{error}: {reason}");
        self.progress.update(|status| {
            if status.kafka_trouble.is_none() {
                tracing::warn!(reason = text, "Kafka cannot be read just now; it is tried again");
                status.kafka_trouble = Some(text);
            }
        });
    }
}

impl ConsumerContext for Context {}

/// The consumer of every owned partition.
pub type Reader = BaseConsumer<Context>;

/// One owned partition.
struct Partition {
    topic: Arc<str>,
    topic_number: u16,
    number: u32,
    queue: PartitionQueue<Context>,
    lane: Lane,
    /// The record that must come first: the last one applied.
    expected: Option<Applied>,
}

/// Reads the owned partitions in one order.
pub struct Source {
    consumer: Arc<Reader>,
    settings: Arc<Settings>,
    progress: Arc<Progress>,
    /// Topic numbers, by name.
    topics: BTreeMap<Arc<str>, u16>,
    applied: BTreeMap<(String, u32), Applied>,
    partitions: Vec<Partition>,
    discovered: Option<Instant>,
}

impl Source {
    /// Connects to Kafka; nothing is read yet.
    ///
    /// # Errors
    /// [`Error::Kafka`] where librdkafka refuses the settings.
    pub fn connect(
        settings: Arc<Settings>,
        progress: Arc<Progress>,
        metrics: Arc<Metrics>,
        topics: BTreeMap<Arc<str>, u16>,
        applied: BTreeMap<(String, u32), Applied>,
    ) -> Result<Self, Error> {
        let context = Context { progress: progress.clone(), metrics };
        let config = settings.kafka.consumer_config(settings.queue_bytes / 32);
        let consumer = Arc::new(config.create_with_context(context)?);
        let partitions = Vec::new();
        Ok(Self { consumer, settings, progress, topics, applied, partitions, discovered: None })
    }

    /// The consumer, to tell Kafka how far the store is.
    #[must_use]
    pub fn reader(&self) -> Arc<Reader> {
        self.consumer.clone()
    }

    /// Whether everything that Kafka has was handed on.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        !self.partitions.is_empty()
            && self.partitions.iter().all(|partition| partition.lane.is_drained())
    }

    /// Adds records to a batch until it is full or nothing more is there just now.
    ///
    /// # Errors
    /// [`Error::Stopped`] where going on would skip or repeat records.
    pub fn fill(&mut self, batch: &mut Batch) -> Result<(), Error> {
        self.discover()?;
        self.fetch()?;
        let now = Instant::now();
        let mut lanes: Vec<_> =
            self.partitions.iter_mut().map(|partition| &mut partition.lane).collect();
        while !batch.is_full(&self.settings) {
            let Some(record) = order::next(&mut lanes, now) else {
                break;
            };
            batch.push(record);
        }
        Ok(())
    }

    fn discover(&mut self) -> Result<(), Error> {
        if self.discovered.is_some_and(|at| at.elapsed() < DISCOVERY) {
            return Ok(());
        }
        let mut whole = true;
        for topic in self.topics.keys().cloned().collect::<Vec<_>>() {
            match kafka::partitions(self.consumer.client(), &topic) {
                Ok(Some(count)) => self.assign_new(&topic, count)?,
                Ok(None) => {
                    whole = false;
                    self.trouble(&format!("topic {topic} does not exist yet; waiting for it"));
                }
                Err(error) => {
                    whole = false;
                    self.trouble(&format!("Kafka does not tell about topic {topic}: {error}"));
                }
            }
        }
        if whole {
            self.discovered = Some(Instant::now());
        } else {
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn assign_new(&mut self, topic: &Arc<str>, count: u32) -> Result<(), Error> {
        for number in (0..count).filter(|number| self.settings.partitions.owns(*number)) {
            if self.partitions.iter().any(|known| known.topic == *topic && known.number == number) {
                continue;
            }
            let applied = self.applied.get(&(topic.to_string(), number)).copied();
            let (offset, expected) = match applied {
                None => (Offset::Beginning, None),
                Some(applied) => self.resume(topic, number, applied)?,
            };
            let partition = i32::try_from(number).unwrap_or(i32::MAX);
            let mut added = TopicPartitionList::new();
            added.add_partition_offset(topic, partition, offset)?;
            self.consumer.incremental_assign(&added)?;
            let queue = self.consumer.split_partition_queue(topic, partition);
            let mut queue = queue.ok_or(Error::Internal("a partition has no queue"))?;
            let reading = std::thread::current();
            queue.set_nonempty_callback(move || reading.unpark());
            tracing::info!(%topic, partition = number, ?offset, "reading a partition");
            let lane = Lane::new(Instant::now());
            let topic_number = self.topics.get(topic).copied().unwrap_or_default();
            let topic = topic.clone();
            self.partitions.push(Partition { topic, topic_number, number, queue, lane, expected });
        }
        Ok(())
    }

    /// Where to go on in a partition, and which record must come first there.
    fn resume(
        &self,
        topic: &Arc<str>,
        number: u32,
        applied: Applied,
    ) -> Result<(Offset, Option<Applied>), Error> {
        let (low, high) = kafka::watermarks(&self.consumer, topic, number)?;
        let at = |offset: u64| Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX));
        let stop = |stop: fn(String, u32, u64, u64) -> Stop, found| {
            Error::Stopped(stop(topic.to_string(), number, applied.next_offset, found))
        };
        if high < applied.next_offset {
            return Err(stop(Stop::truncated, high));
        }
        if low > applied.next_offset {
            if self.settings.accept_gap {
                return Ok((Offset::Beginning, None));
            }
            return Err(stop(Stop::gap, low));
        }
        if low > applied.last_offset {
            return Ok((at(applied.next_offset), None));
        }
        Ok((at(applied.last_offset), Some(applied)))
    }

    fn fetch(&mut self) -> Result<(), Error> {
        self.serve_callbacks()?;
        let mut contact = false;
        let share = self.settings.queue_bytes / 4 / self.partitions.len().max(1) as u64;
        for partition in &mut self.partitions {
            while partition.lane.bytes() < share {
                match partition.queue.poll(Duration::ZERO) {
                    None => break,
                    Some(Ok(message)) => partition.take(own(&message, partition.origin()))?,
                    Some(Err(KafkaError::PartitionEOF(_))) => partition.lane.reached_end(),
                    Some(Err(error)) => {
                        judge(&self.progress, error)?;
                        break;
                    }
                }
                contact = true;
            }
        }
        if contact && self.progress.is_in_trouble() {
            tracing::info!("Kafka can be read again");
            self.progress.update(|status| status.kafka_trouble = None);
        }
        Ok(())
    }

    /// Records come through the partitions' own queues. Between assigning a partition and taking
    /// its queue some may already have come through the consumer's.
    fn serve_callbacks(&mut self) -> Result<(), Error> {
        let consumer = self.consumer.clone();
        match consumer.poll(Duration::ZERO) {
            None => Ok(()),
            Some(Ok(message)) => {
                let number = message.partition().unsigned_abs();
                let mut all = self.partitions.iter_mut();
                let partition =
                    all.find(|one| one.number == number && *one.topic == *message.topic());
                let partition =
                    partition.ok_or(Error::Internal("a record of nobody's partition"))?;
                partition.take(own(&message, partition.origin()))
            }
            Some(Err(KafkaError::PartitionEOF(number))) => {
                // It does not name its topic. Another topic's partition that is taken for read is
                // corrected by its next record.
                let number = number.unsigned_abs();
                let all = self.partitions.iter_mut().filter(|one| one.number == number);
                all.for_each(|partition| partition.lane.reached_end());
                Ok(())
            }
            Some(Err(error)) => judge(&self.progress, error),
        }
    }

    fn trouble(&self, text: &str) {
        self.progress.update(|status| {
            if status.kafka_trouble.as_deref() != Some(text) {
                tracing::warn!("{text}");
                status.kafka_trouble = Some(text.to_owned());
            }
        });
    }
}

impl Partition {
    fn origin(&self) -> (Arc<str>, u16) {
        (self.topic.clone(), self.topic_number)
    }

    fn take(&mut self, record: Record) -> Result<(), Error> {
        let Some(expected) = self.expected.take() else {
            self.lane.push(record);
            return Ok(());
        };
        if fingerprint(&record) == expected {
            return Ok(());
        }
        let (topic, offset) = (self.topic.to_string(), record.position.offset);
        Err(Error::Stopped(Stop::changed(topic, self.number, expected.last_offset, offset)))
    }
}

/// Ends ingestion for errors that waiting does not mend.
fn judge(progress: &Progress, error: KafkaError) -> Result<(), Error> {
    let code = error.rdkafka_error_code();
    if matches!(code, Some(RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::AutoOffsetReset))
    {
        return Err(Error::Stopped(Stop::OutOfRange(error.to_string())));
    }
    if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
        return Err(error.into());
    }
    progress.update(|status| {
        if status.kafka_trouble.is_none() {
            tracing::warn!(%error, "Kafka cannot be read just now; it is tried again");
            status.kafka_trouble = Some(error.to_string());
        }
    });
    Ok(())
}

/// Copies a message out of librdkafka's buffers.
fn own(message: &BorrowedMessage<'_>, (topic, number): (Arc<str>, u16)) -> Record {
    let headers = message.headers().map(|headers| {
        let all = headers.iter();
        all.map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
    });
    let milliseconds = message.timestamp().to_millis().unwrap_or(0);
    Record {
        position: Position {
            topic: number,
            partition: message.partition().unsigned_abs(),
            offset: message.offset().unsigned_abs(),
        },
        topic,
        timestamp: Time(milliseconds.saturating_mul(1000)),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
    }
}

/// Records that are parsed, applied and committed together.
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order in which they are applied.
    pub records: Vec<Record>,
    bytes: u64,
    /// Nothing more was in Kafka when the batch was closed.
    pub drained: bool,
}

impl Batch {
    fn push(&mut self, record: Record) {
        self.bytes += record.bytes();
        self.records.push(record);
    }

    /// Whether it takes no more: the queue's bytes are shared by the batches under way.
    #[must_use]
    pub fn is_full(&self, settings: &Settings) -> bool {
        self.records.len() >= settings.batch_records || self.bytes >= settings.queue_bytes / 8
    }
}
