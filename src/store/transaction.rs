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
mod load;
mod person;
mod recency;
mod timeline;
mod working_set;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;
use rocksdb::WriteBatch;

pub use self::command::{CommandOutcome, Remembered};
pub use self::commit::Sealed;
pub use self::load::Arrival;
pub use self::recency::Recency;
use self::working_set::WorkingSet;
use super::dictionary::NewNames;
use super::history_cache::HistoryCache;
use super::options::count_nothing;
use super::staged::{Committed, Layer, Ordered, RowChanges};
use super::walk::Walk;
use super::{Family, Result, Store, keys};
use crate::person::{PersonId, ProjectId, PropertyId};

/// One batch that is being built.
pub struct Transaction<'s> {
    store: &'s Store,
    working: WorkingSet,
    /// What the transaction before this one changed, whether or not it is committed. What is not in `working`
    /// is looked up here, and then in the store.
    before: Option<Arc<WorkingSet>>,
    history_cache: RefCell<HistoryCache>,
    history: RefCell<Committed<'s>>,
    timeline: RefCell<Committed<'s>>,
    members: RefCell<Committed<'s>>,
    sources: RefCell<Committed<'s>>,
    commands: RefCell<Committed<'s>>,
    /// By key of family `recorded`: whether the row was committed when it was looked up.
    looked_up: HashMap<Vec<u8>, bool>,
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
        let committed = |family| Committed::new(Walk::over(move || store.rows_of_persons(family)));
        Self {
            store,
            working: WorkingSet::default(),
            before,
            history_cache: RefCell::new(history_cache),
            history: committed(Family::History),
            timeline: committed(Family::Timeline),
            members: committed(Family::PersonDistinctId),
            sources: committed(Family::Life),
            commands: committed(Family::Command),
            looked_up: HashMap::new(),
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
        self.history_cache.get_mut().erase((project, person));
    }

    /// Reads a single row, staged or committed.
    fn point(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let staged = self.working.point(family, key);
        let staged = staged.or_else(|| self.before.as_ref()?.point(family, key));
        staged.map_or_else(|| self.store.get(family, key), |staged| Ok(staged.clone()))
    }
}
