//! Checks that the lives of persons are a forest: every merge takes effect after the one before it, and
//! both persons have rows of it.

use super::persons::Person;
use super::{Law, Standing, Verifying, Who, life_text, time_text, who_of};
use crate::person::{Life, Lives, Merged, Time, history};
use crate::store::keys::{self, KeyReader};
use crate::store::{Family, LifeSpan, Result, codec, corrupt, decode};

impl Verifying<'_> {
    /// Checks that a head agrees with the rows of its lives.
    pub(super) fn lives_of_head(&mut self, person: &Person) {
        let Person { who, head, .. } = *person;
        for (life, span) in &person.lives {
            let newest = life.number == head.life;
            if (life.number > head.first_life) != span.lives_on.is_some() {
                let text = format!("{} lives on from {:?}", life_text(*life), span.lives_on);
                self.differs(Law::Lives, who, text);
            }
            if newest && span.lives_on.map(|(place, _)| place.time) != head.lives_on {
                let found = time_text(head.lives_on);
                let text =
                    format!("found in its head that it lives on from {found}, expected {span:?}");
                self.differs(Law::Lives, who, text);
            }
            let due = if newest { span.merged == head.merged } else { span.merged.is_some() };
            if !due {
                let (life, found) = (life_text(*life), span.merged);
                let text =
                    format!("{life}: found that {found:?} ended it, its head: {:?}", head.merged);
                self.differs(Law::Lives, who, text);
            }
        }
    }

    /// Checks that a person that became a deleted one by merges was deleted with it.
    pub(super) fn not_deleted(&mut self, person: &Person) -> Result<()> {
        let Person { who, head, .. } = *person;
        let life = head.newest_life(who.person);
        let now = self.lives_of(who.project).now(life)?;
        if now != life && self.standing(who.project, now)? == Standing::Deleted {
            let text = format!("became {}, which was deleted, and is still there", life_text(now));
            self.differs(Law::Deletion, who, text);
        }
        Ok(())
    }

    /// Checks a row of a life, or of a life that was merged into a person.
    pub(super) fn row_of_life(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let who = who_of(key, Family::Life)?;
        let kind = key.get(keys::PERSON_BYTES).copied();
        let checked = match kind {
            Some(1) => {
                let source = keys::source_of(key).ok_or(corrupt(Family::Life));
                source.and_then(|source| self.source(who, source))
            }
            // Moves of a group are checked with the lives that they move.
            Some(2) => decode(codec::decode_move, value, Family::Life).map(|_| ()),
            _ => {
                let number = key.get(keys::PERSON_BYTES + 1..).unwrap_or_default();
                let span = decode(codec::decode_life_span, value, Family::Life);
                let number = KeyReader(number).u32();
                let life = number.map(|number| Life { person: who.person, number });
                span.and_then(|span| self.life(who, life.ok_or(corrupt(Family::Life))?, span))
            }
        };
        self.soft(Law::Lives, who, checked)
    }

    fn source(&mut self, who: Who, source: Life) -> Result<()> {
        let merged = self.span(who.project, source)?.merged;
        if merged.is_none_or(|merged| merged.into.person != who.person) {
            let text =
                format!("found that {} was merged into it, which it was not", life_text(source));
            self.differs(Law::Lives, who, text);
        }
        Ok(())
    }

    fn life(&mut self, who: Who, life: Life, span: LifeSpan) -> Result<()> {
        self.report.count(Law::Lives, "lives");
        let standing = self.standing(who.project, life)?;
        if standing == Standing::Nobody {
            let text = format!("found {}, who is not there", life_text(life));
            self.differs(Law::Lives, who, text);
        }
        let Some(merged) = span.merged else { return Ok(()) };
        self.report.count(Law::Lives, "merges");
        let began = span.lives_on.map(|(place, _)| place.time);
        let next = self.span(who.project, merged.into)?.merged.map(|next| next.place.time);
        let time = merged.place.time;
        if began.is_some_and(|began| began >= time) || next.is_some_and(|next| next <= time) {
            let text = format!(
                "{} lives from {}, was merged at {time}, and what it became at {}: expected one \
                 after the other",
                life_text(life),
                time_text(began),
                time_text(next)
            );
            self.differs(Law::Lives, who, text);
        }
        self.groups(who, life, merged)?;
        match self.standing(who.project, merged.into)? {
            Standing::Deleted => Ok(()),
            Standing::Nobody => {
                let text = format!("was merged into {}, who is not there", life_text(merged.into));
                self.differs(Law::Lives, who, text);
                Ok(())
            }
            Standing::There => self.target(who, life, standing, merged),
        }
    }

    /// Checks that the groups of lives lead where the merges do: at the time of its merge a life leads to the
    /// next one, and in the end to where that one leads.
    fn groups(&mut self, who: Who, life: Life, merged: Merged) -> Result<()> {
        let lives = self.snapshot.lives(who.project);
        let then = lives.became(life, merged.place.time, Time::MAX)?;
        let (end, due) = (
            lives.became(life, Time::MAX, Time::MAX)?,
            lives.became(merged.into, Time::MAX, Time::MAX)?.unwrap_or(merged),
        );
        if then != Some(merged) || end != Some(due) {
            let text = format!(
                "{}: its group leads to {then:?} and {end:?}, expected {merged:?} and {due:?}",
                life_text(life)
            );
            self.differs(Law::Lives, who, text);
        }
        Ok(())
    }

    /// Checks that the target of a merge reflects it in its sources, its timeline and its beginning.
    fn target(&mut self, who: Who, life: Life, standing: Standing, merged: Merged) -> Result<()> {
        let (project, into, place) = (who.project, merged.into.person, merged.place);
        if self.snapshot.get(Family::Life, &keys::source(project, into, life))?.is_none() {
            let text =
                format!("person {into} does not know that {} is its source", life_text(life));
            self.differs(Law::Lives, who, text);
        }
        let key = keys::at(keys::person(project, into), place);
        let operation = self.snapshot.get(Family::Timeline, &key)?;
        let operation = operation.map(|bytes| {
            decode(|bytes| codec::decode_operation(place, bytes), &bytes, Family::Timeline)
        });
        let told = operation.transpose()?;
        if told.is_none_or(|operation| operation.merged != Some(life.person)) {
            let text = format!("no operation of person {into} at {} merges it", place.time);
            self.differs(Law::Lives, who, text);
        }
        if standing != Standing::There {
            return Ok(());
        }
        let created =
            |person| history::created(&self.histories(project), person, place.time, Time::MAX);
        let (source, target) = (created(life.person)?, created(into)?);
        if source.is_some() && (target.is_none() || target > source) {
            let (found, due) = (time_text(target), time_text(source));
            let text = format!("person {into}, which it became, began at {found}, expected {due}");
            self.differs(Law::Merges, who, text);
        }
        Ok(())
    }
}
