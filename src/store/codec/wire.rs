//! Numbers, times and texts as bytes: what every value is made of.

use uuid::Uuid;

use super::{Corrupt, Decoded};
use crate::person::{Fact, Position, State, Time, Value};

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

    /// A time as its difference from another one.
    pub fn time(&mut self, time: Time, base: Time) {
        let difference = time.0.wrapping_sub(base.0);
        self.unsigned(((difference << 1) ^ (difference >> 63)).cast_unsigned());
    }

    pub fn maybe(&mut self, time: Option<Time>, base: Time) {
        self.0.push(u8::from(time.is_some()));
        if let Some(time) = time {
            self.time(time, base);
        }
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

    pub fn maybe(&mut self, base: Time) -> Decoded<Option<Time>> {
        if self.flag()? { Ok(Some(self.time(base)?)) } else { Ok(None) }
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
        let (current, set_only) = match self.byte()? {
            0 => (None, None),
            1 => {
                let value = self.value()?;
                (Some(value.clone()), Some(value))
            }
            2 => (Some(self.value()?), None),
            3 => (None, Some(self.value()?)),
            4 => (Some(self.value()?), Some(self.value()?)),
            _ => return Err(Corrupt),
        };
        Ok(State { current, set_only })
    }
}
