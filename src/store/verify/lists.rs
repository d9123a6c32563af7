//! Checks that lists, counts and look-ups agree with the heads, in both directions.

use std::collections::{BTreeMap, BTreeSet};

use super::{Law, Verifying, Who};
use crate::person::{PersonId, PersonRow, ProjectId, PropertyId};
use crate::store::column::{self, LIVE};
use crate::store::keys::{self, KeyReader, Meta};
use crate::store::list::Listed;
use crate::store::{Family, NEVER, Recency, Result, corrupt};

impl Verifying<'_> {
    /// Checks that a live person has its rows in the lists, and counts it.
    pub(super) fn listed(&mut self, who: Who, row: &PersonRow, recency: Recency) -> Result<()> {
        let Some(listed) = self.listing(who.project, row) else { return Ok(()) };
        *self.live.entry(who.project).or_default() += 1;
        let (created_at, email) = listed.keys(who.project, who.person);
        let seen = by_last_seen_at(who.project, recency, &listed);
        let keys = [
            (Family::ByCreatedAt, Some(created_at)),
            (Family::ByLastSeenAt, Some(seen)),
            (Family::ByEmail, email),
        ];
        for (family, key) in keys {
            let Some(key) = key else { continue };
            let found = self.snapshot.get(family, &key)?;
            if found.as_deref() != Some(&who.person.to_be_bytes()) {
                let found = found.and_then(|found| KeyReader(&found).u64());
                let text = format!("found {found:?} in `{}`, expected itself", family.name());
                self.differs(Law::Indexes, who, text);
            }
        }
        Ok(())
    }

    /// Checks that the columns have the values of a person's head, and counts these.
    pub(super) fn in_columns(&mut self, who: Who, row: &PersonRow) -> Result<()> {
        let Some(listed) = self.listing(who.project, row) else { return Ok(()) };
        let columns = column::columns(row);
        let due =
            columns.iter().map(|(property, value)| (*property, column::encode(value).to_vec()));
        for (property, due) in due.chain([(LIVE, column::encode_live(&listed))]) {
            *self.columns.entry((who.project, property)).or_default() += 1;
            let row = keys::column_row(who.project, property, who.person);
            let found = self.snapshot.get(Family::Column, &row)?;
            if found.as_deref() != Some(&due[..]) {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let found = found.map_or("nothing".to_owned(), |found| text(&found));
                let text = format!("found {found} in column {property}, expected {}", text(&due));
                self.differs(Law::Indexes, who, text);
            }
        }
        Ok(())
    }

    /// Checks that the columns have no other rows, by their number.
    pub(super) fn columns(&mut self) -> Result<()> {
        let mut found: BTreeMap<(ProjectId, PropertyId), u64> = BTreeMap::new();
        self.each_row(Family::Column, |verifying, key, _| {
            let mut reader = KeyReader(key);
            let column = reader.u32().zip(reader.u32()).ok_or(corrupt(Family::Column))?;
            *found.entry(column).or_default() += 1;
            verifying.report.count(Law::Indexes, "column rows");
            Ok(())
        })?;
        let due = std::mem::take(&mut self.columns);
        for (project, property) in found.keys().chain(due.keys()).collect::<BTreeSet<_>>() {
            let rows = |of: &BTreeMap<_, u64>| of.get(&(*project, *property)).copied().unwrap_or(0);
            let (found, due) = (rows(&found), rows(&due));
            if found != due {
                let text = format!("found {found} rows in column {property}, expected {due}");
                self.report.differs(Law::Indexes, *project, None, text);
            }
        }
        Ok(())
    }

    fn listing(&self, project: ProjectId, row: &PersonRow) -> Option<Listed> {
        Listed::of(row, self.snapshot.store.dictionary().email(project))
    }

    /// Checks the counts of live persons in each project.
    pub(super) fn counts(&mut self) -> Result<()> {
        let mut cursor = self.cursor(Family::Meta)?;
        let tag = [Meta::Count(0).tag()];
        cursor.seek(&tag)?;
        let mut counts = std::mem::take(&mut self.live);
        while let Some((key, value)) = cursor.within(&tag) {
            let project = KeyReader(key.get(1..).unwrap_or_default()).u32();
            let project = project.ok_or(corrupt(Family::Meta))?;
            let found = KeyReader(value).u64().ok_or(corrupt(Family::Meta))?;
            self.count(project, found, counts.remove(&project).unwrap_or(0));
            cursor.next()?;
        }
        for (project, due) in counts {
            self.count(project, 0, due);
        }
        Ok(())
    }

    fn count(&mut self, project: ProjectId, found: u64, due: u64) {
        self.report.count(Law::Indexes, "projects");
        if found != due {
            let text = format!("found a count of {found} live persons, expected {due}");
            self.report.differs(Law::Indexes, project, None, text);
        }
    }

    /// Checks that every row of the lists is the one that its person should have there.
    pub(super) fn lists(&mut self) -> Result<()> {
        for (family, kind) in [
            (Family::ByCreatedAt, "created"),
            (Family::ByLastSeenAt, "last seen"),
            (Family::ByEmail, "emails"),
            (Family::Uuid, "uuids"),
        ] {
            self.each_row(family, |verifying, key, value| {
                verifying.report.count(Law::Indexes, kind);
                verifying.row_of_list(family, key, value)
            })?;
        }
        Ok(())
    }

    fn row_of_list(&mut self, family: Family, key: &[u8], value: &[u8]) -> Result<()> {
        let project = KeyReader(key).u32().ok_or(corrupt(family))?;
        let Some(person) = KeyReader(value).u64() else {
            let text = corrupt(family).to_string();
            self.report.differs(Law::Indexes, project, None, text);
            return Ok(());
        };
        let who = Who { project, person };
        let checked = self.shown(family, key, who);
        self.soft(Law::Indexes, who, checked)
    }

    fn shown(&mut self, family: Family, key: &[u8], who: Who) -> Result<()> {
        let due = self.key_of(family, who.project, who.person)?;
        if due.as_deref() != Some(key) {
            let what = if due.is_some() { "is listed otherwise" } else { "is not to be listed" };
            let text = format!("found a row in `{}`, but the person {what}", family.name());
            self.differs(Law::Indexes, who, text);
        }
        Ok(())
    }

    /// Returns the key of a person in a list; `None` if it is not in there.
    fn key_of(
        &self,
        family: Family,
        project: ProjectId,
        person: PersonId,
    ) -> Result<Option<Vec<u8>>> {
        let Some(row) = self.snapshot.person_row(project, person)? else {
            return Ok(None);
        };
        if family == Family::Uuid {
            return Ok(Some(keys::uuid(project, row.uuid())));
        }
        let listed = self.listing(project, &row);
        if let (Family::ByLastSeenAt, Some(listed)) = (family, &listed) {
            let recency = self.snapshot.recency(project, person)?;
            return Ok(Some(by_last_seen_at(project, recency, listed)));
        }
        let keys = listed.map(|listed| listed.keys(project, person));
        Ok(keys.and_then(|(created_at, email)| match family {
            Family::ByCreatedAt => Some(created_at),
            _ => email,
        }))
    }
}

/// Returns the key of a person in `by_last_seen_at`.
fn by_last_seen_at(project: ProjectId, recency: Recency, listed: &Listed) -> Vec<u8> {
    keys::by_time(project, recency.seen.unwrap_or(NEVER), listed.uuid)
}
