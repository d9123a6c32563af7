//! Repeated records, after their distinct ids went to other persons.

use std::collections::BTreeMap;

use super::story::split;
use super::story::{as_of, at, given, identify, learned, merge, properties, reads, records, set};
use super::*;

fn with_uuid(mut event: Json, uuid: u128) -> Json {
    event["uuid"] = uuid::Uuid::from_u128(uuid).to_string().into();
    event
}

#[test]
fn an_event_counts_once_also_at_the_moment_at_which_its_id_was_merged() {
    let free = with_uuid(set("anon", &json!({"plan": "free"})), 1);
    let (_folder, store, _) = given(&[
        (0, set("ann", &json!({"plan": "pro"}))),
        (5, free.clone()),
        (5, identify("ann", "anon")),
        (5, free),
    ]);
    assert_eq!(properties(&store, "ann"), json!({"plan": "pro"}));
}

#[test]
fn a_person_was_last_seen_at_its_newest_event_wherever_merges_stand() {
    let (_folder, store, _) = given(&[
        (0, set("a", &json!({"n": 1}))),
        (50 * 60, set("b", &json!({"n": 2}))),
        (55 * 60, set("c", &json!({"n": 3}))),
        (60 * 60, merge("b", "a")),
        (10 * 60, merge("c", "b")),
    ]);
    let snapshot = store.snapshot();
    let moment = Moment { time: at(70 * 60), known: Time::MAX };
    let then = as_of(&snapshot, "c", moment.time, moment.known, Mode::WithOnce).unwrap();
    let id = snapshot.person_of_distinct_id(1, "c").unwrap().unwrap();
    let head = snapshot.head(1, id).unwrap().unwrap();
    let today = snapshot.as_of_today(1, (id, &head), moment, Mode::WithOnce).unwrap();
    assert_eq!(today.last_seen_at, then.last_seen_at);
    assert_eq!(today.last_seen_at, Some(at(60 * 60)));
}

#[test]
fn a_repeated_identify_does_not_undo_what_became_of_its_ids_since() {
    let first = with_uuid(identify("ann", "bob"), 1);
    let (_folder, store, tally) = given(&[
        (0, set("ann", &json!({"plan": "pro"}))),
        (10, first.clone()),
        (30, split("ann", &["bob"])),
        (10, first),
    ]);
    assert_eq!(tally.records[&(0, Outcome::Duplicate)], 1);
    let snapshot = store.snapshot();
    let [ann, bob] =
        ["ann", "bob"].map(|id| snapshot.person_of_distinct_id(1, id).unwrap().unwrap());
    assert_ne!(ann, bob);
}

#[test]
fn a_repeated_identify_is_known_after_a_late_merge_too() {
    let first = with_uuid(identify("ann", "bob"), 1);
    let (_folder, store, tally) = given(&[
        (0, set("cat", &json!({"plan": "pro"}))),
        (100, first.clone()),
        (50, merge("cat", "ann")),
        (200, split("cat", &["bob"])),
        (100, first),
    ]);
    assert_eq!(tally.records[&(0, Outcome::Duplicate)], 1);
    let snapshot = store.snapshot();
    let [ann, bob, cat] =
        ["ann", "bob", "cat"].map(|id| snapshot.person_of_distinct_id(1, id).unwrap().unwrap());
    assert!(ann == cat && bob != cat, "the split holds");
}

#[test]
fn a_refused_merge_may_come_again_once_there_is_room() {
    let mut merge = with_uuid(identify("ann", "bob"), 1);
    merge["properties"]["$set"] = json!({"bio": "x".repeat(90)});
    let lines = [
        (0, set("ann", &json!({"plan": "pro"}))),
        (1, set("bob", &json!({"mood": "good"}))),
        (2, merge.clone()),
        (2, merge),
    ];
    let records = records(&lines);
    let (_folder, store) = opened();
    let tight = Settings { properties_limit: 100, ..SETTINGS };
    let tally = apply(&store, &records[..3], &[1], tight);
    assert_eq!(tally.rejections, [(0, Rejection::PersonPropertiesSize)]);
    assert_eq!(properties(&store, "bob"), json!({"plan": "pro", "mood": "good"}));
    apply(&store, &[record(9, 3, 3, &split("ann", &["bob"]))], &[1], SETTINGS);
    let tally = apply(&store, &records[3..], &[1], SETTINGS);
    assert_eq!(tally.records, BTreeMap::from([((0, Outcome::Recorded), 1)]));
    assert_eq!(properties(&store, "ann")["bio"], "x".repeat(90));
    assert_eq!(properties(&store, "bob"), json!({}), "it stays split off");
    let tally = apply(&store, &records[3..], &[1], SETTINGS);
    assert_eq!(tally.records, BTreeMap::from([((0, Outcome::Duplicate), 1)]));
}

