//! Tests that every value survives a round trip, and that no bytes make a decoder panic.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use uuid::Uuid;

use super::*;
use crate::fuzz;
use crate::person::{
    Class, Fact, Life, Merged, Owned, Ownership, PersonId, Position, Seat, State, Value,
};
use crate::store::{Above, Group, Joined, LifeSpan, Member};

fn time() -> impl Strategy<Value = Time> {
    prop_oneof![any::<i64>(), 0..2_000_000_000_000_000_i64].prop_map(Time)
}

fn place() -> impl Strategy<Value = Place> {
    (time(), any::<u16>(), any::<u32>(), any::<u64>()).prop_map(
        |(time, topic, partition, offset)| Place {
            time,
            position: Position { topic, partition, offset },
        },
    )
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(|number| Value::from_json(&number.to_string())),
        ".{0,9}".prop_map(|text| Value::string(&text)),
        Just(Value::from_json("null")),
        Just(Value::from_json("{\"b\":[1,2.50],\"a\":null}")),
    ]
}

fn state() -> impl Strategy<Value = State> {
    let maybe = || prop::option::of(value());
    (maybe(), maybe(), any::<bool>()).prop_map(|(current, other, same)| {
        let set_only = if same { current.clone() } else { other };
        State { current, set_only }
    })
}

fn life() -> impl Strategy<Value = Life> {
    (any::<PersonId>(), any::<u32>()).prop_map(|(person, number)| Life { person, number })
}

fn merged() -> impl Strategy<Value = Merged> {
    (life(), any::<u32>(), place(), time()).prop_map(|(into, bundle, place, known)| Merged {
        into,
        bundle,
        place,
        known,
    })
}

fn stored() -> impl Strategy<Value = Stored> {
    let row = prop_oneof![
        value().prop_map(Row::Set),
        value().prop_map(Row::SetUnset),
        value().prop_map(Row::OnceUnset),
        value().prop_map(Row::Once),
        Just(Row::Unset),
        state().prop_map(Row::Decided),
        (prop::option::of(life()), state())
            .prop_map(|(source, state)| Row::Merge { source, state }),
    ];
    (place(), time(), row).prop_map(|(place, known, row)| Stored { place, known, row })
}

fn head() -> impl Strategy<Value = Head> {
    let entries =
        prop::collection::btree_map(any::<u32>(), (prop::option::of(time()), state()), 0..5);
    let fact = || (time(), time()).prop_map(|(time, known)| Fact { time, known });
    let times = (time(), fact(), prop::option::of(fact()), prop::option::of(time()));
    let merged = prop::option::of(merged());
    (any::<u128>(), times, any::<(u64, u32, u64, u32)>(), merged, entries).prop_map(
        |(uuid, times, (version, distinct_ids, json_bytes, life), merged, entries)| Head {
            uuid: Uuid::from_u128(uuid),
            created_at: times.0,
            began: times.1,
            identified: times.2,
            version,
            newest: times.3,
            ahead: i64::from(life),
            ownership_changed: times.3.map(|time| time.plus(1)),
            life,
            first_life: life / 2,
            lives_on: times.3,
            distinct_ids,
            merged,
            json_bytes,
            entries: entries
                .into_iter()
                .map(|(property, (newest, state))| (property, Entry { newest, state }))
                .collect(),
        },
    )
}

fn owned() -> impl Strategy<Value = Owned> {
    let seat = prop_oneof![any::<u32>().prop_map(Seat::Own), any::<u32>().prop_map(Seat::Bundle)];
    (time(), time(), life(), seat).prop_map(|(from, known, life, seat)| Owned {
        from,
        known,
        life,
        seat,
    })
}

/// Compares the debug output, which contains the JSON text: `Value`s are equal by meaning, as `1` and `1.0`
/// are.
fn exactly<T: std::fmt::Debug>(a: &T, b: &T) -> bool {
    format!("{a:?}") == format!("{b:?}")
}

