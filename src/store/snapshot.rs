//! Consistent reads: everything that was committed when the snapshot was taken, and nothing
//! after it. Reads never wait for the writer.

use std::sync::Arc;

use rocksdb::{DBRawIterator, ReadOptions, SnapshotWithThreadMode};
use uuid::Uuid;

use super::column_cache::{CacheKey, CachedIndex};
use super::ending::Ending;
use super::keys::{KeyReader, Meta, PERSON_BYTES};
use super::options::count_nothing;
use super::packed::Packed;
use super::{
    Applied, CommandOutcome, Error, Family, Recency, Result, Store, codec, corrupt, decode, keys,
};
use crate::person::{
    FIRST_PROPERTY, Head, Life, Lives, Ownership, PersonId, PersonRow, Place, ProjectId,
    PropertyId, Time, Value,
};

/// A moment of the world, and what was known of it: the two clocks of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The event time, inclusive.
    pub time: Time,
    /// Only what was learned by then; [`Time::MAX`] is everything.
    pub known: Time,
}

impl Moment {
    /// Now, by everything that is known.
    pub const NOW: Self = Self { time: Time::MAX, known: Time::MAX };
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
    /// Names and values, sorted by name.
    pub properties: Vec<(Arc<str>, Value)>,
    /// When it began; `None` if it did not exist yet.
    pub created_at: Option<Time>,
    /// The hour in which it was last seen.
    pub last_seen_at: Option<Time>,
    /// Whether an event identified it.
    pub is_identified: bool,
    /// How many operations were recorded on it.
    pub version: u64,
}

/// A consistent view of the store.
pub struct Snapshot<'s> {
    pub(super) store: &'s Store,
    rows: SnapshotWithThreadMode<'s, rocksdb::DB>,
    /// The commit count when it was taken, for the row cache.
    commits: u64,
    /// The commit count if it was taken between two commits, and so shows all commits up
    /// to then and nothing else.
    between: Option<u64>,
    /// What ends its reads early, if anything does.
    pub(super) ending: Option<Ending<'s>>,
}

/// The most rows of a person that go into the row cache.
const CACHED_ROWS: usize = if cfg!(test) { 6 } else { 512 };

/// The most bytes that these rows may take.
const CACHED_BYTES: usize = if cfg!(test) { 1 << 10 } else { 64 << 10 };

impl<'s> Snapshot<'s> {
    pub(super) fn new(store: &'s Store) -> Self {
        count_nothing();
        let commits = store.row_cache.now();
        let rows = store.db.snapshot();
        let between = Some(commits).filter(|commits| store.row_cache.is_after(*commits));
        Self { store, rows, commits, between, ending: None }
    }

    /// Returns the number of the state that it shows: snapshots with the same number show the same. `None` if
    /// something was committed while it was taken.
    #[must_use]
    pub fn state(&self) -> Option<u64> {
        self.between
    }

    /// How far every partition was applied, by topic name and partition.
    ///
    /// # Errors
    /// If the store fails or is damaged.
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
    /// If the store fails or is damaged.
    pub fn count(&self, project: ProjectId) -> Result<u64> {
        count_of(self.get(Family::Meta, &Meta::Count(project).key())?)
    }

