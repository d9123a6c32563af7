//! Persons by what they are: filters, over columns.

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

/// Whom a list asks for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What the properties must be.
    pub filter: Filter,
    /// What email, name or a distinct id must have somewhere, or a uuid begin with.
    pub search: Option<Needle>,
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

impl Wanted {
    /// Whether everybody is wanted.
    #[must_use]
    pub fn is_everybody(&self) -> bool {
        self.search.is_none() && self.filter.is_empty()
    }
}

/// Whom a filter is asked of, in the order of the persons.
enum Candidates<'a> {
    /// Those who have what is searched for.
    Found(std::slice::Iter<'a, PersonId>),
    /// Those who have a property, by its index among those of the filter.
    Having(usize),
    /// Everybody alive.
    Everybody(Column<'a>),
}

/// The column of a property of the filter, its name and its number.
type Asked<'a> = (&'a str, PropertyId, Column<'a>);

impl Candidates<'_> {
    /// The next one; `None` at the end.
    fn person(&self, columns: &[Asked<'_>]) -> Result<Option<PersonId>> {
        match self {
            Self::Found(found) => Ok(found.as_slice().first().copied()),
            Self::Having(index) => columns[*index].2.person(),
            Self::Everybody(live) => live.person(),
        }
    }

    /// Goes on to the one after that.
    fn advance(&mut self, columns: &mut [Asked<'_>]) {
        match self {
            Self::Found(found) => _ = found.next(),
            Self::Having(index) => columns[*index].2.next(),
            Self::Everybody(live) => live.next(),
        }
    }
}

/// How a filter is answered, the same for every part of the persons.
struct Plan<'a> {
    project: ProjectId,
    filter: &'a Filter,
    /// The properties that it is about.
    properties: Vec<(&'a str, PropertyId)>,
    /// Who has what is searched for, by id.
    searched: Option<Vec<PersonId>>,
    /// A property that everybody has who is wanted, by its index.
    driver: Option<usize>,
}

/// A part of a walk through persons is of so many at least.
const PART: u64 = if cfg!(test) { 2 } else { 10_000 };

/// A walk is cut into so many parts at most.
const PARTS: u64 = 8;

/// To seek a person in a column that is not in memory takes as long as to walk over so many rows of a list.
const SOUGHT: u64 = if cfg!(test) { 1 } else { 16 };

/// So many persons are sought by one core.
const SOUGHT_AT_ONCE: usize = 256;

/// Ids of persons are numbers below this one, and stand there evenly.
const IDS: PersonId = 1 << 53;

impl Snapshot<'_> {
    /// Every live person that is wanted, by id. Parts of the persons are walked on all cores.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
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
                // Nobody has a property that has no number.
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

    /// The matching persons within one range of ids.
    fn find_part(&self, plan: &Plan<'_>, part: Range<PersonId>) -> Result<Vec<PersonId>> {
        let &Plan { project, filter, .. } = plan;
        let column = |property| self.column_part(project, property, part.clone());
        let columns = plan.properties.iter();
        let columns = columns.map(|&(key, of)| Ok((key, of, column(of)?)));
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
        // Whether the filter holds for a value of the only property, by the number of the value.
        let mut judged: Vec<Option<bool>> = Vec::new();
        let asks_always = filter.has_pattern();
        let is_only = columns.len() == 1 && matches!(candidates, Candidates::Having(_));
        while let Some(person) = candidates.person(&columns)? {
            if asks_always {
                self.check_not_ended()?;
            } else {
                ask()?;
            }
            let code = columns.first().filter(|_| is_only).and_then(|(_, _, column)| column.code());
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

    /// Whether the filter holds for a person, whom the columns have not passed yet.
    fn holds(&self, plan: &Plan<'_>, person: PersonId, columns: &mut [Asked<'_>]) -> Result<bool> {
        let mut values = Vec::with_capacity(columns.len());
        for (key, property, column) in columns {
            if let Some(json) = column.at(person)? {
                values.push((*key, self.value_of(plan.project, person, *property, json)?));
            }
        }
        let value = |key: &str| Some(&values.iter().find(|(name, _)| *name == key)?.1);
        Ok(plan.filter.holds(&value))
    }

    /// How many rows of the list's index to read at most to meet the first `rows` of `found` matches. 0: seek
    /// and sort all matches instead, which is cheaper.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn walk_budget(&self, project: ProjectId, rows: u64, found: u64) -> Result<u64> {
        // Where matches are spread evenly over the index, the first `rows` of them are met after so many.
        let to_walk = rows.saturating_mul(self.count(project)?) / found.max(1);
        let to_seek_on_disk = found.saturating_mul(SOUGHT);
        // Asked for only where it decides, as that may load the column.
        let is_on_disk = to_walk < to_seek_on_disk && self.whole(project, LIVE)?.is_none();
        let to_seek = if is_on_disk { to_seek_on_disk } else { found };
        Ok(if to_walk < to_seek { to_seek } else { 0 })
    }

    /// Where live persons, given by id, stand in a list.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
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
