//! Many partitions, and more than one instance on them.

use std::ops::Range;

use serde_json::{Value as Json, json};

use crate::harness::{Home, Service, Topic, wait_for};
use crate::operator::{everybody, plan};

const PARTITIONS: u32 = 64;

/// Sends one event of each partition per round, all of the same event time: the last one in the log counts.
fn send(topic: &Topic, rounds: Range<u32>) {
    for partition in 0..PARTITIONS {
        for round in rounds.clone() {
            let event = json!({"token": "t", "event": "$set", "distinct_id": format!("p{partition}"),
                "timestamp": "2026-01-01T00:00:00Z",
                "$set": {"round": round}, "$set_once": {"first": round}});
            topic.send(partition.cast_signed(), Some(event.to_string().as_bytes()), &[]);
        }
    }
    topic.flush();
}

/// Waits for this round of every partition, and compares every person with the log.
fn holds(service: &Service, topic: &Topic, last: u32) {
    let positions = (0..PARTITIONS).map(|partition| format!("{}:{partition}:{last}", topic.name));
    let positions = positions.collect::<Vec<_>>().join(",");
    let people = service.persons(&format!("?limit=100&min_position={positions}"));
    assert_eq!(people["count"], PARTITIONS);
    for person in people["results"].as_array().unwrap() {
        assert_eq!(person["properties"], json!({"first": 0, "round": last}), "{person}");
    }
    for partition in [0, 7, PARTITIONS - 1] {
        let found = service.persons(&format!("?distinct_id=p{partition}"));
        let id = &found["results"][0]["id"];
        let history = service.persons(&format!("/{id}/history?key=round&limit=1000"));
        let rounds = history["results"].as_array().unwrap().iter();
        let rounds: Vec<&Json> = rounds.map(|entry| &entry["changes"][0]["after"]).collect();
        let expected: Vec<_> = (0..=last).rev().map(Json::from).collect();
        assert_eq!(rounds, expected.iter().collect::<Vec<_>>(), "each once, in order");
    }
}

#[test]
fn sixty_four_partitions_are_read_in_order_and_resumed() {
    let topic = Topic::create("many", PARTITIONS.cast_signed());
    let home = Home::new(&topic);
    send(&topic, 0..5);
    let service = home.serve();
    holds(&service, &topic, 4);
    let count = |service: &Service, result: &str| {
        let labels = format!("{{result=\"{result}\",topic=\"{}\"}}", topic.name);
        service.metric(&format!("personview_ingest_records_total{labels}")).to_string()
    };
    assert_eq!(count(&service, "recorded"), (5 * PARTITIONS).to_string());
    wait_for(|| {
        let ready = service.wait_for_readiness(200);
        if ready["components"]["caught_up"]["lag_records"] == 0 { Ok(()) } else { Err(ready) }
    });
    // It is killed while each partition has more to come.
    send(&topic, 5..10);
    service.kill();
    let service = home.serve();
    holds(&service, &topic, 9);
    service.terminate();
    // Nothing came since, so nothing is applied again.
    let service = home.serve();
    service.wait_for_readiness(200);
    holds(&service, &topic, 9);
    for result in ["recorded", "unchanged", "duplicate"] {
        assert_eq!(count(&service, result), "0", "{result}");
    }
    // The lag of each partition is reported.
    let of_topic = format!("topic=\"{}\"", topic.name);
    wait_for(|| {
        let (_, metrics) = service.get("/metrics");
        let lines = metrics.as_str().unwrap().lines();
        let lags = lines.filter(|line| line.starts_with("personview_ingest_lag_records{"));
        let lags = lags.filter(|line| line.contains(&of_topic) && line.ends_with(" 0"));
        if lags.count() == PARTITIONS as usize { Ok(()) } else { Err(metrics) }
    });
}

#[test]
fn two_instances_on_one_log_take_nothing_from_each_other() {
    let topic = Topic::create("two", 2);
    let homes = [Home::new(&topic), Home::new(&topic)];
    let send = |numbers: Range<usize>| {
        let (even, odd): (Vec<_>, Vec<_>) = numbers.partition(|number| number % 2 == 0);
        topic.events(0, &even.into_iter().map(plan).collect::<Vec<_>>());
        topic.events(1, &odd.into_iter().map(plan).collect::<Vec<_>>());
    };
    let at = |offset: u32| format!("?min_position={0}:0:{offset},{0}:1:{offset}", topic.name);
    let [first, second] = homes.each_ref().map(Home::serve);
    send(0..100);
    // The record that cannot be used is a dead letter of each instance.
    topic.send(0, Some(b"{"), &[]);
    topic.flush();
    for service in [&first, &second] {
        service.persons(&at(49));
    }
    assert_eq!(everybody(&first), everybody(&second));
    // Each instance has what was written through the other, while both write.
    let id = |number: usize| {
        let found = first.persons(&format!("?distinct_id=p{number}"));
        format!("/api/projects/1/persons/{}", found["results"][0]["id"])
    };
    let body = json!({"properties": {"by": "first"}});
    assert_eq!(first.send("PATCH", &id(1), Some(&body)).0, 200);
    assert_eq!(second.send("DELETE", &id(2), None).0, 202);
    let both = || {
        let (one, other) = (everybody(&first), everybody(&second));
        let is_written = one.as_array().unwrap().len() == 6 && one.to_string().contains("first");
        if is_written && one == other { Ok(()) } else { Err((one, other)) }
    };
    wait_for(both);
    // One instance is down for a while: the progress of the other is not its own.
    first.kill();
    send(100..200);
    second.persons(&at(99));
    let first = homes[0].serve();
    // Partition 0 has one more record, the one that cannot be used.
    first.persons(&format!("?min_position={0}:0:100,{0}:1:99", topic.name));
    second.persons(&format!("?min_position={0}:0:100,{0}:1:99", topic.name));
    assert_eq!(everybody(&first), everybody(&second));
    for service in [first, second] {
        service.terminate();
    }
}
