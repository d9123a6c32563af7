//! Answers that would exceed the page limit: split into pages, shown in part, or refused.

use super::*;

/// A world with a small page limit and eight values of 1,000 bytes: `ann` has one after the other,
/// and another person has each.
fn world() -> World {
    let mut world = World::with(&Settings { page_limit: 4 << 10, ..settings() });
    let events: Vec<_> = (0..8)
        .flat_map(|n| {
            let x = format!("{n}{}", "x".repeat(1_000));
            ["ann", &format!("u{n}")]
                .map(|id| event(&format!("1{n}:00"), id).with(json!({"$set": {"x": x}})))
        })
        .collect();
    world.ingest(&events);
    world
}

#[tokio::test]
async fn a_timeline_goes_on_where_a_page_is_full() {
    let world = world();
    let ann = format!("{LIST}/{}/history", person_uuid(1, "ann"));
    let (mut pages, mut next) = (Vec::new(), Some(format!("{ann}?limit=7")));
    while let Some(url) = next {
        let page = world.get(&url).await;
        assert!(page.body.len() < 6 << 10, "{}", page.body.len());
        let page = page.json();
        let times = page["results"].as_array().unwrap().iter();
        pages.push(times.map(|entry| entry["timestamp"].to_string()).collect::<Vec<_>>());
        next = page["next"].as_str().map(str::to_owned);
    }
    assert!(pages.len() > 2, "{pages:?}");
    let told: Vec<_> = pages.concat();
    let due = (0..8).rev().map(|n| format!("\"2026-03-01T1{n}:00:00Z\""));
    assert_eq!(told, due.collect::<Vec<_>>());
    let (status, body) = world.get(&format!("{ann}?limit=7&format=csv")).await.error();
    assert!(status == 400 && body.contains("too large for CSV"), "{body}");
    assert_eq!(world.get(&format!("{ann}?format=csv")).await.body.lines().count(), 9);
}

/// A read that takes longer than the connection thread may spend on it moves to another
/// thread, with the same answer.
#[tokio::test]
async fn a_person_of_very_many_distinct_ids_is_answered_whole() {
    const IDS: usize = 20_000;
    let mut world = World::with(&settings());
    world.ingest(&merges_into_ann(IDS));
    let ann = format!("{LIST}/{}", person_uuid(1, "ann"));
    let at = "/api/projects/1/persons/properties_at_time?distinct_id=ann&timestamp=2026-03-02";
    for url in [&ann[..], at] {
        let person = world.get(url).await.json();
        assert_eq!(person["distinct_ids"].as_array().unwrap().len(), IDS + 1, "{url}");
    }
    let list = world.get("/api/projects/1/persons?distinct_id=ann").await.json();
    assert_eq!(list["results"][0]["uuid"], person_uuid(1, "ann"));
}

#[tokio::test]
async fn operations_and_values_are_shown_as_far_as_there_is_room() {
    let world = world();
    let asked = "distinct_id=ann&timestamp=2026-03-02&debug=true";
    let told = world.get(&format!("{LIST}/properties_at_time?{asked}")).await;
    let debug = &told.json()["debug"];
    assert_eq!((&debug["events_found"], debug["events"].as_array().unwrap().len()), (&json!(8), 5));
    let values = world.get("/api/projects/1/persons/values?key=x").await.json();
    let shown = values["results"].as_array().unwrap();
    let begun: Vec<_> = shown.iter().map(|value| &value["name"].as_str().unwrap()[..1]).collect();
    // The value that two persons have comes first.
    assert_eq!(begun, ["7", "0", "1", "2"]);
    let csv = "/api/projects/1/persons/values?key=x&format=csv";
    assert_eq!(world.get(csv).await.body.lines().count(), 9);
    assert_eq!(world.get(&format!("{csv}&limit=2")).await.body.lines().count(), 3);
    let (status, body) = world.get(&format!("{csv}&limit=8")).await.error();
    assert!(status == 400 && body.contains("too large for CSV"), "{body}");
}

#[tokio::test]
async fn an_answer_without_pages_that_would_be_too_large_is_refused() {
    let world = world();
    let ask = async |ids: &[&str]| {
        let url = format!("{LIST}/batch_by_distinct_ids");
        world.request(READER, Method::POST, &url, &json!({"distinct_ids": ids})).await
    };
    assert_eq!(ask(&["u1", "u2"]).await.status, 200);
    let (status, body) = ask(&["u1", "u2", "u3", "u4"]).await.error();
    assert!(status == 400 && body.contains("distinct_ids"), "{body}");
}

#[tokio::test]
async fn a_person_with_very_many_columns_does_not_make_all_rows_long() {
    let mut world = World::with(&Settings { page_limit: 64 << 10, ..settings() });
    let few = (0..100).map(|n| event("11:00", &format!("u{n}")).with(json!({"$set": {"x": 1}})));
    let wide = event("12:00", "wide").with(json!({"$set": {"list": vec![0; 5_000]}}));
    world.ingest(&few.chain([wide]).collect::<Vec<_>>());
    let list = "/api/projects/1/persons?format=csv";
    let (status, body) = world.get(&format!("{list}&limit=100")).await.error();
    assert!(status == 400 && body.contains("too large for CSV"), "{body}");
    let one = world.get(&format!("{list}&distinct_id=wide&limit=1")).await;
    assert_eq!(one.body.lines().count(), 2);
    assert_eq!(world.get(list).await.body.lines().count(), 102, "as a stream it is not held");
}

#[tokio::test]
async fn a_page_of_the_activity_log_is_refused_where_it_is_too_large() {
    let world = World::with_people(&Settings { page_limit: 1, ..settings() });
    let ask = async |limit: u64| {
        let url = format!("{LIST}/activity?limit={limit}");
        world.get_as(AUDITOR, &url).await
    };
    world.write(Method::PATCH, ANN, &json!({"properties": {"plan": "gift"}})).await;
    assert_eq!(ask(1).await.json()["total_count"], 2);
    let (status, body) = ask(2).await.error();
    assert!(status == 400 && body.contains("\"limit\""), "{body}");
}
