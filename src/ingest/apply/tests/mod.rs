//! Applies random histories to the real store, in random batches, and compares it with the naive fold.

mod commands;
mod crowd;
mod erase;
mod example;
mod follow;
mod histories;
mod lives;
mod oracle;
mod repeats;
mod size;
mod story;
mod verify;

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use serde_json::{Value as Json, json};

use self::commands::of_project;
use self::histories::{History, histories};
use self::oracle::{Answer, Oracle};
use self::story::record;
use super::*;
use crate::person::record::FIRST_COMMAND_TOPIC;
use crate::person::{Filter, Mode, Needle, Time, identity};
use crate::store::tests::opened;
use crate::store::{Among, By, Moment, Order, Person, Sealed, Snapshot, Start, Store, Wanted};

const SETTINGS: Settings = Settings { record_volatile: false, properties_limit: 512 << 10 };
const HOUR: i64 = 3_600_000_000;
/// The beginning of every history, so that times are readable.
const START: i64 = 490_000 * HOUR;

fn rules(project: ProjectId) -> Rules {
    Rules { promote: true, projects: [("t".to_owned(), project)].into() }
}

impl History {
    /// Returns the history as records of a project, in order.
    fn records(&self, project: ProjectId) -> Vec<Record> {
        let lines = self.0.iter().enumerate();
        lines
            .map(|(offset, (minutes, known, line))| {
                let mut record = record(offset, *minutes, *known, &of_project(project, line));
                if let Position { topic: topic @ 0, partition, .. } = &mut record.position {
                    (*topic, *partition) = (u16::from(offset % 3 == 1), u32::from(offset % 4 == 1));
                }
                record
            })
            .collect()
    }
}

/// Applies records of project 1 in batches of the given sizes, repeated. Of every three batches, the first is
/// applied after the one before it is committed. The other two follow the transaction before them, as in
/// ingestion: once with it committed before they are applied, once after.
fn apply(store: &Store, records: &[Record], cuts: &[usize], settings: Settings) -> Tally {
    apply_by(&rules(1), store, records, cuts, settings)
}

fn apply_by(
    rules: &Rules,
    store: &Store,
    records: &[Record],
    cuts: &[usize],
    settings: Settings,
) -> Tally {
    let (mut rest, mut total) = (records, Tally::default());
    let mut before: Option<Sealed<'_>> = None;
    let commit = |before: &mut Option<Sealed<'_>>| {
        before.take().into_iter().for_each(|sealed| sealed.commit().unwrap());
    };
    for (turn, cut) in cuts.iter().cycle().enumerate() {
        let records = &rest[..(*cut).min(rest.len())];
        let parsed = parse(records, rules, store.dictionary());
        if turn % 3 == 0 {
            commit(&mut before);
        }
        let transaction = before.as_mut().map_or_else(|| store.transaction(), Sealed::successor);
        if turn % 3 == 1 {
            commit(&mut before);
        }
        let (transaction, tally, done) = batch(transaction, records, &parsed, settings).unwrap();
        commit(&mut before);
        before = Some(transaction.seal().unwrap());
        total.rejections.extend(tally.rejections);
        total.late += tally.late;
        for (kind, count) in tally.records {
            *total.records.entry(kind).or_default() += count;
        }
        for (warning, count) in tally.warnings {
            *total.warnings.entry(warning).or_default() += count;
        }
        rest = &rest[done..];
        if rest.is_empty() {
            break;
        }
    }
    commit(&mut before);
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
        version: None,
    }
}

/// Reads of one project from a snapshot.
struct Reads<'a, 's> {
    snapshot: &'a Snapshot<'s>,
    project: ProjectId,
}

impl Reads<'_, '_> {
    /// Returns the person of a distinct id as it is now; `None` if the id has no owner.
    fn now(&self, id: &str) -> Option<Answer> {
        let Self { snapshot, project } = *self;
        let owner = snapshot.owner(project, id).unwrap()?;
        let person = owner.now(&snapshot.lives(project)).unwrap().person;
        let head = snapshot.head(project, person).unwrap().unwrap();
        let person = snapshot.current(project, (person, &head), usize::MAX).unwrap();
        Some(Answer { version: Some(person.version), ..answer(person) })
    }

    /// Returns the person of a distinct id as it was.
    fn as_of(&self, id: &str, at: Moment, mode: Mode) -> Option<Answer> {
        let Self { snapshot, project } = *self;
        let owner = snapshot.owner(project, id).unwrap()?;
        let life = owner.at(&snapshot.lives(project), at.time, at.known).unwrap()?;
        let head = snapshot.head_of(project, life).unwrap()?;
        let began = snapshot.had_begun(project, life, at).unwrap();
        let person = snapshot.as_of(project, (life.person, &head), at, mode).unwrap();
        Some(answer(Person { created_at: person.created_at.filter(|_| began), ..person }))
    }

