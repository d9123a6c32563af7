//! Errors: all are answered in the same shape.

use std::convert::Infallible;

use axum::routing::get;
use futures_util::stream;

use super::*;

fn shape(kind: &str, code: &str, detail: &str) -> String {
    format!(r#"{{"type":"{kind}","code":"{code}","detail":"{detail}","attr":null}}"#)
}

#[tokio::test]
async fn projects_and_keys_can_be_replaced_while_it_runs() {
    let world = World::new();
    world.get(LIST).await.ok();
    world.state.replace_access(Access::default());
    assert_eq!(world.get(LIST).await.error().0, 401);
    let gone = Access { projects: Vec::new(), ..access() };
    world.state.clone().replace_access(gone);
    assert_eq!(world.get(LIST).await.error().0, 404);
}

#[tokio::test]
async fn projects_are_apart() {
    let mut world = World::new();
    world.ingest(&[event("10:00", "ann").of_project_2()]);
    let list = world.get_as(OF_TWO, "/api/projects/2/persons").await.json();
    assert_eq!(list["count"], 1);
    assert_eq!(list["results"][0]["properties"], json!({}));
}

#[tokio::test]
async fn unknown_paths_are_not_found() {
    let world = World::new();
    let expected = (404, shape("invalid_request", "not_found", "Endpoint not found."));
    for path in ["/", "/api/projects/1/people", "/api/projects/1/persons/1/nothing", "/%FF"] {
        assert_eq!(world.get(path).await.error(), expected, "{path}");
    }
    assert_eq!(world.get("/docs/%FF").await.error(), expected);
    for path in
        ["/api/projects/%FF", "/api/projects/1/persons/%FF", "/api/projects/1/persons/%FF/diff"]
    {
        let (status, body) = world.get(path).await.error();
        assert_eq!(status, 400, "{path}");
        assert!(body.contains(r#""attr":"path""#), "{path}: {body}");
    }
}

#[tokio::test]
async fn methods_that_a_route_does_not_know_are_not_allowed() {
    let world = World::new();
    let one = "GET,HEAD,PATCH,PUT,DELETE";
    for (method, path, allow) in [
        (Method::PUT, LIST.to_owned(), "GET,HEAD"),
        (Method::TRACE, format!("{LIST}/1"), one),
        (Method::POST, format!("{LIST}/1/"), one),
        (Method::GET, format!("{LIST}/1/split"), "POST"),
        (Method::POST, format!("{LIST}/changes"), "GET,HEAD"),
        (Method::OPTIONS, format!("{LIST}/properties_at_time"), "GET,HEAD,POST"),
        (Method::POST, "/_readiness".to_owned(), "GET,HEAD"),
    ] {
        let detail = format!("Method \\\"{method}\\\" not allowed.");
        let expected = shape("invalid_request", "method_not_allowed", &detail);
        let reply = world.ask(method, &path, &[]).await;
        assert_eq!(reply.header("allow"), allow, "{path}");
        assert_eq!(reply.error(), (405, expected), "{path}");
    }
    let reply = world.ask(Method::POST, LIST, &[]).await;
    assert_eq!(reply.header("allow"), "GET,HEAD");
    let (status, body) = reply.error();
    assert_eq!(status, 405);
    assert!(body.contains(r#""code":"method_not_allowed""#), "{body}");
    assert!(body.contains("Send an event"), "{body}");
}

#[tokio::test]
async fn urls_and_bodies_have_a_limit() {
    let world = World::new();
    let url = format!("{LIST}?x={}", "x".repeat(8 << 10));
    let detail = "The URL is longer than 8192 bytes.";
    let expected = shape("invalid_request", "uri_too_long", detail);
    assert_eq!(world.get(&url).await.error(), (414, expected));

    let text = vec![b' '; 1_025];
    let unsaid = stream::iter([Ok::<_, Infallible>(text.clone())]);
    let detail = "The body is larger than allowed.";
    let expected = shape("invalid_request", "payload_too_large", detail);
    for body in [Body::from(text), Body::from_stream(unsaid)] {
        let url = format!("{LIST}/batch_by_uuids");
        let reply = world.send_with(Method::POST, &url, &[], body).await;
        assert_eq!(reply.error(), (413, expected.clone()));
    }
}

#[tokio::test]
async fn a_panic_and_a_timeout_are_answered_in_the_same_shape() {
    let world = World::with(&Settings { request_timeout: Duration::from_millis(20), ..settings() });
    let slow = || tokio::time::sleep(Duration::from_secs(60));
    let slow_and_broken = Router::new()
        .route("/slow", get(slow).post(slow))
        .route("/panic", get(async || -> String { panic!("a test panics on purpose") }));
    let router = layers::around(slow_and_broken, &world.state);
    let world = World { router, ..world };
    let reply = world.ask(Method::GET, "/slow", &[]).await;
    assert_eq!(reply.header("retry-after"), "1");
    let detail = "The query took longer than allowed; narrow it down or try again.";
    let expected = shape("server_error", "query_timeout", detail);
    assert_eq!(reply.error(), (503, expected));
    let detail = "The request took too long; it is not known whether it was done.";
    let expected = shape("server_error", "timeout", detail);
    assert_eq!(world.ask(Method::POST, "/slow", &[]).await.error(), (504, expected));
    let expected = shape("server_error", "error", "A server error occurred.");
    assert_eq!(world.ask(Method::GET, "/panic", &[]).await.error(), (500, expected));
}

#[tokio::test]
async fn a_panic_while_reading_is_answered_and_gives_its_place_back() {
    let world = World::new();
    let broken = async |read: read::Read| read.list(|_| panic!("a test panics on purpose")).await;
    let routes = Router::new().route("/{project}", get(broken)).with_state(world.state.clone());
    let world = World { router: layers::around(routes, &world.state), ..world };
    let expected = shape("server_error", "error", "A server error occurred.");
    assert_eq!(world.get("/1").await.error(), (500, expected));
    assert_eq!(world.state.lists.available_permits(), LISTS_AT_ONCE);
}

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_when_to_come_again() {
    let world = World::new();
    for _ in 0..2 {
        world.get_as(HASTY, LIST).await.ok();
    }
    let reply = world.get_as(HASTY, LIST).await;
    assert_eq!(reply.header("retry-after"), "30");
    let detail = "Request was throttled. Expected available in 30 seconds.";
    assert_eq!(reply.error(), (429, shape("throttled_error", "throttled", detail)));
    world.get(LIST).await.ok();
}
