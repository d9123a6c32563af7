//! Writes of the API, appended to the command topic.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::future_producer::Delivery;
use rdkafka::producer::{FutureRecord, Producer, PurgeConfig};

use super::Error;
use super::kafka::{Connection, UNKNOWN_FOR, is_unknown_topic};
use super::outlet::Outlet;
use crate::person::Command;

/// How long to wait for librdkafka to report what became of a command that was given up.
const LAST_WORD: Duration = Duration::from_millis(100);

/// Writes commands to their topic.
pub struct Commands {
    outlet: Outlet,
    topic: String,
}

/// Why a command is not known to be in the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAppended {
    /// It was not written.
    Nothing,
    /// It was not written: there is no topic of commands.
    NoTopic,
    /// It may have been written: Kafka did not answer.
    Unknown,
    /// It is larger than Kafka accepts.
    TooLarge,
}

impl Commands {
    /// Connects to Kafka; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Kafka`] if librdkafka refuses the settings.
    pub fn connect(connection: &Connection, topic: &str) -> Result<Self, Error> {
        let mut config = connection.config();
        config.set("acks", "all");
        // A command written twice is applied once, by its idempotency key. And an unsent command can be
        // purged without a gap in the sequence numbers of an idempotent producer.
        config.set("enable.idempotence", "false");
        // With retries, a command that was sent but not answered would be queued again, and purged as if it
        // had never been sent. If the broker is not the leader or not reachable, librdkafka retries all the
        // same.
        config.set("message.send.max.retries", "0");
        config.set(UNKNOWN_FOR.0, UNKNOWN_FOR.1);
        // A caller waits for each command.
        config.set("linger.ms", "0");
        Ok(Self { outlet: Outlet::connect(config)?, topic: topic.to_owned() })
    }

    /// Returns the topic that commands are written to.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Appends a command and returns its partition and offset.
    ///
    /// # Errors
    /// [`NotAppended`] if Kafka did not take it in time.
    pub async fn append(
        &self,
        command: &Command,
        within: Duration,
    ) -> Result<(u32, u64), NotAppended> {
        let json = command.to_json();
        let key = command.uuid.to_string();
        let record = FutureRecord::to(&self.topic).key(&key).payload(&json);
        let producer = self.outlet.producer();
        let mut delivery =
            producer.send_result(record).map_err(|(error, _)| why_not_appended(&error))?;
        let mut answer = tokio::time::timeout(within, &mut delivery).await;
        if answer.is_err() {
            // What was not sent yet is purged, and its delivery fails at once.
            let purge = move || producer.purge(PurgeConfig::default().queue());
            // It waits for librdkafka's threads, each of which may be blocked in a DNS lookup.
            let purging = tokio::time::timeout(LAST_WORD, tokio::task::spawn_blocking(purge));
            // The result does not matter: the command's delivery says what became of it.
            let _ = purging.await;
            answer = tokio::time::timeout(LAST_WORD, delivery).await;
        }
        self.outlet.note(matches!(answer, Ok(Ok(Ok(_)))));
        let answer = answer.map_err(|_| NotAppended::Unknown)?;
        match answer {
            Ok(Ok(Delivery { partition, offset, .. })) => {
                Ok((partition.unsigned_abs(), offset.unsigned_abs()))
            }
            Ok(Err((error, _))) => Err(why_not_appended(&error)),
            Err(_) => Err(NotAppended::Unknown),
        }
    }
}

fn why_not_appended(error: &KafkaError) -> NotAppended {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => NotAppended::TooLarge,
        Some(code) if is_unknown_topic(code) => NotAppended::NoTopic,
        // Refused before it was sent, or by the broker before it was written.
        Some(
            Code::PurgeQueue
            | Code::QueueFull
            | Code::UnknownPartition
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::NotEnoughReplicas
            | Code::PolicyViolation,
        ) => NotAppended::Nothing,
        _ => NotAppended::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_topic_is_not_said_to_be_an_unreachable_kafka() {
        let why = |code| why_not_appended(&KafkaError::MessageProduction(code));
        assert_eq!(why(RDKafkaErrorCode::UnknownTopic), NotAppended::NoTopic);
        assert_eq!(why(RDKafkaErrorCode::UnknownTopicOrPartition), NotAppended::NoTopic);
        assert_eq!(why(RDKafkaErrorCode::PurgeQueue), NotAppended::Nothing);
        assert_eq!(why(RDKafkaErrorCode::MessageTimedOut), NotAppended::Unknown);
    }
}
