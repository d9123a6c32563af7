//! Checks that what a merge brought is the state of its source at the effective time.

use super::history::{row_text, state_text};
use super::persons::Person;
use super::{Law, Standing, Verifying, life_text, time_text};
use crate::person::{Class, Life, Place, PropertyId, Row, State, Stored, Time, history};
use crate::store::{Family, Result, keys};

impl Verifying<'_> {
    /// Checks that a merge's row belongs to a merge of its source, and that its state is the source's.
    pub(super) fn merged_value(
        &mut self,
        person: &Person,
        property: PropertyId,
        stored: &Stored,
    ) -> Result<()> {
        let Row::Merge { source, state } = &stored.row else { return Ok(()) };
        let Some(source) = *source else {
            self.report.count(Law::Merges, "of deleted persons");
            return Ok(());
        };
        self.report.count(Law::Merges, "merged values");
        if !self.is_of_merge(person, source, stored)? {
            return Ok(());
        }
        let due = self.state_at(person, source, property, stored.place.time)?;
        if !due.is_written_like(state) {
            let (name, row) = (self.name_of(person, property), row_text(stored));
            let (found, due) = (state_text(state), state_text(&due));
            let of = life_text(source);
            let text = format!("property {name}, {row} of {of}: found {found}, expected {due}");
            self.differs(Law::Merges, person.who, text);
        }
        Ok(())
    }

    /// Checks the row by which a merge brings the beginning of its source. It may be later than that if the
    /// person itself began as early.
    pub(super) fn merged_beginning(
        &mut self,
        person: &Person,
        stored: &Stored,
        found: Option<Time>,
    ) -> Result<()> {
        let Row::Merge { source, .. } = stored.row else { return Ok(()) };
        let Some(source) = source else {
            self.report.count(Law::Merges, "of deleted persons");
            return Ok(());
        };
        self.report.count(Law::Merges, "merged values");
        if !self.is_of_merge(person, source, stored)? {
            return Ok(());
        }
        let (project, time) = (person.who.project, stored.place.time);
        let due = history::created(&self.histories(project), source.person, time, Time::MAX)?;
        let older = history::created(&self.histories(project), person.who.person, time, Time::MAX)?;
        if found.is_none() || found < due || (found > due && older > due) {
            let (found, due, of) = (time_text(found), time_text(due), life_text(source));
            let text = format!("the beginning brought by {of}: found {found}, expected {due}");
            self.differs(Law::Merges, person.who, text);
        }
        Ok(())
    }

    fn is_of_merge(&mut self, person: &Person, source: Life, stored: &Stored) -> Result<bool> {
        let project = person.who.project;
        let merged = self.span(project, source)?.merged;
        let is_it = merged.is_some_and(|merged| {
            (merged.into.person, merged.place, merged.known)
                == (person.who.person, stored.place, stored.known)
        });
        let standing = self.standing(project, source)?;
        if is_it && standing == Standing::There {
            return Ok(true);
        }
        let (row, of) = (row_text(stored), life_text(source));
        let text = if is_it {
            format!("found a {row} of {of}, which is not there ({standing:?})")
        } else {
            format!("found a {row} of {of}, which was not merged into it there")
        };
        self.differs(Law::Merges, person.who, text);
        Ok(false)
    }

    fn state_at(
        &self,
        person: &Person,
        life: Life,
        property: PropertyId,
        time: Time,
    ) -> Result<State> {
        let project = person.who.project;
        let query = history::Query {
            person: life.person,
            property,
            after: self.lives_of(project).lives_on(life)?,
            until: Place::end_of(time),
            known: Time::MAX,
        };
        history::state(&self.histories(project), query)
    }

    /// Checks that the persons into which lives of this one were merged have a row of each
    /// property that it had then.
    pub(super) fn brought(
        &mut self,
        person: &Person,
        property: PropertyId,
        rows: &[Stored],
    ) -> Result<()> {
        let project = person.who.project;
        for (life, span) in &person.lives {
            let Some(merged) = span.merged else { continue };
            let after = span.lives_on.map(|(place, _)| place);
            let until = Place::end_of(merged.place.time);
            let had = rows.iter().any(|row| Some(row.place) > after && row.place <= until);
            if !had || self.standing(project, merged.into)? != Standing::There {
                continue;
            }
            let into = merged.into.person;
            let mut found = false;
            for class in Class::MERGES {
                let key = keys::at(keys::class(project, into, property, class), merged.place);
                found = found || self.snapshot.get(Family::History, &key)?.is_some();
            }
            if !found {
                let name = self.name_of(person, property);
                let (of, time) = (life_text(*life), merged.place.time);
                let text = format!(
                    "property {name}: person {into}, into which {of} was merged at {time}, has no \
                     row of it"
                );
                self.differs(Law::Merges, person.who, text);
            }
        }
        Ok(())
    }
}
