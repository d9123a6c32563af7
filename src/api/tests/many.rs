//! Many at once: persons by distinct id and by uuid, the point-in-time join, and projects.

use std::time::Instant;

use super::*;
use crate::api::join::{Came, Lines};
use crate::api::parameters::Parameters;
use crate::api::read::View;
use crate::api::spool::Spool;

/// Asks for persons by their ids.
async fn ask(world: &World, route: &str, ids: &Json) -> Reply {
    world.request(READER, Method::POST, &format!("{LIST}/{route}"), ids).await
}

/// Sends lines to the point-in-time join.
async fn join(world: &World, query: &str, lines: String) -> Reply {
    let headers =
        [("authorization", "Bearer phx_reader"), ("content-type", "application/x-ndjson")];
    let url = format!("{LIST}/properties_at_time{query}");
    world.send_with(Method::POST, &url, &headers, lines).await
}

#[tokio::test]
async fn persons_are_found_by_what_was_asked() {
    let world = World::roomy();
    let ids = json!({"distinct_ids": ["bob", "nobody", "a-b-c-d-e", "bob"]});
    let found = ask(&world, "batch_by_distinct_ids", &ids).await.json();
    let results = found["results"].as_object().unwrap();
    assert_eq!(results.keys().collect::<Vec<_>>(), ["a-b-c-d-e", "bob"]);
    assert_eq!(results["a-b-c-d-e"]["uuid"], ANN);
    let merged = person_uuid(1, "a-b-c-d-e");
    let uuids = json!({"uuids": [merged, person_uuid(1, "nobody")]});
    let found = ask(&world, "batch_by_uuids/", &uuids).await.json();
    assert_eq!(found["results"][&merged]["uuid"], ANN);
    assert_eq!(found["results"].as_object().unwrap().len(), 1);
    let many: Vec<_> = (0..1001).map(|n| n.to_string()).collect();
    for wrong in [json!({}), json!({"distinct_ids": many}), json!({"distinct_ids": {}})] {
        assert_eq!(ask(&world, "batch_by_distinct_ids", &wrong).await.status, 400);
    }
    assert_eq!(ask(&world, "batch_by_uuids", &json!({"uuids": ["x"]})).await.status, 400);
}

fn line(who: &str, time: &str) -> String {
    format!("{{\"distinct_id\":\"{who}\",\"timestamp\":\"2026-03-01T{time}:00Z\"}}\n")
}

#[tokio::test]
async fn every_line_is_answered_in_its_place() {
    let world = World::new();
    let last = line("ann", "11:00");
    let body = [
        &line("ann", "10:00"),
        "nonsense\r\n",
        "\n",
        &line("nobody", "10:00"),
        "[1]\n",
        "{\"distinct_id\":\"ann\"}\n",
        last.trim_end(),
    ];
    let reply = join(&world, "", body.concat()).await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("content-type")),
        (200, "application/x-ndjson")
    );
    let lines: Vec<Json> =
        reply.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let single = "/api/projects/1/persons/properties_at_time?distinct_id=ann&timestamp=2026-03-01T";
    assert_eq!(lines[0], world.get(&format!("{single}10:00:00Z")).await.json());
    assert_eq!(lines[1], json!({"error": "The line is not JSON.", "line": 2}));
    assert_eq!(lines[2], json!({"error": "Person with distinct_id 'nobody' not found", "line": 4}));
    assert_eq!(lines[3], json!({"error": "The line is JSON, but not an object.", "line": 5}));
    assert_eq!(lines[4]["line"], 6);
    assert_eq!(lines[5], world.get(&format!("{single}11:00:00Z")).await.json());
    assert_eq!(lines.len(), 6);
}

