//! Random histories through the real store, in random batches, against the naive fold.

mod oracle;

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use self::oracle::{Answer, Oracle};
use super::*;
use crate::person::{Mode, Time};
use crate::store::{Config, Moment, Person, Snapshot};

const SETTINGS: Settings = Settings { record_volatile: false, properties_limit: 512 << 10 };
const HOUR: i64 = 3_600_000_000;
/// The beginning of every history, so that times are readable.
const START: i64 = 490_000 * HOUR;

fn open(path: &Path) -> Store {
    Store::open(&Config { path: path.to_owned(), memory: 64 << 20, sync_writes: false }).unwrap()
}

fn rules() -> Rules {
    Rules { promote: true, projects: [("t".to_owned(), 1)].into() }
}

/// A record of a flat event; `minutes` after the start it happened, and `known` it was learned.
fn record(offset: usize, minutes: i64, known: i64, event: &Json) -> Record {
    let at = |minutes: i64| Time(START + minutes * HOUR / 60);
    let mut value = event.clone();
    value["token"] = "t".into();
    value["timestamp"] = at(minutes).to_string().into();
    value["now"] = at(known.max(minutes)).to_string().into();
    let position = Position { topic: 0, partition: 0, offset: offset as u64 };
    Record {
        position,
        topic: "events".into(),
        timestamp: at(known.max(minutes)),
        value: Some(value.to_string().into_bytes()),
        ..Record::default()
    }
}

/// Applies records in batches of the sizes given, over and over.
fn apply(store: &Store, records: &[Record], cuts: &[usize], settings: Settings) -> Tally {
    let (mut rest, mut total) = (records, Tally::default());
    for cut in cuts.iter().cycle() {
        let records = &rest[..(*cut).min(rest.len())];
        let parsed = parse(records, &rules());
        let (transaction, tally, done) = batch(store, records, &parsed, settings).unwrap();
        transaction.commit().unwrap();
        total.rejections.extend(tally.rejections);
        total.late += tally.late;
        for (warning, count) in tally.warnings {
            *total.warnings.entry(warning).or_default() += count;
        }
        rest = &rest[done..];
        if rest.is_empty() {
            return total;
        }
    }
    total
}

fn answer(person: Person) -> Answer {
    let properties = person.properties.into_iter();
    let properties = properties.map(|(name, value)| (name.to_string(), value));
    if person.created_at.is_none() {
        return Answer { uuid: person.uuid, ..Answer::default() };
    }
    Answer {
        uuid: person.uuid,
        properties: properties.collect(),
        distinct_ids: person.distinct_ids,
        created_at: person.created_at,
        last_seen_at: person.last_seen_at,
        is_identified: person.is_identified,
    }
}

fn current(snapshot: &Snapshot, id: &str) -> Answer {
    let person = snapshot.owner(1, id).unwrap().unwrap().now().person;
    let head = snapshot.head(1, person).unwrap().unwrap();
    answer(snapshot.current(1, person, &head).unwrap())
}

fn as_of(snapshot: &Snapshot, id: &str, time: Time, known: Time, mode: Mode) -> Option<Answer> {
    let person = snapshot.owner(1, id).unwrap().unwrap().at(time, known)?;
    let head = snapshot.head(1, person).unwrap().unwrap();
    Some(answer(snapshot.as_of(1, (person, &head), Moment { time, known }, mode).unwrap()))
}

/// Every read there is: now, and at and beside every event time, by everything known and by what
/// was known at some moments, in both modes.
fn compare(
    store: &Store,
    oracle: &Oracle,
    times: &[Time],
) -> std::result::Result<(), TestCaseError> {
    let snapshot = store.snapshot();
    let around = |time: &Time| [time.plus(-1), *time, time.plus(1)];
    let moments: std::collections::BTreeSet<_> = times.iter().flat_map(around).collect();
    for id in oracle.distinct_ids() {
        prop_assert_eq!(current(&snapshot, id), oracle.current(id), "{} now", id);
        for &time in &moments {
            let some = moments.iter().step_by(5).copied();
            for known in some.chain([Time::MAX]) {
                for mode in Mode::ALL {
                    let expected = oracle.owner_at(id, time, known);
                    let expected = expected.map(|person| oracle.as_of(person, time, known, mode));
                    let found = as_of(&snapshot, id, time, known, mode);
                    prop_assert_eq!(
                        found,
                        expected,
                        "{} at {} known {} {:?}",
                        id,
                        time,
                        known,
                        mode
                    );
                }
            }
        }
    }
    Ok(())
}

