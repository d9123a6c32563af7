//! Whole columns and distinct ids in memory, where a scan takes nanoseconds per row.

use std::borrow::Cow;
use std::hash::BuildHasher as _;
use std::ops::Range;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::Result;
use super::staged::RowChanges;
use crate::person::{Needle, PersonId, Value, lowercase};

/// A column with at most this many values looks new ones up among them when changes are applied. With more,
/// the table for that is not built, and a new value is added even if the column has an equal one.
const FEW_VALUES: usize = if cfg!(test) { 4 } else { 4096 };

/// The size of a person's id and the code of its value, in bytes.
const ROW: usize = size_of::<PersonId>() + size_of::<u32>();

/// Follows every text, as no text contains it.
const END: u8 = u8::MAX;

/// Texts in one piece of memory, one after the other, which are searched in one go.
#[derive(Clone, Default)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Texts {
    /// Returns a copy with room for more texts and more of their bytes.
    fn with_room(&self, texts: usize, bytes: usize) -> Self {
        let mut roomy = Self {
            bytes: Vec::with_capacity(self.bytes.len() + bytes + texts),
            ends: Vec::with_capacity(self.ends.len() + texts),
        };
        roomy.bytes.extend_from_slice(&self.bytes);
        roomy.ends.extend_from_slice(&self.ends);
        roomy
    }

    /// Adds a text and returns its number; `None` if numbers or offsets would exceed 32 bits.
    fn push(&mut self, text: &[u8]) -> Option<u32> {
        let end = u32::try_from(self.bytes.len() + text.len() + 1).ok()?;
        let number = u32::try_from(self.ends.len()).ok()?;
        self.bytes.extend_from_slice(text);
        self.bytes.push(END);
        self.ends.push(end);
        Some(number)
    }

    fn get(&self, number: usize) -> &[u8] {
        let from = number.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.bytes[from..self.ends[number] as usize - 1]
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|number| self.get(number))
    }

    /// Returns the numbers of the texts that contain `needle`, in order.
    fn having(&self, needle: &Needle) -> Vec<u32> {
        let (mut found, mut from) = (Vec::new(), 0);
        while let Some(at) = self.bytes.get(from..).and_then(|rest| needle.find(rest)) {
            let number = self.ends.partition_point(|end| *end as usize <= from + at);
            let (Some(end), Ok(number)) = (self.ends.get(number), u32::try_from(number)) else {
                break;
            };
            found.push(number);
            from = *end as usize;
        }
        found
    }

    fn shrink_to_fit(&mut self) {
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// Returns how many of the allocated [`Texts::bytes`] are in use.
    fn used(&self) -> usize {
        self.bytes.len() + self.ends.len() * size_of::<u32>()
    }

    fn bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<u32>()
    }
}

/// Texts that are searched for a part of their lowercase form. Most are in lowercase as they are.
#[derive(Clone, Default)]
struct Searchable {
    texts: Texts,
    /// The numbers of the others, in order.
    others: Vec<u32>,
    /// What is searched instead of each of the others.
    lowercase: Texts,
}

impl Searchable {
    /// Returns a copy with room for more texts and more of their bytes.
    fn with_room(&self, texts: usize, bytes: usize) -> Self {
        let (others, lowercase) = (self.others.clone(), self.lowercase.clone());
        Self { texts: self.texts.with_room(texts, bytes), others, lowercase }
    }

    /// Adds a text, of which `read` returns what it says, and returns its number. `None` if numbers or offsets would
    /// exceed 32 bits.
    fn push<'t>(
        &mut self,
        text: &'t [u8],
        read: impl FnOnce(&'t str) -> Cow<'t, str>,
    ) -> Option<u32> {
        let number = self.texts.push(text)?;
        let is_lowercase =
            |byte: &u8| byte.is_ascii() && !byte.is_ascii_uppercase() && *byte != b'\\';
        if !text.iter().all(is_lowercase) {
            self.others.push(number);
            let said = std::str::from_utf8(text).map(read).unwrap_or_default();
            self.lowercase.push(lowercase(&said).as_bytes())?;
        }
        Some(number)
    }

    /// Returns the numbers of the texts that contain `needle`, in order.
    fn having(&self, needle: &Needle) -> Vec<u32> {
        let mut found = self.texts.having(needle);
        if !self.others.is_empty() {
            found.retain(|number| self.others.binary_search(number).is_err());
            let others = self.lowercase.having(needle).into_iter();
            found.extend(others.map(|other| self.others[other as usize]));
            found.sort_unstable();
        }
        found
    }

