//! Columns: the current values of one property, of every live person, in the order of the persons.
//! What filters and `values` scan, rather than the people.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use rocksdb::{DBRawIterator, ReadOptions, WriteBatch};
use uuid::Uuid;

use super::column_cache::{CacheKey, CachedIndex};
use super::in_memory::MemoryColumn;
use super::keys::{self, KeyReader};
use super::list::Listed;
use super::snapshot::Snapshot;
use super::walk::STEPS;
use super::{Family, Result, Store, corrupt};
use crate::person::{CREATED, PersonId, PersonRow, ProjectId, PropertyId, Time, Value};

/// The column of everybody alive: when each was created, and its uuid.
pub const LIVE: PropertyId = CREATED;

/// A longer value, in bytes of JSON, is left to the head.
const MAX_VALUE: usize = 1024;

/// What the columns hold of a person, by property.
pub type Columns = Vec<(PropertyId, Value)>;

/// What the columns hold of a person; nothing of one that was merged away or deleted.
pub fn columns(row: &PersonRow) -> Columns {
    let PersonRow::Head(head) = row else {
        return Columns::new();
    };
    let entries = head.properties().filter(|_| head.merged.is_none());
    let values = entries
        .filter_map(|(property, entry)| Some((property, entry.state.current.as_ref()?.clone())));
    values.collect()
}

/// A row of a column: the value as JSON, or nothing where that is too long.
pub fn encode(value: &Value) -> &[u8] {
    let json = value.as_json().as_bytes();
    if json.len() > MAX_VALUE { &[] } else { json }
}

/// A row of the column of everybody alive.
pub fn encode_live(listed: &Listed) -> Vec<u8> {
    let mut value = keys::time_bytes(listed.created_at).to_vec();
    value.extend(listed.uuid.as_bytes());
    value
}

/// What a commit changes, grouped by column: told person by person, written in key order, which the memtable
/// inserts faster.
#[derive(Default)]
pub struct Writes(BTreeMap<(ProjectId, PropertyId), Rows>);

/// What persons have in a column from then on.
type Rows = Vec<(PersonId, Option<Value>)>;

impl Writes {
    /// Notes what changes for a person.
    pub fn note(
        &mut self,
        (project, person): (ProjectId, PersonId),
        before: &Columns,
        after: Columns,
    ) {
        let mut note = |property, value| {
            self.0.entry((project, property)).or_default().push((person, value));
        };
        let mut before = before.iter().peekable();
        for (property, value) in after {
            while let Some((gone, _)) = before.next_if(|(was, _)| *was < property) {
                note(*gone, None);
            }
            let was = before.next_if(|(was, _)| *was == property);
            if was.is_none_or(|(_, was)| was.as_json() != value.as_json()) {
                note(property, Some(value));
            }
        }
        before.for_each(|(gone, _)| note(*gone, None));
    }

    /// Stages all that was noted.
    pub fn stage(self, batch: &mut WriteBatch, store: &Store) {
        let family = store.family(Family::Column);
        for ((project, property), rows) in self.0 {
            store.note_index_changes(
                CacheKey::Column(project, property),
                rows.iter().map(|(person, value)| {
                    let row = value.as_ref().map(|value| encode(value).to_vec());
                    (person.to_be_bytes().to_vec(), row)
                }),
            );
            for (person, value) in rows {
                let key = keys::column_row(project, property, person);
                match value {
                    Some(value) => batch.put_cf(family, key, encode(&value)),
                    None => batch.delete_cf(family, key),
                }
            }
        }
    }
}

/// A walk through a column, forward.
pub struct Column<'a>(Source<'a>);

enum Source<'a> {
    Database { iterator: DBRawIterator<'a>, project: ProjectId, property: PropertyId },
    Cached { rows: Arc<MemoryColumn>, left: Range<usize> },
}

