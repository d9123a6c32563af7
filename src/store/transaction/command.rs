//! What became of commands, remembered for a day.

use super::Transaction;
use super::working_set::WorkingSet;
use crate::person::time::DAY;
use crate::person::{ProjectId, Time};
use crate::store::{CommandOutcome, Family, Remembered, Result, codec, corrupt, decode, keys};

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
        Ok(found.filter(|found| found.is_remembered(now)).map(|found| found.outcome))
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
