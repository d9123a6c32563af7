//! Reads topics into batches of records, from where the store left off.
//!
//! Partitions are assigned, not subscribed: an instance owns a fixed share, so there is no rebalance.
//! Positions come only from the store. At start, the last applied record of each partition is read again and
//! must be the one that the store knows.

mod errors;
mod resume;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Handle;

pub use self::errors::is_out_of_range;
use self::errors::{is_passed_over, is_unknown, mended_by_waiting};
pub use self::resume::HEARSAY;
use super::batch::{Batch, Gap};
use super::context::Context;
use super::handed::Handed;
use super::kafka::{self, is_lost};
use super::look_back::{LookBack, Marks};
use super::message;
use super::order::{self, Lane};
use super::partition::{Partition, Topic};
use super::{Error, Settings, Stop};
use crate::clock;
use crate::metrics::Metrics;
use crate::person::Time;
use crate::progress::Progress;
use crate::store::Applied;

/// How often Kafka is asked whether topics have more partitions.
const DISCOVERY: Duration = Duration::from_secs(30);

/// How often it is asked while a topic or partition is missing.
const RETRY: Duration = Duration::from_secs(1);

/// The consumer that reads all partitions.
pub type Consumer = BaseConsumer<Context>;

/// Reads the owned partitions, merged into one order.
pub struct Source {
    consumer: Arc<Consumer>,
    settings: Arc<Settings>,
    /// The number of partitions that librdkafka's memory is divided among.
    counted: u32,
    runtime: Handle,
    progress: Arc<Progress>,
    /// Topic numbers, by name.
    topics: BTreeMap<Arc<str>, u16>,
    applied: BTreeMap<(String, u32), Applied>,
    handed: Handed,
    partitions: Vec<Partition>,
    look_back: LookBack,
    /// Topics that were found not to be compacted.
    not_compacted: BTreeSet<Arc<str>>,
    /// Topics that have fewer partitions than were applied, and since when.
    fewer: BTreeMap<Arc<str>, Instant>,
    /// When Kafka may be asked again whether it has what commands wait for.
    ask_end_at: Instant,
    /// Since when Kafka has been out of reach.
    lost: Option<Instant>,
    /// When Kafka was last asked for the topics' partitions.
    asked: Option<Instant>,
    /// Whether every owned partition of every topic is being read.
    is_assigned: bool,
    /// Whether Kafka has once answered, for all topics, which partitions there are.
    is_discovered: bool,
    /// Skipped records that are still to be noted in the store.
    gaps: Vec<Gap>,
}

impl Source {
    /// Connects to Kafka; nothing is read yet. librdkafka's memory is divided among `counted` partitions.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Kafka`] if librdkafka refuses the settings.
    pub fn connect(
        settings: Arc<Settings>,
        counted: u32,
        runtime: Handle,
        progress: Arc<Progress>,
        metrics: Arc<Metrics>,
        topics: BTreeMap<Arc<str>, u16>,
        applied: BTreeMap<(String, u32), Applied>,
    ) -> Result<Self, Error> {
        let context = Context::new(progress.clone(), metrics);
        // librdkafka gets a quarter of the queue, the lanes another, and each of four batches an eighth.
        let queue_bytes = settings.queue_bytes / 4 / u64::from(counted.max(1));
        let config = settings.kafka.consumer_config(queue_bytes);
        let consumer = Arc::new(config.create_with_context(context)?);
        let look_back = LookBack::new(&settings.kafka)?;
        let handed = Handed::new(topics.clone(), settings.partitions, &applied);
        Ok(Self {
            consumer,
            settings,
            counted,
            runtime,
            progress,
            handed,
            topics,
            applied,
            partitions: Vec::new(),
            look_back,
            not_compacted: BTreeSet::new(),
            fewer: BTreeMap::new(),
            ask_end_at: Instant::now(),
            lost: None,
            asked: None,
            is_assigned: false,
            is_discovered: false,
            gaps: Vec::new(),
        })
    }