#[tokio::test]
async fn a_join_may_be_longer_than_memory_should_hold() {
    let world = World::new();
    let long = format!("{{\"distinct_id\":\"{}\"}}\n", "x".repeat(200_000));
    // A line of the greatest length is answered.
    let longest = line("ann", "11:00").trim_end().to_owned();
    let longest = longest.clone() + &" ".repeat((64 << 10) - longest.len()) + "\n";
    let body =
        longest + &line("ann", "11:00").repeat(4_999) + &long + &line("bob", "15:00").repeat(5_000);
    assert!(body.len() > 500_000, "longer than the bodies of other requests may be");
    let reply = join(&world, "?include_set_once=true", body).await;
    let lines: Vec<_> = reply.body.lines().collect();
    assert_eq!(lines.len(), 10_001);
    assert!(lines[..5_000].iter().all(|line| line.contains("\"from\":\"ad\"")));
    assert_eq!(lines[5_000], r#"{"error":"The line is longer than 65536 bytes.","line":5001}"#);
    assert!(lines[5_001..].iter().all(|line| line.contains("bob@x.org")));
    for (length, refused) in [(64 << 10, false), ((64 << 10) + 1, true), (100_000, true)] {
        let last = line("ann", "11:00").trim_end().to_owned();
        let last = last.clone() + &" ".repeat(length - last.len());
        let reply = join(&world, "", last).await;
        assert_eq!(reply.body.contains("longer than 65536"), refused, "{length}: {}", reply.body);
        assert_eq!(reply.body.lines().count(), 1);
    }
}

#[tokio::test]
async fn parameters_of_all_lines_are_checked_before_the_first_line() {
    let world = World::new();
    for wrong in ["identity=x", "known_at=x", "include_set_once=2", "debug=true", "format=csv"] {
        assert_eq!(join(&world, &format!("?{wrong}"), String::new()).await.status, 400);
    }
    let empty = join(&world, "", String::new()).await;
    assert_eq!((empty.status.as_u16(), empty.body.as_str()), (200, ""));
}

#[tokio::test]
async fn only_the_line_says_which_person_and_time_it_asks_for() {
    let world = World::new();
    let body = line("ann", "12:00") + "{\"distinct_id\":\"ann\"}\n";
    let reply = join(&world, "?timestamp=yesterday&distinct_id=bob", body).await;
    let lines: Vec<_> = reply.body.lines().collect();
    assert!(lines[0].contains(ANN), "{}", lines[0]);
    assert!(lines[1].contains("timestamp parameter is required"), "{}", lines[1]);
}

#[tokio::test]
async fn an_empty_field_of_a_line_leaves_the_value_of_the_url() {
    let world = World::new();
    let query = "?known_at=2026-03-01T09:00:00Z&include_set_once=true&identity=current";
    let without = line("ann", "12:00");
    let empty = |value: &str| {
        let fields = ["known_at", "include_set_once", "identity", "person_id"];
        let fields = fields.map(|name| format!(",\"{name}\":{value}"));
        without.replace('}', &format!("{}}}", fields.concat()))
    };
    let body = [&*without, &empty("\"\""), &empty("null")].concat();
    let reply = join(&world, query, body).await;
    let lines: Vec<_> = reply.body.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].contains("\"known_at\":\"2026-03-01T09:00:00Z\""), "{}", lines[0]);
    assert_eq!([lines[0]; 2], lines[1..]);
}

#[tokio::test]
async fn a_key_lists_the_projects_that_it_reaches() {
    let world = World::new();
    for root in ["/api/projects", "/api/environments/"] {
        let list = world.get_as(OF_TWO, root).await.json();
        assert_eq!((&list["count"], &list["next"]), (&json!(2), &Json::Null));
        assert_eq!(list["results"][1]["name"], "Project 2");
        assert_eq!(list["results"][1]["timezone"], "UTC");
    }
    let list = world.get_as(AUDITOR, "/api/projects/").await.json();
    assert_eq!(list["count"], 1, "any key has projects");
    let one = world.get_as(AUDITOR, "/api/projects/@current/").await.json();
    assert_eq!(one, list["results"][0]);
    assert_eq!(world.get_as(AUDITOR, "/api/projects/2").await.status, 403);
    assert_eq!(world.get_as(AUDITOR, "/api/projects/x").await.status, 404);
    assert_eq!(world.ask(Method::GET, "/api/projects", &[]).await.status, 401);
}

#[tokio::test]
async fn a_read_that_has_no_time_left_answers_a_line_and_leaves_the_others() {
    let world = World::new();
    let times = (0..60)
        .map(|minute| line(if minute % 9 == 0 { "x" } else { "ann" }, &format!("11:{minute:02}")));
    let body = times.collect::<String>();
    let whole = join(&world, "", body.clone()).await.body;
    let spool = Arc::new(Spool::new(world.state.store.spool().unwrap(), LEAST_SPOOL));
    spool.write(body.as_bytes(), 0).unwrap();
    let came = Came { bytes: body.len() as u64, whole: true };
    let common = Parameters::default();
    let later = Instant::now() + Duration::from_secs(3_600);
    let (mut lines, mut answers, mut reads) = (Lines::of(spool), Vec::new(), 0);
    while lines.at() < came.bytes {
        let is_hurried = reads % 2 == 0;
        let mut view = View::of(&world.state, 1, later, || false);
        view.deadline = if is_hurried { Instant::now() } else { later };
        let (after, answer) = lines.answer(&view, &common, came).unwrap();
        assert!(!is_hurried || memchr::memchr_iter(b'\n', &answer).count() == 1);
        answers.extend(answer);
        (lines, reads) = (after, reads + 1);
    }
    assert_eq!(String::from_utf8(answers).unwrap(), whole);
    assert!(reads > 2, "a read holds a limited answer");
}
