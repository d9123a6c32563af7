//! What the operations on a person changed, one by one.

use std::collections::BTreeSet;

use super::rows::Rows;
use super::snapshot::{Moment, Snapshot};
use super::staged::{Committed, Ordered};
use super::walk::Walk;
use super::{Error, Family, Operation, Result, codec, decode, keys};
use crate::person::{
    Class, Head, Histories, Mode, PersonId, Place, ProjectId, PropertyId, Time, Value, history,
};

/// An operation and what it changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationDiff {
    /// Its place in the timeline.
    pub place: Place,
    /// The operation.
    pub operation: Operation,
    /// The properties whose value it changed.
    pub changes: Vec<PropertyDiff>,
}

/// One property before and after an operation, with `$set_once` included. `None` means absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertyDiff {
    /// The property.
    pub property: PropertyId,
    /// Its value before.
    pub before: Option<Value>,
    /// Its value after.
    pub after: Option<Value>,
}

/// A query for the operations of one person.
#[derive(Clone, Copy, Debug)]
pub struct OperationQuery {
    /// From this event time on.
    pub from: Time,
    /// Up to and including this place.
    pub until: Place,
    /// Only those that touched this property.
    pub property: Option<PropertyId>,
    /// The most operations to return.
    pub limit: usize,
}

impl Snapshot<'_> {
    /// Returns operations on a person, newest first, with what each changed. The cost depends on the number
    /// of operations returned, whether or not they are limited to one property.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn operation_diffs(
        &self,
        project: ProjectId,
        (id, head): (PersonId, &Head),
        asked: OperationQuery,
    ) -> Result<Vec<OperationDiff>> {
        let iterator = Committed::new(Walk::new(self, Family::History));
        let rows = Rows::new(self.lives(project), Ordered::new(&iterator));
        let mut found = Vec::new();
        let mut each = |place, operation: Operation| {
            let of = asked.property.map(|property| BTreeSet::from([property]));
            let of = of.map_or_else(|| touched(&rows, (id, head), place, &operation), Ok)?;
            let moment = Moment { time: place.time, known: Time::MAX };
            let after = rows.lives_on(self.life_at(project, (id, head), moment)?)?;
            let mut changes = Vec::new();
            for property in of {
                let at = |until: Option<Place>| {
                    let Some(until) = until else { return Ok(None) };
                    let known = Time::MAX;
                    let query = history::Query { person: id, property, after, until, known };
                    history::value(&rows, query, Mode::WithOnce)
                };
                let (before, after) = (at(place.before())?, at(Some(place))?);
                if before != after {
                    changes.push(PropertyDiff { property, before, after });
                }
            }
            found.push(OperationDiff { place, operation, changes });
            Ok::<_, Error>(found.len() < asked.limit)
        };
        if let Some(property) = asked.property {
            let mut until = Some(asked.until);
            while let Some(place) = until {
                let Some(place) = newest(&rows, id, property, place)? else { break };
                if place.time < asked.from || !each(place, self.operation(project, id, place)?)? {
                    break;
                }
                until = place.before();
            }
        } else {
            let known = Time::MAX;
            self.each_operation_until(project, id, asked.until, known, |place, operation| {
                Ok(place.time >= asked.from && each(place, operation)?)
            })?;
        }
        Ok(found)
    }

    /// Returns the operation at a place of a person's timeline, where one must exist.
    pub(super) fn operation(
        &self,
        project: ProjectId,
        id: PersonId,
        place: Place,
    ) -> Result<Operation> {
        let key = keys::at(keys::person(project, id), place);
        let bytes = self.get(Family::Timeline, &key)?;
        let bytes = bytes.ok_or(Error::Broken("a row has no operation"))?;
        decode(|bytes| codec::decode_operation(place, bytes), &bytes, Family::Timeline)
    }
}

/// The properties that an operation may have changed.
fn touched(
    rows: &Rows<'_, '_>,
    (id, head): (PersonId, &Head),
    place: Place,
    operation: &Operation,
) -> Result<BTreeSet<PropertyId>> {
    let mut touched: BTreeSet<_> =
        operation.effects.iter().map(|(property, _)| *property).collect();
    if operation.merged.is_some() {
        for (property, _) in head.properties() {
            for class in Class::MERGES {
                if rows.at(id, property, class, place)?.is_some() {
                    touched.insert(property);
                }
            }
        }
    }
    Ok(touched)
}

/// Returns the place of the newest row of a property at or before a place.
fn newest(
    rows: &Rows<'_, '_>,
    person: PersonId,
    property: PropertyId,
    until: Place,
) -> Result<Option<Place>> {
    let mut newest = None;
    for class in Class::ALL {
        let row = rows.last(person, property, class, until)?;
        newest = newest.max(row.map(|row| row.place));
    }
    Ok(newest)
}
