//! Positions: how far the log is applied, carried by callers from an answer to the next request.
//!
//! Opaque to callers: URL-safe Base64 of a version byte, the topics with their partitions and next offsets,
//! and a checksum, which detects values that were not made here.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use xxhash_rust::xxh3::xxh3_64;

use super::error::Error;
use crate::progress::Positions;

/// The name of the parameter with the position that an answer must reflect.
pub const PARAMETER: &str = "min_position";

const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;

/// Parses either form: a value of [`opaque`], or `topic:partition:offset` of records that must be
/// applied, separated by commas.
pub fn parse(text: &str) -> Result<Positions, Error> {
    let positions = if text.contains(':') { of_records(text) } else { of_opaque(text) };
    positions.ok_or_else(|| {
        let detail = format!(
            "{PARAMETER} must be a value of X-Personview-Position, or topic:partition:offset"
        );
        Error::invalid(PARAMETER, detail)
    })
}

fn of_records(text: &str) -> Option<Positions> {
    let mut positions = Positions::new();
    for record in text.split(',') {
        let mut parts = record.split(':');
        let topic = parts.next().filter(|topic| !topic.is_empty())?;
        let partition: u32 = parts.next()?.parse().ok()?;
        let offset: u64 = parts.next()?.parse().ok()?;
        if parts.next().is_some() {
            return None;
        }
        let next = positions.entry((topic.to_owned(), partition)).or_insert(0);
        *next = offset.checked_add(1)?.max(*next);
    }
    Some(positions)
}

/// Encodes positions as one opaque value.
pub fn opaque(positions: &Positions) -> String {
    let mut bytes = vec![VERSION];
    let all: Vec<_> = positions.iter().collect();
    for of_topic in all.chunk_by(|((a, _), _), ((b, _), _)| a == b) {
        let ((topic, _), _) = of_topic[0];
        push_text(&mut bytes, topic);
        push(&mut bytes, of_topic.len() as u64);
        for &((_, partition), next) in of_topic {
            push(&mut bytes, u64::from(*partition));
            push(&mut bytes, *next);
        }
    }
    bytes.extend(checksum(&bytes));
    URL_SAFE_NO_PAD.encode(bytes)
}

fn of_opaque(text: &str) -> Option<Positions> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (mut rest, sum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
    if *sum != checksum(rest) || pull_byte(&mut rest)? != VERSION {
        return None;
    }
    let mut positions = Positions::new();
    while !rest.is_empty() {
        let topic = pull_text(&mut rest)?;
        for _ in 0..pull(&mut rest)? {
            let partition = u32::try_from(pull(&mut rest)?).ok()?;
            positions.insert((topic.clone(), partition), pull(&mut rest)?);
        }
    }
    Some(positions)
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let [a, b, c, d, ..] = xxh3_64(bytes).to_be_bytes();
    [a, b, c, d]
}

/// Appends a varint: seven bits per byte, the least significant first; the highest bit says that more follow.
fn push(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push((number & 0x7f) as u8);
}

fn pull(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = pull_byte(bytes)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    push(bytes, text.len() as u64);
    bytes.extend(text.as_bytes());
}

fn pull_text(bytes: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(pull(bytes)?).ok()?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}

fn pull_byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(topic: &str, partition: u32, next: u64) -> ((String, u32), u64) {
        ((topic.to_owned(), partition), next)
    }

    #[test]
    fn positions_read_back() {
        let many = (0..200).map(|partition| at("events", partition, u64::from(partition) << 30));
        for positions in [
            Positions::new(),
            Positions::from([at("events", 0, 0), at("events", 7, 127), at("z", 1, 128)]),
            Positions::from([at("a.b-c", u32::MAX, u64::MAX)]),
            many.collect(),
        ] {
            assert_eq!(parse(&opaque(&positions)).unwrap(), positions);
        }
    }

    #[test]
    fn a_record_is_applied_where_the_next_offset_is_past_it() {
        assert_eq!(parse("events:2:41").unwrap(), Positions::from([at("events", 2, 42)]));
        let several = Positions::from([at("events", 2, 42), at("events", 3, 1), at("more", 0, 8)]);
        assert_eq!(parse("events:2:41,events:3:0,more:0:7,events:2:40").unwrap(), several);
    }

    #[test]
    fn anything_else_is_refused() {
        let whole = opaque(&Positions::from([at("events", 0, 5)]));
        for text in [
            "x",
            "AQ",
            "!!!",
            "events:0",
            ":0:1",
            "events:0:x",
            "events:-1:1",
            "events:0:1:2",
            "events:0:1,",
            "events:0:1,x",
            "events:0:18446744073709551615",
            &whole[1..],
            &whole[..whole.len() - 1],
            &whole.replacen('A', "B", 1),
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
