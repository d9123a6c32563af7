//! What became of commands, remembered for a day.

use super::Transaction;
use super::working_set::WorkingSet;
use crate::person::time::DAY;
use crate::person::{ProjectId, Time};
use crate::store::{Family, Result, codec, corrupt, decode, keys};

/// What became of a command. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr)]
#[repr(u8)]
#[strum(serialize_all = "snake_case")]
pub enum CommandOutcome {
    /// It was done, be it that nothing had to change.
    Done = 0,
    /// Nobody is called what it names.
    NotFound = 1,
    /// The properties would have become too large.
    TooLarge = 2,
    /// A split that would leave the person without a distinct id, or names none of its own.
    NothingToSplit = 3,
    /// A split of distinct ids that went through too many merges together.
    TooManyMerges = 4,
}

impl CommandOutcome {
    /// Every outcome, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Done, Self::NotFound, Self::TooLarge, Self::NothingToSplit, Self::TooManyMerges];

    /// The name under which it is counted.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What became of a command, and when that was known: its idempotency key counts for a day from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// What became of it.
    pub outcome: CommandOutcome,
    /// When the command was known.
    pub known: Time,
}

impl Remembered {
    /// Whether a command of `now` with the same key is the same one.
    #[must_use]
    pub fn counts_at(&self, now: Time) -> bool {
        self.known > now.plus(-DAY)
    }
}

/// How many outcomes are forgotten at most for each one that is written.
const FORGOTTEN: usize = 10;

/// When an outcome is forgotten: a day after its key counts no more, as commands may come in another order
/// than that of their clocks.
const FORGET: i64 = 2 * DAY;

impl Transaction<'_> {
    /// What became of the command with this idempotency key; `None` where there was none in the day
    /// before `now`.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn outcome(
        &self,
        project: ProjectId,
        idempotency_key: &str,
        now: Time,
    ) -> Result<Option<CommandOutcome>> {
        let found = self.remembered(&keys::command(project, idempotency_key))?;
        Ok(found.filter(|found| found.counts_at(now)).map(|found| found.outcome))
    }

    fn remembered(&self, key: &[u8]) -> Result<Option<Remembered>> {
        let bytes = self.point(Family::Command, key)?;
        bytes.map(|bytes| decode(codec::decode_outcome, &bytes, Family::Command)).transpose()
    }

    /// Writes what became of a command that was known at a time, and forgets some of long before.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
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
            // The key may have been used anew since.
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

    /// From where commands to be forgotten are looked for: each look would pass over all that were
    /// forgotten and are not committed.
    fn forgotten(&self, project: ProjectId) -> Option<Vec<u8>> {
        let own = self.working.forgotten.get(&project);
        own.or_else(|| self.before.as_ref()?.forgotten.get(&project)).cloned()
    }
}
