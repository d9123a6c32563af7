//! Persons that live on: each life has what happened in it, and nothing of the others.

use super::story::{alias, applied, as_of, at, delete, given, identify, merge, properties, set};
use super::story::{split, unset, visit};
use super::*;

/// Bob was merged into ann and split off again, and then carl was merged into bob.
fn bob_who_lives_on() -> (tempfile::TempDir, Store, Tally) {
    given(&[
        (0, set("bob", &json!({"plan": "free"}))),
        (10, set("ann", &json!({"plan": "pro"}))),
        (20, identify("ann", "bob")),
        (30, split("ann", &["bob"])),
        (40, identify("bob", "carl")),
    ])
}

#[test]
fn what_an_id_did_before_it_joined_a_life_does_not_reach_earlier_lives() {
    let (_folder, store, _) = bob_who_lives_on();
    applied(&store, &[(15, set("carl", &json!({"secret": 1})))]);
    for id in ["bob", "carl"] {
        assert_eq!(properties(&store, id), json!({"secret": 1}), "{id}");
    }
    assert_eq!(properties(&store, "ann"), json!({"plan": "pro"}));
    let snapshot = store.snapshot();
    for (id, minutes) in [("ann", 35), ("ann", 17), ("bob", 17)] {
        let then = as_of(&snapshot, id, at(minutes), Time::MAX, Mode::WithOnce).unwrap();
        assert!(!then.properties.contains_key("secret"), "{id} at {minutes}");
    }
    let then = as_of(&snapshot, "carl", at(31), Time::MAX, Mode::WithOnce).unwrap();
    assert_eq!(then.properties["secret"].as_json(), "1");
}

#[test]
fn an_id_is_nobody_before_the_life_that_it_joined() {
    let (_folder, store, _) = bob_who_lives_on();
    applied(&store, &[(15, identify("carl", "dora"))]);
    let snapshot = store.snapshot();
    for id in ["carl", "dora"] {
        let before = as_of(&snapshot, id, at(25), Time::MAX, Mode::WithOnce).unwrap();
        assert_eq!(before.created_at, None, "{id}");
        assert!(as_of(&snapshot, id, at(31), Time::MAX, Mode::WithOnce).unwrap().is_identified);
    }
    let bob = as_of(&snapshot, "bob", at(17), Time::MAX, Mode::WithOnce).unwrap();
    assert_eq!((bob.distinct_ids, bob.is_identified), (vec!["bob".to_owned()], false));
}

#[test]
fn a_merged_value_is_still_known_when_its_source_is_deleted() {
    let mut merge = identify("ann", "bob");
    merge["properties"]["$set_once"] = json!({"p": 2});
    let (_folder, store, _) = given(&[
        (0, set("bob", &json!({"p": 1}))),
        (1, unset("bob", &["p"])),
        (2, visit("ann")),
        (3, merge),
        (4, split("ann", &["bob"])),
        (5, delete("bob")),
    ]);
    for known in [at(4), at(10), Time::MAX] {
        let then = as_of(&store.snapshot(), "ann", at(10), known, Mode::WithOnce).unwrap();
        assert_eq!(then.properties["p"].as_json(), "2", "{known}");
    }
}

#[test]
fn an_event_at_the_very_time_of_a_split_belongs_to_the_new_life() {
    let (_folder, store, _) = bob_who_lives_on();
    let mut late = set("bob", &json!({"mood": "good"}));
    late["uuid"] = uuid::Uuid::from_u128(1).to_string().into();
    let tally = applied(&store, &[(30, late.clone()), (30, late)]);
    assert_eq!(properties(&store, "bob"), json!({"mood": "good"}));
    assert_eq!(properties(&store, "ann"), json!({"plan": "pro"}));
    let due = BTreeMap::from([((0, Outcome::Recorded), 1), ((0, Outcome::Duplicate), 1)]);
    assert_eq!(tally.records, due);
}

#[test]
fn a_life_does_not_begin_before_the_one_before_it_is_over() {
    let (_folder, store, _) = given(&[
        (0, set("bob", &json!({"mood": "good"}))),
        (1, alias("bob", "y")),
        // The id bob goes to another person, and then to ann.
        (2, split("bob", &["bob"])),
        (3, visit("ann")),
        (4, identify("ann", "bob")),
        // The person that was bob is merged into carl, by a clock that is ahead.
        (5, visit("carl")),
        (100, merge("carl", "y")),
        (50, split("ann", &["bob"])),
    ]);
    let snapshot = store.snapshot();
    let uuid =
        |id, minutes| as_of(&snapshot, id, at(minutes), Time::MAX, Mode::WithOnce).unwrap().uuid;
    let first = identity::person_uuid(1, "bob");
    assert_eq!(uuid("y", 90), first, "it is its own until it is carl's");
    assert_eq!(properties(&store, "y"), json!({"mood": "good"}));
    assert_eq!(uuid("bob", 90), uuid("ann", 90), "the person's first life is not over");
    assert_eq!(uuid("bob", 101), first);
    assert_eq!(properties(&store, "bob"), json!({}));
}

#[test]
fn a_new_life_does_not_change_the_person_that_the_earlier_one_was_merged_into() {
    let (_folder, store, _) = bob_who_lives_on();
    let ann = || {
        let snapshot = store.snapshot();
        let id = snapshot.person_of_distinct_id(1, "ann").unwrap().unwrap();
        (snapshot.head(1, id).unwrap().unwrap(), snapshot.recency(1, id).unwrap().change)
    };
    let before = ann();
    applied(&store, &[(50, set("bob", &json!({"later": 1})))]);
    assert_eq!(properties(&store, "bob"), json!({"later": 1}));
    assert!(ann() == before, "neither a property nor a change");
    applied(&store, &[(5, set("bob", &json!({"late": 1})))]);
    assert_eq!(properties(&store, "ann"), json!({"plan": "pro", "late": 1}));
    assert_eq!(properties(&store, "bob"), json!({"later": 1}));
}

#[test]
fn ids_that_passed_through_a_person_stay_with_its_past_when_what_it_became_is_deleted() {
    // More ids than are moved one by one, so that they are bundles: of b's person in carl's, of that in dora's.
    let (_folder, store, _) = given(&[
        (0, alias("b", "x")),
        (0, alias("b", "y")),
        (10, visit("carl")),
        (20, merge("carl", "b")),
        (30, visit("dora")),
        (40, merge("dora", "carl")),
        (50, split("dora", &["dora", "carl", "x", "y"])),
        (60, delete("dora")),
    ]);
    let snapshot = store.snapshot();
    for id in ["carl", "x", "y"] {
        let then = as_of(&snapshot, id, at(25), Time::MAX, Mode::WithOnce).unwrap();
        assert_eq!(then.distinct_ids, ["carl", "x", "y"], "{id}");
    }
}