proptest! {
    #[test]
    fn rows_come_back(row in stored()) {
        prop_assert!(exactly(&decode_row(row.place, &encode_row(&row)).unwrap(), &row));
    }

    #[test]
    fn heads_come_back(head in head()) {
        prop_assert!(exactly(&decode_head(&encode_head(&head)).unwrap(), &head));
        let row = PersonRow::Head(head);
        prop_assert!(exactly(&decode_person(&encode_person(&row)).unwrap(), &row));
    }

    #[test]
    fn tombstones_come_back(uuid in any::<u128>(), version in any::<u64>(), life in any::<u32>(), time in time(), known in time()) {
        let (uuid, deleted) = (Uuid::from_u128(uuid), Fact { time, known });
        let row = PersonRow::Tombstone(Tombstone { uuid, version, life, deleted });
        prop_assert_eq!(decode_person(&encode_person(&row)).unwrap(), row);
    }

    #[test]
    fn life_spans_come_back(
        lives_on in prop::option::of((place(), time())),
        merged in prop::option::of(merged()),
        (lives, moves) in any::<(u32, u32)>(),
        above in prop::option::of((life(), time(), any::<u32>(), prop::option::of(merged()))),
    ) {
        let above = above.map(|(life, from, after, merged)| Above { life, from, after, merged });
        let span = LifeSpan { lives_on, merged, group: Group { lives, moves, above } };
        prop_assert_eq!(decode_life_span(&encode_life_span(&span)).unwrap(), span);
    }

    #[test]
    fn moves_come_back(number in any::<u32>(), merged in merged()) {
        prop_assert_eq!(decode_move(&encode_move(number, &merged)).unwrap(), (number, merged));
    }

    #[test]
    fn ownerships_come_back(first in owned(), later in prop::collection::vec(owned(), 0..4), deleted in prop::option::of(time())) {
        let ownership = Ownership { first, later, deleted };
        prop_assert_eq!(decode_ownership(&encode_ownership(&ownership)).unwrap(), ownership);
    }

    #[test]
    fn members_come_back(id in ".*", from in time(), known in time(), left in prop::option::of(time()), bundle in prop::option::of(life())) {
        let joined = bundle.map_or(Joined::Id(id), Joined::Bundle);
        let member = Member { joined, from, known, left };
        prop_assert_eq!(decode_member(&encode_member(&member)).unwrap(), member);
    }

    #[test]
    fn operations_come_back(
        place in place(),
        (event_time, known) in (time(), time()),
        (event, distinct_id) in (".*", ".*"),
        (author, split) in (prop::option::of(".*"), prop::option::of(any::<u32>())),
        merged in prop::option::of(any::<u64>()),
        effects in prop::collection::vec((any::<u32>(), 0..Effect::ALL.len()), 0..4),
    ) {
        let effects = effects.into_iter().map(|(property, effect)| (property, Effect::ALL[effect]));
        let effects = effects.collect();
        let uuid = Uuid::from_u128(7);
        let operation =
            Operation { uuid, event_time, known, event, distinct_id, author, merged, split, effects };
        prop_assert_eq!(decode_operation(place, &encode_operation(place, &operation)).unwrap(), operation);
    }

    #[test]
    fn how_recent_comes_back(seen in prop::option::of(time()), change in any::<u64>()) {
        let recency = Recency { seen, change };
        prop_assert_eq!(decode_recency(&encode_recency(&recency)).unwrap(), recency);
    }

    #[test]
    fn activities_come_back(
        person in any::<u64>(),
        deed in prop_oneof![
            Just(Deed::Updated), Just(Deed::PropertiesDeleted), Just(Deed::Split),
            Just(Deed::Deleted), any::<u64>().prop_map(Deed::Merged),
        ],
        place in place(),
        known in time(),
        author in prop::option::of(".*"),
    ) {
        let activity = Activity { person, deed, place, known, author };
        prop_assert_eq!(decode_activity(&encode_activity(&activity)).unwrap(), activity);
    }

    #[test]
    fn no_bytes_harm_the_codec(bytes in prop::collection::vec(any::<u8>(), 0..64), form in 1..7_u8) {
        let mut bytes = bytes;
        bytes.insert(0, form);
        decode_all(&bytes);
    }

    #[test]
    fn a_cut_value_is_corrupt(row in stored(), cut in 1..9_usize) {
        let bytes = encode_row(&row);
        let cut = bytes.len().saturating_sub(cut);
        prop_assert!(decode_row(row.place, &bytes[..cut]).is_err());
    }
}

fn decode_all(bytes: &[u8]) {
    let place = Place::default();
    let _ = (decode_row(place, bytes), decode_person(bytes), decode_ownership(bytes));
    let _ = (decode_life_span(bytes), decode_move(bytes), decode_outcome(bytes));
    let _ = (decode_recency(bytes), decode_activity(bytes));
    let _ = (decode_member(bytes), decode_operation(place, bytes), decode_applied(bytes));
}

#[test]
fn no_value_does_harm_however_it_is_changed() {
    let mut runner = TestRunner::deterministic();
    let mut seeds = Vec::new();
    for _ in 0..20 {
        let made = (head(), stored(), owned()).new_tree(&mut runner).unwrap().current();
        let (head, row, owned) = made;
        seeds.push(encode_person(&PersonRow::Head(head)));
        seeds.push(encode_row(&row));
        seeds.push(encode_ownership(&Ownership::new(owned)));
    }
    fuzz::run(&seeds, 1, decode_all);
}

#[test]
fn the_format_is_frozen() {
    let place =
        Place { time: Time(1_000), position: Position { topic: 1, partition: 2, offset: 300 } };
    let row = Row::Merge {
        source: Some(Life { person: 5, number: 0 }),
        state: State { current: Some(Value::string("x")), set_only: None },
    };
    assert_eq!(row.class(), Class::MergeCurrent);
    let stored = Stored { place, known: Time(1_001), row };
    assert_eq!(encode_row(&stored), [6, 2, 1, 5, 0, 2, 3, b'"', b'x', b'"']);
    let applied =
        Applied { next_offset: 300, last_offset: 299, last_timestamp: Time(-1), last_hash: 7 };
    assert_eq!(encode_applied(&applied), [1, 172, 2, 171, 2, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
    assert_eq!(decode_applied(&encode_applied(&applied)), Ok(applied));
}
