//! What an error of the consumer means: whether waiting mends it.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::ingest::kafka::is_unknown_topic;
use crate::ingest::{Error, Stop};

/// Whether Kafka does not know the topic or the partition.
pub fn is_unknown(error: &KafkaError) -> bool {
    error
        .rdkafka_error_code()
        .is_some_and(|code| code == RDKafkaErrorCode::UnknownPartition || is_unknown_topic(code))
}

/// Whether Kafka does not have the offset that was asked for.
pub fn is_out_of_range(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{AutoOffsetReset, OffsetOutOfRange};
    matches!(error.rdkafka_error_code(), Some(AutoOffsetReset | OffsetOutOfRange))
}

/// Whether librdkafka could not read what Kafka sent, and would skip it.
pub fn is_passed_over(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{BadMessage, NotImplemented};
    matches!(error.rdkafka_error_code(), Some(BadMessage | NotImplemented))
}

/// Returns the message of a transient error. An error that waiting does not fix ends ingestion.
pub fn mended_by_waiting(error: KafkaError) -> Result<String, Error> {
    if is_out_of_range(&error) {
        return Err(Error::Stopped(Stop::OutOfRange(error.to_string())));
    }
    if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
        return Err(error.into());
    }
    Ok(error.to_string())
}
