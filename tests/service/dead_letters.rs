//! Records that cannot be used: each becomes a dead letter with its reason, however large it is, and does not
//! hold up the others.

use std::collections::{BTreeMap, BTreeSet};

use personview::person::Rejection;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value as Json, json};
use strum::VariantNames;

use crate::harness::{Home, PATIENCE, Service, Topic, kafka, producer, wait_for};

fn set(id: &str, values: &Json) -> Json {
    json!({"token": "t", "event": "$set", "distinct_id": id, "properties": {"$set": values}})
}

/// Key, value and headers of a dead letter.
struct Letter {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: BTreeMap<String, String>,
}

impl Letter {
    #[track_caller]
    fn says(&self, name: &str, value: &str) {
        assert_eq!(self.headers.get(name).map(String::as_str), Some(value), "{name}");
    }
}

/// Reads the first dead letters of a topic.
fn dead_letters(topic: &Topic, count: usize) -> Vec<Letter> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka()).set("group.id", "reader");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut all = TopicPartitionList::new();
    all.add_partition_offset(&topic.letters().name, 0, Offset::Beginning).unwrap();
    consumer.assign(&all).unwrap();
    let letters = std::iter::from_fn(|| {
        let message = consumer.poll(PATIENCE)?.unwrap();
        let headers = message.headers().unwrap().iter().map(|header| {
            let value = String::from_utf8(header.value.unwrap().to_vec()).unwrap();
            (header.key.to_owned(), value)
        });
        Some(Letter {
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.collect(),
        })
    });
    letters.take(count).collect()
}

