//! The one writer: load what a batch touches, stage what it changes, commit rows and positions
//! as one atomic batch.
//!
//! A transaction sees its staged rows over the committed ones. Dropping it without a commit leaves the store
//! as it was. The next one may begin while this one is being committed ([`Sealed::successor`]): it sees the
//! rows that this one staged between its own and the committed ones.

mod activity;
mod command;
mod commit;
mod identity;
mod person;
mod recency;
mod timeline;
mod working_set;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use rayon::prelude::*;
use rocksdb::{DBPinnableSlice, ReadOptions, WriteBatch};

pub use self::command::{CommandOutcome, Remembered};
pub use self::commit::Sealed;
use self::person::LoadedPerson;
use self::recency::LoadedRecency;
pub use self::recency::Recency;
use self::working_set::{Loaded, WorkingSet};
use super::dictionary::NewNames;
use super::history_cache::HistoryCache;
use super::options::count_nothing;
use super::staged::{Committed, Layer, Ordered, RowChanges};
use super::walk::Walk;
use super::{Error, Family, Result, Store, codec, decode, keys};
use crate::person::{PersonId, ProjectId, PropertyId};

/// One batch that is being built.
pub struct Transaction<'s> {
    store: &'s Store,
    working: WorkingSet,
    /// What the transaction before this one changed, whether or not it is committed. What is not in `working`
    /// is looked up here, and then in the store.
    before: Option<Arc<WorkingSet>>,
    history: RefCell<Committed<'s>>,
    timeline: RefCell<Committed<'s>>,
    members: RefCell<Committed<'s>>,
    sources: RefCell<Committed<'s>>,
    commands: RefCell<Committed<'s>>,
    /// The persons that the record being applied has changed.
    touched: BTreeSet<(ProjectId, PersonId)>,
    names: NewNames,
    batch: WriteBatch,
}

impl<'s> Transaction<'s> {
    pub(super) fn new(store: &'s Store) -> Self {
        Self::after(store, None, store.take_history_cache())
    }

    /// Begins a transaction that follows another one, with the history cache of that one.
    fn after(
        store: &'s Store,
        before: Option<Arc<WorkingSet>>,
        history_cache: HistoryCache,
    ) -> Self {
        count_nothing();
        let walk = |family| {
            Walk::over(move || {
                let mut options = ReadOptions::default();
                options.set_prefix_same_as_start(true);
                store.db.raw_iterator_cf_opt(store.family(family), options)
            })
        };
        let committed = |family, cache| Committed::through(walk(family), cache);
        let few = || HistoryCache::new(store.history_cache_bytes / 4);
        Self {
            store,
            working: WorkingSet::default(),
            before,
            history: committed(Family::History, history_cache),
            timeline: committed(Family::Timeline, few()),
            members: committed(Family::PersonDistinctId, few()),
            sources: committed(Family::Life, few()),
            commands: Committed::new(walk(Family::Command)),
            touched: BTreeSet::new(),
            names: NewNames::default(),
            batch: WriteBatch::default(),
        }
    }

