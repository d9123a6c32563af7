//! Ingestion: loading a topic, the bare loop that is its ceiling, and the program reading it.

use std::borrow::Cow;
use std::path::Path;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::harness::{Home, PATIENCE, Service, wait_for};
use crate::stream::Sent;

pub const PARTITIONS: i32 = 4;

/// Sends records to a topic.
pub struct Loader {
    producer: BaseProducer,
    topic: String,
    /// Bytes of keys and values that were sent.
    pub bytes: u64,
    /// Records that were sent.
    pub records: u64,
}

impl Loader {
    pub fn new(kafka: &str, topic: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", kafka).set("compression.type", "lz4");
        // The same as in PostHog's capture.
        config.set("linger.ms", "20").set("queue.buffering.max.kbytes", "262144");
        let producer = config.create().expect("a producer");
        Self { producer, topic: topic.to_owned(), bytes: 0, records: 0 }
    }

    pub fn send(&mut self, sent: &Sent) {
        loop {
            let record = BaseRecord::to(&self.topic).key(&sent.key).payload(&sent.value);
            match self.producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    self.producer.poll(Duration::from_millis(50));
                }
                Err((error, _)) => panic!("{error}"),
            }
        }
        self.producer.poll(Duration::ZERO);
        self.bytes += (sent.key.len() + sent.value.len()) as u64;
        self.records += 1;
    }

    pub fn flush(&self) {
        self.producer.flush(PATIENCE).expect("Kafka takes what was sent");
    }
}

#[derive(Deserialize)]
struct Wrapper<'r> {
    #[serde(borrow)]
    token: Cow<'r, str>,
    #[serde(borrow)]
    distinct_id: Cow<'r, str>,
    #[serde(borrow)]
    timestamp: Cow<'r, str>,
    #[serde(borrow)]
    data: Cow<'r, str>,
}

#[derive(Deserialize)]
struct Event<'r> {
    #[serde(borrow)]
    event: Cow<'r, str>,
    #[serde(borrow)]
    properties: Properties<'r>,
}

/// What matters for a person in an event: operations, and some of the promoted keys.
#[derive(Deserialize)]
struct Properties<'r> {
    #[serde(borrow, rename = "$set")]
    set: Option<&'r RawValue>,
    #[serde(borrow, rename = "$set_once")]
    set_once: Option<&'r RawValue>,
    #[serde(borrow, rename = "$unset")]
    unset: Option<&'r RawValue>,
    #[serde(borrow, rename = "$browser")]
    browser: Option<&'r RawValue>,
    #[serde(borrow, rename = "$os")]
    os: Option<&'r RawValue>,
    #[serde(borrow, rename = "$current_url")]
    current_url: Option<&'r RawValue>,
    #[serde(borrow, rename = "$referrer")]
    referrer: Option<&'r RawValue>,
    #[serde(borrow, rename = "$geoip_city_name")]
    city: Option<&'r RawValue>,
}

/// Returns the records per second of a loop that consumes a whole topic, parses what the program needs and
/// discards it. One thread per partition.
pub fn ceiling(kafka: &str, topic: &str) -> f64 {
    let began = Instant::now();
    let loops = (0..PARTITIONS).map(|partition| {
        let (kafka, topic) = (kafka.to_owned(), topic.to_owned());
        std::thread::spawn(move || consume(&kafka, &topic, partition))
    });
    let loops: Vec<_> = loops.collect();
    let records: u64 = loops.into_iter().map(|it| it.join().expect("no panic")).sum();
    records as f64 / began.elapsed().as_secs_f64()
}

fn consume(kafka: &str, topic: &str, partition: i32) -> u64 {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", kafka)
        .set("group.id", "ceiling")
        .set("enable.auto.commit", "false");
    config.set("queued.max.messages.kbytes", "16384").set("fetch.queue.backoff.ms", "10");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let (low, high) = consumer.fetch_watermarks(topic, partition, PATIENCE).expect("watermarks");
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
    consumer.assign(&from).expect("an assignment");
    let (mut records, mut next) = (0, low);
    while next < high {
        let message = consumer.poll(PATIENCE).expect("a record in time").expect("a record");
        records += u64::from(parse(message.payload().expect("a value")));
        next = message.offset() + 1;
    }
    records
}

/// Parses what the program needs; returns whether the record has a token and a timestamp.
fn parse(value: &[u8]) -> bool {
    let wrapper: Wrapper<'_> = serde_json::from_slice(value).expect("a wrapper");
    let event: Event<'_> = serde_json::from_str(&wrapper.data).expect("an event");
    let said = &event.properties;
    let raw = [said.set, said.set_once, said.unset, said.browser, said.os];
    let raw = raw.into_iter().chain([said.current_url, said.referrer, said.city]);
    std::hint::black_box(raw.flatten().map(|value| value.get().len()).sum::<usize>());
    std::hint::black_box((&event.event, &wrapper.distinct_id));
    !wrapper.token.is_empty() && !wrapper.timestamp.is_empty()
}

/// Starts the program with this much memory.
pub fn serve(home: &Home, memory: &str) -> Service {
    home.serve_in(&[("PERSONVIEW_STORE__MEMORY", memory), ("RUST_LOG", "warn,personview=info")])
}

/// Waits until all records in Kafka are readable.
pub fn caught_up(service: &Service) {
    let patience = Instant::now() + Duration::from_secs(3_600);
    loop {
        let (status, body) = service.get("/_readiness");
        if status == 200 && body["components"]["caught_up"]["lag_records"] == 0 {
            return;
        }
        assert!(Instant::now() < patience, "not caught up in an hour: {body}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Reads a whole topic into an empty store. Returns the program, and the seconds since its start.
pub fn catch_up(home: &Home, memory: &str) -> (Service, f64) {
    let began = Instant::now();
    let service = serve(home, memory);
    caught_up(&service);
    (service, began.elapsed().as_secs_f64())
}

/// Waits until a path has the same results as before.
pub fn answers(service: &Service, path: &str, before: &serde_json::Value) {
    wait_for(|| match service.get(path) {
        (200, body) if body["results"] == before["results"] => Ok(()),
        other => Err(other),
    });
}

/// Returns the total size of a folder's files, in bytes.
pub fn bytes(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).expect("the store's folder");
    files.filter_map(|file| file.ok()?.metadata().ok()).map(|file| file.len()).sum()
}

/// Returns the freshness histogram: for each upper bound in seconds, how many records are within it.
pub fn freshness(service: &Service) -> Vec<(f64, f64)> {
    let (_, text) = service.get("/metrics");
    let text = text.as_str().expect("text").to_owned();
    let buckets = text.lines().filter_map(|line| {
        let line = line.strip_prefix("personview_ingest_freshness_seconds_bucket{le=\"")?;
        let (bound, count) = line.split_once("\"} ")?;
        Some((bound.replace("+Inf", "inf").parse().ok()?, count.parse().ok()?))
    });
    buckets.collect()
}

/// Returns the bound within which this share of the records between two readings became readable.
pub fn bound(before: &[(f64, f64)], after: &[(f64, f64)], share: f64) -> f64 {
    let new: Vec<_> = before.iter().zip(after).map(|(old, new)| (new.0, new.1 - old.1)).collect();
    let all = new.last().map_or(0.0, |last| last.1);
    new.iter().find(|(_, count)| *count >= all * share).map_or(f64::NAN, |(bound, _)| *bound)
}
