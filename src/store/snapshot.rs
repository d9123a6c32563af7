//! Consistent reads: everything that was committed when the snapshot was taken, and nothing
//! after it. Reads never wait for the writer.

use std::sync::Arc;

use rocksdb::{DBRawIterator, ReadOptions, SnapshotWithThreadMode};
use uuid::Uuid;

use super::keys::{KeyReader, Meta};
use super::transaction::{decode, decode_time};
use super::{Applied, Error, Family, Member, Result, Store, codec, corrupt, keys};
use crate::person::{
    FIRST_PROPERTY, Head, Ownership, PersonId, ProjectId, PropertyId, Time, Value, head,
};

/// A moment of the world, and what was known of it: the two clocks of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The event time, inclusive.
    pub time: Time,
    /// Only what was learned by then; [`Time::MAX`] is everything.
    pub known: Time,
}

/// A person as a read shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The integer id.
    pub id: PersonId,
    /// The uuid.
    pub uuid: Uuid,
    /// In the order in which they joined, non-anonymous ones first.
    pub distinct_ids: Vec<String>,
    /// By name, in the order of the names.
    pub properties: Vec<(Arc<str>, Value)>,
    /// When it began; `None` where it did not exist yet.
    pub created_at: Option<Time>,
    /// The hour in which it was last seen.
    pub last_seen_at: Option<Time>,
    /// Whether an event identified it.
    pub is_identified: bool,
    /// How many operations were recorded on it.
    pub version: u64,
}

/// A page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// How many live persons the project has.
    pub count: u64,
    /// Those of this page.
    pub persons: Vec<PersonId>,
}

/// A consistent view of the store.
pub struct Snapshot<'s> {
    pub(super) store: &'s Store,
    snapshot: SnapshotWithThreadMode<'s, rocksdb::DB>,
}

impl<'s> Snapshot<'s> {
    pub(super) fn new(store: &'s Store) -> Self {
        Self { store, snapshot: store.db.snapshot() }
    }

