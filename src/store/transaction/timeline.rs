//! How a transaction reads and writes histories and timelines.

use uuid::Uuid;

use super::Transaction;
use crate::person::{Class, Histories as _, PersonId, Place, ProjectId, PropertyId, Stored, Time};
use crate::store::rows::Rows;
use crate::store::{Family, Operation, Result, codec, corrupt, decode, keys};

impl<'s> Transaction<'s> {
    /// The history of a project's persons, staged rows included.
    #[must_use]
    pub fn rows(&self, project: ProjectId) -> Rows<'_, 's> {
        let ordered = self.ordered(&self.history, |changes| &changes.history);
        Rows::new(self.lives(project), ordered).with_cache(&self.history_cache)
    }

    /// Returns the history of one person, staged rows included, to read properties that changed
    /// after the moment asked for.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn rows_of_changed(
        &mut self,
        project: ProjectId,
        person: PersonId,
    ) -> Result<Rows<'_, 's>> {
        let operations = self.head(project, person)?.version;
        let ordered = self.ordered(&self.history, |changes| &changes.history);
        let rows = Rows::of_changed(self.lives(project), ordered, operations);
        Ok(rows.with_cache(&self.history_cache))
    }

    /// Adds a row to a property's history.
    pub fn put_row(
        &mut self,
        project: ProjectId,
        person: PersonId,
        property: PropertyId,
        stored: &Stored,
    ) {
        let (class, place) = (stored.row.class(), stored.place);
        self.write_row((project, person), property, class, place, Some(codec::encode_row(stored)));
    }

    /// Removes a row from a property's history.
    pub fn remove_row(
        &mut self,
        project: ProjectId,
        person: PersonId,
        property: PropertyId,
        class: Class,
        place: Place,
    ) {
        self.write_row((project, person), property, class, place, None);
    }

    fn write_row(
        &mut self,
        of @ (project, person): (ProjectId, PersonId),
        property: PropertyId,
        class: Class,
        place: Place,
        row: Option<Vec<u8>>,
    ) {
        self.history_cache.get_mut().put(of, property, class, place, row.as_deref());
        let key = keys::at(keys::class(project, person, property, class), place);
        self.working.put(Family::History, key, row);
    }

    /// The rows of one class of a property after a place, oldest first.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn rows_after(
        &self,
        project: ProjectId,
        person: PersonId,
        property: PropertyId,
        class: Class,
        after: Place,
    ) -> Result<Vec<Stored>> {
        let rows = self.rows(project);
        let (mut found, mut after) = (Vec::new(), after);
        while let Some(row) = rows.first(person, property, class, Some(after))? {
            after = row.place;
            found.push(row);
        }
        Ok(found)
    }

    /// Adds an operation to a person's timeline.
    pub fn put_operation(
        &mut self,
        project: ProjectId,
        person: PersonId,
        place: Place,
        operation: &Operation,
    ) {
        let key = keys::at(keys::person(project, person), place);
        self.working.put(Family::Timeline, key, Some(codec::encode_operation(place, operation)));
    }

    /// The newest operation of a person's timeline at or before a place.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn last_operation(
        &self,
        project: ProjectId,
        person: PersonId,
        until: Place,
    ) -> Result<Option<(Place, Operation)>> {
        let prefix = keys::person(project, person);
        let key = keys::at(prefix.clone(), until);
        let found =
            self.ordered(&self.timeline, |changes| &changes.timeline).last(&prefix, &key)?;
        found
            .map(|(key, value)| {
                let place = keys::place_of(&key).ok_or(corrupt(Family::Timeline))?;
                let operation =
                    decode(|value| codec::decode_operation(place, value), &value, Family::Timeline);
                Ok((place, operation?))
            })
            .transpose()
    }

    /// Whether an event is recorded on a person.
    ///
    /// # Errors
    /// If the store fails.
    pub fn is_recorded(
        &self,
        project: ProjectId,
        person: PersonId,
        event_time: Time,
        uuid: Uuid,
    ) -> Result<bool> {
        let key = keys::recorded(project, person, event_time, uuid);
        for changes in self.changes() {
            if changes.recorded.contains(&key) {
                return Ok(true);
            }
            if changes.erased.contains(&key[..keys::PERSON_BYTES]) {
                return Ok(false);
            }
        }
        if let Some(is_recorded) = self.looked_up.get(&key) {
            return Ok(*is_recorded);
        }
        Ok(self.store.get(Family::Recorded, &key)?.is_some())
    }

    /// Notes on `target` the events after a time that are recorded on `source`.
    ///
    /// # Errors
    /// If the store fails.
    pub fn copy_recorded(
        &mut self,
        project: ProjectId,
        source: PersonId,
        target: PersonId,
        after: Time,
    ) -> Result<()> {
        let (of, into) = (keys::person(project, source), keys::person(project, target));
        let from = keys::recorded(project, source, after.plus(1), Uuid::nil());
        let mut found = Vec::new();
        let mut is_erased = false;
        for changes in self.changes() {
            let staged = changes.recorded.range(from.clone()..);
            found.extend(staged.take_while(|key| key.starts_with(&of)).cloned());
            is_erased = changes.erased.contains(&of);
            if is_erased {
                break;
            }
        }
        if !is_erased {
            let mut rows = self.store.db.raw_iterator_cf(self.store.family(Family::Recorded));
            rows.seek(&from);
            while let Some(key) = rows.key().filter(|key| key.starts_with(&of)) {
                found.push(key.to_vec());
                rows.next();
            }
            rows.status()?;
        }
        let copies = found.iter().map(|key| [&into, &key[of.len()..]].concat());
        self.working.recorded.extend(copies);
        Ok(())
    }

    /// Notes that an event is recorded on a person.
    pub fn set_recorded(
        &mut self,
        project: ProjectId,
        person: PersonId,
        event_time: Time,
        uuid: Uuid,
    ) {
        self.working.recorded.insert(keys::recorded(project, person, event_time, uuid));
    }
}
