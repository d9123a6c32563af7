//! kill -9 at any moment: nothing is lost, nothing is applied twice.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::harness::{Home, Service, Topic};

const EVENTS: usize = 30_000;
const PERSONS: usize = 500;
const PARTITIONS: usize = 4;
const KILLS: usize = 8;

/// A stream in which a lost or repeated record shows: values name their event, keys are added
/// and removed, persons are merged, and some events come late.
fn event(number: usize) -> Json {
    let person = number * 7919 % PERSONS;
    let late = if number.is_multiple_of(11) { 5_000 } else { 0 };
    let seconds = 20_000 + number - late;
    let time = format!(
        "2026-01-01T{:02}:{:02}:{:02}Z",
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    );
    let (name, properties) = match number % 17 {
        0 => (
            "$identify",
            json!({"$anon_distinct_id": format!("anon-{person}"), "$set": {"identified": number}}),
        ),
        1 => ("visit", json!({"$unset": ["newest"]})),
        2 => ("visit", json!({"$set_once": {"first": number}})),
        _ => ("visit", json!({"$set": {"newest": number, format!("key-{}", number % 5): number}})),
    };
    let id = if number.is_multiple_of(5) && name == "visit" {
        format!("anon-{person}")
    } else {
        format!("user-{person}")
    };
    json!({"token": "t", "event": name, "distinct_id": id, "timestamp": time, "properties": properties})
}

/// Waits until every record is applied and answers everything there is to ask.
fn everything(service: &Service, topic: &Topic) -> Vec<Json> {
    service.wait_for_readiness(200);
    // The last record of every partition.
    for partition in 0..PARTITIONS {
        let last = EVENTS / PARTITIONS - 1;
        service.persons(&format!("?limit=1&min_position={}:{partition}:{last}", topic.name));
    }
    let mut answers = vec![service.persons("?limit=10000")];
    // Links name the port, which is another one for every process.
    answers[0]["next"].take();
    for person in (0..PERSONS).step_by(9) {
        for time in ["06:00", "08:00", "10:00", "12:00", "14:30"] {
            let at = format!("timestamp=2026-01-01T{time}:00Z&include_set_once=true&debug=true");
            answers.push(
                service.persons(&format!("/properties_at_time?distinct_id=user-{person}&{at}")),
            );
        }
    }
    answers
}

fn applied(topic: &Topic) -> String {
    format!("personview_ingest_records_total{{result=\"recorded\",topic=\"{}\"}}", topic.name)
}

#[test]
fn kill_9_at_any_moment_loses_and_repeats_nothing() {
    let topic = Topic::create("crash", i32::try_from(PARTITIONS).unwrap());
    for number in 0..EVENTS {
        let partition = i32::try_from(number % PARTITIONS).unwrap();
        topic.send(partition, Some(event(number).to_string().as_bytes()), &[]);
        if number % 1000 == 999 {
            topic.flush();
        }
    }
    topic.flush();
    let small_batches = "[ingest]\nbatch_records = 200\n";
    let undisturbed = Home::with(&topic, small_batches).serve();
    let expected = everything(&undisturbed, &topic);
    drop(undisturbed);
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
    let found = everything(&service, &topic);
    assert!(killed_at.iter().any(|applied| *applied > 0.0), "killed while at work: {killed_at:?}");
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found[0]["results"].as_array().unwrap().len(), PERSONS);
    assert!(service.terminate().success());
}
