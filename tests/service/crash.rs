//! kill -9 at any moment: nothing is lost, nothing is applied twice, and a store rebuilt from the log
//! answers every read the same.

use std::time::{Duration, Instant};

use personview::person::identity;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::{Value as Json, json};

use crate::harness::{Home, Service, Topic};
use crate::histories::histories;

/// Returns how often each stream is interrupted by a kill; `CRASH_KILLS` changes it.
pub fn kills() -> usize {
    let asked = std::env::var("CRASH_KILLS").ok();
    asked.map_or(8, |asked| asked.parse().expect("CRASH_KILLS is a number"))
}

/// A stream in Kafka, and what to read from its store.
pub struct Stream {
    topic: Topic,
    /// The last record of every partition, as `min_position` names it.
    ends: Vec<String>,
    ids: Vec<String>,
    /// Moments of the past.
    times: Vec<String>,
    known_at: String,
    /// How many records a batch has: few enough to be killed in many places.
    batch_records: u64,
}

/// Sends events to the partitions in turn, and commands to their topic. The author of a command had seen all
/// events before it.
fn send(partitions: usize, lines: impl IntoIterator<Item = Json>) -> (Topic, Vec<String>) {
    let topic = Topic::create("crash", i32::try_from(partitions).unwrap());
    let commands = topic.commands();
    let (mut sent, mut next, mut commanded) = (vec![0_u64; partitions], 0, 0_u64);
    for mut line in lines {
        if line["command"].is_null() {
            let partition = i32::try_from(next).unwrap();
            topic.send(partition, Some(line.to_string().as_bytes()), &[]);
            sent[next] += 1;
            next = (next + 1) % partitions;
        } else {
            let seen = sent.iter().enumerate().map(|(partition, next_offset)| {
                json!({"topic": topic.name, "partition": partition, "next_offset": next_offset})
            });
            line["seen"] = seen.collect();
            commands.send(0, Some(line.to_string().as_bytes()), &[]);
            commanded += 1;
        }
    }
    topic.flush();
    commands.flush();
    let ends = sent.iter().enumerate();
    let ends = ends.map(|(partition, sent)| format!("{}:{partition}:{}", topic.name, sent - 1));
    let end_of_commands = format!("{}:0:{}", commands.name, commanded - 1);
    let ends = ends.chain([end_of_commands]).collect();
    (topic, ends)
}

fn time(seconds: usize) -> String {
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("2026-01-01T{hours:02}:{minutes:02}:{:02}Z", seconds % 60)
}

/// Waits until every record is applied, and returns the answers to every read.
fn everything(service: &Service, stream: &Stream) -> Vec<Json> {
    service.wait_for_readiness(200);
    for end in &stream.ends {
        service.persons(&format!("?limit=1&min_position={end}"));
    }
    let paths = ["?limit=10000", "/activity?limit=1000", "/changes?limit=10000"];
    let mut answers = paths.map(|path| service.persons(path)).to_vec();
    // Links name the port, which differs between processes, and cursors name the store. The order between two
    // topics is not defined.
    for answer in &mut answers {
        answer["next"].take();
        answer["cursor"].take();
        let results = answer["results"].as_array_mut().unwrap();
        results.sort_by_cached_key(|result| result["id"].to_string());
    }
    let known_at = format!("&known_at={}", stream.known_at);
    for id in &stream.ids {
        for time in &stream.times {
            for more in ["", &known_at, "&identity=current"] {
                let at = format!("timestamp={time}&include_set_once=true{more}");
                let of = format!("distinct_id={id}&{at}&debug=true");
                let path = format!("/api/projects/1/persons/properties_at_time?{of}");
                let (status, body) = service.get(&path);
                answers.push(json!([status, body]));
            }
        }
    }
    answers
}

