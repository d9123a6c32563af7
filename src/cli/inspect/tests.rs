//! Tests of the text that `personview inspect person` prints.

use serde_json::{Value as Json, json};

use super::*;
use crate::ingest::apply;
use crate::person::record::FIRST_COMMAND_TOPIC;
use crate::person::{Position, Record, Rules, Time, identity};

/// The beginning of the hour in which the events start.
const START: i64 = 490_000 * 3_600_000_000;

fn record(offset: usize, minutes: i64, known: i64, mut value: Json) -> Record {
    let at = |minutes: i64| Time(START + minutes * 60_000_000);
    let is_command = !value["command"].is_null();
    if !is_command {
        value["token"] = "t".into();
        value["timestamp"] = at(minutes).to_string().into();
    }
    value["now"] = at(known).to_string().into();
    let offset = offset as u64;
    let topic = if is_command { FIRST_COMMAND_TOPIC } else { 0 };
    Record {
        position: Position { topic, partition: 0, offset },
        topic: if is_command { "commands" } else { "events" }.into(),
        timestamp: at(known),
        value: Some(value.to_string().into_bytes()),
        ..Record::default()
    }
}

fn command(of: &str, mut command: Json) -> Json {
    let person = identity::person_uuids(1, of).next().expect("a uuid");
    command["uuid"] = Uuid::new_v4().to_string().into();
    command["idempotency_key"] = command["uuid"].clone();
    command["project"] = 1.into();
    command["author"] = "support\u{1b}".into();
    command["person"] = person.to_string().into();
    command
}

fn told() -> (tempfile::TempDir, Config) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = Config::load(None, std::iter::empty()).expect("the defaults");
    folder.path().clone_into(&mut config.store.path);
    let store = Store::open(&config.store_config()).expect("a store");
    let set = |id: &str, set: Json| json!({"distinct_id": id, "event": "$set", "properties": {"$set": set}});
    let merge = json!({"distinct_id": "ann", "event": "$identify",
        "properties": {"$anon_distinct_id": "anon", "$set_once": {"first": "ad"}}});
    let unset = json!({"distinct_id": "ann", "event": "$set", "properties": {"$unset": ["plan"]}});
    let events = [
        (0, 0, set("anon", json!({"plan": "free"}))),
        (5, 5, set("ann", json!({"plan": "pro", "long": "x".repeat(300)}))),
        (10, 10, merge),
        (7, 60, set("ann", json!({"seats": 3}))),
        (20, 20, unset),
        (30, 30, set("eve", json!({"a": 1}))),
        (0, 100, command("ann", json!({"command": "split", "distinct_ids": ["anon"]}))),
        (0, 101, command("eve", json!({"command": "delete"}))),
    ];
    let events = events.into_iter().enumerate();
    let records: Vec<_> = events
        .map(|(offset, (minutes, known, event))| record(offset, minutes, known, event))
        .collect();
    let rules = Rules { promote: false, projects: [("t".to_owned(), 1)].into() };
    let settings = apply::Settings { record_volatile: false, properties_limit: 512 << 10 };
    let parsed = apply::parse(&records, &rules, store.dictionary());
    let (mut transaction, ..) =
        apply::batch(store.transaction(), &records, &parsed, settings).expect("applied");
    transaction.topic("events");
    transaction.command_topic("commands");
    transaction.commit().expect("committed");
    (folder, config)
}

fn shown(
    config: &Config,
    distinct_id: Option<&str>,
    id: Option<&str>,
    limit: usize,
) -> anyhow::Result<String> {
    let id = id.map(|id| parse_name(id).expect("an id"));
    let distinct_id = distinct_id.map(str::to_owned);
    let asked = Arguments { project: 1, distinct_id, id, limit };
    let mut output = Vec::new();
    person(config, &asked, &mut output)?;
    Ok(String::from_utf8(output)?)
}

fn uuid_of(id: &str) -> Uuid {
    identity::person_uuids(1, id).next().expect("a uuid")
}

#[test]
fn a_person_is_told_from_its_name_to_its_last_operation() {
    let (_folder, config) = told();
    let text = shown(&config, Some("ann"), None, 200).expect("a person");
    let ann = uuid_of("ann");
    for line in [
        format!("Person {ann} of project 1"),
        "  identified since  2025-11-24T16:10:00Z".to_owned(),
        "Distinct ids (2)".to_owned(),
        "from 2025-11-24T16:10:00Z  until 2025-11-24T17:40:00Z".to_owned(),
        "Properties (3)".to_owned(),
        "  2025-11-24T16:07:00Z         $set  ann  events:0:3".to_owned(),
        "late             known 2025-11-24T17:00:00Z".to_owned(),
        "set              seats                        3".to_owned(),
        "unset            plan\n".to_owned(),
        format!("merged           {} (id ", uuid_of("anon")),
        "set once         first                        \"ad\"".to_owned(),
        "split off        1 distinct id\n".to_owned(),
        "API key \"support\u{fffd}\"  commands:0:6".to_owned(),
        "… (302 bytes)".to_owned(),
    ] {
        assert!(text.contains(&line), "{line}\nin\n{text}");
    }
    let by_uuid = shown(&config, None, Some(&ann.to_string()), 200).expect("a person");
    let by_id = identity::person_id(ann).to_string();
    let by_id = shown(&config, None, Some(&by_id), 200).expect("a person");
    assert_eq!((&by_uuid, &by_id), (&text, &text));
    let few = shown(&config, Some("ann"), None, 1).expect("a person");
    assert!(few.contains("older ones are not shown"), "{few}");
}

#[test]
fn a_person_that_is_not_there_is_reported() {
    let (_folder, config) = told();
    let deleted = shown(&config, None, Some(&uuid_of("eve").to_string()), 9).expect("a tombstone");
    assert!(deleted.contains("deleted           2025-11-24T17:41:00Z"), "{deleted}");
    let error =
        |distinct_id, id| shown(&config, distinct_id, id, 9).expect_err("nobody").to_string();
    assert!(error(Some("eve"), None).contains("was deleted"));
    assert!(error(Some("kim"), None).contains("has never seen"));
    assert!(error(None, Some("7")).contains("project 1 has no person 7"));
    assert!(error(None, Some(&Uuid::nil().to_string())).contains("has no person"));
}
