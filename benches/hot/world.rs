//! A store that is filled by the real write path and read as the API reads it.

use std::hint::black_box;
use std::ops::Range;
use std::time::Instant;

use personview::ingest::apply::{self, Settings};
use personview::person::{Mode, Position, Record, Rules, Time};
use personview::store::{Config, Moment, Store};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const SECOND: i64 = 1_000_000;
const START: i64 = 1_770_000_000 * SECOND;
const BATCH: u32 = 2_000;
const SETTINGS: Settings = Settings { record_volatile: false, properties_limit: 512 << 10 };

/// An event's name and properties.
pub struct Named {
    pub name: &'static str,
    pub properties: Value,
}

/// A store and the clock by which it is filled.
pub struct World {
    folder: TempDir,
    store: Option<Store>,
    rules: Rules,
    offset: u64,
    /// The newest event time.
    clock: i64,
    random: Random,
}

/// A random number generator that gives the same numbers in every run.
#[derive(Clone, Copy)]
pub struct Random(u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

impl World {
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let store = Some(open(&folder));
        let rules = Rules { promote: true, projects: [("t".to_owned(), 1)].into() };
        Self { folder, store, rules, offset: 0, clock: START, random: Random(1) }
    }

    /// Reopens the store, with nothing in memory.
    pub fn reopened(mut self) -> Self {
        self.store = None;
        self.store = Some(open(&self.folder));
        self
    }

    pub fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    /// Returns the bytes in files. Opening a store writes what was only in memory to files.
    pub fn bytes(&self) -> f64 {
        let bytes: u64 = self.store().measure().families.iter().map(|family| family.bytes).sum();
        f64::from(u32::try_from(bytes >> 10).unwrap()) * 1024.0
    }

    pub fn end(&self) -> i64 {
        self.clock
    }

    /// Returns a random time between the first event and the last one.
    pub fn past(&self, random: &mut Random) -> i64 {
        let span = u64::try_from(self.clock - START).unwrap() + 1;
        START + i64::try_from(random.below(span)).unwrap()
    }

    pub fn past_at(&self, part: f64) -> i64 {
        let seconds = u32::try_from((self.clock - START) / SECOND).unwrap();
        #[expect(clippy::cast_possible_truncation, reason = "it is a part of an integer")]
        let seconds = (f64::from(seconds) * part) as i64;
        START + seconds * SECOND
    }

    /// Returns the record of an event that happened `at` and is learned now.
    fn record(&mut self, id: &str, at: i64, event: &Named) -> Record {
        let offset = self.offset;
        self.offset += 1;
        let known = Time(self.clock.max(at) + 1);
        let value = json!({
            "uuid": format!("01940000-0000-7000-8000-{offset:012}"), "token": "t",
            "event": event.name, "distinct_id": id, "properties": event.properties,
            "timestamp": Time(at).to_string(), "now": known.to_string(),
        });
        Record {
            position: Position { topic: 0, partition: 0, offset },
            topic: "events".into(),
            timestamp: known,
            value: Some(value.to_string().into_bytes()),
            ..Record::default()
        }
    }

    /// Applies and commits records. Returns the µs that it took, and the MiB that the largest transaction
    /// staged.
    fn apply(&self, records: &[Record]) -> (f64, f64) {
        let parsed = apply::parse(records, &self.rules, self.store().dictionary());
        let (mut done, mut staged) = (0, 0);
        let start = Instant::now();
        while done < records.len() {
            let (transaction, tally, more) = apply::batch(
                self.store().transaction(),
                &records[done..],
                &parsed[done..],
                SETTINGS,
            )
            .unwrap();
            staged = staged.max(transaction.staged_bytes());
            transaction.commit().unwrap();
            assert!(tally.rejections.is_empty());
            done += more;
        }
        let staged = f64::from(u32::try_from(staged >> 10).unwrap()) / 1024.0;
        (start.elapsed().as_secs_f64() * 1e6, staged)
    }

    /// Applies `count` records in batches. Returns µs per record.
    fn fill(&mut self, count: u32, mut of: impl FnMut(&mut Self, u32) -> Vec<Record>) -> f64 {
        let (mut micros, mut number) = (0.0, 0);
        while number < count {
            let end = count.min(number + BATCH);
            let records: Vec<_> = (number..end).flat_map(|number| of(self, number)).collect();
            micros += self.apply(&records).0;
            number = end;
        }
        micros / f64::from(count)
    }

    /// Applies events in the order in which they happen, a second apart. Returns µs per event.
    pub fn in_order(&mut self, id: &str, count: u32, of: impl Fn(u32) -> Named) -> f64 {
        self.fill(count, |world, number| {
            world.clock += SECOND;
            vec![world.record(id, world.clock, &of(number))]
        })
    }

    /// Applies events each of which happened before the one that arrived before it. Returns µs per event.
    pub fn newest_first(&mut self, id: &str, count: u32, of: impl Fn(u32) -> Named) -> f64 {
        let newest = START + i64::from(count) * SECOND;
        self.clock = newest;
        self.fill(count, |world, number| {
            vec![world.record(id, newest - i64::from(number) * SECOND, &of(number))]
        })
    }

    /// Applies events from random times of the past. Returns µs per event.
    pub fn late_with(&mut self, id: &str, count: u32, of: impl Fn(u32) -> Named) -> f64 {
        self.fill(count, |world, number| {
            let mut random = world.random;
            let at = world.past(&mut random);
            world.random = random;
            vec![world.record(id, at, &of(number))]
        })
    }

    /// Applies events in order that each change some of `properties` properties. Returns µs per event.
    pub fn grow(&mut self, id: &str, count: u32, properties: u32) -> f64 {
        self.in_order(id, count, |number| changing(number, properties))
    }

    /// Applies late events that each change some of `properties` properties. Returns µs per event.
    pub fn late(&mut self, id: &str, count: u32, properties: u32) -> f64 {
        self.late_with(id, count, |number| changing(number + 1_000_000_000, properties))
    }

    /// Merges visitors of one event each into a person. Returns µs per merge.
    pub fn take_over(&mut self, id: &str, visitors: Range<u32>, older: bool) -> f64 {
        let first = visitors.start;
        let records = |world: &mut Self, number: u32, merges: bool| {
            let visitor = visitor(id, first + number);
            if merges {
                world.clock += SECOND;
                let properties =
                    json!({"$anon_distinct_id": visitor, "$set": {"plan": number % 3}});
                return vec![world.record(
                    id,
                    world.clock,
                    &Named { name: "$identify", properties },
                )];
            }
            world.clock += SECOND;
            let at = if older { START - i64::from(first + number) * SECOND } else { world.clock };
            let properties = json!({
                "$referrer": format!("https://example.com/{number}"), "$os": "Linux",
                "$browser": "Firefox", "$current_url": "https://app.example.com/",
            });
            vec![world.record(&visitor, at, &Named { name: "$pageview", properties })]
        };
        if first == 0 {
            self.grow(id, 1, 1);
        }
        let (mut micros, mut number, count) = (0.0, 0, visitors.end - first);
        while number < count {
            let end = count.min(number + BATCH);
            self.fill(end - number, |world, of| records(world, number + of, false));
            micros += f64::from(end - number)
                * self.fill(end - number, |world, of| records(world, number + of, true));
            number = end;
        }
        micros / f64::from(count)
    }

    /// Applies events by random visitors that were merged into a person. Returns µs per event.
    pub fn by_some(&mut self, id: &str, visitors: u32, count: u32, late: bool) -> f64 {
        self.fill(count, |world, number| {
            let mut random = world.random;
            let of = u32::try_from(random.below(u64::from(visitors))).unwrap();
            world.clock += SECOND;
            let at = if late { world.past(&mut random) } else { world.clock };
            world.random = random;
            vec![world.record(&visitor(id, of), at, &changing(number, 20))]
        })
    }

    /// Applies a merge that happened `at`. Returns the µs that it took, and the MiB that it staged.
    pub fn merge(&mut self, target: &str, source: &str, at: i64) -> (f64, f64) {
        let properties = json!({"alias": source});
        let record = self.record(target, at, &Named { name: "$merge_dangerously", properties });
        self.apply(&[record])
    }

    /// Merges each person of a chain into the next one. Returns µs per merge.
    pub fn chain(&mut self, length: u32) -> f64 {
        self.grow("chain-0", 1, 20);
        let (mut micros, mut number) = (0.0, 0);
        while number < length {
            let (first, end) = (number, length.min(number + BATCH));
            self.fill(end - first, |world, of| {
                world.clock += SECOND;
                let id = format!("chain-{}", first + of + 1);
                vec![world.record(&id, world.clock, &changing(of, 20))]
            });
            let each = self.fill(end - first, |world, of| {
                world.clock += SECOND;
                let id = format!("chain-{}", first + of + 1);
                let properties = json!({"alias": format!("chain-{}", first + of)});
                let event = Named { name: "$merge_dangerously", properties };
                vec![world.record(&id, world.clock, &event)]
            });
            micros += each * f64::from(end - first);
            number = end;
        }
        micros / f64::from(length)
    }
}

