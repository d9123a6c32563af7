//! Short histories and what they lead to: the rules, one test each.

use std::collections::BTreeMap;

use super::story::{alias, applied, as_of, at, command, current, delete, given, identify, learned};
use super::story::{merge, properties, reads, record, records, set, split, unset, visit};
use super::*;
use crate::person::event::Warning;

#[test]
fn a_late_event_takes_its_place_in_the_past() {
    let (_folder, store, tally) = given(&[
        (0, set("ann", &json!({"plan": "pro"}))),
        (3000, set("ann", &json!({"plan": "pro"}))),
        (1000, set("ann", &json!({"plan": "free"}))),
    ]);
    assert_eq!(properties(&store, "ann"), json!({"plan": "pro"}));
    assert_eq!(tally.late, 1);
    let then = as_of(&store.snapshot(), "ann", at(2000), Time::MAX, Mode::SetOnly).unwrap();
    assert_eq!(then.properties["plan"].as_json(), "\"free\"");
}

#[test]
fn the_target_wins_per_key_and_a_late_event_of_the_source_still_counts() {
    let (_folder, store, _) = given(&[
        (0, set("anon", &json!({"plan": "free", "seen": 1}))),
        (5, set("ann", &json!({"plan": "pro"}))),
        (10, identify("ann", "anon")),
        (2, set("anon", &json!({"seen": 2, "from": "ad"}))),
    ]);
    assert_eq!(properties(&store, "anon"), json!({"plan": "pro", "seen": 2, "from": "ad"}));
}

#[test]
fn an_identified_person_is_not_merged_by_identify() {
    let (_folder, store, tally) = given(&[
        (0, identify("ann", "anon-1")),
        (1, identify("bob", "anon-2")),
        (2, identify("bob", "ann")),
    ]);
    assert_eq!(tally.warnings, BTreeMap::from([(Warning::AlreadyIdentified, 1)]));
    assert_ne!(current(&store.snapshot(), "ann").uuid, current(&store.snapshot(), "bob").uuid);
}

#[test]
fn properties_past_the_limit_are_refused_and_the_rest_goes_on() {
    let settings = Settings { properties_limit: 100, ..SETTINGS };
    let (_folder, store) = opened();
    let large = "x".repeat(90);
    let records = [
        record(0, 0, 0, &set("ann", &json!({"a": 1}))),
        record(1, 1, 0, &set("ann", &json!({"b": large}))),
        record(2, 2, 0, &set("bob", &json!({"a": 1}))),
        record(3, 3, 0, &set("ann", &json!({"a": 2}))),
        // Late, and refused as well.
        record(4, 1, 3, &set("ann", &json!({"a": 3, "c": large}))),
    ];
    let tally = apply(&store, &records, &[2], settings);
    let refused = Rejection::PersonPropertiesSize;
    assert_eq!(tally.rejections, [(1, refused), (0, refused)]);
    assert_eq!(properties(&store, "ann"), json!({"a": 2}));
    assert_eq!(properties(&store, "bob"), json!({"a": 1}));
    let then = as_of(&store.snapshot(), "ann", at(2), Time::MAX, Mode::WithOnce);
    assert_eq!(then.unwrap().properties["a"].as_json(), "1");
}

#[test]
fn a_bad_record_does_not_hold_up_the_rest() {
    let (_folder, store) = opened();
    let mut records = vec![record(0, 0, 0, &set("ann", &json!({"a": 1})))];
    records.push(Record { value: Some(b"{".to_vec()), ..record(1, 0, 0, &json!({})) });
    records.push(record(2, 0, 0, &set("bob", &json!({"a": 1}))));
    let tally = apply(&store, &records, &[3], SETTINGS);
    assert_eq!(tally.rejections, [(1, Rejection::NotJson)]);
    assert_eq!(properties(&store, "bob"), json!({"a": 1}));
}

