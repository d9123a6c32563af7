//! How the lists show a person: the indexes, and the pages read from them.

use rocksdb::WriteBatch;
use uuid::Uuid;

use super::column::{LIVE, encode_live};
use super::column_cache::CacheKey;
use super::find::{By, Row};
use super::keys::KeyReader;
use super::snapshot::Snapshot;
use super::{Family, Result, Store, corrupt, keys};
use crate::person::{PersonId, PersonRow, ProjectId, PropertyId, Time};

/// What the indexes hold of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// When it was created.
    pub created_at: Time,
    /// The uuid.
    pub uuid: Uuid,
    email: Option<String>,
}

impl Listed {
    /// How a person is listed; `None` for one that was merged away or deleted. `email` is the
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

    /// The keys under which the indexes hold a person.
    pub fn keys(&self, project: ProjectId, person: PersonId) -> (Vec<u8>, Option<Vec<u8>>) {
        let email = self.email.as_ref().map(|email| keys::by_email(project, email, person));
        (keys::by_time(project, self.created_at, self.uuid), email)
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

/// Where a page of a list begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// After so many rows.
    Offset(u64),
    /// After the row of this time and uuid, whether or not it is still there.
    After(Time, Uuid),
}

impl Snapshot<'_> {
    /// Live persons in the order of a list, from where it starts on and at most `limit`. The newest come
    /// first, or with `ascending` last. `among` is (persons sorted by id, most rows to read): only these are
    /// listed. `None` where the budget was not enough.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn page(
        &self,
        project: ProjectId,
        (by, ascending): (By, bool),
        start: Start,
        limit: usize,
        among: Option<(&[PersonId], u64)>,
    ) -> Result<Option<Vec<Row>>> {
        let most = among.map_or(u64::MAX, |(_, most)| most);
        let is_listed =
            |person: &PersonId| among.is_none_or(|(among, _)| among.binary_search(person).is_ok());
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
            if read > most {
                return Ok(None);
            }
            ask()?;
            let person = KeyReader(person).u64().ok_or(corrupt(family))?;
            if !is_listed(&person) {
                // Whoever is not asked for counts for nothing.
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

    /// Every live person whose email may be this one, by id. The caller compares: a long email is indexed by
    /// its beginning only.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
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
