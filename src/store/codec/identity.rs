//! The encoding of identity: ownerships, members, lives, and the moves of their groups.

use super::wire::{Reader, Writer};
use super::{Corrupt, Decoded, FORM};
use crate::person::{Merged, Owned, Ownership, Time};
use crate::store::{Above, Group, Joined, LifeSpan, Member};

/// Encodes a row of family `distinct_id`: who owns a distinct id.
#[must_use]
pub fn encode_ownership(ownership: &Ownership) -> Vec<u8> {
    let mut writer = Writer::new(FORM);
    writer.maybe_time(ownership.deleted, Time::EPOCH);
    writer.unsigned(ownership.later.len() as u64);
    let mut base = Time::EPOCH;
    for owned in ownership.entries() {
        writer.time(owned.from, base);
        writer.time(owned.known, owned.from);
        writer.life(owned.life);
        writer.seat(owned.seat);
        base = owned.from;
    }
    writer.0
}

/// Decodes a row of family `distinct_id`.
pub fn decode_ownership(bytes: &[u8]) -> Decoded<Ownership> {
    let mut reader = Reader::new(bytes, FORM)?;
    let deleted = reader.maybe_time(Time::EPOCH)?;
    let later = reader.unsigned()?;
    let owned = |reader: &mut Reader, base| {
        let from = reader.time(base)?;
        let known = reader.time(from)?;
        Ok(Owned { from, known, life: reader.life()?, seat: reader.seat()? })
    };
    let mut ownership = Ownership::new(owned(&mut reader, Time::EPOCH)?);
    ownership.deleted = deleted;
    for _ in 0..later {
        let base = ownership.last().from;
        ownership.later.push(owned(&mut reader, base)?);
    }
    reader.end()?;
    Ok(ownership)
}

/// Encodes a row of family `person_distinct_id`.
#[must_use]
pub fn encode_member(member: &Member) -> Vec<u8> {
    let mut writer = Writer::new(FORM);
    match &member.joined {
        Joined::Id(distinct_id) => {
            writer.0.push(0);
            writer.text(distinct_id);
        }
        Joined::Bundle(life) => {
            writer.0.push(1);
            writer.life(*life);
        }
    }
    writer.time(member.from, Time::EPOCH);
    writer.time(member.known, member.from);
    writer.maybe_time(member.left, member.from);
    writer.0
}

/// Decodes a row of family `person_distinct_id`.
pub fn decode_member(bytes: &[u8]) -> Decoded<Member> {
    let mut reader = Reader::new(bytes, FORM)?;
    let joined = match reader.byte()? {
        0 => Joined::Id(reader.text()?.to_owned()),
        1 => Joined::Bundle(reader.life()?),
        _ => return Err(Corrupt),
    };
    let from = reader.time(Time::EPOCH)?;
    let (known, left) = (reader.time(from)?, reader.maybe_time(from)?);
    reader.end()?;
    Ok(Member { joined, from, known, left })
}

/// Encodes how a life began and ended, and its position in its group.
#[must_use]
pub fn encode_life_span(span: &LifeSpan) -> Vec<u8> {
    let mut writer = Writer::new(FORM);
    writer.maybe(span.lives_on, |writer, (place, known)| {
        writer.place(place, Time::EPOCH);
        writer.time(known, place.time);
    });
    writer.maybe(span.merged, |writer, merged| writer.merged(merged, Time::EPOCH));
    writer.unsigned(span.group.lives.into());
    writer.unsigned(span.group.moves.into());
    writer.maybe(span.group.above, |writer, above| {
        writer.life(above.life);
        writer.time(above.from, Time::EPOCH);
        writer.unsigned(above.after.into());
        writer.maybe(above.merged, |writer, merged| writer.merged(merged, above.from));
    });
    writer.0
}

/// Decodes how a life began and ended, and its position in its group.
pub fn decode_life_span(bytes: &[u8]) -> Decoded<LifeSpan> {
    let mut reader = Reader::new(bytes, FORM)?;
    let lives_on = reader.maybe(|reader| {
        let place = reader.place(Time::EPOCH)?;
        Ok((place, reader.time(place.time)?))
    })?;
    let merged = reader.maybe(|reader| reader.merged(Time::EPOCH))?;
    let (lives, moves) = (reader.number()?, reader.number()?);
    let above = reader.maybe(|reader| {
        let (life, from, after) = (reader.life()?, reader.time(Time::EPOCH)?, reader.number()?);
        let merged = reader.maybe(|reader| reader.merged(from))?;
        Ok(Above { life, from, after, merged })
    })?;
    reader.end()?;
    Ok(LifeSpan { lives_on, merged, group: Group { lives, moves, above } })
}

/// Encodes a move of a group of lives: its number, and the merge that moved the group.
#[must_use]
pub fn encode_move(number: u32, merged: &Merged) -> Vec<u8> {
    let mut writer = Writer::new(FORM);
    writer.unsigned(number.into());
    writer.maybe(Some(*merged), |writer, merged| writer.merged(merged, Time::EPOCH));
    writer.0
}

/// Decodes a move of a group of lives.
pub fn decode_move(bytes: &[u8]) -> Decoded<(u32, Merged)> {
    let mut reader = Reader::new(bytes, FORM)?;
    let number = reader.number()?;
    let merged = reader.maybe(|reader| reader.merged(Time::EPOCH))?.ok_or(Corrupt)?;
    reader.end()?;
    Ok((number, merged))
}
