//! Persons by a text that they have somewhere.

use std::sync::Arc;

use uuid::Uuid;

use super::column::{LIVE, decode_live};
use super::column_cache::{Kept, Of};
use super::snapshot::Snapshot;
use super::together::together;
use super::transaction::decode;
use super::whole::Ids;
use super::{Family, Result, codec, corrupt};
use crate::person::{Part, PersonId, ProjectId, PropertyId, Value};

/// What says whether a long scan should go on.
pub type GoOn<'a> = dyn Fn() -> bool + Sync + 'a;

/// After so many rows a scan asks whether it should go on.
pub const ASK: u64 = 1024;

/// The properties that a search looks into.
pub const SEARCHED: [&str; 2] = ["email", "name"];

impl Snapshot<'_> {
    /// Calls `each` with the rows of a column, in the order of the persons. Answers whether `go_on` let it
    /// come to its end.
    fn each_row(
        &self,
        project: ProjectId,
        property: PropertyId,
        go_on: &GoOn<'_>,
        mut each: impl FnMut(PersonId, &[u8]) -> Result<()>,
    ) -> Result<bool> {
        let (mut column, mut read) = (self.column(project, property)?, 0_u64);
        while let Some(person) = column.person()? {
            read += 1;
            if read.is_multiple_of(ASK) && !go_on() {
                return Ok(false);
            }
            each(person, column.value())?;
            column.next();
        }
        Ok(true)
    }

    /// The same with everybody's value of a property.
    pub(super) fn each_value(
        &self,
        project: ProjectId,
        property: PropertyId,
        go_on: &GoOn<'_>,
        mut each: impl FnMut(PersonId, &Value),
    ) -> Result<bool> {
        self.each_row(project, property, go_on, |person, json| {
            each(person, &self.value_of(project, person, property, json)?);
            Ok(())
        })
    }

    /// Who has a text in the email, the name or a distinct id, or a uuid that begins with it, by id;
    /// `None` where `go_on` ended the scan.
    pub(super) fn searched(
        &self,
        project: ProjectId,
        part: &Part,
        go_on: &GoOn<'_>,
    ) -> Result<Option<Vec<PersonId>>> {
        let having = |property: Option<PropertyId>| match property {
            Some(property) => self.having(project, property, part, go_on),
            None => Ok(Some(Vec::new())),
        };
        let by_id = || self.having_id(project, part, go_on);
        let by_uuid = || {
            collected(|found| {
                if !part.is_of(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
                    return Ok(true);
                }
                self.each_row(project, LIVE, go_on, |person, live| {
                    let (_, uuid) = decode_live(live)?;
                    if part.begins(uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer())) {
                        found.push(person);
                    }
                    Ok(())
                })
            })
        };
        let properties = SEARCHED.map(|key| self.store.dictionary().property(project, key));
        let ((by_id, by_uuid), by_property) =
            together(|| rayon::join(|| (by_id(), by_uuid()), || properties.map(having)));
        let found = [by_id, by_uuid].into_iter().chain(by_property);
        let found = found.collect::<Result<Option<Vec<_>>>>()?;
        Ok(found.map(|found| {
            let mut persons = found.concat();
            persons.sort_unstable();
            persons.dedup();
            persons
        }))
    }

    /// Who has a text in the value of a property, likewise.
    fn having(
        &self,
        project: ProjectId,
        property: PropertyId,
        part: &Part,
        go_on: &GoOn<'_>,
    ) -> Result<Option<Vec<PersonId>>> {
        let is_wanted = |value: &Value| !value.is_null() && part.is_in(&value.text());
        if let Some(whole) = self.whole(project, property)? {
            let mut read = 0_u64;
            let long = |person| {
                read += 1;
                if read.is_multiple_of(ASK) && !go_on() {
                    return Ok(None);
                }
                Ok(Some(is_wanted(&self.value_of(project, person, property, &[])?)))
            };
            if let Some(found) = whole.having(part, long)? {
                return Ok(Some(found));
            }
        }
        collected(|found| {
            self.each_value(project, property, go_on, |person, value| {
                if is_wanted(value) {
                    found.push(person);
                }
            })
        })
    }

    /// Who has a text in a distinct id, likewise; in no order.
    fn having_id(
        &self,
        project: ProjectId,
        part: &Part,
        go_on: &GoOn<'_>,
    ) -> Result<Option<Vec<PersonId>>> {
        let ids = self.ids(project)?;
        let Some(ids) = ids.as_ref().and_then(|ids| ids.having(Some(part))) else {
            return collected(|found| {
                self.each_id(project, Some(part), go_on, |_, ownership| {
                    let owner = decode(codec::decode_ownership, ownership, Family::DistinctId)?;
                    found.push(owner.now(&self.lives(project))?.person);
                    Ok(true)
                })
            });
        };
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            let id = std::str::from_utf8(id).map_err(|_| corrupt(Family::DistinctId))?;
            found.push(self.whose(project, id)?.ok_or(corrupt(Family::DistinctId))?);
            if (found.len() as u64).is_multiple_of(ASK) && !go_on() {
                return Ok(None);
            }
        }
        Ok(Some(found))
    }

    /// Calls `each` with distinct ids of live persons that have a text somewhere, in their order,
    /// until it answers `false`. Answers whether `go_on` let it come to its end.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn each_id_with(
        &self,
        project: ProjectId,
        part: Option<&Part>,
        go_on: &GoOn<'_>,
        mut each: impl FnMut(&str) -> bool,
    ) -> Result<bool> {
        let ids = self.ids(project)?;
        let Some(ids) = ids.as_ref().and_then(|ids| ids.having(part)) else {
            return self.each_id(project, part, go_on, |id, _| Ok(each(id)));
        };
        for (read, id) in (1_u64..).zip(ids) {
            if read.is_multiple_of(ASK) && !go_on() {
                return Ok(false);
            }
            let id = std::str::from_utf8(id).map_err(|_| corrupt(Family::DistinctId))?;
            if !each(id) {
                break;
            }
        }
        Ok(true)
    }

    /// The distinct ids of a project, where they are kept in memory or may be from now on.
    fn ids(&self, project: ProjectId) -> Result<Option<Arc<Ids>>> {
        let kept = self.kept(Of::Ids(project), |most| {
            let prefix = project.to_be_bytes();
            let mut iterator = self.iterator(Family::DistinctId);
            iterator.seek(prefix);
            let mut ask = self.asking();
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
            Ok(Ids::of(next, most)?.map(|ids| Kept::Ids(Arc::new(ids))))
        })?;
        Ok(match kept {
            Some(Kept::Ids(ids)) => Some(ids),
            _ => None,
        })
    }

    /// Calls `each` with distinct ids that have a text somewhere, until it answers `false`. Answers
    /// whether `go_on` let it come to its end.
    pub(super) fn each_id(
        &self,
        project: ProjectId,
        part: Option<&Part>,
        go_on: &GoOn<'_>,
        mut each: impl FnMut(&str, &[u8]) -> Result<bool>,
    ) -> Result<bool> {
        let prefix = project.to_be_bytes();
        let mut iterator = self.iterator(Family::DistinctId);
        iterator.seek(prefix);
        let mut read = 0_u64;
        while let Some((key, value)) = iterator.item().filter(|(key, _)| key.starts_with(&prefix)) {
            read += 1;
            if read.is_multiple_of(ASK) && !go_on() {
                return Ok(false);
            }
            let id = std::str::from_utf8(&key[prefix.len()..]);
            let id = id.map_err(|_| corrupt(Family::DistinctId))?;
            if part.is_none_or(|part| part.is_in(id)) && !each(id, value)? {
                break;
            }
            iterator.next();
        }
        iterator.status()?;
        Ok(true)
    }

    /// The value of a row of a column; a long one is read from the head.
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

/// The persons that a walk finds; `None` where it was ended before it came to its end.
fn collected(
    walk: impl FnOnce(&mut Vec<PersonId>) -> Result<bool>,
) -> Result<Option<Vec<PersonId>>> {
    let mut found = Vec::new();
    Ok(walk(&mut found)?.then_some(found))
}
