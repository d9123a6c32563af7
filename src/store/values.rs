//! The values of a property, and how many persons have each.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use super::Result;
use super::snapshot::Snapshot;
use crate::person::{Needle, PersonId, ProjectId, PropertyId, Value};

/// The most distinct values that are counted at once. Tests have few, and must cover both ways.
const COUNTED: usize = if cfg!(test) { 2 } else { 250_000 };

/// The most bytes that their texts may take.
const COUNTED_BYTES: usize = 32 << 20;

/// About how much a text takes beside its bytes.
const ENTRY: usize = 64;

/// The most shares that values are counted in.
const SHARES: u64 = 1 << 16;

/// The values whose hash modulo `of` is `remainder`.
#[derive(Clone, Copy)]
struct Share {
    remainder: u64,
    of: u64,
}

impl Share {
    fn has(self, text: &str) -> bool {
        self.of == 1 || xxh3_64(text.as_bytes()) % self.of == self.remainder
    }
}

/// The values of a property.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// Values as text, with the number of live persons that have each: the most frequent first, equally
    /// frequent ones by text.
    pub values: Vec<(String, u64)>,
    /// Whether some were left out because together they take too many bytes.
    pub left_out: bool,
}

/// A count of the values of a property.
struct Counting<'p> {
    needle: Option<&'p Needle>,
    /// Halved while there are too many values, unless all of them are wanted anyway.
    share: Share,
    is_bounded: bool,
    counts: BTreeMap<String, u64>,
    bytes: usize,
    /// The most bytes that all values may take if `is_bounded` is not set.
    most_bytes: usize,
}

impl Counting<'_> {
    /// Counts a value `times` times. Null and the empty text do not count.
    fn count(&mut self, value: &Value, times: u64) {
        let text = value.text();
        let wanted = !value.is_null() && !text.is_empty() && self.share.has(&text);
        if !wanted || self.needle.is_some_and(|needle| !needle.is_in(&text)) {
            return;
        }
        if let Some(count) = self.counts.get_mut(text.as_ref()) {
            *count += times;
            return;
        }
        self.bytes += ENTRY + text.len();
        if self.is_over() {
            return;
        }
        self.counts.insert(text.into_owned(), times);
        let is_first = self.is_bounded && self.share.remainder == 0;
        while is_first && self.is_too_much() && self.share.of < SHARES {
            self.share.of *= 2;
            let share = self.share;
            self.counts.retain(|text, _| share.has(text));
            self.bytes = self.counts.keys().map(|text| ENTRY + text.len()).sum();
        }
    }

    /// Returns whether all values are wanted, but take too many bytes; no more are added then.
    fn is_over(&self) -> bool {
        !self.is_bounded && self.bytes > self.most_bytes
    }

    fn is_too_much(&self) -> bool {
        self.counts.len() > COUNTED || self.bytes > COUNTED_BYTES
    }
}

impl Snapshot<'_> {
    /// Returns the current values of a property, at most `most`, and of these only the first ones that take
    /// `bytes` together; the first one is never left out.
    ///
    /// Very many distinct values are counted share by share, which takes more time instead of more memory.
    /// If all are wanted (`most` is `usize::MAX`), the result has all of them, or none if they take too many
    /// bytes.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn values(
        &self,
        project: ProjectId,
        key: &str,
        needle: Option<&Needle>,
        most: usize,
        bytes: usize,
    ) -> Result<Values> {
        let (mut found, mut left_out) = (Vec::new(), None);
        let Some(property) = self.store.dictionary().property(project, key) else {
            return Ok(Values::default());
        };
        let whole = self.whole(project, property)?;
        let rows = whole.as_ref().map(|whole| whole.counted());
        let mut share = Share { remainder: 0, of: 1 };
        while share.remainder < share.of {
            let (is_bounded, counts) = (most < usize::MAX, BTreeMap::new());
            let mut counting =
                Counting { needle, share, is_bounded, counts, bytes: 0, most_bytes: bytes };
            match &rows {
                None => self.each_value(project, property, |_, value| counting.count(value, 1))?,
                Some((counted, long)) => {
                    self.count_kept(project, property, counted, long, &mut counting)?;
                }
            }
            if counting.is_over() {
                return Ok(Values { values: Vec::new(), left_out: true });
            }
            found.extend(counting.counts);
            found.sort_unstable_by(|(a, of_a), (b, of_b)| {
                (Reverse(of_a), a).cmp(&(Reverse(of_b), b))
            });
            // Nothing after the first value that was left out is shown, even if it would fit.
            if let Some((text, of)) = &left_out {
                found.retain(|(other, of_other)| (Reverse(of_other), other) < (Reverse(of), text));
            }
            found.truncate(most);
            let mut room = bytes;
            let fits = |(index, (text, _)): &(usize, &(String, u64))| {
                let fits = *index == 0 || text.len() <= room;
                room = room.saturating_sub(text.len());
                fits
            };
            let fit = found.iter().enumerate().take_while(fits).count();
            left_out = found.drain(fit..).next().or(left_out);
            share = Share { remainder: share.remainder + 1, of: counting.share.of };
        }
        Ok(Values { values: found, left_out: left_out.is_some() })
    }

    /// Counts the values of a column in memory, and those that are too long to be in it.
    fn count_kept(
        &self,
        project: ProjectId,
        property: PropertyId,
        counted: &[(&[u8], u64)],
        long: &[PersonId],
        counting: &mut Counting<'_>,
    ) -> Result<()> {
        // A value that is not too long is in the row itself, so the person does not matter.
        let counted = counted.iter().map(|&(json, times)| (PersonId::MAX, json, times));
        let long = long.iter().map(|&person| (person, &[][..], 1));
        let mut ask = self.asking();
        for (person, json, times) in counted.chain(long) {
            ask()?;
            counting.count(&self.value_of(project, person, property, json)?, times);
        }
        Ok(())
    }
}
