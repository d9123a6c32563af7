//! How large the properties of a person may be.

use super::example::{identify, properties, set, unset};
use super::*;

const TIGHT: Settings = Settings { properties_limit: 100, ..SETTINGS };

#[test]
fn the_names_of_properties_that_are_no_more_do_not_count_as_properties() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
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
fn who_a_merge_made_too_large_takes_what_adds_nothing_and_what_takes_away() {
    let lines = [
        set("ann", &json!({"bio": "x".repeat(60)})),
        set("bob", &json!({"job": "x".repeat(60)})),
        identify("ann", "bob"),
        json!({"distinct_id": "ann", "event": "visit"}),
        set("ann", &json!({"more": 1})),
        unset("ann", &["bio"]),
    ];
    let lines = lines.iter().zip(0_i64..).enumerate();
    let records: Vec<_> =
        lines.map(|(offset, (line, minutes))| record(offset, minutes, 0, line)).collect();
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let tally = apply(&store, &records, &[records.len()], TIGHT);
    assert_eq!(tally.rejections, [(4, Rejection::PersonPropertiesSize)]);
    assert_eq!(properties(&store, "ann"), json!({"job": "x".repeat(60)}));
}