    fn shrink_to_fit(&mut self) {
        self.texts.shrink_to_fit();
        self.others.shrink_to_fit();
        self.lowercase.shrink_to_fit();
    }

    /// Returns how many of the allocated [`Searchable::bytes`] are in use.
    fn used(&self) -> usize {
        self.texts.used() + self.others.len() * size_of::<u32>() + self.lowercase.used()
    }

    fn bytes(&self) -> usize {
        self.texts.bytes() + self.others.capacity() * size_of::<u32>() + self.lowercase.bytes()
    }
}

/// The rows of a column, in the order of the persons.
pub struct MemoryColumn {
    persons: Vec<PersonId>,
    /// The code of each person's value, which is its number in `values`.
    codes: Vec<u32>,
    /// The values as JSON.
    values: Searchable,
}

/// Assigns codes to values while a column is built or changed.
struct Coding {
    values: Searchable,
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Coding {
    fn of(values: Searchable) -> Self {
        let (hasher, mut numbers) = (DefaultHashBuilder::default(), HashTable::new());
        let texts = &values.texts;
        if texts.len() <= FEW_VALUES {
            for (number, value) in (0..).zip(texts.iter()) {
                let hash = |number: &u32| hasher.hash_one(texts.get(*number as usize));
                numbers.insert_unique(hasher.hash_one(value), number, hash);
            }
        }
        Self { values, numbers, hasher }
    }

    fn code(&mut self, row: &[u8]) -> Option<u32> {
        let Self { values, numbers, hasher } = self;
        let hash = hasher.hash_one(row);
        let is_row = |number: &u32| values.texts.get(*number as usize) == row;
        if let Some(number) = numbers.find(hash, is_row) {
            return Some(*number);
        }
        let number = values.push(row, |json| Value::from_json(json).text().into_owned().into())?;
        let texts = &values.texts;
        numbers.insert_unique(hash, number, |number| hasher.hash_one(texts.get(*number as usize)));
        Some(number)
    }
}

impl MemoryColumn {
    /// Builds a column from its rows, which come in the order of the persons; `None` if they take more than
    /// `most` bytes.
    pub fn of(
        mut next: impl FnMut() -> Result<Option<(PersonId, Vec<u8>)>>,
        most: usize,
    ) -> Result<Option<Self>> {
        let (mut persons, mut codes) = (Vec::new(), Vec::new());
        let mut coding = Coding::of(Searchable::default());
        while let Some((person, row)) = next()? {
            let Some(code) = coding.code(&row) else { return Ok(None) };
            persons.push(person);
            codes.push(code);
            if persons.len() * ROW + coding.values.used() > most {
                return Ok(None);
            }
        }
        persons.shrink_to_fit();
        codes.shrink_to_fit();
        coding.values.shrink_to_fit();
        Ok(Some(Self { persons, codes, values: coding.values }))
    }

    /// Returns the column with changes applied, whose keys end in the person. `None` if the values do not
    /// fit, or too many of them are no longer used; the column then has to be read again.
    pub fn with(&self, changes: &RowChanges) -> Option<Self> {
        let room = self.persons.len() + changes.len();
        let (mut persons, mut codes) = (Vec::with_capacity(room), Vec::with_capacity(room));
        // Room is reserved up front: growing by doubling could take twice the memory, and the cache would not
        // keep the column for that.
        let bytes = changes.values().flatten().map(Vec::len).sum();
        let mut coding = Coding::of(self.values.with_room(changes.len(), bytes));
        let mut next = 0;
        for (key, row) in changes {
            let person = PersonId::from_be_bytes(*key.last_chunk()?);
            let end = next + self.persons[next..].partition_point(|at| *at < person);
            persons.extend_from_slice(&self.persons[next..end]);
            codes.extend_from_slice(&self.codes[next..end]);
            next = end + usize::from(self.persons.get(end) == Some(&person));
            if let Some(row) = row {
                persons.push(person);
                codes.push(coding.code(row)?);
            }
        }
        persons.extend_from_slice(&self.persons[next..]);
        codes.extend_from_slice(&self.codes[next..]);
        let is_worn = coding.values.texts.len() > 2 * persons.len() + FEW_VALUES;
        (!is_worn).then_some(Self { persons, codes, values: coding.values })
    }

    /// Returns the memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.persons.capacity() * ROW + self.values.bytes()
    }

    /// Returns the range of rows whose persons are in a range of ids.
    pub fn range(&self, persons: &Range<PersonId>) -> Range<usize> {
        let from = self.persons.partition_point(|person| *person < persons.start);
        let until = self.persons.partition_point(|person| *person < persons.end);
        from..until.max(from)
    }

