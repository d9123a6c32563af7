//! The dictionary: names that are stored as numbers, which are properties per project, and topics.
//!
//! Numbers are assigned in the order of the log, so a rebuild assigns the same ones. Names are only added,
//! never changed, so a reader may see a name before it is committed.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hashbrown::HashMap;

use super::keys::{KeyReader, Meta};
use crate::person::record::FIRST_COMMAND_TOPIC;
use crate::person::{FIRST_PROPERTY, ProjectId, PropertyId, Update, json};

/// The names known to a store.
#[derive(Debug, Default)]
pub struct Dictionary(RwLock<Names>);

/// Names to which a transaction assigned numbers. They are added to the [`Dictionary`] when it is sealed; a
/// transaction that is dropped before leaves none behind.
#[derive(Debug, Default)]
pub(super) struct NewNames {
    properties: HashMap<(ProjectId, String), PropertyId>,
    /// For each project, the length of each new name as JSON without its quotes, in the order of their
    /// numbers.
    lengths: HashMap<ProjectId, Vec<usize>>,
    topics: HashMap<String, u16>,
}

impl NewNames {
    /// Returns the number of a new property, assigned now if it has none. The project's first one is `first`.
    pub fn property(&mut self, project: ProjectId, name: &str, first: PropertyId) -> PropertyId {
        *self.properties.entry((project, name.to_owned())).or_insert_with(|| {
            let lengths = self.lengths.entry(project).or_default();
            lengths.push(json::quoted_bytes(name));
            first.saturating_add(PropertyId::try_from(lengths.len() - 1).unwrap_or(PropertyId::MAX))
        })
    }

    /// Returns the number of a new property; `None` if it is not among the new ones.
    pub fn known_property(&self, project: ProjectId, name: &str) -> Option<PropertyId> {
        // Most transactions bring no new name: then the name need not be copied to look it up.
        let some = self.lengths.contains_key(&project).then(|| (project, name.to_owned()));
        self.properties.get(&some?).copied()
    }

    /// Removes the property of a project that was added last.
    pub fn forget_property(&mut self, project: ProjectId, name: &str) {
        if self.properties.remove(&(project, name.to_owned())).is_some() {
            self.lengths.get_mut(&project).and_then(Vec::pop);
        }
    }

    /// Returns the length of a new property's name as JSON, in bytes, without its quotes; 0 if there is no
    /// such property. The project's first new number is `first`.
    pub fn name_bytes(&self, project: ProjectId, number: PropertyId, first: PropertyId) -> usize {
        let lengths = self.lengths.get(&project).map(Vec::as_slice).unwrap_or_default();
        let index = number.checked_sub(first).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| lengths.get(index)).copied().unwrap_or(0)
    }

    /// Returns the number of a new topic, assigned now if it has none. The first one is `first`.
    pub fn topic(&mut self, name: &str, first: u16) -> u16 {
        let number = first.saturating_add(u16::try_from(self.topics.len()).unwrap_or(u16::MAX));
        *self.topics.entry(name.to_owned()).or_insert(number)
    }

    /// Returns the number of a new command topic, which is `first` if it has none yet.
    pub fn command_topic(&mut self, name: &str, first: u16) -> u16 {
        *self.topics.entry(name.to_owned()).or_insert(first)
    }

    /// Returns every new property.
    pub fn properties(&self) -> impl Iterator<Item = (ProjectId, &str, PropertyId)> {
        self.properties.iter().map(|((project, name), number)| (*project, name.as_str(), *number))
    }

    /// Returns every new topic.
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
    /// The names in the order of their numbers, which begin with [`FIRST_PROPERTY`] and have no gaps.
    names: Vec<Arc<str>>,
}

impl Properties {
    /// Returns the number that the next new name will have.
    fn next(&self) -> PropertyId {
        let names = PropertyId::try_from(self.names.len()).unwrap_or(PropertyId::MAX);
        FIRST_PROPERTY.saturating_add(names)
    }

    fn name(&self, number: PropertyId) -> Option<&Arc<str>> {
        let index = usize::try_from(number.checked_sub(FIRST_PROPERTY)?).ok()?;
        self.names.get(index)
    }

    fn push(&mut self, name: &str) {
        let (name, number): (Arc<str>, _) = (name.into(), self.next());
        self.numbers.insert(name.clone(), number);
        self.names.push(name);
    }
}

impl Dictionary {
    /// Returns the number of the property `email`, by which persons are indexed; `None` if it has none.
    #[must_use]
    pub fn email(&self, project: ProjectId) -> Option<PropertyId> {
        self.property(project, "email")
    }

