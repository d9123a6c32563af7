//! Exports as CSV: complete, from one snapshot, with permits of their own, and broken off if
//! they cannot be completed.

use std::io::{Read, Write};

use axum::response::Response;
use axum::routing::get;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::csv::{expected, read};
use super::filter::properties;
use super::*;
use crate::api::error::Error;
use crate::api::export::Take;
use crate::api::read::{Read as Reading, View};

/// Enough persons that the body of an export is not sent all at once.
const MANY: usize = 5_000;

/// Persons of whom some have properties that others lack, and some were created at the same time.
fn crowd(settings: &Settings) -> World {
    let mut world = World::with(settings);
    let person = |n: usize| {
        let mut set = json!({"n": n, "plan": (["free", "pro", "team"][n % 3])});
        if n.is_multiple_of(7) {
            set["nested"] = json!({"a": [n, {"b": null}], "text": "a,\"b\"\r\nc"});
        }
        if n.is_multiple_of(1_000) {
            set[format!("only {n}")] = json!(1.50);
        }
        let time = format!("1{}:{:02}", n % 10, n % 60);
        event(&time, &format!("u{n}")).with(json!({"$set": set}))
    };
    world.ingest(&(0..MANY).map(person).collect::<Vec<_>>());
    world
}

/// Returns all persons on the pages of a list.
async fn walked(world: &World, query: &str) -> Vec<Json> {
    let pages = world.pages(&format!("{LIST}?{query}&limit=1000&format=json")).await;
    pages.iter().flat_map(|page| page["results"].as_array().unwrap().clone()).collect()
}

