//! Reads of a person as of a past moment by its current identity (`identity=current`): what its current
//! distinct ids did until then, as if they had always belonged to it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::operations::NewestOperations;
use super::rows::Rows;
use super::snapshot::{Moment, Person, Snapshot};
use super::staged::{Committed, Ordered};
use super::walk::Walk;
use super::{Error, Family, Operation, Result, corrupt, keys};
use crate::person::history::{self, Query};
use crate::person::{
    Class, Head, Histories, Life, Lives, Mode, PersonId, Place, ProjectId, PropertyId, Stored, Time,
};

/// The operations of a person's current distinct ids, on whichever timelines they are.
struct Today<'i, 'a, 's> {
    snapshot: &'a Snapshot<'s>,
    project: ProjectId,
    person: PersonId,
    /// The person, every person that ever owned one of the distinct ids, and all persons merged into these.
    persons: BTreeSet<PersonId>,
    rows: Rows<'i, 'a>,
    /// Whether each distinct id met so far currently belongs to the person.
    met: RefCell<HashMap<String, bool>>,
}

impl Snapshot<'_> {
    /// Returns a person as the operations of its current distinct ids up to a moment make it. Merges, splits
    /// and who owned the ids at that time are ignored. The cost grows with the number of persons merged.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn as_of_today(
        &self,
        project: ProjectId,
        (id, head): (PersonId, &Head),
        at: Moment,
        mode: Mode,
    ) -> Result<Person> {
        let today = self.current(project, (id, head), usize::MAX)?;
        let iterator = Committed::new(Walk::new(self, Family::History));
        let rows = Rows::new(self.lives(project), Ordered::new(&iterator));
        let joint = Today::new(self, project, &today, rows)?;
        let (mut properties, mut seen) = (BTreeSet::new(), None);
        for &person in &joint.persons {
            if let Some(head) = self.head(project, person)? {
                properties.extend(head.entries.keys().copied());
            }
            seen = seen.max(joint.last_seen(person, at)?);
        }
        let until = Place::end_of(at.time);
        let mut values = Vec::new();
        for property in properties {
            let query = Query { person: id, property, after: None, until, known: at.known };
            let value = history::value(&joint, query, mode)?;
            values.extend(value.map(|value| (property, value)));
        }
        let existed = seen.is_some() || today.created_at <= Some(at.time) && joint.had_begun(at)?;
        Ok(Person {
            created_at: today.created_at.filter(|_| existed),
            last_seen_at: seen.map(Time::floor_to_hour),
            properties: self.named(project, values)?,
            ..today
        })
    }

    /// Returns the newest of the operations that [`Snapshot::as_of_today`] is made of: at most `limit`, and no
    /// more once they add up to `bytes` bytes.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn operations_of_today(
        &self,
        project: ProjectId,
        today: &Person,
        at: Moment,
        limit: usize,
        bytes: usize,
    ) -> Result<NewestOperations> {
        let iterator = Committed::new(Walk::new(self, Family::History));
        let rows = Rows::new(self.lives(project), Ordered::new(&iterator));
        let joint = Today::new(self, project, today, rows)?;
        // An operation that a merge copied is on two timelines, at the same place.
        let mut places = BTreeMap::new();
        for &person in &joint.persons {
            self.each_operation(project, person, at, |place, operation| {
                if joint.counts(person, &operation, place)? {
                    places.insert(place, person);
                }
                Ok(true)
            })?;
        }
        let mut newest = NewestOperations::default();
        newest.count = places.len() as u64;
        for (place, person) in places.into_iter().rev() {
            if !newest.has_room(limit, bytes) {
                break;
            }
            let operation = self.operation(project, person, place)?;
            newest.show(&joint.rows, person, place, operation)?;
        }
        Ok(newest)
    }

    /// Returns all persons whose timelines may contain operations of these distinct ids, without those that
    /// were deleted since.
    fn persons_of(
        &self,
        project: ProjectId,
        person: PersonId,
        distinct_ids: &[String],
    ) -> Result<BTreeSet<PersonId>> {
        let mut persons = BTreeSet::from([person]);
        for id in distinct_ids {
            let mut owner = self.owner(project, id)?.ok_or(corrupt(Family::PersonDistinctId))?;
            owner.write_out_merges(&self.lives(project))?;
            for life in owner.entries().map(|owned| owned.life) {
                if !persons.contains(&life.person) && self.head_of(project, life)?.is_some() {
                    persons.insert(life.person);
                }
            }
        }
        let mut targets: Vec<_> = persons.iter().copied().collect();
        while let Some(target) = targets.pop() {
            let prefix = keys::sources(project, target);
            let mut iterator = self.iterator(Family::Life);
            iterator.seek(&prefix);
            while let Some(key) = iterator.key().filter(|key| key.starts_with(&prefix)) {
                let source = keys::source_of(key).ok_or(corrupt(Family::Life))?;
                if !persons.contains(&source.person) && self.head_of(project, source)?.is_some() {
                    persons.insert(source.person);
                    targets.push(source.person);
                }
                iterator.next();
            }
            iterator.status()?;
        }
        Ok(persons)
    }
}

