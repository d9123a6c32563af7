//! Checks what is remembered of commands: their outcomes, and what their deletions left to be dropped.

use super::{Law, Verifying};
use crate::person::Time;
use crate::store::keys::{self, KeyReader};
use crate::store::{Family, Result, codec, corrupt, decode};

impl Verifying<'_> {
    /// Checks that a drop rule has its time.
    pub(super) fn drop_rule(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let project = KeyReader(key).u32().ok_or(corrupt(Family::Dropped))?;
        self.report.count(Law::Deletion, "drop rules");
        let mut reader = KeyReader(value);
        if reader.time().is_none() || !reader.0.is_empty() {
            let text = corrupt(Family::Dropped).to_string();
            self.report.differs(Law::Deletion, project, None, text);
        }
        Ok(())
    }

    /// Checks that an outcome is also in the list by which outcomes are deleted in time.
    pub(super) fn outcome(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let (is_listed, rest) = key.split_first().ok_or(corrupt(Family::Command))?;
        let mut reader = KeyReader(rest);
        let project = reader.u32().ok_or(corrupt(Family::Command))?;
        if *is_listed != 0 {
            // The outcome may be deleted already: its key may have been used again by a command of an older clock.
            return keys::command_of(key).map(drop).ok_or(corrupt(Family::Command));
        }
        self.report.count(Law::Commands, "outcomes");
        let known = match decode(codec::decode_outcome, value, Family::Command) {
            Ok(remembered) => remembered.known,
            Err(error) => {
                self.report.differs(Law::Commands, project, None, error.to_string());
                return Ok(());
            }
        };
        // An outcome of an earlier version has no time, and is in no list.
        if known == Time(i64::MIN) {
            return Ok(());
        }
        let at = [&keys::commands(project), &keys::time_bytes(known)[..], reader.0].concat();
        if self.snapshot.get(Family::Command, &at)?.is_none() {
            let text = format!("found an outcome of {known} that is in no list");
            self.report.differs(Law::Commands, project, None, text);
        }
        Ok(())
    }
}
