//! The search for persons by a text in their email, name, distinct ids or uuid.

use std::sync::Arc;

use uuid::Uuid;

use super::column::{LIVE, decode_live};
use super::column_cache::{CacheKey, CachedIndex};
use super::in_memory::MemoryIds;
use super::read_pool::together;
use super::snapshot::Snapshot;
use super::{Family, Result, codec, corrupt, decode};
use crate::person::{Needle, PersonId, ProjectId, PropertyId, Value};

/// The properties that a search looks into.
pub const SEARCHED: [&str; 2] = ["email", "name"];

impl Snapshot<'_> {
    /// Calls `each` with the rows of a column, in the order of the persons.
    fn each_row(
        &self,
        project: ProjectId,
        property: PropertyId,
        mut each: impl FnMut(PersonId, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let (mut column, mut ask) = (self.column(project, property)?, self.asking());
        while let Some(person) = column.person()? {
            ask()?;
            each(person, column.value())?;
            column.next();
        }
        Ok(())
    }

    /// Calls `each` with every live person's value of a property, in the order of the persons.
    pub(super) fn each_value(
        &self,
        project: ProjectId,
        property: PropertyId,
        mut each: impl FnMut(PersonId, &Value),
    ) -> Result<()> {
        self.each_row(project, property, |person, json| {
            each(person, &self.value_of(project, person, property, json)?);
            Ok(())
        })
    }

    /// Returns the persons, sorted by id, that have a text in the email, the name or a distinct id, or
    /// whose uuid begins with it.
    pub(super) fn search(&self, project: ProjectId, needle: &Needle) -> Result<Vec<PersonId>> {
        let having = |property: Option<PropertyId>| {
            property.map_or(Ok(Vec::new()), |property| self.having(project, property, needle))
        };
        let by_id = || self.having_id(project, needle);
        let by_uuid = || -> Result<Vec<PersonId>> {
            let mut found = Vec::new();
            if needle.is_of(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
                self.each_row(project, LIVE, |person, live| {
                    let (_, uuid) = decode_live(live)?;
                    if needle.begins(uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer())) {
                        found.push(person);
                    }
                    Ok(())
                })?;
            }
            Ok(found)
        };
        let properties = SEARCHED.map(|key| self.store.dictionary().property(project, key));
        let ((by_id, by_uuid), by_property) =
            together(|| rayon::join(|| (by_id(), by_uuid()), || properties.map(having)));
        let found = [by_id, by_uuid].into_iter().chain(by_property);
        let mut persons = found.collect::<Result<Vec<_>>>()?.concat();
        persons.sort_unstable();
        persons.dedup();
        Ok(persons)
    }

    /// Returns the persons, sorted by id, whose value of a property contains a text.
    fn having(
        &self,
        project: ProjectId,
        property: PropertyId,
        needle: &Needle,
    ) -> Result<Vec<PersonId>> {
        let is_wanted = |value: &Value| !value.is_null() && needle.is_in(&value.text());
        if let Some(whole) = self.whole(project, property)? {
            let mut ask = self.asking();
            let long = |person| {
                ask()?;
                Ok(is_wanted(&self.value_of(project, person, property, &[])?))
            };
            return whole.having(needle, long);
        }
        let mut found = Vec::new();
        self.each_value(project, property, |person, value| {
            if is_wanted(value) {
                found.push(person);
            }
        })?;
        Ok(found)
    }

    /// Returns the persons with a distinct id that contains a text, unsorted and once for each such id.
    fn having_id(&self, project: ProjectId, needle: &Needle) -> Result<Vec<PersonId>> {
        let (ids, mut found) = (self.ids(project)?, Vec::new());
        let Some(ids) = ids.as_ref().map(|ids| ids.having(Some(needle))) else {
            self.each_id(project, Some(needle), |_, ownership| {
                let owner = decode(codec::decode_ownership, ownership, Family::DistinctId)?;
                found.push(owner.now(&self.lives(project))?.person);
                Ok(true)
            })?;
            return Ok(found);
        };
        found.reserve_exact(ids.len());
        let mut ask = self.asking();
        for id in ids {
            ask()?;
            let id = std::str::from_utf8(id).map_err(|_| corrupt(Family::DistinctId))?;
            found
                .push(self.person_of_distinct_id(project, id)?.ok_or(corrupt(Family::DistinctId))?);
        }
        Ok(found)
    }

    /// Calls `each` with the distinct ids of live persons that contain a text, in their order, until it
    /// returns `false`. Without a text it gets all of them.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn each_id_with(
        &self,
        project: ProjectId,
        needle: Option<&Needle>,
        mut each: impl FnMut(&str) -> bool,
    ) -> Result<()> {
        let ids = self.ids(project)?;
        let Some(ids) = ids.as_ref().map(|ids| ids.having(needle)) else {
            return self.each_id(project, needle, |id, _| Ok(each(id)));
        };
        let mut ask = self.asking();
        for id in ids {
            ask()?;
            let id = std::str::from_utf8(id).map_err(|_| corrupt(Family::DistinctId))?;
            if !each(id) {
                break;
            }
        }
        Ok(())
    }

    /// Returns the distinct ids of a project if they are kept in memory, or can be from now on.
    fn ids(&self, project: ProjectId) -> Result<Option<Arc<MemoryIds>>> {
        let kept = self.kept(CacheKey::Ids(project), |most| {
            let prefix = project.to_be_bytes();
            let mut iterator = self.iterator(Family::DistinctId);
            iterator.seek(prefix);
            let mut ask = self.asking_for_all();
            let next = || {
                ask()?;
                let id =
                    iterator.key().and_then(|key| key.strip_prefix(&prefix)).map(<[u8]>::to_vec);
                match id {
                    Some(_) => iterator.next(),
                    None => iterator.status()?,
                }
                Ok(id)
            };
            Ok(MemoryIds::of(next, most)?.map(|ids| CachedIndex::Ids(Arc::new(ids))))
        })?;
        Ok(match kept {
            Some(CachedIndex::Ids(ids)) => Some(ids),
            _ => None,
        })
    }

    /// Reads the database, and calls `each` with the distinct ids that contain a text and the encoded
    /// ownership of each, until it returns `false`.
    pub(super) fn each_id(
        &self,
        project: ProjectId,
        needle: Option<&Needle>,
        mut each: impl FnMut(&str, &[u8]) -> Result<bool>,
    ) -> Result<()> {
        let prefix = project.to_be_bytes();
        let mut iterator = self.iterator(Family::DistinctId);
        iterator.seek(prefix);
        let mut ask = self.asking();
        while let Some((key, value)) = iterator.item().filter(|(key, _)| key.starts_with(&prefix)) {
            ask()?;
            let id = std::str::from_utf8(&key[prefix.len()..]);
            let id = id.map_err(|_| corrupt(Family::DistinctId))?;
            if needle.is_none_or(|needle| needle.is_in(id)) && !each(id, value)? {
                break;
            }
            iterator.next();
        }
        Ok(iterator.status()?)
    }

    /// Returns the value of a column row, given as JSON. An empty row stands for a long value,
    /// which is read from the head.
    pub(super) fn value_of(
        &self,
        project: ProjectId,
        person: PersonId,
        property: PropertyId,
        json: &[u8],
    ) -> Result<Value> {
        if !json.is_empty() {
            let json = std::str::from_utf8(json).map_err(|_| corrupt(Family::Column))?;
            return Ok(Value::from_json(json));
        }
        let head = self.head(project, person)?.ok_or(corrupt(Family::Column))?;
        let value = head.entries.get(&property).and_then(|entry| entry.state.current.clone());
        value.ok_or(corrupt(Family::Column))
    }
}
