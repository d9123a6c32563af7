//! The operations of a timeline with the values that they brought, as `debug` and `inspect` show them.

use super::rows::Rows;
use super::snapshot::{Moment, Snapshot};
use super::staged::{Committed, Ordered};
use super::walk::Walk;
use super::{Effect, Error, Family, Operation, Result};
use crate::person::{Histories, PersonId, Place, ProjectId, PropertyId, Value};

/// An operation of a timeline, with the values that it brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationWithValues {
    /// Its place in the timeline.
    pub place: Place,
    /// The operation.
    pub operation: Operation,
    /// For each property: what was done to it, and the value that came with it, if any.
    pub effects: Vec<(PropertyId, Effect, Option<Value>)>,
}

/// The newest operations of one or more timelines, and the number of all of them.
#[derive(Default)]
pub struct NewestOperations {
    /// Newest first.
    pub shown: Vec<OperationWithValues>,
    /// The number of all operations, including those not shown.
    pub count: u64,
    bytes: usize,
}

impl NewestOperations {
    /// Returns whether another operation may be shown: at most `limit` are, and no more once they add up to
    /// `bytes` bytes.
    pub(super) fn has_room(&self, limit: usize, bytes: usize) -> bool {
        self.shown.len() < limit && self.bytes < bytes
    }

    /// Shows the next older operation of a person, with its values.
    pub(super) fn show(
        &mut self,
        rows: &Rows<'_, '_>,
        person: PersonId,
        place: Place,
        operation: Operation,
    ) -> Result<()> {
        self.bytes += operation.event.len() + operation.distinct_id.len();
        let effects = operation.effects.iter().map(|&(property, effect)| {
            let row = rows.at(person, property, effect.class(), place)?;
            let row = row.ok_or(Error::Broken("an operation has no row"))?;
            let value = row.row.value();
            self.bytes += value.map_or(0, |value| value.as_json().len());
            Ok((property, effect, value.cloned()))
        });
        let effects = effects.collect::<Result<Vec<_>>>()?;
        self.shown.push(OperationWithValues { place, operation, effects });
        Ok(())
    }
}

impl Snapshot<'_> {
    /// Returns the newest operations of a person up to a moment: at most `limit`, and no more once they add up
    /// to `bytes` bytes.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn operations(
        &self,
        project: ProjectId,
        person: PersonId,
        at: Moment,
        limit: usize,
        bytes: usize,
    ) -> Result<NewestOperations> {
        let rows = Committed::new(Walk::new(self, Family::History));
        let rows = Rows::new(self.lives(project), Ordered::new(&rows));
        let mut newest = NewestOperations::default();
        self.each_operation(project, person, at, |place, operation| {
            newest.count += 1;
            if newest.has_room(limit, bytes) {
                newest.show(&rows, person, place, operation)?;
            }
            Ok(true)
        })?;
        Ok(newest)
    }
}
