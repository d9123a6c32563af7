//! Tests that the seeks agree with the naive fold: sort, apply one after the other.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::convert::Infallible;

use proptest::prelude::*;

use super::*;
use crate::person::record::Position;

const SOURCE: PersonId = 1;
const TARGET: PersonId = 2;
const END: i64 = 8;

/// Rows in memory, in the order of the store's keys.
#[derive(Debug, Default)]
struct Rows(BTreeMap<(PersonId, Class, Place), Stored>);

impl Rows {
    fn put(&mut self, person: PersonId, stored: Stored) {
        self.0.insert((person, stored.row.class(), stored.place), stored);
    }

    fn naive(&self, person: PersonId, until: Time, known: Time) -> State {
        let of_person = self.0.values().zip(self.0.keys()).filter(|(_, key)| key.0 == person);
        let mut rows: Vec<_> = of_person.map(|(row, _)| row.clone()).collect();
        rows.retain(|row| row.place.time <= until && row.known <= known);
        // At one place the merge comes first.
        rows.sort_by_key(|stored| (stored.place, !matches!(stored.row, Row::Merge { .. })));
        rows.into_iter().fold(State::default(), |state, stored| {
            let row = match stored.row {
                Row::Merge { source: Some(source), .. } => {
                    let state = self.naive(source.person, stored.place.time, known);
                    Row::Merge { source: Some(source), state }
                }
                row => row,
            };
            state.then(&row)
        })
    }
}

impl Histories for Rows {
    type Error = Infallible;

    fn last(
        &self,
        person: PersonId,
        _: PropertyId,
        class: Class,
        until: Place,
    ) -> Result<Option<Stored>, Infallible> {
        let range = (person, class, MIN)..=(person, class, until);
        Ok(self.0.range(range).next_back().map(|(_, row)| row.clone()))
    }

    fn first(
        &self,
        person: PersonId,
        _: PropertyId,
        class: Class,
        after: Option<Place>,
    ) -> Result<Option<Stored>, Infallible> {
        let mut range = self.0.range((person, class, MIN)..=(person, class, Place::MAX));
        Ok(range
            .find(|(key, _)| after.is_none_or(|after| key.2 > after))
            .map(|(_, row)| row.clone()))
    }

    fn lives_on(&self, _: Life) -> Result<Option<Place>, Infallible> {
        Ok(None)
    }
}

/// Counts the rows that are read.
struct Counting<'r> {
    rows: &'r Rows,
    looked: Cell<usize>,
}

impl Counting<'_> {
    fn counted<T>(&self, row: T) -> T {
        self.looked.set(self.looked.get() + 1);
        row
    }
}

impl Histories for Counting<'_> {
    type Error = Infallible;

    fn last(
        &self,
        person: PersonId,
        property: PropertyId,
        class: Class,
        until: Place,
    ) -> Result<Option<Stored>, Infallible> {
        self.counted(self.rows.last(person, property, class, until))
    }

    fn first(
        &self,
        person: PersonId,
        property: PropertyId,
        class: Class,
        after: Option<Place>,
    ) -> Result<Option<Stored>, Infallible> {
        self.counted(self.rows.first(person, property, class, after))
    }

    fn lives_on(&self, life: Life) -> Result<Option<Place>, Infallible> {
        self.rows.lives_on(life)
    }
}

const MIN: Place =
    Place { time: Time(i64::MIN), position: Position { topic: 0, partition: 0, offset: 0 } };

fn own_row() -> impl Strategy<Value = Row> {
    let value = || (0..3_u8).prop_map(|n| Value::from_json(&n.to_string()));
    prop_oneof![
        3 => value().prop_map(Row::Set),
        3 => value().prop_map(Row::Once),
        2 => Just(Row::Unset),
        1 => value().prop_map(Row::SetUnset),
        1 => value().prop_map(Row::OnceUnset),
        1 => (prop::option::of(value()), prop::option::of(value()))
            .prop_map(|(current, set_only)| Row::Decided(State { current, set_only })),
    ]
}

