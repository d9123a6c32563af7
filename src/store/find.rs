//! Persons by what they are: filters and searches, over columns.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use super::column::{Column, LIVE, decode_live};
use super::snapshot::Snapshot;
use super::transaction::decode;
use super::{Error, Family, Result, codec, corrupt, keys};
use crate::person::{Filter, Head, PersonId, ProjectId, PropertyId, Time, Value};

/// After so many rows a scan asks whether it should go on.
const ASK: u64 = 1024;

/// Whom a list asks for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What the properties must be.
    pub filter: Filter,
    /// What email, name or a distinct id must have somewhere, in small letters, or a uuid begin with.
    pub search: Option<String>,
}

/// Where a person stands in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// What the list is sorted by.
    pub time: Time,
    /// What decides among equals.
    pub uuid: Uuid,
    /// The person.
    pub person: PersonId,
}

/// By which time a list is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// When a person was created.
    CreatedAt,
    /// When it was last seen.
    LastSeenAt,
}

/// The properties that a search looks into.
const SEARCHED: [&str; 2] = ["email", "name"];

impl Wanted {
    /// Whether everybody is wanted.
    #[must_use]
    pub fn is_everybody(&self) -> bool {
        self.search.is_none() && matches!(&self.filter, Filter::All(all) if all.is_empty())
    }

    fn keys(&self) -> Vec<&str> {
        let mut keys = self.filter.keys();
        if self.search.is_some() {
            keys.extend(SEARCHED);
        }
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Whether a person is wanted, whose values `value` gives. Its distinct ids are asked for only
    /// where nothing else has the searched text.
    fn wants<'v>(
        &self,
        uuid: Uuid,
        value: impl Fn(&str) -> Option<&'v Value>,
        has_id: impl FnOnce(&str) -> Result<bool>,
    ) -> Result<bool> {
        if !self.filter.holds(&value) {
            return Ok(false);
        }
        let Some(text) = &self.search else {
            return Ok(true);
        };
        let has = |value: &Value| value.text().to_lowercase().contains(text);
        let found = SEARCHED.iter().filter_map(|key| value(key)).any(has);
        Ok(found || uuid.to_string().starts_with(text) || has_id(text)?)
    }
}

