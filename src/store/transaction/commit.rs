//! The commit of everything that a transaction staged, as one atomic batch.

use std::collections::HashMap;
use std::sync::Arc;

use rocksdb::{WriteBatch, WriteOptions};

use super::Transaction;
use super::recency::LoadedRecency;
use super::working_set::{POINTS, WorkingSet};
use crate::person::{PersonId, ProjectId, Time};
use crate::store::column_cache::CacheKey;
use crate::store::history_cache::HistoryCache;
use crate::store::keys::Meta;
use crate::store::list::Listed;
use crate::store::options::count_nothing;
use crate::store::row_cache::Invalidation;
use crate::store::{Applied, Error, Family, NEVER, Result, Store, codec, column, keys};

/// Up to this many rows of an erased person are deleted one by one.
const FEW_ROWS: usize = 256;

/// A transaction that takes no more changes and is to be committed. Transactions must be committed in the
/// order in which they were sealed. One that is dropped instead is lost, with those that follow it.
pub struct Sealed<'s> {
    store: &'s Store,
    working: Arc<WorkingSet>,
    /// The changes of the transaction before this one. The commit drops them, as that takes a while.
    before: Option<Arc<WorkingSet>>,
    /// The history cache, unless the next transaction has taken it.
    history_cache: Option<HistoryCache>,
    batch: WriteBatch,
}

impl<'s> Transaction<'s> {
    /// Stages how far a partition is applied.
    pub fn set_applied(&mut self, topic: u16, partition: u32, applied: &Applied) {
        let key = Meta::Position(topic, partition).key();
        let family = self.store.family(Family::Meta);
        self.batch.put_cf(family, key, codec::encode_applied(applied));
    }

    /// Writes everything as one atomic batch.
    ///
    /// # Errors
    /// If RocksDB fails: the store is poisoned then, and refuses every later commit. [`Error::ReadOnly`] if
    /// the store was opened read-only.
    pub fn commit(self) -> Result<()> {
        self.seal()?.commit()
    }

    /// Ends the changes, so that the next transaction can begin while this one is committed.
    ///
    /// # Errors
    /// If the store fails or is damaged, was opened read-only, or is poisoned.
    pub fn seal(mut self) -> Result<Sealed<'s>> {
        self.store.check_writable()?;
        self.number_changes()?;
        // A person that was only seen has to be loaded too, for the lists.
        let changed = self.working.recency.iter().filter(|(_, loaded)| loaded.is_changed());
        for (project, person) in changed.map(|(of, _)| *of).collect::<Vec<_>>() {
            self.person_row(project, person)?;
        }
        self.stage_names();
        let mut cache = self.history_cache.into_inner();
        cache.end_transaction();
        let (store, before, batch) = (self.store, self.before, self.batch);
        let (working, history_cache) = (Arc::new(self.working), Some(cache));
        Ok(Sealed { store, working, before, history_cache, batch })
    }

    fn stage_names(&mut self) {
        let family = self.store.family(Family::Meta);
        for (project, name, number) in self.names.properties() {
            self.batch.put_cf(family, Meta::Property(project, number).key(), name);
        }
        for (name, number) in self.names.topics() {
            self.batch.put_cf(family, Meta::Topic(name).key(), number.to_be_bytes());
        }
        // Readers know the names before they are committed, so that none meets a number without a name. If
        // the commit fails, the store is poisoned and no later transaction uses them.
        self.store.dictionary().add(std::mem::take(&mut self.names));
    }
}

