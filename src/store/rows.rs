//! The history of one project's persons, as the fold wants to read it.

use std::cell::{Ref, RefCell};

use super::lives::LivesOf;
use super::staged::{KeyValue, Ordered};
use super::{Error, Family, Result, codec, corrupt, keys};
use crate::person::{Class, Histories, Life, PersonId, Place, PropertyId, Stored};

/// A property with at most so many rows is read whole, which is cheaper than seeking in it. Tests
/// have short histories and must come by both ways.
const FEW: usize = if cfg!(test) { 2 } else { 24 };

/// Rows of family `history`. Rows that are staged later do not show: take a new one for those.
pub struct Rows<'a, 'db> {
    lives: LivesOf<'a>,
    ordered: Ordered<'a, 'db>,
    read: RefCell<Property>,
}

/// The property read last.
#[derive(Default)]
struct Property {
    of: Option<(PersonId, PropertyId)>,
    /// Its rows in order, where they are few. Most are looked at by their keys only.
    rows: Option<Vec<KeyValue>>,
}

impl<'a, 'db> Rows<'a, 'db> {
    /// The histories of the project whose lives these are.
    #[must_use]
    pub fn new(lives: LivesOf<'a>, ordered: Ordered<'a, 'db>) -> Self {
        Self { lives, ordered, read: RefCell::default() }
    }

    /// The property's rows where they are few.
    fn few(
        &self,
        person: PersonId,
        property: PropertyId,
    ) -> Result<Ref<'_, Option<Vec<KeyValue>>>> {
        let of = Some((person, property));
        if self.read.borrow().of != of {
            let prefix = keys::property(self.lives.project, person, property);
            let held = self.ordered.holds(&prefix)?;
            let rows = if held { None } else { self.ordered.all(&prefix, FEW)? };
            *self.read.borrow_mut() = Property { of, rows };
        }
        Ok(Ref::map(self.read.borrow(), |read| &read.rows))
    }
}

impl Histories for Rows<'_, '_> {
    type Error = Error;

    fn last(
        &self,
        person: PersonId,
        property: PropertyId,
        class: Class,
        until: Place,
    ) -> Result<Option<Stored>> {
        let prefix = keys::class(self.lives.project, person, property, class);
        let key = keys::at(prefix.clone(), until);
        if let Some(rows) = self.few(person, property)?.as_ref() {
            let row = rows[..rows.partition_point(|(at, _)| *at <= key)].last();
            return row.filter(|(key, _)| key.starts_with(&prefix)).map(decode).transpose();
        }
        self.ordered.last(&prefix, &key)?.map(|row| decode(&row)).transpose()
    }

    fn first(
        &self,
        person: PersonId,
        property: PropertyId,
        class: Class,
        after: Option<Place>,
    ) -> Result<Option<Stored>> {
        let prefix = keys::class(self.lives.project, person, property, class);
        let mut key = prefix.clone();
        if let Some(after) = after {
            // The least key that is greater.
            key = keys::at(key, after);
            key.push(0);
        }
        if let Some(rows) = self.few(person, property)?.as_ref() {
            let row = rows.get(rows.partition_point(|(at, _)| *at < key));
            return row.filter(|(key, _)| key.starts_with(&prefix)).map(decode).transpose();
        }
        self.ordered.first(&prefix, &key)?.map(|row| decode(&row)).transpose()
    }

    fn lives_on(&self, life: Life) -> Result<Option<Place>> {
        self.lives.lives_on(life)
    }
}

/// A row of family `history`.
pub fn decode((key, value): &KeyValue) -> Result<Stored> {
    let place = keys::place_of(key).ok_or(corrupt(Family::History))?;
    codec::decode_row(place, value).map_err(|_| corrupt(Family::History))
}
