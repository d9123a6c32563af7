//! Measures the whole program against a real Kafka. Each row is a ratio to a ceiling or a peer in the same
//! run.
//!
//! `cargo bench --bench load` starts a Kafka (or uses the one that `KAFKA_BOOTSTRAP_SERVERS` names), loads
//! it, measures and prints a table. `-- --json` prints one JSON object per row, and `-- --quick` leaves out
//! the rows of 10 million events. `-- --soak=30` reads for half an hour under full load instead. The rows
//! against `PostgreSQL` need Debian's package. Without `--bench`, or with `--test`, everything is small and
//! only checked to work.

// Rates and shares are far from the limits of a float's precision.
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

#[path = "../../tests/service/broker.rs"]
#[allow(dead_code)] // the tests use all of it
mod broker;
#[path = "../../tests/service/harness/mod.rs"]
#[allow(dead_code)] // the tests use all of it
mod harness;
mod http;
mod ingest;
mod peer;
mod report;
mod rows;
mod soak;
mod stream;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use self::broker::Broker;
use self::harness::{Home, Topic};
use self::ingest::{Loader, PARTITIONS};
use self::report::{Aim, Report};
use self::rows::World;
use self::stream::Stream;

/// `store.memory` of the large run, in MiB: 100 for the cache and 64 for the queue.
const LARGE_MEMORY: u32 = 164;

/// `store.memory` for the lists of the large run.
const LISTS_MEMORY: &str = "1GiB";

/// The size of the run.
pub struct Plan {
    events: usize,
    persons: usize,
    /// Events and persons of the large run, if there is one.
    large: Option<(usize, usize)>,
    /// The number of operations of the hot person.
    hot: i64,
    seconds: f64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let report = Report::new(has("--json"));
    let plan = if has("--test") || !has("--bench") {
        Plan { events: 5_000, persons: 500, large: Some((10_000, 1_000)), hot: 500, seconds: 0.3 }
    } else {
        let large = (!has("--quick")).then_some((10_000_000, 1_000_000));
        Plan { events: 1_000_000, persons: 100_000, large, hot: 100_000, seconds: 10.0 }
    };
    let (_broker, kafka) = if let Ok(address) = std::env::var("KAFKA_BOOTSTRAP_SERVERS") {
        (None, address)
    } else {
        let (broker, address) = Broker::start();
        (Some(broker), address)
    };
    if let Some(minutes) = arguments.iter().find_map(|it| it.strip_prefix("--soak=")) {
        soak::soak(minutes.parse().expect("a number of minutes"), &kafka, &report);
        return report.end();
    }
    let rate = whole(&plan, &kafka, &report);
    import(&plan, &kafka, &report, rate);
    if let Some(size) = plan.large {
        large(&plan, &kafka, &report, rate, size);
    }
    report.end();
}

/// A topic and home of its own. The topic is deleted on drop, since several of them would fill a disk.
struct Place {
    topic: Topic,
    home: Home,
}

impl Place {
    fn new(kafka: &str, about: &str) -> Self {
        let topic = Topic::create_at(
            kafka,
            &format!("{about}-{}", uuid::Uuid::new_v4().simple()),
            PARTITIONS,
        );
        let home = Home::at(kafka, &topic.name, "");
        Self { topic, home }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.topic.delete();
    }
}

/// Sends this many events of this many persons, and remembers about 10,000 of their distinct ids.
fn send((events, persons): (usize, usize), stream: &mut Stream, loader: &mut Loader) -> World {
    report::say(&format!("sending {events} events"));
    let mut world = World::default();
    let one_in = (persons as u64 / 10_000).max(1);
    for _ in 0..events {
        let sent = stream.next(None);
        world.remember(&sent, one_in);
        loader.send(&sent);
    }
    loader.flush();
    world
}

/// Measures a stream in order, and all reads of its store. Returns records per second.
fn whole(plan: &Plan, kafka: &str, report: &Report) -> f64 {
    let place = Place::new(kafka, "load");
    let mut loader = Loader::new(kafka, &place.topic.name);
    let mut stream = Stream::new(plan.events, plan.persons, 1);
    let world = send((plan.events, plan.persons), &mut stream, &mut loader);
    report::say("the ceiling");
    let ceiling = ingest::ceiling(kafka, &place.topic.name);
    report::say("ingesting");
    let (service, seconds) = ingest::catch_up(&place.home, "512MiB");
    let rate = loader.records as f64 / seconds;
    report.row("catch-up ingest", "records/s", rate, ceiling, Aim::AtLeast(0.6));
    let service = World::restart(&place.home, service, report, "512MiB");
    let per_event = ingest::bytes(&place.home.store()) as f64 / loader.records as f64;
    let wire = loader.bytes as f64 / loader.records as f64;
    report.row("store on disk, per event", "bytes", per_event, wire, Aim::AtMost(0.12));
    World::timelines(plan, &mut loader, &service, report);
    world.reads(plan, &service, report);
    world.peer(&service, report);
    world.while_ingesting(plan, &mut loader, &mut stream, service, &place.home, report);
    World::fresh(plan, &mut loader, &mut stream, &place.home, rate, report);
    rate
}

/// Measures the same stream in random order.
fn import(plan: &Plan, kafka: &str, report: &Report, rate: f64) {
    let place = Place::new(kafka, "import");
    let mut stream = Stream::new(plan.events, plan.persons, 1);
    let mut all: Vec<_> = (0..plan.events).map(|_| stream.next(None)).collect();
    all.shuffle(&mut StdRng::seed_from_u64(2));
    let mut loader = Loader::new(kafka, &place.topic.name);
    for sent in &all {
        loader.send(sent);
    }
    loader.flush();
    drop(all);
    let (service, seconds) = ingest::catch_up(&place.home, "512MiB");
    let shuffled = loader.records as f64 / seconds;
    report.row("historical import, shuffled", "records/s", shuffled, rate, Aim::AtLeast(0.35));
    service.kill();
}

/// Measures ten times the events and persons, with little memory.
fn large(plan: &Plan, kafka: &str, report: &Report, rate: f64, (events, persons): (usize, usize)) {
    let place = Place::new(kafka, "large");
    let mut stream = Stream::new(events, persons, 1);
    let mut loader = Loader::new(kafka, &place.topic.name);
    let world = send((events, persons), &mut stream, &mut loader);
    report::say("ingesting");
    let memory = format!("{LARGE_MEMORY}MiB");
    let (service, seconds) = ingest::catch_up(&place.home, &memory);
    let large = loader.records as f64 / seconds;
    let times = events / plan.events;
    report.row(
        &format!("catch-up ingest, {times} × as much"),
        "records/s",
        large,
        rate,
        Aim::AtLeast(0.8),
    );
    let resident = service.metric("process_resident_memory_bytes") / 1_048_576.0;
    report.row("resident after it", "MiB", resident, f64::from(LARGE_MEMORY), Aim::AtMost(1.3));
    let service = World::restart(&place.home, service, report, &memory);
    world.reads(plan, &service, report);
    service.kill();
    // PostgreSQL has all persons and indexes in memory, so the lists get memory too.
    let service = ingest::serve(&place.home, LISTS_MEMORY);
    ingest::caught_up(&service);
    world.peer(&service, report);
    service.kill();
}
