//! Applies batches of records to the store.
//!
//! ```text
//! records ─► parse, on all cores
//!         ─► batch: load owners, heads and what late events are compared with, many at once
//!                   in order: whose event is it, whom does it merge, what does it change ─► stage
//!         ─► the caller commits rows and positions, one atomic batch
//! ```
//!
//! [`parse`] is the first step and [`batch`] the second. Tests call both without Kafka.

mod beginning;
mod command;
mod delete;
mod duplicate;
mod event;
mod merge;
mod propagate;
mod property;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::Partitions;
use crate::person::event::{Rejection, Warning};
use crate::person::{
    Command, Event, Fact, PersonId, Place, Position, ProjectId, PropertyId, Record, Rules, Time,
    Update,
};
use crate::store::{Activity, Applied, Arrival, Deed, Dictionary, Operation, Result, Transaction};

/// What became of a record.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr, strum::VariantNames,
)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// An operation was recorded.
    Recorded,
    /// It changed nothing worth a row.
    Unchanged,
    /// It repeats an operation already in the timeline.
    Duplicate,
    /// The event asks that no person be made.
    Personless,
    /// Dropped: no project has its token.
    UnknownToken,
    /// Dropped: its person was deleted.
    DeletedPerson,
    /// A command that could not be carried out; its stored outcome says why.
    Refused,
    /// It could not be used.
    DeadLetter,
}

impl Outcome {
    /// Returns the name under which it is counted.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The kind of a recorded operation, as `ingest_operations_total` counts it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr, strum::VariantNames,
)]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    /// `$set`.
    Set,
    /// `$set_once`.
    SetOnce,
    /// `$unset`.
    Unset,
    /// A person was merged into another.
    Merge,
    /// Distinct ids were split off to persons of their own.
    Split,
    /// A person was deleted.
    Deletion,
}

/// The counts of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records, by topic number and outcome.
    pub records: BTreeMap<(u16, Outcome), u64>,
    /// Recorded operations, by kind.
    pub operations: BTreeMap<Kind, u64>,
    /// Operations recorded before the newest one of their person.
    pub late: u64,
    /// Warnings, by kind.
    pub warnings: BTreeMap<Warning, u64>,
    /// Rejected records, by their index in the batch.
    pub rejections: Vec<(usize, Rejection)>,
}

impl Tally {
    /// Returns the records that become dead letters of an instance, and why. `records` are those that were applied.
    ///
    /// Every instance applies all commands, but only the owner of the partition keeps those that cannot be used.
    #[must_use]
    pub fn dead_letters<'r>(
        &self,
        records: &'r [Record],
        owned: Partitions,
    ) -> Vec<(&'r Record, Rejection)> {
        let kept = self.rejections.iter().filter(|(_, rejection)| rejection.is_dead_letter());
        let kept = kept.map(|&(index, rejection)| (&records[index], rejection));
        kept.filter(|(record, _)| owned.owns(record.position.partition)).collect()
    }
}

/// How operations are recorded.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Whether a change to volatile keys alone is recorded.
    pub record_volatile: bool,
    /// Maximum size of one person's properties, in bytes of JSON.
    pub properties_limit: u64,
}

/// The content of a record.
#[derive(Clone, Debug)]
pub enum Input {
    /// An event, and the numbers of the properties that it updates; `None` for those that have no number yet.
    Event(Event, Vec<Option<PropertyId>>),
    /// A write of the API.
    Command(Command),
}

/// A parsed record, or why it is rejected.
pub type Parsed = std::result::Result<Input, Rejection>;

/// Parses records on all threads of the current rayon pool. The results keep the order of the records.
#[must_use]
pub fn parse(records: &[Record], rules: &Rules, names: &Dictionary) -> Vec<Parsed> {
    let parse = |record: &Record| {
        if record.position.is_command() {
            Command::parse(record).map(Input::Command)
        } else {
            Event::parse(record, rules).map(|event| {
                let numbers = names.numbers(event.project, &event.updates);
                Input::Event(event, numbers)
            })
        }
    };
    records.par_iter().with_min_len(64).map(parse).collect()
}

/// The approximate size of one transaction, in bytes: the rest of the batch goes into another transaction.
/// Only merges of persons with very many distinct ids or very large properties reach it.
const STAGED_BYTES: usize = if cfg!(test) { 1 << 20 } else { 64 << 20 };

/// For how many records owners, heads and histories are loaded at once.
const LOADED_RECORDS: usize = 1024;

/// Stages the first records of a batch in a transaction, including their positions, and returns how many they
/// are: all of them, unless they stage more than one transaction should. The caller commits, and continues
/// with the rest.
///
/// # Errors
/// If the store fails or contradicts itself; nothing of the batch is kept then.
pub fn batch<'s>(
    mut transaction: Transaction<'s>,
    records: &[Record],
    parsed: &[Parsed],
    settings: Settings,
) -> Result<(Transaction<'s>, Tally, usize)> {
    let mut tally = Tally::default();
    let mut done = 0;
    for (index, (record, parsed_record)) in records.iter().zip(parsed).enumerate() {
        if index.is_multiple_of(LOADED_RECORDS) {
            let end = parsed.len().min(index + LOADED_RECORDS);
            load(&mut transaction, &parsed[index..end])?;
        }
        let mut applying = Applying { transaction: &mut transaction, tally: &mut tally, settings };
        let outcome = applying.apply(index, record, parsed_record).inspect_err(|_| {
            let (topic, Position { partition, offset, .. }) = (&*record.topic, record.position);
            tracing::error!(topic, partition, offset, "a record cannot be applied");
        })?;
        transaction.number_changes()?;
        *tally.records.entry((record.position.topic, outcome)).or_default() += 1;
        done = index + 1;
        if transaction.staged_bytes() > STAGED_BYTES {
            break;
        }
    }
    for ((topic, partition), applied) in positions_after(&records[..done]) {
        transaction.set_applied(topic, partition, &applied);
    }
    Ok((transaction, tally, done))
}

