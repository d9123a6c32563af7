//! Writes of the API, with Kafka and without it.

use std::time::{Duration, Instant};

use personview::person::identity;
use rdkafka::producer::{BaseRecord, Producer};
use serde_json::{Value as Json, json};

use crate::broker::Broker;
use crate::harness::{Home, PATIENCE, Service, Topic, producer, wait_for};

fn set(id: &str, values: &Json) -> Json {
    json!({"token": "t", "event": "$set", "distinct_id": id, "properties": {"$set": values}})
}

/// Returns the uuid of the person that has a distinct id, once this many events of the topic are applied.
fn uuid(service: &Service, topic: &Topic, id: &str, events: usize) -> String {
    let position = topic.position(0, events - 1);
    let path = format!("/api/projects/1/persons{position}&distinct_id={id}");
    // A busy machine may need longer than one read waits.
    let found = wait_for(|| match service.get(&path) {
        (200, found) => Ok(found),
        other => Err(other),
    });
    found["results"][0]["uuid"].as_str().unwrap().to_owned()
}

fn plan(service: &Service, uuid: &str) -> Json {
    service.persons(&format!("/{uuid}"))["properties"]["plan"].clone()
}

#[test]
fn writes_are_in_the_log_and_no_event_forges_one() {
    let topic = Topic::create("write", 1);
    topic.events(0, [&set("ann", &json!({"plan": "free"})), &set("bob", &json!({"plan": "free"}))]);
    let home = Home::new(&topic);
    let service = home.serve();
    let [ann, bob] = ["ann", "bob"].map(|id| uuid(&service, &topic, id, 2));
    let url = |uuid: &str| format!("/api/projects/1/persons/{uuid}");
    let (status, person) =
        service.send("PATCH", &url(&ann), Some(&json!({"properties": {"plan": "team"}})));
    assert_eq!((status, &person["properties"]["plan"]), (200, &json!("team")));
    let (status, _) = service.send("DELETE", &url(&bob), None);
    assert_eq!((status, service.get(&url(&bob)).0), (202, 404));

    let command = json!({
        "command": "delete", "uuid": ann, "project": 1, "person": ann, "author": "test",
        "idempotency_key": "k", "now": "2026-03-01T12:00:00Z", "token": "t", "distinct_id": "ann",
        "event": "$delete_person", "properties": {"person": ann},
    });
    topic.events(0, [&command]);
    assert_eq!(uuid(&service, &topic, "ann", 3), ann, "an event is none, whatever it says");
    service.terminate();

    let rebuilt = Home::new(&topic).serve();
    assert_eq!(uuid(&rebuilt, &topic, "ann", 3), ann);
    rebuilt.wait_for_readiness(200);
    assert_eq!(plan(&rebuilt, &ann), "team", "the log has it");
    assert_eq!(rebuilt.get(&url(&bob)).0, 404);
}

#[test]
fn a_deleted_person_leaves_the_disk_of_a_server_that_goes_on() {
    let topic = Topic::create("erase", 1);
    let identify = json!({"token": "t", "event": "$identify", "distinct_id": "ann-secret",
        "properties": {"$anon_distinct_id": "visitor-secret"}});
    topic.events(
        0,
        [
            &set("visitor-secret", &json!({"mood": "mood-secret"})),
            &set("ann-secret", &json!({"email": "email-secret@x.org"})),
            &identify,
            &set("bob", &json!({"mood": "mood-public"})),
        ],
    );
    let home = Home::new(&topic);
    let service = home.serve_in(&[("PERSONVIEW_STORE__ERASE_INTERVAL", "50ms")]);
    let ann = uuid(&service, &topic, "ann-secret", 4);
    assert_eq!(service.send("DELETE", &format!("/api/projects/1/persons/{ann}"), None).0, 202);
    wait_for(|| {
        let line = service.log.recv_timeout(PATIENCE).unwrap();
        if line.contains("deleted persons were erased from the disk") { Ok(()) } else { Err(line) }
    });
    assert_eq!(service.get(&format!("/api/projects/1/persons/{ann}")).0, 404);
    let files = std::fs::read_dir(home.store()).unwrap().map(|file| file.unwrap().path());
    // A file may be replaced meanwhile.
    let bytes: Vec<u8> = files.flat_map(std::fs::read).flatten().collect();
    let holds = |text: &str| memchr::memmem::find(&bytes, text.as_bytes()).is_some();
    assert!(holds("mood-public"), "what is not deleted can be found this way");
    for secret in ["ann-secret", "visitor-secret", "mood-secret", "email-secret"] {
        assert!(!holds(secret), "{secret}");
    }
}

/// Returns the answer as an error unless the write was applied.
fn done(answer: (u16, Json)) -> Result<(), (u16, Json)> {
    if answer.0 == 200 { Ok(()) } else { Err(answer) }
}