/// Starts the service and kills it at random moments, several times, and verifies the store each time.
/// Returns how many records each start had applied when it was killed.
pub fn killed(home: &Home, topic: &Topic, most: u64) -> Vec<f64> {
    let applied =
        format!("personview_ingest_records_total{{result=\"recorded\",topic=\"{}\"}}", topic.name);
    let mut killed_at = Vec::new();
    for _ in 0..kills() {
        let service = home.serve();
        let began = Instant::now();
        let enough = uuid::Uuid::new_v4().as_u64_pair().0 % most;
        let enough = f64::from(u32::try_from(enough).unwrap());
        while service.metric(&applied) < enough && began.elapsed() < Duration::from_secs(5) {}
        killed_at.push(service.metric(&applied));
        service.kill();
        verify(home);
    }
    killed_at
}

/// Verifies the laws of a store that is not being served.
pub fn verify(home: &Home) {
    let (code, said, errors) = home.run(&["verify"]);
    assert_eq!(code, 0, "{said}\n{errors}");
}

fn kill_9_loses_and_repeats_nothing(stream: &Stream) {
    loses_and_repeats_nothing(stream, |home| {
        let killed_at = killed(home, &stream.topic, stream.batch_records * 10);
        let at_work = killed_at.iter().any(|applied| *applied > 0.0);
        assert!(at_work, "killed while at work: {killed_at:?}");
    });
}

/// Reads a stream with a service that `interrupt` has started and killed before, and compares every answer
/// with that of a store built in one go.
pub fn loses_and_repeats_nothing(stream: &Stream, interrupt: impl FnOnce(&Home)) {
    let small_batches = format!("[ingest]\nbatch_records = {}\n", stream.batch_records);
    let home = Home::with(&stream.topic, &small_batches);
    interrupt(&home);
    let service = home.serve();
    let found = everything(&service, stream);
    let rebuilt = Home::with(&stream.topic, &small_batches).serve();
    let expected = everything(&rebuilt, stream);
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    for kind in ["merge", "split", "deletion"] {
        let series = format!("personview_ingest_operations_total{{kind=\"{kind}\"}}");
        let done = rebuilt.metric(&series);
        eprintln!("{kind}: {done}");
        assert!(done >= 4.0, "{kind}: {done}");
    }
    service.terminate();
    verify(&home);
}

/// Returns a stream in which a lost or repeated record shows: values name their event, keys are added and
/// removed, persons are merged, and some events come late.
pub fn numbered(partitions: usize) -> Stream {
    const EVENTS: usize = 30_000;
    /// The number of events between two commands.
    const COMMAND_EVERY: usize = 150;
    let lines = (0..EVENTS).flat_map(|number| {
        let commands = (number + 1).is_multiple_of(COMMAND_EVERY);
        let command =
            commands.then(|| command((number + 1) / COMMAND_EVERY, time(20_001 + number)));
        [event(number)].into_iter().chain(command)
    });
    let (topic, ends) = send(partitions, lines);
    Stream {
        topic,
        ends,
        ids: (0..PERSONS)
            .step_by(9)
            .map(|person| format!("user-{person}"))
            .chain((0..ALONE).step_by(5).map(|person| format!("alone-{person}")))
            .collect(),
        times: [6, 8, 10, 12, 14].map(|hour| time(hour * 3600 + 1800)).into(),
        known_at: time(11 * 3600),
        batch_records: 200,
    }
}

const PERSONS: usize = 500;

