//! Applies the property updates of an event, and updates the heads that follow from them.

use std::convert::Infallible;

use super::{Applying, At, Kind};
use crate::person::event::Rejection;
use crate::person::history::{self, Query};
use crate::person::operation::{self, Weight};
use crate::person::{
    Action, Entries, Entry, Life, PersonId, Place, ProjectId, PropertyId, Row, Stored, Time,
    Update, entry_bytes,
};
use crate::store::{Effect, Result};

/// A change that is worth a row.
pub struct WeighedUpdate<'e> {
    /// The property.
    pub property: PropertyId,
    /// What is done to it.
    pub update: &'e Update,
    /// Whether the property has a row, or the newest life began, at or after the change: the head's entry is
    /// then read from history.
    late: bool,
    /// The property got its number for this change.
    is_new: bool,
}

/// An update that is being weighed: is it worth a row?
struct Weighing<'e> {
    /// `None` if no person of the project ever had this property.
    property: Option<PropertyId>,
    update: &'e Update,
    late: bool,
    /// `None` if that depends on the history.
    weight: Option<Weight>,
}

/// A property, the length of its name as JSON, and its new head entry.
type NamedEntry = (PropertyId, usize, Entry);

impl Applying<'_, '_> {
    /// Returns the updates of an event that are worth a row on this person where it takes effect.
    pub fn weigh<'e>(&mut self, at: At<'e>, person: PersonId) -> Result<Vec<WeighedUpdate<'e>>> {
        let At { project, updates, numbers, name, effective, .. } = at;
        let transaction = &*self.transaction;
        let numbered = updates.iter().enumerate().map(|(index, update)| {
            let number = numbers.get(index).copied().flatten();
            (number.or_else(|| transaction.known_property(project, &update.name)), update)
        });
        let numbered: Vec<_> = numbered.collect();
        let head = self.transaction.head(project, person)?;
        let (mut weighed, mut next) = (Vec::new(), 0);
        for (property, update) in numbered {
            // Properties first seen together are numbered by name, and updates are sorted by name, so the
            // next entry is likely the right one.
            let entry = property.and_then(|property| {
                let is_next =
                    head.entries.get_indexed(next).is_some_and(|(found, _)| *found == property);
                let found = if is_next { Ok(next) } else { head.entries.find_index(&property) };
                next = found.unwrap_or_else(|index| index);
                let (_, entry) = head.entries.get_indexed(found.ok()?)?;
                next += 1;
                Some(entry)
            });
            let late = entry.is_some_and(|entry| entry.newest >= Some(effective))
                || head.lives_on >= Some(effective);
            let weight = if late && entry.is_some() {
                None
            } else {
                let absent = Entry::default();
                let Entry { state, newest } = entry.unwrap_or(&absent);
                let newest = || Ok::<_, Infallible>(*newest);
                let volatile = self.settings.record_volatile;
                let Ok(weight) = operation::weigh(update, state, newest, effective, volatile);
                Some(weight)
            };
            if weight != Some(Weight::Nothing) {
                weighed.push(Weighing { property, update, late, weight });
            }
        }
        if weighed.iter().any(|one| one.weight.is_none()) {
            self.weigh_late(at, person, &mut weighed)?;
        }
        let recorded = operation::records_volatile(name)
            || weighed.iter().any(|one| one.weight == Some(Weight::Recorded));
        if !recorded {
            return Ok(Vec::new());
        }
        let changes = weighed.into_iter().filter(|one| one.weight != Some(Weight::Nothing));
        let changes = changes.map(|Weighing { property, update, late, .. }| {
            // Numbers and names are kept for ever, so only what is written gets one.
            let number =
                property.unwrap_or_else(|| self.transaction.property(project, &update.name));
            WeighedUpdate { property: number, update, late, is_new: property.is_none() }
        });
        Ok(changes.collect())
    }

    /// Weighs the updates of properties that have newer rows, against the history at the event's place.
    fn weigh_late(&mut self, at: At, person: PersonId, weighed: &mut [Weighing]) -> Result<()> {
        let until = at.place();
        let life = self.life_at(at.project, person, until)?;
        let after = self.transaction.lives(at.project).lives_on(life)?;
        let volatile = self.settings.record_volatile;
        let rows = self.transaction.rows_of_changed(at.project, person)?;
        for one in weighed.iter_mut().filter(|one| one.weight.is_none()) {
            let Some(property) = one.property else { continue };
            let query = Query { person: life.person, property, after, until, known: Time::MAX };
            let (state, newest) = (history::state(&rows, query)?, || history::newest(&rows, query));
            one.weight =
                Some(operation::weigh(one.update, &state, newest, at.effective, volatile)?);
        }
        Ok(())
    }

    /// Writes changes to history and head, and passes them on to the persons that this one was merged into.
    /// Refuses all of them, and returns why, if they would make the properties too large.
    pub fn put_changes(
        &mut self,
        at: At,
        person: PersonId,
        changes: Vec<WeighedUpdate>,
    ) -> Result<Option<Rejection>> {
        if changes.is_empty() {
            return Ok(None);
        }
        let At { project, known, .. } = at;
        let place = at.place();
        let mut entries: Vec<NamedEntry> = Vec::with_capacity(changes.len());
        for change in &changes {
            let row = change.update.action.clone().into_row();
            let stored = Stored { place, known, row };
            let stored = self.put_own(project, person, change.property, stored)?;
            let before = self.transaction.head(project, person)?.entries.get(&change.property);
            let newest = before.and_then(|before| before.newest).max(Some(place.time));
            let state = if change.late {
                let query = self.query_now(project, person, change.property)?;
                history::state(&self.transaction.rows_of_changed(project, person)?, query)?
            } else {
                before.map(|before| before.state.clone()).unwrap_or_default().then(&stored.row)
            };
            let property = change.property;
            let name_bytes = self.transaction.name_bytes(project, property);
            entries.push((property, name_bytes, Entry { newest, state }));
        }
        if self.is_too_large(project, person, place, &entries)? {
            for change in changes.iter().rev() {
                let class = Effect::from(&change.update.action).class();
                self.transaction.remove_row(project, person, change.property, class, place);
                if change.is_new {
                    self.transaction.forget_property(project, &change.update.name);
                }
            }
            return Ok(Some(Rejection::PersonPropertiesSize));
        }
        let head = self.transaction.head_mut(project, person)?;
        for (property, name_bytes, entry) in entries {
            head.put(property, name_bytes, entry);
        }
        let passes_on = !self.transaction.merges(project, person)?.is_empty();
        for change in changes {
            self.count(match change.update.action {
                Action::Set(_) => Kind::Set,
                Action::Once(_) => Kind::SetOnce,
                Action::Unset | Action::SetUnset(_) | Action::OnceUnset(_) => Kind::Unset,
            });
            if passes_on {
                self.pass_on(project, person, place, change.property)?;
            }
        }
        Ok(None)
    }

    /// Writes a row that an event or command made, and returns what was written: a [`Row::Decided`] instead
    /// if too many rows that depend on what was before them follow one another there.
    pub fn put_own(
        &mut self,
        project: ProjectId,
        person: PersonId,
        property: PropertyId,
        mut stored: Stored,
    ) -> Result<Stored> {
        let Stored { place, ref row, .. } = stored;
        if row.is_dependent()
            && history::is_crowded(&self.transaction.rows(project), person, property, place)?
        {
            let life = self.life_at(project, person, place)?;
            let query = self.query(project, life, property, place)?;
            let before = history::state(&self.transaction.rows(project), query)?;
            stored.row = Row::Decided(before.then(row));
        }
        self.transaction.put_row(project, person, property, &stored);
        Ok(stored)
    }

    fn is_too_large(
        &mut self,
        project: ProjectId,
        person: PersonId,
        place: Place,
        entries: &[NamedEntry],
    ) -> Result<bool> {
        /// With the names of properties that it no longer has, a person may take this many times the limit.
        const WITH_NAMES: u64 = 4;
        let limit = self.settings.properties_limit;
        let head = self.transaction.head(project, person)?;
        let (before, mut after) = (head.json_bytes, head.json_bytes);
        for (property, name_bytes, entry) in entries {
            after = after + head.json_bytes_with(*property, *name_bytes, entry) - before;
        }
        // A merge may have made them too large, so a change that adds nothing is still accepted.
        if after <= limit {
            return Ok(false);
        }
        if after > limit.saturating_mul(WITH_NAMES) && after >= before {
            return Ok(true);
        }
        let newest_life = head.newest_life(person);
        let entries_before = head.entries.clone();
        let mut entries_after = entries_before.clone();
        entries_after.extend(entries.iter().map(|(property, _, entry)| (*property, entry.clone())));
        let before = before - self.only_names(project, &entries_before);
        let after = after - self.only_names(project, &entries_after);
        // A change in an earlier life does not affect the person's current properties.
        let is_newest = self.life_at(project, person, place)? == newest_life;
        Ok(after > limit && after >= before && is_newest)
    }

    /// Returns how many bytes of a person's size are names of properties that it no longer has.
    fn only_names(&mut self, project: ProjectId, entries: &Entries) -> u64 {
        let absent = entries.iter().filter(|(_, entry)| entry.state.current.is_none());
        let names = absent.map(|(property, _)| self.transaction.name_bytes(project, *property));
        names.map(|name_bytes| entry_bytes(name_bytes, None)).sum()
    }

    pub fn put_entry(
        &mut self,
        project: ProjectId,
        person: PersonId,
        property: PropertyId,
        entry: Entry,
    ) -> Result<()> {
        let name_bytes = self.transaction.name_bytes(project, property);
        self.transaction.head_mut(project, person)?.put(property, name_bytes, entry);
        Ok(())
    }

    /// Returns the query for the current state of a property.
    fn query_now(
        &mut self,
        project: ProjectId,
        person: PersonId,
        property: PropertyId,
    ) -> Result<Query> {
        let life = self.transaction.head(project, person)?.newest_life(person);
        self.query(project, life, property, Place::MAX)
    }

    /// Returns the query for a property of a life up to a place, by everything known.
    pub fn query(
        &self,
        project: ProjectId,
        life: Life,
        property: PropertyId,
        until: Place,
    ) -> Result<Query> {
        let after = self.transaction.lives(project).lives_on(life)?;
        Ok(Query { person: life.person, property, after, until, known: Time::MAX })
    }

    /// Returns the life that a person was in at a place.
    fn life_at(&mut self, project: ProjectId, person: PersonId, place: Place) -> Result<Life> {
        let head = self.transaction.head(project, person)?;
        let numbers = head.first_life..=head.life;
        self.transaction.lives(project).life_at(person, numbers, place, Time::MAX)
    }

    /// Reads one property of a head from history again.
    pub fn fold_anew(
        &mut self,
        project: ProjectId,
        person: PersonId,
        property: PropertyId,
    ) -> Result<()> {
        let query = self.query_now(project, person, property)?;
        let rows = self.transaction.rows(project);
        let newest = history::newest(&rows, query)?;
        let entry = Entry { newest, state: history::state(&rows, query)? };
        self.put_entry(project, person, property, entry)
    }
}
