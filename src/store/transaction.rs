//! The one writer: load what a batch touches, stage what it changes, commit rows and positions
//! as one atomic batch.
//!
//! A transaction sees what it staged over what is committed. Dropping it without a commit leaves
//! the store as it was.

mod activity;
mod command;
mod commit;
mod identity;
mod person;
mod recency;
mod timeline;

use std::cell::RefCell;
use std::collections::BTreeSet;

use hashbrown::{HashMap, HashSet};
use rayon::prelude::*;
use rocksdb::{DBPinnableSlice, ReadOptions, WriteBatch};

use self::person::LoadedPerson;
use self::recency::LoadedRecency;
use super::dictionary::NewNames;
use super::held::Held;
use super::staged::{Committed, Erased, Ordered, Staged};
use super::walk::Walk;
use super::{Error, Family, LifeSpan, Result, Store, codec, corrupt, keys};
use crate::person::{Life, Ownership, PersonId, ProjectId, PropertyId};

/// One batch in the making.
pub struct Transaction<'s> {
    store: &'s Store,
    owners: HashMap<Vec<u8>, Loaded<Option<Ownership>>>,
    persons: HashMap<(ProjectId, PersonId), LoadedPerson>,
    recency: HashMap<(ProjectId, PersonId), LoadedRecency>,
    /// Whom the record that is being applied changed.
    touched: BTreeSet<(ProjectId, PersonId)>,
    /// The number of the last change in each project.
    last_change: HashMap<ProjectId, u64>,
    /// The ordinal of the next activity in each project.
    next_activity: HashMap<ProjectId, u64>,
    lives: HashMap<(ProjectId, Life), LifeSpan>,
    /// Keys of the families in [`POINTS`].
    points: [Staged; POINTS.len()],
    history: Overlay<'s>,
    timeline: Overlay<'s>,
    members: Overlay<'s>,
    sources: Overlay<'s>,
    recorded: HashSet<Vec<u8>>,
    erased: Erased,
    names: NewNames,
    batch: WriteBatch,
}

/// Families of which single rows are staged, in the order of [`Transaction::points`].
const POINTS: [Family; 4] = [Family::Uuid, Family::Dropped, Family::Command, Family::Activity];

struct Loaded<T> {
    value: T,
    dirty: bool,
}

struct Overlay<'s> {
    committed: RefCell<Committed<'s>>,
    staged: Staged,
}

impl<'s> Overlay<'s> {
    fn new(store: &'s Store, family: Family, held: Held) -> Self {
        let committed = Walk::over(move || {
            let mut options = ReadOptions::default();
            options.set_prefix_same_as_start(true);
            store.db.raw_iterator_cf_opt(store.family(family), options)
        });
        Self { committed: Committed::holding(committed, held), staged: Staged::new() }
    }

    fn ordered<'a>(&'a self, erased: &'a Erased) -> Ordered<'a, 's> {
        Ordered { committed: &self.committed, staged: Some((&self.staged, erased)) }
    }
}