    /// Reads a family whose rows are erased with their person.
    fn ordered<'a>(
        &'a self,
        committed: &'a RefCell<Committed<'s>>,
        staged: fn(&WorkingSet) -> &RowChanges,
    ) -> Ordered<'a, 's> {
        self.over(committed, |changes| Layer {
            staged: staged(changes),
            erased: Some(&changes.erased),
        })
    }

    /// Reads a family whose rows outlive their person.
    fn kept<'a>(
        &'a self,
        committed: &'a RefCell<Committed<'s>>,
        staged: fn(&WorkingSet) -> &RowChanges,
    ) -> Ordered<'a, 's> {
        self.over(committed, |changes| Layer { staged: staged(changes), erased: None })
    }

    fn over<'a>(
        &'a self,
        committed: &'a RefCell<Committed<'s>>,
        layer: impl Fn(&'a WorkingSet) -> Layer<'a>,
    ) -> Ordered<'a, 's> {
        let before = self.before.as_deref().map(&layer);
        Ordered::over(committed, [Some(layer(&self.working)), before])
    }

    /// Drops the changes of the transaction before this one, which must be committed. To be called
    /// before this one reads anything.
    pub fn forget_predecessor(&mut self) {
        self.before = None;
    }

    /// Loads the owners of some distinct ids and their heads, each kind in one go. Once the heads take too
    /// much memory, no more are loaded here, but when they are needed.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn load<'i>(
        &mut self,
        distinct_ids: impl IntoIterator<Item = (ProjectId, &'i str)>,
    ) -> Result<()> {
        let persons = self.load_owners(distinct_ids)?;
        self.load_persons(persons)
    }

    /// Loads the owners of distinct ids, and returns the persons that they name.
    fn load_owners<'i>(
        &mut self,
        distinct_ids: impl IntoIterator<Item = (ProjectId, &'i str)>,
    ) -> Result<Vec<(ProjectId, PersonId)>> {
        let wanted =
            distinct_ids.into_iter().map(|(project, id)| (keys::distinct_id(project, id), project));
        // An owner that is loaded already may be newer than the committed one.
        let owners = &self.working.owners;
        let mut wanted: Vec<_> = wanted.filter(|(key, _)| !owners.contains_key(key)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut persons = Vec::new();
        wanted.retain(|(key, project)| {
            let carried = self.before.as_ref().and_then(|before| before.owners.get(key));
            if let Some(carried) = carried {
                persons.extend(carried.person(*project));
                self.working.owners.insert(key.clone(), carried.carried());
            }
            carried.is_none()
        });
        let store = self.store;
        let read = |wanted: &[(Vec<u8>, ProjectId)]| {
            let found = store.get_sorted(Family::DistinctId, wanted.iter().map(|(key, _)| key));
            let owner = |bytes: DBPinnableSlice<'_>| {
                decode(codec::decode_ownership, &bytes, Family::DistinctId)
            };
            found.map(|found| found?.map(owner).transpose()).collect::<Result<Vec<_>>>()
        };
        let found = in_parts(&wanted, read)?;
        for ((key, project), value) in wanted.into_iter().zip(found) {
            let loaded = Loaded { value, dirty: false };
            persons.extend(loaded.person(project));
            self.working.owners.insert(key, loaded);
        }
        Ok(persons)
    }

    /// Loads persons with their recency, until the heads take too much memory.
    fn load_persons(&mut self, mut persons: Vec<(ProjectId, PersonId)>) -> Result<()> {
        let store = self.store;
        persons.sort_unstable();
        persons.dedup();
        persons.retain(|of| !self.working.carry(self.before.as_deref(), *of));
        let read = |persons: &[(ProjectId, PersonId)]| {
            let keys = persons.iter().map(|&(project, id)| keys::person(project, id));
            let keys: Vec<_> = keys.collect();
            let found = store.get_sorted(Family::Person, &keys);
            let recency = store.get_sorted(Family::Recency, &keys);
            let each = persons.iter().zip(found).zip(recency);
            let each = each.map(|((_, known), recency)| {
                let known = known?
                    .ok_or(Error::Broken("a distinct id belongs to a person that is not there"))?;
                let person = LoadedPerson::committed(&known)?;
                Ok((known.len(), person, LoadedRecency::committed(recency?.as_deref())?))
            });
            each.collect::<Result<Vec<_>>>()
        };
        for persons in persons.chunks(AT_ONCE) {
            if self.working.loaded_bytes > LOADED_BYTES {
                break;
            }
            for (of, (bytes, person, recency)) in persons.iter().zip(in_parts(persons, read)?) {
                self.working.loaded_bytes += bytes;
                self.working.persons.insert(*of, person);
                self.working.recency.entry(*of).or_insert(recency);
            }
        }
        Ok(())
    }

    /// Returns what this transaction changes and, below that, what the one before it did while it is being
    /// committed.
    fn changes(&self) -> impl Iterator<Item = &WorkingSet> {
        std::iter::once(&self.working).chain(self.before.as_deref())
    }

    /// Returns the number of a property's name, if it has one.
    #[must_use]
    pub fn known_property(&self, project: ProjectId, name: &str) -> Option<PropertyId> {
        let known = self.store.dictionary().property(project, name);
        known.or_else(|| self.names.known_property(project, name))
    }

    /// Removes the property that was numbered last, under which nothing was written after all.
    pub fn forget_property(&mut self, project: ProjectId, name: &str) {
        self.names.forget_property(project, name);
    }

    /// Returns the number of a property's name, and assigns one if it has none.
    pub fn property(&mut self, project: ProjectId, name: &str) -> PropertyId {
        let known = self.store.dictionary();
        known
            .property(project, name)
            .unwrap_or_else(|| self.names.property(project, name, known.next_property(project)))
    }

    /// The length of a property's name as JSON, in bytes, without its quotes.
    #[must_use]
    pub fn name_bytes(&self, project: ProjectId, property: PropertyId) -> usize {
        let known = self.store.dictionary();
        match known.name_bytes(project, property) {
            Some(bytes) => bytes,
            None => self.names.name_bytes(project, property, known.next_property(project)),
        }
    }

    /// Returns the number of a topic, and assigns one if it has none.
    pub fn topic(&mut self, name: &str) -> u16 {
        let known = self.store.dictionary();
        known.topic(name).unwrap_or_else(|| self.names.topic(name, known.next_topic()))
    }

    /// Returns the number of a topic of commands, and assigns one if it has none.
    pub fn command_topic(&mut self, name: &str) -> u16 {
        let known = self.store.dictionary();
        known
            .topic(name)
            .unwrap_or_else(|| self.names.command_topic(name, known.next_command_topic()))
    }

    /// Returns about how many bytes the transaction has staged, and loaded of persons. The memory that both
    /// take, and the batch that a commit writes, are several times as large.
    #[must_use]
    pub fn staged_bytes(&self) -> usize {
        self.working.bytes + self.working.loaded_bytes
    }

    /// Erases a person's history, timeline and recorded events.
    pub fn erase(&mut self, project: ProjectId, person: PersonId) {
        self.working.erase(keys::person(project, person));
    }

    /// Reads a single row, staged or committed.
    fn point(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let staged = self.working.point(family, key);
        let staged = staged.or_else(|| self.before.as_ref()?.point(family, key));
        staged.map_or_else(|| self.store.get(family, key), |staged| Ok(staged.clone()))
    }
}

