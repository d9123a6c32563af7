//! The encoding of values: numbers as varints, times as differences from a nearby time.
//!
//! The first byte of every value is its form, and the meaning of a form never changes. Any bytes decode to a
//! value or to [`Corrupt`], using at most memory proportional to their length.

mod identity;
mod wire;

use std::ops::Range;
use std::sync::Arc;

pub use self::identity::*;
use self::wire::{Reader, Writer};
use super::{Activity, Applied, CommandOutcome, Deed, Effect, Operation, Recency, Remembered};
use crate::person::{
    Entries, Entry, Head, PersonRow, Place, PropertyId, Row, State, Stored, Time, Tombstone, Value,
};

/// The error for bytes that are not a valid value of the requested kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// The result of decoding.
type Decoded<T> = Result<T, Corrupt>;

const FORM: u8 = 1;

/// The form of a command's outcome that includes the command's known time.
const DATED: u8 = 2;

/// The form of a tombstone, which is stored in place of a head.
const TOMBSTONE: u8 = 2;

/// Encodes a row of family `person`: a head or a tombstone.
#[must_use]
pub fn encode_person(row: &PersonRow) -> Vec<u8> {
    match row {
        PersonRow::Head(head) => encode_head(head),
        PersonRow::Tombstone(tombstone) => {
            let mut writer = Writer::new(TOMBSTONE);
            writer.uuid(tombstone.uuid);
            writer.unsigned(tombstone.version);
            writer.unsigned(tombstone.life.into());
            writer.fact(tombstone.deleted, Time::EPOCH);
            writer.0
        }
    }
}

/// Decodes a row of family `person`.
pub fn decode_person(bytes: &[u8]) -> Decoded<PersonRow> {
    if bytes.first() != Some(&TOMBSTONE) {
        return decode_head(bytes).map(PersonRow::Head);
    }
    let mut reader = Reader::new(bytes, TOMBSTONE)?;
    let (uuid, version, life) = (reader.uuid()?, reader.unsigned()?, reader.number()?);
    let deleted = reader.fact(Time::EPOCH)?;
    reader.end()?;
    Ok(PersonRow::Tombstone(Tombstone { uuid, version, life, deleted }))
}

/// Encodes a row of family `history`. Its place is in the key.
#[must_use]
pub fn encode_row(stored: &Stored) -> Vec<u8> {
    let form = match &stored.row {
        Row::Set(_) => 1,
        Row::Unset => 2,
        Row::SetUnset(_) => 3,
        Row::OnceUnset(_) => 4,
        Row::Once(_) => 5,
        Row::Merge { .. } => 6,
        Row::Decided(_) => 7,
    };
    let mut writer = Writer::new(form);
    writer.time(stored.known, stored.place.time);
    match &stored.row {
        Row::Set(value) | Row::SetUnset(value) | Row::OnceUnset(value) | Row::Once(value) => {
            writer.text(value.as_json());
        }
        Row::Unset => {}
        Row::Decided(state) => writer.state(state),
        Row::Merge { source, state } => {
            writer.maybe(*source, Writer::life);
            writer.state(state);
        }
    }
    writer.0
}

/// Decodes a row of family `history`.
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
        6 => Row::Merge { source: reader.maybe(Reader::life)?, state: reader.state()? },
        7 => Row::Decided(reader.state()?),
        _ => return Err(Corrupt),
    };
    reader.end()?;
    Ok(Stored { place, known, row })
}

fn encode_head(head: &Head) -> Vec<u8> {
    let mut writer = Writer::new(FORM);
    let base = head.created_at;
    writer.uuid(head.uuid);
    writer.time(base, Time::EPOCH);
    writer.fact(head.began, base);
    writer.maybe(head.identified, |writer, identified| writer.fact(identified, base));
    writer.unsigned(head.version);
    writer.maybe_time(head.newest, base);
    writer.unsigned(head.ahead.cast_unsigned());
    writer.maybe_time(head.ownership_changed, base);
    writer.unsigned(head.life.into());
    writer.unsigned(head.first_life.into());
    writer.maybe_time(head.lives_on, base);
    writer.unsigned(head.distinct_ids.into());
    writer.maybe(head.merged, |writer, merged| writer.merged(merged, base));
    writer.unsigned(head.json_bytes);
    writer.unsigned(head.entries.len() as u64);
    for (property, entry) in &head.entries {
        writer.unsigned((*property).into());
        writer.maybe_time(entry.newest, base);
        writer.state(&entry.state);
    }
    writer.0
}