    /// Returns who owned and owns a distinct id; `None` if it was never seen, or its person was deleted.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn owner(&self, project: ProjectId, distinct_id: &str) -> Result<Option<Ownership>> {
        let key = keys::distinct_id(project, distinct_id);
        self.point(Family::DistinctId, &key, codec::decode_ownership)
    }

    /// Returns the person that a distinct id belongs to now; `None` if it was never seen,
    /// or its person was deleted.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn person_of_distinct_id(
        &self,
        project: ProjectId,
        distinct_id: &str,
    ) -> Result<Option<PersonId>> {
        let owner = self.owner(project, distinct_id)?;
        let now = owner.map(|owner| owner.now(&self.lives(project))).transpose()?;
        Ok(now.map(|life| life.person))
    }

    /// Returns the time up to which events of a distinct id are dropped because its person was deleted.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn dropped(&self, project: ProjectId, distinct_id: &str) -> Result<Option<Time>> {
        let key = keys::dropped(project, self.store.hash(distinct_id));
        let bytes = self.get(Family::Dropped, &key)?;
        bytes.map(|bytes| KeyReader(&bytes).time().ok_or(corrupt(Family::Dropped))).transpose()
    }

    /// Returns the person that was created with a uuid, even if it was merged away or deleted since.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn person_of_uuid(&self, project: ProjectId, uuid: Uuid) -> Result<Option<PersonId>> {
        let decode = |bytes: &[u8]| KeyReader(bytes).u64().ok_or(codec::Corrupt);
        self.point(Family::Uuid, &keys::uuid(project, uuid), decode)
    }

    /// Returns the outcome of the command with this idempotency key; `None` if there was
    /// none in the day before `now`.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn outcome(
        &self,
        project: ProjectId,
        idempotency_key: &str,
        now: Time,
    ) -> Result<Option<CommandOutcome>> {
        let bytes = self.get(Family::Command, &keys::command(project, idempotency_key))?;
        let found = bytes.map(|bytes| decode(codec::decode_outcome, &bytes, Family::Command));
        Ok(found.transpose()?.and_then(|found| found.outcome_at(now)))
    }

    /// Returns a person's head, even if it was merged away since; `None` if it was deleted or never existed.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn head(&self, project: ProjectId, person: PersonId) -> Result<Option<Head>> {
        Ok(match self.person_row(project, person)? {
            Some(PersonRow::Head(head)) => Some(head),
            Some(PersonRow::Tombstone(_)) | None => None,
        })
    }

    /// Returns a person's head, or the tombstone of a deleted person.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn person_row(&self, project: ProjectId, person: PersonId) -> Result<Option<PersonRow>> {
        self.point(Family::Person, &keys::person(project, person), codec::decode_person)
    }

    /// Returns the head of the person of a life; `None` if that life was deleted.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn head_of(&self, project: ProjectId, life: Life) -> Result<Option<Head>> {
        let head = self.head(project, life.person)?;
        Ok(head.filter(|head| head.first_life <= life.number))
    }

    /// Returns the person that this one had become by a moment: itself, or the one that it was merged into.
    /// `None` if that one was deleted.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn became(
        &self,
        project: ProjectId,
        person: PersonId,
        at: Moment,
    ) -> Result<Option<(PersonId, Head)>> {
        let Some(head) = self.head(project, person)? else {
            return Ok(None);
        };
        let life = self.life_at(project, (person, &head), at)?;
        Ok(match self.lives(project).became(life, at.time, at.known)? {
            None => Some((person, head)),
            Some(merged) => {
                let head = self.head_of(project, merged.into)?;
                head.map(|head| (merged.into.person, head))
            }
        })
    }

    /// The life that a person was in at a moment: the newest one that had begun.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn life_at(
        &self,
        project: ProjectId,
        (person, head): (PersonId, &Head),
        at: Moment,
    ) -> Result<Life> {
        let (numbers, until) = (head.first_life..=head.life, Place::end_of(at.time));
        self.lives(project).life_at(person, numbers, until, at.known)
    }

    /// Returns when a person was last seen, and the number of its last change.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn recency(&self, project: ProjectId, person: PersonId) -> Result<Recency> {
        let key = keys::person(project, person);
        Ok(self.point(Family::Recency, &key, codec::decode_recency)?.unwrap_or_default())
    }

    /// Returns a person as it is now, with at most `distinct_ids` of its distinct ids.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn current(
        &self,
        project: ProjectId,
        (id, head): (PersonId, &Head),
        distinct_ids: usize,
    ) -> Result<Person> {
        let values = head.properties().filter_map(|(property, entry)| {
            entry.state.current.clone().map(|value| (property, value))
        });
        Ok(Person {
            id,
            uuid: head.uuid,
            distinct_ids: self.distinct_ids(project, (id, head), Moment::NOW, distinct_ids)?,
            properties: self.named(project, values)?,
            created_at: Some(head.created_at),
            last_seen_at: self.recency(project, id)?.seen,
            is_identified: head.identified.is_some(),
            version: head.version,
        })
    }

    /// Returns values with the names of their properties, sorted by name.
    pub(super) fn named(
        &self,
        project: ProjectId,
        values: impl IntoIterator<Item = (PropertyId, Value)>,
    ) -> Result<Vec<(Arc<str>, Value)>> {
        let values = values.into_iter().filter(|(property, _)| *property >= FIRST_PROPERTY);
        let named = self.store.dictionary().named(project, values);
        let mut named = named.ok_or(Error::Broken("a property has a number without a name"))?;
        named.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(named)
    }

    /// Reads a single row, from the row cache if it is there.
    pub(super) fn point<T>(
        &self,
        family: Family,
        key: &[u8],
        read: impl Fn(&[u8]) -> std::result::Result<T, codec::Corrupt>,
    ) -> Result<Option<T>> {
        self.check_not_ended()?;
        let load = || {
            let mut rows = Packed::default();
            let row = self.rows.get_pinned_cf(self.store.family(family), key)?;
            row.inspect(|row| rows.push((key, row)));
            Ok(Some(rows))
        };
        let bytes;
        let cached = self.store.row_cache.rows(family, key, self.commits, load)?;
        let row = if let Some(rows) = &cached {
            (rows.len() > 0).then(|| rows.row(0).1)
        } else {
            bytes = self.get(family, key)?;
            bytes.as_deref()
        };
        row.map(|row| decode(read, row, family)).transpose()
    }

    /// Returns all rows of a person in a family; `None` if the row cache neither has them nor accepts them.
    /// `database` is an iterator of the family.
    pub(super) fn rows_of<'i, 'd: 'i>(
        &self,
        family: Family,
        person: [u8; PERSON_BYTES],
        database: impl FnOnce() -> &'i mut DBRawIterator<'d>,
    ) -> Result<Option<Arc<Packed>>> {
        let load = || Packed::all(&person, database(), CACHED_ROWS, CACHED_BYTES);
        self.store.row_cache.rows(family, &person, self.commits, load)
    }

    /// Returns a column or a project's distinct ids from the column cache, loaded by `read` if missing;
    /// `None` if the caller has to ask the database.
    pub(super) fn kept(
        &self,
        of: CacheKey,
        read: impl FnOnce(usize) -> Result<Option<CachedIndex>>,
    ) -> Result<Option<CachedIndex>> {
        let Some(at) = self.between else { return Ok(None) };
        self.store.column_cache.get(of, at, || self.store.row_cache.now(), read)
    }

    pub(super) fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.rows.get_cf(self.store.family(family), key)?)
    }

    /// Returns an iterator with the caller's options.
    pub(super) fn scan(&self, family: Family, options: ReadOptions) -> DBRawIterator<'_> {
        self.rows.raw_iterator_cf_opt(self.store.family(family), options)
    }

    /// Returns an iterator. In families that list what a person has, it stays with the
    /// person that it was moved to.
    pub(super) fn iterator(&self, family: Family) -> DBRawIterator<'_> {
        let mut options = ReadOptions::default();
        options.set_prefix_same_as_start(true);
        self.rows.raw_iterator_cf_opt(self.store.family(family), options)
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
