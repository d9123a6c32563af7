//! The one writer: load what a batch touches, stage what it changes, commit rows and positions
//! as one atomic batch.
//!
//! A transaction sees what it staged over what is committed. Dropping it without a commit leaves
//! the store as it was.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::Ordering;

use rocksdb::{DBRawIterator, ReadOptions, WriteBatch, WriteOptions};
use uuid::Uuid;

use super::keys::Meta;
use super::list::Listed;
use super::rows::{self, Rows};
use super::staged::{Ordered, Staged};
use super::{Applied, Error, Family, Member, Operation, Result, Store, codec, corrupt, keys};
use crate::person::{
    Class, Fact, Head, Ownership, PersonId, Place, ProjectId, PropertyId, Stored, Time, identity,
};

/// One batch in the making.
pub struct Transaction<'s> {
    store: &'s Store,
    owners: HashMap<Vec<u8>, Loaded<Option<Ownership>>>,
    heads: HashMap<(ProjectId, PersonId), LoadedHead>,
    last_seen: HashMap<(ProjectId, PersonId), Loaded<Option<Time>>>,
    history: Overlay<'s>,
    timeline: Overlay<'s>,
    members: Overlay<'s>,
    batch: WriteBatch,
}

struct Loaded<T> {
    value: T,
    dirty: bool,
}

struct LoadedHead {
    head: Head,
    /// How the lists show the person before this transaction.
    listed: Option<Listed>,
    dirty: bool,
}

struct Overlay<'s> {
    committed: RefCell<DBRawIterator<'s>>,
    staged: Staged,
}

impl<'s> Overlay<'s> {
    fn new(store: &'s Store, family: Family) -> Self {
        let mut options = ReadOptions::default();
        options.set_prefix_same_as_start(true);
        let committed = store.db.raw_iterator_cf_opt(store.family(family), options);
        Self { committed: RefCell::new(committed), staged: Staged::new() }
    }

    fn ordered(&self) -> Ordered<'_, 's> {
        Ordered { committed: &self.committed, staged: Some(&self.staged) }
    }
}

impl<'s> Transaction<'s> {
    pub(super) fn new(store: &'s Store) -> Self {
        Self {
            store,
            owners: HashMap::new(),
            heads: HashMap::new(),
            last_seen: HashMap::new(),
            history: Overlay::new(store, Family::History),
            timeline: Overlay::new(store, Family::Timeline),
            members: Overlay::new(store, Family::PersonDistinctId),
            batch: WriteBatch::default(),
        }
    }

    /// Loads the owners of some distinct ids and their heads, each kind in one go.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn load<'i>(
        &mut self,
        distinct_ids: impl IntoIterator<Item = (ProjectId, &'i str)>,
    ) -> Result<()> {
        let wanted =
            distinct_ids.into_iter().map(|(project, id)| (keys::distinct_id(project, id), project));
        let mut wanted: Vec<_> = wanted.collect();
        wanted.sort_unstable();
        wanted.dedup();
        let found = self.get_sorted(Family::DistinctId, wanted.iter().map(|(key, _)| key))?;
        let mut persons = Vec::new();
        for ((key, project), value) in wanted.into_iter().zip(found) {
            let value =
                value.map(|bytes| decode(codec::decode_ownership, &bytes, Family::DistinctId));
            let value = value.transpose()?;
            persons.extend(value.as_ref().map(|owner| (project, owner.now().person)));
            self.owners.insert(key, Loaded { value, dirty: false });
        }
        persons.sort_unstable();
        persons.dedup();
        let keys: Vec<_> = persons.iter().map(|&(project, id)| keys::person(project, id)).collect();
        let heads = self.get_sorted(Family::Person, &keys)?;
        let last_seen = self.get_sorted(Family::LastSeen, &keys)?;
        for ((person, head), seen) in persons.into_iter().zip(heads).zip(last_seen) {
            let head =
                head.ok_or(Error::Broken("a distinct id belongs to a person that is not there"))?;
            self.heads.insert(person, LoadedHead::committed(self.store, person.0, &head)?);
            let value = seen.map(|bytes| decode_time(&bytes)).transpose()?;
            self.last_seen.insert(person, Loaded { value, dirty: false });
        }
        Ok(())
    }

