//! Checks that every distinct id is listed where its owners' entries say, and that every listed one is owned.

use super::{Law, Standing, Verifying, Who, life_text, time_text};
use crate::person::identity::is_anonymous;
use crate::person::{Life, Owned, Ownership, PersonRow, ProjectId, Seat, Time};
use crate::store::keys::{self, KeyReader};
use crate::store::{Family, Joined, Member, Result, codec, corrupt, decode};

impl Verifying<'_> {
    /// Checks every owner of a distinct id.
    pub(super) fn distinct_id(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let project = KeyReader(key).u32().ok_or(corrupt(Family::DistinctId))?;
        let id = std::str::from_utf8(key.get(4..).unwrap_or_default());
        let owner = decode(codec::decode_ownership, value, Family::DistinctId);
        match (id, owner) {
            (Ok(id), Ok(owner)) => {
                let who = Who { project, person: owner.last().life.person };
                let checked = self.ownership(project, id, &owner);
                self.soft(Law::Ownership, who, checked)?;
            }
            (id, owner) => {
                let (is_owner, text) = (owner.is_ok(), corrupt(Family::DistinctId));
                let text = format!("distinct id {id:?} (owner read: {is_owner}): {text}");
                self.report.differs(Law::Ownership, project, None, text);
            }
        }
        self.report.count(Law::Ownership, "distinct ids");
        Ok(())
    }

    fn ownership(&mut self, project: ProjectId, id: &str, owner: &Ownership) -> Result<()> {
        let entries: Vec<&Owned> = owner.entries().collect();
        for (index, entry) in entries.iter().enumerate() {
            self.report.count(Law::Ownership, "owners");
            let who = Who { project, person: entry.life.person };
            let standing = self.standing(project, entry.life)?;
            if standing == Standing::Nobody {
                let text = format!("{id:?} belongs to {}, who is not there", life_text(entry.life));
                self.differs(Law::Ownership, who, text);
            }
            // The first entry is not compared: it begins with the id's first event,
            // which may be after a merge.
            if index >= 2 && entry.from < entries[index - 1].from {
                let (found, due) = (entry.from, entries[index - 1].from);
                let text =
                    format!("{id:?} has an owner from {found} on, expected not before {due}");
                self.differs(Law::Ownership, who, text);
            }
            let left = entries[index + 1..].iter().find(|later| later.row().is_some());
            self.seat(who, id, entry, standing, left.map(|later| later.from))?;
        }
        Ok(())
    }

    /// Checks the row that an owner's entry names.
    fn seat(
        &mut self,
        who: Who,
        id: &str,
        entry: &Owned,
        standing: Standing,
        left: Option<Time>,
    ) -> Result<()> {
        let (Seat::Own(ordinal) | Seat::Bundle(ordinal)) = entry.seat;
        let found = self.member(who.project, entry.life, is_anonymous(id), ordinal)?;
        let due = match entry.seat {
            Seat::Own(_) => {
                let joined = Joined::Id(id.to_owned());
                Some(Member { joined, from: entry.from, known: entry.known, left })
            }
            Seat::Bundle(_) => None,
        };
        let is_due = match (&found, &due) {
            // The list of a deleted person is gone, except for what a bundle gave to others.
            (None, _) => standing == Standing::Deleted,
            (Some(found), Some(due)) => found == due,
            (Some(found), None) => matches!(found.joined, Joined::Bundle(_)),
        };
        if !is_due {
            let text = format!(
                "{id:?} at {ordinal} of {}: found {}, expected {}",
                life_text(entry.life),
                member_text(found.as_ref()),
                due.map_or_else(|| "a bundle".to_owned(), |due| member_text(Some(&due)))
            );
            self.differs(Law::Ownership, who, text);
        }
        Ok(())
    }

    fn member(
        &self,
        project: ProjectId,
        life: Life,
        anonymous: bool,
        ordinal: u32,
    ) -> Result<Option<Member>> {
        let key = keys::member(project, life, anonymous, ordinal);
        let found = self.snapshot.get(Family::PersonDistinctId, &key)?;
        found
            .map(|bytes| decode(codec::decode_member, &bytes, Family::PersonDistinctId))
            .transpose()
    }

    /// Checks a distinct id, or a bundle of them, that is listed with a person.
    pub(super) fn listed_id(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let project = KeyReader(key).u32().ok_or(corrupt(Family::PersonDistinctId))?;
        let of = keys::member_of(key).ok_or(corrupt(Family::PersonDistinctId))?;
        let who = Who { project, person: of.0.person };
        let member = decode(codec::decode_member, value, Family::PersonDistinctId);
        let checked = member.and_then(|member| self.listed_member(who, of, &member));
        self.soft(Law::Ownership, who, checked)?;
        self.report.count(Law::Ownership, "members");
        Ok(())
    }

    fn listed_member(
        &mut self,
        who: Who,
        (life, anonymous, ordinal): (Life, bool, u32),
        member: &Member,
    ) -> Result<()> {
        let project = who.project;
        let is_owned = match &member.joined {
            Joined::Id(id) => {
                let owner = self.snapshot.owner(project, id)?;
                let owns = |owner: &Ownership| {
                    owner.entries().any(|entry| entry.row() == Some((life, ordinal)))
                };
                owner.as_ref().is_some_and(owns) && is_anonymous(id) == anonymous
            }
            Joined::Bundle(source) => {
                let merged = self.span(project, *source)?.merged;
                let twin = self.member(project, life, !anonymous, ordinal)?;
                merged.is_some_and(|merged| (merged.into, merged.bundle) == (life, ordinal))
                    && twin.as_ref() == Some(member)
            }
        };
        if !is_owned {
            let (of, member) = (life_text(life), member_text(Some(member)));
            let text = format!("found at {ordinal} of {of} {member}, which is not its");
            self.differs(Law::Ownership, who, text);
        }
        let head = match self.snapshot.person_row(project, life.person)? {
            None => {
                let text = format!("{} is listed with nobody", member_text(Some(member)));
                self.differs(Law::Ownership, who, text);
                None
            }
            Some(PersonRow::Tombstone(_)) => None,
            Some(PersonRow::Head(head)) => Some(head),
        };
        let head = head.filter(|head| head.life == life.number);
        if head.is_some_and(|head| ordinal >= head.distinct_ids) {
            let text = format!("found an ordinal {ordinal} beyond its number of distinct ids");
            self.differs(Law::Ownership, who, text);
        }
        self.went_along(who, life, anonymous, member)
    }

    /// Checks that a member that did not leave a merged life by itself went with the life's bundle.
    fn went_along(&mut self, who: Who, life: Life, anonymous: bool, member: &Member) -> Result<()> {
        let merged = self.span(who.project, life)?.merged;
        let Some(merged) = merged.filter(|_| member.left.is_none()) else {
            return Ok(());
        };
        if self.standing(who.project, merged.into)? != Standing::There {
            return Ok(());
        }
        let found = self.member(who.project, merged.into, anonymous, merged.bundle)?;
        if found.as_ref().is_none_or(|found| found.joined != Joined::Bundle(life)) {
            let text = format!(
                "{} did not leave {}, which was merged: found {} at {} of {}, expected its bundle",
                member_text(Some(member)),
                life_text(life),
                member_text(found.as_ref()),
                merged.bundle,
                life_text(merged.into)
            );
            self.differs(Law::Ownership, who, text);
        }
        Ok(())
    }
}

fn member_text(member: Option<&Member>) -> String {
    let Some(Member { joined, from, known, left }) = member else {
        return "nothing".to_owned();
    };
    let joined = match joined {
        Joined::Id(id) => format!("{id:?}"),
        Joined::Bundle(life) => format!("the bundle of {}", life_text(*life)),
    };
    format!("{joined} from {from} known {known} left {}", time_text(*left))
}
