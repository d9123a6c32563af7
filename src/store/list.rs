//! The lists of live persons: their indexes, and the pages read from them.

use rocksdb::WriteBatch;
use uuid::Uuid;

use super::column::{LIVE, encode_live};
use super::column_cache::CacheKey;
use super::find::{By, Order, Row};
use super::keys::KeyReader;
use super::snapshot::Snapshot;
use super::{Family, Result, Store, corrupt, keys};
use crate::person::{PersonId, PersonRow, ProjectId, PropertyId, Time};

/// The data of a person that the indexes contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// When it was created.
    pub created_at: Time,
    /// The uuid.
    pub uuid: Uuid,
    email: Option<String>,
}

impl Listed {
    /// Returns what the indexes contain of a person; `None` if it was merged away or deleted. `email` is the
    /// number of the property of that name.
    pub fn of(row: &PersonRow, email: Option<PropertyId>) -> Option<Self> {
        let PersonRow::Head(head) = row else {
            return None;
        };
        let value = email.and_then(|email| head.entries.get(&email)?.state.current.as_ref());
        let email = value.filter(|value| !value.is_null()).map(|value| value.text().into_owned());
        let listed = Self { created_at: head.created_at, uuid: head.uuid, email };
        head.merged.is_none().then_some(listed)
    }

    /// Returns the keys of a person in `by_created_at` and, if it has an email, in `by_email`.
    pub fn keys(&self, project: ProjectId, person: PersonId) -> (Vec<u8>, Option<Vec<u8>>) {
        let email = self.email.as_ref().map(|email| keys::by_email(project, email, person));
        (keys::by_time(project, self.created_at, self.uuid), email)
    }

    /// Stages the changes of a person in these indexes and in the column [`LIVE`].
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
        let (was_live, live) = (before.map(encode_live), after.map(encode_live));
        if was_live != live {
            let (family, row) =
                (store.family(Family::Column), keys::column_row(project, LIVE, person));
            let change = || (person.to_be_bytes().to_vec(), live.clone());
            store.note_index_changes(CacheKey::Column(project, LIVE), std::iter::once_with(change));
            match live {
                Some(live) => batch.put_cf(family, row, live),
                None => batch.delete_cf(family, row),
            }
        }
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

/// The start of a page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// After this many rows.
    Offset(u64),
    /// After the row with this time and uuid, whether or not that row still exists.
    After(Time, Uuid),
}

/// The only persons that a page may list.
#[derive(Clone, Copy, Debug)]
pub struct Among<'a> {
    /// The persons, sorted by id.
    pub persons: &'a [PersonId],
    /// The most index rows to read for the page.
    pub most_read: u64,
}

impl Snapshot<'_> {
    /// Returns a page of live persons, at most `limit` from `start` on, only those of `among` if it is given.
    /// `None` if more index rows would have to be read than that allows.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn page(
        &self,
        project: ProjectId,
        Order { by, ascending }: Order,
        start: Start,
        limit: usize,
        among: Option<Among<'_>>,
    ) -> Result<Option<Vec<Row>>> {
        let most_read = among.map_or(u64::MAX, |among| among.most_read);
        let is_listed = |person: &PersonId| {
            among.is_none_or(|among| among.persons.binary_search(person).is_ok())
        };
        let family = match by {
            By::CreatedAt => Family::ByCreatedAt,
            By::LastSeenAt => Family::ByLastSeenAt,
        };
        let prefix = project.to_be_bytes();
        let mut iterator = self.iterator(family);
        let (mut skipped, mut after) = (0, None);
        match start {
            Start::After(time, uuid) => {
                let key = keys::by_time(project, time, uuid);
                if ascending {
                    iterator.seek_for_prev(&key);
                } else {
                    iterator.seek(&key);
                }
                after = Some(key);
            }
            Start::Offset(offset) => {
                skipped = offset;
                if ascending {
                    iterator.seek_for_prev([&prefix[..], &[0xff; 25]].concat());
                } else {
                    iterator.seek(prefix);
                }
            }
        }
        let (mut rows, mut read, mut ask) = (Vec::new(), 0_u64, self.asking());
        while let Some((key, person)) = iterator.item().filter(|(key, _)| key.starts_with(&prefix))
        {
            read += 1;
            if rows.len() >= limit {
                break;
            }
            if read > most_read {
                return Ok(None);
            }
            ask()?;
            let person = KeyReader(person).u64().ok_or(corrupt(family))?;
            if !is_listed(&person) {
                // Persons that are not in `among` do not count towards the offset.
            } else if skipped > 0 {
                skipped -= 1;
            } else if after.as_deref() != Some(key) {
                let (time, uuid) = keys::time_and_uuid(key).ok_or(corrupt(family))?;
                rows.push(Row { time, uuid, person });
            }
            if ascending { iterator.prev() } else { iterator.next() }
        }
        iterator.status()?;
        Ok(Some(rows))
    }

    /// Returns all live persons that may have this email. The caller has to compare, since a long email is
    /// indexed by its beginning only.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn persons_by_email(&self, project: ProjectId, email: &str) -> Result<Vec<PersonId>> {
        let prefix = keys::email(project, email);
        let mut iterator = self.iterator(Family::ByEmail);
        iterator.seek(&prefix);
        let (mut found, mut ask) = (Vec::new(), self.asking());
        while let Some((_, person)) = iterator.item().filter(|(key, _)| key.starts_with(&prefix)) {
            ask()?;
            found.push(KeyReader(person).u64().ok_or(corrupt(Family::ByEmail))?);
            iterator.next();
        }
        iterator.status()?;
        Ok(found)
    }
}
