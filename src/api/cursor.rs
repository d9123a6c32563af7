//! Where a walk through a timeline goes on, as callers carry it from one page to the next.
//!
//! Opaque: URL-safe Base64 of the place before which it goes on, and a checksum.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use xxhash_rust::xxh3::xxh3_64;

use super::error::Error;
use crate::person::{Place, Position, Time};

/// The parameter that asks for it.
pub const PARAMETER: &str = "cursor";

/// The cursor that goes on after the operation at a place.
pub fn after(place: Place) -> String {
    let Position { topic, partition, offset } = place.position;
    let mut bytes = Vec::with_capacity(30);
    bytes.extend(place.time.0.to_be_bytes());
    bytes.extend(topic.to_be_bytes());
    bytes.extend(partition.to_be_bytes());
    bytes.extend(offset.to_be_bytes());
    bytes.extend(&xxh3_64(&bytes).to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads what [`after`] made: the place of the last operation that was answered.
pub fn parse(text: &str) -> Result<Place, Error> {
    read(text).ok_or_else(|| {
        Error::invalid(PARAMETER, "cursor must be one that an answer of this list gave")
    })
}

fn read(text: &str) -> Option<Place> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (rest, sum) = bytes.split_last_chunk::<8>()?;
    let (time, rest) =
        rest.split_first_chunk::<8>().filter(|_| *sum == xxh3_64(rest).to_be_bytes())?;
    let (topic, rest) = rest.split_first_chunk::<2>()?;
    let (partition, offset) = rest.split_first_chunk::<4>()?;
    let position = Position {
        topic: u16::from_be_bytes(*topic),
        partition: u32::from_be_bytes(*partition),
        offset: u64::from_be_bytes(offset.try_into().ok()?),
    };
    Some(Place { time: Time(i64::from_be_bytes(*time)), position })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_out_reads_back_and_nothing_else_does() {
        let position = Position { topic: 3, partition: 1, offset: u64::MAX };
        let place = Place { time: Time(-5), position };
        let text = after(place);
        assert_eq!(parse(&text).unwrap(), place);
        for other in ["", "x", &text[1..], &text[..20], &text.replacen('_', "-", 1)] {
            assert!(parse(other).is_err(), "{other}");
        }
    }
}
