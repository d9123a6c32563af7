//! Writes capture events to a topic, as a capture service would.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::{ClientContext, Message};
use std::sync::{Arc, Mutex, PoisonError};

use super::context::note_error;
use super::{Connection, Error, kafka};
use crate::progress::Progress;

/// What Kafka has taken: the next offset of each partition, and what it refused.
#[derive(Clone, Debug, Default)]
pub struct Delivered {
    /// The offset after the last record, by partition; only useful if all records went to one topic.
    pub next_offsets: BTreeMap<u32, u64>,
    /// How many records Kafka has taken.
    pub count: u64,
    /// The number of refused records, by error.
    pub refused: BTreeMap<String, u64>,
}

struct Context {
    delivered: Arc<Mutex<Delivered>>,
    /// Logs what is wrong with Kafka, once.
    progress: Arc<Progress>,
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        note_error(&self.progress, &error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut delivered = self.delivered.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(message) => {
                let next = message.offset().unsigned_abs() + 1;
                let known =
                    delivered.next_offsets.entry(message.partition().unsigned_abs()).or_default();
                *known = next.max(*known);
                delivered.count += 1;
            }
            Err((error, _)) => *delivered.refused.entry(error.to_string()).or_default() += 1,
        }
    }
}

/// Writes records to topics.
pub struct Producer {
    client: BaseProducer<Context>,
    delivered: Arc<Mutex<Delivered>>,
    progress: Arc<Progress>,
    /// The partition counts of topics that were asked for.
    partitions: Mutex<BTreeMap<String, u32>>,
}

impl Producer {
    /// Connects to Kafka; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Kafka`] if librdkafka refuses the settings.
    pub fn connect(connection: &Connection) -> Result<Self, Error> {
        let mut config = connection.config();
        config.set("enable.idempotence", "true");
        config.set("compression.type", "lz4");
        config.set("linger.ms", "20");
        // The broker decides, for each record, whether it is too large.
        config.set("message.max.bytes", "1000000000");
        config.extend(connection.client.clone());
        let delivered = Arc::<Mutex<Delivered>>::default();
        let progress = Arc::<Progress>::default();
        let context = Context { delivered: delivered.clone(), progress: progress.clone() };
        let client = config.create_with_context(context)?;
        Ok(Self { client, delivered, progress, partitions: Mutex::default() })
    }

    /// Checks that a broker answers, before records are sent that would wait for one in vain.
    ///
    /// # Errors
    /// [`Error::Kafka`] if none does.
    pub fn check_reachable(&self, topic: &str) -> Result<(), Error> {
        match kafka::partitions(self.client.client(), topic) {
            Err(error) if error.is_out_of_reach() => {
                // Receives what librdkafka has to tell of its connections.
                self.client.poll(Duration::from_millis(100));
                Err(error)
            }
            // Everything else is about the topic, and told for each record.
            _ => Ok(()),
        }
    }

    /// Returns what librdkafka told last of a connection that failed.
    #[must_use]
    pub fn cause(&self) -> Option<String> {
        self.progress.status().kafka_cause
    }

    /// Sends one event to a topic; waits while librdkafka's queue is full.
    ///
    /// # Errors
    /// [`Error::Kafka`] if it cannot be sent at all.
    pub fn send(&self, topic: &str, key: &str, value: &str) -> Result<(), Error> {
        self.send_record((topic, None), (Some(key.as_bytes()), Some(value.as_bytes())), None)
    }

    /// Sends one record of any form, to the given partition or else by its key.
    pub(super) fn send_record(
        &self,
        (topic, partition): (&str, Option<u32>),
        (key, value): (Option<&[u8]>, Option<&[u8]>),
        headers: Option<OwnedHeaders>,
    ) -> Result<(), Error> {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
        (record.key, record.payload, record.headers) = (key, value, headers);
        record.partition = partition.map(kafka::to_partition);
        loop {
            match self.client.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), unsent)) => {
                    self.client.poll(Duration::from_millis(50));
                    record = unsent;
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
        self.client.poll(Duration::ZERO);
        Ok(())
    }

    /// Whether a topic has a partition.
    ///
    /// # Errors
    /// [`Error::Kafka`] if Kafka does not answer or refuses.
    pub fn has_partition(&self, topic: &str, partition: u32) -> Result<bool, Error> {
        let mut counts = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        if !counts.contains_key(topic) {
            let count = kafka::partitions(self.client.client(), topic)?.unwrap_or(0);
            counts.insert(topic.to_owned(), count);
        }
        Ok(counts.get(topic).is_some_and(|count| partition < *count))
    }

    /// Waits until Kafka has answered for every event.
    ///
    /// # Errors
    /// [`Error::Kafka`] if that takes longer than `within`.
    pub fn finish(&self, within: Duration) -> Result<(), Error> {
        Ok(self.client.flush(within)?)
    }

    /// Returns what Kafka has answered so far.
    #[must_use]
    pub fn delivered(&self) -> Delivered {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns for how many events Kafka has not answered yet.
    #[must_use]
    pub fn unanswered(&self) -> u32 {
        self.client.in_flight_count().unsigned_abs()
    }
}
