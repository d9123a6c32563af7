//! Reads dead letters, to show why they were rejected and to send them again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Message};

use super::owned_headers;
use crate::ingest::context::ErrorContext;
use crate::ingest::kafka::{self, PATIENCE, partitions, watermarks};
use crate::ingest::message::headers;
use crate::ingest::produce::Producer;
use crate::ingest::{Connection, Error};
use crate::person::{Time, identity};

/// How long Kafka may be silent before reading gives up.
const SILENCE: Duration = Duration::from_secs(30);

/// A dead letter: a record that could not be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letter {
    /// Its partition in the topic of dead letters.
    pub partition: u32,
    /// Its offset there.
    pub offset: u64,
    /// Why it could not be used.
    pub reason: String,
    /// The field that is wrong; empty if the reason says which, or none is.
    pub detail: String,
    /// Where the original record was.
    pub origin: Origin,
    /// When Kafka received the record; `None` if unknown.
    pub received: Option<Time>,
    /// When it became a dead letter.
    pub rejected: Time,
    /// Whether the record was too large for its value to be kept.
    pub truncated: bool,
    /// The record's key.
    pub key: Option<Vec<u8>>,
    /// The record's value.
    pub value: Option<Vec<u8>>,
    /// The record's headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Where a record was before it became a dead letter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
}

impl Letter {
    /// Returns headers that the record lacks and that its origin provides: the latest time at which it can
    /// have been captured, and the uuid by which a repeated record is recognised.
    fn lent(&self) -> Vec<(&'static str, String)> {
        let lacks = |name: &str| !self.headers.iter().any(|(key, _)| key == name);
        let mut lent = Vec::new();
        if let Some(received) = self.received.filter(|_| lacks("now")) {
            lent.push(("now", received.to_string()));
        }
        if lacks("uuid") {
            let Origin { topic, partition, offset } = &self.origin;
            lent.push(("uuid", identity::origin_uuid(topic, *partition, *offset).to_string()));
        }
        lent
    }
}

/// Reads the dead letters that exist at this moment, partition by partition, from an offset on.
///
/// # Errors
/// [`Error::Kafka`] if Kafka does not answer, [`Error::NoTopic`] if there is no such topic, [`Error::MayNotRead`] if
/// Kafka refuses it, and any error of `visit`.
pub fn read<E: From<Error>>(
    connection: &Connection,
    topic: &str,
    from: u64,
    mut visit: impl FnMut(Letter) -> Result<(), E>,
) -> Result<(), E> {
    let consumer = reader(connection)?;
    let count = partitions(consumer.client(), topic).map_err(|error| refused(topic, error))?;
    let count = count.ok_or_else(|| Error::NoTopic(topic.into()))?;
    for number in 0..count {
        let (low, high) = watermarks(&consumer, topic, number)?;
        let first = from.max(low);
        if first < high {
            read_partition(&consumer, (topic, number), first..high, &mut visit)?;
        }
    }
    Ok(())
}

/// Whether Kafka refuses the topic. It may also refuse the group, which reading does not need.
fn is_refused(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed)
}

/// Returns the error that says what to grant, if that is what is wrong.
fn refused(topic: &str, error: Error) -> Error {
    match error {
        Error::Kafka(error) if is_refused(&error) => Error::MayNotRead(topic.to_owned()),
        error => error,
    }
}

fn reader(connection: &Connection) -> Result<BaseConsumer<ErrorContext>, Error> {
    let mut config = connection.config();
    config.set("group.id", &connection.group).set("enable.auto.commit", "false");
    config.set("auto.offset.reset", "earliest").set("enable.partition.eof", "true");
    Ok(config.create_with_context(ErrorContext(Arc::default()))?)
}

