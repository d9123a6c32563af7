//! From the log to the answer: every form of record, and a log that is no longer the same.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value as Json, json};

use crate::broker::Broker;
use crate::harness::{Home, PATIENCE, Service, Topic, kafka, producer, wait_for};

const UUID: &str = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";

fn set(id: &str, values: &Json) -> Json {
    json!({"token": "t", "event": "$set", "distinct_id": id, "properties": {"$set": values}})
}

#[test]
fn every_form_of_record_becomes_a_person() {
    let topic = Topic::create("forms", 1);
    let inner = json!({"event": "$set", "distinct_id": "inner", "properties": {"$set": {"form": "wrapped"}}});
    let wrapped =
        json!({"token": "t", "uuid": UUID, "distinct_id": "outer", "data": inner.to_string()});
    let object = json!({"token": "t", "uuid": UUID, "data": {"distinct_id": "object", "$set": {"form": "object"}}});
    let bare = json!({"event": "x", "properties": {"$set": {"form": "headers"}}});
    topic.events(0, [&wrapped, &object, &set("flat", &json!({"form": "flat"}))]);
    topic.send(0, Some(bare.to_string().as_bytes()), &[("token", "t"), ("distinct_id", "headers")]);
    topic.flush();
    let service = Home::new(&topic).serve();
    for (id, form) in
        [("outer", "wrapped"), ("object", "object"), ("flat", "flat"), ("headers", "headers")]
    {
        let path = format!("{}&distinct_id={id}", topic.position(0, 3));
        let found = service.persons(&path);
        assert_eq!(found["results"][0]["properties"]["form"], form, "{found}");
    }
    assert_eq!(service.persons("?distinct_id=inner")["count"], 0, "outer fields win");
}

fn send(producer: &BaseProducer, topic: &Topic, id: &str) {
    let event = set(id, &json!({"pad": "x".repeat(2_000)})).to_string();
    let record: BaseRecord<'_, (), str> = BaseRecord::to(&topic.name).payload(&event);
    producer.send(record).map_err(|(error, _)| error).unwrap();
}

