//! Reads topics of a broker inside this process.

use super::*;
use crate::ingest::embedded::Broker;
use crate::ingest::kafka::tests::connection;
use crate::ingest::produce::Producer;
use crate::ingest::{Partitions, SharedRules, apply};
use crate::person::command::{Act, Command, Seen};
use crate::person::record::FIRST_COMMAND_TOPIC;
use crate::person::{Record, Rules};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Returns a source of the topics "events" and "commands", and the runtime that it needs.
fn source(
    broker: &Broker,
    applied: BTreeMap<(String, u32), Applied>,
    accept_gap: bool,
) -> Result<(Source, tokio::runtime::Runtime), Error> {
    let settings = Settings {
        kafka: connection(broker.bootstrap_servers()),
        topics: vec!["events".to_owned()],
        command_topic: "commands".to_owned(),
        dead_letter_topic: "letters".to_owned(),
        rules: SharedRules::new(Rules { promote: true, projects: [].into() }),
        apply: apply::Settings { record_volatile: false, properties_limit: 1 << 20 },
        batch_records: 100,
        queue_bytes: 1 << 20,
        ready_lag: 0,
        partitions: Partitions::All,
        accept_gap,
        refuse_compacted: false,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let numbers = [("events".into(), 0), ("commands".into(), FIRST_COMMAND_TOPIC)].into();
    let (progress, metrics) = (Arc::default(), Arc::default());
    let source = Source::connect(
        Arc::new(settings),
        2,
        runtime.handle().clone(),
        progress,
        metrics,
        numbers,
        applied,
    )?;
    Ok((source, runtime))
}

/// Returns what is read until there are so many records.
fn read(broker: &Broker, count: usize) -> Result<Vec<Record>, Error> {
    let (mut source, _runtime) = source(broker, BTreeMap::new(), false)?;
    Ok(fill(&mut source, count)?.records)
}

/// Returns a batch of at least so many records.
fn fill(source: &mut Source, count: usize) -> Result<Batch, Error> {
    let (mut batch, began) = (Batch::default(), Instant::now());
    while batch.records.len() < count && began.elapsed() < PATIENCE {
        source.fill(&mut batch)?;
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(batch)
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
            known: Time::after_epoch(clock::now()),
            seen: vec![Seen { topic: "events".to_owned(), partition: 0, next_offset }],
            other_uuids: Vec::new(),
            act: Act::Delete(uuid::Uuid::nil()),
        };
        command.to_json()
    };
    let producer = Producer::connect(&connection(broker.bootstrap_servers())).unwrap();
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

/// Sends more to a partition of events than the 5 MiB that this broker keeps of it.
fn expire(producer: &Producer, partition: u32) {
    let bytes = |number: u64| xxhash_rust::xxh3::xxh3_64(&number.to_le_bytes()).to_le_bytes();
    let incompressible: Vec<u8> = (0..112_500).flat_map(bytes).collect();
    for _ in 0..10 {
        let record = (None, Some(incompressible.as_slice()));
        producer.send_record(("events", Some(partition)), record, None).unwrap();
    }
}

#[test]
fn what_expired_before_a_partition_was_first_read_is_told_from_what_expired_unread() {
    let broker = Broker::start(&[("events", 2), ("commands", 1)]).unwrap();
    let producer = Producer::connect(&connection(broker.bootstrap_servers())).unwrap();
    expire(&producer, 0);
    producer.finish(PATIENCE).unwrap();
    let gaps = |applied: &[(u32, u64)], accept_gap| {
        let applied = applied.iter().map(|&(number, next_offset)| {
            let last_offset = next_offset - 1;
            (
                ("events".to_owned(), number),
                Applied { next_offset, last_offset, ..Applied::default() },
            )
        });
        let (mut source, _runtime) = source(&broker, applied.collect(), accept_gap)?;
        let batch = fill(&mut source, 1)?;
        let first = batch.records[0].position.offset;
        let gaps = batch.gaps.into_iter().map(|gap| (gap.partition.1, gap.applied.next_offset));
        Ok::<_, Error>((first, gaps.collect::<Vec<_>>()))
    };
    let (first, begun) = gaps(&[], false).unwrap();
    assert!(first > 0);
    assert_eq!(begun, [(0, first)], "a new store notes where it begins");
    let (again, begun) = gaps(&[(0, first)], false).unwrap();
    assert_eq!((again, begun), (first, vec![]), "and has missed nothing since");
}

#[test]
fn a_partition_whose_records_expired_while_others_were_read_is_a_gap() {
    let broker = Broker::start(&[("events", 2), ("commands", 1)]).unwrap();
    let producer = Producer::connect(&connection(broker.bootstrap_servers())).unwrap();
    expire(&producer, 1);
    producer.finish(PATIENCE).unwrap();
    let applied: BTreeMap<_, _> = [(("events".to_owned(), 0), Applied::default())].into();
    let (mut refusing, _runtime) = source(&broker, applied.clone(), false).unwrap();
    let told = fill(&mut refusing, 1).unwrap_err().to_string();
    assert!(told.contains("events:1: the records from offset 0 to"), "{told}");
    let (mut accepting, _runtime) = source(&broker, applied, true).unwrap();
    accepting.discover().unwrap();
    assert_eq!(accepting.gaps.len(), 1);
}

#[test]
fn a_topic_that_was_read_before_is_not_waited_for_as_if_it_were_new() {
    let broker = Broker::start(&[("events", 1), ("commands", 1)]).unwrap();
    let (source, _runtime) = source(&broker, BTreeMap::new(), false).unwrap();
    let why = |name: &str, number| source.why_missing(&Topic { name: name.into(), number });
    assert!(why("events", 0).contains("does not exist yet"));
    source.progress.update(|status| {
        let read = ["events", "commands"].map(|name| ((name.to_owned(), 0), 1));
        status.positions = read.into();
    });
    let (events, commands) = (why("events", 0), why("commands", FIRST_COMMAND_TOPIC));
    assert!(events.contains("no longer exists") && events.contains("new store"), "{events}");
    assert!(
        commands.contains("no longer exists") && commands.contains("deleted persons"),
        "{commands}"
    );
}
