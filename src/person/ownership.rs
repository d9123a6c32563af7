//! Which person a distinct id belonged to, and since when.
//!
//! A distinct id belongs to a *life* of a person. A life lasts from the person's creation, or from the split
//! by which it lives on, to the merge that ends it. If a merged person has few distinct ids, the merge writes
//! a new owner for each. If it has many it writes none: a read then follows the merges of lives ([`Lives`]),
//! so that a merge costs the same however many ids come with it. A chain of merges may be long; the store
//! follows it in a few steps ([`Lives::became`]).

use super::{PersonId, Place, Time};

/// One life of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life {
    /// The person.
    pub person: PersonId,
    /// 0 for the first life; one more each time the person lives on after a merge or a deletion.
    pub number: u32,
}

/// The merge that ended a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The life in which it continued.
    pub into: Life,
    /// The ordinal under which that life lists the distinct ids, if they were moved as a bundle.
    pub bundle: u32,
    /// The merge's effective time and record.
    pub place: Place,
    /// When the merge was learned.
    pub known: Time,
}

impl Merged {
    /// Returns the ownership entry that the merge implies for every distinct id that belongs to the life.
    fn owned(self) -> Owned {
        let seat = Seat::Bundle(self.bundle);
        Owned { from: self.place.time, known: self.known, life: self.into, seat }
    }
}

/// How the lives of one project's persons ended.
pub trait Lives {
    /// Why a life could not be read.
    type Error;

    /// Returns the merge that ended a life; `None` if no merge did.
    ///
    /// # Errors
    /// If that cannot be read.
    fn merged(&self, life: Life) -> Result<Option<Merged>, Self::Error>;

    /// Returns the merge by which a life had become another one at `time`, by what was known at `known`: the
    /// newest in effect of the merges that it went through. `None` if it was still itself.
    ///
    /// # Errors
    /// If that cannot be read.
    fn became(&self, life: Life, time: Time, known: Time) -> Result<Option<Merged>, Self::Error> {
        let mut newest = None;
        each_merge(self, life, |merged| {
            if merged.place.time <= time && merged.known <= known {
                newest = Some(merged);
            }
        })?;
        Ok(newest)
    }

    /// Returns the life in which a life continues now, by everything known: itself, or the last
    /// one that it was merged into.
    ///
    /// # Errors
    /// If that cannot be read.
    fn now(&self, life: Life) -> Result<Life, Self::Error> {
        let became = self.became(life, Time::MAX, Time::MAX)?;
        Ok(became.map_or(life, |merged| merged.into))
    }
}

/// One entry of an ownership: from a moment on, a distinct id belonged to a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owned {
    /// From this event time on.
    pub from: Time,
    /// When it was learned.
    pub known: Time,
    /// The life of the person.
    pub life: Life,
    /// Where it is listed among the distinct ids of that life.
    pub seat: Seat,
}

/// Where a distinct id is listed among those of a life. They are listed in the order in which they joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seat {
    /// At this ordinal.
    Own(u32),
    /// In the bundle at this ordinal; within the bundle, where it was listed before.
    Bundle(u32),
}

impl Owned {
    /// Returns the row that lists the distinct id; `None` if it came in a bundle.
    #[must_use]
    pub fn row(&self) -> Option<(Life, u32)> {
        match self.seat {
            Seat::Own(ordinal) => Some((self.life, ordinal)),
            Seat::Bundle(_) => None,
        }
    }
}

/// The owners of a distinct id over time. The later owners are in the order in which they were added, which
/// is also the order of their `from`. After the last one, the id follows the merges of lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// The first owner, which also owns all time before its entry.
    pub first: Owned,
    /// The owners after it.
    pub later: Vec<Owned>,
    /// Events up to this time are dropped, because the person that they belonged to was deleted.
    pub deleted: Option<Time>,
}

impl Ownership {
    /// Creates the ownership of a distinct id that belongs to its first owner.
    #[must_use]
    pub fn new(first: Owned) -> Self {
        Self { first, later: Vec::new(), deleted: None }
    }

    /// Returns the entry added last.
    #[must_use]
    pub fn last(&self) -> &Owned {
        self.later.last().unwrap_or(&self.first)
    }

    /// Returns every entry, beginning with the first owner.
    pub fn entries(&self) -> impl Iterator<Item = &Owned> {
        std::iter::once(&self.first).chain(&self.later)
    }

    /// Returns the current owner, by everything known.
    ///
    /// # Errors
    /// Those of `lives`.
    pub fn now<L: Lives>(&self, lives: &L) -> Result<Life, L::Error> {
        lives.now(self.last().life)
    }

    /// Returns the owner at `time`, by what was known at `known`: that of the newest entry in effect. `None`
    /// if the id was not known yet.
    ///
    /// # Errors
    /// Those of `lives`.
    pub fn at<L: Lives>(
        &self,
        lives: &L,
        time: Time,
        known: Time,
    ) -> Result<Option<Life>, L::Error> {
        Ok(self.entry_at(lives, time, known)?.map(|owned| owned.life))
    }