#[test]
fn aborted_transactions_are_not_read_and_every_codec_is() {
    let topic = Topic::create("codecs", 1);
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    for codec in codecs {
        let producer = producer(&[("compression.type", codec)]);
        (0..50).for_each(|number| send(&producer, &topic, &format!("{codec}-{number}")));
        producer.flush(PATIENCE).unwrap();
    }
    let transactional = producer(&[("transactional.id", &topic.name)]);
    transactional.init_transactions(PATIENCE).unwrap();
    let transact = |id: &str, commits: bool| {
        transactional.begin_transaction().unwrap();
        send(&transactional, &topic, id);
        transactional.flush(PATIENCE).unwrap();
        let ended = if commits {
            transactional.commit_transaction(PATIENCE)
        } else {
            transactional.abort_transaction(PATIENCE)
        };
        ended.unwrap();
    };
    for (id, commits) in [("aborted", false), ("committed", true), ("aborted-too", false)] {
        transact(id, commits);
    }
    topic.events(0, [&set("last", &json!({}))]);
    // At its end the log has an aborted record and two markers: offsets of nothing that is applied.
    for (id, commits) in [("last-of-all", true), ("aborted-at-the-end", false)] {
        transact(id, commits);
    }
    let service = Home::new(&topic).serve();
    service.wait_for_readiness(200);
    let found = wait_for(|| {
        let found = service.persons("?limit=1000&order_by=-created_at");
        let ids: BTreeSet<String> = found["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|person| person["distinct_ids"][0].as_str().unwrap().to_owned())
            .collect();
        if ids.contains("last-of-all") { Ok(ids) } else { Err(ids.len()) }
    });
    let all =
        codecs.iter().flat_map(|codec| (0..50).map(move |number| format!("{codec}-{number}")));
    let committed = ["committed", "last", "last-of-all"].map(str::to_owned);
    assert_eq!(found, all.chain(committed).collect::<BTreeSet<_>>());
    wait_for(|| {
        let caught_up = service.get("/_readiness").1["components"]["caught_up"].clone();
        if caught_up["lag_records"] == 0 { Ok(()) } else { Err(caught_up) }
    });
}

#[test]
fn a_missing_topic_is_waited_for_and_its_new_partitions_are_noticed() {
    let topic = Topic::named("missing");
    let service = Home::new(&topic).serve();
    let told = service.wait_for_reason("kafka", "does not exist yet");
    assert!(told.contains(&topic.name), "{told}");
    service.wait_for_readiness(503);
    assert_eq!(service.metric("personview_ingest_topics_not_read").to_string(), "1");
    // Meanwhile the others are read and reported.
    let lag = format!(
        "personview_ingest_lag_records{{partition=\"0\",topic=\"{}-commands\"}}",
        topic.name
    );
    wait_for(|| {
        let (_, metrics) = service.get("/metrics");
        if metrics.as_str().unwrap().contains(&lag) { Ok(()) } else { Err(metrics) }
    });
    topic.make(2);
    topic.events(1, [&set("ann", &json!({"a": 1}))]);
    let path = format!("{}&distinct_id=ann", topic.position(1, 0));
    let found = wait_for(|| {
        let (status, body) = service.get(&format!("/api/projects/1/persons{path}"));
        if status == 200 { Ok(body) } else { Err(body) }
    });
    assert_eq!(found["count"], 1);
    let ready = service.wait_for_readiness(200);
    assert_eq!(service.metric("personview_ingest_topics_not_read").to_string(), "0");
    let told = ready["components"]["caught_up"]["last_record_at"].as_str().unwrap();
    let age = chrono::Utc::now() - chrono::DateTime::parse_from_rfc3339(told).unwrap().to_utc();
    assert!(age.num_minutes() < 10, "{told}");
}

#[test]
fn a_compacted_topic_is_refused() {
    let topic = Topic::named("compacted");
    topic.make_with(1, "cleanup.policy", "compact,delete");
    let service = Home::new(&topic).serve();
    let told = service.wait_for_log("ingestion has ended");
    assert!(told.contains(&format!("topic {} is compacted", topic.name)), "{told}");
    service.wait_for_readiness(503);
}

#[test]
fn a_position_of_the_store_is_reached_where_kafka_is_away() {
    let (broker, address) = Broker::start();
    let topic = Topic::create_at(&address, "early", 1);
    topic.events(0, [&set("ann", &json!({"plan": "free"}))]);
    let home = Home::new(&topic);
    let service = home.serve();
    service.wait_for_readiness(200);
    service.persons(&topic.position(0, 0));
    service.terminate();
    broker.tell("kill");
    let service = home.serve();
    assert_eq!(service.persons(&topic.position(0, 0))["count"], 1);
    let (_, body) = service.get("/_readiness");
    assert!(body["components"]["caught_up"]["last_record_at"].is_string(), "{body}");
}

#[test]
fn a_missing_topic_of_commands_is_made_to_be_kept() {
    let topic = Topic::create("kept", 1);
    Home::new(&topic).serve().wait_for_readiness(200);
    let commands = Topic::at(&kafka(), format!("{}-commands", topic.name));
    for (setting, value) in
        [("retention.ms", "-1"), ("retention.bytes", "-1"), ("cleanup.policy", "delete")]
    {
        assert_eq!(commands.setting(setting), value, "{setting}");
    }
}

#[test]
fn a_lost_topic_of_commands_is_not_made_again() {
    let (topic, home, service) = two_persons("lost");
    let delete = |id: &str| {
        let found = service.persons(&format!("?distinct_id={id}"));
        let uuid = found["results"][0]["uuid"].as_str().unwrap();
        service.send("DELETE", &format!("/api/projects/1/persons/{uuid}"), None)
    };
    assert_eq!(delete("ann").0, 202);
    wait_for(|| match service.persons("")["count"].as_u64() {
        Some(1) => Ok(()),
        other => Err(other),
    });
    let commands = Topic::at(&kafka(), format!("{}-commands", topic.name));
    commands.delete();
    let told = service.wait_for_reason("kafka", "no longer exists");
    assert!(told.contains("deletions"), "{told}");
    let (status, refused) = delete("bob");
    assert_eq!((status, &refused["code"]), (503, &json!("unavailable")), "{refused}");
    service.terminate();
    let service = home.serve();
    let told = service.wait_for_reason("ingestion", "is not created again");
    assert!(told.contains("only in this store"), "{told}");
    assert_eq!(service.metric("personview_ingest_topics_not_read").to_string(), "0");
    assert_eq!(service.persons("")["count"], 1);
}

/// Returns a topic of two persons, and a service that has both.
fn two_persons(about: &str) -> (Topic, Home, Service) {
    let topic = Topic::create(about, 1);
    topic.events(0, [&set("ann", &json!({"a": 1})), &set("bob", &json!({"a": 1}))]);
    let home = Home::new(&topic);
    let service = home.serve();
    service.persons(&topic.position(0, 1));
    (topic, home, service)
}

#[test]
fn a_topic_that_was_made_anew_stops_ingestion_and_not_the_reads() {
    let (topic, home, service) = two_persons("anew");
    service.terminate();
    topic.delete();
    // Kafka deletes in the background, and the name is free only after that.
    wait_for(|| topic.try_make(1));
    topic.events(
        0,
        [
            &set("eve", &json!({"a": 1})),
            &set("eve", &json!({"a": 2})),
            &set("eve", &json!({"a": 3})),
        ],
    );
    let service = home.serve();
    let told = service.wait_for_reason("ingestion", "re-created");
    service.wait_for_readiness(503);
    assert!(told.contains("empty folder"), "says what to do: {told}");
    assert_eq!(service.metric("personview_ingest_running").to_string(), "0");
    assert_eq!(service.persons("")["count"], 2);
    assert_eq!(service.persons("?distinct_id=eve")["count"], 0);
}

#[test]
fn a_topic_that_comes_back_with_fewer_partitions_stops_ingestion() {
    let topic = Topic::create("fewer", 2);
    topic.events(1, [&set("ann", &json!({"a": 1}))]);
    let home = Home::new(&topic);
    let service = home.serve();
    service.persons(&topic.position(1, 0));
    service.terminate();
    topic.delete();
    wait_for(|| topic.try_make(1));
    topic.events(0, [&set("eve", &json!({"a": 1}))]);
    let service = home.serve();
    service.wait_for_reason("ingestion", "re-created");
    assert_eq!(service.persons("")["count"], 1);
}

#[test]
fn a_topic_that_is_made_anew_under_a_server_at_work_stops_ingestion_as_well() {
    let (topic, _home, service) = two_persons("anew-at-work");
    topic.delete();
    service.wait_for_reason("kafka", "no longer exists");
    wait_for(|| topic.try_make(1));
    let more = ["eve", "joe", "kim", "lea"].map(|id| set(id, &json!({"a": 1})));
    topic.events(0, more.iter());
    service.wait_for_reason("ingestion", "re-created");
    assert_eq!(service.persons("")["count"], 2);
}

#[test]
fn a_topic_that_is_made_anew_and_overtakes_the_position_stops_ingestion_too() {
    let (topic, home, service) = two_persons("overtakes");
    topic.delete();
    wait_for(|| topic.try_make(1));
    let many: Vec<_> = (0..200).map(|id| set(&format!("new{id}"), &json!({"a": 1}))).collect();
    topic.events(0, many.iter());
    service.wait_for_reason("ingestion", "re-created");
    service.terminate();
    let service = home.serve();
    service.wait_for_reason("ingestion", "re-created");
}

#[test]
fn expired_records_are_never_skipped_silently() {
    let topic = Topic::create("gap", 1);
    let home = Home::new(&topic);
    topic.events(0, [&set("ann", &json!({"a": 1}))]);
    let service = home.serve();
    service.persons(&topic.position(0, 0));
    service.terminate();
    topic.events(0, ["bob", "eve", "joe"].map(|id| set(id, &json!({"a": 1}))).iter());
    topic.expire(0, 3);
    let service = home.serve();
    let told = service.wait_for_reason("ingestion", "expired");
    assert!(told.contains("from offset 1 to 2") && told.contains("--accept-gap"), "{told}");
    assert_eq!(service.persons("")["count"], 1);
    service.kill();
    let service = home.serve_with(&["--accept-gap"]);
    let path = format!("{}&distinct_id=joe", topic.position(0, 3));
    assert_eq!(service.persons(&path)["count"], 1);
    assert_eq!(service.persons("")["count"], 2);
}

#[test]
fn a_gap_is_accepted_once_also_where_nothing_came_after_it() {
    let topic = Topic::create("once", 1);
    let home = Home::new(&topic);
    topic.events(0, [&set("ann", &json!({"a": 1}))]);
    let service = home.serve();
    service.persons(&topic.position(0, 0));
    service.kill();
    topic.events(0, [&set("bob", &json!({"a": 1}))]);
    topic.expire(0, 2);
    let service = home.serve_with(&["--accept-gap"]);
    service.wait_for_readiness(200);
    let ann =
        service.persons("?distinct_id=ann")["results"][0]["uuid"].as_str().unwrap().to_owned();
    let delete = || service.send("DELETE", &format!("/api/projects/1/persons/{ann}"), None).0;
    assert_eq!(delete(), 202);
    let is_gone = |service: &Service| {
        wait_for(|| match service.get(&format!("/api/projects/1/persons/{ann}")) {
            (404, _) => Ok(()),
            other => Err(other),
        });
    };
    // The author had seen the records that were given up.
    is_gone(&service);
    service.kill();
    home.serve().wait_for_readiness(200);
    // The same goes for a store that begins after everything has expired.
    let anew = Home::new(&topic);
    let service = anew.serve();
    service.wait_for_readiness(200);
    let of = format!("{{result=\"refused\",topic=\"{}-commands\"}}", topic.name);
    let refused = service.metric(&format!("personview_ingest_records_total{of}"));
    assert_eq!(refused.to_string(), "1", "there was nobody to delete");
}

#[test]
fn records_that_would_break_the_program_do_not() {
    let topic = Topic::create("hostile", 1);
    for offset in ["-1e300", "1e300", "-9223372036854775808"] {
        let event = format!(r#"{{"token":"t","event":"x","distinct_id":"ann","offset":{offset}}}"#);
        topic.send(0, Some(event.as_bytes()), &[]);
    }
    topic.flush();
    // A header whose name is not UTF-8: kcat can send it, the Rust client cannot.
    let mut kcat = std::process::Command::new("kcat");
    let name = std::os::unix::ffi::OsStrExt::from_bytes(b"k\xff=v");
    kcat.args(["-P", "-b", &kafka(), "-t", &topic.name, "-H"]).arg::<&std::ffi::OsStr>(name);
    let mut kcat = kcat.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let event = set("bob", &json!({"a": 1})).to_string();
    std::io::Write::write_all(&mut kcat.stdin.take().unwrap(), event.as_bytes()).unwrap();
    assert!(kcat.wait().unwrap().success());
    // A chain of merges, each into the next, read by what was known.
    let merge = |number: usize| {
        json!({"token": "t", "event": "$merge_dangerously", "distinct_id": format!("c{}", number + 1),
            "properties": {"alias": format!("c{number}"), "$set": {"n": number}}})
    };
    let persons: Vec<_> =
        (0..=1600).map(|number| set(&format!("c{number}"), &json!({"p": 1}))).collect();
    topic.events(0, persons.iter());
    topic.events(0, (0..1600).map(merge).collect::<Vec<_>>().iter());
    let service = Home::new(&topic).serve();
    let last = topic.position(0, 3204);
    wait_for(|| {
        let (status, body) = service.get(&format!("/api/projects/1/persons{last}"));
        if status == 200 { Ok(()) } else { Err(body) }
    });
    assert_eq!(service.persons(&last)["count"], 3);
    let path = "/properties_at_time?distinct_id=c0&timestamp=2099-01-01&known_at=2099-01-01";
    assert_eq!(service.persons(path)["distinct_ids"].as_array().unwrap().len(), 1601);
}

#[test]
fn a_person_changes_over_time() {
    let topic = Topic::create("time", 1);
    let event = |time: &str, name: &str, id: &str, properties: Json| json!({"token": "t", "event": name, "distinct_id": id, "timestamp": time, "properties": properties});
    topic.events(
        0,
        [
            &event("2026-01-10T09:00:00Z", "visit", "anon", json!({"utm_source": "ad"})),
            &event(
                "2026-02-01T09:00:00Z",
                "$identify",
                "ann",
                json!({"$anon_distinct_id": "anon", "$set": {"plan": "free"}}),
            ),
            &event("2026-03-20T09:00:00Z", "upgrade", "ann", json!({"$set": {"plan": "pro"}})),
            &event("2026-03-01T09:00:00Z", "import", "ann", json!({"$set": {"plan": "trial"}})),
        ],
    );
    let service = Home::new(&topic).serve();
    let at = |time: &str| {
        let position = topic.position(0, 3);
        let path = format!("/properties_at_time{position}&distinct_id=ann&timestamp={time}");
        service.persons(&path)["properties"]["plan"].clone()
    };
    assert_eq!(at("2026-01-15"), Json::Null);
    assert_eq!(at("2026-02-15"), "free");
    assert_eq!(at("2026-03-01T09:00:00Z"), "trial", "inclusive");
    assert_eq!(at("2026-03-15"), "trial");
    assert_eq!(at("2026-04-01"), "pro");
}

#[test]
fn it_ends_at_once_while_kafka_hangs() {
    let (broker, address) = Broker::start();
    let topic = Topic::create_at(&address, "hangs", 1);
    topic.events(0, [&json!({"token": "t", "event": "visit", "distinct_id": "ann"})]);
    let mut service = Home::new(&topic).serve();
    service.persons(&format!("{}&distinct_id=ann", topic.position(0, 0)));
    broker.tell("pause");
    service.wait_for_log("Kafka is unavailable; retrying");
    service.signal(Signal::SIGTERM);
    wait_for(|| service.ended().ok_or("still running"));
    let logged: Vec<_> = service.log.try_iter().collect();
    assert!(logged.iter().any(|line| line.contains("\"done\"")), "{logged:?}");
    assert!(!logged.iter().any(|line| line.contains("does not end")), "{logged:?}");
}
