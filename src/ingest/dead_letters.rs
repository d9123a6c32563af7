//! Records that could not be used, kept on a topic with the reason and where they came from.
//!
//! A batch is committed only after its dead letters are in Kafka, so none is lost. A crash in between may
//! repeat one, which its origin shows.

mod read;

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord};

pub use self::read::{Letter, Origin, read, replay};
use super::Error;
use super::kafka::{Connection, UNKNOWN_FOR, is_unknown_topic};
use super::outlet::Outlet;
use crate::person::{Record, Rejection};

/// How long to wait before failed dead letters are sent again.
const REST: Duration = Duration::from_secs(1);

/// How much of a record its dead letter keeps: less if Kafka finds it too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Whole,
    WithoutValue,
    /// Neither value, key nor headers: only reason and origin.
    OriginOnly,
}

impl Extent {
    fn smaller(self) -> Option<Self> {
        match self {
            Self::Whole => Some(Self::WithoutValue),
            Self::WithoutValue => Some(Self::OriginOnly),
            Self::OriginOnly => None,
        }
    }

    /// Returns how much to send after an error, and whether that is all that has to change.
    fn after(self, error: &KafkaError) -> (Self, bool) {
        match (is_too_large(error), self.smaller()) {
            (true, Some(smaller)) => (smaller, true),
            // If not even the origin fits, the operator has to raise the limit; then all of it may fit.
            (true, None) => (Self::Whole, false),
            (false, _) => (self, false),
        }
    }
}

/// A dead letter that is not in Kafka yet.
#[derive(Clone, Copy)]
struct Unsent<'r> {
    record: &'r Record,
    rejection: Rejection,
    extent: Extent,
}

/// Writes dead letters to their topic.
pub struct DeadLetters {
    outlet: Outlet,
    topic: String,
}

impl DeadLetters {
    /// Connects to Kafka; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Kafka`] if librdkafka refuses the settings.
    pub fn connect(connection: &Connection, topic: &str) -> Result<Self, Error> {
        let mut config = connection.config();
        config.set("enable.idempotence", "true");
        config.set(UNKNOWN_FOR.0, UNKNOWN_FOR.1);
        // Short, so that `go_on` is soon asked whether to keep trying.
        config.set("message.timeout.ms", "5000");
        Ok(Self { outlet: Outlet::connect(config)?, topic: topic.to_owned() })
    }

    /// Sends every dead letter and waits until Kafka has them all. On failure it passes the error to `go_on`
    /// and retries while that returns `true`. Meanwhile ingestion waits, and reads go on.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if `go_on` returned `false`; some dead letters are then not in Kafka.
    pub async fn send(
        &self,
        letters: &[(&Record, Rejection)],
        go_on: impl Fn(&str) -> bool,
    ) -> Result<(), Error> {
        let whole = |&(record, rejection)| Unsent { record, rejection, extent: Extent::Whole };
        let mut unsent: Vec<_> = letters.iter().map(whole).collect();
        while !unsent.is_empty() {
            let trouble;
            (unsent, trouble) = self.attempt(unsent).await;
            self.outlet.note(trouble.is_none());
            if let Some(error) = trouble {
                let text = self.why_not(&error);
                if !go_on(&text) {
                    return Err(Error::Interrupted);
                }
                tokio::time::sleep(REST).await;
            }
        }
        Ok(())
    }

    fn why_not(&self, error: &KafkaError) -> String {
        let topic = &self.topic;
        if error.rdkafka_error_code().is_some_and(is_unknown_topic) {
            return format!(
                "dead letters cannot be written to {topic}, which does not exist: create it, or restart to have it created"
            );
        }
        format!("dead letters cannot be written to {topic}: {error}")
    }

    /// Sends dead letters together. Returns those that are to be sent again, and the last error, if any, that is not
    /// mended by sending less.
    async fn attempt<'r>(&self, letters: Vec<Unsent<'r>>) -> (Vec<Unsent<'r>>, Option<KafkaError>) {
        let producer = self.outlet.producer();
        let begin = |letter| (letter, self.begin(&producer, letter));
        let sent: Vec<_> = letters.into_iter().map(begin).collect();
        let (mut unsent, mut trouble) = (Vec::new(), None);
        for (letter, delivery) in sent {
            let Err(mut error) = delivered(delivery).await else { continue };
            if is_too_large(&error) {
                if trouble.is_some() {
                    unsent.push(letter);
                    continue;
                }
                // Kafka judges the size of everything sent together: alone, the record may be small enough.
                let alone = delivered(self.begin(&producer, letter)).await;
                let Err(of_it_alone) = alone else { continue };
                error = of_it_alone;
            }
            let (extent, is_mended) = letter.extent.after(&error);
            unsent.push(Unsent { extent, ..letter });
            if !is_mended {
                trouble = Some(error);
            }
        }
        (unsent, trouble)
    }

    /// Hands a dead letter to librdkafka; the answer comes with the delivery.
    fn begin(
        &self,
        producer: &FutureProducer,
        Unsent { record, rejection, extent }: Unsent<'_>,
    ) -> Result<DeliveryFuture, KafkaError> {
        let headers = headers(record, rejection, extent);
        let mut letter: FutureRecord<'_, [u8], [u8]> =
            FutureRecord::to(&self.topic).headers(headers);
        letter.key = record.key.as_deref().filter(|_| extent != Extent::OriginOnly);
        letter.payload = record.value.as_deref().filter(|_| extent == Extent::Whole);
        producer.send_result(letter).map_err(|(error, _)| error)
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

/// Converts a record's headers to those of a record to be sent.
pub(super) fn owned_headers<'h>(
    own: impl IntoIterator<Item = &'h (String, Option<Vec<u8>>)>,
) -> OwnedHeaders {
    own.into_iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: value.as_deref() })
    })
}

