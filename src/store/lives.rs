//! How lives began and ended, and the groups that merges make of them.

use std::ops::RangeInclusive;

use super::snapshot::Snapshot;
use super::{Error, Family, Result, codec, decode, keys};
use crate::person::{Life, Lives, Merged, PersonId, Place, ProjectId, Time};

/// How a life began, if not by a first event, and how it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LifeSpan {
    /// The split by which the life began, and when that was learned.
    pub lives_on: Option<(Place, Time)>,
    /// The merge that ended it.
    pub merged: Option<Merged>,
    /// Its position in its group.
    pub group: Group,
}

/// The position of a life in its group: the lives that merges have made one, as a tree. When two groups are
/// joined, the top of the smaller is put below the top of the larger. So no life is deep in the tree, however
/// long a chain of merges is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// How many lives are below this one.
    pub lives: u32,
    /// How often the group was merged into another person while this life was its top; each move has a row.
    pub moves: u32,
    /// The life above this one; `None` if this one is the top.
    pub above: Option<Above>,
}

/// The life above another one in a group, since when, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Above {
    /// The life above, which was the top of its own group then.
    pub life: Life,
    /// The event time from which on it is above.
    pub from: Time,
    /// How often the group of the life above had moved by then. Its later moves move this life too.
    pub after: u32,
    /// The merge that moved the lower group to the upper one; `None` if it moved the upper one to the lower.
    pub merged: Option<Merged>,
}

/// A source of life spans: a snapshot, or a transaction with what it staged.
pub trait Spans {
    /// Returns how a life began and ended.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    fn span(&self, project: ProjectId, life: Life) -> Result<LifeSpan>;

    /// Returns the newest move, at or before a place, that a group made while `top` was its top, and the
    /// number of that move.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    fn moved(&self, project: ProjectId, top: Life, until: Place) -> Result<Option<(u32, Merged)>>;

    /// Returns whether a life is known, without a read, not to have ended by a merge.
    fn is_known_unmerged(&self, _: ProjectId, _: Life) -> bool {
        false
    }
}

/// The greatest depth of a group. The group put below is never the larger one, so each step up at least
/// doubles the number of lives.
const MAX_GROUP_DEPTH: usize = 64;

/// The lives of one project's persons.
#[derive(Clone, Copy)]
pub struct LivesOf<'a> {
    /// The project.
    pub project: ProjectId,
    /// The source of their spans.
    pub spans: &'a dyn Spans,
}

impl Lives for LivesOf<'_> {
    type Error = Error;

    fn merged(&self, life: Life) -> Result<Option<Merged>> {
        Ok(self.spans.span(self.project, life)?.merged)
    }

    /// Climbs the tree of the group from `life` as far as the lives were one at `time`, then looks on the way
    /// back down for the newest merge that was known. Reads a few rows, however many merges there were.
    fn became(&self, life: Life, time: Time, known: Time) -> Result<Option<Merged>> {
        if self.spans.is_known_unmerged(self.project, life) {
            return Ok(None);
        }
        let (mut path, mut next, mut after, mut merged) = (Vec::new(), life, 0, None);
        loop {
            let group = self.spans.span(self.project, next)?.group;
            if path.len() > MAX_GROUP_DEPTH {
                return Err(Error::Broken("groups of lives hang under one another in a circle"));
            }
            path.push((next, after..group.moves, merged));
            let Some(above) = group.above.filter(|above| above.from <= time) else {
                break;
            };
            (next, after, merged) = (above.life, above.after, above.merged);
        }
        for (top, moves, merged) in path.into_iter().rev() {
            let mut until = (!moves.is_empty()).then_some(Place::end_of(time));
            while let Some(place) = until {
                let moved = self.spans.moved(self.project, top, place)?;
                match moved.filter(|(number, _)| moves.contains(number)) {
                    Some((_, merged)) if merged.known <= known => return Ok(Some(merged)),
                    moved => until = moved.and_then(|(_, merged)| merged.place.before()),
                }
            }
            if merged.is_some_and(|merged| merged.known <= known) {
                return Ok(merged);
            }
        }
        Ok(None)
    }
}

