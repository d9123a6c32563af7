//! Records that could not be used, kept on a topic with the reason and where they came from.
//!
//! A batch is committed only after its dead letters are in Kafka, so none is lost; a crash in
//! between may repeat one, and its origin tells.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::Error;
use super::kafka::Connection;
use crate::person::{Record, Rejection};

/// How long a failed dead letter rests before it is sent again.
const REST: Duration = Duration::from_secs(1);

/// Writes dead letters.
pub struct DeadLetters {
    producer: FutureProducer,
    topic: String,
}

impl DeadLetters {
    /// Connects to Kafka; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Kafka`] where librdkafka refuses the settings.
    pub fn connect(connection: &Connection, topic: &str) -> Result<Self, Error> {
        let mut config = connection.config();
        config.set("enable.idempotence", "true");
        Ok(Self { producer: config.create()?, topic: topic.to_owned() })
    }

    /// Sends every dead letter and waits until Kafka has them all. Tries again for as long as
    /// `go_on` holds; ingestion waits meanwhile, and reads go on.
    ///
    /// # Errors
    /// [`Error::Interrupted`] where `go_on` ended it, with something not yet in Kafka.
    pub async fn send(
        &self,
        letters: &[(&Record, Rejection)],
        go_on: impl Fn() -> bool,
    ) -> Result<(), Error> {
        let mut waiting: Vec<_> = letters.iter().map(|letter| (letter, false)).collect();
        while !waiting.is_empty() {
            let mut sent = Vec::with_capacity(waiting.len());
            for (letter, truncated) in waiting {
                sent.push((letter, truncated, self.begin(letter, truncated)));
            }
            let mut failed = Vec::new();
            for (letter, truncated, delivery) in sent {
                match delivered(delivery).await {
                    Ok(()) => {}
                    Err(error) if is_too_large(&error) && !truncated => failed.push((letter, true)),
                    Err(error) => {
                        tracing::warn!(%error, topic = self.topic, "a dead letter cannot be written; ingestion waits for it");
                        failed.push((letter, truncated));
                        tokio::time::sleep(REST).await;
                    }
                }
            }
            if !failed.is_empty() && !go_on() {
                return Err(Error::Interrupted);
            }
            waiting = failed;
        }
        Ok(())
    }

    /// Hands a dead letter to librdkafka; the answer comes with the delivery.
    fn begin(
        &self,
        (record, rejection): &(&Record, Rejection),
        truncated: bool,
    ) -> Result<DeliveryFuture, KafkaError> {
        let headers = headers(record, *rejection, truncated);
        let mut letter: FutureRecord<'_, [u8], [u8]> =
            FutureRecord::to(&self.topic).headers(headers);
        letter.key = record.key.as_deref();
        letter.payload = record.value.as_deref().filter(|_| !truncated);
        self.producer.send_result(letter).map_err(|(error, _)| error)
    }
}

async fn delivered(begun: Result<DeliveryFuture, KafkaError>) -> Result<(), KafkaError> {
    match begun?.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err((error, _))) => Err(error),
        Err(_) => Err(KafkaError::Canceled),
    }
}

fn is_too_large(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge)
}

/// The record's own headers, then why and whence.
fn headers(record: &Record, rejection: Rejection, truncated: bool) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new();
    for (key, value) in &record.headers {
        headers = headers.insert(Header { key, value: value.as_deref() });
    }
    let milliseconds = record.timestamp.0.div_euclid(1000).to_string();
    let mut add = |key, value: &str| {
        headers = std::mem::take(&mut headers).insert(Header { key, value: Some(value) });
    };
    add("dlq_reason", rejection.reason());
    add("dlq_topic", &record.topic);
    add("dlq_partition", &record.position.partition.to_string());
    add("dlq_offset", &record.position.offset.to_string());
    add("dlq_timestamp", &milliseconds);
    if truncated {
        add("dlq_truncated", "true");
    }
    headers
}
