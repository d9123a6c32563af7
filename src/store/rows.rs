//! The history of one project's persons, as the fold wants to read it.

use std::cell::RefCell;

use super::lives::LivesOf;
use super::staged::{KeyValue, Ordered, Within};
use super::{Error, Family, Result, codec, corrupt, keys};
use crate::person::{Class, Histories, Life, PersonId, Place, PropertyId, Stored};

/// A property with at most so many rows is read whole, which is cheaper than seeking in it. Tests
/// have short histories and must come by both ways.
const FEW: usize = if cfg!(test) { 2 } else { 24 };

/// Rows of family `history`. Rows that are staged later do not show: take a new one for those.
pub struct Rows<'a, 'db> {
    lives: LivesOf<'a>,
    ordered: Ordered<'a, 'db>,
    /// What there is of the property read last. Most rows are looked at by their keys only.
    read: RefCell<Option<(PersonId, PropertyId, Within)>>,
}

impl<'a, 'db> Rows<'a, 'db> {
    /// The histories of the project whose lives these are.
    #[must_use]
    pub fn new(lives: LivesOf<'a>, ordered: Ordered<'a, 'db>) -> Self {
        Self { lives, ordered, read: RefCell::default() }
    }

    /// Answers out of what there is of a property.
    fn read<T>(
        &self,
        person: PersonId,
        property: PropertyId,
        answer: impl FnOnce(&Within) -> Result<T>,
    ) -> Result<T> {
        let mut read = self.read.borrow_mut();
        let within = match read.take() {
            Some((of, which, within)) if (of, which) == (person, property) => within,
            _ => self.ordered.within(&keys::property(self.lives.project, person, property), FEW)?,
        };
        let (_, _, within) = read.insert((person, property, within));
        answer(within)
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
        let class = keys::class(self.lives.project, person, property, class);
        let length = class.len();
        let key = keys::at(class, until);
        let class = &key[..length];
        self.read(person, property, |within| match within {
            Within::Few(rows) => {
                let row = rows[..rows.partition_point(|(at, _)| *at <= key)].last();
                row.filter(|(key, _)| key.starts_with(class)).map(decode).transpose()
            }
            Within::Many(span) => {
                self.ordered.last_of(span, class, &key)?.as_ref().map(decode).transpose()
            }
        })
    }

    fn first(
        &self,
        person: PersonId,
        property: PropertyId,
        class: Class,
        after: Option<Place>,
    ) -> Result<Option<Stored>> {
        let mut key = keys::class(self.lives.project, person, property, class);
        let length = key.len();
        if let Some(after) = after {
            // The least key that is greater.
            key = keys::at(key, after);
            key.push(0);
        }
        let class = &key[..length];
        self.read(person, property, |within| match within {
            Within::Few(rows) => {
                let row = rows.get(rows.partition_point(|(at, _)| *at < key));
                row.filter(|(key, _)| key.starts_with(class)).map(decode).transpose()
            }
            Within::Many(span) => {
                self.ordered.first_of(span, class, &key)?.as_ref().map(decode).transpose()
            }
        })
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
