//! Names that are stored as numbers: properties per project, and topics.
//!
//! Numbers are given in the order of the log, so a rebuild gives the same ones. Names are only
//! ever added: a reader that sees one early sees nothing wrong.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::keys::{KeyReader, Meta};
use crate::person::{FIRST_PROPERTY, ProjectId, PropertyId};

/// The names known to a store.
#[derive(Debug, Default)]
pub struct Dictionary(RwLock<Names>);

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
    /// The number of a property's name, if it has one.
    #[must_use]
    pub fn property(&self, project: ProjectId, name: &str) -> Option<PropertyId> {
        self.read().projects.get(&project)?.numbers.get(name).copied()
    }

    /// The name of a property's number.
    #[must_use]
    pub fn property_name(&self, project: ProjectId, number: PropertyId) -> Option<Arc<str>> {
        self.read().projects.get(&project)?.names.get(&number).cloned()
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

    /// Gives a name the next number; the caller writes it down.
    pub(super) fn add_property(&self, project: ProjectId, name: &str) -> PropertyId {
        let mut names = self.write();
        let properties = names.projects.entry(project).or_default();
        let number = properties.next.max(FIRST_PROPERTY);
        properties.insert(name, number);
        number
    }

    /// Gives a topic the next number; the caller writes it down.
    pub(super) fn add_topic(&self, name: &str) -> u16 {
        let mut names = self.write();
        let number = u16::try_from(names.topics.len()).unwrap_or(u16::MAX);
        names.topics.insert(name.to_owned(), number);
        number
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