    /// Returns the number of a property, if it has one.
    #[must_use]
    pub fn property(&self, project: ProjectId, name: &str) -> Option<PropertyId> {
        self.read().projects.get(&project)?.numbers.get(name).copied()
    }

    /// Returns the number of each updated property; `None` for one that has no number.
    #[must_use]
    pub fn numbers(&self, project: ProjectId, updates: &[Update]) -> Vec<Option<PropertyId>> {
        let names = self.read();
        let known = names.projects.get(&project).map(|names| &names.numbers);
        let number = |update: &Update| known?.get(update.name.as_ref()).copied();
        updates.iter().map(number).collect()
    }

    /// Returns the name of the property that has a number.
    #[must_use]
    pub fn property_name(&self, project: ProjectId, number: PropertyId) -> Option<Arc<str>> {
        self.read().projects.get(&project)?.name(number).cloned()
    }

    /// Returns the length of a property's name as JSON, in bytes, without its quotes.
    pub(super) fn name_bytes(&self, project: ProjectId, number: PropertyId) -> Option<usize> {
        Some(json::quoted_bytes(self.read().projects.get(&project)?.name(number)?))
    }

    /// Returns the values with the names of their properties; `None` if a property has no name.
    #[must_use]
    pub fn named<T>(
        &self,
        project: ProjectId,
        values: impl IntoIterator<Item = (PropertyId, T)>,
    ) -> Option<Vec<(Arc<str>, T)>> {
        let names = self.read();
        let known = names.projects.get(&project);
        let name = |property| known?.name(property).cloned();
        values.into_iter().map(|(property, value)| Some((name(property)?, value))).collect()
    }

    /// Returns the number of a topic, if it has one.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<u16> {
        self.read().topics.get(name).copied()
    }

    /// Returns the name of the topic that has a number.
    #[must_use]
    pub fn topic_name(&self, number: u16) -> Option<String> {
        let names = self.read();
        names.topics.iter().find(|(_, topic)| **topic == number).map(|(name, _)| name.clone())
    }

    /// Returns the number that the next new property of a project will have.
    pub(super) fn next_property(&self, project: ProjectId) -> PropertyId {
        let names = self.read();
        names.projects.get(&project).map_or(FIRST_PROPERTY, Properties::next)
    }

    /// Returns the number that the next new topic will have.
    pub(super) fn next_topic(&self) -> u16 {
        let names = self.read();
        let captured = names.topics.values().filter(|number| **number < FIRST_COMMAND_TOPIC);
        u16::try_from(captured.count()).unwrap_or(FIRST_COMMAND_TOPIC)
    }

    /// Returns the number that the next new command topic will have. These are above all others, so that
    /// commands sort after every event of the same time.
    pub(super) fn next_command_topic(&self) -> u16 {
        let names = self.read();
        let newest = names.topics.values().filter(|number| **number >= FIRST_COMMAND_TOPIC).max();
        newest.map_or(FIRST_COMMAND_TOPIC, |newest| newest.saturating_add(1))
    }

    /// Adds names that are about to be committed.
    pub(super) fn add(&self, new: NewNames) {
        let mut properties: Vec<_> = new.properties().collect();
        properties.sort_unstable_by_key(|(project, _, number)| (*project, *number));
        let mut names = self.write();
        for (project, name, _) in properties {
            names.projects.entry(project).or_default().push(name);
        }
        names.topics.extend(new.topics);
    }

    /// Adds the name in a row of family `meta`, if the row is a name; `None` if the row is damaged or one
    /// before it is missing.
    pub(super) fn load(&self, key: &[u8], value: &[u8]) -> Option<()> {
        let (tag, rest) = key.split_first()?;
        if *tag == Meta::Topic("").tag() {
            let number = KeyReader(value).u16()?;
            self.write().topics.insert(String::from_utf8(rest.to_vec()).ok()?, number);
        } else if *tag == Meta::Property(0, 0).tag() {
            let mut key = KeyReader(rest);
            let (project, number) = (key.u32()?, key.u32()?);
            let name = std::str::from_utf8(value).ok()?;
            let mut names = self.write();
            let properties = names.projects.entry(project).or_default();
            if number != properties.next() {
                return None;
            }
            properties.push(name);
        }
        Some(())
    }

    // A poisoned lock is ignored: all that happens under it are insertions of whole names.
    fn read(&self) -> RwLockReadGuard<'_, Names> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Names> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
