//! Names that are stored as numbers: properties per project, and topics.
//!
//! Numbers are given in the order of the log, so a rebuild gives the same ones. Names are only
//! ever added: a reader that sees one early sees nothing wrong.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hashbrown::HashMap;

use super::keys::{KeyReader, Meta};
use crate::person::record::FIRST_COMMAND_TOPIC;
use crate::person::{FIRST_PROPERTY, ProjectId, PropertyId, Update, json};

/// The names known to a store.
#[derive(Debug, Default)]
pub struct Dictionary(RwLock<Names>);

/// Names that a transaction gave numbers to. They are everybody's only once it commits: a
/// transaction that is dropped leaves none behind.
#[derive(Debug, Default)]
pub(super) struct NewNames {
    properties: HashMap<(ProjectId, String), PropertyId>,
    /// The length of each new name as JSON, and by its size how many there are of a project.
    lengths: HashMap<ProjectId, Vec<usize>>,
    topics: HashMap<String, u16>,
}

impl NewNames {
    /// The number of a new property; the first one of the project is `first`.
    pub fn property(&mut self, project: ProjectId, name: &str, first: PropertyId) -> PropertyId {
        *self.properties.entry((project, name.to_owned())).or_insert_with(|| {
            let lengths = self.lengths.entry(project).or_default();
            lengths.push(json::quoted_bytes(name));
            first.saturating_add(PropertyId::try_from(lengths.len() - 1).unwrap_or(PropertyId::MAX))
        })
    }

    /// The number of a new property that has one.
    pub fn known_property(&self, project: ProjectId, name: &str) -> Option<PropertyId> {
        // Most transactions bring no new name, and then none is copied to look for it.
        let some = self.lengths.contains_key(&project).then(|| (project, name.to_owned()));
        self.properties.get(&some?).copied()
    }

    /// Forgets the newest property of a project.
    pub fn forget_property(&mut self, project: ProjectId, name: &str) {
        if self.properties.remove(&(project, name.to_owned())).is_some() {
            self.lengths.get_mut(&project).and_then(Vec::pop);
        }
    }

    /// The length of a new property's name as JSON, without its quotes; the first one of the project is `first`.
    pub fn name_bytes(&self, project: ProjectId, number: PropertyId, first: PropertyId) -> usize {
        let lengths = self.lengths.get(&project).map(Vec::as_slice).unwrap_or_default();
        let index = number.checked_sub(first).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| lengths.get(index)).copied().unwrap_or(0)
    }

    /// The number of a new topic; the first one is `first`.
    pub fn topic(&mut self, name: &str, first: u16) -> u16 {
        let number = first.saturating_add(u16::try_from(self.topics.len()).unwrap_or(u16::MAX));
        *self.topics.entry(name.to_owned()).or_insert(number)
    }

    /// The number of a new topic of commands; the first one is `first`.
    pub fn command_topic(&mut self, name: &str, first: u16) -> u16 {
        *self.topics.entry(name.to_owned()).or_insert(first)
    }

    /// Every new property.
    pub fn properties(&self) -> impl Iterator<Item = (ProjectId, &str, PropertyId)> {
        self.properties.iter().map(|((project, name), number)| (*project, name.as_str(), *number))
    }

    /// Every new topic.
    pub fn topics(&self) -> impl Iterator<Item = (&str, u16)> {
        self.topics.iter().map(|(name, number)| (name.as_str(), *number))
    }
}

#[derive(Debug, Default)]
struct Names {
    projects: HashMap<ProjectId, Properties>,
    topics: HashMap<String, u16>,
}

#[derive(Debug, Default)]
struct Properties {
    numbers: HashMap<Arc<str>, PropertyId>,
    names: HashMap<PropertyId, Arc<str>>,
    next: PropertyId,
}

impl Properties {
    fn insert(&mut self, name: &str, number: PropertyId) {
        let name: Arc<str> = name.into();
        self.numbers.insert(name.clone(), number);
        self.names.insert(number, name);
        self.next = self.next.max(number + 1);
    }
}

impl Dictionary {
    /// The number of the property by which persons are listed by their email.
    #[must_use]
    pub fn email(&self, project: ProjectId) -> Option<PropertyId> {
        self.property(project, "email")
    }

