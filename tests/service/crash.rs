//! kill -9 at any moment: nothing is lost, nothing is applied twice, and a store rebuilt from the log
//! answers every read the same.

use std::time::{Duration, Instant};

use personview::person::identity;
use serde_json::{Value as Json, json};

use crate::harness::{Home, Service, Topic, personview};

const EVENTS: usize = 30_000;
const PERSONS: usize = 500;
const KILLS: usize = 8;

/// A command comes after so many events.
const COMMAND_EVERY: usize = 150;

fn time(seconds: usize) -> String {
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("2026-01-01T{hours:02}:{minutes:02}:{:02}Z", seconds % 60)
}

/// A stream in which a lost or repeated record shows: values name their event, keys are added
/// and removed, persons are merged, and some events come late.
fn event(number: usize) -> Json {
    let person = number * 7919 % PERSONS;
    let late = if number.is_multiple_of(11) { 5_000 } else { 0 };
    let (name, properties) = match number % 17 {
        0 => (
            "$identify",
            json!({"$anon_distinct_id": format!("anon-{person}"), "$set": {"identified": number}}),
        ),
        1 => ("visit", json!({"$unset": ["newest"]})),
        2 => ("visit", json!({"$set_once": {"first": number}})),
        3 if number.is_multiple_of(5) => {
            let other = format!("user-{}", (person + number) % PERSONS);
            ("$merge_dangerously", json!({"alias": other, "$set": {"merged": number}}))
        }
        _ => ("visit", json!({"$set": {"newest": number, format!("key-{}", number % 5): number}})),
    };
    let id = if number.is_multiple_of(5) && name == "visit" {
        format!("anon-{person}")
    } else {
        format!("user-{person}")
    };
    json!({
        "token": "t",
        "event": name,
        "distinct_id": id,
        "timestamp": time(20_000 + number - late),
        "properties": properties,
    })
}

/// What the API writes after so many events, having seen them all.
fn command(number: usize, topic: &Topic, partitions: usize) -> Json {
    let id = format!("user-{}", number / COMMAND_EVERY * 37 % PERSONS);
    let mut command = match number / COMMAND_EVERY % 5 {
        0 => json!({"command": "delete"}),
        1 => json!({"command": "reset", "distinct_id": id}),
        2 => json!({"command": "set", "properties": {"newest": format!("command {number}")}}),
        3 => json!({"command": "unset", "keys": ["key-1", "key-2"]}),
        _ => json!({"command": "split"}),
    };
    if command["command"] != "reset" {
        command["person"] = identity::person_uuid(1, &id).to_string().into();
    }
    let seen = |partition| {
        let next_offset = (number + partitions - 1 - partition) / partitions;
        json!({"topic": topic.name, "partition": partition, "next_offset": next_offset})
    };
    command["seen"] = (0..partitions).map(seen).collect();
    (command["project"], command["author"]) = (1.into(), "test".into());
    let uuid = uuid::Uuid::from_u64_pair(9, number as u64).to_string();
    (command["uuid"], command["idempotency_key"]) = (uuid.clone().into(), uuid.into());
    command["now"] = time(20_000 + number).into();
    command
}

/// The stream in Kafka.
fn stream(partitions: usize) -> Topic {
    let topic = Topic::create("crash", i32::try_from(partitions).unwrap());
    let commands = topic.commands();
    for number in 0..EVENTS {
        let partition = i32::try_from(number % partitions).unwrap();
        topic.send(partition, Some(event(number).to_string().as_bytes()), &[]);
        if (number + 1).is_multiple_of(COMMAND_EVERY) {
            topic.flush();
            commands.events(0, [&command(number + 1, &topic, partitions)]);
        }
    }
    topic.flush();
    topic
}

/// Waits until every record is applied and answers everything there is to ask.
fn everything(service: &Service, topic: &Topic, partitions: usize) -> Vec<Json> {
    service.wait_for_readiness(200);
    // The last record of every partition, and the last command.
    for partition in 0..partitions {
        let last = EVENTS / partitions - 1;
        service.persons(&format!("?limit=1&min_position={}:{partition}:{last}", topic.name));
    }
    let last = EVENTS / COMMAND_EVERY - 1;
    service.persons(&format!("?limit=1&min_position={}-commands:0:{last}", topic.name));
    let mut answers = vec![service.persons("?limit=10000")];
    // Links name the port, which is another one for every process.
    answers[0]["next"].take();
    for person in (0..PERSONS).step_by(9) {
        for time in ["06:00", "08:00", "10:00", "12:00", "14:30"] {
            for more in ["", "&known_at=2026-01-01T11:00:00Z", "&identity=current"] {
                let at = format!("timestamp=2026-01-01T{time}:00Z&include_set_once=true{more}");
                let of = format!("distinct_id=user-{person}&{at}&debug=true");
                let path = format!("/api/projects/1/persons/properties_at_time?{of}");
                let (status, body) = service.get(&path);
                answers.push(json!([status, body]));
            }
        }
    }
    answers
}

fn applied(topic: &Topic) -> String {
    format!("personview_ingest_records_total{{result=\"recorded\",topic=\"{}\"}}", topic.name)
}

fn kill_9_loses_and_repeats_nothing(partitions: usize) {
    let topic = stream(partitions);
    let small_batches = "[ingest]\nbatch_records = 200\n";
    let home = Home::with(&topic, small_batches);
    let mut killed_at = Vec::new();
    for kill in 0..KILLS {
        let service = home.serve();
        let began = Instant::now();
        let enough = 20.0 + 170.0 * f64::from(u32::try_from(kill * kill % 13).unwrap());
        while service.metric(&applied(&topic)) < enough && began.elapsed() < Duration::from_secs(5)
        {
        }
        killed_at.push(service.metric(&applied(&topic)));
        service.kill();
    }
    let service = home.serve();
    let found = everything(&service, &topic, partitions);
    assert!(killed_at.iter().any(|applied| *applied > 0.0), "killed while at work: {killed_at:?}");
    let rebuilt = Home::with(&topic, small_batches).serve();
    let expected = everything(&rebuilt, &topic, partitions);
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    for kind in ["merge", "split", "deletion"] {
        let series = format!("personview_ingest_operations_total{{kind=\"{kind}\"}}");
        let done = rebuilt.metric(&series);
        assert!(done >= 5.0, "{kind}: {done}");
    }
    let ended = service.terminate();
    assert!(ended.success(), "{ended}");
    let verified = personview(&["verify", "--config", home.config().to_str().unwrap()]).output();
    let verified = verified.unwrap();
    let said = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success(), "{said}\n{}", String::from_utf8_lossy(&verified.stderr));
}

#[test]
fn kill_9_at_any_moment_loses_and_repeats_nothing_of_one_partition() {
    kill_9_loses_and_repeats_nothing(1);
}

#[test]
fn kill_9_at_any_moment_loses_and_repeats_nothing_of_four_partitions() {
    kill_9_loses_and_repeats_nothing(4);
}