/// The number of persons that are never merged, so that there is always one to delete.
const ALONE: usize = 40;

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
    let id = if number % 17 == 4 {
        format!("alone-{}", number % ALONE)
    } else if number.is_multiple_of(5) && name == "visit" {
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

fn command(number: usize, now: String) -> Json {
    let id = if number % 10 == 5 {
        format!("alone-{}", number % ALONE)
    } else {
        format!("user-{}", number * 37 % PERSONS)
    };
    let mut command = match number % 5 {
        0 => json!({"command": "delete"}),
        1 => json!({"command": "reset", "distinct_id": id}),
        2 => json!({"command": "set", "properties": {"newest": format!("command {number}")}}),
        3 => json!({"command": "unset", "keys": ["key-1", "key-2"]}),
        _ => json!({"command": "split"}),
    };
    if command["command"] != "reset" {
        command["person"] = identity::person_uuid(1, &id).to_string().into();
    }
    (command["project"], command["author"]) = (1.into(), "test".into());
    let uuid = uuid::Uuid::from_u64_pair(9, number as u64).to_string();
    (command["uuid"], command["idempotency_key"]) = (uuid.clone().into(), uuid.into());
    command["now"] = now.into();
    command
}

/// Returns the random histories with which the store is compared with the naive fold, side by side in one
/// project: a line of each in turn.
pub fn random(partitions: usize) -> Stream {
    const HISTORIES: usize = 250;
    let asked = std::env::var("PROPTEST_RNG_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = asked.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    eprintln!("{HISTORIES} histories, PROPTEST_RNG_SEED={seed}");
    let config = Config { rng_seed: RngSeed::Fixed(seed), ..Config::default() };
    let mut runner = TestRunner::new(config);
    let mut history = || histories().new_tree(&mut runner).unwrap().current().0;
    let histories: Vec<_> = (0..HISTORIES).map(|_| history()).collect();
    let longest = histories.iter().map(Vec::len).max().unwrap();
    let lines = (0..longest).flat_map(|number| {
        let each = histories.iter().enumerate();
        each.filter_map(move |(of, history)| Some(random_line(of, history.get(number)?)))
    });
    let (topic, ends) = send(partitions, lines);
    Stream {
        topic,
        ends,
        ids: (0..HISTORIES).map(|of| format!("{of}{}", ["a", "b", "c"][of % 3])).collect(),
        times: [60, 120, 300].map(|minutes| time(minutes * 60)).into(),
        known_at: time(150 * 60),
        batch_records: 20,
    }
}

/// Returns a line of a history whose ids begin with its number.
fn random_line(of: usize, (minutes, known, line): &(i64, i64, Json)) -> Json {
    let at = |minutes: i64| Json::from(time(usize::try_from(minutes * 60).unwrap()));
    let mine = |id: &Json| Json::from(format!("{of}{}", id.as_str().unwrap()));
    let mut line = line.clone();
    for field in ["/distinct_id", "/properties/alias", "/properties/$anon_distinct_id"] {
        if let Some(id) = line.pointer_mut(field) {
            *id = mine(id);
        }
    }
    for id in line["distinct_ids"].as_array_mut().into_iter().flatten() {
        *id = mine(id);
    }
    let uuid: uuid::Uuid = line["uuid"].as_str().unwrap().parse().unwrap();
    let uuid = uuid::Uuid::from_u64_pair(of as u64, uuid.as_u64_pair().1).to_string();
    line["uuid"] = uuid.clone().into();
    if line["command"].is_null() {
        line["token"] = "t".into();
        line["timestamp"] = at(*minutes);
        line["now"] = at(*known.max(minutes));
        return line;
    }
    if let Some(person) = line.as_object_mut().and_then(|line| line.remove("of")) {
        let id = mine(&person[0]);
        let number = usize::from(person[1] == 1);
        let person = identity::person_uuids(1, id.as_str().unwrap()).nth(number).unwrap();
        line["person"] = person.to_string().into();
    }
    if let Some(Json::Array(or)) = line.as_object_mut().and_then(|line| line.remove("or")) {
        let others = or.iter().map(|id| identity::person_uuid(1, mine(id).as_str().unwrap()));
        line["other_uuids"] = others.map(|uuid| uuid.to_string()).collect();
    }
    (line["project"], line["now"]) = (1.into(), at(*known));
    line["idempotency_key"] = uuid.into();
    line
}

#[test]
fn kill_9_at_any_moment_loses_and_repeats_nothing_of_one_partition() {
    kill_9_loses_and_repeats_nothing(&numbered(1));
}

#[test]
fn kill_9_at_any_moment_loses_and_repeats_nothing_of_four_partitions() {
    kill_9_loses_and_repeats_nothing(&numbered(4));
}

#[test]
fn kill_9_at_any_moment_leaves_random_histories_of_one_partition_as_they_are() {
    kill_9_loses_and_repeats_nothing(&random(1));
}

#[test]
fn kill_9_at_any_moment_leaves_random_histories_of_four_partitions_as_they_are() {
    kill_9_loses_and_repeats_nothing(&random(4));
}