fn load(transaction: &mut Transaction<'_>, parsed: &[Parsed]) -> Result<()> {
    let events = parsed.iter().flatten().filter_map(|input| match input {
        Input::Event(event, numbers) if !event.personless => Some((event, numbers)),
        Input::Event(..) | Input::Command(_) => None,
    });
    transaction.load(events.clone().flat_map(|(event, _)| {
        let other = event.merge.as_ref().map(|merge| (event.project, merge.other.as_str()));
        std::iter::once((event.project, event.distinct_id.as_str())).chain(other)
    }))?;
    transaction.load_past(events.map(|(event, numbers)| Arrival {
        project: event.project,
        distinct_id: &event.distinct_id,
        time: event.event_time,
        uuid: event.uuid,
        properties: numbers,
    }))
}

/// Returns the position of each partition after these records, by topic number and partition.
#[must_use]
pub fn positions_after(records: &[Record]) -> BTreeMap<(u16, u32), Applied> {
    let mut last = BTreeMap::new();
    for record in records {
        last.insert((record.position.topic, record.position.partition), record);
    }
    last.into_iter().map(|(partition, record)| (partition, fingerprint(record))).collect()
}

/// Returns what is kept of the last applied record, to recognise it when it is read again.
#[must_use]
pub fn fingerprint(record: &Record) -> Applied {
    Applied {
        next_offset: record.position.offset + 1,
        last_offset: record.position.offset,
        last_timestamp: record.timestamp,
        last_hash: xxh3_64(record.value.as_deref().unwrap_or_default()),
    }
}

/// What applying a record needs: the transaction and tally of its batch, and the settings.
struct Applying<'t, 's> {
    transaction: &'t mut Transaction<'s>,
    tally: &'t mut Tally,
    settings: Settings,
}

impl Applying<'_, '_> {
    fn apply(&mut self, index: usize, record: &Record, parsed: &Parsed) -> Result<Outcome> {
        let (outcome, rejection) = match parsed {
            Ok(Input::Event(event, numbers)) => self.event(event, numbers, record.position)?,
            Ok(Input::Command(command)) => (self.command(command, record)?, None),
            Err(rejection) if rejection.is_dead_letter() => (Outcome::DeadLetter, Some(*rejection)),
            Err(rejection) => (Outcome::UnknownToken, Some(*rejection)),
        };
        self.tally.rejections.extend(rejection.map(|rejection| (index, rejection)));
        Ok(outcome)
    }

    fn warn(&mut self, warning: Warning) {
        *self.tally.warnings.entry(warning).or_default() += 1;
    }

    /// Adds what was done to a person to the activity log.
    fn record_activity(&mut self, at: At, person: PersonId, deed: Deed) -> Result<()> {
        let author = at.author.map(str::to_owned);
        let activity = Activity { person, deed, place: at.place(), known: at.known, author };
        self.transaction.put_activity(at.project, &activity)
    }

    fn count(&mut self, kind: Kind) {
        *self.tally.operations.entry(kind).or_default() += 1;
    }
}

/// The event or command being applied.
#[derive(Clone, Copy)]
struct At<'e> {
    project: ProjectId,
    position: Position,
    /// The event time, by which duplicates and owners are found.
    time: Time,
    /// When it takes effect, which may be later: its place in the timeline.
    effective: Time,
    /// The known time.
    known: Time,
    uuid: uuid::Uuid,
    name: &'e str,
    /// Empty for a command.
    distinct_id: &'e str,
    /// The author of a command; `None` for an event.
    author: Option<&'e str>,
    /// Its property updates.
    updates: &'e [Update],
    /// The numbers of these properties, `None` or left out if not known yet.
    numbers: &'e [Option<PropertyId>],
}

impl<'e> At<'e> {
    fn of(event: &'e Event, numbers: &'e [Option<PropertyId>], position: Position) -> Self {
        Self {
            project: event.project,
            position,
            time: event.event_time,
            effective: event.event_time,
            known: event.known_time,
            uuid: event.uuid,
            name: &event.name,
            distinct_id: &event.distinct_id,
            author: None,
            updates: &event.updates,
            numbers,
        }
    }

    fn of_command(command: &'e Command, position: Position) -> Self {
        Self {
            project: command.project,
            position,
            time: command.known,
            effective: command.known,
            known: command.known,
            uuid: command.uuid,
            name: command.name(),
            distinct_id: "",
            author: Some(&command.author),
            updates: &[],
            numbers: &[],
        }
    }

    /// Returns it with a time when it takes effect.
    fn taking_effect(self, effective: Time) -> Self {
        Self { effective, ..self }
    }

    /// Returns the place at which it takes effect.
    fn place(&self) -> Place {
        Place { time: self.effective, position: self.position }
    }

    /// Returns the times of a fact that is true once it takes effect.
    fn fact(&self) -> Fact {
        Fact { time: self.effective, known: self.known }
    }

    /// Returns the operation to be kept in the timeline.
    fn operation(&self) -> Operation {
        Operation {
            uuid: self.uuid,
            event_time: self.time,
            known: self.known,
            event: self.name.to_owned(),
            distinct_id: self.distinct_id.to_owned(),
            author: self.author.map(str::to_owned),
            merged: None,
            split: None,
            effects: Vec::new(),
        }
    }
}
