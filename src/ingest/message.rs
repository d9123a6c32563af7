//! Converts librdkafka's messages to records.

use rdkafka::message::{BorrowedMessage, Headers, Message};

use super::partition::Topic;
use crate::person::{Position, Record, Time};

/// Copies a message out of librdkafka's buffers.
pub fn record(message: &BorrowedMessage<'_>, topic: Topic) -> Record {
    let milliseconds = message.timestamp().to_millis().unwrap_or(0);
    Record {
        position: Position {
            topic: topic.number,
            partition: message.partition().unsigned_abs(),
            offset: message.offset().unsigned_abs(),
        },
        topic: topic.name,
        timestamp: Time::from_milliseconds(milliseconds),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers(message),
    }
}

/// Returns the readable headers of a message, in order.
pub fn headers(message: &BorrowedMessage<'_>) -> Vec<(String, Option<Vec<u8>>)> {
    let Some(headers) = message.headers() else { return Vec::new() };
    // rdkafka panics on a header whose name is not UTF-8, which any producer may send. Such a header counts
    // as absent, like one whose value is not UTF-8.
    let readable = |index| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let header = headers.get(index);
            (header.key.to_owned(), header.value.map(<[u8]>::to_vec))
        }))
    };
    (0..headers.count()).filter_map(|index| readable(index).ok()).collect()
}
