//! How the lives of persons began and ended.

use std::ops::RangeInclusive;

use super::{Error, Result};
use crate::person::{Life, Lives, Merged, PersonId, Place, ProjectId, Time};

/// How a life began and ended, where that was not by a first event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LifeSpan {
    /// The split by which the person lives on, and when that was learned.
    pub lives_on: Option<(Place, Time)>,
    /// The merge that ended it.
    pub merged: Option<Merged>,
    /// Where it stands in its group.
    pub group: Group,
}

/// Lives that merges have made one, as a tree: of two groups that become one the smaller hangs
/// under the top of the larger, so that no life is deep, however long a chain the merges are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// How many lives are below.
    pub lives: u32,
    /// How often the group moved while this life was its top: each move has a row.
    pub moves: u32,
    /// What the life hangs under.
    pub above: Option<Above>,
}

/// What a life hangs under, from when on, and how it came there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Above {
    /// The top of the other group.
    pub life: Life,
    /// From this event time on.
    pub from: Time,
    /// How often the other group had moved: what it did later is what this life did as well.
    pub after: u32,
    /// The merge by which the group moved; `None` where the other group came to this one.
    pub merged: Option<Merged>,
}

/// Who knows how lives began and ended: a snapshot, or a transaction with what it staged.
pub trait Spans {
    /// How a life began and ended.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    fn span(&self, project: ProjectId, life: Life) -> Result<LifeSpan>;

    /// The newest move at or before a place of the group of which a life was the top, and its
    /// number.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    fn moved(&self, project: ProjectId, top: Life, until: Place) -> Result<Option<(u32, Merged)>>;

    /// Whether a life is known not to have ended, without a look.
    fn is_known_unmerged(&self, _: ProjectId, _: Life) -> bool {
        false
    }
}

/// No group is deeper: what hangs under another is not larger, so each step up doubles it.
const MAX_GROUP_DEPTH: usize = 64;

/// The lives of one project's persons.
#[derive(Clone, Copy)]
pub struct LivesOf<'a> {
    /// The project.
    pub project: ProjectId,
    /// Who knows.
    pub spans: &'a dyn Spans,
}

impl Lives for LivesOf<'_> {
    type Error = Error;

    fn merged(&self, life: Life) -> Result<Option<Merged>> {
        Ok(self.spans.span(self.project, life)?.merged)
    }

    /// Up in the tree of its group, as far as that was one then, and from there down again to what
    /// was known: a few rows, however many merges there were.
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
    /// Where a life began that goes on after a merge.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn lives_on(&self, life: Life) -> Result<Option<Place>> {
        if life.number == 0 {
            return Ok(None);
        }
        Ok(self.spans.span(self.project, life)?.lives_on.map(|(place, _)| place))
    }

    /// The life that a person was in at a place, by what was known at a time: of those with these numbers
    /// the newest one that had begun.
    ///
    /// # Errors
    /// Where the store fails or is damaged.
    pub fn life_at(
        &self,
        person: PersonId,
        numbers: RangeInclusive<u32>,
        (until, known): (Place, Time),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::person::{Fact, Position};
    use crate::store::{Config, Store};

    /// The same lives, of whom nobody keeps groups: hop by hop.
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
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("store");
            let store = Store::open(&Config { path, memory: 8 << 20, sync_writes: false }).unwrap();
            let mut transaction = store.transaction();
            let began = Fact { time: Time(0), known: Time(0) };
            let life = |number: usize| {
                let person = transaction.create(1, &number.to_string(), began).unwrap();
                Life { person, number: 0 }
            };
            let lives: Vec<_> = (0..LIVES).map(life).collect();
            // When a life last took others in.
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