impl<'i, 'a, 's> Today<'i, 'a, 's> {
    /// The operations of the distinct ids that the person has today.
    fn new(
        snapshot: &'a Snapshot<'s>,
        project: ProjectId,
        today: &Person,
        rows: Rows<'i, 'a>,
    ) -> Result<Self> {
        let persons = snapshot.persons_of(project, today.id, &today.distinct_ids)?;
        let met = RefCell::default();
        Ok(Self { snapshot, project, person: today.id, persons, rows, met })
    }

    /// Returns whether an operation on the timeline of `of` counts: whether its distinct id currently belongs
    /// to the person. A command has no distinct id; it counts if `of` is the person, or by now part of it.
    fn counts(&self, of: PersonId, operation: &Operation, place: Place) -> Result<bool> {
        if place.position.is_command() {
            let head = self.snapshot.head(self.project, of)?;
            let head = head.ok_or(Error::Broken("a timeline has no person"))?;
            let now = self.snapshot.lives(self.project).now(head.newest_life(of))?;
            return Ok(now.person == self.person);
        }
        if let Some(met) = self.met.borrow().get(&operation.distinct_id) {
            return Ok(*met);
        }
        let now = self.snapshot.person_of_distinct_id(self.project, &operation.distinct_id)?;
        let is_hers = now == Some(self.person);
        self.met.borrow_mut().insert(operation.distinct_id.clone(), is_hers);
        Ok(is_hers)
    }

    fn row_counts(&self, of: PersonId, row: &Stored) -> Result<bool> {
        let operation = self.snapshot.operation(self.project, of, row.place)?;
        self.counts(of, &operation, row.place)
    }

    /// Returns whether one of the persons had begun at a moment, as known then. The first event of a person need
    /// not leave an operation, but its time is kept as the person's beginning.
    fn had_begun(&self, at: Moment) -> Result<bool> {
        for &person in &self.persons {
            let began = history::created(&self.rows, person, Time::MAX, at.known)?;
            if began.is_some_and(|began| began <= at.time) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the newest event time among the operations on a timeline that count, except commands.
    fn last_seen(&self, person: PersonId, at: Moment) -> Result<Option<Time>> {
        let mut seen: Option<Time> = None;
        self.snapshot.each_operation(self.project, person, at, |place, operation| {
            if !place.position.is_command() && self.counts(person, &operation, place)? {
                seen = seen.max(Some(operation.event_time));
            }
            // The event time of a merge may be long before its place, so an earlier place may still have a
            // newer one.
            Ok(seen < Some(place.time))
        })?;
        Ok(seen)
    }
}

/// Returns whether a row depends on what came before it. Such a row is preferred to its copy by a merge: the
/// copy may be stored as decided, by what came before it on the target's timeline.
fn depends(row: &Stored) -> bool {
    row.row.is_dependent()
}

impl Histories for Today<'_, '_, '_> {
    type Error = Error;

    fn last(
        &self,
        _: PersonId,
        property: PropertyId,
        class: Class,
        until: Place,
    ) -> Result<Option<Stored>> {
        let mut newest: Option<Stored> = None;
        for &person in self.persons.iter().filter(|_| !Class::MERGES.contains(&class)) {
            let mut until = Some(until);
            while let Some(place) = until {
                let Some(row) = self.rows.last(person, property, class, place)? else {
                    break;
                };
                if self.row_counts(person, &row)? {
                    newest =
                        newest.into_iter().chain([row]).max_by_key(|row| (row.place, depends(row)));
                    break;
                }
                until = row.place.before();
            }
        }
        Ok(newest)
    }

    fn first(
        &self,
        _: PersonId,
        property: PropertyId,
        class: Class,
        after: Option<Place>,
    ) -> Result<Option<Stored>> {
        let mut oldest: Option<Stored> = None;
        for &person in self.persons.iter().filter(|_| !Class::MERGES.contains(&class)) {
            let mut after = after;
            while let Some(row) = self.rows.first(person, property, class, after)? {
                if self.row_counts(person, &row)? {
                    oldest = oldest
                        .into_iter()
                        .chain([row])
                        .min_by_key(|row| (row.place, !depends(row)));
                    break;
                }
                after = Some(row.place);
            }
        }
        Ok(oldest)
    }

    fn lives_on(&self, _: Life) -> Result<Option<Place>> {
        Ok(None)
    }
}