    /// Returns the consumer, to report the store's positions to Kafka.
    #[must_use]
    pub fn consumer(&self) -> Arc<Consumer> {
        self.consumer.clone()
    }

    /// Whether everything that Kafka has was handed on.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.is_assigned && self.partitions.iter().all(|partition| partition.lane.is_drained())
    }

    /// Adds records to a batch until it is full or no more are available right now.
    ///
    /// # Errors
    /// [`Error::Stopped`] if continuing would skip or repeat records, [`Error::OutOfReach`] or
    /// [`Error::MorePartitions`] if a new consumer is needed.
    pub fn fill(&mut self, batch: &mut Batch) -> Result<(), Error> {
        self.discover()?;
        self.fetch()?;
        self.look_back.look(&mut self.partitions)?;
        if is_lost(&mut self.lost, self.progress.is_in_trouble()) {
            return Err(Error::OutOfReach);
        }
        // Until all partitions are known, it is not known which record comes first.
        if !self.is_discovered {
            return Ok(());
        }
        self.release_commands();
        let now = Instant::now();
        let mut lanes: Vec<_> =
            self.partitions.iter_mut().map(|partition| &mut partition.lane).collect();
        while !batch.is_full(&self.settings)
            && let Some(record) = order::next(&mut lanes, now, &self.handed)
        {
            self.handed.hand_on(&record);
            batch.push(record);
        }
        batch.gaps.append(&mut self.gaps);
        Ok(())
    }

    /// Assigns partitions that are not read yet. If Kafka does not answer, it is asked again later.
    fn discover(&mut self) -> Result<(), Error> {
        let unread = self.waiting().filter_map(|(_, seen)| self.handed.unread(seen));
        let waited_for: Vec<_> = unread.collect();
        let again = if self.is_assigned && waited_for.is_empty() { DISCOVERY } else { RETRY };
        if self.asked.is_some_and(|asked| asked.elapsed() < again) {
            return Ok(());
        }
        let mut missing = false;
        let mut is_assigned = true;
        for (name, number) in self.topics.clone() {
            let topic = Topic { name, number };
            let name = &topic.name;
            let part = (name.to_string(), None);
            let found = kafka::partitions(self.consumer.client(), name);
            match found
                .and_then(|count| count.map(|count| self.assign_new(&topic, count)).transpose())
            {
                Ok(Some(())) => self.progress.note_read(&part),
                Ok(None) => {
                    missing = true;
                    let reason = self.why_missing(&topic);
                    self.progress.note_not_read(part, &reason);
                    if self.partitions.iter().any(|known| known.topic.name == *name) {
                        // If a topic of this name comes back, it is another one and must be checked again.
                        return Err(Error::OutOfReach);
                    }
                }
                Err(Error::Kafka(error)) => {
                    is_assigned = false;
                    let reason = format!("Kafka does not tell about topic {name}: {error}");
                    // If no broker is reachable, the error is not about the topic.
                    if !self.progress.is_in_trouble() {
                        self.progress.note_not_read(part, &reason);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        // librdkafka limits its buffer per partition, so many more partitions would exceed the total.
        let found = u32::try_from(self.partitions.len()).unwrap_or(u32::MAX);
        if found / 2 > self.counted {
            return Err(Error::MorePartitions(found));
        }
        self.is_discovered |= is_assigned;
        self.is_assigned = is_assigned && !missing;
        self.handed.is_complete = self.is_assigned;
        if self.is_assigned {
            self.handed.asked_for(waited_for);
        }
        let (is_assigned, partitions) = (self.is_assigned, self.partitions.len());
        self.progress.update(|status| {
            (status.assigned, status.partitions) = (is_assigned, partitions);
        });
        self.asked = Some(Instant::now());
        Ok(())
    }

    fn assign_new(&mut self, topic: &Topic, count: u32) -> Result<(), Error> {
        let name = &topic.name;
        Self::refuse_unordered(topic, count)?;
        self.refuse_compacted(name)?;
        let owned = self.settings.partitions;
        self.refuse_fewer(topic, count)?;
        for number in (0..count).filter(|number| owned.reads(topic.number, *number)) {
            let is_it = |known: &Partition| known.topic.name == *name && known.number == number;
            if self.partitions.iter().any(is_it) {
                continue;
            }
            let applied = self.applied.get(&(name.to_string(), number)).copied();
            let (offset, from, expected) = match applied {
                None => {
                    let from = self.begin(topic, number)?;
                    (Offset::Beginning, from, None)
                }
                Some(applied) => {
                    let (from, expected) = self.resume(topic, number, applied)?;
                    (kafka::to_offset(from), from, expected)
                }
            };
            let partition = kafka::to_partition(number);
            // Split the queue first, so that no record bypasses it.
            let queue = self.consumer.split_partition_queue(name, partition);
            let mut queue = queue.ok_or(Error::Internal("a partition has no queue"))?;
            let reading = std::thread::current();
            queue.set_nonempty_callback(move || reading.unpark());
            let mut added = TopicPartitionList::new();
            added.add_partition_offset(name, partition, offset)?;
            self.consumer.incremental_assign(&added)?;
            tracing::info!(topic = %name, partition = number, ?offset, "reading a partition");
            let lane = Lane::new(Instant::now());
            self.handed.reads(topic.number, number, from);
            let (topic, last, marks) = (topic.clone(), None, Marks::default());
            self.partitions.push(Partition { topic, number, queue, lane, expected, last, marks });
        }
        Ok(())
    }

    fn fetch(&mut self) -> Result<(), Error> {
        self.serve_callbacks()?;
        let mut contact = false;
        let share = self.settings.queue_bytes / 4 / self.partitions.len().max(1) as u64;
        for partition in &mut self.partitions {
            while partition.lane.bytes() < share {
                match partition.queue.poll(Duration::ZERO) {
                    None => break,
                    Some(Ok(message)) => {
                        let record = message::record(&message, partition.topic.clone());
                        partition.take(record, Time::after_epoch(clock::now()))?;
                    }
                    Some(Err(KafkaError::PartitionEOF(_))) => partition.lane.reached_end(),
                    Some(Err(error)) => {
                        // The topic may have been deleted: ask Kafka without waiting for the next discovery.
                        self.is_assigned &= !is_unknown(&error);
                        if is_passed_over(&error) {
                            let topic = partition.topic.name.to_string();
                            let stop = Stop::Unreadable(topic, partition.number, error.to_string());
                            return Err(Error::Stopped(stop));
                        }
                        self.progress.note_not_read(partition.part(), &mended_by_waiting(error)?);
                        break;
                    }
                }
                contact = true;
            }
            if let Some(last) = partition.last {
                let (topic, number) = (&partition.topic.name, partition.number);
                self.consumer.context().note_taken(topic, number, last + 1);
            }
        }
        if contact && self.progress.is_in_trouble() {
            self.progress.clear_trouble();
        }
        Ok(())
    }

    /// Serves librdkafka's callbacks; records come through the partitions' own queues.
    fn serve_callbacks(&mut self) -> Result<(), Error> {
        match self.consumer.poll(Duration::ZERO) {
            None => Ok(()),
            Some(Ok(_)) => Err(Error::Internal("a record came past its partition's queue")),
            Some(Err(error)) => {
                self.progress.note_trouble(&mended_by_waiting(error)?);
                Ok(())
            }
        }
    }
}

/// Drops a consumer that does not reach Kafka, on a thread of its own. It closes only once its pending
/// requests are answered, which may take as long as Kafka is away, and never happens if it has lost all
/// brokers (see [`kafka::is_lost`]).
pub fn leave(consumer: Arc<Consumer>) {
    consumer.context().leave();
    std::thread::spawn(move || drop(consumer));
}
