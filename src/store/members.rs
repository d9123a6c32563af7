//! Which distinct ids a person has and had.

use uuid::Uuid;

use super::lives::Spans;
use super::snapshot::{Moment, Snapshot};
use super::walk::Walk;
use super::{Family, Result, codec, corrupt, decode, keys};
use crate::person::history::with_room;
use crate::person::{Head, Life, Lives, PersonId, ProjectId, Seat, Time, identity};

/// What joined a life of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joined {
    /// A distinct id.
    Id(String),
    /// All distinct ids that another life had when it was merged into this one.
    Bundle(Life),
}

/// An entry of a life's list: one id, or the bundle of all ids of another life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What joined.
    pub joined: Joined,
    /// The person has it from this event time on.
    pub from: Time,
    /// When that was learned.
    pub known: Time,
    /// From this event time on it is another person's; `None` if it is still here, or left
    /// together with all the others.
    pub left: Option<Time>,
}

/// The bundle with which the distinct ids of a life came to the person asked for: the life that lists the
/// bundle, and its ordinal there.
type Bundle = (Life, u32);

impl Snapshot<'_> {
    /// Returns the distinct ids that a person had at a moment, at most `limit`, in display order: as they
    /// joined, those that look anonymous last.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn distinct_ids(
        &self,
        project: ProjectId,
        (person, head): (PersonId, &Head),
        at: Moment,
        limit: usize,
    ) -> Result<Vec<String>> {
        let rows = Walk::new(self, Family::PersonDistinctId);
        let mut walk =
            MemberWalk { snapshot: self, project, at, limit, left: false, rows, found: Vec::new() };
        // The keys of one life put anonymous ids last, so a single life is read in one go.
        let parts: &[_] =
            if head.first_life == head.life { &[None] } else { &[Some(false), Some(true)] };
        for &anonymous in parts {
            for number in head.first_life..=head.life {
                let life = Life { person, number };
                // Ids that did not leave one by one went where the life went. By what was known earlier, some
                // of those that left one by one may still be here.
                let goes_on = number == head.life && head.merged.is_none();
                walk.left =
                    !goes_on && self.lives(project).became(life, at.time, at.known)?.is_some();
                if !walk.left || at.known < Time::MAX {
                    walk.life(life, anonymous, None)?;
                }
            }
        }
        Ok(walk.found)
    }
}

/// A walk over the distinct ids that a person had at a moment.
struct MemberWalk<'a> {
    snapshot: &'a Snapshot<'a>,
    project: ProjectId,
    at: Moment,
    limit: usize,
    /// Whether the person's life was merged away by the moment asked for. Only ids that left it one by one
    /// can still be its own then, if their leaving was not known yet.
    left: bool,
    /// Bundles within bundles are read with the same iterator, as there may be very many.
    rows: Walk<'a>,
    found: Vec<String>,
}

impl MemberWalk<'_> {
    /// Adds the distinct ids of a life, or with `brought` those that came from it to the person asked for:
    /// anonymous ones, others, or all with `None`.
    fn life(&mut self, life: Life, anonymous: Option<bool>, brought: Option<Bundle>) -> Result<()> {
        let prefix = match anonymous {
            Some(anonymous) => keys::members(self.project, life, anonymous),
            None => keys::members_of_life(self.project, life),
        };
        self.rows.seek(&prefix);
        while let Some((key, value)) = self.rows.item().filter(|(key, _)| key.starts_with(&prefix))
        {
            let member_of = keys::member_of(key);
            let (_, anonymous, ordinal) = member_of.ok_or(corrupt(Family::PersonDistinctId))?;
            if self.found.len() >= self.limit {
                return Ok(());
            }
            let member = decode(codec::decode_member, value, Family::PersonDistinctId)?;
            let joined = member.from <= self.at.time && member.known <= self.at.known;
            let listed = (joined || brought.is_some())
                && match &member.joined {
                    Joined::Bundle(_) => true,
                    Joined::Id(id) => self.is_listed(&member, id, (life, ordinal), brought)?,
                };
            match member.joined {
                Joined::Bundle(source) if listed => {
                    let next = keys::after(key);
                    let brought = Some(brought.unwrap_or((life, ordinal)));
                    with_room(|| self.life(source, Some(anonymous), brought))?;
                    self.rows.seek(next);
                    continue;
                }
                Joined::Id(id) if listed => self.found.push(id),
                _ => {}
            }
            self.rows.next();
        }
        self.rows.status()
    }

    /// Returns whether a distinct id that had joined the life was still there at the moment asked for. `row`
    /// is the row that lists it.
    fn is_listed(
        &self,
        member: &Member,
        id: &str,
        row: (Life, u32),
        brought: Option<Bundle>,
    ) -> Result<bool> {
        let Moment { time, known } = self.at;
        let Some(left) = member.left else {
            return Ok(!self.left);
        };
        if known == Time::MAX {
            return Ok(time < left);
        }
        // The ownership of the id says who its owner was by what was known then.
        let owner = self.snapshot.owner(self.project, id)?;
        let owner = owner.ok_or(corrupt(Family::PersonDistinctId))?;
        let entry = owner.entry_at(&self.snapshot.lives(self.project), time, known)?;
        // An id that left and came back is listed in two rows; only the row of this entry counts.
        let entry = entry.filter(|entry| owner.row_of(entry) == Some(row));
        Ok(entry.is_some_and(|entry| match brought {
            Some((to, bundle)) => (entry.life, entry.seat) == (to, Seat::Bundle(bundle)),
            None => entry.row() == Some(row),
        }))
    }
}

