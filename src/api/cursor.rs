//! Cursors: where a list, a timeline or the change feed continues, carried by callers from page to page.
//!
//! Opaque to callers: URL-safe Base64 of the last row, operation or change that was answered, and a checksum.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use super::error::Error;
use crate::person::{Place, Position, ProjectId, Time};
use crate::store::{By, Order, Row, Start};

/// The name of the parameter with the cursor.
pub const PARAMETER: &str = "cursor";

/// Returns the tag of a row of a list in an order.
fn tag(order: Order) -> u8 {
    let by = match order.by {
        By::CreatedAt => 2,
        By::LastSeenAt => 4,
    };
    by + u8::from(order.ascending)
}

/// The tag of a place in a timeline.
const TIMELINE: u8 = 1;

/// The tag of the number of a change.
const CHANGES: u8 = 8;

/// Returns the cursor that continues after the operation at a place.
pub fn after_operation(Place { time, position }: Place) -> String {
    let mut bytes = vec![TIMELINE];
    bytes.extend(time.0.to_be_bytes());
    bytes.extend(position.topic.to_be_bytes());
    bytes.extend(position.partition.to_be_bytes());
    bytes.extend(position.offset.to_be_bytes());
    seal(bytes)
}

/// Parses a cursor of [`after_operation`]: the place of the last operation that was answered.
pub fn operation(text: &str) -> Result<Place, Error> {
    let place = open(text, TIMELINE).and_then(|bytes| {
        let (time, rest) = bytes.split_first_chunk::<8>()?;
        let (topic, rest) = rest.split_first_chunk::<2>()?;
        let (partition, offset) = rest.split_first_chunk::<4>()?;
        let position = Position {
            topic: u16::from_be_bytes(*topic),
            partition: u32::from_be_bytes(*partition),
            offset: u64::from_be_bytes(offset.try_into().ok()?),
        };
        Some(Place { time: Time(i64::from_be_bytes(*time)), position })
    });
    place.ok_or_else(foreign)
}

/// Returns the cursor that continues after a row of a list.
pub fn after_row(order: Order, row: &Row) -> String {
    let mut bytes = vec![tag(order)];
    bytes.extend(row.time.0.to_be_bytes());
    bytes.extend(row.uuid.as_bytes());
    seal(bytes)
}

/// Parses a cursor of [`after_row`] for a list in the same order.
pub fn row(text: &str, order: Order) -> Result<Start, Error> {
    let start = open(text, tag(order)).and_then(|bytes| {
        let (time, uuid) = bytes.split_first_chunk::<8>()?;
        let uuid = Uuid::from_bytes(uuid.try_into().ok()?);
        Some(Start::After(Time(i64::from_be_bytes(*time)), uuid))
    });
    start.ok_or_else(foreign)
}

/// Returns the cursor that continues after a change in a project of a store.
pub fn after_change(store: Uuid, project: ProjectId, change: u64) -> String {
    let mut bytes = vec![CHANGES];
    bytes.extend(store.as_bytes());
    bytes.extend(project.to_be_bytes());
    bytes.extend(change.to_be_bytes());
    seal(bytes)
}

/// Parses a cursor of [`after_change`] for the same project of the same store.
pub fn change(text: &str, store: Uuid, project: ProjectId) -> Result<u64, Error> {
    let bytes = open(text, CHANGES).ok_or_else(foreign)?;
    let change = bytes.strip_prefix(store.as_bytes()).and_then(|rest| {
        let change = rest.strip_prefix(&project.to_be_bytes()[..])?;
        Some(u64::from_be_bytes(change.try_into().ok()?))
    });
    change.ok_or_else(|| {
        let detail = "cursor is of another store or project: start again, without a cursor";
        Error::invalid(PARAMETER, detail)
    })
}

/// Returns the error for a cursor that this list did not give out.
pub fn foreign() -> Error {
    Error::invalid(PARAMETER, "cursor must be one that an answer of this list gave")
}

fn seal(mut bytes: Vec<u8>) -> String {
    bytes.extend(&xxh3_64(&bytes).to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Returns what was sealed under a tag; `None` if the checksum or the tag does not match.
fn open(text: &str, tag: u8) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (rest, sum) = bytes.split_last_chunk::<8>()?;
    let (found, rest) = rest.split_first().filter(|_| *sum == xxh3_64(rest).to_be_bytes())?;
    (*found == tag).then(|| rest.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_read_back_and_nothing_else_does() {
        let position = Position { topic: 3, partition: 1, offset: u64::MAX };
        let place = Place { time: Time(-5), position };
        let text = after_operation(place);
        assert_eq!(operation(&text).unwrap(), place);
        for other in ["", "x", &text[1..], &text[..20], &text.replacen('A', "B", 1)] {
            assert!(operation(other).is_err(), "{other}");
        }
        let newest = Order { by: By::CreatedAt, ascending: false };
        let last = Row { time: Time(7), uuid: Uuid::from_u128(9), person: 1 };
        let text = after_row(newest, &last);
        assert_eq!(row(&text, newest).unwrap(), Start::After(last.time, last.uuid));
        assert!(row(&text, Order { ascending: true, ..newest }).is_err(), "another order");
        assert!(row(&text, Order { by: By::LastSeenAt, ..newest }).is_err(), "another order");
        assert!(operation(&text).is_err(), "another list");
        let store = Uuid::from_u128(5);
        let text = after_change(store, 3, 77);
        assert_eq!(change(&text, store, 3).unwrap(), 77);
        assert!(change(&text, store, 4).is_err(), "another project");
        assert!(change(&text, Uuid::nil(), 3).is_err(), "another store");
        assert!(operation(&text).is_err(), "another list");
    }
}
