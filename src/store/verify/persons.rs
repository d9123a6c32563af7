//! Checks every person, side by side with its rows in other families.

use super::history::Facts;
use super::{Cursor, Law, Verifying, Who, time_text, who_of};
use crate::person::{Fact, Head, Life, PersonRow, Time, Tombstone, json};
use crate::store::{Family, LifeSpan, Recency, Result, codec, corrupt, decode, keys};

/// The families that are walked side by side with the persons.
pub(super) struct Beside<'a> {
    pub history: Cursor<'a>,
    pub timeline: Cursor<'a>,
    pub recorded: Cursor<'a>,
    pub recency: Cursor<'a>,
}

impl<'a> Beside<'a> {
    fn each(&mut self) -> [(Family, &mut Cursor<'a>); 4] {
        [
            (Family::History, &mut self.history),
            (Family::Timeline, &mut self.timeline),
            (Family::Recorded, &mut self.recorded),
            (Family::Recency, &mut self.recency),
        ]
    }

    /// Returns the recency of the person that the walk is at.
    fn recency_of(&self, who: Who) -> Result<Recency> {
        let row = self.recency.within(&keys::person(who.project, who.person));
        let found = row.map(|(_, value)| decode(codec::decode_recency, value, Family::Recency));
        Ok(found.transpose()?.unwrap_or_default())
    }
}

/// A person that is verified.
pub(super) struct Person<'h> {
    pub who: Who,
    pub head: &'h Head,
    pub recency: Recency,
    /// Its lives that are not deleted, oldest first.
    pub lives: Vec<(Life, LifeSpan)>,
}