/// The beginning of the names of all headers that a dead letter has beside the record's own.
const OURS: &str = "dlq_";

/// Returns the record's own headers, followed by reason and origin. Those of a dead letter that came into a topic of
/// events are left out, as they are not about this one.
fn headers(record: &Record, rejection: Rejection, extent: Extent) -> OwnedHeaders {
    let own = record.headers.iter().filter(|(name, _)| !name.starts_with(OURS));
    let mut headers = owned_headers(own.filter(|_| extent != Extent::OriginOnly));
    let milliseconds = record.timestamp.0.div_euclid(1000).to_string();
    let mut add = |key, value: &str| {
        headers = std::mem::take(&mut headers).insert(Header { key, value: Some(value) });
    };
    add("dlq_reason", rejection.reason());
    if let Some(field) = rejection.field() {
        add("dlq_detail", field);
    }
    add("dlq_topic", &record.topic);
    add("dlq_partition", &record.position.partition.to_string());
    add("dlq_offset", &record.position.offset.to_string());
    add("dlq_timestamp", &milliseconds);
    if extent != Extent::Whole {
        add("dlq_truncated", "true");
    }
    headers
}

#[cfg(test)]
mod tests {
    use rdkafka::message::Headers as _;

    use super::*;
    use crate::ingest::kafka::tests::connection;

    #[test]
    fn a_dead_letter_tells_of_itself_alone() {
        let own = [("color", "red"), ("dlq_truncated", "true"), ("dlq_reason", "of another")];
        let own = own.map(|(name, value)| (name.to_owned(), Some(value.as_bytes().to_vec())));
        let record = Record { headers: own.to_vec(), ..Record::default() };
        let names = |extent| {
            let headers = headers(&record, Rejection::NotJson, extent);
            headers.iter().map(|header| header.key.to_owned()).collect::<Vec<_>>()
        };
        let about = ["dlq_reason", "dlq_topic", "dlq_partition", "dlq_offset", "dlq_timestamp"];
        assert_eq!(names(Extent::Whole), [&["color"], &about[..]].concat());
        assert_eq!(names(Extent::OriginOnly), [&about[..], &["dlq_truncated"]].concat());
    }

    #[test]
    fn less_is_sent_of_a_letter_that_is_too_large_and_all_again_once_nothing_is_left_to_omit() {
        let after = |extent: Extent, code| extent.after(&KafkaError::MessageProduction(code));
        let too_large = RDKafkaErrorCode::MessageSizeTooLarge;
        assert_eq!(after(Extent::Whole, too_large), (Extent::WithoutValue, true));
        assert_eq!(after(Extent::WithoutValue, too_large), (Extent::OriginOnly, true));
        assert_eq!(after(Extent::OriginOnly, too_large), (Extent::Whole, false));
        let refused = RDKafkaErrorCode::TopicAuthorizationFailed;
        assert_eq!(after(Extent::WithoutValue, refused), (Extent::WithoutValue, false));
    }

    #[test]
    fn a_missing_topic_is_named_as_the_cause() {
        let letters = DeadLetters::connect(&connection(String::new()), "g_dlq").unwrap();
        let why = |code| letters.why_not(&KafkaError::MessageProduction(code));
        assert!(why(RDKafkaErrorCode::UnknownTopic).contains("g_dlq, which does not exist"));
        assert!(why(RDKafkaErrorCode::TopicAuthorizationFailed).contains("uthoriz"));
    }

    #[test]
    fn a_letter_names_the_field_of_a_wrong_type() {
        let detail = |rejection| {
            let headers = headers(&Record::default(), rejection, Extent::Whole);
            let detail = headers.iter().find(|header| header.key == "dlq_detail");
            detail.and_then(|header| header.value).map(<[u8]>::to_vec)
        };
        assert_eq!(detail(Rejection::WrongType("$set")), Some(b"$set".to_vec()));
        assert_eq!(detail(Rejection::NotJson), None);
    }
}