impl<'s> Sealed<'s> {
    /// Begins the transaction that follows this one, whether or not this one is committed by then.
    #[must_use]
    pub fn successor(&mut self) -> Transaction<'s> {
        let cache = self.history_cache.take().unwrap_or_else(|| self.store.take_history_cache());
        Transaction::after(self.store, Some(self.working.clone()), cache)
    }

    /// Writes everything as one atomic batch.
    ///
    /// # Errors
    /// As [`Transaction::commit`].
    pub fn commit(self) -> Result<()> {
        let store = self.store;
        store.check_writable()?;
        self.write().inspect_err(|_| store.poison())
    }

    /// Writes the batch. Rows are added in key order where that costs little, as
    /// memtables insert them faster then.
    fn write(mut self) -> Result<()> {
        count_nothing();
        drop(self.before.take());
        let mut invalidation = self.store.row_cache.begin();
        // Erasures go first: rows staged for an erased person belong to its new life after the deletion.
        self.stage_erased(&mut invalidation)?;
        self.stage_owners(&mut invalidation);
        self.stage_recency(&mut invalidation)?;
        self.stage_persons(&mut invalidation)?;
        let changes = &*self.working;
        let ordered = [
            (Family::History, &changes.history),
            (Family::Timeline, &changes.timeline),
            (Family::PersonDistinctId, &changes.members),
            (Family::Life, &changes.sources),
        ];
        for (family, staged) in ordered.into_iter().chain(POINTS.into_iter().zip(&changes.points)) {
            let handle = self.store.family(family);
            for (key, value) in staged {
                invalidation.row(family, key);
                put(&mut self.batch, handle, key, value.as_deref());
            }
        }
        let family = self.store.family(Family::Recorded);
        for key in &changes.recorded {
            self.batch.put_cf(family, key, []);
        }
        let mut options = WriteOptions::default();
        options.set_sync(self.store.sync_writes);
        self.store.db.write_opt(self.batch, &options)?;
        self.store.row_cache.end();
        self.store.share_memory();
        if let Some(cache) = self.history_cache {
            self.store.put_history_cache(cache);
        }
        Ok(())
    }

    /// Deletes the rows of erased persons: few one by one, many as a range, which makes
    /// later reads across it slower.
    fn stage_erased(&mut self, invalidation: &mut Invalidation<'_>) -> Result<()> {
        for prefix in &self.working.erased {
            for family in [Family::History, Family::Timeline, Family::Recorded] {
                invalidation.row(family, prefix);
                let few = self.store.keys_of(family, prefix, FEW_ROWS)?;
                let handle = self.store.family(family);
                match few {
                    Some(keys) => keys.iter().for_each(|key| self.batch.delete_cf(handle, key)),
                    None => self.batch.delete_range_cf(handle, prefix, &keys::after(prefix)),
                }
            }
        }
        Ok(())
    }

    fn stage_owners(&mut self, invalidation: &mut Invalidation<'_>) {
        let family = self.store.family(Family::DistinctId);
        for (key, loaded) in self.working.owners.iter().filter(|(_, loaded)| loaded.dirty) {
            let row = loaded.value.as_ref().map(codec::encode_ownership);
            invalidation.row(Family::DistinctId, key);
            put(&mut self.batch, family, key, row.as_deref());
            if let Some((project, id)) = keys::distinct_id_of(key) {
                let change = || (id.to_vec(), row.map(|_| Vec::new()));
                self.store.note_index_changes(CacheKey::Ids(project), std::iter::once_with(change));
            }
        }
        for (&(project, life), span) in &self.working.lives {
            let row = codec::encode_life_span(span);
            let key = keys::life(project, life);
            invalidation.row(Family::Life, &key);
            self.batch.put_cf(self.store.family(Family::Life), key, row);
        }
    }

    /// Stages the recency of each person that changed, and its rows in `by_change` and `by_last_seen_at`.
    fn stage_recency(&mut self, invalidation: &mut Invalidation<'_>) -> Result<()> {
        let changed = self.working.recency.iter().filter(|(_, loaded)| loaded.is_changed());
        let mut changed: Vec<_> = changed.map(|(of, loaded)| (*of, *loaded)).collect();
        changed.sort_unstable_by_key(|(of, _)| *of);
        for (of @ (project, person), LoadedRecency { now, before }) in changed {
            let row = codec::encode_recency(&now);
            let key = keys::person(project, person);
            invalidation.row(Family::Recency, &key);
            self.batch.put_cf(self.store.family(Family::Recency), key, row);
            let family = self.store.family(Family::ByChange);
            if before.change > 0 {
                self.batch.delete_cf(family, keys::by_change(project, before.change));
            }
            let key = keys::by_change(project, now.change);
            self.batch.put_cf(family, key, person.to_be_bytes());
            let Some(loaded) = self.working.persons.get(&of) else {
                return Err(Error::Broken("somebody changed who is not there"));
            };
            let now_listed = Listed::of(&loaded.row, None);
            let was_listed = match &loaded.before {
                Some(before) => before.listed.as_ref(),
                None => now_listed.as_ref(),
            };
            let before = was_listed.map(|listed| (listed, before.seen));
            let after = now_listed.as_ref().map(|listed| (listed, now.seen));
            Self::stage_last_seen(&mut self.batch, self.store, of, before, after);
        }
        Ok(())
    }

    /// Stages what changes in `by_last_seen_at` if the person was seen again, or enters or leaves the lists.
    fn stage_last_seen(
        batch: &mut WriteBatch,
        store: &Store,
        (project, person): (ProjectId, PersonId),
        before: Option<(&Listed, Option<Time>)>,
        after: Option<(&Listed, Option<Time>)>,
    ) {
        let key = |of: Option<(&Listed, Option<Time>)>| {
            of.map(|(listed, seen)| keys::by_time(project, seen.unwrap_or(NEVER), listed.uuid))
        };
        let (before, after) = (key(before), key(after));
        if before == after {
            return;
        }
        let family = store.family(Family::ByLastSeenAt);
        before.inspect(|key| batch.delete_cf(family, key));
        after.inspect(|key| batch.put_cf(family, key, person.to_be_bytes()));
    }

    fn stage_persons(&mut self, invalidation: &mut Invalidation<'_>) -> Result<()> {
        let mut live: HashMap<ProjectId, i64> = HashMap::new();
        let mut columns = column::Writes::default();
        let changed = self.working.persons.iter();
        let mut changed: Vec<_> = changed
            .filter_map(|(of, loaded)| loaded.before.as_ref().map(|before| (*of, before, loaded)))
            .collect();
        changed.sort_unstable_by_key(|(of, ..)| *of);
        for ((project, person), before, loaded) in changed {
            let row = &loaded.row;
            let key = keys::person(project, person);
            invalidation.row(Family::Person, &key);
            self.batch.put_cf(self.store.family(Family::Person), key, codec::encode_person(row));
            let email = self.store.dictionary().email(project);
            let (listed, after) = (&before.listed, Listed::of(row, email));
            *live.entry(project).or_default() +=
                i64::from(after.is_some()) - i64::from(listed.is_some());
            let of = (project, person);
            Listed::stage(&mut self.batch, self.store, of, listed.as_ref(), after.as_ref());
            columns.note(of, &before.columns, column::columns(row));
        }
        columns.stage(&mut self.batch, self.store);
        for (project, change) in live.into_iter().filter(|(_, change)| *change != 0) {
            let count = self.store.count(project)?.saturating_add_signed(change);
            let family = self.store.family(Family::Meta);
            let key = Meta::Count(project).key();
            if count == 0 {
                self.batch.delete_cf(family, key);
            } else {
                self.batch.put_cf(family, key, count.to_be_bytes());
            }
        }
        Ok(())
    }
}

/// Adds a row to a batch, or its deletion if `row` is `None`.
fn put(batch: &mut WriteBatch, family: &rocksdb::ColumnFamily, key: &[u8], row: Option<&[u8]>) {
    match row {
        Some(row) => batch.put_cf(family, key, row),
        None => batch.delete_cf(family, key),
    }
}
