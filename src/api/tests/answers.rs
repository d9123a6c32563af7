//! The body of every route's answer, and of every error in the reference, as snapshots, so
//! that any change is noticed.

use std::fmt::Write as _;

use axum::http::Version;
use axum::routing::get;

use super::*;
use crate::api::cursor;

/// Requests and their answers, one after another.
#[derive(Default)]
struct Story(String);

impl Story {
    fn tell(&mut self, asked: &str, reply: &Reply) {
        let kind = reply.header("content-type");
        writeln!(self.0, "> {asked}\n{} {kind}\n{}\n", reply.status, reply.body.trim_end())
            .unwrap();
    }

    /// Reads a path under `persons`, with a key of project 1.
    async fn read(&mut self, world: &World, path: &str) {
        self.ask(world, READER, Method::GET, &format!("{LIST}{path}"), "").await;
    }

    async fn write(&mut self, world: &World, method: Method, path: &str, body: &str) {
        self.ask(world, WRITER, method, &format!("{LIST}{path}"), body).await;
    }

    async fn ask(&mut self, world: &World, key: &str, method: Method, url: &str, body: &str) {
        let authorization = format!("Bearer {key}");
        let mut headers = Vec::new();
        if !key.is_empty() {
            headers.push(("authorization", &*authorization));
        }
        if !body.is_empty() {
            headers.push(("content-type", "application/json"));
        }
        let reply = world.send_with(method.clone(), url, &headers, body.to_owned()).await;
        self.tell(format!("{method} {url} {body}").trim(), &reply);
    }
}

#[tokio::test]
async fn the_answers_of_reads_are_the_reviewed_ones() {
    let (world, mut story) = (World::roomy(), Story::default());
    let merged = person_uuid(1, "a-b-c-d-e");
    for path in [
        "",
        "?limit=1&offset=1&email=ann@x.org",
        "?limit=1",
        "?limit=1&cursor=&count=false&order_by=last_seen_at",
        "?search=nobody",
        "/values?key=plan",
        "/values?key=distinct_id&limit=2",
        &format!("/{ANN}"),
        &format!("/{merged}"),
    ] {
        story.read(&world, path).await;
    }
    for (name, body) in [
        ("batch_by_distinct_ids", json!({"distinct_ids": ["bob", "nobody"]})),
        ("batch_by_uuids", json!({"uuids": [ANN, person_uuid(1, "nobody")]})),
    ] {
        let url = format!("{LIST}/{name}");
        story.ask(&world, READER, Method::POST, &url, &body.to_string()).await;
    }
    for path in ["/activity", &format!("/{ANN}/activity?limit=1&page=2")] {
        let url = format!("{LIST}{path}");
        story.ask(&world, AUDITOR, Method::GET, &url, "").await;
    }
    story.read(&world, "/changes").await;
    for url in ["/api/projects", "/api/environments", "/api/projects/2", "/api/environments/1"] {
        story.ask(&world, OF_TWO, Method::GET, url, "").await;
    }
    // The cursor contains the store's identity, which is random.
    let cursor = story.0.split_once("\"cursor\":\"").and_then(|(_, rest)| rest.split_once('"'));
    let cursor = cursor.expect("changes have a cursor").0.to_owned();
    insta::assert_snapshot!("reads", story.0.replace(&cursor, "(cursor)"));
}