fn event() -> impl Strategy<Value = Json> {
    let id = || prop::sample::select(vec!["a", "b", "c", "d"]);
    let value = || prop::sample::select(vec![json!(1), json!(2), json!(null), json!(1.0)]);
    let key = || prop::sample::select(vec!["p", "q", "$browser"]);
    let object = || prop::collection::hash_map(key(), value(), 0..3).prop_map(|map| json!(map));
    let unset = prop::collection::vec(key(), 0..2);
    let ordinary = (id(), object(), object(), unset, any::<bool>()).prop_map(
        |(id, set, once, unset, named)| {
            let name = if named { "$set" } else { "visit" };
            let properties = json!({"$set": set, "$set_once": once, "$unset": unset});
            json!({"distinct_id": id, "event": name, "properties": properties})
        },
    );
    let visit = (id(), value()).prop_map(|(id, browser)| {
        json!({"distinct_id": id, "event": "visit", "properties": {"$browser": browser, "$os": "x"}})
    });
    let merge = (id(), id(), object(), 0..6_u8).prop_map(|(id, other, set, kind)| {
        let (name, key) = match kind {
            0 => ("$create_alias", "alias"),
            1 | 2 => ("$merge_dangerously", "alias"),
            _ => ("$identify", "$anon_distinct_id"),
        };
        json!({"distinct_id": id, "event": name, "properties": {key: other, "$set": set}})
    });
    prop_oneof![5 => ordinary, 2 => visit, 3 => merge]
}

/// Events in the order of their arrival, each with the minutes at which it happened and was
/// learned.
#[derive(Clone)]
struct History(Vec<(i64, i64, Json)>);

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut lines = self.0.iter();
        lines.try_for_each(|(minutes, known, event)| write!(f, "\n  {minutes:3} {known:3} {event}"))
    }
}

impl History {
    fn records(&self) -> Vec<Record> {
        let lines = self.0.iter().enumerate();
        lines
            .map(|(offset, (minutes, known, event))| record(offset, *minutes, *known, event))
            .collect()
    }
}

/// Some events come twice, at once or later.
fn histories() -> impl Strategy<Value = History> {
    let one = (event(), 0..200_i64, 0..300_i64, 0..8_u8);
    prop::collection::vec(one, 1..24).prop_map(|events| {
        let mut all = Vec::new();
        for (number, (mut event, minutes, known, again)) in events.into_iter().enumerate() {
            event["uuid"] = uuid::Uuid::from_u64_pair(1, number as u64).to_string().into();
            all.push((minutes, known, event.clone()));
            if again == 0 {
                all.push((minutes, known, event));
            }
        }
        all.extend(all.first().cloned());
        History(all)
    })
}

/// How many histories: a few in every run, as many as wanted by `PROPTEST_CASES`.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn every_read_of_the_store_is_the_naive_fold(
        history in histories(),
        cuts in prop::collection::vec(1..9_usize, 1..6),
    ) {
        let records = history.records();
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        apply(&store, &records, &cuts, SETTINGS);
        let mut oracle = Oracle::default();
        let mut times = Vec::new();
        for (parsed, record) in parse(&records, &rules()).iter().zip(&records) {
            let event = parsed.as_ref().unwrap();
            times.push(event.event_time);
            oracle.apply(event, record.position);
        }
        compare(&store, &oracle, &times)?;
        let live = store.snapshot().count(1).unwrap();
        let owners = oracle.distinct_ids().map(|id| current(&store.snapshot(), id).uuid);
        prop_assert_eq!(live, owners.collect::<std::collections::BTreeSet<_>>().len() as u64);
    }

    #[test]
    fn batches_leave_no_trace(history in histories(), cuts in prop::collection::vec(1..9_usize, 1..6)) {
        let records = history.records();
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let stores = folders.each_ref().map(|folder| open(folder.path()));
        apply(&stores[0], &records, &cuts, SETTINGS);
        apply(&stores[1], &records, &[records.len()], SETTINGS);
        prop_assert!(stores[0].content() == stores[1].content());
    }
}

/// What a short history leaves behind, by examples that read as the domain's own sentences.
fn given(events: &[(i64, Json)]) -> (tempfile::TempDir, Store, Tally) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let records = events.iter().enumerate();
    let records: Vec<_> =
        records.map(|(offset, (minutes, event))| record(offset, *minutes, 0, event)).collect();
    let tally = apply(&store, &records, &[3], SETTINGS);
    (folder, store, tally)
}