    /// How far every partition was applied, by topic name and partition.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn positions(&self) -> Result<Vec<(String, u32, Applied)>> {
        let prefix = [Meta::Position(0, 0).tag()];
        let mut iterator = self.iterator(Family::Meta);
        iterator.seek(prefix);
        let mut positions = Vec::new();
        while let Some((key, value)) = iterator.item().filter(|(key, _)| key.starts_with(&prefix)) {
            let mut reader = KeyReader(&key[1..]);
            let (topic, partition) = (reader.u16(), reader.u32());
            let name = topic.and_then(|topic| self.store.dictionary().topic_name(topic));
            let (Some(name), Some(partition)) = (name, partition) else {
                return Err(corrupt(Family::Meta));
            };
            positions.push((name, partition, decode(codec::decode_applied, value, Family::Meta)?));
            iterator.next();
        }
        iterator.status()?;
        Ok(positions)
    }

    /// How many live persons a project has.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn count(&self, project: ProjectId) -> Result<u64> {
        count_of(self.get(Family::Meta, &Meta::Count(project).key())?)
    }

    /// Who owned and owns a distinct id; `None` where it was never seen.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn owner(&self, project: ProjectId, distinct_id: &str) -> Result<Option<Ownership>> {
        let bytes = self.get(Family::DistinctId, &keys::distinct_id(project, distinct_id))?;
        bytes.map(|bytes| decode(codec::decode_ownership, &bytes, Family::DistinctId)).transpose()
    }

    /// The person that was created with a uuid, also where it was merged away since.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn person_of_uuid(&self, project: ProjectId, uuid: Uuid) -> Result<Option<PersonId>> {
        let bytes = self.get(Family::Uuid, &keys::uuid(project, uuid))?;
        bytes.map(|bytes| KeyReader(&bytes).u64().ok_or(corrupt(Family::Uuid))).transpose()
    }

    /// A person's head, also of one that was merged away since.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn head(&self, project: ProjectId, person: PersonId) -> Result<Option<Head>> {
        let bytes = self.get(Family::Person, &keys::person(project, person))?;
        bytes.map(|bytes| decode(codec::decode_head, &bytes, Family::Person)).transpose()
    }

    /// The person that this one had become by a moment: itself, or what it was merged into.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn became(
        &self,
        project: ProjectId,
        mut person: PersonId,
        at: Moment,
    ) -> Result<Option<(PersonId, Head)>> {
        let Some(mut head) = self.head(project, person)? else {
            return Ok(None);
        };
        while let Some(merged) = head.merged {
            if merged.place.time > at.time || merged.known > at.known {
                break;
            }
            person = merged.into;
            let into = self.head(project, person)?;
            head = into.ok_or(Error::Broken("a person was merged into one that is not there"))?;
        }
        Ok(Some((person, head)))
    }

    /// A person as it is now.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn current(&self, project: ProjectId, id: PersonId, head: &Head) -> Result<Person> {
        let seen = self.get(Family::LastSeen, &keys::person(project, id))?;
        let values = head.entries.iter().filter_map(|(&property, entry)| {
            entry.state.current.clone().map(|value| (property, value))
        });
        let now = Moment { time: Time::MAX, known: Time::MAX };
        Ok(Person {
            id,
            uuid: head.uuid,
            distinct_ids: self.distinct_ids(project, id, now)?,
            properties: self.named(project, values)?,
            created_at: Some(head.created_at),
            last_seen_at: seen.map(|bytes| decode_time(&bytes)).transpose()?,
            is_identified: head.identified.is_some(),
            version: head.version,
        })
    }

    /// The distinct ids that a person had, in the order in which they are shown.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn distinct_ids(
        &self,
        project: ProjectId,
        person: PersonId,
        at: Moment,
    ) -> Result<Vec<String>> {
        let prefix = keys::person(project, person);
        let mut iterator = self.iterator(Family::PersonDistinctId);
        iterator.seek(&prefix);
        let mut joined = Vec::new();
        while let Some((key, value)) = iterator.item() {
            if !key.starts_with(&prefix) {
                break;
            }
            let member: Member = decode(codec::decode_member, value, Family::PersonDistinctId)?;
            if member.is_at(at.time, at.known) {
                joined.push(member.distinct_id);
            }
            iterator.next();
        }
        iterator.status()?;
        Ok(head::display_order(joined))
    }

    /// Values by the names of their properties, in the order of the names.
    pub(super) fn named(
        &self,
        project: ProjectId,
        values: impl IntoIterator<Item = (PropertyId, Value)>,
    ) -> Result<Vec<(Arc<str>, Value)>> {
        let values = values.into_iter().filter(|(property, _)| *property >= FIRST_PROPERTY);
        let named = values.map(|(property, value)| {
            let name = self.store.dictionary().property_name(project, property);
            Ok((name.ok_or(Error::Broken("a property has a number without a name"))?, value))
        });
        let mut named = named.collect::<Result<Vec<_>>>()?;
        named.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(named)
    }

    pub(super) fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.snapshot.get_cf(self.store.family(family), key)?)
    }

    /// An iterator; within a family that lists what persons have it stays with one person.
    pub(super) fn iterator(&self, family: Family) -> DBRawIterator<'_> {
        let mut options = ReadOptions::default();
        options.set_prefix_same_as_start(true);
        self.snapshot.raw_iterator_cf_opt(self.store.family(family), options)
    }
}

impl Store {
    pub(super) fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.db.get_cf(self.family(family), key)?)
    }

    pub(super) fn count(&self, project: ProjectId) -> Result<u64> {
        count_of(self.get(Family::Meta, &Meta::Count(project).key())?)
    }
}

fn count_of(bytes: Option<Vec<u8>>) -> Result<u64> {
    bytes.map_or(Ok(0), |bytes| KeyReader(&bytes).u64().ok_or(corrupt(Family::Meta)))
}