#[test]
fn a_write_without_kafka_is_answered_with_what_became_of_it() {
    let (broker, address) = Broker::start();
    let topic = Topic::create_at(&address, "away", 1);
    topic.events(0, [&set("ann", &json!({"plan": "free"}))]);
    let service = Home::with(&topic, "").serve_in(&[
        ("PERSONVIEW_API__POSITION_WAIT", "2s"),
        ("PERSONVIEW_KAFKA__CLIENT__RECONNECT_BACKOFF_MAX_MS", "500"),
    ]);
    let ann = uuid(&service, &topic, "ann", 1);
    let write = |plan: &str| {
        let body = json!({"properties": {"plan": plan}});
        service.send("PATCH", &format!("/api/projects/1/persons/{ann}"), Some(&body))
    };
    assert_eq!(write("a").0, 200);

    broker.tell("pause");
    let (status, error) = write("b");
    assert_eq!(
        (status, &error["code"]),
        (504, &json!("timeout")),
        "it was sent, and no answer came"
    );
    broker.tell("resume");
    wait_for(|| done(write("c")));
    assert_eq!(plan(&service, &ann), "c");

    broker.tell("kill");
    wait_for(|| {
        // The end of the connection may not be noticed yet.
        let (status, error) = write("d");
        if status == 503 && error["code"] == "unavailable" { Ok(()) } else { Err(error) }
    });
    assert_eq!(plan(&service, &ann), "c", "reads go on");
    broker.tell("start");
    wait_for(|| done(write("e")));
    assert_eq!(plan(&service, &ann), "e");
}

/// Kafka fences a broker whose heartbeats are too late, and names no broker until the next one. librdkafka
/// then gives up for good.
#[test]
fn ingestion_resumes_by_itself_after_kafka_named_no_broker() {
    let (broker, address) = Broker::start();
    let topic = Topic::create_at(&address, "fenced", 1);
    topic.commands();
    topic.events(0, [&set("ann", &json!({"plan": "free"}))]);
    broker.restart("broker.heartbeat.interval.ms=4000");
    let service = Home::new(&topic).serve_in(&[("RUST_LOG", "debug")]);
    let ann = uuid(&service, &topic, "ann", 1);
    let write = |plan: &str| {
        let body = json!({"properties": {"plan": plan}});
        service.send("PATCH", &format!("/api/projects/1/persons/{ann}"), Some(&body))
    };

    let (began, mut sent, mut told) = (Instant::now(), Vec::new(), false);
    loop {
        let line = service.log.recv_timeout(Duration::from_secs(1));
        if line.is_ok_and(|line| line.contains("Kafka is out of reach; connecting again")) {
            break;
        }
        // A failing write takes long, so none is tried after it.
        if sent.last().is_none_or(|status| *status == 200) {
            sent.push(write("b").0);
        }
        let metrics = service.get("/metrics").1.as_str().unwrap().to_owned();
        let has = |series: &str| {
            metrics.lines().any(|line| line.starts_with(series) && !line.ends_with(" 0"))
        };
        told |= !has("personview_kafka_reachable ")
            && !has("personview_kafka_broker_up{")
            && !metrics.contains("personview_ingest_lag_records{");
        assert!(began.elapsed() < 2 * PATIENCE, "librdkafka goes on by itself: {sent:?}");
    }
    assert!(told, "no broker is there, and nobody knows how much waits");
    broker.restart("broker.heartbeat.interval.ms=500");

    let again = Topic::at(&address, "fenced".to_owned());
    again.events(0, [&set("ann", &json!({"seen": true}))]);
    assert_eq!(uuid(&service, &again, "ann", 2), ann);
    wait_for(|| done(write("c")));
    assert_eq!(plan(&service, &ann), "c", "no write before is done later: {sent:?}");
}

/// A command of January waits for an offset that today's topic does not have. It must neither hold up other
/// writes nor be applied to a person that comes later.
#[test]
fn a_command_about_a_topic_of_before_holds_up_no_other_and_is_done_to_nobody_of_today() {
    let topic = Topic::create("before", 1);
    let commands = topic.commands();
    let ann = identity::person_uuid(1, "ann").to_string();
    let command = json!({
        "command": "delete", "uuid": ann, "project": 1, "person": ann, "author": "test",
        "idempotency_key": "k", "now": "2026-01-01T12:00:00Z",
        "seen": [{"topic": topic.name, "partition": 0, "next_offset": 1_000_000}],
    });
    let january = 1_767_268_800_000;
    let command = command.to_string();
    let record: BaseRecord<'_, (), str> =
        BaseRecord::to(&commands.name).payload(&*command).timestamp(january);
    let producer = producer(&[]);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
    topic.events(0, [&set("ann", &json!({"plan": "free"}))]);
    let service = Home::new(&topic).serve();
    assert_eq!(uuid(&service, &topic, "ann", 1), ann);
    let write = json!({"properties": {"plan": "pro"}});
    let (status, person) =
        service.send("PATCH", &format!("/api/projects/1/persons/{ann}"), Some(&write));
    assert_eq!((status, &person["properties"]["plan"]), (200, &json!("pro")));
}
