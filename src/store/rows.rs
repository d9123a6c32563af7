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
    /// Its rows by class and place, where they are few.
    rows: Option<Few>,
}

type Few = Vec<(Class, Stored)>;

impl<'a, 'db> Rows<'a, 'db> {
    /// The histories of the project whose lives these are.
    #[must_use]
    pub fn new(lives: LivesOf<'a>, ordered: Ordered<'a, 'db>) -> Self {
        Self { lives, ordered, read: RefCell::default() }
    }

    /// The property's rows where they are few.
    fn few(&self, person: PersonId, property: PropertyId) -> Result<Ref<'_, Option<Few>>> {
        let of = Some((person, property));
        if self.read.borrow().of != of {
            let rows =
                self.ordered.all(&keys::property(self.lives.project, person, property), FEW)?;
            let decoded = |row: KeyValue| {
                let key = keys::property_and_class_of(&row.0);
                let (_, class) = key.ok_or(corrupt(Family::History))?;
                Ok((class, decode(&row)?))
            };
            let rows = rows.map(|rows| rows.into_iter().map(decoded).collect::<Result<_>>());
            *self.read.borrow_mut() = Property { of, rows: rows.transpose()? };
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
        if let Some(rows) = self.few(person, property)?.as_ref() {
            let mut rows = rows.iter().rev();
            let row = rows.find(|(of, row)| *of == class && row.place <= until);
            return Ok(row.map(|(_, row)| row.clone()));
        }
        let prefix = keys::class(self.lives.project, person, property, class);
        let key = keys::at(prefix.clone(), until);
        self.ordered.last(&prefix, &key)?.map(|row| decode(&row)).transpose()
    }

    fn first(
        &self,
        person: PersonId,
        property: PropertyId,
        class: Class,
        after: Option<Place>,
    ) -> Result<Option<Stored>> {
        if let Some(rows) = self.few(person, property)?.as_ref() {
            let is_after = |row: &Stored| after.is_none_or(|after| row.place > after);
            let row = rows.iter().find(|(of, row)| *of == class && is_after(row));
            return Ok(row.map(|(_, row)| row.clone()));
        }
        let prefix = keys::class(self.lives.project, person, property, class);
        let mut key = prefix.clone();
        if let Some(after) = after {
            // The least key that is greater.
            key = keys::at(key, after);
            key.push(0);
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
