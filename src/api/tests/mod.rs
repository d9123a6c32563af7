//! Tests of the whole HTTP API over a real store: a small world of events, read through the router.

mod activity;
mod answers;
mod as_of;
mod change_feed;
mod contract;
mod csv;
mod errors;
mod event;
mod export;
mod filter;
mod fuzz;
mod health;
mod history;
mod large;
mod list;
mod many;
mod mutations;
mod openapi;
mod outside;
mod security;
mod server;
mod single;

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value as Json, json};
use tower::ServiceExt;

use self::event::{Event, event, merges_into_ann};
use super::key::{ApiKey, Keys, Scopes, hash};
use super::*;
use crate::ingest::apply;
use crate::person::record::FIRST_COMMAND_TOPIC;
use crate::person::{Command, Position, Record, Rules, Time, identity};
use crate::progress::Positions;
use crate::store::tests::opened;

/// May read project 1.
const READER: &str = "phx_reader";
/// May read projects 1 and 2.
const OF_TWO: &str = "phx_two";
/// May write project 1.
const WRITER: &str = "phx_writer";
/// May read the activity log of project 1, but not persons.
const AUDITOR: &str = "phx_auditor";
/// May read project 1 twice a minute.
const HASTY: &str = "phx_hasty";

/// The persons of project 1.
const LIST: &str = "/api/projects/1/persons";

const ANN: &str = "fe27503b-3771-5a01-819d-96bf829dfb35";

/// A store with events in it, and the router over it.
struct World {
    state: State,
    router: Router,
    log: Arc<Log>,
    applied: u64,
    folder: tempfile::TempDir,
}

/// How Kafka treats a command.
#[derive(Clone, Copy)]
enum Kafka {
    /// It is appended, and applied at once.
    Here,
    /// It is appended, and not applied.
    Slow,
    /// It cannot be reached.
    Away,
    /// It has no topic of commands.
    Bare,
    /// It does not answer.
    Silent,
}

/// A log of commands that applies them as ingestion does.
struct Log {
    store: Arc<Store>,
    progress: Arc<Progress>,
    appended: AtomicU64,
    kafka: Mutex<Kafka>,
}

impl CommandLog for Log {
    fn append(&self, command: Command, _: Duration) -> Appending<'_> {
        let kafka = *self.kafka.lock().unwrap();
        Box::pin(async move {
            let offset = self.appended.fetch_add(1, Ordering::SeqCst);
            let positions = Positions::from([(("commands".to_owned(), 0), offset + 1)]);
            match kafka {
                Kafka::Here => {}
                Kafka::Slow => return Ok(positions),
                Kafka::Away => return Err(NotAppended::Nothing),
                Kafka::Bare => return Err(NotAppended::NoTopic),
                Kafka::Silent => return Err(NotAppended::Unknown),
            }
            let topic = FIRST_COMMAND_TOPIC;
            let record = Record {
                position: Position { topic, partition: 0, offset },
                topic: "commands".into(),
                timestamp: command.known,
                value: Some(command.to_json().into_bytes()),
                ..Record::default()
            };
            commit(&self.store, &[record]);
            self.progress.update(|status| status.positions.extend(positions.clone()));
            Ok(positions)
        })
    }
}

/// Applies records as ingestion does.
fn commit(store: &Store, records: &[Record]) {
    let rules =
        Rules { promote: true, projects: [("t1".to_owned(), 1), ("t2".to_owned(), 2)].into() };
    let settings = apply::Settings { record_volatile: false, properties_limit: 512 << 10 };
    let mut left = records;
    while !left.is_empty() {
        let parsed = apply::parse(left, &rules, store.dictionary());
        let (mut transaction, tally, done) =
            apply::batch(store.transaction(), left, &parsed, settings).unwrap();
        assert_eq!(tally.rejections, []);
        assert_eq!(transaction.topic("events"), 0);
        assert_eq!(transaction.command_topic("commands"), FIRST_COMMAND_TOPIC);
        transaction.commit().unwrap();
        left = &left[done..];
    }
}

impl World {
    fn empty() -> Self {
        Self::with(&settings())
    }

    fn with(settings: &Settings) -> Self {
        let (folder, store) = opened();
        let (store, progress) = (Arc::new(store), Arc::<Progress>::default());
        let log = Arc::new(Log {
            store: store.clone(),
            progress: progress.clone(),
            appended: AtomicU64::new(0),
            kafka: Mutex::new(Kafka::Here),
        });
        let (access, settings) = (access(), settings.clone());
        let state = State::new(store, progress, Arc::default(), log.clone(), access, settings);
        Self { router: router::main(&state), state, log, applied: 0, folder }
    }

    /// A world with Ann, who is a merge of two persons, and Bob.
    fn new() -> Self {
        Self::with_people(&settings())
    }

    /// The same, with a limit that allows long bodies.
    fn roomy() -> Self {
        Self::with_people(&Settings { body_limit: 64 << 10, ..settings() })
    }

    /// The same, with a limit that allows bodies larger than a person's properties may be.
    fn crowded() -> Self {
        Self::with_people(&Settings { body_limit: 1 << 20, ..settings() })
    }

    fn with_people(settings: &Settings) -> Self {
        let mut world = Self::with(settings);
        world.ingest(&[
            event("10:00", "ann").with(json!({"$set": {"plan": "free", "email": "ann@x.org"}})),
            event("11:00", "ann")
                .with(json!({"$set": {"plan": "pro"}, "$set_once": {"from": "ad"}})),
            event("12:00", "a-b-c-d-e").with(json!({"$set": {"theme": "dark", "n": 1.0}})),
            event("13:00", "ann").named("$identify", json!({"$anon_distinct_id": "a-b-c-d-e"})),
            event("10:30", "ann").known("14:00").with(json!({"$set": {"plan": "trial"}})),
            event("15:00", "bob").with(json!({"$set": {"email": "bob@x.org"}})),
            event("16:00", "bob").named("x", json!({"$unset": ["email"], "$set": {"n": [1]}})),
        ]);
        world
    }