impl Column<'_> {
    /// The person of the row that the walk is at; `None` at the end.
    pub fn person(&self) -> Result<Option<PersonId>> {
        let iterator = match &self.0 {
            Source::Database { iterator, .. } => iterator,
            Source::Cached { rows, left } => {
                return Ok((!left.is_empty()).then(|| rows.person(left.start)));
            }
        };
        let Some(key) = iterator.key() else {
            iterator.status()?;
            return Ok(None);
        };
        let person = key.get(keys::COLUMN_BYTES..).and_then(|rest| KeyReader(rest).u64());
        person.map(Some).ok_or(corrupt(Family::Column))
    }

    /// The value of the row that the walk is at.
    pub fn value(&self) -> &[u8] {
        match &self.0 {
            Source::Database { iterator, .. } => iterator.value().unwrap_or_default(),
            Source::Cached { left, .. } if left.is_empty() => &[],
            Source::Cached { rows, left } => rows.row(left.start),
        }
    }

    /// A number for the value of the row that the walk is at, where equal ones mostly have the same; `None`
    /// where none is known.
    pub fn code(&self) -> Option<usize> {
        match &self.0 {
            Source::Cached { rows, left } if !left.is_empty() => rows.code(left.start),
            _ => None,
        }
    }

    /// Goes on.
    pub fn next(&mut self) {
        match &mut self.0 {
            Source::Database { iterator, .. } => iterator.next(),
            Source::Cached { left, .. } => left.start = left.end.min(left.start + 1),
        }
    }

    /// Goes on to a person, who is not before where the walk is; `None` where it has no row.
    pub fn at(&mut self, person: PersonId) -> Result<Option<&[u8]>> {
        for _ in 0..STEPS {
            match self.person()? {
                Some(found) if found < person => self.next(),
                found => return Ok((found == Some(person)).then(|| self.value())),
            }
        }
        match &mut self.0 {
            Source::Database { iterator, project, property } => {
                iterator.seek(keys::column_row(*project, *property, person));
            }
            Source::Cached { rows, left } => {
                left.start = rows.first_not_before(person, left.clone());
            }
        }
        Ok((self.person()? == Some(person)).then(|| self.value()))
    }
}

/// When somebody alive was created, and the uuid.
pub fn decode_live(value: &[u8]) -> Result<(Time, Uuid)> {
    let mut reader = KeyReader(value);
    let read = reader.time().zip(reader.0.try_into().ok().map(Uuid::from_bytes));
    read.ok_or(corrupt(Family::Column))
}

impl Snapshot<'_> {
    /// A walk through a column from its beginning.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn column(&self, project: ProjectId, property: PropertyId) -> Result<Column<'_>> {
        self.column_part(project, property, 0..PersonId::MAX)
    }

    /// A walk through what some persons, from one id until before another, have in a column.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn column_part(
        &self,
        project: ProjectId,
        property: PropertyId,
        persons: Range<PersonId>,
    ) -> Result<Column<'_>> {
        if let Some(rows) = self.whole(project, property)? {
            let left = rows.range(&persons);
            return Ok(Column(Source::Cached { rows, left }));
        }
        Ok(self.column_on_disk(project, property, persons))
    }

    pub(super) fn column_on_disk(
        &self,
        project: ProjectId,
        property: PropertyId,
        persons: Range<PersonId>,
    ) -> Column<'_> {
        let prefix = keys::column(project, property);
        let row = |person| keys::column_row(project, property, person);
        let mut options = ReadOptions::default();
        options.set_iterate_range(row(persons.start)..row(persons.end));
        // The scan of a large one would push everything else out of the cache.
        options.fill_cache(self.store.is_small(Family::Column, &prefix));
        let mut iterator = self.scan(Family::Column, options);
        iterator.seek_to_first();
        Column(Source::Database { iterator, project, property })
    }

    /// A column, where it is kept in memory or may be from now on.
    pub(super) fn whole(
        &self,
        project: ProjectId,
        property: PropertyId,
    ) -> Result<Option<Arc<MemoryColumn>>> {
        let kept = self.kept(CacheKey::Column(project, property), |most| {
            let mut column = self.column_on_disk(project, property, 0..PersonId::MAX);
            let mut ask = self.asking_for_all();
            let next = || {
                ask()?;
                let row = column.person()?.map(|person| (person, column.value().to_vec()));
                column.next();
                Ok(row)
            };
            Ok(MemoryColumn::of(next, most)?.map(|whole| CachedIndex::Column(Arc::new(whole))))
        })?;
        Ok(match kept {
            Some(CachedIndex::Column(whole)) => Some(whole),
            _ => None,
        })
    }
}