impl Snapshot<'_> {
    /// Every live person that is wanted, in no order; `None` where `go_on` ended the scan.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn find(
        &self,
        project: ProjectId,
        wanted: &Wanted,
        by: By,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<Row>>> {
        let number = |key: &str| self.store.dictionary().property(project, key);
        let mut driver = self.column(project, LIVE);
        if let Some(key) = wanted.filter.driver() {
            // Nobody has a property that has no number.
            let Some(property) = number(key) else { return Ok(Some(Vec::new())) };
            driver = self.column(project, property);
        }
        let with_id = match &wanted.search {
            Some(text) => match self.with_id(project, text, go_on)? {
                Some(found) => found,
                None => return Ok(None),
            },
            None => HashSet::new(),
        };
        let keys = wanted.keys().into_iter();
        let mut columns: Vec<(&str, PropertyId, Column<'_>)> = keys
            .filter_map(|key| number(key).map(|of| (key, of, self.column(project, of))))
            .collect();
        let (mut live, mut seen) = (self.column(project, LIVE), self.last_seen_of(project));
        let (mut found, mut values, mut read) = (Vec::new(), HashMap::new(), 0_u64);
        while let Some(person) = driver.person()? {
            read += 1;
            if read.is_multiple_of(ASK) && !go_on() {
                return Ok(None);
            }
            let shown = live.at(person)?.ok_or(Error::Broken("a column holds somebody dead"))?;
            let (created_at, uuid) = decode_live(shown)?;
            values.clear();
            for (key, property, column) in &mut columns {
                if let Some(json) = column.at(person)? {
                    let value = self.value_of(project, person, *property, json)?;
                    values.insert(*key, value);
                }
            }
            let has_id = |_: &str| Ok(with_id.contains(&person));
            if wanted.wants(uuid, |key| values.get(key), has_id)? {
                let time = match by {
                    By::CreatedAt => created_at,
                    By::LastSeenAt => seen.at(person)?,
                };
                found.push(Row { time, uuid, person });
            }
            driver.next();
        }
        Ok(Some(found))
    }

    /// Whether one person is wanted.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn is_wanted(
        &self,
        project: ProjectId,
        (id, head): (PersonId, &Head),
        wanted: &Wanted,
    ) -> Result<bool> {
        let value = |key: &str| {
            let property = self.store.dictionary().property(project, key)?;
            head.entries.get(&property)?.state.current.as_ref()
        };
        let has_id = |text: &str| {
            let person = self.current(project, (id, head), usize::MAX)?;
            Ok(person.distinct_ids.iter().any(|id| id.to_lowercase().contains(text)))
        };
        wanted.wants(head.uuid, value, has_id)
    }

    /// Where a person stands in a list.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn row(
        &self,
        project: ProjectId,
        (person, head): (PersonId, &Head),
        by: By,
    ) -> Result<Row> {
        let time = match by {
            By::CreatedAt => head.created_at,
            By::LastSeenAt => self.recency(project, person)?.seen.unwrap_or(NEVER),
        };
        Ok(Row { time, uuid: head.uuid, person })
    }

    /// The current values of a property, by their text, and how many live persons have each; `None`
    /// where `go_on` ended the scan. Null and the empty text are left out.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn values(
        &self,
        project: ProjectId,
        key: &str,
        part: Option<&str>,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<BTreeMap<String, u64>>> {
        let mut counts = BTreeMap::new();
        let Some(property) = self.store.dictionary().property(project, key) else {
            return Ok(Some(counts));
        };
        let (mut column, mut read) = (self.column(project, property), 0_u64);
        while let Some(person) = column.person()? {
            read += 1;
            if read.is_multiple_of(ASK) && !go_on() {
                return Ok(None);
            }
            let value = self.value_of(project, person, property, column.value())?;
            let text = value.text();
            let wanted = !value.is_null() && !text.is_empty();
            if wanted && part.is_none_or(|part| text.to_lowercase().contains(part)) {
                match counts.get_mut(text.as_ref()) {
                    Some(count) => *count += 1,
                    None => _ = counts.insert(text.into_owned(), 1),
                }
            }
            column.next();
        }
        Ok(Some(counts))
    }

    /// Calls `each` with distinct ids of live persons that have a text somewhere, in their order,
    /// until it answers `false`. Answers whether `go_on` let it come to its end.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn each_id_with(
        &self,
        project: ProjectId,
        part: &str,
        go_on: &dyn Fn() -> bool,
        mut each: impl FnMut(&str) -> bool,
    ) -> Result<bool> {
        self.each_id(project, part, go_on, |id, _| Ok(each(id)))
    }

    /// Whose distinct ids have a text somewhere.
    fn with_id(
        &self,
        project: ProjectId,
        part: &str,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<HashSet<PersonId>>> {
        let mut found = HashSet::new();
        let whole = self.each_id(project, part, go_on, |_, ownership| {
            let owner = decode(codec::decode_ownership, ownership, Family::DistinctId)?;
            found.insert(owner.now(&self.lives(project))?.person);
            Ok(true)
        })?;
        Ok(whole.then_some(found))
    }

    /// Calls `each` with distinct ids that have a text somewhere, until it answers `false`. Answers
    /// whether `go_on` let it come to its end.
    fn each_id(
        &self,
        project: ProjectId,
        part: &str,
        go_on: &dyn Fn() -> bool,
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
            if id.to_lowercase().contains(part) && !each(id, value)? {
                break;
            }
            iterator.next();
        }
        iterator.status()?;
        Ok(true)
    }

    /// The value of a row of a column; a long one is read from the head.
    fn value_of(
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

    fn last_seen_of(&self, project: ProjectId) -> LastSeen<'_> {
        let mut iterator = self.iterator(Family::Recency);
        iterator.seek(project.to_be_bytes());
        LastSeen { project, iterator }
    }
}

/// What sorts after everybody that was seen.
pub const NEVER: Time = Time(i64::MIN);

/// A walk through when persons were last seen, forward.
struct LastSeen<'a> {
    project: ProjectId,
    iterator: rocksdb::DBRawIterator<'a>,
}

impl LastSeen<'_> {
    fn at(&mut self, person: PersonId) -> Result<Time> {
        let key = keys::person(self.project, person);
        for _ in 0..8 {
            if self.iterator.key().is_none_or(|found| found >= &key[..]) {
                break;
            }
            self.iterator.next();
        }
        if self.iterator.key().is_some_and(|found| found < &key[..]) {
            self.iterator.seek(&key);
        }
        self.iterator.status()?;
        let row = self.iterator.item().filter(|(found, _)| *found == &key[..]);
        let row = row.map(|(_, value)| decode(codec::decode_recency, value, Family::Recency));
        Ok(row.transpose()?.and_then(|recency| recency.seen).unwrap_or(NEVER))
    }
}
