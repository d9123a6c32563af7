//! Values of the store as bytes: numbers as varints, times as differences from a time nearby.
//!
//! The first byte of every value tells its form; a form once used is never given another meaning.
//! Any bytes decode to a value or to [`Corrupt`], and never take more memory than they have.

mod wire;

use std::collections::BTreeMap;

use self::wire::{Reader, Writer};
use super::{Applied, Effect, Member, Operation};
use crate::person::{Entry, Head, Merged, Owned, Ownership, Place, Row, Stored, Time};

/// Bytes that are no value of the kind asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

type Decoded<T> = Result<T, Corrupt>;

const FORM: u8 = 1;

/// A row of family `history`; its place stands in the key.
#[must_use]
pub fn encode_row(stored: &Stored) -> Vec<u8> {
    let form = match &stored.row {
        Row::Set(_) => 1,
        Row::Unset => 2,
        Row::SetUnset(_) => 3,
        Row::OnceUnset(_) => 4,
        Row::Once(_) => 5,
        Row::Merge { .. } => 6,
    };
    let mut writer = Writer::new(form);
    writer.time(stored.known, stored.place.time);
    match &stored.row {
        Row::Set(value) | Row::SetUnset(value) | Row::OnceUnset(value) | Row::Once(value) => {
            writer.text(value.as_json());
        }
        Row::Unset => {}
        Row::Merge { source, state } => {
            writer.unsigned(*source);
            writer.state(state);
        }
    }
    writer.0
}

/// A row of family `history`.
///
/// # Errors
/// [`Corrupt`].
pub fn decode_row(place: Place, bytes: &[u8]) -> Decoded<Stored> {
    let form = *bytes.first().ok_or(Corrupt)?;
    let mut reader = Reader::new(bytes, form)?;
    let known = reader.time(place.time)?;
    let row = match form {
        1 => Row::Set(reader.value()?),
        2 => Row::Unset,
        3 => Row::SetUnset(reader.value()?),
        4 => Row::OnceUnset(reader.value()?),
        5 => Row::Once(reader.value()?),
        6 => Row::Merge { source: reader.unsigned()?, state: reader.state()? },
        _ => return Err(Corrupt),
    };
    reader.end()?;
    Ok(Stored { place, known, row })
}

/// A head.
#[must_use]
pub fn encode_head(head: &Head) -> Vec<u8> {
    let mut writer = Writer::new(FORM);
    let base = head.created_at;
    writer.uuid(head.uuid);
    writer.time(base, Time::EPOCH);
    writer.fact(head.began, base);
    writer.0.push(u8::from(head.identified.is_some()));
    if let Some(identified) = head.identified {
        writer.fact(identified, base);
    }
    writer.unsigned(head.version);
    writer.maybe(head.newest, base);
    writer.maybe(head.ownership_changed, base);
    writer.unsigned(head.distinct_ids.into());
    writer.0.push(u8::from(head.merged.is_some()));
    if let Some(merged) = &head.merged {
        writer.unsigned(merged.into);
        writer.time(merged.place.time, base);
        writer.position(merged.place.position);
        writer.time(merged.known, base);
    }
    writer.unsigned(head.json_bytes);
    writer.unsigned(head.entries.len() as u64);
    for (property, entry) in &head.entries {
        writer.unsigned((*property).into());
        writer.maybe(entry.newest, base);
        writer.state(&entry.state);
    }
    writer.0
}

/// A head.
///
/// # Errors
/// [`Corrupt`].
pub fn decode_head(bytes: &[u8]) -> Decoded<Head> {
    let mut reader = Reader::new(bytes, FORM)?;
    let uuid = reader.uuid()?;
    let base = reader.time(Time::EPOCH)?;
    let mut head = Head::new(uuid, reader.fact(base)?);
    head.created_at = base;
    if reader.flag()? {
        head.identified = Some(reader.fact(base)?);
    }
    head.version = reader.unsigned()?;
    head.newest = reader.maybe(base)?;
    head.ownership_changed = reader.maybe(base)?;
    head.distinct_ids = reader.number()?;
    if reader.flag()? {
        let into = reader.unsigned()?;
        let place = Place { time: reader.time(base)?, position: reader.position()? };
        head.merged = Some(Merged { into, place, known: reader.time(base)? });
    }
    head.json_bytes = reader.unsigned()?;
    let mut entries = BTreeMap::new();
    for _ in 0..reader.unsigned()? {
        let property = reader.number()?;
        let (newest, state) = (reader.maybe(base)?, reader.state()?);
        entries.insert(property, Entry { newest, state });
    }
    head.entries = entries;
    reader.end()?;
    Ok(head)
}

