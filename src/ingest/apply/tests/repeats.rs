//! Records that come once more, after what they were about has changed hands.

use super::example::{as_of, given, identify, properties, set};
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
    let merge = |id: &str, other: &str| json!({"distinct_id": id, "event": "$merge_dangerously", "properties": {"alias": other}});
    let (_folder, store, _) = given(&[
        (0, set("a", &json!({"n": 1}))),
        (50 * 60, set("b", &json!({"n": 2}))),
        (55 * 60, set("c", &json!({"n": 3}))),
        (60 * 60, merge("b", "a")),
        (10 * 60, merge("c", "b")),
    ]);
    let snapshot = store.snapshot();
    let at = Moment { time: Time(START + 70 * HOUR), known: Time::MAX };
    let then = as_of(&snapshot, "c", at.time, at.known, Mode::WithOnce).unwrap();
    let id = snapshot.whose(1, "c").unwrap().unwrap();
    let head = snapshot.head(1, id).unwrap().unwrap();
    let today = snapshot.as_of_today(1, (id, &head), at, Mode::WithOnce).unwrap();
    assert_eq!(today.last_seen_at, then.last_seen_at);
    assert_eq!(today.last_seen_at, Some(Time(START + 60 * HOUR)));
}
