//! The history of one project's persons, as the fold wants to read it.

use super::staged::{KeyValue, Ordered};
use super::{Error, Family, Result, codec, corrupt, keys};
use crate::person::{Class, Histories, PersonId, Place, ProjectId, PropertyId, Stored};

/// Rows of family `history`.
pub struct Rows<'a, 'db> {
    /// The project.
    pub project: ProjectId,
    /// The family's rows in order.
    pub ordered: Ordered<'a, 'db>,
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
        let prefix = keys::class(self.project, person, property, class);
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
        let prefix = keys::class(self.project, person, property, class);
        let mut key = prefix.clone();
        if let Some(after) = after {
            // The least key that is greater.
            key = keys::at(key, after);
            key.push(0);
        }
        self.ordered.first(&prefix, &key)?.map(|row| decode(&row)).transpose()
    }
}

/// A row of family `history`.
pub fn decode((key, value): &KeyValue) -> Result<Stored> {
    let place = keys::place_of(key).ok_or(corrupt(Family::History))?;
    codec::decode_row(place, value).map_err(|_| corrupt(Family::History))
}