impl<'s> Transaction<'s> {
    pub(super) fn new(store: &'s Store) -> Self {
        let held = || Held::new(store.held_bytes / 4);
        Self {
            store,
            owners: HashMap::new(),
            persons: HashMap::new(),
            recency: HashMap::new(),
            touched: BTreeSet::new(),
            last_change: HashMap::new(),
            next_activity: HashMap::new(),
            lives: HashMap::new(),
            points: [const { Staged::new() }; POINTS.len()],
            history: Overlay::new(store, Family::History, store.take_held()),
            timeline: Overlay::new(store, Family::Timeline, held()),
            members: Overlay::new(store, Family::PersonDistinctId, held()),
            sources: Overlay::new(store, Family::Life, held()),
            recorded: HashSet::new(),
            erased: Erased::new(),
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
        let store = self.store;
        let read = |wanted: &[(Vec<u8>, ProjectId)]| {
            let found = store.get_sorted(Family::DistinctId, wanted.iter().map(|(key, _)| key));
            let owner = |bytes: DBPinnableSlice<'_>| {
                decode(codec::decode_ownership, &bytes, Family::DistinctId)
            };
            found.map(|found| found?.map(owner).transpose()).collect::<Result<Vec<_>>>()
        };
        let found = in_parts(&wanted, read)?;
        let mut persons = Vec::new();
        for ((key, project), value) in wanted.into_iter().zip(found) {
            let owner = value.as_ref().map(|owner| (project, owner.last().life.person));
            persons.extend(owner.filter(|person| !self.persons.contains_key(person)));
            self.owners.insert(key, Loaded { value, dirty: false });
        }
        persons.sort_unstable();
        persons.dedup();
        let read = |persons: &[(ProjectId, PersonId)]| {
            let keys = persons.iter().map(|&(project, id)| keys::person(project, id));
            let keys: Vec<_> = keys.collect();
            let found = store.get_sorted(Family::Person, &keys);
            let recency = store.get_sorted(Family::Recency, &keys);
            let each = persons.iter().zip(found).zip(recency);
            let each = each.map(|((&(project, _), known), recency)| {
                let known = known?
                    .ok_or(Error::Broken("a distinct id belongs to a person that is not there"))?;
                let person = LoadedPerson::committed(store, project, &known)?;
                Ok((person, LoadedRecency::committed(recency?.as_deref())?))
            });
            each.collect::<Result<Vec<_>>>()
        };
        let found = in_parts(&persons, read)?;
        for (of, (person, recency)) in persons.into_iter().zip(found) {
            self.persons.insert(of, person);
            self.recency.entry(of).or_insert(recency);
        }
        Ok(())
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

    /// The number of a topic of commands, given now if it has none.
    pub fn command_topic(&mut self, name: &str) -> u16 {
        let known = self.store.dictionary();
        known
            .topic(name)
            .unwrap_or_else(|| self.names.command_topic(name, known.next_command_topic()))
    }

    /// About how much the transaction stages in histories, timelines and distinct ids.
    #[must_use]
    pub fn staged_bytes(&self) -> usize {
        /// A key, a value, an owner, and the maps that hold them.
        const ROW: usize = 256;
        let overlays = [&self.history, &self.timeline, &self.members, &self.sources];
        let rows: usize = overlays.map(|overlay| overlay.staged.len()).iter().sum();
        (rows + self.points.iter().map(Staged::len).sum::<usize>()) * ROW
    }

    /// Forgets everything that histories, timelines and what is recorded hold of a person.
    pub fn erase(&mut self, project: ProjectId, person: PersonId) {
        let prefix = keys::person(project, person);
        for overlay in [&mut self.history, &mut self.timeline] {
            let rows = overlay.staged.range(prefix.clone()..);
            let rows = rows.map(|(key, _)| key).take_while(|key| key.starts_with(&prefix));
            for key in rows.cloned().collect::<Vec<_>>() {
                overlay.staged.remove(&key);
            }
        }
        self.recorded.retain(|key| !key.starts_with(&prefix));
        self.erased.insert(prefix);
    }

    /// A single row, as it is staged or committed.
    fn point(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let staged = POINTS.iter().position(|of| *of == family);
        match staged.and_then(|index| self.points[index].get(key)) {
            Some(staged) => Ok(staged.clone()),
            None => self.store.get(family, key),
        }
    }

    fn set_point(&mut self, family: Family, key: Vec<u8>, value: Option<Vec<u8>>) {
        if let Some(index) = POINTS.iter().position(|of| *of == family) {
            self.points[index].insert(key, value);
        }
    }
}

impl Store {
    /// Rows whose keys are in order, in one go.
    fn get_sorted<K: AsRef<[u8]>>(
        &self,
        family: Family,
        keys: impl IntoIterator<Item = K>,
    ) -> impl Iterator<Item = Result<Option<DBPinnableSlice<'_>>>> {
        let keys: Vec<K> = keys.into_iter().collect();
        let found = self.db.batched_multi_get_cf(self.family(family), &keys, true);
        found.into_iter().map(|value| Ok(value?))
    }
}

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

/// Decodes a value of a family.
pub(super) fn decode<'b, T>(
    decode: impl Fn(&'b [u8]) -> std::result::Result<T, codec::Corrupt>,
    bytes: &'b [u8],
    family: Family,
) -> Result<T> {
    decode(bytes).map_err(|_| corrupt(family))
}