#[tokio::test]
async fn the_answers_about_the_past_are_the_reviewed_ones() {
    let (world, mut story) = (World::new(), Story::default());
    let at = "timestamp=2026-03-01T12:30:00Z";
    for path in [
        &format!("/properties_at_time?distinct_id=ann&{at}"),
        &format!("/properties_at_time?person_id={ANN}&{at}&include_set_once=true&identity=current"),
        &format!(
            "/properties_at_time?distinct_id=ann&{at}&known_at=2026-03-01T11:30:00Z&debug=true"
        ),
        "/properties_at_time?distinct_id=ann&timestamp=2026-03-01T13:00:00Z&debug=true",
        "/properties_at_time?distinct_id=ann&timestamp=2026-02-01",
        &format!("/{ANN}/history"),
        &format!("/{ANN}/history?key=plan&limit=1"),
        &format!("/{ANN}/diff?from=2026-03-01T10:00:00Z&to=2026-03-01T11:00:00Z"),
    ] {
        story.read(&world, path).await;
    }
    let lines = "{\"distinct_id\":\"ann\",\"timestamp\":\"2026-03-01T10:00:00Z\"}\nnonsense\n";
    let url = "/api/projects/1/persons/properties_at_time";
    story.ask(&world, READER, Method::POST, url, lines).await;
    insta::assert_snapshot!("past", story.0);
}

