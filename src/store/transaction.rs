//! The one writer: load what a batch touches, stage what it changes, commit rows and positions
//! as one atomic batch.
//!
//! A transaction sees what it staged over what is committed. Dropping it without a commit leaves
//! the store as it was.

mod commit;
mod timeline;

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use rocksdb::{DBRawIterator, ReadOptions, WriteBatch};
use uuid::Uuid;

use super::dictionary::NewNames;
use super::list::Listed;
use super::staged::{Ordered, Staged};
use super::{Error, Family, Member, Result, Store, codec, corrupt, keys};
use crate::person::{Fact, Head, Ownership, PersonId, ProjectId, PropertyId, Time, identity};

/// One batch in the making.
pub struct Transaction<'s> {
    store: &'s Store,
    owners: HashMap<Vec<u8>, Loaded<Option<Ownership>>>,
    heads: HashMap<(ProjectId, PersonId), LoadedHead>,
    last_seen: HashMap<(ProjectId, PersonId), Loaded<Option<Time>>>,
    history: Overlay<'s>,
    timeline: Overlay<'s>,
    members: Overlay<'s>,
    recorded: HashSet<Vec<u8>>,
    names: NewNames,
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
            recorded: HashSet::new(),
            names: NewNames::default(),
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
        // What is there already may be newer than what is committed.
        let mut wanted: Vec<_> = wanted.filter(|(key, _)| !self.owners.contains_key(key)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let found = self.get_sorted(Family::DistinctId, wanted.iter().map(|(key, _)| key))?;
        let mut persons = Vec::new();
        for ((key, project), value) in wanted.into_iter().zip(found) {
            let value =
                value.map(|bytes| decode(codec::decode_ownership, &bytes, Family::DistinctId));
            let value = value.transpose()?;
            let owner = value.as_ref().map(|owner| (project, owner.now().person));
            persons.extend(owner.filter(|person| !self.heads.contains_key(person)));
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
            self.last_seen.entry(person).or_insert(Loaded { value, dirty: false });
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
        let known = self.store.dictionary();
        known
            .property(project, name)
            .unwrap_or_else(|| self.names.property(project, name, known.next_property(project)))
    }

    /// The length of a property's name in bytes.
    #[must_use]
    pub fn name_bytes(&self, project: ProjectId, property: PropertyId) -> usize {
        let known = self.store.dictionary();
        match known.property_name(project, property) {
            Some(name) => name.len(),
            None => self.names.name_bytes(project, property, known.next_property(project)),
        }
    }

    /// The number of a topic, given now if it has none.
    pub fn topic(&mut self, name: &str) -> u16 {
        let known = self.store.dictionary();
        known.topic(name).unwrap_or_else(|| self.names.topic(name, known.next_topic()))
    }

    /// About how much the transaction stages in histories, timelines and distinct ids.
    #[must_use]
    pub fn staged_bytes(&self) -> usize {
        /// A key, a value, an owner, and the maps that hold them.
        const ROW: usize = 256;
        let overlays = [&self.history, &self.timeline, &self.members];
        overlays.map(|overlay| overlay.staged.len() * ROW).iter().sum()
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
