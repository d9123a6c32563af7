//! Persons by what they are: filters and searches, over columns.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::column::{Column, LIVE, decode_live};
use super::snapshot::Snapshot;
use super::transaction::decode;
use super::{Error, Family, Result, codec, corrupt, keys};
use crate::person::{Filter, Head, Part, PersonId, ProjectId, PropertyId, Time, Value};

/// After so many rows a scan asks whether it should go on.
const ASK: u64 = 1024;

/// Whom a list asks for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What the properties must be.
    pub filter: Filter,
    /// What email, name or a distinct id must have somewhere, or a uuid begin with.
    pub search: Option<Part>,
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
}

/// Whom a filter is asked of, in the order of the persons.
enum Candidates {
    /// Who has what is searched for.
    Found(std::collections::btree_set::IntoIter<PersonId>),
    /// Who has a property, by its index among those of the filter.
    Having(usize),
    /// Everybody alive.
    Everybody,
}

impl Snapshot<'_> {
    /// Every live person that is wanted, by id; `None` where `go_on` ended the scan.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn find(
        &self,
        project: ProjectId,
        wanted: &Wanted,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<PersonId>>> {
        let mut keys = wanted.filter.keys();
        keys.sort_unstable();
        keys.dedup();
        let number = |key: &str| self.store.dictionary().property(project, key);
        let mut columns: Vec<(&str, PropertyId, Column<'_>)> = (keys.into_iter())
            .filter_map(|key| number(key).map(|of| (key, of, self.column(project, of))))
            .collect();
        let mut candidates = match (&wanted.search, wanted.filter.driver()) {
            (Some(part), _) => match self.searched(project, part, go_on)? {
                Some(found) => Candidates::Found(found.into_iter()),
                None => return Ok(None),
            },
            (None, Some(key)) => match columns.iter().position(|(name, ..)| *name == key) {
                Some(index) => Candidates::Having(index),
                // Nobody has a property that has no number.
                None => return Ok(Some(Vec::new())),
            },
            (None, None) => Candidates::Everybody,
        };
        let mut live = self.column(project, LIVE);
        let (mut found, mut values, mut read) = (Vec::new(), Vec::new(), 0_u64);
        loop {
            let next = match &mut candidates {
                Candidates::Found(found) => found.next(),
                Candidates::Having(index) => columns[*index].2.person()?,
                Candidates::Everybody => live.person()?,
            };
            let Some(person) = next else { break };
            read += 1;
            if read.is_multiple_of(ASK) && !go_on() {
                return Ok(None);
            }
            values.clear();
            for (key, property, column) in &mut columns {
                if let Some(json) = column.at(person)? {
                    values.push((*key, self.value_of(project, person, *property, json)?));
                }
            }
            let value = |key: &str| Some(&values.iter().find(|(name, _)| *name == key)?.1);
            if wanted.filter.holds(&value) {
                found.push(person);
            }
            match candidates {
                Candidates::Found(_) => {}
                Candidates::Having(index) => columns[index].2.next(),
                Candidates::Everybody => live.next(),
            }
        }
        Ok(Some(found))
    }

    /// Where live persons, given by id, stand in a list; `None` where `go_on` ended the scan.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn rows(
        &self,
        project: ProjectId,
        persons: &[PersonId],
        by: By,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<Row>>> {
        let (mut live, mut seen) = (self.column(project, LIVE), self.last_seen_of(project));
        let mut rows = Vec::with_capacity(persons.len());
        for (read, &person) in (1_u64..).zip(persons) {
            if read.is_multiple_of(ASK) && !go_on() {
                return Ok(None);
            }
            let shown = live.at(person)?.ok_or(Error::Broken("a list holds somebody dead"))?;
            let (created_at, uuid) = decode_live(shown)?;
            let time = match by {
                By::CreatedAt => created_at,
                By::LastSeenAt => seen.at(person)?,
            };
            rows.push(Row { time, uuid, person });
        }
        Ok(Some(rows))
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
        if !wanted.filter.holds(&value) {
            return Ok(false);
        }
        let Some(part) = &wanted.search else {
            return Ok(true);
        };
        let mut searched = SEARCHED.iter().filter_map(|key| value(key));
        if searched.any(|value| part.is_in(&value.text())) || part.begins(&head.uuid.to_string()) {
            return Ok(true);
        }
        let person = self.current(project, (id, head), usize::MAX)?;
        Ok(person.distinct_ids.iter().any(|id| part.is_in(id)))
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
        part: Option<&Part>,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<BTreeMap<String, u64>>> {
        let mut counts = BTreeMap::new();
        let Some(property) = self.store.dictionary().property(project, key) else {
            return Ok(Some(counts));
        };
        let whole = self.each_value(project, property, go_on, |_, value| {
            let text = value.text();
            let wanted = !value.is_null() && !text.is_empty();
            if wanted && part.is_none_or(|part| part.is_in(&text)) {
                match counts.get_mut(text.as_ref()) {
                    Some(count) => *count += 1,
                    None => _ = counts.insert(text.into_owned(), 1),
                }
            }
        })?;
        Ok(whole.then_some(counts))
    }

    /// Calls `each` with the rows of a column, in the order of the persons. Answers whether `go_on` let it
    /// come to its end.
    fn each_row(
        &self,
        project: ProjectId,
        property: PropertyId,
        go_on: &dyn Fn() -> bool,
        mut each: impl FnMut(PersonId, &[u8]) -> Result<()>,
    ) -> Result<bool> {
        let (mut column, mut read) = (self.column(project, property), 0_u64);
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
    fn each_value(
        &self,
        project: ProjectId,
        property: PropertyId,
        go_on: &dyn Fn() -> bool,
        mut each: impl FnMut(PersonId, &Value),
    ) -> Result<bool> {
        self.each_row(project, property, go_on, |person, json| {
            each(person, &self.value_of(project, person, property, json)?);
            Ok(())
        })
    }

    /// Who has a text in the email, the name or a distinct id, or a uuid that begins with it; `None`
    /// where `go_on` ended the scan.
    fn searched(
        &self,
        project: ProjectId,
        part: &Part,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<BTreeSet<PersonId>>> {
        let mut found = BTreeSet::new();
        let mut whole = self.each_id(project, Some(part), go_on, |_, ownership| {
            let owner = decode(codec::decode_ownership, ownership, Family::DistinctId)?;
            found.insert(owner.now(&self.lives(project))?.person);
            Ok(true)
        })?;
        let properties = SEARCHED.map(|key| self.store.dictionary().property(project, key));
        for property in properties.into_iter().flatten() {
            whole &= self.each_value(project, property, go_on, |person, value| {
                if part.is_in(&value.text()) {
                    found.insert(person);
                }
            })?;
        }
        if part.is_of(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
            whole &= self.each_row(project, LIVE, go_on, |person, live| {
                let (_, uuid) = decode_live(live)?;
                if part.begins(uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer())) {
                    found.insert(person);
                }
                Ok(())
            })?;
        }
        Ok(whole.then_some(found))
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
        go_on: &dyn Fn() -> bool,
        mut each: impl FnMut(&str) -> bool,
    ) -> Result<bool> {
        self.each_id(project, part, go_on, |id, _| Ok(each(id)))
    }

    /// Calls `each` with distinct ids that have a text somewhere, until it answers `false`. Answers
    /// whether `go_on` let it come to its end.
    fn each_id(
        &self,
        project: ProjectId,
        part: Option<&Part>,
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
            if part.is_none_or(|part| part.is_in(id)) && !each(id, value)? {
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