    /// So many persons, at most ten, each created an hour after the one before and with its number as `n`.
    fn of_persons(count: u8) -> Self {
        let mut world = Self::empty();
        let person =
            |n| event(&format!("1{n}:00"), &format!("u{n}")).with(json!({"$set": {"n": n}}));
        world.ingest(&(0..count).map(person).collect::<Vec<_>>());
        world
    }

    /// Applies events to the store, as ingestion does, and wakes the readers that wait for them.
    fn ingest(&mut self, events: &[Event]) {
        let numbered = events.iter().zip(self.applied..);
        let records: Vec<_> = numbered.map(|(event, offset)| event.record(offset)).collect();
        self.applied += records.len() as u64;
        commit(&self.state.store, &records);
        let applied = self.applied;
        self.state.progress.update(|status| {
            status.positions.insert(("events".to_owned(), 0), applied);
        });
    }

    /// Sends a `GET` request as the reader of project 1.
    async fn get(&self, url: &str) -> Reply {
        self.get_as(READER, url).await
    }

    async fn get_as(&self, key: &str, url: &str) -> Reply {
        self.request(key, Method::GET, url, &Json::Null).await
    }

    /// Sends a `GET` request as the reader of project 1, with more headers.
    async fn get_with(&self, url: &str, headers: &[(&str, &str)]) -> Reply {
        self.request_with(READER, Method::GET, url, headers, &Json::Null).await
    }

    /// Returns a page and all that follow it, each by the link of the one before.
    async fn pages(&self, url: &str) -> Vec<Json> {
        let (mut pages, mut next) = (Vec::new(), Some(url.to_owned()));
        while let Some(url) = next {
            let page = self.get(&url).await.json();
            next = page["next"].as_str().map(str::to_owned);
            pages.push(page);
            assert!(pages.len() < 1_000, "the pages have no end");
        }
        pages
    }

    /// Writes as the writer of project 1, which has to be accepted.
    async fn write(&self, method: Method, rest: &str, body: &Json) {
        let reply = self.request(WRITER, method, &format!("{LIST}/{rest}"), body).await;
        assert!(reply.status.is_success(), "{}", reply.body);
    }

    /// Sends a request with a key, and with a JSON body unless it is null.
    async fn request(&self, key: &str, method: Method, url: &str, body: &Json) -> Reply {
        self.request_with(key, method, url, &[], body).await
    }

    async fn request_with(
        &self,
        key: &str,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: &Json,
    ) -> Reply {
        let authorization = format!("Bearer {key}");
        let mut headers = [&[("authorization", &*authorization)], headers].concat();
        if body.is_null() {
            return self.ask(method, url, &headers).await;
        }
        headers.push(("content-type", "application/json"));
        self.send_with(method, url, &headers, body.to_string()).await
    }

    /// Sends a request without a body.
    async fn ask(&self, method: Method, url: &str, headers: &[(&str, &str)]) -> Reply {
        self.send_with(method, url, headers, Body::empty()).await
    }

    async fn send_with(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let reply = Reply::of(self.router.clone().oneshot(request).await.unwrap()).await;
        contract::check(&method, &path, &reply);
        reply
    }
}

/// Returns the uuid of the person created for a distinct id.
fn person_uuid(project: u32, distinct_id: &str) -> String {
    identity::person_uuids(project, distinct_id).next().unwrap().to_string()
}

/// Returns the first distinct id of every listed person.
fn names(list: &Json) -> Vec<String> {
    let results = list["results"].as_array().unwrap().iter();
    results.map(|person| person["distinct_ids"][0].as_str().unwrap().to_owned()).collect()
}

/// An answer.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Reply {
    async fn of(response: axum::response::Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Self {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    /// The body of a success.
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.status, 200, "{}", self.body);
        assert_eq!(self.headers["content-type"], "application/json");
        self.body
    }

    #[track_caller]
    fn json(self) -> Json {
        serde_json::from_str(&self.ok()).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The status and the body of an error.
    #[track_caller]
    fn error(self) -> (u16, String) {
        assert_eq!(self.headers["content-type"], "application/json");
        (self.status.as_u16(), self.body)
    }
}

fn settings() -> Settings {
    Settings {
        display_name_properties: ["email", "name"].map(String::from).to_vec(),
        connections: 100,
        request_timeout: Duration::from_secs(5),
        snapshot_life: SNAPSHOT_LIFE,
        body_limit: 1_024,
        page_limit: 1 << 20,
        join_spool: LEAST_SPOOL,
        position_wait: Duration::from_millis(50),
        trust_forwarded: false,
        metrics_separate: false,
    }
}

fn access() -> Access {
    let key = |secret: &str, scopes: &str, projects: &[u32]| ApiKey {
        label: secret.to_owned(),
        sha256: hash(secret),
        scopes: Scopes::parse([scopes]).unwrap(),
        projects: projects.iter().copied().collect::<BTreeSet<_>>(),
        requests_per_minute: (secret == HASTY).then_some(NonZeroU32::new(2)).flatten(),
    };
    let project = |id| Project { id, name: format!("Project {id}") };
    Access {
        projects: vec![project(1), project(2)],
        keys: Keys::new(vec![
            key(READER, "person:read", &[1]),
            key(OF_TWO, "person:read", &[1, 2]),
            key(WRITER, "person:write", &[1]),
            key(AUDITOR, "activity_log:read", &[1]),
            key(HASTY, "person:read", &[1]),
        ]),
    }
}