impl LivesOf<'_> {
    /// Returns the split by which a life began; `None` if it did not begin by a split.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn lives_on(&self, life: Life) -> Result<Option<Place>> {
        if life.number == 0 {
            return Ok(None);
        }
        Ok(self.spans.span(self.project, life)?.lives_on.map(|(place, _)| place))
    }

    /// Returns the life of a person at a place, by what was known at a time: the newest of those in `numbers`
    /// that had begun, or else the first of them.
    ///
    /// # Errors
    /// If the store fails or is damaged.
    pub fn life_at(
        &self,
        person: PersonId,
        numbers: RangeInclusive<u32>,
        until: Place,
        known: Time,
    ) -> Result<Life> {
        let (first, last) = numbers.into_inner();
        for number in (first + 1..=last).rev() {
            let life = Life { person, number };
            let lives_on = self.spans.span(self.project, life)?.lives_on;
            if lives_on.is_some_and(|(place, learned)| place <= until && learned <= known) {
                return Ok(life);
            }
        }
        Ok(Life { person, number: first })
    }
}

impl Snapshot<'_> {
    /// The lives of a project's persons.
    #[must_use]
    pub fn lives(&self, project: ProjectId) -> LivesOf<'_> {
        LivesOf { project, spans: self }
    }
}

impl Spans for Snapshot<'_> {
    fn span(&self, project: ProjectId, life: Life) -> Result<LifeSpan> {
        let span = self.point(Family::Life, &keys::life(project, life), codec::decode_life_span)?;
        Ok(span.unwrap_or_default())
    }

    fn moved(&self, project: ProjectId, top: Life, until: Place) -> Result<Option<(u32, Merged)>> {
        let prefix = keys::moves(project, top);
        let mut iterator = self.iterator(Family::Life);
        iterator.seek_for_prev(keys::at(prefix.clone(), until));
        let found = iterator.item().filter(|(key, _)| key.starts_with(&prefix));
        let moved = found.map(|(_, value)| decode(codec::decode_move, value, Family::Life));
        iterator.status()?;
        moved.transpose()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::person::{Fact, Position};
    use crate::store::tests::opened;

    /// The same lives without their groups: merges are followed one by one.
    struct Hops<'a>(LivesOf<'a>);

    impl Lives for Hops<'_> {
        type Error = Error;

        fn merged(&self, life: Life) -> Result<Option<Merged>> {
            self.0.merged(life)
        }
    }

    const LIVES: usize = 12;
    const END: i64 = 30;

    fn agree(spans: &dyn Spans, lives: &[Life]) -> std::result::Result<(), TestCaseError> {
        let of = LivesOf { project: 1, spans };
        for &life in lives {
            for time in 0..END {
                for known in (0..END).map(Time).chain([Time::MAX]) {
                    let found = of.became(life, Time(time), known).unwrap();
                    prop_assert_eq!(found, Hops(of).became(life, Time(time), known).unwrap());
                }
            }
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 50, ..ProptestConfig::default() })]
        #[test]
        fn groups_lead_where_the_merges_do(
            merges in prop::collection::vec((0..LIVES, 0..LIVES, 0..END, 0..END), 1..LIVES),
            cut in 0..LIVES,
        ) {
            let (_folder, store) = opened();
            let mut transaction = store.transaction();
            let began = Fact { time: Time(0), known: Time(0) };
            let life = |number: usize| {
                let person = transaction.create(1, &number.to_string(), began).unwrap();
                Life { person, number: 0 }
            };
            let lives: Vec<_> = (0..LIVES).map(life).collect();
            // When each life was last the target of a merge.
            let mut changed = [-1; LIVES];
            for (index, (source, target, time, known)) in merges.into_iter().enumerate() {
                if index == cut {
                    transaction.commit().unwrap();
                    transaction = store.transaction();
                }
                let of = LivesOf { project: 1, spans: &transaction };
                let ended = |life: usize| of.merged(lives[life]).unwrap().is_some();
                if source == target || ended(source) || ended(target) {
                    continue;
                }
                let time = time.max(changed[source] + 1);
                changed[target] = changed[target].max(time);
                let position = Position { topic: 0, partition: 0, offset: index as u64 };
                let place = Place { time: Time(time), position };
                let bundle = u32::try_from(index).unwrap();
                let merged = Merged { into: lives[target], bundle, place, known: Time(known) };
                transaction.end_life(1, lives[source], merged).unwrap();
            }
            agree(&transaction, &lives)?;
            transaction.commit().unwrap();
            agree(&store.snapshot(), &lives)?;
        }
    }
}
