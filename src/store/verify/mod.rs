//! The check that a store keeps the laws, for `personview verify`.
//!
//! Everything is read once from end to end, in key order; what several families have of a person is walked
//! side by side. At most the rows of one property of one person are in memory. The naive fold ([`history`])
//! sorts and applies rows, and shares no code with the seeks that all other reads use.

mod activity;
mod changes;
mod commands;
mod cursor;
mod history;
mod identity;
mod lists;
mod lives;
mod merges;
mod persons;
mod report;
mod timeline;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};

use rocksdb::properties;

use self::cursor::Cursor;
pub use self::report::{Checked, Difference, Law, Report};
use super::keys::{KeyReader, Meta};
use super::lives::{LivesOf, Spans};
use super::rows::Rows;
use super::snapshot::Snapshot;
use super::staged::{Committed, Ordered};
use super::walk::Walk;
use super::{Error, Family, LifeSpan, Result, Store, codec, corrupt, decode};
use crate::person::{Life, PersonId, PersonRow, Place, ProjectId, PropertyId, Time};

/// How far a verification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Rows that were read.
    pub rows: u64,
    /// About how many rows there are.
    pub about: u64,
}

impl Snapshot<'_> {
    /// Reads everything and checks it against the laws. Calls `progress` now and then.
    ///
    /// # Errors
    /// If RocksDB fails, or a key or value is damaged that the walk itself needs. All other rows that cannot
    /// be decoded are differences.
    pub fn verify(&self, progress: &mut dyn FnMut(Progress)) -> Result<Report> {
        let walked = Family::ALL.iter().filter(|family| **family != Family::Meta);
        let about = walked.map(|family| self.store.about(*family)).sum();
        let mut verifying = Verifying {
            snapshot: self,
            rows: Committed::new(Walk::over(|| self.iterator(Family::History))),
            report: Report::default(),
            applied: HashMap::new(),
            strange: HashSet::new(),
            live: BTreeMap::new(),
            columns: BTreeMap::new(),
            progress,
            read: Progress { rows: 0, about },
        };
        verifying.positions()?;
        verifying.persons()?;
        verifying.counts()?;
        verifying.lists()?;
        verifying.each_row(Family::ByChange, Verifying::change)?;
        verifying.activities()?;
        verifying.columns()?;
        verifying.each_row(Family::Life, Verifying::row_of_life)?;
        verifying.each_row(Family::DistinctId, Verifying::distinct_id)?;
        verifying.each_row(Family::PersonDistinctId, Verifying::listed_id)?;
        verifying.each_row(Family::Dropped, Verifying::drop_rule)?;
        verifying.each_row(Family::Command, Verifying::outcome)?;
        Ok(verifying.report)
    }
}

impl Store {
    /// Returns about how many rows a family has.
    fn about(&self, family: Family) -> u64 {
        let count =
            self.db.property_int_value_cf(self.family(family), properties::ESTIMATE_NUM_KEYS);
        count.ok().flatten().unwrap_or(0)
    }
}

/// One person of one project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Who {
    project: ProjectId,
    person: PersonId,
}

/// Whether a life that other rows name exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    There,
    Deleted,
    Nobody,
}

struct Verifying<'a> {
    snapshot: &'a Snapshot<'a>,
    rows: RefCell<Committed<'a>>,
    report: Report,
    /// The first offset of each partition that is not applied yet.
    applied: HashMap<(u16, u32), u64>,
    /// Partitions that rows name but of which nothing was applied. Each is reported once.
    strange: HashSet<(u16, u32)>,
    /// Live persons by project.
    live: BTreeMap<ProjectId, u64>,
    /// How many rows each column should have.
    columns: BTreeMap<(ProjectId, PropertyId), u64>,
    progress: &'a mut dyn FnMut(Progress),
    read: Progress,
}

impl<'a> Verifying<'a> {
    /// Rows between two reports of progress.
    const STEP: u64 = 4096;

    fn tick(&mut self) {
        self.read.rows += 1;
        if self.read.rows.is_multiple_of(Self::STEP) {
            (self.progress)(self.read);
        }
    }