fn open(folder: &TempDir) -> Store {
    let path = folder.path().join("store");
    Store::open(&Config { path, memory: 256 << 20, sync_writes: false }).unwrap()
}

fn visitor(id: &str, number: u32) -> String {
    format!("{id}-visitor-{number}")
}

/// Returns an event that changes some of `properties` properties.
fn changing(number: u32, properties: u32) -> Named {
    let set = (0..crate::SET_AT_ONCE.min(properties)).map(|of| {
        let property = (number * crate::SET_AT_ONCE + of) % properties;
        (format!("property-{property}"), json!(number))
    });
    Named { name: "$set", properties: json!({"$set": set.collect::<serde_json::Map<_, _>>()}) }
}

/// Reads by one distinct id, as the API makes them.
pub struct Ask<'w> {
    pub world: &'w World,
    pub id: &'w str,
}

impl Ask<'_> {
    /// Reads the person as it is now, with at most this many distinct ids.
    pub fn now(&self, distinct_ids: usize) {
        let snapshot = self.world.store().snapshot();
        let owner = snapshot.owner(1, self.id).unwrap().unwrap();
        let id = owner.now(&snapshot.lives(1)).unwrap().person;
        let head = snapshot.head(1, id).unwrap().unwrap();
        black_box(snapshot.current(1, (id, &head), distinct_ids).unwrap());
    }

    /// Reads the person as it was, by everything known or by what was known at `known`.
    pub fn as_of(&self, time: i64, known: Option<i64>) {
        let snapshot = self.world.store().snapshot();
        let owner = snapshot.owner(1, self.id).unwrap().unwrap();
        let at = Moment { time: Time(time), known: known.map_or(Time::MAX, Time) };
        let life = owner.at(&snapshot.lives(1), at.time, at.known).unwrap();
        let Some(life) = life else { return };
        let head = snapshot.head_of(1, life).unwrap().unwrap();
        black_box(snapshot.as_of(1, (life.person, &head), at, Mode::WithOnce).unwrap());
    }
}

/// Returns the median and the 99th percentile of `times` runs, in µs.
pub fn percentiles(times: u32, mut run: impl FnMut(&mut Random)) -> (f64, f64) {
    let mut random = Random(2);
    let mut micros: Vec<f64> = (0..times)
        .map(|_| {
            let start = Instant::now();
            run(&mut random);
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    micros.sort_unstable_by(f64::total_cmp);
    (micros[micros.len() / 2], micros[(micros.len() * 99 / 100).min(micros.len() - 1)])
}

/// Resets the peak of memory use and returns it, in MiB. Zero without /proc.
pub fn reset_peak() -> f64 {
    drop(std::fs::write("/proc/self/clear_refs", "5"));
    peak_megabytes()
}

/// Returns the peak of memory use, in MiB.
pub fn peak_megabytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u32>().ok());
    f64::from(kilobytes.unwrap_or_default()) / 1024.0
}