/// Generates rows of a source, rows of a target, and merges of the source into the target, each with an event
/// time, and learned in random order.
fn histories() -> impl Strategy<Value = Rows> {
    let place = || (0..END, 0..4_u64, 0..END);
    let own = prop::collection::vec((place(), any::<bool>(), own_row()), 0..14);
    let merges = prop::collection::vec(place(), 0..3);
    (own, merges).prop_map(|(own, merges)| {
        let mut rows = Rows::default();
        let stored = |(time, offset, known): (i64, u64, i64), row| Stored {
            place: Place { time: Time(time), position: Position { offset, ..Position::default() } },
            known: Time(known),
            row,
        };
        for (place, of_source, row) in own {
            // One event does one thing to a property, so a place has one row, besides that of a merge.
            let person = if of_source { SOURCE } else { TARGET };
            let stored = stored(place, row);
            let taken =
                Class::ALL.iter().any(|&class| rows.0.contains_key(&(person, class, stored.place)));
            if !taken {
                rows.put(person, stored);
            }
        }
        for place in merges {
            let state = rows.naive(SOURCE, Time(place.0), Time::MAX);
            let source = Some(Life { person: SOURCE, number: 0 });
            let mut stored = stored(place, Row::Merge { source, state });
            let own = |class| rows.0.get(&(TARGET, class, stored.place));
            if let Some(own) = own(Class::Anchor).or_else(|| own(Class::Once)) {
                stored.known = own.known;
            }
            rows.put(TARGET, stored);
        }
        rows
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn every_read_is_the_fold(rows in histories()) {
        for person in [SOURCE, TARGET] {
            for until in -1..=END {
                for known in (-1..=END).map(Time).chain([Time::MAX]) {
                    let until = Place::end_of(Time(until));
                    let query = Query { person, property: 0, after: None, until, known };
                    let expected = rows.naive(person, until.time, known);
                    prop_assert_eq!(state(&rows, query).unwrap(), expected, "{:?}", query);
                }
            }
        }
    }

    #[test]
    fn the_newest_row_is_of_any_class(rows in histories(), until in 0..END) {
        let until = Place::end_of(Time(until));
        let query =
            Query { person: TARGET, property: 0, after: None, until, known: Time::MAX };
        let counts = |key: &&(PersonId, Class, Place)| {
            key.0 == TARGET && key.1 != Class::MergeAbsent && key.2 <= until
        };
        let places = rows.0.keys().filter(counts);
        prop_assert_eq!(newest(&rows, query).unwrap(), places.map(|key| key.2.time).max());
    }
}

/// Stores a row of `$set` with `$unset` as ingestion does, and returns how many rows that read.
fn put_either(rows: &mut Rows, place: Place) -> usize {
    let mut row = Row::SetUnset(Value::from_json(&place.time.0.to_string()));
    let counting = Counting { rows, looked: Cell::default() };
    if is_crowded(&counting, TARGET, 0, place).unwrap() {
        row = Row::Decided(state(&counting, at_place(place)).unwrap().then(&row));
    }
    let looked = counting.looked.get();
    rows.put(TARGET, Stored { place, known: place.time, row });
    looked
}

fn at_place(until: Place) -> Query {
    Query { person: TARGET, property: 0, after: None, until, known: Time::MAX }
}

proptest! {
    #[test]
    fn a_crowd_of_dependent_rows_costs_a_read_no_more_than_a_few(
        order in Just((0..60_i64).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        // A read visits at most `MAX_DEPENDENT` dependent rows, the row before them, and rows that may fill
        // the property between them. Storing a row after a full run reads that run under both modes.
        let most = (MAX_DEPENDENT + 1) * (1 + Class::filling(Mode::WithOnce).len());
        let mut rows = Rows::default();
        for time in order {
            let place = Place::end_of(Time(time));
            let looked = put_either(&mut rows, place);
            prop_assert!(looked <= MAX_DEPENDENT + 2 + 2 * most, "{looked} to put one at {time}");
        }
        for time in 0..60 {
            let until = Place::end_of(Time(time));
            for mode in Mode::ALL {
                let counting = Counting { rows: &rows, looked: Cell::default() };
                let found = value(&counting, at_place(until), mode).unwrap();
                let looked = counting.looked.get();
                prop_assert!(looked <= most, "{looked} for a read at {time}");
                let naive = rows.naive(TARGET, until.time, Time::MAX);
                prop_assert_eq!(found.as_ref(), naive.get(mode));
            }
        }
    }
}
