//! Persons: their heads, and the tombstones of deleted ones.

use std::sync::Arc;

use hashbrown::hash_map::Entry;
use uuid::Uuid;

use super::Transaction;
use super::recency::LoadedRecency;
use crate::person::{
    Fact, Head, Life, PersonId, PersonRow, Place, ProjectId, PropertyId, State, Time, Tombstone,
    identity,
};
use crate::store::column::{Columns, columns};
use crate::store::keys::{self, KeyReader};
use crate::store::list::Listed;
use crate::store::{Error, Family, LifeSpan, Result, codec, corrupt, decode};

/// A person, and how lists and columns showed it before this transaction.
pub(super) struct LoadedPerson {
    /// Copied when it is changed, if the transaction before this one still shares it.
    pub row: Arc<PersonRow>,
    /// `None` while it is unchanged.
    pub before: Option<Before>,
}

/// How lists and columns showed a person before a transaction.
pub(super) struct Before {
    pub listed: Option<Listed>,
    pub columns: Columns,
}

impl LoadedPerson {
    pub fn committed(bytes: &[u8]) -> Result<Self> {
        let row = decode(codec::decode_person, bytes, Family::Person)?;
        Ok(Self { row: Arc::new(row), before: None })
    }

    /// A person that is created in this transaction.
    fn new(row: PersonRow) -> Self {
        let before = Before { listed: None, columns: Columns::new() };
        Self { row: Arc::new(row), before: Some(before) }
    }

    /// A clean copy for the next transaction.
    pub fn carried(&self) -> Self {
        Self { row: self.row.clone(), before: None }
    }

    /// Returns the person to be changed, and keeps how it was shown before. `email` is the number of
    /// the property of that name.
    fn change(&mut self, email: impl FnOnce() -> Option<PropertyId>) -> &mut PersonRow {
        self.before.get_or_insert_with(|| Before {
            listed: Listed::of(&self.row, email()),
            columns: columns(&self.row),
        });
        Arc::make_mut(&mut self.row)
    }
}

/// What a uuid that a new person could take is used for.
enum Use {
    Nothing,
    Tombstone(PersonId, Tombstone),
    Merged(PersonId),
    Somebody,
}