/// An ownership.
#[must_use]
pub fn encode_ownership(ownership: &Ownership) -> Vec<u8> {
    let mut writer = Writer::new(FORM);
    writer.unsigned(ownership.later.len() as u64);
    let mut base = Time::EPOCH;
    for owned in std::iter::once(&ownership.first).chain(&ownership.later) {
        writer.time(owned.from, base);
        writer.time(owned.known, owned.from);
        writer.unsigned(owned.person);
        writer.unsigned(owned.ordinal.into());
        base = owned.from;
    }
    writer.0
}

/// An ownership.
///
/// # Errors
/// [`Corrupt`].
pub fn decode_ownership(bytes: &[u8]) -> Decoded<Ownership> {
    let mut reader = Reader::new(bytes, FORM)?;
    let later = reader.unsigned()?;
    let owned = |reader: &mut Reader, base| {
        let from = reader.time(base)?;
        let known = reader.time(from)?;
        Ok(Owned { from, known, person: reader.unsigned()?, ordinal: reader.number()? })
    };
    let mut ownership = Ownership::new(owned(&mut reader, Time::EPOCH)?);
    for _ in 0..later {
        let base = ownership.now().from;
        ownership.later.push(owned(&mut reader, base)?);
    }
    reader.end()?;
    Ok(ownership)
}

/// A row of family `person_distinct_id`.
#[must_use]
pub fn encode_member(member: &Member) -> Vec<u8> {
    let mut writer = Writer::new(FORM);
    writer.text(&member.distinct_id);
    writer.time(member.from, Time::EPOCH);
    writer.time(member.known, member.from);
    writer.0.push(u8::from(member.left.is_some()));
    if let Some((until, known)) = member.left {
        writer.time(until, member.from);
        writer.time(known, until);
    }
    writer.0
}

/// A row of family `person_distinct_id`.
///
/// # Errors
/// [`Corrupt`].
pub fn decode_member(bytes: &[u8]) -> Decoded<Member> {
    let mut reader = Reader::new(bytes, FORM)?;
    let distinct_id = reader.text()?.to_owned();
    let from = reader.time(Time::EPOCH)?;
    let known = reader.time(from)?;
    let left = if reader.flag()? {
        let until = reader.time(from)?;
        Some((until, reader.time(until)?))
    } else {
        None
    };
    reader.end()?;
    Ok(Member { distinct_id, from, known, left })
}

/// A row of family `timeline`; its place stands in the key.
#[must_use]
pub fn encode_operation(place: Place, operation: &Operation) -> Vec<u8> {
    let mut writer = Writer::new(FORM);
    writer.uuid(operation.uuid);
    writer.time(operation.event_time, place.time);
    writer.time(operation.known, place.time);
    writer.text(&operation.event);
    writer.text(&operation.distinct_id);
    writer.0.push(u8::from(operation.merged.is_some()));
    if let Some(source) = operation.merged {
        writer.unsigned(source);
    }
    writer.unsigned(operation.effects.len() as u64);
    for (property, effect) in &operation.effects {
        writer.unsigned((*property).into());
        writer.0.push(*effect as u8);
    }
    writer.0
}

/// A row of family `timeline`.
///
/// # Errors
/// [`Corrupt`].
pub fn decode_operation(place: Place, bytes: &[u8]) -> Decoded<Operation> {
    let mut reader = Reader::new(bytes, FORM)?;
    let uuid = reader.uuid()?;
    let (event_time, known) = (reader.time(place.time)?, reader.time(place.time)?);
    let (event, distinct_id) = (reader.text()?.to_owned(), reader.text()?.to_owned());
    let merged = if reader.flag()? { Some(reader.unsigned()?) } else { None };
    let mut effects = Vec::new();
    for _ in 0..reader.unsigned()? {
        let property = reader.number()?;
        let effect = Effect::ALL.get(usize::from(reader.byte()?)).ok_or(Corrupt)?;
        effects.push((property, *effect));
    }
    reader.end()?;
    Ok(Operation { uuid, event_time, known, event, distinct_id, merged, effects })
}

/// How far a partition was applied.
#[must_use]
pub fn encode_applied(applied: &Applied) -> Vec<u8> {
    let mut writer = Writer::new(FORM);
    writer.unsigned(applied.next_offset);
    writer.unsigned(applied.last_offset);
    writer.time(applied.last_timestamp, Time::EPOCH);
    writer.0.extend(applied.last_hash.to_be_bytes());
    writer.0
}

/// How far a partition was applied.
///
/// # Errors
/// [`Corrupt`].
pub fn decode_applied(bytes: &[u8]) -> Decoded<Applied> {
    let mut reader = Reader::new(bytes, FORM)?;
    let (next_offset, last_offset) = (reader.unsigned()?, reader.unsigned()?);
    let last_timestamp = reader.time(Time::EPOCH)?;
    let hash = reader.bytes(8)?.try_into().map_err(|_| Corrupt)?;
    reader.end()?;
    Ok(Applied { next_offset, last_offset, last_timestamp, last_hash: u64::from_be_bytes(hash) })
}

#[cfg(test)]
mod tests;