    /// Returns the person of a distinct id by today's identity.
    fn as_of_today(&self, id: &str, at: Moment, mode: Mode) -> Option<Answer> {
        let Self { snapshot, project } = *self;
        let owner = snapshot.owner(project, id).unwrap()?;
        let person = owner.now(&snapshot.lives(project)).unwrap().person;
        let head = snapshot.head(project, person).unwrap()?;
        let mut person = snapshot.as_of_today(project, (person, &head), at, mode).unwrap();
        let created_at = person.created_at.take();
        person.created_at = Some(Time::EPOCH);
        Some(Answer { created_at, ..answer(person) })
    }

    /// Returns a person by its uuid.
    fn by_uuid(&self, uuid: uuid::Uuid, at: Moment) -> Option<Answer> {
        let Self { snapshot, project } = *self;
        let person = snapshot.person_of_uuid(project, uuid).unwrap()?;
        let (person, head) = snapshot.became(project, person, at).unwrap()?;
        Some(answer(snapshot.as_of(project, (person, &head), at, Mode::WithOnce).unwrap()))
    }
}

/// Compares every kind of read with the oracle: now, and at, just before and just after every event time; by
/// everything known and by what was known at some moments, different ones for each time; in both modes, by
/// id, by uuid, and by today's identity.
fn compare(
    store: &Store,
    project: ProjectId,
    oracle: &Oracle,
    times: &[Time],
) -> std::result::Result<(), TestCaseError> {
    let snapshot = &store.snapshot();
    let reads = Reads { snapshot, project };
    let around = |time: &Time| [time.plus(-1), *time, time.plus(1)];
    let moments: BTreeSet<_> = times.iter().flat_map(around).collect();
    let some = |number: usize| moments.iter().skip(number % 12).step_by(12).copied();
    let clocks = moments.iter().enumerate().flat_map(|(number, &time)| {
        some(number).chain([Time::MAX]).map(move |known| Moment { time, known })
    });
    for id in oracle.distinct_ids() {
        prop_assert_eq!(reads.now(id), oracle.current(id), "{} now", id);
        for (at, mode) in clocks.clone().flat_map(|at| Mode::ALL.map(|mode| (at, mode))) {
            let expected = oracle.as_of_id(id, at.time, at.known, mode);
            prop_assert_eq!(reads.as_of(id, at, mode), expected, "{} at {:?} {:?}", id, at, mode);
        }
        for (number, at) in clocks.clone().step_by(5).enumerate() {
            let mode = Mode::ALL[number % 2];
            let expected = oracle.as_of_today(id, at.time, at.known, mode);
            let found = reads.as_of_today(id, at, mode);
            prop_assert_eq!(found, expected, "{} of today at {:?} {:?}", id, at, mode);
        }
    }
    for uuid in oracle.uuids() {
        for at in clocks.clone().step_by(3) {
            let expected = oracle.became(uuid, at.time, at.known);
            let expected =
                expected.map(|person| oracle.as_of(person, at.time, at.known, Mode::WithOnce));
            let found = reads.by_uuid(uuid, at);
            prop_assert_eq!(found, expected, "{} at {:?}", uuid, at);
        }
    }
    prop_assert_eq!(snapshot.count(project).unwrap(), oracle.live() as u64);
    found_by_columns(snapshot, project)
}

/// The last one is combined with a search.
const FILTERS: [&str; 3] = [
    r#"[{"key": "p", "operator": "is_set", "value": ""}]"#,
    r#"[{"key": "p", "operator": "is_not", "value": 1}, {"key": "q", "value": [1, 2]}]"#,
    r#"{"type": "OR", "values": [{"key": "p", "value": 3},
        {"key": "$browser", "operator": "is_not_set", "value": ""}]}"#,
];