#[test]
fn a_deleted_person_is_gone_and_created_again_by_a_later_event() {
    let (_folder, store, _) = given(&[
        (0, set("anon", &json!({"seen": 1}))),
        (10, set("ann", &json!({"plan": "pro"}))),
        (20, identify("ann", "anon")),
    ]);
    let before = current(&store.snapshot(), "ann");
    applied(&store, &[(30, delete("ann"))]);
    let snapshot = store.snapshot();
    assert_eq!((reads(&snapshot).now("ann"), reads(&snapshot).now("anon")), (None, None));
    assert_eq!(as_of(&snapshot, "ann", at(15), Time::MAX, Mode::WithOnce), None, "as-of as well");
    assert_eq!(snapshot.count(1).unwrap(), 0);
    let tally = applied(&store, &[(25, set("anon", &json!({"late": 1})))]);
    assert_eq!(tally.records[&(0, Outcome::DeletedPerson)], 1);
    applied(&store, &[(40, set("ann", &json!({"plan": "free"})))]);
    let after = current(&store.snapshot(), "ann");
    assert_eq!((after.uuid, after.is_identified), (before.uuid, false));
    assert!(after.version > before.version, "versions never restart");
    assert_eq!(properties(&store, "ann"), json!({"plan": "free"}));
}

#[test]
fn a_reset_lets_earlier_events_in_again() {
    let (_folder, store, _) = given(&[
        (0, set("ann", &json!({"plan": "pro"}))),
        (10, delete("ann")),
        (20, command(&json!({"command": "reset", "distinct_id": "ann"}))),
        (5, set("ann", &json!({"plan": "free"}))),
    ]);
    assert_eq!(properties(&store, "ann"), json!({"plan": "free"}));
}

#[test]
fn a_merge_of_a_deleted_id_is_an_ordinary_event_and_one_by_it_is_dropped() {
    let (_folder, store, _) = given(&[
        (0, set("anon", &json!({"seen": 1}))),
        (10, delete("anon")),
        (5, identify("ann", "anon")),
    ]);
    assert_eq!(current(&store.snapshot(), "ann").distinct_ids, ["ann"]);
    let tally = applied(&store, &[(6, identify("anon", "bob"))]);
    assert_eq!(tally.records[&(0, Outcome::DeletedPerson)], 1);
}

#[test]
fn a_split_gives_an_id_a_person_of_its_own_from_then_on() {
    let (_folder, store, _) = given(&[
        (0, set("ann", &json!({"plan": "pro"}))),
        (10, alias("ann", "bob")),
        (20, set("bob", &json!({"mood": "good"}))),
        (30, split("ann", &["bob"])),
        (40, set("bob", &json!({"mood": "new"}))),
        (25, set("bob", &json!({"late": 1}))),
    ]);
    assert_eq!(properties(&store, "bob"), json!({"mood": "new"}));
    assert_eq!(properties(&store, "ann"), json!({"plan": "pro", "mood": "good", "late": 1}));
    let snapshot = store.snapshot();
    let then = as_of(&snapshot, "bob", at(25), Time::MAX, Mode::WithOnce).unwrap();
    assert_eq!(then.uuid, identity::person_uuid(1, "ann"), "history stays where it was");
    assert_eq!(current(&snapshot, "bob").uuid, identity::person_uuid(1, "bob"));
    assert_eq!(current(&snapshot, "bob").created_at, Some(at(30)));
}

#[test]
fn a_person_that_was_merged_away_lives_on_by_a_split_without_properties() {
    let (_folder, store, _) = given(&[
        (0, set("bob", &json!({"mood": "good"}))),
        (10, set("ann", &json!({"plan": "pro"}))),
        (20, identify("ann", "bob")),
        (30, split("bob", &["bob"])),
    ]);
    let snapshot = store.snapshot();
    let bob = current(&snapshot, "bob");
    assert_eq!((bob.uuid, bob.properties.len()), (identity::person_uuid(1, "bob"), 0));
    let before = as_of(&snapshot, "bob", at(15), Time::MAX, Mode::WithOnce).unwrap();
    assert_eq!(before.properties["mood"].as_json(), "\"good\"");
    assert_eq!(properties(&store, "ann"), json!({"plan": "pro", "mood": "good"}));
    let merged =
        reads(&snapshot).by_uuid(bob.uuid, Moment { time: at(25), known: Time::MAX }).unwrap();
    assert_eq!(merged.uuid, identity::person_uuid(1, "ann"));
}

