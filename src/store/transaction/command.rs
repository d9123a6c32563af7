//! What became of commands, remembered for a day.

use super::{Transaction, decode};
use crate::person::time::DAY;
use crate::person::{ProjectId, Time};
use crate::store::{CommandOutcome, Family, Result, codec, corrupt, keys};

/// How many outcomes are forgotten at most for each one that is written.
const FORGOTTEN: usize = 10;

impl Transaction<'_> {
    /// What became of the command with this idempotency key; `None` where there was none in the
    /// last day.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn outcome(
        &self,
        project: ProjectId,
        idempotency_key: &str,
    ) -> Result<Option<CommandOutcome>> {
        let bytes = self.point(Family::Command, &keys::command(project, idempotency_key))?;
        bytes.map(|bytes| decode(codec::decode_outcome, &bytes, Family::Command)).transpose()
    }

    /// Writes what became of a command that was known at a time, and forgets those of the day
    /// before.
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
        let forgotten = self.store.outcomes_until(known.plus(-DAY), FORGOTTEN)?;
        for key in forgotten {
            let (_, outcome) = keys::command_of(&key).ok_or(corrupt(Family::Command))?;
            self.set_point(Family::Command, key, None);
            self.set_point(Family::Command, outcome, None);
        }
        let key = keys::command(project, idempotency_key);
        self.set_point(Family::Command, keys::command_at(known, &key), Some(Vec::new()));
        self.set_point(Family::Command, key, Some(codec::encode_outcome(outcome)));
        Ok(())
    }
}