/// Checks that filters find the same persons by columns as by heads.
fn found_by_columns(
    snapshot: &Snapshot,
    project: ProjectId,
) -> std::result::Result<(), TestCaseError> {
    let everybody = Order { by: By::CreatedAt, ascending: false };
    let rows = snapshot.page(project, everybody, Start::Offset(0), usize::MAX, None);
    let rows = rows.unwrap().unwrap();
    prop_assert_eq!(snapshot.count(project).unwrap(), rows.len() as u64);
    for json in FILTERS {
        let filter = Filter::parse(json, Time(START)).unwrap();
        filter.compile(|| Ok::<_, crate::person::filter::Error>(())).unwrap();
        let search = json.contains("$browser").then(|| Needle::new("a"));
        let wanted = Wanted { filter, search };
        let found = snapshot.find(project, &wanted).unwrap();
        for by in [By::CreatedAt, By::LastSeenAt] {
            let due = rows.iter().filter_map(|row| {
                let head = snapshot.head(project, row.person).unwrap().unwrap();
                let of = (row.person, &head);
                let wanted = snapshot.is_wanted(project, of, &wanted).unwrap();
                wanted.then(|| snapshot.row(project, of, by).unwrap())
            });
            let mut due: Vec<_> = due.collect();
            due.sort_by_key(|row| row.person);
            let rows = snapshot.rows(project, &found, by).unwrap();
            prop_assert_eq!(&rows, &due, "{}", json);
            due.sort_by_key(|row| (Reverse(row.time), row.uuid));
            let (start, order) = (Start::Offset(0), Order { by, ascending: false });
            let among = Some(Among { persons: &found, most_read: u64::MAX });
            let page = snapshot.page(project, order, start, usize::MAX, among);
            prop_assert_eq!(page.unwrap().unwrap(), due, "{}", json);
        }
    }
    Ok(())
}

/// Runs `cases` histories, or as many as `PROPTEST_CASES` says. The seed is printed; `PROPTEST_RNG_SEED` sets
/// it.
fn config(cases: u32) -> ProptestConfig {
    let asked = |name| std::env::var(name).ok()?.parse().ok();
    let random = || uuid::Uuid::new_v4().as_u64_pair().0;
    let seed = asked("PROPTEST_RNG_SEED").unwrap_or_else(random);
    let asked = asked("PROPTEST_CASES").and_then(|cases: u64| cases.try_into().ok());
    let cases = asked.unwrap_or(cases);
    eprintln!("{cases} histories, PROPTEST_RNG_SEED={seed}");
    let rng_seed = RngSeed::Fixed(seed);
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

/// One store for many histories, each in a project of its own, since opening a store takes longer than a
/// history.
#[derive(Default)]
struct Shared(Option<(tempfile::TempDir, Store)>, ProjectId);

impl Shared {
    /// Returns a store and an empty project. The store is replaced now and then, since memory would otherwise
    /// hold all histories.
    fn project(&mut self) -> (&Store, ProjectId) {
        self.1 += 1;
        if self.1.is_multiple_of(500) {
            self.0 = None;
        }
        let (_, store) = self.0.get_or_insert_with(opened);
        (store, self.1)
    }
}

#[test]
fn every_read_of_the_store_is_the_naive_fold() {
    let shared = RefCell::new(Shared::default());
    let cuts = prop::collection::vec(1..9_usize, 1..6);
    let limit = prop_oneof![Just(SETTINGS.properties_limit), 24..60_u64];
    let all = (histories(), cuts, limit);
    let result = TestRunner::new(config(2_000)).run(&all, |(history, cuts, properties_limit)| {
        let mut shared = shared.borrow_mut();
        let (store, project) = shared.project();
        let (records, rules) = (history.records(project), rules(project));
        apply_by(&rules, store, &records, &cuts, Settings { properties_limit, ..SETTINGS });
        let mut oracle = Oracle::limited(properties_limit);
        let mut times = Vec::new();
        for (parsed, record) in parse(&records, &rules, store.dictionary()).iter().zip(&records) {
            match parsed.as_ref().unwrap() {
                Input::Event(event, _) => {
                    times.push(event.event_time);
                    oracle.apply(event, record.position);
                }
                Input::Command(command) => {
                    times.push(command.known);
                    oracle.command(command, record.position);
                }
            }
        }
        compare(store, project, &oracle, &times)
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn batches_leave_no_trace(
        history in histories(),
        cuts in prop::collection::vec(1..9_usize, 1..6),
    ) {
        let records = history.records(1);
        let [cut, whole] = [&cuts[..], &[records.len()]].map(|cuts| {
            let (_folder, store) = opened();
            apply(&store, &records, cuts, SETTINGS);
            store.content().into_iter().collect::<BTreeSet<_>>()
        });
        let differences: Vec<_> = cut.symmetric_difference(&whole).collect();
        prop_assert!(differences.is_empty(), "{differences:?}");
    }

    #[test]
    fn every_store_verifies(
        history in histories(),
        cuts in prop::collection::vec(1..9_usize, 1..6),
    ) {
        let (_folder, store) = opened();
        apply(&store, &history.records(1), &cuts, SETTINGS);
        verify::named(&store);
        let report = verify::report(&store);
        prop_assert!(report.first.is_empty(), "{:#?}", report.first);
    }
}