/// Returns a record for each way in which one cannot be used, and the reason.
fn bad() -> Vec<(Vec<u8>, &'static str)> {
    let wrapped = |data: Json| {
        let uuid = uuid::Uuid::from_u128(1);
        json!({"token": "t", "uuid": uuid, "distinct_id": "a", "data": data}).to_string()
    };
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(129), "]".repeat(129));
    let large = set("ann", &json!({"large": "x".repeat(2_000)})).to_string();
    let anonymous = json!({"event": "$identify", "properties": {"$anon_distinct_id": []}});
    let alias = json!({"event": "$create_alias", "properties": {"alias": {}}});
    let bad = [
        (String::new(), "empty_value"),
        ("{".to_owned(), "not_json"),
        ("[]".to_owned(), "wrong_type"),
        (wrapped(json!("[]")), "wrong_type"),
        (wrapped(json!({"properties": 1})), "wrong_type"),
        (wrapped(json!({"$set": []})), "wrong_type"),
        (wrapped(json!("{")), "data_not_json"),
        (r#"{"token":"t","data":{},"uuid":"x","distinct_id":"a"}"#.to_owned(), "invalid_uuid"),
        (r#"{"token":"t","data":{},"distinct_id":"a"}"#.to_owned(), "missing_uuid"),
        (r#"{"token":"t","event":"x"}"#.to_owned(), "missing_distinct_id"),
        (deep, "too_deep"),
        (wrapped(anonymous), "invalid_anon_distinct_id"),
        (wrapped(alias), "invalid_alias"),
        (large, "person_properties_size"),
    ];
    let not_text = (b"\xff\xfe".to_vec(), "not_json");
    bad.map(|(value, reason)| (value.into_bytes(), reason)).into_iter().chain([not_text]).collect()
}

#[test]
fn an_unusable_record_becomes_a_dead_letter_and_does_not_hold_up_the_rest() {
    let topic = Topic::create("dead", 1);
    let bad = bad();
    // A good record before and after each bad one.
    let good = |number: usize| {
        let event = set(&format!("good-{number}"), &json!({"a": 1}));
        topic.send(0, Some(event.to_string().as_bytes()), &[]);
    };
    good(0);
    for (number, (value, _)) in bad.iter().enumerate() {
        topic.send(0, Some(value), &[("mine", "kept")]);
        good(number + 1);
    }
    topic.send(0, None, &[]);
    let unknown = json!({"token": "other", "event": "x", "distinct_id": "a"});
    topic.events(0, [&unknown, &set("ann", &json!({"a": 1}))]);
    let commands = topic.commands();
    let service = Home::with(&topic, "[ingest]\nperson_properties_limit = \"1KiB\"").serve();
    let sent = 2 * bad.len() + 4;
    let last = format!("{}&count=true", topic.position(0, sent - 1));
    assert_eq!(service.persons(&last)["count"], bad.len() + 2);

    let letters = dead_letters(&topic, bad.len() + 1);
    for (number, (letter, (value, reason))) in letters.iter().zip(&bad).enumerate() {
        assert_eq!(letter.value.as_ref(), Some(value));
        let offset = (2 * number + 1).to_string();
        letter.says("mine", "kept");
        letter.says("dlq_reason", reason);
        letter.says("dlq_topic", &topic.name);
        letter.says("dlq_partition", "0");
        letter.says("dlq_offset", &offset);
        assert!(letter.headers["dlq_timestamp"].parse::<u64>().unwrap() > 1_700_000_000_000);
    }
    assert_eq!(letters[bad.len()].value, None, "a tombstone has no value");
    let count = |result: &str| {
        let labels = format!("{{result=\"{result}\",topic=\"{}\"}}", topic.name);
        service.metric(&format!("personview_ingest_records_total{labels}")).to_string()
    };
    assert_eq!(count("dead_letter"), (bad.len() + 1).to_string());
    assert_eq!(count("recorded"), (bad.len() + 2).to_string());
    assert_eq!(count("unknown_token"), "1");

    // Commands have a topic of their own, where a bad one does not hold up the others either.
    commands.send(0, Some(b"{}"), &[]);
    commands.flush();
    let ann = service.persons("?distinct_id=ann")["results"][0]["id"].clone();
    let body = json!({"properties": {"a": 2}});
    let answer = service.send("PATCH", &format!("/api/projects/1/persons/{ann}"), Some(&body));
    assert_eq!((answer.0, &answer.1["properties"]["a"]), (200, &json!(2)), "{}", answer.1);
    let letter = dead_letters(&topic, bad.len() + 2).pop().unwrap();
    letter.says("dlq_reason", "invalid_command");
    letter.says("dlq_topic", &commands.name);

    // Every reason occurred.
    let met = bad.iter().map(|(_, reason)| *reason).chain(["unknown_token", "invalid_command"]);
    assert_eq!(met.collect::<BTreeSet<_>>(), Rejection::VARIANTS.iter().copied().collect());
    for reason in Rejection::VARIANTS.iter().filter(|reason| **reason != "unknown_token") {
        let series = format!("personview_ingest_dead_letters_total{{reason=\"{reason}\"}}");
        assert!(service.metric(&series) > 0.0, "{reason}");
    }
}

/// A mebibyte.
const MB: usize = 1 << 20;

/// Sends records that are larger than clients send by default.
fn send_large<'r>(
    topic: &Topic,
    codec: &str,
    records: impl IntoIterator<Item = &'r (Vec<u8>, Vec<u8>)>,
) {
    let most = (100 * MB).to_string();
    let producer = producer(&[("message.max.bytes", &most), ("compression.type", codec)]);
    for (key, value) in records {
        let record = BaseRecord::to(&topic.name).partition(0).key(key).payload(value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(PATIENCE).unwrap();
    }
}

fn is_there(service: &Service, id: &str) -> bool {
    service.persons(&format!("?distinct_id={id}"))["count"] == 1
}

#[test]
fn records_as_large_as_kafka_takes_them_are_used_or_dead_letters() {
    let topic = Topic::named("large");
    topic.make_with(1, "max.message.bytes", &(8 * MB).to_string());
    // Leaves room for what surrounds a value and counts towards the limit.
    let largest = 8 * MB - 1_024;
    let event = |id: &str, bytes: usize| {
        let pad = "x".repeat(bytes - 100);
        let properties = json!({"pad": pad, "$set": {"plan": "pro"}});
        json!({"token": "t", "event": "x", "distinct_id": id, "properties": properties})
    };
    let of = |value: String| (b"key".to_vec(), value.into_bytes());
    let garbage = "x".repeat(largest);
    let mut records = vec![
        of(set("before", &json!({})).to_string()),
        of(event("wide", largest - 100).to_string()),
        of(set("rich", &json!({"pad": "x".repeat(largest - 200)})).to_string()),
        of(garbage),
        ("k".repeat(2 * MB).into_bytes(), b"{".to_vec()),
        of(set("after", &json!({})).to_string()),
    ];
    send_large(&topic, "none", &records);
    // Small when it is sent, and large when it is read.
    records =
        vec![of(event("folded", 40 * MB).to_string()), of(set("last", &json!({})).to_string())];
    send_large(&topic, "zstd", &records);
    drop(records);

    let service = Home::new(&topic).serve();
    service.wait_for_readiness(200);
    service.persons(&topic.position(0, 7));
    for id in ["before", "wide", "after", "folded", "last"] {
        assert!(is_there(&service, id), "{id}");
    }
    assert!(is_there(&service, "rich"), "who has it is a person, without what is too much");
    let letters = dead_letters(&topic, 3);
    for (letter, (reason, offset)) in
        letters.iter().zip([("person_properties_size", "2"), ("not_json", "3"), ("not_json", "4")])
    {
        letter.says("dlq_reason", reason);
        letter.says("dlq_offset", offset);
        letter.says("dlq_truncated", "true");
        assert_eq!(letter.value, None);
    }
    assert_eq!(letters[0].key.as_deref(), Some(&b"key"[..]));
    assert_eq!(letters[2].key, None, "it does not fit either");
}

#[test]
fn a_dead_letter_that_does_not_fit_at_all_is_waited_for_and_told() {
    let topic = Topic::create("unfit", 1);
    let letters = topic.letters();
    letters.make_with(1, "max.message.bytes", "100");
    topic.events(0, [&set("ann", &json!({}))]);
    let home = Home::new(&topic);
    let service = home.serve();
    service.persons(&topic.position(0, 0));
    topic.send(0, Some(b"{"), &[]);
    topic.events(0, [&set("bob", &json!({}))]);
    let told = service.wait_for_reason("kafka", "dead letters cannot be written");
    assert!(told.contains(&letters.name), "{told}");
    assert!(is_there(&service, "ann"), "reads go on");
    assert!(!is_there(&service, "bob"), "nothing is passed over");
    // Once the operator allows more, ingestion goes on by itself.
    letters.alter("max.message.bytes", "1000000");
    wait_for(|| if is_there(&service, "bob") { Ok(()) } else { Err("still waiting") });
    let letter = dead_letters(&topic, 1).remove(0);
    letter.says("dlq_offset", "1");
    assert_eq!(letter.value.as_deref(), Some(&b"{"[..]), "all of it, as there is room now");
}

#[test]
fn dead_letters_that_fit_one_by_one_are_whole() {
    let topic = Topic::create("together", 1);
    topic.letters().make_with(1, "max.message.bytes", "5000");
    // librdkafka sends them together, and Kafka refuses all of them as too large.
    let values: Vec<_> = (0..50).map(|number| format!("{number}{}", "x".repeat(1_000))).collect();
    for value in &values {
        topic.send(0, Some(value.as_bytes()), &[]);
    }
    topic.flush();
    let _service = Home::new(&topic).serve();
    let found = dead_letters(&topic, values.len());
    let found: BTreeSet<_> = found.into_iter().map(|letter| letter.value.unwrap()).collect();
    assert_eq!(found, values.into_iter().map(String::into_bytes).collect());
}
