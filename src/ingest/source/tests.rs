//! Reads topics of a broker inside this process.

use super::*;
use crate::ingest::embedded::Broker;
use crate::ingest::produce::Producer;
use crate::ingest::{Connection, Partitions, SharedRules, apply};
use crate::person::command::{Act, Command, Seen};
use crate::person::record::FIRST_COMMAND_TOPIC;
use crate::person::{Record, Rules};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

fn connection(broker: &Broker) -> Connection {
    let (bootstrap_servers, group) = (broker.bootstrap_servers(), "g".to_owned());
    Connection { bootstrap_servers, group, client: [].into() }
}

/// Returns what is read of the topics "events" and "commands" until there are so many records.
fn read(broker: &Broker, count: usize) -> Result<Vec<Record>, Error> {
    let settings = Settings {
        kafka: connection(broker),
        topics: vec!["events".to_owned()],
        command_topic: "commands".to_owned(),
        dead_letter_topic: "letters".to_owned(),
        rules: SharedRules::new(Rules { promote: true, projects: [].into() }),
        apply: apply::Settings { record_volatile: false, properties_limit: 1 << 20 },
        batch_records: 100,
        queue_bytes: 1 << 20,
        ready_lag: 0,
        partitions: Partitions::All,
        accept_gap: false,
        refuse_compacted: false,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let numbers = [("events".into(), 0), ("commands".into(), FIRST_COMMAND_TOPIC)].into();
    let (progress, metrics, applied) = (Arc::default(), Arc::default(), BTreeMap::new());
    let mut source = Source::connect(
        Arc::new(settings),
        2,
        runtime.handle().clone(),
        progress,
        metrics,
        numbers,
        applied,
    )?;
    let (mut batch, began) = (Batch::default(), Instant::now());
    while batch.records.len() < count && began.elapsed() < PATIENCE {
        source.fill(&mut batch)?;
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(batch.records)
}

#[test]
fn a_command_does_not_wait_for_what_the_log_does_not_have() {
    let broker = Broker::start(&[("events", 1), ("commands", 1)]).unwrap();
    let command = |next_offset| {
        let command = Command {
            uuid: uuid::Uuid::nil(),
            project: 1,
            idempotency_key: "k".to_owned(),
            author: "a".to_owned(),
            known: now(),
            seen: vec![Seen { topic: "events".to_owned(), partition: 0, next_offset }],
            other_uuids: Vec::new(),
            act: Act::Delete(uuid::Uuid::nil()),
        };
        command.to_json()
    };
    let producer = Producer::connect(&connection(&broker)).unwrap();
    for seen in [1_000, 2_000, 1] {
        producer.send("commands", "k", &command(seen)).unwrap();
    }
    producer.send("events", "k", "{}").unwrap();
    producer.finish(PATIENCE).unwrap();
    let read = read(&broker, 4).unwrap();
    let at = |topic: &str, offset| {
        let is_it = |record: &Record| *record.topic == *topic && record.position.offset == offset;
        read.iter().position(is_it).unwrap()
    };
    assert!(at("events", 0) < at("commands", 2), "that one waits as ever");
}

#[test]
fn a_topic_of_commands_with_several_partitions_is_refused() {
    let broker = Broker::start(&[("events", 3), ("commands", 2)]).unwrap();
    let told = read(&broker, 1).unwrap_err().to_string();
    assert!(told.contains("topic commands has 2 partitions"), "{told}");
}
