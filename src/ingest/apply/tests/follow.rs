//! A reader that follows the changes has the same persons as the list, wherever it began and however often it
//! asked.

use std::collections::BTreeMap;

use super::*;
use crate::person::PersonId;

/// A copy of the live persons of a project, kept by following the changes.
#[derive(Default)]
struct Follower {
    seen: u64,
    persons: BTreeMap<PersonId, Person>,
}

impl Follower {
    /// Reads everything that changed since the last time, two persons at a time.
    fn follow(&mut self, snapshot: &Snapshot<'_>) {
        loop {
            let changed = snapshot.persons_by_change(1, self.seen, 2).unwrap();
            let Some(&(last, _)) = changed.last() else { break };
            assert!(changed.is_sorted() && changed[0].0 > self.seen, "{changed:?}");
            self.seen = last;
            for (_, person) in changed {
                self.persons.remove(&person);
                self.persons.extend(live(snapshot, person).map(|now| (person, now)));
            }
        }
        assert_eq!(self.seen, snapshot.last_change(1).unwrap());
    }
}

fn live(snapshot: &Snapshot<'_>, person: PersonId) -> Option<Person> {
    let head = snapshot.head(1, person).unwrap().filter(|head| head.merged.is_none())?;
    Some(snapshot.current(1, (person, &head), usize::MAX).unwrap())
}

fn listed(snapshot: &Snapshot<'_>) -> BTreeMap<PersonId, Person> {
    let (everybody, order) = (Start::Offset(0), Order { by: By::CreatedAt, ascending: false });
    let rows = snapshot.page(1, order, everybody, usize::MAX, None).unwrap().unwrap();
    rows.iter().map(|row| (row.person, live(snapshot, row.person).unwrap())).collect()
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn a_follower_of_the_changes_has_what_the_list_has(
        history in histories(),
        cuts in prop::collection::vec(1..9_usize, 1..6),
    ) {
        let (_folder, store) = opened();
        let mut records = &history.records(1)[..];
        let mut follower = Follower::default();
        for cut in cuts.iter().cycle() {
            let (batch, rest) = records.split_at(records.len().min(*cut));
            apply(&store, batch, &[batch.len()], SETTINGS);
            let snapshot = store.snapshot();
            follower.follow(&snapshot);
            prop_assert_eq!(&follower.persons, &listed(&snapshot));
            records = rest;
            if records.is_empty() {
                break;
            }
        }
        let mut late = Follower::default();
        late.follow(&store.snapshot());
        prop_assert_eq!(late.persons, follower.persons);
    }
}