#[test]
fn a_command_is_done_once_and_never_hidden_by_an_older_clock() {
    let write = json!({"command": "set", "of": "ann", "properties": {"plan": "gift"}});
    let (_folder, store, _) = given(&[
        (100, set("ann", &json!({"plan": "pro"}))),
        (50, command(&write)),
        (120, set("ann", &json!({"plan": "free"}))),
        (130, command(&write)),
    ]);
    assert_eq!(properties(&store, "ann"), json!({"plan": "free"}));
    let snapshot = store.snapshot();
    let then = as_of(&snapshot, "ann", at(110), Time::MAX, Mode::SetOnly).unwrap();
    assert_eq!(then.properties["plan"].as_json(), "\"gift\"");
}

#[test]
fn an_id_split_off_before_it_was_seen_outlives_its_first_owner() {
    let (_folder, store, tally) = given(&[
        (135, visit("ann")),
        (0, alias("x", "ann")),
        // The clock of this one is behind that of the visit.
        (0, split("ann", &["ann"])),
        (0, delete("ann")),
        (0, set("ann", &json!({"plan": "pro"}))),
    ]);
    assert_eq!(tally.rejections, []);
    assert_eq!(properties(&store, "ann"), json!({"plan": "pro"}));
    assert!(reads(&store.snapshot()).now("x").is_none());
}

#[test]
fn a_value_that_a_late_event_removed_is_still_handed_on_by_earlier_knowledge() {
    // The minute at which it happened, and the minute at which it was learned.
    let lines = [
        (0, 0, set("bob", &json!({"mood": "good"}))),
        (10, 10, set("ann", &json!({"mood": "bad"}))),
        (20, 20, identify("ann", "bob")),
        (30, 30, split("bob", &["bob"])),
        // Bob lives on, and a merge brings him a value that a late event removes.
        (35, 35, set("carl", &json!({"mood": "calm"}))),
        (40, 40, merge("bob", "carl")),
        (37, 90, unset("carl", &["mood"])),
        (50, 50, visit("dora")),
        (60, 60, merge("dora", "bob")),
    ];
    let (_folder, store) = opened();
    apply(&store, &learned(&lines), &[lines.len()], SETTINGS);
    let snapshot = store.snapshot();
    let mood = |known| {
        let dora = as_of(&snapshot, "dora", at(70), at(known), Mode::SetOnly).unwrap();
        dora.properties.get("mood").map(|mood| mood.as_json().to_owned())
    };
    assert_eq!(mood(89).as_deref(), Some("\"calm\""), "the late event was not known yet");
    assert_eq!(mood(90), None);
    assert_eq!(properties(&store, "dora"), json!({}));
}

#[test]
fn a_key_counts_for_a_day_and_is_forgotten_after_two() {
    let day = 24 * 60;
    let write = |key: &str, plan: &str| {
        let properties = json!({"plan": plan});
        let mut write = command(&json!({"command": "set", "of": "ann", "properties": properties}));
        write["idempotency_key"] = key.into();
        write
    };
    let lines = [
        (0, set("ann", &json!({"plan": "free"}))),
        (1, write("once", "pro")),
        (2, write("once", "again")),
        (day + 1, write("once", "the day after")),
        (3 * day + 2, write("other", "long after")),
    ];
    let records = records(&lines);
    for cut in 1..=records.len() {
        let (_folder, store) = opened();
        apply(&store, &records, &[cut], SETTINGS);
        assert_eq!(properties(&store, "ann"), json!({"plan": "long after"}), "cut by {cut}");
        let commands = store.content().into_iter().filter(|row| row.0 == "command").count();
        assert_eq!(commands, 2, "of the newest, cut by {cut}");
        let plans = [1, 2, day + 1, 3 * day + 2].map(|minute| {
            let then = as_of(&store.snapshot(), "ann", at(minute), Time::MAX, Mode::SetOnly);
            then.unwrap().properties["plan"].as_json().to_owned()
        });
        let due = r#""pro" "pro" "the day after" "long after""#;
        assert_eq!(plans.join(" "), due, "cut by {cut}");
    }
}