fn read_partition<E: From<Error>>(
    consumer: &BaseConsumer<ErrorContext>,
    (topic, number): (&str, u32),
    offsets: std::ops::Range<u64>,
    visit: &mut impl FnMut(Letter) -> Result<(), E>,
) -> Result<(), E> {
    let mut assigned = TopicPartitionList::new();
    let (partition, first) = (kafka::to_partition(number), kafka::to_offset(offsets.start));
    assigned.add_partition_offset(topic, partition, first).map_err(Error::from)?;
    consumer.assign(&assigned).map_err(Error::from)?;
    let mut heard = Instant::now();
    loop {
        match consumer.poll(PATIENCE) {
            Some(Ok(message)) if message.offset().unsigned_abs() < offsets.end => {
                visit(letter(&message))?;
                if message.offset().unsigned_abs() + 1 == offsets.end {
                    return Ok(());
                }
                heard = Instant::now();
            }
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(error)) if is_refused(&error) => {
                return Err(refused(topic, error.into()).into());
            }
            Some(Err(error)) if heard.elapsed() > SILENCE => return Err(Error::from(error).into()),
            None if heard.elapsed() > SILENCE => {
                let code = RDKafkaErrorCode::OperationTimedOut;
                return Err(Error::Kafka(KafkaError::MessageConsumption(code)).into());
            }
            // librdkafka tries again.
            Some(Err(_)) | None => {}
        }
    }
}

fn letter(message: &BorrowedMessage<'_>) -> Letter {
    let mut letter = Letter {
        partition: message.partition().unsigned_abs(),
        offset: message.offset().unsigned_abs(),
        rejected: Time::from_milliseconds(message.timestamp().to_millis().unwrap_or(0)),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        ..Letter::default()
    };
    for (key, value) in headers(message) {
        let text = value.as_deref().and_then(|value| std::str::from_utf8(value).ok());
        let text = text.unwrap_or_default();
        match key.as_str() {
            "dlq_reason" => text.clone_into(&mut letter.reason),
            "dlq_detail" => text.clone_into(&mut letter.detail),
            "dlq_topic" => text.clone_into(&mut letter.origin.topic),
            "dlq_partition" => letter.origin.partition = text.parse().unwrap_or_default(),
            "dlq_offset" => letter.origin.offset = text.parse().unwrap_or_default(),
            "dlq_timestamp" => {
                let milliseconds = text.parse().ok().filter(|time| *time > 0);
                letter.received = milliseconds.map(Time::from_milliseconds);
            }
            "dlq_truncated" => letter.truncated = text == "true",
            _ => letter.headers.push((key, value)),
        }
    }
    letter
}

/// Sends a record again, unchanged, to the partition that it came from, since partitions decide which
/// instance owns its project; by its key if the topic no longer has that partition. It is parsed as it would
/// have been the first time, with the same times and uuid, so it counts at most once.
///
/// # Errors
/// [`Error::Kafka`] if it cannot be sent at all.
pub fn replay(producer: &Producer, letter: &Letter) -> Result<(), Error> {
    let mut headers = owned_headers(&letter.headers);
    for (key, value) in letter.lent() {
        headers = headers.insert(Header { key, value: Some(value.as_str()) });
    }
    let (key, value) = (letter.key.as_deref(), letter.value.as_deref());
    let Origin { topic, partition, .. } = &letter.origin;
    let partition = producer.has_partition(topic, *partition)?.then_some(*partition);
    producer.send_record((topic, partition), (key, value), Some(headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_topic_says_what_to_grant() {
        let told = |code| refused("g_dlq", KafkaError::MetadataFetch(code).into()).to_string();
        let told_of_topic = told(RDKafkaErrorCode::TopicAuthorizationFailed);
        assert!(told_of_topic.contains("grant it the operation Read"), "{told_of_topic}");
        assert!(!told(RDKafkaErrorCode::GroupAuthorizationFailed).contains("grant"));
    }

    #[test]
    fn a_record_is_lent_only_what_it_lacks() {
        let letter = Letter {
            origin: Origin { topic: "events".to_owned(), partition: 1, offset: 7 },
            received: Some(Time::from_milliseconds(1_767_225_600_000)),
            ..Letter::default()
        };
        let uuid = identity::origin_uuid("events", 1, 7).to_string();
        let lent = [("now", "2026-01-01T00:00:00Z".to_owned()), ("uuid", uuid)];
        assert_eq!(letter.lent(), lent);
        let own = |name: &str| (name.to_owned(), Some(b"own".to_vec()));
        let letter = Letter { headers: vec![own("now"), own("uuid")], ..letter };
        assert_eq!(letter.lent(), []);
    }
}
