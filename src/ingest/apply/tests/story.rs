//! Short histories, and what the store makes of them.

use std::collections::BTreeMap;

use super::*;

/// Returns the moment so many minutes after the start.
pub fn at(minutes: i64) -> Time {
    Time(START + minutes * HOUR / 60)
}

/// Returns the record of a flat event that happened `minutes` after the start and was learned at minute
/// `known`. A command becomes a record of the command topic.
pub fn record(offset: usize, minutes: i64, known: i64, event: &Json) -> Record {
    let mut value = event.clone();
    if !event["command"].is_null() {
        value["now"] = at(known).to_string().into();
        return Record {
            position: Position { topic: FIRST_COMMAND_TOPIC, partition: 0, offset: offset as u64 },
            topic: "commands".into(),
            timestamp: at(known),
            value: Some(value.to_string().into_bytes()),
            ..Record::default()
        };
    }
    value["token"] = "t".into();
    value["timestamp"] = at(minutes).to_string().into();
    value["now"] = at(known.max(minutes)).to_string().into();
    let position = Position { topic: 0, partition: 0, offset: offset as u64 };
    Record {
        position,
        topic: "events".into(),
        timestamp: at(known.max(minutes)),
        value: Some(value.to_string().into_bytes()),
        ..Record::default()
    }
}

/// Returns the records of lines, each with the minute at which it happened and the one at which it was
/// learned.
pub fn learned(lines: &[(i64, i64, Json)]) -> Vec<Record> {
    let lines = lines.iter().enumerate();
    lines.map(|(offset, (minutes, known, line))| record(offset, *minutes, *known, line)).collect()
}

/// Returns the records of lines that are learned when they happen.
pub fn records(lines: &[(i64, Json)]) -> Vec<Record> {
    let lines = lines.iter().enumerate();
    lines.map(|(offset, (minutes, line))| record(offset, *minutes, *minutes, line)).collect()
}

/// Applies lines to a store, three in a batch.
pub fn applied(store: &Store, lines: &[(i64, Json)]) -> Tally {
    apply(store, &records(lines), &[3], SETTINGS)
}

/// Applies lines to a new store.
pub fn given(lines: &[(i64, Json)]) -> (tempfile::TempDir, Store, Tally) {
    let (folder, store) = opened();
    let tally = applied(&store, lines);
    (folder, store, tally)
}

pub fn visit(id: &str) -> Json {
    json!({"distinct_id": id, "event": "visit"})
}

pub fn set(id: &str, values: &Json) -> Json {
    json!({"distinct_id": id, "event": "$set", "properties": {"$set": values}})
}

pub fn unset(id: &str, keys: &[&str]) -> Json {
    json!({"distinct_id": id, "event": "$set", "properties": {"$unset": keys}})
}

pub fn identify(id: &str, anonymous: &str) -> Json {
    json!({"distinct_id": id, "event": "$identify", "properties": {"$anon_distinct_id": anonymous}})
}

/// Returns an event that merges the person of another distinct id into that of the first.
pub fn merge(id: &str, other: &str) -> Json {
    json!({"distinct_id": id, "event": "$merge_dangerously", "properties": {"alias": other}})
}

pub fn alias(id: &str, other: &str) -> Json {
    json!({"distinct_id": id, "event": "$create_alias", "properties": {"alias": other}})
}

/// Completes a command; `of` is the distinct id that its person was created with.
pub fn command(what: &Json) -> Json {
    let mut command = what.clone();
    (command["project"], command["author"]) = (1.into(), "dashboard".into());
    let key = uuid::Uuid::new_v5(&identity::NAMESPACE, what.to_string().as_bytes()).to_string();
    (command["uuid"], command["idempotency_key"]) = (key.clone().into(), key.into());
    if what["of"].is_string() {
        let person = identity::person_uuid(1, what["of"].as_str().unwrap());
        command["person"] = person.to_string().into();
        command.as_object_mut().unwrap().remove("of");
    }
    command
}

pub fn split(of: &str, ids: &[&str]) -> Json {
    command(&json!({"command": "split", "of": of, "distinct_ids": ids}))
}

pub fn delete(of: &str) -> Json {
    command(&json!({"command": "delete", "of": of}))
}

pub fn reads<'a, 's>(snapshot: &'a Snapshot<'s>) -> Reads<'a, 's> {
    Reads { snapshot, project: 1 }
}

pub fn current(snapshot: &Snapshot, id: &str) -> Answer {
    reads(snapshot).now(id).unwrap()
}

pub fn as_of(snapshot: &Snapshot, id: &str, time: Time, known: Time, mode: Mode) -> Option<Answer> {
    reads(snapshot).as_of(id, Moment { time, known }, mode)
}

/// Returns the current properties of the person of a distinct id.
pub fn properties(store: &Store, id: &str) -> Json {
    let values = current(&store.snapshot(), id).properties;
    values
        .into_iter()
        .map(|(name, value)| (name, serde_json::from_str(value.as_json()).unwrap()))
        .collect::<BTreeMap<_, Json>>()
        .into_iter()
        .collect()
}
