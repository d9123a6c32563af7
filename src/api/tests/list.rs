//! Lists: `GET …/persons`.

use super::*;

#[tokio::test]
async fn the_newest_person_comes_first() {
    let world = World::new();
    let bob = r#"{"id":120747818924389,"name":"bob","distinct_ids":["bob"],"properties":{"n":[1]},"created_at":"2026-03-01T15:00:00Z","uuid":"7d15b82a-df57-5ed7-b9e0-6dd1cadab965","last_seen_at":"2026-03-01T16:00:00Z","is_identified":false}"#;
    let ann = world.get(&format!("{LIST}/{ANN}")).await.ok();
    let expected = format!(r#"{{"next":null,"previous":null,"count":2,"results":[{bob},{ann}]}}"#);
    for url in [
        LIST,
        "/api/projects/1/persons/",
        "/api/environments/1/persons",
        "/api/environments/@current/persons/?limit=&offset=&email=&search=&properties=&x=1",
    ] {
        assert_eq!(world.get(url).await.ok(), expected, "{url}");
    }
    let empty = r#"{"next":null,"previous":null,"count":0,"results":[]}"#;
    assert_eq!(world.get_as(OF_TWO, "/api/projects/2/persons").await.ok(), empty);
}

#[tokio::test]
async fn pages_are_linked_in_both_directions() {
    let world = World::of_persons(5);
    let url = "http://people.example:8000/api/projects/1/persons/";
    let host = [("host", "people.example:8000")];
    let mut next = Some("/api/projects/1/persons/?limit=2&x=%20a&offset=".to_owned());
    let mut seen = Vec::new();
    while let Some(url) = next {
        let page = world.get_with(&url, &host).await.json();
        assert_eq!(page["count"], 5);
        seen.extend(names(&page));
        next = page["next"].as_str().map(str::to_owned);
    }
    assert_eq!(seen, ["u4", "u3", "u2", "u1", "u0"]);
    for (offset, next, previous, shown) in [
        (0, Some(2), None, 2),
        (1, Some(3), Some(0), 2),
        (3, None, Some(1), 2),
        (4, None, Some(2), 1),
        (9, None, Some(7), 0),
    ] {
        let page = format!("{url}?offset={offset}&x=%20a&limit=2");
        let page = world.get_with(&page, &host).await.json();
        let link = |to: Option<u64>| {
            to.map_or(Json::Null, |to| format!("{url}?x=%20a&limit=2&offset={to}").into())
        };
        assert_eq!(page["next"], link(next), "{offset}");
        assert_eq!(page["previous"], link(previous), "{offset}");
        assert_eq!(names(&page).len(), shown, "{offset}");
    }
}

#[tokio::test]
async fn a_page_that_would_be_too_large_ends_sooner_and_goes_on() {
    let mut world = World::with(&Settings { page_limit: 4 << 10, ..settings() });
    // Each of the first two fills a page alone; of the others, three fit on a page.
    let events: Vec<_> = (0..8)
        .map(|n| {
            let size = if n < 2 { 9_000 } else { 1_000 };
            event(&format!("1{n}:00"), &format!("u{n}"))
                .with(json!({"$set": {"x": "x".repeat(size)}}))
        })
        .collect();
    world.ingest(&events);
    let list = format!("{LIST}?limit=100&");
    for start in ["offset=0", "cursor=", "offset=0&search=u", "cursor=&search=u"] {
        let pages = world.pages(&format!("{list}{start}")).await;
        assert!(pages.iter().all(|page| page["count"] == 8), "{start}");
        let shown: Vec<_> = pages.iter().map(names).collect();
        let due = [&["u7", "u6", "u5"][..], &["u4", "u3", "u2"], &["u1"], &["u0"]];
        assert_eq!(shown, due, "{start}");
    }
    let detail = "The page would be too large for CSV: leave limit out, or ask for less.";
    let (status, body) = world.get(&format!("{list}format=csv")).await.error();
    assert!(status == 400 && body.contains(detail), "{body}");
    for (query, lines) in [("format=csv&limit=3", 4), ("format=csv", 9)] {
        let csv = world.get(&format!("{LIST}?{query}")).await;
        assert_eq!(csv.body.lines().count(), lines, "{query}");
    }
}

#[tokio::test]
async fn links_name_the_limit_and_the_proxy_that_is_trusted() {
    let crowd = |trust_forwarded| {
        let mut world = World::with(&Settings { trust_forwarded, ..settings() });
        let events = (0..101).map(|n| event("10:00", &format!("u{n}")));
        world.ingest(&events.collect::<Vec<_>>());
        world
    };
    let (trusting, doubting) = (crowd(true), crowd(false));
    let headers =
        [("host", "inner"), ("x-forwarded-host", "people.example"), ("x-forwarded-proto", "https")];
    for (world, address) in [(&trusting, "https://people.example"), (&doubting, "http://inner")] {
        let page = world.get_with(LIST, &headers).await.json();
        let next = format!("{address}/api/projects/1/persons?limit=100&offset=100");
        assert_eq!(page["next"], next);
        assert_eq!(page["previous"], Json::Null);
    }
}

#[tokio::test]
async fn distinct_id_and_email_match_exactly_and_together() {
    let world = World::new();
    for (query, expected) in [
        ("distinct_id=ann", vec!["ann"]),
        ("distinct_id=a-b-c-d-e", vec!["ann"]),
        ("distinct_id=an", vec![]),
        ("distinct_id=ANN", vec![]),
        ("email=ann@x.org", vec!["ann"]),
        ("email=ann%40x.org&distinct_id=ann", vec!["ann"]),
        ("email=bob@x.org", vec![]),
        ("email=ann@x.org&distinct_id=bob", vec![]),
        ("email=ann@x.org&limit=1&offset=1", vec![]),
        ("distinct_id=nobody", vec![]),
    ] {
        let list = world.get(&format!("{LIST}?{query}")).await.json();
        assert_eq!(names(&list), expected, "{query}");
        let counted = if query.contains("offset") { 1 } else { expected.len() };
        assert_eq!(list["count"], counted, "{query}");
    }
}

#[tokio::test]
async fn an_email_of_several_persons_lists_them_newest_first() {
    let mut world = World::empty();
    let events: Vec<_> = (0..3)
        .map(|n| event(&format!("1{n}:00"), &format!("u{n}")).with(json!({"$set": {"email": 1}})))
        .collect();
    world.ingest(&events);
    let list = world.get("/api/projects/1/persons?email=1&limit=2").await.json();
    assert_eq!(names(&list), ["u2", "u1"]);
    assert_eq!(list["count"], 3);
    assert!(list["next"].as_str().unwrap().ends_with("?email=1&limit=2&offset=2"));
}

#[tokio::test]
async fn a_list_shows_a_thousand_distinct_ids_of_a_person_and_says_so() {
    let mut world = World::empty();
    let merges: Vec<_> = (0..1_000)
        .map(|n| {
            event("10:00", "u").named("$identify", json!({"$anon_distinct_id": format!("v{n}")}))
        })
        .collect();
    world.ingest(&merges);
    let list = world.get(LIST).await.json();
    let person = &list["results"][0];
    assert_eq!(person["distinct_ids"].as_array().unwrap().len(), 1_000);
    assert_eq!(person["distinct_ids_truncated"], true);
    let single = format!("{LIST}/{}", person["uuid"].as_str().unwrap());
    let single = world.get(&single).await.json();
    assert_eq!(single["distinct_ids"].as_array().unwrap().len(), 1_001);
    assert_eq!(single.get("distinct_ids_truncated"), None);
}

/// The errors that the reference names are in the snapshot of `answers.rs`; these are others.
#[tokio::test]
async fn parameters_are_understood_or_refused() {
    let world = World::new();
    for (query, attr, detail) in [
        ("limit=10001", "limit", "limit must be a whole number from 1 to 10000"),
        ("limit=x", "limit", "limit must be a whole number from 1 to 10000"),
        ("email=%FF", "email", "not valid UTF-8"),
        (
            "order_by=--created_at",
            "order_by",
            "order_by must be created_at or last_seen_at, with a - for the newest first",
        ),
    ] {
        let expected = format!(
            r#"{{"type":"validation_error","code":"invalid_input","detail":"{detail}","attr":"{attr}"}}"#
        );
        let reply = world.get(&format!("{LIST}?{query}")).await;
        assert_eq!(reply.error(), (400, expected), "{query}");
    }
    for query in ["limit=1", "limit=10000", "offset=18446744073709551615", "limit=x&limit=1"] {
        world.get(&format!("{LIST}?{query}")).await.ok();
    }
}

#[tokio::test]
async fn one_list_too_many_is_turned_away_and_single_reads_are_not() {
    let world = World::new();
    let permits = world.state.lists.clone().acquire_many_owned(8).await.unwrap();
    let reply = world.get(LIST).await;
    assert_eq!(reply.header("retry-after"), "1");
    let (status, body) = reply.error();
    assert_eq!(status, 503);
    assert!(body.starts_with(r#"{"type":"server_error","code":"overloaded""#), "{body}");
    world.get(&format!("{LIST}/{ANN}")).await.ok();
    drop(permits);
    world.get(LIST).await.ok();
    assert_eq!(world.state.lists.available_permits(), 8);
}