    /// The number of a property's name, if it has one.
    #[must_use]
    pub fn property(&self, project: ProjectId, name: &str) -> Option<PropertyId> {
        self.read().projects.get(&project)?.numbers.get(name).copied()
    }

    /// The numbers of the properties that are updated, of those that have one.
    #[must_use]
    pub fn numbers(&self, project: ProjectId, updates: &[Update]) -> Vec<Option<PropertyId>> {
        let names = self.read();
        let known = names.projects.get(&project).map(|names| &names.numbers);
        let number = |update: &Update| known?.get(update.name.as_ref()).copied();
        updates.iter().map(number).collect()
    }

    /// The name of a property's number.
    #[must_use]
    pub fn property_name(&self, project: ProjectId, number: PropertyId) -> Option<Arc<str>> {
        self.read().projects.get(&project)?.names.get(&number).cloned()
    }

    /// The length of a property's name as JSON, in bytes, without its quotes.
    pub(super) fn name_bytes(&self, project: ProjectId, number: PropertyId) -> Option<usize> {
        Some(json::quoted_bytes(self.read().projects.get(&project)?.names.get(&number)?))
    }

    /// What belongs to properties, with their names; `None` where one has none.
    #[must_use]
    pub fn named<T>(
        &self,
        project: ProjectId,
        values: impl IntoIterator<Item = (PropertyId, T)>,
    ) -> Option<Vec<(Arc<str>, T)>> {
        let names = self.read();
        let known = names.projects.get(&project).map(|names| &names.names);
        let name = |property: &PropertyId| known?.get(property).cloned();
        values.into_iter().map(|(property, value)| Some((name(&property)?, value))).collect()
    }

    /// The number of a topic, if it has one.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<u16> {
        self.read().topics.get(name).copied()
    }

    /// The name of a topic's number.
    #[must_use]
    pub fn topic_name(&self, number: u16) -> Option<String> {
        let names = self.read();
        names.topics.iter().find(|(_, topic)| **topic == number).map(|(name, _)| name.clone())
    }

    /// The number that the next new property of a project will have.
    pub(super) fn next_property(&self, project: ProjectId) -> PropertyId {
        let names = self.read();
        names.projects.get(&project).map_or(FIRST_PROPERTY, |known| known.next.max(FIRST_PROPERTY))
    }

    /// The number that the next new topic will have.
    pub(super) fn next_topic(&self) -> u16 {
        let names = self.read();
        let captured = names.topics.values().filter(|number| **number < FIRST_COMMAND_TOPIC);
        u16::try_from(captured.count()).unwrap_or(FIRST_COMMAND_TOPIC)
    }

    /// The number that the next new topic of commands will have: commands sort after every event
    /// of their time.
    pub(super) fn next_command_topic(&self) -> u16 {
        let names = self.read();
        let newest = names.topics.values().filter(|number| **number >= FIRST_COMMAND_TOPIC).max();
        newest.map_or(FIRST_COMMAND_TOPIC, |newest| newest.saturating_add(1))
    }

    /// Takes over names that are about to be committed.
    pub(super) fn add(&self, new: NewNames) {
        let mut names = self.write();
        for ((project, name), number) in new.properties {
            names.projects.entry(project).or_default().insert(&name, number);
        }
        names.topics.extend(new.topics);
    }

    /// Takes over one row of family `meta`, where it is a name; `None` where it is damaged.
    pub(super) fn load(&self, key: &[u8], value: &[u8]) -> Option<()> {
        let (tag, rest) = key.split_first()?;
        if *tag == Meta::Topic("").tag() {
            let number = KeyReader(value).u16()?;
            self.write().topics.insert(String::from_utf8(rest.to_vec()).ok()?, number);
        } else if *tag == Meta::Property(0, 0).tag() {
            let mut key = KeyReader(rest);
            let (project, number) = (key.u32()?, key.u32()?);
            let name = std::str::from_utf8(value).ok()?;
            self.write().projects.entry(project).or_default().insert(name, number);
        }
        Some(())
    }

    // Every change is one insertion, so names are whole even where a thread died in between.
    fn read(&self) -> RwLockReadGuard<'_, Names> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Names> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