impl Snapshot<'_> {
    /// Returns the uuids that the person might have in a store that read the log in another order: those
    /// derived from at most `most` of its distinct ids, except its own and those of other persons here.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn other_uuids(
        &self,
        project: ProjectId,
        (person, head): (PersonId, &Head),
        most: usize,
    ) -> Result<Vec<Uuid>> {
        let ids = self.distinct_ids(project, (person, head), Moment::NOW, most)?;
        let mut others = Vec::new();
        for uuid in ids.iter().map(|id| identity::person_uuid(project, id)) {
            let became = match self.person_of_uuid(project, uuid)? {
                Some(other) => self.became(project, other, Moment::NOW)?.map(|(id, _)| id),
                None => Some(person),
            };
            if uuid != head.uuid && became == Some(person) {
                others.push(uuid);
            }
        }
        Ok(others)
    }
}

/// A distinct id that a person has or had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Had {
    /// The distinct id.
    pub id: String,
    /// From this event time on.
    pub from: Time,
    /// Until this event time; `None` if it is still the person's.
    pub until: Option<Time>,
}

/// The first distinct ids that a person has or had, and how many there are in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HadIds {
    /// In the order in which they joined, those that look anonymous last.
    pub first: Vec<Had>,
    /// How many there are in all.
    pub count: u64,
}

/// The time during which the ids of a life were the person's: since a bundle brought them, and until the
/// life was merged into another.
#[derive(Clone, Copy)]
struct Stay {
    since: Option<Time>,
    until: Option<Time>,
}

impl Snapshot<'_> {
    /// Returns the first `most` distinct ids that a person has or had, and how many there are in all.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn had_distinct_ids(
        &self,
        project: ProjectId,
        (person, head): (PersonId, &Head),
        most: usize,
    ) -> Result<HadIds> {
        let rows = Walk::new(self, Family::PersonDistinctId);
        let mut walk = HadWalk { project, most, rows, found: HadIds::default() };
        for anonymous in [false, true] {
            for number in head.first_life..=head.life {
                let life = Life { person, number };
                let merged = self.span(project, life)?.merged;
                let stay = Stay { since: None, until: merged.map(|merged| merged.place.time) };
                walk.life(life, anonymous, stay)?;
            }
        }
        Ok(walk.found)
    }
}

/// A walk over the distinct ids that a person has or had.
struct HadWalk<'a> {
    project: ProjectId,
    /// How many ids are wanted; all are counted.
    most: usize,
    /// Bundles within bundles are read with the same iterator.
    rows: Walk<'a>,
    found: HadIds,
}

impl HadWalk<'_> {
    /// Adds the distinct ids that a life had: those that look anonymous, or the others.
    fn life(&mut self, life: Life, anonymous: bool, stay: Stay) -> Result<()> {
        let prefix = keys::members(self.project, life, anonymous);
        self.rows.seek(&prefix);
        while let Some((key, value)) = self.rows.item().filter(|(key, _)| key.starts_with(&prefix))
        {
            let member = decode(codec::decode_member, value, Family::PersonDistinctId)?;
            let from = stay.since.unwrap_or(member.from);
            let until = member.left.into_iter().chain(stay.until).min();
            match member.joined {
                // It had left before the bundle came to this person.
                _ if stay.since.is_some() && until.is_some_and(|until| until <= from) => {}
                Joined::Id(id) => {
                    self.found.count += 1;
                    if self.found.first.len() < self.most {
                        self.found.first.push(Had { id, from, until });
                    }
                }
                Joined::Bundle(source) => {
                    let next = keys::after(key);
                    let stay = Stay { since: Some(from), until };
                    with_room(|| self.life(source, anonymous, stay))?;
                    self.rows.seek(next);
                    continue;
                }
            }
            self.rows.next();
        }
        self.rows.status()
    }
}