fn decode_head(bytes: &[u8]) -> Decoded<Head> {
    let mut reader = Reader::new(bytes, FORM)?;
    let uuid = reader.uuid()?;
    let base = reader.time(Time::EPOCH)?;
    let mut head = Head::new(uuid, reader.fact(base)?);
    head.created_at = base;
    head.identified = reader.maybe(|reader| reader.fact(base))?;
    head.version = reader.unsigned()?;
    head.newest = reader.maybe_time(base)?;
    head.ahead = reader.number()?;
    head.ownership_changed = reader.maybe_time(base)?;
    head.life = reader.number()?;
    head.first_life = reader.number()?;
    head.lives_on = reader.maybe_time(base)?;
    head.distinct_ids = reader.number()?;
    head.merged = reader.maybe(|reader| reader.merged(base))?;
    head.json_bytes = reader.unsigned()?;
    head.entries = decode_entries(&mut reader, base)?;
    reader.end()?;
    Ok(head)
}

/// Decodes the properties of a head. All values become parts of one text, which takes one allocation.
fn decode_entries(reader: &mut Reader<'_>, base: Time) -> Decoded<Entries> {
    /// Property number, newest time and state take at least one byte each.
    const MIN_BYTES: usize = 3;
    let count = reader.unsigned()?;
    let most = reader.len() / MIN_BYTES;
    let most = usize::try_from(count).map_or(most, |count| count.min(most));
    let (mut text, mut parts) = (String::with_capacity(reader.len()), Vec::with_capacity(most));
    for _ in 0..count {
        let property: PropertyId = reader.number()?;
        let newest = reader.maybe_time(base)?;
        parts.push((property, newest, reader.state_into(&mut text)?));
    }
    let text: Arc<str> = text.into();
    let value = |part: Option<Range<u32>>| {
        part.map(|part| Value::part(&text, part).ok_or(Corrupt)).transpose()
    };
    let mut entries = Entries::with_capacity(parts.len());
    for (property, newest, [current, set_only]) in parts {
        let state = State { current: value(current)?, set_only: value(set_only)? };
        if entries.try_append(property, Entry { newest, state }).is_some() {
            return Err(Corrupt);
        }
    }
    Ok(entries)
}

/// Encodes a row of family `timeline`. Its place is in the key.
#[must_use]
pub fn encode_operation(place: Place, operation: &Operation) -> Vec<u8> {
    let mut writer = Writer::new(FORM);
    writer.uuid(operation.uuid);
    writer.time(operation.event_time, place.time);
    writer.time(operation.known, place.time);
    writer.text(&operation.event);
    writer.text(&operation.distinct_id);
    writer.maybe(operation.author.as_deref(), Writer::text);
    writer.maybe(operation.merged, Writer::unsigned);
    writer.maybe(operation.split.map(u64::from), Writer::unsigned);
    writer.unsigned(operation.effects.len() as u64);
    for (property, effect) in &operation.effects {
        writer.unsigned((*property).into());
        writer.0.push(*effect as u8);
    }
    writer.0
}

/// Decodes a row of family `timeline`.
pub fn decode_operation(place: Place, bytes: &[u8]) -> Decoded<Operation> {
    let mut reader = Reader::new(bytes, FORM)?;
    let uuid = reader.uuid()?;
    let (event_time, known) = (reader.time(place.time)?, reader.time(place.time)?);
    let (event, distinct_id) = (reader.text()?.to_owned(), reader.text()?.to_owned());
    let author = reader.maybe(Reader::text)?.map(str::to_owned);
    let (merged, split) = (reader.maybe(Reader::unsigned)?, reader.maybe(Reader::number)?);
    let mut effects = Vec::new();
    for _ in 0..reader.unsigned()? {
        let property = reader.number()?;
        let effect = Effect::ALL.get(usize::from(reader.byte()?)).ok_or(Corrupt)?;
        effects.push((property, *effect));
    }
    reader.end()?;
    Ok(Operation { uuid, event_time, known, event, distinct_id, author, merged, split, effects })
}

