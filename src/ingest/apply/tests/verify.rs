//! What the verification of a store finds: nothing in what ingestion writes, and every row that was damaged
//! since.

mod damage;
mod families;

use super::story::{given, identify, learned, merge, records, set, unset};
use super::*;
use crate::person::identity;
use crate::store::verify::{Law, Report};

/// Registers the names of the records' topics, as ingestion does when it starts.
pub fn named(store: &Store) {
    let mut transaction = store.transaction();
    transaction.topic("events");
    transaction.topic("historical");
    transaction.command_topic("commands");
    transaction.commit().unwrap();
}

pub fn report(store: &Store) -> Report {
    store.snapshot().verify(&mut |_| {}).unwrap()
}

fn command(of: &str, mut command: Json) -> Json {
    let person = identity::person_uuids(1, of).next().unwrap();
    (command["project"], command["author"]) = (1.into(), "key".into());
    command["person"] = person.to_string().into();
    let uuid = uuid::Uuid::new_v5(&person, command.to_string().as_bytes());
    command["uuid"] = uuid.to_string().into();
    command["idempotency_key"] = command["uuid"].clone();
    command
}

/// Returns a store with late events, merges one by one and as a bundle, a split, a person that lives on and a
/// deletion.
fn difficult() -> (tempfile::TempDir, Store) {
    let once = json!({"distinct_id": "ann", "event": "$set",
        "properties": {"$set_once": {"first": "ad"}, "$set": {"email": "ann@example.com"}}});
    let events = [
        (0, set("anon", &json!({"plan": "free", "seen": 1}))),
        (5, once),
        (6, set("ann", &json!({"plan": "pro"}))),
        (10, identify("ann", "anon")),
        (2, set("anon", &json!({"seen": 2, "from": "post"}))),
        (12, unset("ann", &["seen"])),
        (20, set("x1", &json!({"a": 1}))),
        (21, identify("x1", "x2")),
        (22, identify("x1", "x3")),
        (23, set("bob", &json!({"b": 1}))),
        (24, merge("bob", "x1")),
        (22, set("x3", &json!({"a": 2}))),
        (30, set("eve", &json!({"c": 1}))),
        (40, set("kim", &json!({"d": 1}))),
        (42, set("late", &json!({"e": 1}))),
        (41, identify("kim", "late")),
    ];
    let mut records = records(&events);
    let commands = [
        command("bob", json!({"command": "split", "distinct_ids": ["x1"]})),
        command("kim", json!({"command": "set", "properties": {"d": 2}})),
        command("eve", json!({"command": "delete"})),
    ];
    records.extend(learned(&commands.map(|command| (0, 100, command))));
    records.push(record(events.len(), 110, 0, &set("x1", &json!({"a": 3}))));
    let (folder, store) = opened();
    named(&store);
    apply(&store, &records, &[3], SETTINGS);
    (folder, store)
}

#[test]
fn a_difficult_history_verifies() {
    let (_folder, store) = difficult();
    let report = report(&store);
    assert!(report.first.is_empty(), "{:#?}", report.first);
    for checked in &report.laws {
        for (kind, count) in &checked.counts {
            let expected = *kind != "of deleted persons";
            assert_eq!(*count > 0, expected, "{checked}: no {kind} were checked");
        }
        assert!(checked.to_string().ends_with(": ok"), "{checked}");
    }
    assert_eq!(report.laws.iter().map(|it| it.law).collect::<Vec<_>>(), Law::ALL);
}

#[test]
fn a_late_event_of_a_new_life_does_not_bring_back_a_deleted_person() {
    let (_folder, store, _) = given(&[
        (0, set("bob", &json!({"mood": "good"}))),
        (10, set("ann", &json!({"plan": "pro"}))),
        (20, identify("ann", "bob")),
        (30, command("bob", json!({"command": "split", "distinct_ids": ["bob"]}))),
        (40, command("ann", json!({"command": "delete"}))),
        (5, set("bob", &json!({"mood": "late"}))),
    ]);
    named(&store);
    let report = report(&store);
    assert!(report.first.is_empty(), "{:#?}", report.first);
}

/// A version that reads these rows differently needs another format number.
#[test]
fn the_format_of_every_row_is_frozen() {
    let (_folder, store) = difficult();
    let rows = store.content().into_iter();
    let rows = rows.map(|(family, key, value)| {
        format!("{family} {} {}", hex::encode(key), hex::encode(value))
    });
    insta::assert_snapshot!(rows.collect::<Vec<_>>().join("\n"));
}