/// Returns what each id is now and was around each moment of a history.
fn answers(store: &Store, records: &[Record]) -> Vec<(Option<Answer>, Vec<Option<Answer>>)> {
    let snapshot = store.snapshot();
    let reads = reads(&snapshot);
    let times: BTreeSet<_> = records.iter().map(|record| record.timestamp).collect();
    let moments = times.iter().flat_map(|time| [time.plus(-1), *time, time.plus(1)]);
    let moments: Vec<_> = moments.collect();
    let of = |id: &&str| {
        let then = moments
            .iter()
            .map(|time| reads.as_of(id, Moment { time: *time, known: Time::MAX }, Mode::WithOnce));
        (reads.now(id), then.collect())
    };
    super::histories::IDS.iter().map(of).collect()
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn a_repeat_of_what_was_recorded_leaves_no_trace(
        history in histories(),
        (which, later) in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let records: Vec<_> = history.records(1).into_iter().filter(|record| {
            // After one of these, a repeat counts as an event of its own.
            let text = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default());
            !["delete", "reset"].iter().any(|of| text.contains(&format!("\"command\":\"{of}\"")))
        }).collect();
        let [(_once, once), (_twice, twice)] = [opened(), opened()];
        let mut recorded = Vec::new();
        for (index, record) in records.iter().enumerate() {
            let tally = apply(&once, std::slice::from_ref(record), &[1], SETTINGS);
            // A repeated command may count again, since its idempotency key is forgotten.
            let is_recorded = tally.records.keys().any(|(_, of)| *of == Outcome::Recorded);
            if is_recorded && !record.position.is_command() {
                recorded.push(index);
            }
        }
        prop_assume!(!recorded.is_empty());
        let which = recorded[which.index(recorded.len())];
        let mut repeat = records[which].clone();
        repeat.position.offset += 1000;
        let (mut repeated, later) = (records.clone(), later.index(records.len() - which));
        repeated.insert(which + 1 + later, repeat);
        apply(&twice, &repeated, &[3], SETTINGS);
        prop_assert_eq!(answers(&twice, &records), answers(&once, &records), "of {}", which);
    }
}

#[test]
fn volatile_keys_have_a_history_where_that_is_asked_for() {
    let (_folder, store) = opened();
    let visit = |n: i64| {
        let properties = json!({"$browser": n});
        json!({"distinct_id": "ann", "event": "visit", "properties": properties})
    };
    let lines = [(0, 0, visit(1)), (10, 10, visit(2)), (5, 20, visit(3))];
    let settings = Settings { record_volatile: true, ..SETTINGS };
    apply(&store, &learned(&lines), &[1], settings);
    let browser = |minutes| {
        let read = as_of(&store.snapshot(), "ann", at(minutes), Time::MAX, Mode::SetOnly).unwrap();
        read.properties["$browser"].as_json().to_owned()
    };
    assert_eq!([5, 10].map(browser), ["3", "2"]);
}

#[test]
fn a_late_value_keeps_its_form_down_a_merge() {
    let (_folder, store, _) = given(&[
        (0, set("bob", &json!({"p": 1}))),
        (200, set("ann", &json!({"x": 1}))),
        (300, identify("ann", "bob")),
        (60, set("bob", &json!({"p": 1.0}))),
    ]);
    let ann = as_of(&store.snapshot(), "ann", at(400), Time::MAX, Mode::SetOnly).unwrap();
    assert_eq!(ann.properties["p"].as_json(), "1.0");
}