impl Verifying<'_> {
    /// Checks heads, histories, timelines, and how the lists show each person.
    pub fn persons(&mut self) -> Result<()> {
        let mut persons = self.cursor(Family::Person)?;
        let mut beside = Beside {
            history: self.cursor(Family::History)?,
            timeline: self.cursor(Family::Timeline)?,
            recorded: self.cursor(Family::Recorded)?,
            recency: self.cursor(Family::Recency)?,
        };
        while let Some((key, value)) = persons.row() {
            let who = who_of(key, Family::Person)?;
            self.tick();
            self.nobody(&mut beside, Some(key))?;
            match decode(codec::decode_person, value, Family::Person) {
                Ok(known) => {
                    let checked = self.person(who, &known, &mut beside);
                    self.soft(Law::Heads, who, checked)?;
                }
                Err(error) => self.differs(Law::Heads, who, error.to_string()),
            }
            for (_, cursor) in beside.each() {
                while cursor.within(key).is_some() {
                    cursor.next()?;
                }
            }
            persons.next()?;
        }
        self.nobody(&mut beside, None)
    }

    /// Reports rows of persons that do not exist, before the next one that does.
    fn nobody(&mut self, beside: &mut Beside, until: Option<&[u8]>) -> Result<()> {
        for (family, cursor) in beside.each() {
            let mut last = None;
            while let Some((key, _)) =
                cursor.row().filter(|(key, _)| until.is_none_or(|until| *key < until))
            {
                let who = who_of(key, family)?;
                if last.replace(who) != Some(who) {
                    let found =
                        format!("found rows in `{}` of a person that is not there", family.name());
                    self.differs(Law::Deletion, who, found);
                }
                cursor.next()?;
            }
        }
        Ok(())
    }

    fn person(&mut self, who: Who, row: &PersonRow, beside: &mut Beside) -> Result<()> {
        let uuid = row.uuid();
        let found = self.snapshot.person_of_uuid(who.project, uuid)?;
        if found != Some(who.person) {
            let text = format!("found {found:?} under its uuid {uuid}, expected itself");
            self.differs(Law::Indexes, who, text);
        }
        let recency = beside.recency_of(who)?;
        self.listed(who, row, recency)?;
        self.in_columns(who, row)?;
        self.in_order(who, recency)?;
        match row {
            PersonRow::Head(head) => self.head(who, head, recency, beside),
            PersonRow::Tombstone(tombstone) => {
                self.tombstone(who, tombstone, beside);
                self.unseen(who, recency.seen);
                Ok(())
            }
        }
    }

    fn tombstone(&mut self, who: Who, tombstone: &Tombstone, beside: &mut Beside) {
        self.report.count(Law::Deletion, "tombstones");
        let prefix = keys::person(who.project, who.person);
        for (family, cursor) in beside.each() {
            // Its last change is kept, for clients that follow the changes.
            let kept = family == Family::Recency;
            if cursor.within(&prefix).is_some() && !kept {
                let deleted = tombstone.deleted.time;
                let found =
                    format!("found rows in `{}`, but it was deleted at {deleted}", family.name());
                self.differs(Law::Deletion, who, found);
            }
        }
    }

    fn unseen(&mut self, who: Who, seen: Option<Time>) {
        if seen.is_some() {
            let text = format!("found last seen {}, but it was deleted", time_text(seen));
            self.differs(Law::Deletion, who, text);
        }
    }

    fn head(&mut self, who: Who, head: &Head, recency: Recency, beside: &mut Beside) -> Result<()> {
        self.report.count(Law::Heads, "persons");
        let lives = (head.first_life..=head.life).map(|number| {
            let life = Life { person: who.person, number };
            Ok((life, self.span(who.project, life)?))
        });
        let person = Person { who, head, recency, lives: lives.collect::<Result<_>>()? };
        self.lives_of_head(&person);
        self.not_deleted(&person)?;
        let facts = self.history(&person, &mut beside.history)?;
        self.facts(&person, facts);
        self.size(&person);
        self.timeline(&person, beside)
    }

    /// Checks the facts in a head against its history.
    fn facts(&mut self, Person { who, head, .. }: &Person, facts: Facts) {
        let mut compare = |name: &str, found: Option<Fact>, due: Option<Fact>| {
            if found != due {
                let text = |fact: Option<Fact>| {
                    fact.map_or("nothing".to_owned(), |Fact { time, known }| {
                        format!("{time} known {known}")
                    })
                };
                let text = format!("found {name} {}, expected {}", text(found), text(due));
                self.differs(Law::Heads, *who, text);
            }
        };
        compare("its own beginning", Some(head.began), facts.began);
        compare("identified since", head.identified, facts.identified);
        if Some(head.created_at) != facts.created_at {
            let due = time_text(facts.created_at);
            let text = format!("found created_at {}, expected {due}", head.created_at);
            self.differs(Law::Heads, *who, text);
        }
    }

    /// Checks the length of the properties as JSON, counted again.
    fn size(&mut self, Person { who, head, .. }: &Person) {
        let mut due = 2;
        for (&property, entry) in &head.entries {
            let name = self.snapshot.store.dictionary().property_name(who.project, property);
            let Some(name) = name else {
                let text = format!("found property number {property}, which has no name");
                self.differs(Law::Heads, *who, text);
                continue;
            };
            let value = entry.state.current.as_ref().map_or(0, |value| value.as_json().len());
            due += (json::quoted_bytes(&name) + value + "\"\":,".len()) as u64;
        }
        if head.json_bytes != due {
            let text = format!("found json_bytes {}, expected {due}", head.json_bytes);
            self.differs(Law::Heads, *who, text);
        }
    }

    /// Checks that the time when the person was last seen is a whole hour, and not before
    /// that of the newest event.
    pub fn seen(&mut self, Person { who, recency, .. }: &Person, newest: Option<Time>) {
        let seen = recency.seen;
        let due = newest.map(Time::floor_to_hour);
        if seen < due || seen.is_some_and(|seen| seen != seen.floor_to_hour()) {
            let (found, due) = (time_text(seen), time_text(due));
            let text = format!("found last seen {found}, expected a whole hour not before {due}");
            self.differs(Law::Indexes, *who, text);
        }
    }
}

/// Returns the event time in a key of `recorded`.
pub(super) fn recorded_time(key: &[u8]) -> Result<Time> {
    let mut reader = keys::KeyReader(key.get(keys::PERSON_BYTES..).unwrap_or_default());
    reader.time().ok_or(corrupt(Family::Recorded))
}
