//! Outcomes of commands, which count for a day.

use strum::VariantArray;

use super::Transaction;
use super::working_set::WorkingSet;
use crate::person::time::DAY;
use crate::person::{ProjectId, Time};
use crate::store::{Family, Result, codec, corrupt, decode, keys};

/// The outcome of a command. The numbers are part of the format.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr, strum::VariantArray,
)]
#[repr(u8)]
#[strum(serialize_all = "snake_case")]
pub enum CommandOutcome {
    /// It was done, even if nothing had to change.
    Done = 0,
    /// What it names does not exist.
    NotFound = 1,
    /// The properties would have become too large.
    TooLarge = 2,
    /// A split that would leave the person without a distinct id, or that names none of the person's ids.
    NothingToSplit = 3,
    /// A split whose distinct ids went through too many merges in total.
    TooManyMerges = 4,
}

impl CommandOutcome {
    /// Every outcome, in the order of their numbers.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The name under which it is counted.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The outcome of a command, and when the command was known. Its idempotency key counts for a day from then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The outcome.
    pub outcome: CommandOutcome,
    /// When the command was known.
    pub known: Time,
}

impl Remembered {
    /// Returns the outcome if a command with the same key at `now` counts as the same command.
    #[must_use]
    pub fn outcome_at(&self, now: Time) -> Option<CommandOutcome> {
        (self.known > now.plus(-DAY)).then_some(self.outcome)
    }
}

/// The most outcomes that are deleted for each one that is written.
const FORGOTTEN: usize = 10;

/// The age at which an outcome is deleted, in microseconds. That is a day after its key stops counting, as
/// commands may come in another order than that of their clocks.
const FORGET: i64 = 2 * DAY;

impl Transaction<'_> {
    /// Returns the outcome of the command with this idempotency key; `None` if there was
    /// none in the day before `now`.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn outcome(
        &self,
        project: ProjectId,
        idempotency_key: &str,
        now: Time,
    ) -> Result<Option<CommandOutcome>> {
        let found = self.remembered(&keys::command(project, idempotency_key))?;
        Ok(found.and_then(|found| found.outcome_at(now)))
    }

    fn remembered(&self, key: &[u8]) -> Result<Option<Remembered>> {
        let bytes = self.point(Family::Command, key)?;
        bytes.map(|bytes| decode(codec::decode_outcome, &bytes, Family::Command)).transpose()
    }

    /// Writes the outcome of a command that was known at `known`, and deletes some that are long past.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn set_outcome(
        &mut self,
        project: ProjectId,
        idempotency_key: &str,
        known: Time,
        outcome: CommandOutcome,
    ) -> Result<()> {
        let of_project = keys::commands(project);
        let mut from = self.forgotten(project).unwrap_or_else(|| of_project.clone());
        for _ in 0..FORGOTTEN {
            let rows = self.kept(&self.commands, WorkingSet::commands);
            let Some((key, _)) = rows.first(&of_project, &from)? else { break };
            let (of, outcome) = keys::command_of(&key).ok_or(corrupt(Family::Command))?;
            if of > known.plus(-FORGET) {
                break;
            }
            // The key may have been used again since.
            if self.remembered(&outcome)?.is_some_and(|found| found.known <= of) {
                self.working.put(Family::Command, outcome, None);
            }
            from = [&key[..], &[0]].concat();
            self.working.put(Family::Command, key, None);
        }
        let at = keys::command_at(project, known, idempotency_key);
        self.working.forgotten.insert(project, from.min(at.clone()));
        let key = keys::command(project, idempotency_key);
        self.working.put(Family::Command, at, Some(Vec::new()));
        self.working.put(
            Family::Command,
            key,
            Some(codec::encode_outcome(Remembered { outcome, known })),
        );
        Ok(())
    }

    /// Returns where the search for outcomes to delete begins. From the start, each search would pass over
    /// all rows that are deleted but not yet committed.
    fn forgotten(&self, project: ProjectId) -> Option<Vec<u8>> {
        let own = self.working.forgotten.get(&project);
        own.or_else(|| self.before.as_ref()?.forgotten.get(&project)).cloned()
    }
}