impl Store {
    /// Reads rows in one go. The keys must be sorted.
    fn get_sorted<K: AsRef<[u8]>>(
        &self,
        family: Family,
        keys: impl IntoIterator<Item = K>,
    ) -> impl Iterator<Item = Result<Option<DBPinnableSlice<'_>>>> {
        // The parts are also read by other threads than the transaction's.
        count_nothing();
        let keys: Vec<K> = keys.into_iter().collect();
        let found = self.db.batched_multi_get_cf(self.family(family), &keys, true);
        found.into_iter().map(|value| Ok(value?))
    }
}

/// Heads are read this many at a time, until those loaded take more bytes than `LOADED_BYTES`.
const AT_ONCE: usize = 2 * PART;
const LOADED_BYTES: usize = if cfg!(test) { 4 << 10 } else { 16 << 20 };

/// How many keys one task reads.
const PART: usize = if cfg!(test) { 4 } else { 128 };

/// Reads part by part, on all cores if there is more than one part.
fn in_parts<K: Sync, T: Send>(
    all: &[K],
    read: impl Fn(&[K]) -> Result<Vec<T>> + Send + Sync,
) -> Result<Vec<T>> {
    if all.len() <= PART {
        return read(all);
    }
    let parts = all.par_chunks(PART).map(read).collect::<Result<Vec<_>>>()?;
    Ok(parts.into_iter().flatten().collect())
}