#[tokio::test]
async fn the_answers_of_writes_are_the_reviewed_ones() {
    let (world, mut story) = (World::new(), Story::default());
    let (one, under) = (format!("/{ANN}"), |name: &str| format!("/{ANN}/{name}"));
    let set = r#"{"properties":{"plan":"team","none":null}}"#;
    story.write(&world, Method::PATCH, &one, set).await;
    story.write(&world, Method::PUT, &one, set).await;
    let one_key = r#"{"key":"seats","value":5}"#;
    story.write(&world, Method::POST, &under("update_property"), one_key).await;
    let unset = r#"{"$unset":"seats"}"#;
    story.write(&world, Method::POST, &under("delete_property"), unset).await;
    story.write(&world, Method::POST, &under("split"), r#"{"main_distinct_id":"ann"}"#).await;
    story.write(&world, Method::DELETE, &one, "").await;
    let bob = r#"{"distinct_ids":["bob","nobody"]}"#;
    story.write(&world, Method::POST, "/bulk_delete", bob).await;
    let reset = r#"{"distinct_id":"bob"}"#;
    story.write(&world, Method::POST, "/reset_person_distinct_id", reset).await;
    *world.log.kafka.lock().unwrap() = Kafka::Slow;
    story.0.push_str("(From here on Kafka has it, and it is not applied in time.)\n\n");
    story.write(&world, Method::POST, "/reset_person_distinct_id", reset).await;
    // Masks `last_seen_at`.
    let told: Vec<_> = story.0.split('"').collect();
    let is_seen = |index: usize| index >= 2 && told[index - 2] == "last_seen_at";
    let fixed = (0..told.len()).map(|index| if is_seen(index) { "(now)" } else { told[index] });
    insta::assert_snapshot!("writes", fixed.collect::<Vec<_>>().join("\""));
}

#[tokio::test]
async fn the_answers_to_monitors_are_the_reviewed_ones() {
    let (world, mut story) = (World::new(), Story::default());
    for url in ["/_liveness", "/_readiness"] {
        story.ask(&world, "", Method::GET, url, "").await;
    }
    let mut metrics = world.ask(Method::GET, "/metrics", &[]).await;
    // The numbers differ from run to run.
    let series = metrics.body.lines().filter(|line| line.starts_with("# "));
    metrics.body = series.collect::<Vec<_>>().join("\n");
    story.tell("GET /metrics, without the numbers", &metrics);
    insta::assert_snapshot!("monitors", story.0);
}

/// Sends every request that the reference says is an error of the request.
async fn errors_of_requests(story: &mut Story) {
    let world = World::new();
    let long = "x".repeat(8 << 10);
    for path in [
        "/ann",
        "?limit=0",
        "?offset=-1",
        "/properties_at_time?distinct_id=ann&timestamp=2026-03-01&debug=yes",
        "/properties_at_time?distinct_id=ann&timestamp=yesterday",
        "?min_position=x",
        "/properties_at_time?distinct_id=ann&person_id=1&timestamp=2026-03-01",
        "/properties_at_time?timestamp=2026-03-01",
        "/properties_at_time?distinct_id=ann",
        "?properties=x",
        "?properties=[{%22key%22:%22age%22,%22operator%22:%22likes%22}]",
        "?properties=[{%22key%22:%22age%22,%22operator%22:%22between%22,%22value%22:1}]",
        "?properties=[{%22key%22:%22age%22,%22op%22:%22gt%22,%22value%22:1}]",
        "/1",
        "/properties_at_time?distinct_id=nobody&timestamp=2026-03-01",
        "/properties_at_time?person_id=1&timestamp=2026-03-01",
        "?cursor=x",
        "?format=xml",
        "/changes?format=csv",
        "?min_position=events:0:7",
    ] {
        story.read(&world, path).await;
    }
    let elsewhere = cursor::after_change(uuid::Uuid::nil(), 1, 0);
    story.read(&world, &format!("/changes?cursor={elsewhere}")).await;
    for (key, url) in [
        (OF_TWO, "/api/projects/@current/persons"),
        ("", LIST),
        ("phx_nobody", LIST),
        (AUDITOR, LIST),
        (READER, "/api/projects/2/persons"),
        (READER, "/api/projects/x/persons"),
        (READER, "/nowhere"),
    ] {
        story.ask(&world, key, Method::GET, url, "").await;
    }
    for (method, path, body) in [
        (Method::PATCH, format!("/{ANN}"), "{}"),
        (Method::POST, "/reset_person_distinct_id".to_owned(), "{}"),
        (Method::POST, format!("/{ANN}/split"), r#"{"main_distinct_id":"x"}"#),
        (Method::POST, format!("/{ANN}/update_property"), r#"{"$set":{},"key":"a"}"#),
        (Method::POST, format!("/{}/split", person_uuid(1, "bob")), "{}"),
        (Method::POST, format!("/{ANN}/split"), r#"{"distinct_ids":["ann"]}"#),
        (Method::PATCH, format!("/{ANN}"), "{"),
        (Method::POST, "/bulk_delete".to_owned(), r#"{"ids":["zz"]}"#),
        (Method::POST, "/bulk_delete".to_owned(), r#"{"distinct_ids":[true]}"#),
        (Method::TRACE, format!("/{ANN}"), ""),
        (Method::POST, String::new(), ""),
        (Method::PATCH, format!("/{ANN}"), &long),
    ] {
        story.write(&world, method, &path, body).await;
    }
    for _ in 0..3 {
        story.ask(&world, HASTY, Method::GET, "/api/projects/@current", "").await;
    }
    let join = "/api/projects/1/persons/properties_at_time?format=csv";
    story.ask(&world, READER, Method::POST, join, "{}").await;
    too_wide(story).await;
    too_large(story).await;
    story.read(&world, &format!("?x={long}")).await;
    not_json(&world, story).await;
}

/// Bodies that are not read at all.
async fn not_json(world: &World, story: &mut Story) {
    let (url, key) = (format!("{LIST}/{ANN}"), ("authorization", "Bearer phx_writer"));
    let text = [key, ("content-type", "text/plain")];
    let reply = world.send_with(Method::PATCH, &url, &text, "x").await;
    story.tell("PATCH with text/plain", &reply);
    let packed = [key, ("content-type", "application/json"), ("content-encoding", "gzip")];
    let reply = world.send_with(Method::PATCH, &url, &packed, "x").await;
    story.tell("PATCH with Content-Encoding gzip", &reply);
    let form = [key, ("content-type", "application/x-www-form-urlencoded")];
    let reply = world.send_with(Method::PATCH, &url, &form, r#"{"properties": {"a": 1}}"#).await;
    story.tell("PATCH with JSON as a form", &reply);
    let old = Request::get(format!("{LIST}?format=csv")).version(Version::HTTP_10);
    let old = old.header("authorization", "Bearer phx_reader").body(Body::empty()).unwrap();
    story.tell("GET of an export over HTTP/1.0", &world.send(old).await);
    let old = Request::post("/api/projects/1/persons/properties_at_time").version(Version::HTTP_10);
    let old = old.header("authorization", "Bearer phx_reader").body(Body::empty()).unwrap();
    story.tell("POST of a join over HTTP/1.0", &world.send(old).await);
}

/// Requests more than one answer may contain.
async fn too_large(story: &mut Story) {
    let world = World::with_people(&Settings { page_limit: 1, ..settings() });
    story.read(&world, "?format=csv&limit=2").await;
    let url = "/api/projects/1/persons/batch_by_distinct_ids";
    story.ask(&world, READER, Method::POST, url, r#"{"distinct_ids":["ann","bob"]}"#).await;
}

/// Requests more column names than a table may have.
async fn too_wide(story: &mut Story) {
    let mut world = World::new();
    for id in ["a", "b", "c"] {
        let wide = json!({"$set": {id.repeat(400 << 10): 1}});
        world.ingest(&[event("17:00", id).with(wide)]);
    }
    story.read(&world, "?format=csv").await;
}

/// Sends the requests that fail because of the server.
async fn errors_of_the_server(story: &mut Story) {
    let world = World::with(&Settings { request_timeout: Duration::from_millis(20), ..settings() });
    let slow = || tokio::time::sleep(Duration::from_secs(60));
    let routes = Router::new()
        .route("/slow", get(slow).post(slow))
        .route("/broken", get(async || -> String { panic!("a test panics on purpose") }));
    let world = World { router: layers::around(routes, &world.state), ..world };
    for (method, path) in
        [(Method::GET, "/slow"), (Method::POST, "/slow"), (Method::GET, "/broken")]
    {
        story.ask(&world, "", method, path, "").await;
    }
    let world = World::new();
    let permits = world.state.lists.clone().acquire_many_owned(8).await.unwrap();
    story.read(&world, "").await;
    drop(permits);
    let permits = world.state.exports.clone().acquire_many_owned(2).await.unwrap();
    story.read(&world, "?format=csv").await;
    drop(permits);
    let permits = world.state.joins.clone().acquire_many_owned(8).await.unwrap();
    let url = "/api/projects/1/persons/properties_at_time";
    story.ask(&world, READER, Method::POST, url, "").await;
    drop(permits);
    *world.log.kafka.lock().unwrap() = Kafka::Away;
    story.write(&world, Method::DELETE, &format!("/{ANN}"), "").await;
    *world.log.kafka.lock().unwrap() = Kafka::Bare;
    story.write(&world, Method::DELETE, &format!("/{ANN}"), "").await;
    let world = World::crowded();
    let set = json!({"properties": {"wide": "x".repeat(600 << 10)}});
    let reply = world.request(WRITER, Method::PATCH, &format!("{LIST}/{ANN}"), &set).await;
    story.tell("PATCH with more than a person may have", &reply);
}

#[tokio::test]
async fn errors_are_answered_as_the_reference_says() {
    let mut story = Story::default();
    errors_of_requests(&mut story).await;
    errors_of_the_server(&mut story).await;
    let page = include_str!("../../../docs/api.md");
    let table = page.split("| Status | `type` | `code` | `detail` | When |\n").nth(1).unwrap();
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let mut told = 0;
    for row in rows {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let (status, kind, code) =
            (cells[1], cells[2].trim_matches('`'), cells[3].trim_matches('`'));
        for detail in cells[4].split('`').skip(1).step_by(2) {
            let detail = serde_json::to_string(detail).unwrap();
            let body = format!(r#"{{"type":"{kind}","code":"{code}","detail":{detail},"#);
            let is_told = story
                .0
                .split("\n\n")
                .any(|answer| answer.contains(&body) && answer.contains(&format!("\n{status} ")));
            assert!(is_told, "no request here is answered {status} {body}");
            told += 1;
        }
    }
    assert!(told > 35);
    let long = "x".repeat(8 << 10);
    insta::assert_snapshot!("errors", story.0.replace(&long, "(8,192 times x)"));
}