    fn cursor(&self, family: Family) -> Result<Cursor<'a>> {
        Cursor::new(self.snapshot, family)
    }

    /// Calls `each` with the key and the value of every row of a family.
    fn each_row(
        &mut self,
        family: Family,
        mut each: impl FnMut(&mut Self, &[u8], &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut cursor = self.cursor(family)?;
        while let Some((key, value)) = cursor.row() {
            each(self, key, value)?;
            self.tick();
            cursor.next()?;
        }
        Ok(())
    }

    fn differs(&mut self, law: Law, who: Who, text: String) {
        self.report.differs(law, who.project, Some(who.person), text);
    }

    /// Turns damaged or contradictory rows into a difference, so that the rest is checked, too.
    fn soft(&mut self, law: Law, who: Who, result: Result<()>) -> Result<()> {
        match result {
            Err(error @ (Error::Corrupt { .. } | Error::Broken(_))) => {
                self.differs(law, who, error.to_string());
                Ok(())
            }
            result => result,
        }
    }

    fn lives_of(&self, project: ProjectId) -> LivesOf<'a> {
        LivesOf { project, spans: self.snapshot }
    }

    /// Returns the histories of a project's persons, read by seeks.
    fn histories(&self, project: ProjectId) -> Rows<'_, 'a> {
        Rows::new(self.lives_of(project), Ordered::new(&self.rows))
    }

    fn span(&self, project: ProjectId, life: Life) -> Result<LifeSpan> {
        self.snapshot.span(project, life)
    }

    fn standing(&self, project: ProjectId, life: Life) -> Result<Standing> {
        Ok(match self.snapshot.person_row(project, life.person)? {
            Some(PersonRow::Head(head)) if life.number < head.first_life => Standing::Deleted,
            Some(PersonRow::Head(head)) if life.number <= head.life => Standing::There,
            Some(PersonRow::Tombstone(tombstone)) if life.number <= tombstone.life => {
                Standing::Deleted
            }
            Some(_) | None => Standing::Nobody,
        })
    }

    /// Loads how far each partition is applied, and checks that its topic has a name.
    fn positions(&mut self) -> Result<()> {
        let mut cursor = self.cursor(Family::Meta)?;
        let tag = [Meta::Position(0, 0).tag()];
        cursor.seek(&tag)?;
        while let Some((key, value)) = cursor.within(&tag) {
            let mut reader = KeyReader(key.get(1..).unwrap_or_default());
            let partition = reader.u16().zip(reader.u32()).ok_or(corrupt(Family::Meta))?;
            let applied = decode(codec::decode_applied, value, Family::Meta)?;
            self.applied.insert(partition, applied.next_offset);
            self.report.count(Law::Positions, "partitions");
            self.named(partition.0);
            if applied.last_offset >= applied.next_offset {
                let found = format!("is applied up to {}", applied.last_offset);
                self.misplaced(
                    partition,
                    &format!("{found}, but goes on at {}", applied.next_offset),
                );
            }
            cursor.next()?;
        }
        Ok(())
    }

    fn named(&mut self, topic: u16) {
        if self.snapshot.store.dictionary().topic_name(topic).is_none() {
            let text = format!("topic number {topic} is used and has no name");
            self.report.differs(Law::Positions, 0, None, text);
        }
    }

    fn misplaced(&mut self, (topic, partition): (u16, u32), text: &str) {
        let name = self.snapshot.store.dictionary().topic_name(topic);
        let name = name.unwrap_or_else(|| format!("number {topic}"));
        let text = format!("topic {name} partition {partition} {text}");
        self.report.differs(Law::Positions, 0, None, text);
    }

    /// Checks that the record of a place was applied.
    fn place(&mut self, who: Who, place: Place) {
        self.report.count(Law::Positions, "places");
        let position = place.position;
        let partition = (position.topic, position.partition);
        match self.applied.get(&partition) {
            Some(next) if position.offset < *next => {}
            Some(next) => {
                let text = format!(
                    "found a row of {partition:?} offset {}, expected those below {next}",
                    position.offset
                );
                self.differs(Law::Positions, who, text);
            }
            None if self.strange.insert(partition) => {
                self.named(position.topic);
                let text = format!("found a row of {partition:?}, of which nothing was applied");
                self.differs(Law::Positions, who, text);
            }
            None => {}
        }
    }
}

/// Returns the project and the person at the beginning of a key.
fn who_of(key: &[u8], family: Family) -> Result<Who> {
    let mut reader = KeyReader(key);
    let who = reader.u32().zip(reader.u64());
    let (project, person) = who.ok_or(corrupt(family))?;
    Ok(Who { project, person })
}

fn life_text(life: Life) -> String {
    format!("life {} of person {}", life.number, life.person)
}

fn time_text(time: Option<Time>) -> String {
    time.map_or_else(|| "none".to_owned(), |time| time.to_string())
}
