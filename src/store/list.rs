//! How the lists show a person: the indexes, and the pages read from them.

use rocksdb::WriteBatch;
use uuid::Uuid;

use super::keys::KeyReader;
use super::snapshot::{Page, Snapshot};
use super::transaction::decode;
use super::{Family, Result, Store, codec, corrupt, keys};
use crate::person::{Known, PersonId, ProjectId, PropertyId, Time};

/// What the indexes hold of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    created_at: Time,
    uuid: Uuid,
    email: Option<String>,
}

impl Listed {
    /// How a person is listed; `None` for one that was merged away or deleted. `email` is the
    /// number of the property of that name.
    pub fn of(known: &Known, email: Option<PropertyId>) -> Option<Self> {
        let Known::Person(head) = known else {
            return None;
        };
        let value = email.and_then(|email| head.entries.get(&email)?.state.current.as_ref());
        let email = value.filter(|value| !value.is_null()).map(|value| value.text().into_owned());
        let listed = Self { created_at: head.created_at, uuid: head.uuid, email };
        head.merged.is_none().then_some(listed)
    }

    /// The keys under which the indexes hold a person.
    pub fn keys(&self, project: ProjectId, person: PersonId) -> (Vec<u8>, Option<Vec<u8>>) {
        let email = self.email.as_ref().map(|email| keys::by_email(project, email, person));
        (keys::by_created_at(project, self.created_at, self.uuid), email)
    }

    /// Stages what changes in the indexes.
    pub fn stage(
        batch: &mut WriteBatch,
        store: &Store,
        (project, person): (ProjectId, PersonId),
        before: Option<&Self>,
        after: Option<&Self>,
    ) {
        let keys = |listed: Option<&Self>| {
            let keys = listed.map(|listed| listed.keys(project, person));
            keys.map_or((None, None), |(created_at, email)| (Some(created_at), email))
        };
        let (before, after) = (keys(before), keys(after));
        let keys = [(Family::ByCreatedAt, before.0, after.0), (Family::ByEmail, before.1, after.1)];
        for (index, before, after) in keys {
            if before == after {
                continue;
            }
            let family = store.family(index);
            if let Some(key) = before {
                batch.delete_cf(family, key);
            }
            if let Some(key) = after {
                batch.put_cf(family, key, person.to_be_bytes());
            }
        }
    }
}

impl Snapshot<'_> {
    /// A page of live persons, newest first, and how many there are in all.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn page(&self, project: ProjectId, offset: u64, limit: usize) -> Result<Page> {
        let prefix = project.to_be_bytes();
        let mut iterator = self.iterator(Family::ByCreatedAt);
        iterator.seek(prefix);
        let mut page = Page { count: self.count(project)?, persons: Vec::new() };
        let mut passed = 0;
        while page.persons.len() < limit {
            let Some((key, person)) = iterator.item() else {
                break;
            };
            if !key.starts_with(&prefix) {
                break;
            }
            if passed == offset {
                let person = KeyReader(person).u64().ok_or(corrupt(Family::ByCreatedAt))?;
                page.persons.push(person);
            } else {
                passed += 1;
            }
            iterator.next();
        }
        iterator.status()?;
        Ok(page)
    }

    /// Every live person whose email is exactly this, newest first.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn persons_by_email(&self, project: ProjectId, email: &str) -> Result<Vec<PersonId>> {
        let prefix = keys::email(project, email);
        let mut iterator = self.iterator(Family::ByEmail);
        iterator.seek(&prefix);
        let property = self.store.dictionary().property(project, "email");
        let mut found = Vec::new();
        while let Some((key, person)) = iterator.item().filter(|(key, _)| key.starts_with(&prefix))
        {
            debug_assert!(key.len() >= prefix.len());
            let person = KeyReader(person).u64().ok_or(corrupt(Family::ByEmail))?;
            let bytes = self.get(Family::Person, &keys::person(project, person))?;
            let bytes = bytes.ok_or(corrupt(Family::ByEmail))?;
            let known = decode(codec::decode_known, &bytes, Family::Person)?;
            // A long email is indexed by its beginning only.
            let listed = Listed::of(&known, property);
            if let Some(listed) = listed.filter(|listed| listed.email.as_deref() == Some(email)) {
                found.push((std::cmp::Reverse(listed.created_at), listed.uuid, person));
            }
            iterator.next();
        }
        iterator.status()?;
        found.sort_unstable();
        Ok(found.into_iter().map(|(_, _, person)| person).collect())
    }
}
