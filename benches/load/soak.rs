//! Minutes under load: whether memory, open files and read latency stay stable.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::Service;
use crate::http::Client;
use crate::ingest::{self, Loader};
use crate::report::{self, Aim, Report};
use crate::stream::Stream;
use crate::{Place, send};

/// The number of persons in the stream.
const PERSONS: usize = 100_000;

/// At most this many records wait in Kafka: enough that ingestion never rests, few enough that none expires
/// before it is read.
const BEHIND: u64 = 200_000;

/// How many bytes of each partition Kafka keeps: many disks have no room for half an hour of records.
const KEPT: &str = "1000000000";

/// The number of minutes left out at the beginning, while the cache fills.
const WARM: usize = 5;

/// `store.memory`: so small that after `WARM` minutes the cache is full and memory should no longer grow.
const MEMORY: &str = "128MiB";

/// The measurements of one minute.
struct Minute {
    resident: f64,
    files: f64,
    p99: f64,
}

/// Reads for `minutes`, more than `WARM`, while records come as fast as they are ingested.
pub fn soak(minutes: usize, kafka: &str, report: &Report) {
    let place = Place::new(kafka, "soak");
    place.topic.alter("retention.bytes", KEPT);
    let mut loader = Loader::new(kafka, &place.topic.name);
    let mut stream = Stream::new(100_000_000, PERSONS, 1);
    let world = send((PERSONS, PERSONS), &mut stream, &mut loader);
    let service = ingest::serve(&place.home, MEMORY);
    ingest::caught_up(&service);
    let paths = world.as_of_paths(&service);
    let (going, behind) = (AtomicBool::new(true), AtomicU64::new(0));
    let measured: Vec<Minute> = std::thread::scope(|scope| {
        scope.spawn(|| {
            while going.load(Ordering::Relaxed) {
                if behind.load(Ordering::Relaxed) < BEHIND {
                    (0..10_000).for_each(|_| loader.send(&stream.next(None)));
                    behind.fetch_add(10_000, Ordering::Relaxed);
                } else {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        });
        let (url, going, behind) = (service.url.clone(), &going, &behind);
        scope.spawn(move || {
            let client = Client::new();
            while going.load(Ordering::Relaxed) {
                behind.store(lag(&client, &url), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        let measured = (1..=minutes).map(|minute| measure(minute, &service, &paths));
        let measured = measured.collect();
        going.store(false, Ordering::Relaxed);
        measured
    });
    service.kill();
    let of = |value: fn(&Minute) -> f64| {
        let values: Vec<_> = measured.iter().skip(WARM).map(value).collect();
        assert!(!values.is_empty(), "--soak needs more than {WARM} minutes");
        (values.iter().copied().fold(0.0, f64::max), values[0])
    };
    for (work, unit, (most, first), target) in [
        ("resident, most of all minutes to the first", "MiB", of(|it| it.resident), 1.15),
        ("open files, most to the first", "files", of(|it| it.files), 1.5),
        ("as-of reads p99, most to the first", "ms", of(|it| it.p99), 2.0),
    ] {
        report.row(work, unit, most, first, Aim::AtMost(target));
    }
}

fn lag(client: &Client, url: &str) -> u64 {
    let readiness: Value = serde_json::from_slice(&client.get(url, "/_readiness")).expect("JSON");
    readiness["components"]["caught_up"]["lag_records"].as_u64().unwrap_or(0)
}

fn measure(minute: usize, service: &Service, paths: &[String]) -> Minute {
    let (began, client) = (Instant::now(), Client::new());
    let recorded = || service.metric("personview_ingest_batch_records_sum");
    let before = recorded();
    let run = client.run(&service.url, paths, 8, Duration::from_secs(60));
    let measured = Minute {
        resident: service.metric("process_resident_memory_bytes") / 1_048_576.0,
        files: service.metric("process_open_fds"),
        p99: run.quantile(0.99) * 1e3,
    };
    report::say(&format!(
        "minute {minute}: {:.0} records/s, {:.0} reads/s, p99 {:.1} ms, {:.0} MiB, {:.0} of them cache, \
         {:.0} files",
        (recorded() - before) / began.elapsed().as_secs_f64(),
        run.per_second,
        measured.p99,
        measured.resident,
        service.metric("personview_store_block_cache_bytes") / 1_048_576.0,
        measured.files,
    ));
    measured
}
