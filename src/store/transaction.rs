//! The one writer: load what a batch touches, stage what it changes, commit rows and positions
//! as one atomic batch.
//!
//! A transaction sees what it staged over what is committed. Dropping it without a commit leaves
//! the store as it was. The next one may begin while it is being committed ([`Sealed::successor`]): that one
//! sees what this one staged between its own and what is committed.

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

/// One batch in the making.
pub struct Transaction<'s> {
    store: &'s Store,
    working: WorkingSet,
    /// What the transaction before this one changed, which may or may not be committed: where something
    /// is not in `changes` it is looked for here first, and in the store after that.
    before: Option<Arc<WorkingSet>>,
    history: RefCell<Committed<'s>>,
    timeline: RefCell<Committed<'s>>,
    members: RefCell<Committed<'s>>,
    sources: RefCell<Committed<'s>>,
    commands: RefCell<Committed<'s>>,
    /// Whom the record that is being applied changed.
    touched: BTreeSet<(ProjectId, PersonId)>,
    names: NewNames,
    batch: WriteBatch,
}

impl<'s> Transaction<'s> {
    pub(super) fn new(store: &'s Store) -> Self {
        Self::after(store, None, store.take_held())
    }

    /// One that follows another, with what that one held of histories.
    fn after(store: &'s Store, before: Option<Arc<WorkingSet>>, held: HistoryCache) -> Self {
        count_nothing();
        let walk = |family| {
            Walk::over(move || {
                let mut options = ReadOptions::default();
                options.set_prefix_same_as_start(true);
                store.db.raw_iterator_cf_opt(store.family(family), options)
            })
        };
        let committed = |family, held| Committed::holding(walk(family), held);
        let few = || HistoryCache::new(store.history_cache_bytes / 4);
        Self {
            store,
            working: WorkingSet::default(),
            before,
            history: committed(Family::History, held),
            timeline: committed(Family::Timeline, few()),
            members: committed(Family::PersonDistinctId, few()),
            sources: committed(Family::Life, few()),
            commands: Committed::new(walk(Family::Command)),
            touched: BTreeSet::new(),
            names: NewNames::default(),
            batch: WriteBatch::default(),
        }
    }

    /// Rows of a family that a person takes along when it is erased.
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

    /// Rows of a family that outlive their persons.
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

    /// Lets go of what the transaction before this one changed, which is committed. This one has read
    /// nothing yet.
    pub fn forget_predecessor(&mut self) {
        self.before = None;
    }

    /// Loads the owners of some distinct ids and their heads, each kind in one go, as far as the heads
    /// are not too much to hold; the others are loaded when they are asked for.
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

    /// The number of a property's name, if it has one.
    #[must_use]
    pub fn known_property(&self, project: ProjectId, name: &str) -> Option<PropertyId> {
        let known = self.store.dictionary().property(project, name);
        known.or_else(|| self.names.known_property(project, name))
    }

    /// Takes back the number of a property that was given last, as nothing was written under it.
    pub fn forget_property(&mut self, project: ProjectId, name: &str) {
        self.names.forget_property(project, name);
    }

    /// The number of a property's name, given now if it has none.
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

    /// The number of a topic, given now if it has none.
    pub fn topic(&mut self, name: &str) -> u16 {
        let known = self.store.dictionary();
        known.topic(name).unwrap_or_else(|| self.names.topic(name, known.next_topic()))
    }

    /// The number of a topic of commands, given now if it has none.
    pub fn command_topic(&mut self, name: &str) -> u16 {
        let known = self.store.dictionary();
        known
            .topic(name)
            .unwrap_or_else(|| self.names.command_topic(name, known.next_command_topic()))
    }

    /// About what the transaction stages, and what it loaded of persons, in bytes: what it holds of both in
    /// memory, and writes when it is committed, is some times as much.
    #[must_use]
    pub fn staged_bytes(&self) -> usize {
        self.working.bytes + self.working.loaded_bytes
    }

    /// Forgets everything that histories, timelines and what is recorded hold of a person.
    pub fn erase(&mut self, project: ProjectId, person: PersonId) {
        self.working.erase(keys::person(project, person));
    }

    /// A single row, as it is staged or committed.
    fn point(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let staged = self.working.point(family, key);
        let staged = staged.or_else(|| self.before.as_ref()?.point(family, key));
        staged.map_or_else(|| self.store.get(family, key), |staged| Ok(staged.clone()))
    }
}

impl Store {
    /// Rows whose keys are in order, in one go.
    fn get_sorted<K: AsRef<[u8]>>(
        &self,
        family: Family,
        keys: impl IntoIterator<Item = K>,
    ) -> impl Iterator<Item = Result<Option<DBPinnableSlice<'_>>>> {
        // Other threads than the transaction's read parts.
        count_nothing();
        let keys: Vec<K> = keys.into_iter().collect();
        let found = self.db.batched_multi_get_cf(self.family(family), &keys, true);
        found.into_iter().map(|value| Ok(value?))
    }
}

/// So many heads are read at once, while those that were loaded take no more bytes than these.
const AT_ONCE: usize = 2 * PART;
const LOADED_BYTES: usize = if cfg!(test) { 4 << 10 } else { 16 << 20 };

/// So much is read by one core.
const PART: usize = if cfg!(test) { 4 } else { 128 };

/// Reads part by part, on all cores where there are several parts.
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