impl Transaction<'_> {
    /// A person's head.
    ///
    /// # Errors
    /// [`Error::Broken`] if there is no such person; another error if the store fails.
    pub fn head(&mut self, project: ProjectId, person: PersonId) -> Result<&Head> {
        match self.person_row(project, person)? {
            Some(PersonRow::Head(head)) => Ok(head),
            _ => Err(Error::Broken("a person that others point to is not there")),
        }
    }

    /// Returns a person's head to be changed, and marks the person as changed by the current record.
    ///
    /// # Errors
    /// As [`Transaction::head`].
    pub fn head_mut(&mut self, project: ProjectId, person: PersonId) -> Result<&mut Head> {
        self.touched.insert((project, person));
        let store = self.store;
        let email = || store.dictionary().email(project);
        match self.find(project, person)?.map(|loaded| loaded.change(email)) {
            Some(PersonRow::Head(head)) => Ok(head),
            _ => Err(Error::Broken("a person that others point to is not there")),
        }
    }

    /// Returns the newest life of a person; `None` if it was deleted. Unlike [`Transaction::head`] it keeps nothing in
    /// memory of a person that was not loaded.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn newest_life(&self, project: ProjectId, person: PersonId) -> Result<Option<Life>> {
        let life = |row: &PersonRow| match row {
            PersonRow::Head(head) => Some(head.newest_life(person)),
            PersonRow::Tombstone(_) => None,
        };
        let of = (project, person);
        for changes in self.changes() {
            if let Some(loaded) = changes.persons.get(&of) {
                return Ok(life(&loaded.row));
            }
        }
        let bytes = self.store.get(Family::Person, &keys::person(project, person))?;
        let row = bytes.map(|bytes| decode(codec::decode_person, &bytes, Family::Person));
        Ok(row.transpose()?.as_ref().and_then(life))
    }

    /// Returns a person's head or tombstone; `None` if there is neither.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn person_row(
        &mut self,
        project: ProjectId,
        person: PersonId,
    ) -> Result<Option<&PersonRow>> {
        Ok(self.find(project, person)?.map(|loaded| &*loaded.row))
    }

    /// Returns the person with a uuid, even if it was merged away or deleted.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn person_of_uuid(&self, project: ProjectId, uuid: Uuid) -> Result<Option<PersonId>> {
        let bytes = self.point(Family::Uuid, &keys::uuid(project, uuid))?;
        bytes.map(|bytes| KeyReader(&bytes).u64().ok_or(corrupt(Family::Uuid))).transpose()
    }

    /// Creates a person for a distinct id. A deleted one is created again, with the same uuid and id.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn create(
        &mut self,
        project: ProjectId,
        distinct_id: &str,
        began: Fact,
    ) -> Result<PersonId> {
        self.take_uuid(project, distinct_id, began, None)
    }

    /// Returns the person that a distinct id goes to by a split: a new one, or one that was merged away,
    /// which lives on without properties.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn split_off(
        &mut self,
        project: ProjectId,
        distinct_id: &str,
        place: Place,
        known: Time,
    ) -> Result<PersonId> {
        let began = Fact { time: place.time, known };
        self.take_uuid(project, distinct_id, began, Some(place))
    }

    /// Takes the first of a distinct id's uuids that no live person has. With `lives_on`, a person that was
    /// merged away does not count as live: it lives on from there.
    fn take_uuid(
        &mut self,
        project: ProjectId,
        distinct_id: &str,
        began: Fact,
        lives_on: Option<Place>,
    ) -> Result<PersonId> {
        let (uuid, used) = self.free_uuid(project, distinct_id, lives_on.is_some())?;
        match (used, lives_on) {
            (Use::Nothing, _) => self.insert(project, uuid, began),
            (Use::Tombstone(id, tombstone), _) => {
                self.put_person_row(project, id, PersonRow::Head(Head::anew(&tombstone, began)));
                Ok(id)
            }
            (Use::Merged(id), Some(place)) => {
                self.live_on(project, id, place, began.known)?;
                Ok(id)
            }
            (Use::Merged(_), None) | (Use::Somebody, _) => {
                Err(Error::Broken("a uuid is in use that was found to be free"))
            }
        }
    }

    /// Returns the first of a distinct id's uuids that no live person has, and what it was used for. For a
    /// split, a person that was merged away does not count as live.
    fn free_uuid(
        &mut self,
        project: ProjectId,
        distinct_id: &str,
        by_split: bool,
    ) -> Result<(Uuid, Use)> {
        for uuid in identity::person_uuids(project, distinct_id) {
            match self.used_for(project, uuid)? {
                Use::Somebody => {}
                Use::Merged(_) if !by_split => {}
                used => return Ok((uuid, used)),
            }
        }
        Err(Error::Broken("there are no uuids left"))
    }

    /// Returns the merged person that would live on if a distinct id were split off now; `None` if
    /// that would create a person.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn lives_on_by(
        &mut self,
        project: ProjectId,
        distinct_id: &str,
    ) -> Result<Option<PersonId>> {
        Ok(match self.free_uuid(project, distinct_id, true)? {
            (_, Use::Merged(id)) => Some(id),
            _ => None,
        })
    }

    /// Replaces a person with a tombstone, and notes that its bytes are to be erased from the disk.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn bury(
        &mut self,
        project: ProjectId,
        person: PersonId,
        tombstone: Tombstone,
    ) -> Result<()> {
        let properties = match self.person_row(project, person)? {
            Some(PersonRow::Head(head)) => {
                head.entries.keys().flat_map(|of| of.to_be_bytes()).collect()
            }
            _ => Vec::new(),
        };
        self.put_person_row(project, person, PersonRow::Tombstone(tombstone));
        self.loaded_recency(project, person)?.now.seen = None;
        let key = keys::Meta::Erased(project, person, tombstone.version).key();
        self.batch.put_cf(self.store.family(Family::Meta), key, properties);
        Ok(())
    }

    fn used_for(&mut self, project: ProjectId, uuid: Uuid) -> Result<Use> {
        // A person with this uuid has the id that belongs to it, unless another person had that id before. If
        // that id is free, so is the uuid.
        if self.find(project, identity::person_id(uuid))?.is_none() {
            return Ok(Use::Nothing);
        }
        let Some(id) = self.person_of_uuid(project, uuid)? else {
            return Ok(Use::Nothing);
        };
        Ok(match self.person_row(project, id)? {
            None => return Err(Error::Broken("a uuid stands for a person that is not there")),
            Some(PersonRow::Tombstone(tombstone)) => Use::Tombstone(id, *tombstone),
            Some(PersonRow::Head(head)) if head.merged.is_some() => Use::Merged(id),
            Some(PersonRow::Head(_)) => Use::Somebody,
        })
    }

    fn insert(&mut self, project: ProjectId, uuid: Uuid, began: Fact) -> Result<PersonId> {
        let mut id = identity::person_id(uuid);
        while self.find(project, id)?.is_some() {
            id = identity::next_person_id(id);
        }
        let row = PersonRow::Head(Head::new(uuid, began));
        self.working.persons.insert((project, id), LoadedPerson::new(row));
        // A new person has no recency, so it need not be looked up.
        self.working.recency.insert((project, id), LoadedRecency::default());
        self.touched.insert((project, id));
        self.working.put(Family::Uuid, keys::uuid(project, uuid), Some(id.to_be_bytes().to_vec()));
        Ok(id)
    }

    fn live_on(
        &mut self,
        project: ProjectId,
        person: PersonId,
        place: Place,
        known: Time,
    ) -> Result<()> {
        let head = self.head_mut(project, person)?;
        head.life += 1;
        (head.merged, head.distinct_ids) = (None, 0);
        head.lives_on = Some(place.time);
        head.newest = head.newest.max(Some(place.time));
        for (_, entry) in head.entries.iter_mut() {
            entry.state = State::default();
        }
        let life = head.newest_life(person);
        let names: Vec<_> = head.entries.keys().copied().collect();
        // Only the names still count: the braces, and for each name its quotes, colon and comma.
        let bytes = names.into_iter().map(|property| self.name_bytes(project, property) as u64 + 4);
        let bytes = 2 + bytes.sum::<u64>();
        self.head_mut(project, person)?.json_bytes = bytes;
        let span = LifeSpan { lives_on: Some((place, known)), ..LifeSpan::default() };
        self.working.lives.insert((project, life), span);
        Ok(())
    }

    fn put_person_row(&mut self, project: ProjectId, person: PersonId, row: PersonRow) {
        self.touched.insert((project, person));
        let email = || self.store.dictionary().email(project);
        match self.working.persons.entry((project, person)) {
            Entry::Occupied(mut loaded) => *loaded.get_mut().change(email) = row,
            Entry::Vacant(entry) => _ = entry.insert(LoadedPerson::new(row)),
        }
    }

    pub(super) fn find(
        &mut self,
        project: ProjectId,
        person: PersonId,
    ) -> Result<Option<&mut LoadedPerson>> {
        let before = self.before.as_deref();
        match self.working.persons.entry((project, person)) {
            Entry::Occupied(entry) => Ok(Some(entry.into_mut())),
            Entry::Vacant(entry) => {
                if let Some(carried) = before.and_then(|before| before.persons.get(entry.key())) {
                    return Ok(Some(entry.insert(carried.carried())));
                }
                match self.store.get(Family::Person, &keys::person(project, person))? {
                    None => Ok(None),
                    Some(bytes) => {
                        self.working.loaded_bytes += bytes.len();
                        Ok(Some(entry.insert(LoadedPerson::committed(&bytes)?)))
                    }
                }
            }
        }
    }
}
