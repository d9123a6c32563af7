//! Finding persons by filter and search, by scanning columns.

use std::ops::Range;

use rayon::prelude::*;
use uuid::Uuid;

use super::column::{Column, LIVE, decode_live};
use super::read_pool::together;
use super::search::SEARCHED;
use super::snapshot::Snapshot;
use super::walk::STEPS;
use super::{Error, Family, Result, codec, decode, keys};
use crate::person::{Filter, Head, Needle, PersonId, ProjectId, PropertyId, Time};

/// Which persons a list asks for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The conditions on the properties.
    pub filter: Filter,
    /// The text that the email, the name or a distinct id must contain, or that the uuid must begin with.
    pub search: Option<Needle>,
}

/// The row of a person in a list, with what the list is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The time by which the list is sorted.
    pub time: Time,
    /// The uuid, which breaks ties.
    pub uuid: Uuid,
    /// The person.
    pub person: PersonId,
}

/// The time by which a list is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The time when a person was created.
    CreatedAt,
    /// The time when a person was last seen.
    LastSeenAt,
}

/// How a list is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// The time that the list is sorted by.
    pub by: By,
    /// Whether the oldest come first.
    pub ascending: bool,
}

impl Wanted {
    /// Returns whether all persons are wanted.
    #[must_use]
    pub fn is_everybody(&self) -> bool {
        self.search.is_none() && self.filter.is_empty()
    }
}

/// The persons for which a filter is evaluated, in the order of their ids.
enum Candidates<'a> {
    /// The persons found by the search.
    Found(std::slice::Iter<'a, PersonId>),
    /// The persons that have a property, given by its index among those of the filter.
    Having(usize),
    /// All live persons.
    Everybody(Column<'a>),
}

/// A property of the filter.
struct Asked<'a> {
    name: &'a str,
    number: PropertyId,
    column: Column<'a>,
}