fn set(id: &str, values: &Json) -> Json {
    json!({"distinct_id": id, "event": "$set", "properties": {"$set": values}})
}

fn identify(id: &str, anonymous: &str) -> Json {
    json!({"distinct_id": id, "event": "$identify", "properties": {"$anon_distinct_id": anonymous}})
}

fn properties(store: &Store, id: &str) -> Json {
    let values = current(&store.snapshot(), id).properties;
    values
        .into_iter()
        .map(|(name, value)| (name, serde_json::from_str(value.as_json()).unwrap()))
        .collect::<BTreeMap<_, Json>>()
        .into_iter()
        .collect()
}

#[test]
fn a_late_event_takes_its_place_in_the_past() {
    let (_folder, store, tally) = given(&[
        (0, set("ann", &json!({"plan": "pro"}))),
        (3000, set("ann", &json!({"plan": "pro"}))),
        (1000, set("ann", &json!({"plan": "free"}))),
    ]);
    assert_eq!(properties(&store, "ann"), json!({"plan": "pro"}));
    assert_eq!(tally.late, 1);
    let february = Time(START + 2000 * HOUR / 60);
    let then = as_of(&store.snapshot(), "ann", february, Time::MAX, Mode::SetOnly).unwrap();
    assert_eq!(then.properties["plan"].as_json(), "\"free\"");
}

#[test]
fn the_target_wins_per_key_and_a_late_event_of_the_source_still_counts() {
    let (_folder, store, _) = given(&[
        (0, set("anon", &json!({"plan": "free", "seen": 1}))),
        (5, set("ann", &json!({"plan": "pro"}))),
        (10, identify("ann", "anon")),
        (2, set("anon", &json!({"seen": 2, "from": "ad"}))),
    ]);
    assert_eq!(properties(&store, "anon"), json!({"plan": "pro", "seen": 2, "from": "ad"}));
}

#[test]
fn an_identified_person_is_not_merged_by_identify() {
    let (_folder, store, tally) = given(&[
        (0, identify("ann", "anon-1")),
        (1, identify("bob", "anon-2")),
        (2, identify("bob", "ann")),
    ]);
    assert_eq!(tally.warnings, BTreeMap::from([(Warning::AlreadyIdentified, 1)]));
    assert_ne!(current(&store.snapshot(), "ann").uuid, current(&store.snapshot(), "bob").uuid);
}

#[test]
fn properties_past_the_limit_are_refused_and_the_rest_goes_on() {
    let settings = Settings { properties_limit: 100, ..SETTINGS };
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let large = "x".repeat(90);
    let records = [
        record(0, 0, 0, &set("ann", &json!({"a": 1}))),
        record(1, 1, 0, &set("ann", &json!({"b": large}))),
        record(2, 2, 0, &set("bob", &json!({"a": 1}))),
        record(3, 3, 0, &set("ann", &json!({"a": 2}))),
        // Late, and refused as well.
        record(4, 1, 3, &set("ann", &json!({"a": 3, "c": large}))),
    ];
    let tally = apply(&store, &records, &[2], settings);
    let refused = Rejection::PersonPropertiesSize;
    assert_eq!(tally.rejections, [(1, refused), (0, refused)]);
    assert_eq!(properties(&store, "ann"), json!({"a": 2}));
    assert_eq!(properties(&store, "bob"), json!({"a": 1}));
    let then =
        as_of(&store.snapshot(), "ann", Time(START + 2 * HOUR / 60), Time::MAX, Mode::WithOnce);
    assert_eq!(then.unwrap().properties["a"].as_json(), "1");
}

#[test]
fn a_bad_record_keeps_nobody_from_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut records = vec![record(0, 0, 0, &set("ann", &json!({"a": 1})))];
    records.push(Record { value: Some(b"{".to_vec()), ..record(1, 0, 0, &json!({})) });
    records.push(record(2, 0, 0, &set("bob", &json!({"a": 1}))));
    let tally = apply(&store, &records, &[3], SETTINGS);
    assert_eq!(tally.rejections, [(1, Rejection::NotJson)]);
    assert_eq!(properties(&store, "bob"), json!({"a": 1}));
    let positions = store.snapshot().positions();
    assert!(positions.is_err(), "a topic without a number is a broken store");
}
