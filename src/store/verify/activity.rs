//! Checks that the activity log has no gap, and that what was done to a person is in the person's log.

use super::{Law, Verifying, Who};
use crate::person::{PersonRow, ProjectId};
use crate::store::keys::{self, KeyReader};
use crate::store::{Activity, Family, Result, codec, corrupt, decode};

impl Verifying<'_> {
    /// Checks the logs of projects, then those of persons.
    pub(super) fn activities(&mut self) -> Result<()> {
        let mut last: Option<(ProjectId, u64)> = None;
        self.each_row(Family::Activity, |verifying, key, value| {
            let corrupt = || corrupt(Family::Activity);
            let (of_person, rest) = key.split_first().ok_or_else(corrupt)?;
            let project = KeyReader(rest).u32().ok_or_else(corrupt)?;
            let ordinal = keys::number_at_end(key).ok_or_else(corrupt)?;
            verifying.report.count(Law::Activity, "entries");
            if *of_person != 0 {
                let person = KeyReader(&rest[4..]).u64().ok_or_else(corrupt)?;
                return verifying.entry(Who { project, person }, ordinal);
            }
            let next = last.filter(|(of, _)| *of == project).map_or(0, |(_, last)| last + 1);
            if ordinal != next {
                let text = format!("found ordinal {ordinal}, expected {next}");
                verifying.report.differs(Law::Activity, project, None, text);
            }
            last = Some((project, ordinal));
            verifying.entry_of_project(project, ordinal, value)
        })
    }

    fn entry_of_project(&mut self, project: ProjectId, ordinal: u64, value: &[u8]) -> Result<()> {
        match decode(codec::decode_activity, value, Family::Activity) {
            Ok(activity) => {
                let checked = self.activity(project, ordinal, &activity);
                self.soft(Law::Activity, Who { project, person: activity.person }, checked)
            }
            Err(error) => {
                self.report.differs(Law::Activity, project, None, error.to_string());
                Ok(())
            }
        }
    }

    /// Checks that an entry is in the logs of its persons, and that its operation is in the timeline of the
    /// person, unless that was deleted since.
    fn activity(&mut self, project: ProjectId, ordinal: u64, activity: &Activity) -> Result<()> {
        for person in activity.persons() {
            let key = keys::activity_of(project, person, ordinal);
            if self.snapshot.get(Family::Activity, &key)?.is_none() {
                let text = format!("activity {ordinal} is not in its log");
                self.differs(Law::Activity, Who { project, person }, text);
            }
        }
        let who = Who { project, person: activity.person };
        self.place(who, activity.place);
        let key = keys::at(keys::person(project, who.person), activity.place);
        let told = self.snapshot.get(Family::Timeline, &key)?.is_some();
        let expected = match self.snapshot.person_row(project, who.person)? {
            // The person was created again after a deletion: an entry from before that
            // has no operation any more.
            Some(PersonRow::Head(head)) if head.first_life > 0 => told,
            Some(PersonRow::Head(_)) => true,
            Some(PersonRow::Tombstone(_)) => false,
            None => {
                self.differs(Law::Activity, who, format!("activity {ordinal} is of nobody"));
                return Ok(());
            }
        };
        if told != expected {
            let text = format!("activity {ordinal} is in its timeline: {told}, due: {expected}");
            self.differs(Law::Activity, who, text);
        }
        Ok(())
    }

    /// Checks that an entry of a person's log is about that person.
    fn entry(&mut self, who: Who, ordinal: u64) -> Result<()> {
        let found = self.snapshot.get(Family::Activity, &keys::activity(who.project, ordinal))?;
        // An entry that cannot be decoded is reported by the walk over the project's log.
        let found = found.and_then(|found| codec::decode_activity(&found).ok());
        if !found.is_some_and(|activity| activity.persons().any(|person| person == who.person)) {
            let text = format!("found activity {ordinal} in its log, which is not its");
            self.differs(Law::Activity, who, text);
        }
        Ok(())
    }
}