    /// Returns the person of a row.
    pub fn person(&self, at: usize) -> PersonId {
        self.persons[at]
    }

    /// Returns the value of a row as stored; empty if it is too long for a column.
    pub fn row(&self, at: usize) -> &[u8] {
        self.values.texts.get(self.codes[at] as usize)
    }

    /// Returns the code of a row's value. Rows with the same code have the same value; equal values mostly,
    /// but not always, have the same code. `None` if the value is too long for a column.
    pub fn code(&self, at: usize) -> Option<usize> {
        (!self.row(at).is_empty()).then(|| self.codes[at] as usize)
    }

    /// Returns the first row in `among` whose person is not before `person`; its end if there is none.
    pub fn first_not_before(&self, person: PersonId, among: Range<usize>) -> usize {
        among.start + self.persons[among].partition_point(|at| *at < person)
    }

    /// Returns how many persons have each value, and the persons whose values are too long for a column. A
    /// value with several codes is returned once for each.
    pub fn counted(&self) -> (Vec<(&[u8], u64)>, Vec<PersonId>) {
        let (mut counts, mut long) = (vec![0; self.values.texts.len()], Vec::new());
        for at in 0..self.persons.len() {
            match self.code(at) {
                Some(code) => counts[code] += 1,
                None => long.push(self.persons[at]),
            }
        }
        let counted = self.values.texts.iter().zip(counts).filter(|(_, count)| *count > 0);
        (counted.collect(), long)
    }

    /// Returns the persons whose value's text contains `needle`, in order. `long` decides for values that are
    /// too long for a column.
    pub fn having(
        &self,
        needle: &Needle,
        mut long: impl FnMut(PersonId) -> Result<bool>,
    ) -> Result<Vec<PersonId>> {
        let texts = &self.values.texts;
        // A string in lowercase is searched with its quotes, which are not part of its text.
        let has_quote = !needle.is_of(|byte| byte != b'"');
        let is_wanted = |json: &[u8]| match json.first() {
            // A null never matches, although its JSON text is `null`.
            Some(b'n') => false,
            Some(b'"') => !has_quote || json.contains(&b'\\'),
            _ => true,
        };
        let mut wanted = vec![Some(false); texts.len()];
        for number in self.values.having(needle) {
            wanted[number as usize] = Some(is_wanted(texts.get(number as usize)));
        }
        for (wanted, _) in wanted.iter_mut().zip(texts.iter()).filter(|(_, json)| json.is_empty()) {
            *wanted = None;
        }
        let mut found = Vec::new();
        for (person, code) in self.persons.iter().zip(&self.codes) {
            let is_wanted = match wanted[*code as usize] {
                Some(is_wanted) => is_wanted,
                None => long(*person)?,
            };
            if is_wanted {
                found.push(*person);
            }
        }
        Ok(found)
    }
}

/// The distinct ids of a project, in order.
pub struct MemoryIds(Searchable);

impl MemoryIds {
    /// Builds this from distinct ids, which come in order; `None` if they take more than `most` bytes.
    pub fn of(
        mut next: impl FnMut() -> Result<Option<Vec<u8>>>,
        most: usize,
    ) -> Result<Option<Self>> {
        let mut ids = Searchable::default();
        while let Some(id) = next()? {
            if ids.push(&id, Cow::Borrowed).is_none() || ids.used() > most {
                return Ok(None);
            }
        }
        ids.shrink_to_fit();
        Ok(Some(Self(ids)))
    }

    /// Returns the distinct ids with changes applied, whose keys are distinct ids. `None` if they do not fit.
    pub fn with(&self, changes: &RowChanges) -> Option<Self> {
        let mut ids = Searchable::default();
        let mut old = self.0.texts.iter().peekable();
        for (id, row) in changes {
            while let Some(before) = old.next_if(|old| *old < &id[..]) {
                ids.push(before, Cow::Borrowed)?;
            }
            _ = old.next_if(|old| *old == &id[..]);
            if row.is_some() {
                ids.push(id, Cow::Borrowed)?;
            }
        }
        for rest in old {
            ids.push(rest, Cow::Borrowed)?;
        }
        ids.shrink_to_fit();
        Some(Self(ids))
    }

    /// Returns the memory that they take, in bytes.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// Returns the distinct ids that contain `needle`, or all if it is `None`, in order.
    pub fn having(&self, needle: Option<&Needle>) -> Vec<&[u8]> {
        let Some(needle) = needle else { return self.0.texts.iter().collect() };
        let found = self.0.having(needle).into_iter();
        found.map(|number| self.0.texts.get(number as usize)).collect()
    }
}

#[cfg(test)]
mod tests;
