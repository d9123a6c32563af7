//! Checks that each person is in the order of changes once, at the number of its last change.

use super::{Law, Verifying, Who};
use crate::store::keys::{self, KeyReader};
use crate::store::{Family, Recency, Result, corrupt};

impl Verifying<'_> {
    /// Checks that a person has its row in the order of changes.
    pub(super) fn in_order(&mut self, who: Who, Recency { change, .. }: Recency) -> Result<()> {
        let found = self.snapshot.get(Family::ByChange, &keys::by_change(who.project, change))?;
        if found.as_deref() != Some(&who.person.to_be_bytes()) {
            let found = found.and_then(|found| KeyReader(&found).u64());
            let text = format!("found {found:?} under its last change {change}, expected itself");
            self.differs(Law::Indexes, who, text);
        }
        Ok(())
    }

    fn last_change(&mut self, who: Who, found: u64) -> Result<()> {
        let due = self.snapshot.recency(who.project, who.person)?.change;
        if found != due {
            let text = format!("found in `by_change` as change {found}, its last is {due}");
            self.differs(Law::Indexes, who, text);
        }
        Ok(())
    }

    /// Checks that a row in the order of changes is the last change of its person.
    pub(super) fn change(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let corrupt = || corrupt(Family::ByChange);
        let project = KeyReader(key).u32().ok_or_else(corrupt)?;
        let change = keys::number_at_end(key).ok_or_else(corrupt)?;
        let person = KeyReader(value).u64().ok_or_else(corrupt)?;
        let who = Who { project, person };
        let checked = self.last_change(who, change);
        self.soft(Law::Indexes, who, checked)?;
        self.report.count(Law::Indexes, "changes");
        Ok(())
    }
}
