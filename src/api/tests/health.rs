//! Liveness, readiness and metrics.

use super::*;

async fn readiness(world: &World) -> (u16, String) {
    world.ask(Method::GET, "/_readiness", &[]).await.error()
}

#[tokio::test]
async fn a_process_that_answers_is_alive() {
    let world = World::empty();
    let reply = world.ask(Method::GET, "/_liveness", &[]).await;
    assert_eq!(reply.ok(), r#"{"status":"alive"}"#);
}

#[tokio::test]
async fn readiness_names_what_is_lacking() {
    let world = World::empty();
    let progress = &world.state.progress;
    let expected = |status: &str, ingestion: &str, caught_up: &str, kafka: &str, process: &str| {
        format!(
            r#"{{"status":"{status}","components":{{"store":{{"ok":true}},"ingestion":{{{ingestion}}},"caught_up":{{{caught_up}}},"kafka":{{{kafka}}},"process":{{{process}}}}}}}"#
        )
    };
    let ok = r#""ok":true"#;
    let behind = r#""ok":false,"reason":"not caught up with Kafka since the start""#;
    let body = expected("not_ready", ok, behind, ok, ok);
    assert_eq!(readiness(&world).await, (503, body));

    progress.update(|status| {
        status.caught_up = true;
        status.lag_records = Some(7);
        status.last_record = Some(1_772_366_400_000_000);
    });
    let caught_up = r#""ok":true,"lag_records":7,"last_record_at":"2026-03-01T12:00:00Z""#;
    let body = expected("ready", ok, caught_up, ok, ok);
    assert_eq!(readiness(&world).await, (200, body));

    progress.note_dead_letters(Some("dead letters cannot be written"));
    let trouble = r#""ok":true,"reason":"dead letters cannot be written""#;
    let body = expected("ready", ok, caught_up, trouble, ok);
    assert_eq!(readiness(&world).await, (200, body));
    progress.note_dead_letters(None);

    progress.update(|status| status.kafka_trouble = Some("no broker answers".to_owned()));
    let trouble = r#""ok":true,"reason":"no broker answers""#;
    let body = expected("ready", ok, caught_up, trouble, ok);
    assert_eq!(readiness(&world).await, (200, body));

    progress.update(|status| status.kafka_cause = Some("connection refused".to_owned()));
    let trouble = r#""ok":true,"reason":"no broker answers: connection refused""#;
    let body = expected("ready", ok, caught_up, trouble, ok);
    assert_eq!(readiness(&world).await, (200, body));

    progress.update(|status| status.stopped = Some("the topic is another one".to_owned()));
    let stopped = r#""ok":false,"reason":"the topic is another one""#;
    let body = expected("not_ready", stopped, caught_up, trouble, ok);
    assert_eq!(readiness(&world).await, (503, body));

    progress.update(|status| {
        status.stopped = None;
        status.shutting_down = true;
    });
    let ending = r#""ok":false,"reason":"shutting down""#;
    let body = expected("not_ready", ok, caught_up, trouble, ending);
    assert_eq!(readiness(&world).await, (503, body));
}

#[tokio::test]
async fn requests_are_measured_by_their_route() {
    let world = World::new();
    world.get("/api/projects/1/persons/").await.ok();
    world.get(LIST).await.ok();
    world.get("/api/environments/1/persons/17").await.error();
    world.get("/nowhere/17").await.error();
    readiness(&world).await;
    let reply = world.ask(Method::GET, "/metrics", &[]).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let series = "personview_http_request_duration_seconds_count";
    for line in [
        format!(
            r#"{series}{{method="GET",route="/api/projects/{{project}}/persons",status="200"}} 2"#
        ),
        format!(
            r#"{series}{{method="GET",route="/api/environments/{{project}}/persons/{{id}}",status="404"}} 1"#
        ),
        format!(r#"{series}{{method="GET",route="unmatched",status="404"}} 1"#),
        // Two requests were not found. Not being ready does not count as an error.
        r#"personview_http_errors_total{code="not_found"} 2"#.to_owned(),
        r#"personview_http_errors_total{code="error"} 0"#.to_owned(),
        "personview_http_requests_in_flight 1".to_owned(),
        r#"personview_store_bytes{family="person"} 0"#.to_owned(),
    ] {
        assert!(reply.body.lines().any(|found| found == line), "{line}\n{}", reply.body);
    }
}

#[tokio::test]
async fn health_with_a_listener_of_its_own_is_not_answered_here() {
    let world = World::with(&Settings { metrics_separate: true, ..settings() });
    for path in ["/metrics", "/_liveness", "/_readiness"] {
        assert_eq!(world.get(path).await.error().0, 404);
    }
    let health = World { router: router::health(&world.state), ..world };
    health.get("/_liveness/").await.ok();
    assert_eq!(health.get("/metrics").await.status, 200);
    assert_eq!(health.get(LIST).await.error().0, 404);
    drop(health.folder);
}
