//! The history of one project's persons, as the fold wants to read it.

use std::cell::RefCell;

use super::staged::{KeyValue, Ordered};
use super::{Error, Family, Result, codec, corrupt, keys};
use crate::person::{Class, Histories, PersonId, Place, ProjectId, PropertyId, Stored};

/// A property with at most so many rows is read whole, which is cheaper than seeking in it. Tests
/// have short histories and must come by both ways.
const FEW: usize = if cfg!(test) { 2 } else { 24 };

/// Rows of family `history`. Rows that are staged later do not show: take a new one for those.
pub struct Rows<'a, 'db> {
    project: ProjectId,
    ordered: Ordered<'a, 'db>,
    /// The property read last.
    read: RefCell<Option<Property>>,
}

/// The rows of one property by class and place; `None` where they are more than a few.
struct Property {
    of: (PersonId, PropertyId),
    rows: Option<Vec<(Class, Stored)>>,
}

impl<'a, 'db> Rows<'a, 'db> {
    /// The histories of a project.
    #[must_use]
    pub fn new(project: ProjectId, ordered: Ordered<'a, 'db>) -> Self {
        Self { project, ordered, read: RefCell::new(None) }
    }

    /// Answers from the property's rows where they are few, else `None`.
    fn among_few(
        &self,
        of: (PersonId, PropertyId),
        pick: impl Fn(&[(Class, Stored)]) -> Option<Stored>,
    ) -> Result<Option<Option<Stored>>> {
        let mut read = self.read.borrow_mut();
        if read.as_ref().is_none_or(|property| property.of != of) {
            let rows = self.ordered.all(&keys::property(self.project, of.0, of.1), FEW)?;
            let decoded = |row: KeyValue| {
                let (_, class) =
                    keys::property_and_class_of(&row.0).ok_or(corrupt(Family::History))?;
                Ok((class, decode(&row)?))
            };
            let rows = rows.map(|rows| rows.into_iter().map(decoded).collect::<Result<_>>());
            *read = Some(Property { of, rows: rows.transpose()? });
        }
        Ok(read.as_ref().and_then(|property| property.rows.as_deref()).map(pick))
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
        let pick = |rows: &[(Class, Stored)]| {
            let mut rows = rows.iter().rev();
            let row = rows.find(|(of, row)| *of == class && row.place <= until);
            row.map(|(_, row)| row.clone())
        };
        if let Some(found) = self.among_few((person, property), pick)? {
            return Ok(found);
        }
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
        let pick = |rows: &[(Class, Stored)]| {
            let is_after = |row: &Stored| after.is_none_or(|after| row.place > after);
            let row = rows.iter().find(|(of, row)| *of == class && is_after(row));
            row.map(|(_, row)| row.clone())
        };
        if let Some(found) = self.among_few((person, property), pick)? {
            return Ok(found);
        }
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