    /// Returns the entry that determines the owner at `time`, by what was known at `known`.
    ///
    /// # Errors
    /// Those of `lives`.
    pub fn entry_at<L: Lives>(
        &self,
        lives: &L,
        time: Time,
        known: Time,
    ) -> Result<Option<Owned>, L::Error> {
        if let Some(merged) = lives.became(self.last().life, time, known)? {
            return Ok(Some(merged.owned()));
        }
        let in_effect = |owned: &&Owned| owned.from <= time && owned.known <= known;
        let newest = self.later.iter().rev().find(in_effect).unwrap_or(&self.first);
        Ok((newest.known <= known).then_some(*newest))
    }

    /// Returns the row that lists the distinct id for an entry: the entry's own, or if it came in a bundle
    /// that of the last entry before it that has one.
    #[must_use]
    pub fn row_of(&self, entry: &Owned) -> Option<(Life, u32)> {
        let mut row = None;
        for owned in self.entries() {
            row = owned.row().or(row);
            if owned == entry {
                break;
            }
        }
        row
    }

    /// Returns when the distinct id joined its current owner; `None` if that is the first owner,
    /// which owns all time before.
    ///
    /// # Errors
    /// Those of `lives`.
    pub fn joined<L: Lives>(&self, lives: &L) -> Result<Option<Time>, L::Error> {
        let merged = lives.became(self.last().life, Time::MAX, Time::MAX)?;
        let joined = self.later.last().map(|owned| owned.from);
        Ok(merged.map(|merged| merged.place.time).or(joined))
    }

    /// Adds an entry for every merge of lives that the id has followed so far, so that
    /// new entries come after them.
    ///
    /// # Errors
    /// Those of `lives`.
    pub fn write_out_merges<L: Lives>(&mut self, lives: &L) -> Result<(), L::Error> {
        let last = self.last().life;
        each_merge(lives, last, |merged| self.later.push(merged.owned()))
    }
}

/// Calls `each` with the merges that a life went through, in order, which is also that
/// of their effective times.
fn each_merge<L: Lives + ?Sized>(
    lives: &L,
    life: Life,
    mut each: impl FnMut(Merged),
) -> Result<(), L::Error> {
    let mut next = lives.merged(life)?;
    while let Some(merged) = next {
        each(merged);
        next = lives.merged(merged.into)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use super::*;

    struct Ended(BTreeMap<Life, Merged>);

    impl Lives for Ended {
        type Error = Infallible;

        fn merged(&self, life: Life) -> Result<Option<Merged>, Infallible> {
            Ok(self.0.get(&life).copied())
        }
    }

    fn life(person: PersonId) -> Life {
        Life { person, number: 0 }
    }

    fn owned(from: i64, known: i64, person: PersonId) -> Owned {
        Owned { from: Time(from), known: Time(known), life: life(person), seat: Seat::Own(0) }
    }

    /// Person 2 was merged into 3 at 30, learned at 60, and person 3 into 4 at 40, learned at 55.
    fn ended() -> Ended {
        let merge = |into, time, known| {
            let place = Place { time: Time(time), ..Place::default() };
            Merged { into: life(into), bundle: 0, place, known: Time(known) }
        };
        Ended([(life(2), merge(3, 30, 60)), (life(3), merge(4, 40, 55))].into())
    }

    #[test]
    fn the_first_owner_owns_all_time_before() {
        let ownership =
            Ownership { later: vec![owned(20, 50, 2)], ..Ownership::new(owned(10, 11, 1)) };
        let at =
            |time, known| ownership.at(&Ended(BTreeMap::new()), Time(time), Time(known)).unwrap();
        assert_eq!(at(5, 100), Some(life(1)));
        assert_eq!(at(19, 100), Some(life(1)));
        assert_eq!(at(20, 100), Some(life(2)));
        assert_eq!(at(20, 49), Some(life(1)), "the merge was not known yet");
        assert_eq!(at(20, 10), None, "the id was not known yet");
    }

    #[test]
    fn an_owner_by_merges_of_lives_counts_like_an_entry() {
        let followed =
            Ownership { later: vec![owned(20, 50, 2)], ..Ownership::new(owned(10, 11, 1)) };
        let mut settled = followed.clone();
        settled.write_out_merges(&ended()).unwrap();
        assert_eq!(settled.later.len(), 3);
        for time in 0..60 {
            for known in 0..70 {
                let at = |ownership: &Ownership, lives| {
                    ownership.at(lives, Time(time), Time(known)).unwrap()
                };
                let none = Ended(BTreeMap::new());
                assert_eq!(at(&followed, &ended()), at(&settled, &none), "{time} {known}");
            }
        }
        assert_eq!(followed.now(&ended()).unwrap(), life(4));
        assert_eq!(followed.joined(&ended()).unwrap(), Some(Time(40)));
        let at = followed.at(&ended(), Time(45), Time(55)).unwrap();
        assert_eq!(at, Some(life(4)), "the second merge was learned before the first");
    }
}