impl Candidates<'_> {
    /// Returns the current candidate; `None` at the end.
    fn person(&self, columns: &[Asked<'_>]) -> Result<Option<PersonId>> {
        match self {
            Self::Found(found) => Ok(found.as_slice().first().copied()),
            Self::Having(index) => columns[*index].column.person(),
            Self::Everybody(live) => live.person(),
        }
    }

    /// Moves to the next candidate.
    fn advance(&mut self, columns: &mut [Asked<'_>]) {
        match self {
            Self::Found(found) => _ = found.next(),
            Self::Having(index) => columns[*index].column.next(),
            Self::Everybody(live) => live.next(),
        }
    }
}

/// How a filter is evaluated, which is the same in every range of ids.
struct Plan<'a> {
    project: ProjectId,
    filter: &'a Filter,
    /// The properties of the filter that have a number.
    properties: Vec<(&'a str, PropertyId)>,
    /// The persons found by the search, sorted by id, if there is one.
    searched: Option<Vec<PersonId>>,
    /// The index of a property that every wanted person has, if there is one.
    driver: Option<usize>,
}

/// The least average number of persons in a range of ids that is scanned separately.
const PART: u64 = if cfg!(test) { 2 } else { 10_000 };

/// The most ranges of ids that are scanned separately.
const PARTS: u64 = 8;

/// The cost of seeking a person in a column on disk, as the number of rows read from a list's index.
const SOUGHT: u64 = if cfg!(test) { 1 } else { 16 };

/// The number of persons that one core seeks at a time.
const SOUGHT_AT_ONCE: usize = 256;

/// The upper bound of person ids, which are evenly distributed below it.
const IDS: PersonId = 1 << 53;

impl Snapshot<'_> {
    /// Returns all live persons that are wanted, sorted by id. Ranges of ids are scanned on all cores.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn find(&self, project: ProjectId, wanted: &Wanted) -> Result<Vec<PersonId>> {
        let mut keys = wanted.filter.keys();
        keys.sort_unstable();
        keys.dedup();
        let number = |key: &str| self.store.dictionary().property(project, key);
        let properties: Vec<_> =
            keys.into_iter().filter_map(|key| Some((key, number(key)?))).collect();
        let mut plan =
            Plan { project, filter: &wanted.filter, properties, searched: None, driver: None };
        if let Some(needle) = &wanted.search {
            let found = self.search(project, needle)?;
            if wanted.filter.is_empty() {
                return Ok(found);
            }
            plan.searched = Some(found);
        } else if let Some(key) = wanted.filter.driver() {
            plan.driver = plan.properties.iter().position(|(name, _)| *name == key);
            if plan.driver.is_none() {
                // No person has a property that has no number.
                return Ok(Vec::new());
            }
        }
        let parts = (self.count(project)? / PART).clamp(1, PARTS);
        let part = |number| IDS / parts * number..IDS / parts * (number + 1);
        let mut parts: Vec<_> = (0..parts).map(part).collect();
        if let Some(last) = parts.last_mut() {
            last.end = PersonId::MAX;
        }
        let found = parts.into_par_iter().map(|part| self.find_part(&plan, part));
        Ok(together(|| found.collect::<Result<Vec<_>>>())?.concat())
    }

    /// Returns the matching persons within one range of ids.
    fn find_part(&self, plan: &Plan<'_>, part: Range<PersonId>) -> Result<Vec<PersonId>> {
        let &Plan { project, filter, .. } = plan;
        let column = |property| self.column_part(project, property, part.clone());
        let columns = plan.properties.iter();
        let columns =
            columns.map(|&(name, number)| Ok(Asked { name, number, column: column(number)? }));
        let mut columns = columns.collect::<Result<Vec<_>>>()?;
        let mut candidates = match (&plan.searched, plan.driver) {
            (Some(found), _) => {
                let from = found.partition_point(|person| *person < part.start);
                let until = found.partition_point(|person| *person < part.end);
                Candidates::Found(found[from..until].iter())
            }
            (None, Some(index)) => Candidates::Having(index),
            (None, None) => Candidates::Everybody(column(LIVE)?),
        };
        let (mut found, mut ask) = (Vec::new(), self.asking());
        // The filter's results so far, by the code of the value. Only used if the filter has a single
        // property.
        let mut judged: Vec<Option<bool>> = Vec::new();
        let asks_always = filter.has_pattern();
        let is_only = columns.len() == 1 && matches!(candidates, Candidates::Having(_));
        while let Some(person) = candidates.person(&columns)? {
            if asks_always {
                self.check_not_ended()?;
            } else {
                ask()?;
            }
            let code = columns.first().filter(|_| is_only).and_then(|only| only.column.code());
            let holds = match code.and_then(|code| *judged.get(code)?) {
                Some(holds) => holds,
                None => self.holds(plan, person, &mut columns)?,
            };
            if holds {
                found.push(person);
            }
            if let Some(code) = code {
                judged.resize(judged.len().max(code + 1), None);
                judged[code] = Some(holds);
            }
            candidates.advance(&mut columns);
        }
        Ok(found)
    }

    /// Returns whether the filter holds for a person. The columns must not be past that person.
    fn holds(&self, plan: &Plan<'_>, person: PersonId, columns: &mut [Asked<'_>]) -> Result<bool> {
        let mut values = Vec::with_capacity(columns.len());
        for Asked { name, number, column } in columns {
            if let Some(json) = column.at(person)? {
                values.push((*name, self.value_of(plan.project, person, *number, json)?));
            }
        }
        let value = |key: &str| Some(&values.iter().find(|(name, _)| *name == key)?.1);
        Ok(plan.filter.holds(&value))
    }

    /// Returns how many rows of the list's index to read at most to find the first `rows` of `found` matches;
    /// 0 if it is cheaper to seek and sort all matches instead.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn walk_budget(&self, project: ProjectId, rows: u64, found: u64) -> Result<u64> {
        // If the matches are spread evenly over the index, the first `rows` are found after this many rows.
        let to_walk = rows.saturating_mul(self.count(project)?) / found.max(1);
        let to_seek_on_disk = found.saturating_mul(SOUGHT);
        // Checked only if it matters, since this may load the column into memory.
        let is_on_disk = to_walk < to_seek_on_disk && self.whole(project, LIVE)?.is_none();
        let to_seek = if is_on_disk { to_seek_on_disk } else { found };
        Ok(if to_walk < to_seek { to_seek } else { 0 })
    }

    /// Returns the rows in a list of live persons, which are given and returned sorted by id.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn rows(&self, project: ProjectId, persons: &[PersonId], by: By) -> Result<Vec<Row>> {
        let rows_of = |part: &[PersonId]| {
            self.check_not_ended()?;
            let first = part.first().copied().unwrap_or_default();
            let mut live = self.column_part(project, LIVE, first..PersonId::MAX)?;
            let mut seen = self.last_seen_of(project);
            let row = |&person: &PersonId| {
                let shown = live.at(person)?.ok_or(Error::Broken("a list holds somebody dead"))?;
                let (created_at, uuid) = decode_live(shown)?;
                let time = match by {
                    By::CreatedAt => created_at,
                    By::LastSeenAt => seen.at(person)?,
                };
                Ok(Row { time, uuid, person })
            };
            part.iter().map(row).collect::<Result<Vec<_>>>()
        };
        let parts = persons.par_chunks(SOUGHT_AT_ONCE).map(rows_of);
        Ok(together(|| parts.collect::<Result<Vec<_>>>())?.concat())
    }

    /// Returns whether one person is wanted.
    ///
    /// # Errors
    /// If the store fails or is damaged.
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
        let Some(needle) = &wanted.search else {
            return Ok(true);
        };
        let mut searched = SEARCHED.iter().filter_map(|key| value(key));
        if searched.any(|value| !value.is_null() && needle.is_in(&value.text()))
            || needle.begins(&head.uuid.to_string())
        {
            return Ok(true);
        }
        let person = self.current(project, (id, head), usize::MAX)?;
        Ok(person.distinct_ids.iter().any(|id| needle.is_in(id)))
    }

    /// Returns the row of a person in a list.
    ///
    /// # Errors
    /// If the store fails or is damaged.
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

    fn last_seen_of(&self, project: ProjectId) -> LastSeen<'_> {
        let mut iterator = self.iterator(Family::Recency);
        iterator.seek(project.to_be_bytes());
        LastSeen { project, iterator }
    }
}

/// The sort key of persons that were never seen: with the newest first, these come last.
pub const NEVER: Time = Time(i64::MIN);

/// A forward iterator over the times when persons were last seen.
struct LastSeen<'a> {
    project: ProjectId,
    iterator: rocksdb::DBRawIterator<'a>,
}

impl LastSeen<'_> {
    fn at(&mut self, person: PersonId) -> Result<Time> {
        let key = keys::person(self.project, person);
        for _ in 0..STEPS {
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
