//! Measures one batch, step by step (parse, apply, commit), and the reads of the resulting store.
//!
//! `cargo bench` prints times; what matters is their ratios on one machine.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use personview::ingest::apply::{self, Settings};
use personview::person::{Mode, Position, Record, Rules, Time};
use personview::store::{Config, Moment, Store};
use serde_json::json;
use tempfile::TempDir;

const RECORDS: u64 = 2_000;
const PERSONS: u64 = 300;
const SETTINGS: Settings = Settings { record_volatile: false, properties_limit: 512 << 10 };

fn rules() -> Rules {
    Rules { promote: true, projects: [("t".to_owned(), 1)].into() }
}

fn open() -> (TempDir, Store) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store");
    let store = Store::open(&Config { path, memory: 128 << 20, sync_writes: false }).unwrap();
    (folder, store)
}

/// Returns page views as the web SDK sends them; one in ten also changes the plan.
fn records(first_offset: u64) -> Vec<Record> {
    (first_offset..first_offset + RECORDS).map(record).collect()
}

fn record(offset: u64) -> Record {
    let person = offset * 7919 % PERSONS;
    let mut properties = json!({
        "$os": "Linux", "$browser": "Firefox", "$browser_version": 142, "$device_type": "Desktop",
        "$current_url": format!("https://app.example.com/page/{}", offset % 40), "$host": "app.example.com",
        "$pathname": format!("/page/{}", offset % 40), "$screen_height": 1080, "$screen_width": 1920,
        "$viewport_height": 937, "$viewport_width": 1920, "$lib": "web", "$lib_version": "1.298.0",
        "$referrer": "$direct", "$referring_domain": "$direct", "$session_id": "0190a1b2c3d4",
        "$insert_id": offset, "$device_id": "0190a1b2c3d4", "$timezone": "Europe/Berlin",
    });
    if offset.is_multiple_of(10) {
        properties["$set"] = json!({"plan": format!("plan-{}", offset % 4), "seats": offset});
    }
    let timestamp = Time(1_770_000_000_000_000).plus(i64::try_from(offset * 1_000).unwrap());
    let data = json!({"event": "$pageview", "distinct_id": format!("user-{person}"), "properties": properties});
    let value = json!({
        "uuid": format!("01940000-0000-7000-8000-{offset:012}"), "token": "t", "now": timestamp.to_string(),
        "timestamp": timestamp.to_string(), "data": data.to_string(),
    });
    Record {
        position: Position { topic: 0, partition: 0, offset },
        topic: "events".into(),
        timestamp,
        value: Some(value.to_string().into_bytes()),
        ..Record::default()
    }
}

fn write_path(criterion: &mut Criterion) {
    let rules = rules();
    let first = records(0);
    let (_folder, store) = open();
    let mut group = criterion.benchmark_group("batch");
    group.throughput(Throughput::Elements(RECORDS));
    group.bench_function("parse", |bencher| {
        bencher.iter(|| apply::parse(black_box(&first), &rules, store.dictionary()));
    });
    store.transaction().commit().unwrap();
    let parsed = apply::parse(&first, &rules, store.dictionary());
    group.bench_function("apply new persons", |bencher| {
        bencher.iter(|| apply::batch(store.transaction(), &first, &parsed, SETTINGS).unwrap().1);
    });
    group.bench_function("apply and commit new persons", |bencher| {
        bencher.iter_batched(
            open,
            |(folder, store)| {
                apply::batch(store.transaction(), &first, &parsed, SETTINGS)
                    .unwrap()
                    .0
                    .commit()
                    .unwrap();
                (folder, store)
            },
            BatchSize::PerIteration,
        );
    });
    apply::batch(store.transaction(), &first, &parsed, SETTINGS).unwrap().0.commit().unwrap();
    let next = records(RECORDS);
    let parsed = apply::parse(&next, &rules, store.dictionary());
    group.bench_function("apply to known persons", |bencher| {
        bencher.iter(|| apply::batch(store.transaction(), &next, &parsed, SETTINGS).unwrap().1);
    });
    group.finish();
}

fn reads(criterion: &mut Criterion) {
    let (_folder, store) = open();
    let (rules, rounds) = (rules(), 20);
    for round in 0..rounds {
        let records = records(round * RECORDS);
        let parsed = apply::parse(&records, &rules, store.dictionary());
        apply::batch(store.transaction(), &records, &parsed, SETTINGS).unwrap().0.commit().unwrap();
    }
    let time = Time(1_770_000_000_000_000).plus(i64::try_from(rounds * RECORDS * 500).unwrap());
    let mut group = criterion.benchmark_group("read");
    for (name, time) in [("as of the middle", time), ("as of now", Time::MAX)] {
        group.bench_function(name, |bencher| {
            let mut person = 0;
            bencher.iter(|| {
                person = (person + 1) % PERSONS;
                let snapshot = store.snapshot();
                let owner = snapshot.owner(1, &format!("user-{person}")).unwrap().unwrap();
                let life = owner.at(&snapshot.lives(1), time, Time::MAX).unwrap();
                let id = life.unwrap().person;
                let head = snapshot.head(1, id).unwrap().unwrap();
                let at = Moment { time, known: Time::MAX };
                snapshot.as_of(1, (id, &head), at, Mode::SetOnly).unwrap()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, write_path, reads);
criterion_main!(benches);
