//! The building blocks of the encoding: numbers, times, texts, and types composed of these.

use std::ops::Range;

use uuid::Uuid;

use super::{Corrupt, Decoded};
use crate::person::{Fact, Life, Merged, Place, Position, Seat, State, Time, Value};

/// Writes one value.
#[derive(Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    pub fn new(form: u8) -> Self {
        Self(vec![form])
    }

    pub fn unsigned(&mut self, mut number: u64) {
        while number >= 0x80 {
            let [low, ..] = number.to_le_bytes();
            self.0.push(low | 0x80);
            number >>= 7;
        }
        let [low, ..] = number.to_le_bytes();
        self.0.push(low);
    }

    /// Writes a time as its difference from `base`, zigzag-encoded.
    pub fn time(&mut self, time: Time, base: Time) {
        let difference = time.0.wrapping_sub(base.0);
        self.unsigned(((difference << 1) ^ (difference >> 63)).cast_unsigned());
    }

    /// Writes whether there is a value, and the value if there is one.
    pub fn maybe<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.0.push(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    pub fn maybe_time(&mut self, time: Option<Time>, base: Time) {
        self.maybe(time, |writer, time| writer.time(time, base));
    }

    pub fn life(&mut self, life: Life) {
        self.unsigned(life.person);
        self.unsigned(life.number.into());
    }

    /// Writes a seat, with its kind in the lowest bit.
    pub fn seat(&mut self, seat: Seat) {
        let (ordinal, kind) = match seat {
            Seat::Own(ordinal) => (ordinal, 0),
            Seat::Bundle(ordinal) => (ordinal, 1),
        };
        self.unsigned(u64::from(ordinal) << 1 | kind);
    }

    pub fn place(&mut self, place: Place, base: Time) {
        self.time(place.time, base);
        self.position(place.position);
    }

    pub fn merged(&mut self, merged: Merged, base: Time) {
        self.life(merged.into);
        self.unsigned(merged.bundle.into());
        self.place(merged.place, base);
        self.time(merged.known, merged.place.time);
    }

    pub fn fact(&mut self, fact: Fact, base: Time) {
        self.time(fact.time, base);
        self.time(fact.known, fact.time);
    }

    pub fn text(&mut self, text: &str) {
        self.unsigned(text.len() as u64);
        self.0.extend(text.as_bytes());
    }

    pub fn uuid(&mut self, uuid: Uuid) {
        self.0.extend(uuid.as_bytes());
    }

    pub fn position(&mut self, position: Position) {
        self.unsigned(position.topic.into());
        self.unsigned(position.partition.into());
        self.unsigned(position.offset);
    }

    pub fn state(&mut self, state: &State) {
        let (form, values) = match (&state.current, &state.set_only) {
            (None, None) => (0, [None, None]),
            (Some(a), Some(b)) if a.as_json() == b.as_json() => (1, [Some(a), None]),
            (Some(a), None) => (2, [Some(a), None]),
            (None, Some(b)) => (3, [None, Some(b)]),
            (Some(a), Some(b)) => (4, [Some(a), Some(b)]),
        };
        self.0.push(form);
        for value in values.into_iter().flatten() {
            self.text(value.as_json());
        }
    }
}

/// Reads one value.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8], form: u8) -> Decoded<Self> {
        let (first, rest) = bytes.split_first().ok_or(Corrupt)?;
        if *first == form { Ok(Self(rest)) } else { Err(Corrupt) }
    }

    pub fn end(&self) -> Decoded<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Corrupt) }
    }

    /// Returns how many bytes are left.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn bytes(&mut self, count: usize) -> Decoded<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(Corrupt)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub fn byte(&mut self) -> Decoded<u8> {
        Ok(self.bytes(1)?[0])
    }

    pub fn flag(&mut self) -> Decoded<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Corrupt),
        }
    }

    pub fn unsigned(&mut self) -> Decoded<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Corrupt);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Corrupt)
    }

    pub fn number<T: TryFrom<u64>>(&mut self) -> Decoded<T> {
        T::try_from(self.unsigned()?).map_err(|_| Corrupt)
    }

    pub fn time(&mut self, base: Time) -> Decoded<Time> {
        let folded = self.unsigned()?;
        let difference = (folded >> 1).cast_signed() ^ -((folded & 1).cast_signed());
        Ok(Time(base.0.wrapping_add(difference)))
    }

    /// Reads a value that [`Writer::maybe`] wrote.
    pub fn maybe<T>(&mut self, read: impl FnOnce(&mut Self) -> Decoded<T>) -> Decoded<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }

    pub fn maybe_time(&mut self, base: Time) -> Decoded<Option<Time>> {
        self.maybe(|reader| reader.time(base))
    }

    pub fn life(&mut self) -> Decoded<Life> {
        Ok(Life { person: self.unsigned()?, number: self.number()? })
    }

    pub fn seat(&mut self) -> Decoded<Seat> {
        let number = self.unsigned()?;
        let ordinal = u32::try_from(number >> 1).map_err(|_| Corrupt)?;
        Ok(if number & 1 == 0 { Seat::Own(ordinal) } else { Seat::Bundle(ordinal) })
    }

    pub fn place(&mut self, base: Time) -> Decoded<Place> {
        Ok(Place { time: self.time(base)?, position: self.position()? })
    }

    pub fn merged(&mut self, base: Time) -> Decoded<Merged> {
        let (into, bundle, place) = (self.life()?, self.number()?, self.place(base)?);
        Ok(Merged { into, bundle, place, known: self.time(place.time)? })
    }

    pub fn fact(&mut self, base: Time) -> Decoded<Fact> {
        let time = self.time(base)?;
        Ok(Fact { time, known: self.time(time)? })
    }

    pub fn text(&mut self) -> Decoded<&'a str> {
        let length = self.number()?;
        std::str::from_utf8(self.bytes(length)?).map_err(|_| Corrupt)
    }

    pub fn value(&mut self) -> Decoded<Value> {
        Ok(Value::from_json(self.text()?))
    }

    pub fn uuid(&mut self) -> Decoded<Uuid> {
        Uuid::from_slice(self.bytes(16)?).map_err(|_| Corrupt)
    }

    pub fn position(&mut self) -> Decoded<Position> {
        let (topic, partition, offset) = (self.number()?, self.number()?, self.unsigned()?);
        Ok(Position { topic, partition, offset })
    }

    pub fn state(&mut self) -> Decoded<State> {
        let [current, set_only] = self.values(Self::value)?;
        Ok(State { current, set_only })
    }

    /// Reads a state, appends its values to `text`, and returns their ranges in it.
    pub fn state_into(&mut self, text: &mut String) -> Decoded<[Option<Range<u32>>; 2]> {
        let end = |text: &String| u32::try_from(text.len()).map_err(|_| Corrupt);
        self.values(|reader| {
            let begin = end(text)?;
            text.push_str(reader.text()?);
            Ok(begin..end(text)?)
        })
    }

    /// Reads a state: its current value, and its value without `$set_once`.
    fn values<T: Clone>(
        &mut self,
        mut value: impl FnMut(&mut Self) -> Decoded<T>,
    ) -> Decoded<[Option<T>; 2]> {
        Ok(match self.byte()? {
            0 => [None, None],
            1 => {
                let value = value(self)?;
                [Some(value.clone()), Some(value)]
            }
            2 => [Some(value(self)?), None],
            3 => [None, Some(value(self)?)],
            4 => [Some(value(self)?), Some(value(self)?)],
            _ => return Err(Corrupt),
        })
    }
}
