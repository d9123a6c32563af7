//! Columns: the current values of one property of all live persons, in the order of the persons' ids. Filters
//! and `values` scan these instead of whole persons.

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

/// The column of all live persons: when each was created, and its uuid.
pub const LIVE: PropertyId = CREATED;

/// The longest value that a column contains, in bytes of JSON. Longer ones are only in the head.
const MAX_VALUE: usize = 1024;

/// The values of one person in the columns, ordered by property.
pub type Columns = Vec<(PropertyId, Value)>;

/// Returns the values of a person in the columns; none if it was merged away or deleted.
pub fn columns(row: &PersonRow) -> Columns {
    let PersonRow::Head(head) = row else {
        return Columns::new();
    };
    let entries = head.properties().filter(|_| head.merged.is_none());
    let values = entries
        .filter_map(|(property, entry)| Some((property, entry.state.current.as_ref()?.clone())));
    values.collect()
}

/// Encodes a row of a column: the value as JSON, or nothing if that is too long.
pub fn encode(value: &Value) -> &[u8] {
    let json = value.as_json().as_bytes();
    if json.len() > MAX_VALUE { &[] } else { json }
}

/// Encodes a row of [`LIVE`].
pub fn encode_live(listed: &Listed) -> Vec<u8> {
    let mut value = keys::time_bytes(listed.created_at).to_vec();
    value.extend(listed.uuid.as_bytes());
    value
}

/// The changes of a commit, grouped by column. They are noted person by person but written in key order,
/// which the memtable inserts faster.
#[derive(Default)]
pub struct Writes(BTreeMap<(ProjectId, PropertyId), Rows>);

/// The new values of persons in a column; `None` deletes a row.
type Rows = Vec<(PersonId, Option<Value>)>;

impl Writes {
    /// Notes which values of a person change from `before` to `after`.
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

    /// Adds everything noted to the batch, and notes it in the column cache.
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

/// A forward iterator over a column.
pub struct Column<'a>(Source<'a>);

enum Source<'a> {
    Database { iterator: DBRawIterator<'a>, project: ProjectId, property: PropertyId },
    Cached { rows: Arc<MemoryColumn>, left: Range<usize> },
}

impl Column<'_> {
    /// Returns the person of the current row; `None` at the end.
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

    /// Returns the value of the current row; empty at the end, and if the value is too long for a column.
    pub fn value(&self) -> &[u8] {
        match &self.0 {
            Source::Database { iterator, .. } => iterator.value().unwrap_or_default(),
            Source::Cached { left, .. } if left.is_empty() => &[],
            Source::Cached { rows, left } => rows.row(left.start),
        }
    }

    /// Returns a code for the value of the current row. Rows with the same code have the same value; equal
    /// values mostly, but not always, have the same code. `None` if there is no code.
    pub fn code(&self) -> Option<usize> {
        match &self.0 {
            Source::Cached { rows, left } if !left.is_empty() => rows.code(left.start),
            _ => None,
        }
    }

    /// Moves to the next row.
    pub fn next(&mut self) {
        match &mut self.0 {
            Source::Database { iterator, .. } => iterator.next(),
            Source::Cached { left, .. } => left.start = left.end.min(left.start + 1),
        }
    }

    /// Moves forward to a person and returns its value; `None` if it has no row. The person must not be
    /// before the current row.
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

/// Decodes a row of [`LIVE`]: when the person was created, and its uuid.
pub fn decode_live(value: &[u8]) -> Result<(Time, Uuid)> {
    let mut reader = KeyReader(value);
    let read = reader.time().zip(reader.0.try_into().ok().map(Uuid::from_bytes));
    read.ok_or(corrupt(Family::Column))
}

impl Snapshot<'_> {
    /// Returns an iterator over a whole column.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn column(&self, project: ProjectId, property: PropertyId) -> Result<Column<'_>> {
        self.column_part(project, property, 0..PersonId::MAX)
    }

    /// Returns an iterator over the rows of a column whose persons are in a range of ids.
    ///
    /// # Errors
    /// If the store fails or is damaged.
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
        // Scanning a large column would evict everything else from the block cache.
        options.fill_cache(self.store.is_small(Family::Column, &prefix));
        let mut iterator = self.scan(Family::Column, options);
        iterator.seek_to_first();
        Column(Source::Database { iterator, project, property })
    }

    /// Returns a column from the column cache, which loads it if it has room; `None` if it has to be read
    /// from the database.
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
