//! Loads what records are likely to need before they are applied: many rows in one go, on all cores.

use rayon::prelude::*;
use rocksdb::{DBPinnableSlice, DBRawIterator, ReadOptions};
use uuid::Uuid;

use super::Transaction;
use super::person::LoadedPerson;
use super::recency::LoadedRecency;
use super::working_set::Loaded;
use crate::person::{PersonId, PersonRow, ProjectId, PropertyId, Time};
use crate::store::options::count_nothing;
use crate::store::packed::Packed;
use crate::store::person_history::PersonHistory;
use crate::store::{Error, Family, Result, Store, codec, decode, keys};

/// An event that is about to be applied.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'e> {
    /// The project.
    pub project: ProjectId,
    /// The distinct id.
    pub distinct_id: &'e str,
    /// The event time.
    pub time: Time,
    /// The event's uuid.
    pub uuid: Uuid,
    /// The numbers of the properties that it updates, as far as they have one.
    pub properties: &'e [Option<PropertyId>],
}

impl Transaction<'_> {
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

    /// Loads what late events are compared with: the histories of their persons, and whether they are recorded
    /// already. To be called after [`Transaction::load`] of the same events.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn load_past<'e>(&mut self, events: impl IntoIterator<Item = Arrival<'e>>) -> Result<()> {
        let (mut persons, mut recorded) = (Vec::new(), Vec::new());
        for Arrival { project, distinct_id, time, uuid, properties } in events {
            let owner = self.working.owners.get(&keys::distinct_id(project, distinct_id));
            let Some(of) = owner.and_then(|owner| owner.person(project)) else { continue };
            let person = self.working.persons.get(&of).map(|person| &*person.row);
            let Some(PersonRow::Head(head)) = person else { continue };
            if head.newest < Some(time) {
                continue;
            }
            recorded.push(keys::recorded(project, of.1, time, uuid));
            let is_newer = |property| {
                head.entries.get(property).is_some_and(|entry| entry.newest >= Some(time))
            };
            if properties.iter().flatten().any(is_newer) {
                persons.push(of);
            }
        }
        self.load_histories(persons)?;
        self.look_up_recorded(recorded)
    }

    /// Loads histories, until they take too much memory.
    fn load_histories(&mut self, mut persons: Vec<(ProjectId, PersonId)>) -> Result<()> {
        persons.sort_unstable();
        persons.dedup();
        let rows = self.ordered(&self.history, |changes| &changes.history);
        let mut cache = self.history_cache.borrow_mut();
        cache.keep_limit();
        persons.retain(|of| !cache.knows(*of));
        let store = self.store;
        let read = |persons: &[(ProjectId, PersonId)]| {
            count_nothing();
            let mut rows = store.rows_of_persons(Family::History);
            let each = persons.iter().map(|&(project, person)| {
                let prefix = keys::person(project, person);
                let rows = Packed::all(&prefix, &mut rows, HISTORY_ROWS, HISTORY_BYTES)?;
                rows.map(|rows| PersonHistory::of(&rows)).transpose()
            });
            each.collect::<Result<Vec<_>>>()
        };
        for persons in persons.chunks(AT_ONCE) {
            if !cache.has_room() {
                break;
            }
            for (of, history) in persons.iter().zip(in_parts(persons, read)?) {
                let Some(history) = history else { continue };
                cache.insert(*of, rows.with_staged(&keys::person(of.0, of.1), history)?);
            }
        }
        Ok(())
    }

    fn look_up_recorded(&mut self, mut keys: Vec<Vec<u8>>) -> Result<()> {
        keys.sort_unstable();
        keys.dedup();
        let store = self.store;
        let read = |keys: &[Vec<u8>]| {
            let found = store.get_sorted(Family::Recorded, keys);
            found.map(|found| Ok(found?.is_some())).collect::<Result<Vec<_>>>()
        };
        let found = in_parts(&keys, read)?;
        self.looked_up = keys.into_iter().zip(found).collect();
        Ok(())
    }
}

impl Store {
    /// Returns an iterator of what is committed now, which stays with the person that it was moved to.
    pub(super) fn rows_of_persons(&self, family: Family) -> DBRawIterator<'_> {
        let mut options = ReadOptions::default();
        options.set_prefix_same_as_start(true);
        self.db.raw_iterator_cf_opt(self.family(family), options)
    }

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

/// The most rows, and bytes of rows, that are loaded of a history that is likely to be read.
const HISTORY_ROWS: usize = if cfg!(test) { 6 } else { 256 };
const HISTORY_BYTES: usize = 64 << 10;

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