/// Encodes how far a partition was applied.
#[must_use]
pub fn encode_applied(applied: &Applied) -> Vec<u8> {
    let mut writer = Writer::new(FORM);
    writer.unsigned(applied.next_offset);
    writer.unsigned(applied.last_offset);
    writer.time(applied.last_timestamp, Time::EPOCH);
    writer.0.extend(applied.last_hash.to_be_bytes());
    writer.0
}

/// Decodes how far a partition was applied.
pub fn decode_applied(bytes: &[u8]) -> Decoded<Applied> {
    let mut reader = Reader::new(bytes, FORM)?;
    let (next_offset, last_offset) = (reader.unsigned()?, reader.unsigned()?);
    let last_timestamp = reader.time(Time::EPOCH)?;
    let hash = reader.bytes(8)?.try_into().map_err(|_| Corrupt)?;
    reader.end()?;
    Ok(Applied { next_offset, last_offset, last_timestamp, last_hash: u64::from_be_bytes(hash) })
}

/// Encodes a row of family `recency`.
#[must_use]
pub fn encode_recency(recency: &Recency) -> Vec<u8> {
    let mut writer = Writer::new(FORM);
    writer.maybe_time(recency.seen, Time::EPOCH);
    writer.unsigned(recency.change);
    writer.0
}

/// Decodes a row of family `recency`.
pub fn decode_recency(bytes: &[u8]) -> Decoded<Recency> {
    let mut reader = Reader::new(bytes, FORM)?;
    let recency = Recency { seen: reader.maybe_time(Time::EPOCH)?, change: reader.unsigned()? };
    reader.end()?;
    Ok(recency)
}

/// Encodes an entry of the activity log, a row of family `activity`.
#[must_use]
pub fn encode_activity(activity: &Activity) -> Vec<u8> {
    let mut writer = Writer::new(FORM);
    let (deed, source) = match activity.deed {
        Deed::Updated => (0, None),
        Deed::PropertiesDeleted => (1, None),
        Deed::Split => (2, None),
        Deed::Deleted => (3, None),
        Deed::Merged(source) => (4, Some(source)),
    };
    writer.0.push(deed);
    if let Some(source) = source {
        writer.unsigned(source);
    }
    writer.unsigned(activity.person);
    writer.place(activity.place, Time::EPOCH);
    writer.time(activity.known, activity.place.time);
    writer.maybe(activity.author.as_deref(), Writer::text);
    writer.0
}

/// Decodes an entry of the activity log, a row of family `activity`.
pub fn decode_activity(bytes: &[u8]) -> Decoded<Activity> {
    let mut reader = Reader::new(bytes, FORM)?;
    let deed = match reader.byte()? {
        0 => Deed::Updated,
        1 => Deed::PropertiesDeleted,
        2 => Deed::Split,
        3 => Deed::Deleted,
        4 => Deed::Merged(reader.unsigned()?),
        _ => return Err(Corrupt),
    };
    let (person, place) = (reader.unsigned()?, reader.place(Time::EPOCH)?);
    let known = reader.time(place.time)?;
    let author = reader.maybe(Reader::text)?.map(str::to_owned);
    reader.end()?;
    Ok(Activity { person, deed, place, known, author })
}

/// Encodes the outcome of a command.
#[must_use]
pub fn encode_outcome(remembered: Remembered) -> Vec<u8> {
    let mut writer = Writer::new(DATED);
    writer.0.push(remembered.outcome as u8);
    writer.time(remembered.known, Time::EPOCH);
    writer.0
}

/// Decodes the outcome of a command.
pub fn decode_outcome(bytes: &[u8]) -> Decoded<Remembered> {
    let form = *bytes.first().ok_or(Corrupt)?;
    let mut reader = Reader::new(bytes, form)?;
    let outcome = *CommandOutcome::ALL.get(usize::from(reader.byte()?)).ok_or(Corrupt)?;
    let known = match form {
        DATED => reader.time(Time::EPOCH)?,
        // Outcomes of earlier versions have no known time. This one makes them expired.
        FORM => Time(i64::MIN),
        _ => return Err(Corrupt),
    };
    reader.end()?;
    Ok(Remembered { outcome, known })
}

#[cfg(test)]
mod tests;
