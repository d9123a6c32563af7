//! Writes of the API, appended to the command topic.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::future_producer::Delivery;
use rdkafka::producer::{FutureRecord, Producer, PurgeConfig};

use super::Error;
use super::kafka::Connection;
use super::outlet::Outlet;
use crate::person::Command;

/// How long librdkafka may take to tell what became of a command that was given up.
const LAST_WORD: Duration = Duration::from_millis(100);

/// Writes commands to their topic.
pub struct Commands {
    outlet: Outlet,
    topic: String,
}

/// Why a command is not known to be in the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAppended {
    /// It is not there.
    Nothing,
    /// It was sent, and Kafka did not answer.
    Unknown,
    /// It is larger than Kafka takes.
    TooLarge,
}

impl Commands {
    /// Connects to Kafka; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Kafka`] where librdkafka refuses the settings.
    pub fn connect(connection: &Connection, topic: &str) -> Result<Self, Error> {
        let mut config = connection.config();
        config.set("acks", "all");
        // A command that is there twice is done once, by its idempotency key; and what was never
        // sent can be taken back without a gap in the numbers of an idempotent producer.
        config.set("enable.idempotence", "false");
        // What was sent once and not answered would be queued again, and be taken back as if it had never
        // been sent. A broker that did not lead the partition, or could not be reached, is tried again all the same.
        config.set("message.send.max.retries", "0");
        // Somebody waits for each.
        config.set("linger.ms", "0");
        Ok(Self { outlet: Outlet::connect(config)?, topic: topic.to_owned() })
    }

    /// The topic that they are written to.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Appends a command; answers its partition and offset.
    ///
    /// # Errors
    /// [`NotAppended`], where Kafka did not take it in time.
    pub async fn append(
        &self,
        command: &Command,
        within: Duration,
    ) -> Result<(u32, u64), NotAppended> {
        let json = command.to_json();
        let key = command.uuid.to_string();
        let record = FutureRecord::to(&self.topic).key(&key).payload(&json);
        let producer = self.outlet.producer();
        let mut delivery = producer.send_result(record).map_err(|(error, _)| judge(&error))?;
        let mut answer = tokio::time::timeout(within, &mut delivery).await;
        if answer.is_err() {
            // What was not sent yet is not sent any more, and that is told at once.
            let purge = move || producer.purge(PurgeConfig::default().queue());
            // It waits for librdkafka's threads, each of which may be waiting for a name server.
            let purging = tokio::time::timeout(LAST_WORD, tokio::task::spawn_blocking(purge));
            // Whatever became of that, the command's own delivery tells.
            let _ = purging.await;
            answer = tokio::time::timeout(LAST_WORD, delivery).await;
        }
        self.outlet.note(matches!(answer, Ok(Ok(Ok(_)))));
        let answer = answer.map_err(|_| NotAppended::Unknown)?;
        match answer {
            Ok(Ok(Delivery { partition, offset, .. })) => {
                Ok((partition.unsigned_abs(), offset.unsigned_abs()))
            }
            Ok(Err((error, _))) => Err(judge(&error)),
            Err(_) => Err(NotAppended::Unknown),
        }
    }
}

fn judge(error: &KafkaError) -> NotAppended {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => NotAppended::TooLarge,
        // Refused before it was sent, or by the broker before it was written.
        Some(
            Code::PurgeQueue
            | Code::QueueFull
            | Code::UnknownTopic
            | Code::UnknownPartition
            | Code::UnknownTopicOrPartition
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::NotEnoughReplicas
            | Code::PolicyViolation,
        ) => NotAppended::Nothing,
        _ => NotAppended::Unknown,
    }
}