async fn begun(world: &World, url: &str) -> Response {
    let request = Request::get(url).header("authorization", "Bearer phx_reader");
    world.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

/// Waits until all permits for exports are released.
async fn all_left(world: &World) {
    let exports = world.state.exports.clone();
    let all = exports.acquire_many(u32::try_from(EXPORTS_AT_ONCE).unwrap());
    drop(tokio::time::timeout(Duration::from_secs(20), all).await.unwrap().unwrap());
}

#[tokio::test]
async fn an_export_is_what_the_pages_give() {
    let world = crowd(&settings());
    let pro = properties(&json!([{"key": "plan", "value": "pro"}]));
    let not_pro = properties(&json!([{"key": "plan", "value": "pro", "operator": "is_not"}]));
    let nobody = properties(&json!([{"key": "plan", "value": "none"}]));
    for (query, least) in [
        (String::new(), MANY),
        ("order_by=created_at".to_owned(), MANY),
        ("order_by=last_seen_at&cursor=".to_owned(), MANY),
        ("order_by=-last_seen_at&offset=4321".to_owned(), MANY - 4_321),
        (pro, MANY / 3),
        (format!("{not_pro}&order_by=created_at&offset=1234"), 2_000),
        (format!("{not_pro}&search=u1"), 700),
        ("search=u49".to_owned(), 111),
        (nobody, 0),
    ] {
        let pages = walked(&world, &query).await;
        assert!(pages.len() >= least, "{query}: {}", pages.len());
        let (header, rows) = read(world.get(&format!("{LIST}?{query}&format=csv")).await);
        let (due_header, due) = expected(pages.iter());
        assert_eq!(header, due_header, "{query}");
        assert_eq!(rows.len(), due.len(), "{query}");
        assert!(rows == due, "{query}: the rows are others");
    }
    all_left(&world).await;
}

#[tokio::test]
async fn a_page_is_a_page_in_csv_too() {
    let world = crowd(&settings());
    let first = world.get(&format!("{LIST}?limit=2&cursor=")).await.json();
    let next = first["next"].as_str().unwrap();
    for url in [format!("{LIST}?limit=3"), format!("{LIST}?limit=3&offset=7"), next.to_owned()] {
        let page = world.get(&url).await.json();
        let due = expected(page["results"].as_array().unwrap().iter());
        assert_eq!(read(world.get(&format!("{url}&format=csv")).await), due, "{url}");
    }
    // An export continues after a cursor, too.
    let url = next.replace("limit=2&", "");
    let (_, rows) = read(world.get(&format!("{url}&format=csv")).await);
    assert_eq!(rows.len(), MANY - 2);
}

#[tokio::test]
async fn timelines_and_values_are_whole_too() {
    let mut world = World::empty();
    let events: Vec<_> = (0..250)
        .map(|n| {
            let time = format!("10:{:02}", n % 60);
            event(&time, "ann").with(json!({"$set": {"n": n, (format!("k{}", n % 3)): n}}))
        })
        .chain((0..30).map(|n| event("11:00", &format!("u{n:02}"))))
        .collect();
    world.ingest(&events);
    for (path, limit) in [
        (format!("{LIST}/{ANN}/history?"), 1_000),
        (format!("{LIST}/{ANN}/history?key=k1&"), 1_000),
        (format!("{LIST}/{ANN}/history?from=2026-03-01T10:30:00Z&to=2026-03-01T10:40:00Z&"), 1_000),
        (format!("{LIST}/values?key=distinct_id&"), 10_000),
        (format!("{LIST}/values?key=distinct_id&value=U1&"), 10_000),
        (format!("{LIST}/values?key=n&"), 10_000),
    ] {
        let json = world.get(&format!("{path}limit={limit}")).await.json();
        let due = expected(json["results"].as_array().unwrap().iter());
        assert_eq!(read(world.get(&format!("{path}format=csv")).await), due, "{path}");
    }
    let json = world.get(&format!("{LIST}/{ANN}/history?limit=1000")).await.json();
    assert_eq!(json["results"].as_array().unwrap().len(), 250, "more than one reading takes");
}

#[tokio::test]
async fn an_export_is_of_one_moment() {
    let mut world = crowd(&settings());
    let before = walked(&world, "").await;
    let response = begun(&world, &format!("{LIST}?format=csv")).await;
    assert_eq!(response.status(), 200);
    let mut body = response.into_body().into_data_stream();
    let mut text = body.next().await.unwrap().unwrap().to_vec();
    world.ingest(&[
        event("23:00", "late").with(json!({"$set": {"a new": "column"}})),
        event("23:00", "u0").with(json!({"$set": {"plan": "none"}})),
    ]);
    assert_eq!(walked(&world, "").await.len(), MANY + 1);
    while let Some(part) = body.next().await {
        text.extend(part.unwrap());
    }
    assert!(text.len() > 4 * (64 << 10), "most of it was read after they came");
    let reply = Reply {
        status: StatusCode::OK,
        headers: [("content-type", "text/csv; charset=utf-8; header=present")]
            .into_iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect(),
        body: String::from_utf8(text).unwrap(),
    };
    assert!(read(reply) == expected(before.iter()));
}

#[tokio::test]
async fn slow_readers_are_turned_away_and_keep_nobody_from_a_list() {
    let world = crowd(&settings());
    let url = format!("{LIST}?format=csv");
    let mut slow = Vec::new();
    for _ in 0..EXPORTS_AT_ONCE {
        slow.push(begun(&world, &url).await);
    }
    let reply = world.get(&url).await;
    assert_eq!(reply.header("retry-after"), "1");
    let (status, body) = reply.error();
    assert!(status == 503 && body.contains("\"overloaded\""), "{body}");
    assert!(body.contains("Too many exports"), "{body}");
    assert_eq!(read(world.get(&format!("{url}&limit=1")).await).1.len(), 1);
    // One caller leaves in the middle, the other has read nothing.
    let mut body = slow.pop().unwrap().into_body().into_data_stream();
    body.next().await.unwrap().unwrap();
    drop(body);
    drop(slow);
    all_left(&world).await;
    assert_eq!(read(world.get(&url).await).1.len(), MANY);
}

#[tokio::test]
async fn a_head_is_answered_and_reads_no_further() {
    let world = crowd(&settings());
    let accept = [("accept", "text/csv")];
    let head = world.request_with(READER, Method::HEAD, LIST, &accept, &Json::Null).await;
    assert_eq!((head.status.as_u16(), head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-disposition"), "attachment; filename=\"persons.csv\"");
    assert!(!head.header("x-personview-position").is_empty());
    all_left(&world).await;
}

#[tokio::test]
async fn an_export_that_fails_before_it_is_sent_is_an_error_in_json() {
    let world = crowd(&Settings { snapshot_life: Duration::ZERO, ..settings() });
    for url in [format!("{LIST}?format=csv"), format!("{LIST}/values?key=n&format=csv")] {
        let reply = world.get(&url).await;
        assert!(!reply.header("x-personview-position").is_empty());
        assert_eq!((reply.header("retry-after"), reply.header("vary")), ("1", ""));
        let (status, body) = reply.error();
        assert!(status == 503 && body.contains("\"query_timeout\""), "{body}");
    }
    let broken = async |read: Reading| {
        read.export(|_: &View<'_>, _: &mut Take<'_>| panic!("a test panics on purpose")).await
    };
    let world = routed(World::new(), get(broken));
    assert_eq!(world.get("/1/x?format=csv").await.error().0, 500);
    all_left(&world).await;
    let wide = async |read: Reading| {
        read.export(|_: &View<'_>, take: &mut Take<'_>| {
            let long = "x".repeat(100_000);
            (0..20).try_for_each(|n| take(format!("{{\"{long}{n}\":1}}").as_bytes()))
        })
        .await
    };
    let world = routed(World::new(), get(wide));
    let (status, body) = world.get("/1/x?format=csv").await.error();
    assert!(status == 400 && body.contains("too many columns"), "{body}");
    all_left(&world).await;
}

/// Returns the same world with a single route.
fn routed(world: World, route: axum::routing::MethodRouter<State>) -> World {
    let routes = Router::new().route("/{project}/{id}", route).with_state(world.state.clone());
    World { router: layers::around(routes, &world.state), ..world }
}

/// Returns a route whose first pass waits for a message, and whose second pass goes on until its deadline.
fn in_words(words: mpsc::UnboundedReceiver<()>) -> axum::routing::MethodRouter<State> {
    let words = Arc::new(Mutex::new(words));
    get(async move |read: Reading| {
        let passes = AtomicU64::new(0);
        let rows = move |view: &View<'_>, take: &mut Take<'_>| -> Result<(), Error> {
            let pass = passes.fetch_add(1, Ordering::SeqCst);
            if pass == 0 {
                words.lock().unwrap().blocking_recv();
                return take(b"{\"a\":1}");
            }
            let long = format!("{{\"a\":\"{}\"}}", "x".repeat(100_000));
            (0..3).try_for_each(|_| take(long.as_bytes()))?;
            while view.check().is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
            take(long.as_bytes())
        };
        read.export(rows).await
    })
}

#[tokio::test]
async fn a_long_first_pass_does_not_keep_the_headers_back() {
    let settings = Settings { request_timeout: Duration::from_secs(2), ..settings() };
    let (say, words) = mpsc::unbounded_channel();
    let world = routed(World::with(&settings), in_words(words));
    let response = begun(&world, "/1/x?format=csv").await;
    assert_eq!(response.status(), 200, "the headers come while the first pass waits");
    say.send(()).unwrap();
    let mut body = response.into_body().into_data_stream();
    assert!(body.next().await.unwrap().unwrap().starts_with(b"a\r\nxxx"));
    drop(body);
    all_left(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_outlives_its_snapshot_is_broken_off() {
    let settings = Settings { snapshot_life: Duration::from_secs(1), ..settings() };
    let (say, words) = mpsc::unbounded_channel();
    let world = routed(World::with(&settings), in_words(words));
    say.send(()).unwrap();
    let body = begun(&world, "/1/x?format=csv").await.into_body();
    assert!(axum::body::to_bytes(body, usize::MAX).await.is_err(), "while it is read");
    say.send(()).unwrap();
    let body = begun(&world, "/1/x?format=csv").await.into_body();
    all_left(&world).await;
    assert!(axum::body::to_bytes(body, usize::MAX).await.is_err(), "and while it is not");

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(axum::serve(listener, world.router.clone()).into_future());
    say.send(()).unwrap();
    let read = spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let request =
            "GET /1/x?format=csv HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer phx_reader\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        bytes
    });
    let bytes = read.await.unwrap();
    assert!(bytes.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(bytes.windows(28).any(|part| part == b"transfer-encoding: chunked\r\n"));
    assert!(!bytes.ends_with(b"0\r\n\r\n"), "no last chunk");
    serving.abort();
}