    /// Who owns a distinct id; `None` where it was never seen.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn owner(&mut self, project: ProjectId, distinct_id: &str) -> Result<Option<&Ownership>> {
        let loaded = match self.owners.entry(keys::distinct_id(project, distinct_id)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let found = self.store.get(Family::DistinctId, entry.key())?;
                let value =
                    found.map(|bytes| decode(codec::decode_ownership, &bytes, Family::DistinctId));
                entry.insert(Loaded { value: value.transpose()?, dirty: false })
            }
        };
        Ok(loaded.value.as_ref())
    }

    /// Changes who owns a distinct id.
    pub fn set_owner(&mut self, project: ProjectId, distinct_id: &str, ownership: Ownership) {
        let key = keys::distinct_id(project, distinct_id);
        self.owners.insert(key, Loaded { value: Some(ownership), dirty: true });
    }

    /// A person's head.
    ///
    /// # Errors
    /// [`Error::Broken`] where there is no such person; else where the store fails.
    pub fn head(&mut self, project: ProjectId, person: PersonId) -> Result<&Head> {
        Ok(&self.loaded(project, person)?.head)
    }

    /// A person's head, to be changed.
    ///
    /// # Errors
    /// As [`Transaction::head`].
    pub fn head_mut(&mut self, project: ProjectId, person: PersonId) -> Result<&mut Head> {
        let loaded = self.loaded(project, person)?;
        loaded.dirty = true;
        Ok(&mut loaded.head)
    }

    /// Makes a person and gives it an id.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn create(&mut self, project: ProjectId, uuid: Uuid, began: Fact) -> Result<PersonId> {
        let mut id = identity::person_id(uuid);
        while self.find(project, id)?.is_some() {
            id = identity::next_person_id(id);
        }
        let head = Head::new(uuid, began);
        self.heads.insert((project, id), LoadedHead { head, listed: None, dirty: true });
        let family = self.store.family(Family::Uuid);
        self.batch.put_cf(family, keys::uuid(project, uuid), id.to_be_bytes());
        Ok(id)
    }

    /// The number of a property's name, given now if it has none.
    pub fn property(&mut self, project: ProjectId, name: &str) -> PropertyId {
        let dictionary = self.store.dictionary();
        dictionary.property(project, name).unwrap_or_else(|| {
            let number = dictionary.add_property(project, name);
            let key = Meta::Property(project, number).key();
            self.batch.put_cf(self.store.family(Family::Meta), key, name);
            number
        })
    }

    /// The length of a property's name in bytes.
    #[must_use]
    pub fn name_bytes(&self, project: ProjectId, property: PropertyId) -> usize {
        self.store.dictionary().property_name(project, property).map_or(0, |name| name.len())
    }

    /// The number of a topic, given now if it has none.
    pub fn topic(&mut self, name: &str) -> u16 {
        let dictionary = self.store.dictionary();
        dictionary.topic(name).unwrap_or_else(|| {
            let number = dictionary.add_topic(name);
            let family = self.store.family(Family::Meta);
            self.batch.put_cf(family, Meta::Topic(name).key(), number.to_be_bytes());
            number
        })
    }

    /// The history of a project's persons, staged rows included.
    #[must_use]
    pub fn rows(&self, project: ProjectId) -> Rows<'_, 's> {
        Rows { project, ordered: self.history.ordered() }
    }

    /// Adds a row to a property's history.
    pub fn put_row(
        &mut self,
        project: ProjectId,
        person: PersonId,
        property: PropertyId,
        stored: &Stored,
    ) {
        let key =
            keys::at(keys::class(project, person, property, stored.row.class()), stored.place);
        self.history.staged.insert(key, Some(codec::encode_row(stored)));
    }

    /// Takes a row out of a property's history.
    pub fn remove_row(
        &mut self,
        project: ProjectId,
        person: PersonId,
        property: PropertyId,
        class: Class,
        place: Place,
    ) {
        let key = keys::at(keys::class(project, person, property, class), place);
        self.history.staged.insert(key, None);
    }

    /// The rows of one class of a property after a place, oldest first.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn rows_after(
        &self,
        project: ProjectId,
        (person, property, class): (PersonId, PropertyId, Class),
        after: Place,
    ) -> Result<Vec<Stored>> {
        let prefix = keys::class(project, person, property, class);
        let mut key = keys::at(prefix.clone(), after);
        let mut found = Vec::new();
        loop {
            key.push(0);
            let Some(row) = self.history.ordered().first(&prefix, &key)? else {
                return Ok(found);
            };
            found.push(rows::decode(&row)?);
            key = row.0;
        }
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
        self.timeline.staged.insert(key, Some(codec::encode_operation(place, operation)));
    }

    /// The newest operation of a person's timeline at or before a place.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn last_operation(
        &self,
        project: ProjectId,
        person: PersonId,
        until: Place,
    ) -> Result<Option<(Place, Operation)>> {
        let prefix = keys::person(project, person);
        let key = keys::at(prefix.clone(), until);
        let found = self.timeline.ordered().last(&prefix, &key)?;
        found
            .map(|(key, value)| {
                let place = keys::place_of(&key).ok_or(corrupt(Family::Timeline))?;
                let operation = codec::decode_operation(place, &value);
                Ok((place, operation.map_err(|_| corrupt(Family::Timeline))?))
            })
            .transpose()
    }

    /// Writes a distinct id of a person.
    pub fn put_member(
        &mut self,
        project: ProjectId,
        person: PersonId,
        ordinal: u32,
        member: &Member,
    ) {
        let key = keys::member(project, person, ordinal);
        self.members.staged.insert(key, Some(codec::encode_member(member)));
    }

    /// The distinct id of a person from an ordinal on, and its ordinal.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn member(
        &self,
        project: ProjectId,
        person: PersonId,
        from_ordinal: u32,
    ) -> Result<Option<(u32, Member)>> {
        let prefix = keys::person(project, person);
        let key = keys::member(project, person, from_ordinal);
        let found = self.members.ordered().first(&prefix, &key)?;
        found
            .map(|(key, value)| {
                let mut suffix = keys::KeyReader(&key[keys::PERSON_BYTES..]);
                let ordinal = suffix.u32().ok_or(corrupt(Family::PersonDistinctId))?;
                Ok((ordinal, decode(codec::decode_member, &value, Family::PersonDistinctId)?))
            })
            .transpose()
    }

    /// When a person was last seen.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn last_seen(&mut self, project: ProjectId, person: PersonId) -> Result<Option<Time>> {
        Ok(self.loaded_last_seen(project, person)?.value)
    }

    /// Moves forward when a person was last seen; a time before it changes nothing.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn see(&mut self, project: ProjectId, person: PersonId, time: Time) -> Result<()> {
        let hour = Some(time.floor_to_hour());
        let loaded = self.loaded_last_seen(project, person)?;
        if hour > loaded.value {
            *loaded = Loaded { value: hour, dirty: true };
        }
        Ok(())
    }

    /// Writes how far a partition is applied.
    pub fn set_applied(&mut self, topic: u16, partition: u32, applied: &Applied) {
        let key = Meta::Position(topic, partition).key();
        let family = self.store.family(Family::Meta);
        self.batch.put_cf(family, key, codec::encode_applied(applied));
    }

    /// Writes everything at once.
    ///
    /// # Errors
    /// Where RocksDB fails: the store is poisoned then, and refuses every later commit.
    pub fn commit(mut self) -> Result<()> {
        if self.store.is_poisoned() {
            return Err(Error::Poisoned);
        }
        self.stage_points()?;
        self.stage_heads()?;
        let overlays = [
            (Family::History, self.history.staged),
            (Family::Timeline, self.timeline.staged),
            (Family::PersonDistinctId, self.members.staged),
        ];
        for (family, staged) in overlays {
            let family = self.store.family(family);
            for (key, value) in staged {
                match value {
                    Some(value) => self.batch.put_cf(family, key, value),
                    None => self.batch.delete_cf(family, key),
                }
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(self.store.sync_writes);
        self.store.db.write_opt(self.batch, &options).map_err(|error| {
            self.store.poisoned.store(true, Ordering::Release);
            Error::Rocks(error)
        })
    }

    fn stage_points(&mut self) -> Result<()> {
        let family = self.store.family(Family::DistinctId);
        for (key, loaded) in &self.owners {
            if let (true, Some(ownership)) = (loaded.dirty, &loaded.value) {
                self.batch.put_cf(family, key, codec::encode_ownership(ownership));
            }
        }
        let family = self.store.family(Family::LastSeen);
        for (&(project, person), loaded) in &self.last_seen {
            if let (true, Some(time)) = (loaded.dirty, loaded.value) {
                self.batch.put_cf(family, keys::person(project, person), time.0.to_be_bytes());
            }
        }
        Ok(())
    }

    fn stage_heads(&mut self) -> Result<()> {
        let mut live: HashMap<ProjectId, i64> = HashMap::new();
        for (&(project, person), loaded) in self.heads.iter().filter(|(_, loaded)| loaded.dirty) {
            let key = keys::person(project, person);
            let email = self.store.dictionary().property(project, "email");
            self.batch.put_cf(
                self.store.family(Family::Person),
                key,
                codec::encode_head(&loaded.head),
            );
            let (before, after) = (&loaded.listed, Listed::of(&loaded.head, email));
            *live.entry(project).or_default() +=
                i64::from(after.is_some()) - i64::from(before.is_some());
            Listed::stage(
                &mut self.batch,
                self.store,
                (project, person),
                before.as_ref(),
                after.as_ref(),
            );
        }
        for (project, change) in live.into_iter().filter(|(_, change)| *change != 0) {
            let count = self.store.count(project)?.saturating_add_signed(change);
            let family = self.store.family(Family::Meta);
            self.batch.put_cf(family, Meta::Count(project).key(), count.to_be_bytes());
        }
        Ok(())
    }

    fn loaded(&mut self, project: ProjectId, person: PersonId) -> Result<&mut LoadedHead> {
        let loaded = self.find(project, person)?;
        loaded.ok_or(Error::Broken("a person that others point to is not there"))
    }

    fn find(&mut self, project: ProjectId, person: PersonId) -> Result<Option<&mut LoadedHead>> {
        match self.heads.entry((project, person)) {
            Entry::Occupied(entry) => Ok(Some(entry.into_mut())),
            Entry::Vacant(entry) => {
                match self.store.get(Family::Person, &keys::person(project, person))? {
                    None => Ok(None),
                    Some(bytes) => {
                        let loaded = LoadedHead::committed(self.store, project, &bytes)?;
                        Ok(Some(entry.insert(loaded)))
                    }
                }
            }
        }
    }

    fn loaded_last_seen(
        &mut self,
        project: ProjectId,
        person: PersonId,
    ) -> Result<&mut Loaded<Option<Time>>> {
        match self.last_seen.entry((project, person)) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let found = self.store.get(Family::LastSeen, &keys::person(project, person))?;
                let value = found.map(|bytes| decode_time(&bytes)).transpose()?;
                Ok(entry.insert(Loaded { value, dirty: false }))
            }
        }
    }

    fn get_sorted<K: AsRef<[u8]>>(
        &self,
        family: Family,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Vec<u8>>>> {
        let keys: Vec<K> = keys.into_iter().collect();
        let found = self.store.db.batched_multi_get_cf(self.store.family(family), &keys, true);
        found.into_iter().map(|value| Ok(value?.map(|value| value.to_vec()))).collect()
    }
}

impl LoadedHead {
    fn committed(store: &Store, project: ProjectId, bytes: &[u8]) -> Result<Self> {
        let head = decode(codec::decode_head, bytes, Family::Person)?;
        let email = store.dictionary().property(project, "email");
        Ok(Self { listed: Listed::of(&head, email), head, dirty: false })
    }
}

/// Decodes a value of a family.
pub(super) fn decode<'b, T>(
    decode: impl Fn(&'b [u8]) -> std::result::Result<T, codec::Corrupt>,
    bytes: &'b [u8],
    family: Family,
) -> Result<T> {
    decode(bytes).map_err(|_| corrupt(family))
}

/// Decodes a value of family `last_seen`.
pub(super) fn decode_time(bytes: &[u8]) -> Result<Time> {
    let bytes = bytes.try_into().map_err(|_| corrupt(Family::LastSeen))?;
    Ok(Time(i64::from_be_bytes(bytes)))
}
