//! The change feed: a copy of the list, kept by asking for what changed.

use super::*;

const CHANGES: &str = "/api/projects/1/persons/changes";

async fn after(world: &World, cursor: &str, more: &str) -> (Vec<Json>, String) {
    let body = world.get(&format!("{CHANGES}?cursor={cursor}{more}")).await.json();
    let results = body["results"].as_array().unwrap().clone();
    (results, body["cursor"].as_str().unwrap().to_owned())
}

fn names(results: &[Json]) -> Vec<&str> {
    results.iter().map(|person| person["name"].as_str().unwrap_or("-")).collect()
}

#[tokio::test]
async fn a_client_that_prefers_csv_is_answered_with_json() {
    let world = World::new();
    let reply = world.get_with(CHANGES, &[("accept", "text/csv")]).await;
    assert_eq!(reply.header("content-disposition"), "");
    assert_eq!(reply.ok(), world.get(CHANGES).await.ok());
    assert_eq!(world.get(&format!("{CHANGES}?format=csv")).await.status, 400);
}

#[tokio::test]
async fn each_person_comes_once_in_the_order_of_its_last_change() {
    let mut world = World::new();
    let (results, first) = after(&world, "", "").await;
    let merged = person_uuid(1, "a-b-c-d-e");
    assert_eq!(
        results[0],
        json!({"id": results[0]["id"], "uuid": merged, "deleted": true, "merged_into": ANN})
    );
    assert_eq!(names(&results), ["-", "ann@x.org", "bob"]);
    let list = world.get(LIST).await.json();
    assert_eq!(results[1..], [list["results"][1].clone(), list["results"][0].clone()]);

    assert_eq!(after(&world, &first, "").await, (vec![], first.clone()));
    world.ingest(&[event("17:00", "ann").with(json!({"$set": {"plan": "team"}}))]);
    let (results, second) = after(&world, &first, "").await;
    assert_eq!(names(&results), ["ann@x.org"]);
    assert_eq!(results[0]["properties"]["plan"], "team");
    assert_eq!(after(&world, &second, "").await, (vec![], second));
    let (all, _) = after(&world, "", "").await;
    assert_eq!(names(&all), ["-", "bob", "ann@x.org"], "each once");
}

#[tokio::test]
async fn pages_follow_one_another() {
    let world = World::new();
    let (mut cursor, mut all) = (String::new(), Vec::new());
    for _ in 0..4 {
        let (results, next) = after(&world, &cursor, "&limit=1").await;
        (cursor, all) = (next, [all, results].concat());
    }
    assert_eq!(all, after(&world, "", "").await.0);
}

#[tokio::test]
async fn an_answer_that_would_be_too_large_ends_sooner() {
    let world = World::with_people(&Settings { page_limit: 1, ..settings() });
    let (mut cursor, mut pages) = (String::new(), Vec::new());
    loop {
        let (results, next) = after(&world, &cursor, "").await;
        if results.is_empty() {
            break;
        }
        pages.push(names(&results).len());
        cursor = next;
    }
    assert_eq!(pages, [1, 1, 1]);
}

#[tokio::test]
async fn being_seen_again_is_a_change_too() {
    let mut world = World::new();
    let (_, cursor) = after(&world, "", "").await;
    world.ingest(&[event("16:30", "bob").named("seen", json!({}))]);
    assert_eq!(after(&world, &cursor, "").await.0, [0; 0], "the same hour");
    world.ingest(&[event("18:00", "bob").named("seen", json!({}))]);
    let (results, _) = after(&world, &cursor, "").await;
    assert_eq!(results[0]["last_seen_at"], "2026-03-01T18:00:00Z");
}

#[tokio::test]
async fn a_deleted_person_is_in_the_feed_by_its_ids_alone() {
    let world = World::new();
    let (_, cursor) = after(&world, "", "").await;
    world.write(Method::DELETE, ANN, &Json::Null).await;
    let (results, _) = after(&world, &cursor, "").await;
    assert_eq!(results.len(), 2, "{results:?}");
    for person in results {
        assert_eq!(person["deleted"], true);
        assert_eq!(person.as_object().unwrap().len(), 3, "{person}");
    }
}

#[tokio::test]
async fn a_cursor_of_another_store_or_project_is_refused() {
    let (world, other) = (World::new(), World::new());
    let (_, cursor) = after(&world, "", "").await;
    for (world, project, cursor) in [
        (&other, 1, &cursor[..]),
        (&world, 2, &cursor),
        (&world, 1, "x"),
        (&world, 1, &cursor[1..]),
    ] {
        let url = format!("/api/projects/{project}/persons/changes?cursor={cursor}");
        let (status, body) = world.get_as(OF_TWO, &url).await.error();
        assert_eq!(status, 400, "{body}");
        assert!(body.contains("\"attr\":\"cursor\""), "{body}");
    }
    let (empty, start) = after(&World::empty(), "", "").await;
    assert_eq!(empty, [0; 0]);
    assert!(!start.is_empty());
}
