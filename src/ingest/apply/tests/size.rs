//! How large the properties of a person may be.

use super::story::{as_of, at, given, identify, merge, properties, records, set, unset, visit};
use super::*;
use crate::person::identity;

const TIGHT: Settings = Settings { properties_limit: 100, ..SETTINGS };

/// Returns the records of lines, one each minute.
fn minute_by_minute(lines: impl IntoIterator<Item = Json>) -> Vec<Record> {
    records(&(0..).zip(lines).collect::<Vec<_>>())
}

#[test]
fn the_names_of_properties_that_are_no_more_do_not_count_as_properties() {
    let (_folder, store) = opened();
    let mut refused = 0;
    for number in 0..20 {
        let name = format!("a name of some length {number:2}");
        let events = [set("ann", &json!({&name: 1})), unset("ann", &[&name])];
        let offset = 2 * number;
        let records = [0, 1].map(|next| record(offset + next, 10, 10, &events[next]));
        refused += apply(&store, &records, &[2], TIGHT).rejections.len();
        assert_eq!(refused == 0, number < 14, "a person keeps names of four times the limit");
    }
    assert_eq!(properties(&store, "ann"), json!({}));
}

#[test]
fn a_person_that_a_merge_made_too_large_takes_only_events_that_add_nothing() {
    let lines = [
        set("ann", &json!({"bio": "x".repeat(60)})),
        set("bob", &json!({"job": "x".repeat(60)})),
        identify("ann", "bob"),
        visit("ann"),
        set("ann", &json!({"more": 1})),
        unset("ann", &["bio"]),
    ];
    let records = minute_by_minute(lines);
    let (_folder, store) = opened();
    let tally = apply(&store, &records, &[records.len()], TIGHT);
    assert_eq!(tally.rejections, [(4, Rejection::PersonPropertiesSize)]);
    assert_eq!(properties(&store, "ann"), json!({"job": "x".repeat(60)}));
}

#[test]
fn a_transaction_ends_where_values_are_large() {
    let merges = (1..30).map(|person| merge(&format!("p{person}"), &format!("p{}", person - 1)));
    let lines = (0..30).map(|person| set(&format!("p{person}"), &json!({"n": person})));
    let large = [set("p0", &json!({"bio": "x".repeat(100 << 10)}))];
    let records = minute_by_minute(lines.chain(large).chain(merges));
    let (_folder, store) = opened();
    let parsed = parse(&records, &rules(1), store.dictionary());
    let (_, _, done) = batch(store.transaction(), &records, &parsed, SETTINGS).unwrap();
    assert!((35..45).contains(&done), "{done} of {}", records.len());
    apply(&store, &records, &[records.len()], SETTINGS);
    assert_eq!(properties(&store, "p0")["bio"].as_str().map(str::len), Some(100 << 10));
}

#[test]
fn a_refused_event_leaves_no_property_names() {
    let (_folder, store) = opened();
    let lines = [
        set("ann", &json!({"plan": "pro"})),
        set("ann", &json!({"first": "x".repeat(200), "second": 1})),
        set("ann", &json!({"third": 1})),
    ];
    let records = minute_by_minute(lines);
    let tally = apply(&store, &records, &[records.len()], TIGHT);
    assert_eq!(tally.rejections, [(1, Rejection::PersonPropertiesSize)]);
    assert_eq!(properties(&store, "ann"), json!({"plan": "pro", "third": 1}));
    let number = |name| store.dictionary().property(1, name);
    assert_eq!(["first", "second"].map(number), [None; 2]);
    assert_eq!(number("third"), number("plan").map(|plan| plan + 1));
}

#[test]
fn a_merge_copies_as_much_as_fits_into_memory() {
    let large = |number: usize| set("bob", &json!({"n": number.to_string().repeat(15)}));
    let lines = [
        (0, set("ann", &json!({"plan": "pro"}))),
        (10, large(1)),
        (20, large(2)),
        (30, large(3)),
        // As of 5, but three values of 17 bytes are more than a merge may copy: two are.
        (5, identify("ann", "bob")),
    ];
    let (_folder, store, _) = given(&lines);
    let snapshot = store.snapshot();
    let owner =
        |minutes| as_of(&snapshot, "bob", at(minutes), Time::MAX, Mode::SetOnly).unwrap().uuid;
    assert_eq!(owner(9), identity::person_uuid(1, "bob"));
    assert_eq!(owner(10), identity::person_uuid(1, "ann"));
}
