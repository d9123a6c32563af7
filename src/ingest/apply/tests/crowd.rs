//! Events with `$set` and `$unset` of one key, one after the other. The result of each depends on those
//! before it; one too many is decided when it arrives. In tests, two may follow one another.

use super::story::{applied, as_of, at, given, identify};
use super::*;

/// Returns an event that sets the property to the minute if it is absent, and removes it otherwise.
fn either(id: &str, minutes: i64) -> (i64, Json) {
    let properties = json!({"$set": {"p": minutes}, "$unset": ["p"]});
    (minutes, json!({"distinct_id": id, "event": "visit", "properties": properties}))
}

/// Returns the property of `ann` at each of the first minutes.
fn each<const MINUTES: usize>(store: &Store) -> [Option<i64>; MINUTES] {
    let snapshot = store.snapshot();
    std::array::from_fn(|index| {
        let time = at(i64::try_from(index).unwrap() + 1);
        let ann = as_of(&snapshot, "ann", time, Time::MAX, Mode::SetOnly)?;
        ann.properties.get("p").map(|value| value.as_json().parse().unwrap())
    })
}

#[test]
fn a_late_event_leaves_what_a_crowd_has_decided() {
    let lines = [1, 2, 3, 4, 6, 7, 8, 9].map(|minutes| either("ann", minutes));
    let (_folder, store, _) = given(&lines);
    let in_order = [Some(1), None, Some(3), None, None, Some(6), None, Some(8), None];
    assert_eq!(each(&store), in_order);
    // The third and the sixth were decided when they came, and so is the late one.
    applied(&store, &[either("ann", 5)]);
    assert_eq!(each(&store), [Some(1), None, Some(3), None, Some(5), None, None, Some(8), None]);
}

#[test]
fn a_merge_that_copies_into_a_crowd_decides_as_well() {
    let lines = ["ann", "ann", "bob", "bob"].into_iter().zip(2..);
    let lines: Vec<_> = lines.map(|(id, minutes)| either(id, minutes * 2)).collect();
    let (_folder, store, _) = given(&lines);
    let of_both = [None, None, None, Some(4), Some(4), None, None, Some(8), Some(8), None];
    applied(&store, &[(2, identify("ann", "bob"))]);
    assert_eq!(each(&store), of_both);
    // The first copied row was decided, so the second one still follows it.
    applied(&store, &[either("ann", 5)]);
    let with_late = [None, None, None, Some(4), None, Some(6), Some(6), Some(8), Some(8), None];
    assert_eq!(each(&store), with_late);
}
