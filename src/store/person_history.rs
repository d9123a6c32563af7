//! All rows of one person in family `history`, in memory, where they are found by comparing numbers instead of
//! keys.

use super::packed::Packed;
use super::{Family, Result, corrupt, keys};
use crate::person::{Class, Place, PropertyId};

/// The rows of a person, by property, class and place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PersonHistory {
    /// In the order of their numbers.
    properties: Vec<(PropertyId, Vec<HistoryRow>)>,
    bytes: usize,
}

/// A row without the part of its key that all rows of the property share.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HistoryRow {
    class: Class,
    place: Place,
    /// Encoded, as most rows are only compared by place.
    value: Box<[u8]>,
}

/// What allocations take beside what is in them, in bytes: about half of the next size of the allocator.
const SPARE: usize = 16;

impl HistoryRow {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.value.len() + SPARE
    }
}

impl PersonHistory {
    /// Takes the rows over from the store.
    ///
    /// # Errors
    /// If a key is damaged.
    pub fn of(rows: &Packed) -> Result<Self> {
        let mut history = Self::default();
        for (key, value) in (0..rows.len()).map(|at| rows.row(at)) {
            history.put_at(key, Some(value))?;
        }
        Ok(history)
    }

    /// Adds or replaces the row at a key; `None` removes it.
    ///
    /// # Errors
    /// If the key is damaged.
    pub fn put_at(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        let (property, class) = keys::property_and_class_of(key).ok_or(corrupt(Family::History))?;
        let place = keys::place_of(key).ok_or(corrupt(Family::History))?;
        self.put(property, class, place, value);
        Ok(())
    }

    /// Adds or replaces a row; `None` removes it.
    pub fn put(&mut self, property: PropertyId, class: Class, place: Place, value: Option<&[u8]>) {
        let found = match self.properties.last() {
            // Rows come in order when they are read from the store.
            Some((last, _)) if *last == property => Ok(self.properties.len() - 1),
            _ => self.properties.binary_search_by_key(&property, |(number, _)| *number),
        };
        let index = match (found, value) {
            (Ok(index), _) => index,
            (Err(_), None) => return,
            (Err(index), Some(_)) => {
                // Most properties have one row.
                self.properties.insert(index, (property, Vec::with_capacity(1)));
                self.bytes += size_of::<(PropertyId, Vec<HistoryRow>)>() + SPARE;
                index
            }
        };
        let rows = &mut self.properties[index].1;
        let at = rows.partition_point(|row| (row.class, row.place) < (class, place));
        if rows.get(at).is_some_and(|row| (row.class, row.place) == (class, place)) {
            self.bytes -= rows.remove(at).bytes();
        }
        if let Some(value) = value {
            let row = HistoryRow { class, place, value: value.into() };
            self.bytes += row.bytes();
            rows.insert(at, row);
        }
    }

    /// Returns the newest row of a class at or before a place, and its value as it is stored.
    #[must_use]
    pub fn last(&self, property: PropertyId, class: Class, until: Place) -> Option<(Place, &[u8])> {
        let rows = self.rows(property);
        let after = rows.partition_point(|row| (row.class, row.place) <= (class, until));
        Self::of_class(rows.get(after.checked_sub(1)?)?, class)
    }

    /// Returns the oldest row of a class after a place, or with `None` the oldest of all.
    #[must_use]
    pub fn first(
        &self,
        property: PropertyId,
        class: Class,
        after: Option<Place>,
    ) -> Option<(Place, &[u8])> {
        let rows = self.rows(property);
        let at = rows.partition_point(|row| (row.class, Some(row.place)) <= (class, after));
        Self::of_class(rows.get(at)?, class)
    }

    /// Returns the memory that it takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn rows(&self, property: PropertyId) -> &[HistoryRow] {
        let found = self.properties.binary_search_by_key(&property, |(number, _)| *number);
        found.map_or(&[], |index| &self.properties[index].1)
    }

    fn of_class(row: &HistoryRow, class: Class) -> Option<(Place, &[u8])> {
        (row.class == class).then_some((row.place, &row.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::person::{Position, Time};

    fn place(time: i64, offset: u64) -> Place {
        Place { time: Time(time), position: Position { topic: 0, partition: 0, offset } }
    }

    #[test]
    fn rows_are_found_by_property_class_and_place() {
        let mut packed = Packed::default();
        let rows = [
            (2, Class::Anchor, 5),
            (2, Class::Once, 3),
            (2, Class::Once, 9),
            (4, Class::Anchor, 1),
        ];
        for (property, class, time) in rows {
            let key = keys::at(keys::class(1, 7, property, class), place(time, 1));
            packed.push((&key, &time.to_be_bytes()));
        }
        let history = PersonHistory::of(&packed).unwrap();
        let time = |found: Option<(Place, &[u8])>| {
            found.map(|(place, value)| {
                assert_eq!(value, place.time.0.to_be_bytes());
                place.time.0
            })
        };
        let last = |property, class, until| time(history.last(property, class, until));
        assert_eq!(last(2, Class::Once, place(9, 0)), Some(3), "just before a row");
        assert_eq!(last(2, Class::Once, place(9, 1)), Some(9), "at it");
        assert_eq!(last(2, Class::Once, place(3, 0)), None, "the row before is of another class");
        assert_eq!(last(3, Class::Anchor, Place::MAX), None);
        assert_eq!(last(4, Class::Anchor, Place::MAX), Some(1));
        let first = |property, class, after| time(history.first(property, class, after));
        assert_eq!(first(2, Class::Once, None), Some(3));
        assert_eq!(first(2, Class::Once, Some(place(3, 1))), Some(9));
        assert_eq!(first(2, Class::Once, Some(place(9, 1))), None);
        assert_eq!(first(2, Class::Anchor, Some(place(5, 1))), None, "the row after is of another");
        assert_eq!(first(1, Class::Anchor, None), None);
    }

    #[test]
    fn the_memory_of_rows_is_counted_as_they_come_and_go() {
        let mut history = PersonHistory::default();
        history.put(2, Class::Once, place(1, 1), None);
        assert_eq!(history, PersonHistory::default());
        history.put(2, Class::Once, place(1, 1), Some(b"long value"));
        let long = history.bytes();
        history.put(2, Class::Once, place(1, 1), Some(b"short"));
        assert_eq!(history.bytes(), long - 5);
        history.put(2, Class::Once, place(1, 1), None);
        let empty = size_of::<(PropertyId, Vec<HistoryRow>)>() + SPARE;
        assert_eq!((history.bytes(), history.last(2, Class::Once, Place::MAX)), (empty, None));
        let damaged = history.put_at(b"no key of a history", None);
        assert!(damaged.is_err());
    }
}
