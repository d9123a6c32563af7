//! Lists with filters, searches, orders and cursors; and the values of a property.

use super::*;

/// Five persons, of whom one was merged away: ann, bob, cid and dora are left.
fn people() -> World {
    let mut world = World::new();
    world.ingest(&[
        event("17:00", "cid").with(json!({"$set": {"plan": "pro", "age": 40, "name": "Cid Ünal"}})),
        event("18:00", "Dora_7").with(json!({"$set": {"plan": "free", "age": 7}})),
        event("19:30", "bob").with(json!({"$set": {"age": 40, "long": "x".repeat(2_000)}})),
    ]);
    world
}

/// Returns the first distinct id of every listed person.
async fn listed(world: &World, query: &str) -> Vec<String> {
    names(&world.get(&format!("{LIST}?{query}")).await.json())
}

pub fn properties(json: &Json) -> String {
    let text = json.to_string();
    let escaped = text.bytes().map(|byte| format!("%{byte:02x}"));
    format!("properties={}", escaped.collect::<String>())
}

#[tokio::test]
async fn persons_are_filtered_by_their_properties() {
    let world = people();
    for (filter, expected) in [
        (json!([]), vec!["Dora_7", "cid", "bob", "ann"]),
        (json!([{"key": "plan", "value": "pro"}]), vec!["cid", "ann"]),
        (json!([{"key": "plan", "value": "pro", "operator": "is_not"}]), vec!["Dora_7", "bob"]),
        (
            json!([{"key": "age", "value": "10", "operator": "gt", "type": "person"}]),
            vec!["cid", "bob"],
        ),
        (json!([{"key": "plan", "operator": "is_not_set"}]), vec!["bob"]),
        (json!([{"key": "nobody", "operator": "is_set"}]), vec![]),
        (json!([{"key": "long", "operator": "icontains", "value": "XXX"}]), vec!["bob"]),
        (json!([{"key": "email", "operator": "regex", "value": r"^[\w-\.]+@[[x]"}]), vec!["ann"]),
        (
            json!([{"key": "name", "operator": "not_regex", "value": r"^[\p{L} ]{2,50}$"}]),
            vec!["Dora_7", "bob", "ann"],
        ),
        (
            json!({"type": "OR", "values": [
                {"key": "age", "value": 7}, {"key": "theme", "value": "dark"}]}),
            vec!["Dora_7", "ann"],
        ),
    ] {
        let query = properties(&filter);
        assert_eq!(listed(&world, &query).await, expected, "{filter}");
        let body = world.get(&format!("{LIST}?limit=1&{query}")).await.json();
        assert_eq!(body["count"], expected.len(), "{filter}");
        assert_eq!(body["next"].is_string(), expected.len() > 1, "{filter}");
    }
    let pro = properties(&json!([{"key": "plan", "value": "pro"}]));
    let old = properties(&json!([{"key": "age", "value": 40}]));
    assert_eq!(listed(&world, &format!("{pro}&{old}")).await, ["cid"], "joined by AND");
    assert_eq!(listed(&world, &format!("{pro}&distinct_id=bob")).await, [""; 0]);
    assert_eq!(listed(&world, &format!("{pro}&email=ann@x.org")).await, ["ann"]);
}

#[tokio::test]
async fn persons_are_searched_by_email_name_ids_and_uuid() {
    let mut world = people();
    world.ingest(&[event("19:40", "bob").with(json!({"$set": {"email": null}}))]);
    for (search, expected) in [
        ("X.ORG", vec!["ann"]),
        ("%C3%BCNAL", vec!["cid"]),
        ("+ora_7+", vec!["Dora_7"]),
        ("a-b-c-d", vec!["ann"]),
        (&ANN[..11], vec!["ann"]),
        ("%25", vec![]),
        ("ull", vec![]),
        ("o", vec!["Dora_7", "bob", "ann"]),
    ] {
        assert_eq!(listed(&world, &format!("search={search}")).await, expected, "{search}");
    }
    let query = format!("search=o&{}", properties(&json!([{"key": "age", "value": 40}])));
    assert_eq!(listed(&world, &query).await, ["bob"]);
    assert_eq!(listed(&world, "search=o&distinct_id=bob").await, ["bob"]);
    for part in ["q", "null"] {
        assert_eq!(listed(&world, &format!("search={part}&distinct_id=bob")).await, [""; 0]);
    }
}

#[tokio::test]
async fn lists_are_in_the_order_asked_for() {
    let world = people();
    for (order, expected) in [
        ("-created_at", ["Dora_7", "cid", "bob", "ann"]),
        ("created_at", ["ann", "bob", "cid", "Dora_7"]),
        ("-last_seen_at", ["bob", "Dora_7", "cid", "ann"]),
        ("last_seen_at", ["ann", "cid", "Dora_7", "bob"]),
    ] {
        assert_eq!(listed(&world, &format!("order_by={order}")).await, expected, "{order}");
        let everybody = properties(&json!([{"key": "nobody", "operator": "is_not_set"}]));
        let query = format!("order_by={order}&{everybody}");
        assert_eq!(listed(&world, &query).await, expected, "{order}, by a scan");
    }
}

#[tokio::test]
async fn a_cursor_goes_on_where_the_last_page_ended() {
    let mut world = people();
    let filter = properties(&json!([{"key": "nobody", "operator": "is_not_set"}]));
    for order in ["-created_at", "created_at", "-last_seen_at", "last_seen_at"] {
        for more in ["", &filter] {
            let query = format!("order_by={order}&{more}");
            let due = listed(&world, &query).await;
            let first = format!("{LIST}?{query}&limit=1&count=false&cursor=");
            let pages = world.pages(&first).await;
            let plain = |page: &Json| page.get("count").is_none() && page["previous"].is_null();
            assert!(pages.iter().all(plain), "{query}");
            assert_eq!(pages.iter().map(names).collect::<Vec<_>>().concat(), due, "{query}");
            assert_eq!(pages.len(), due.len(), "{query}");
        }
    }
    let first = world.get(&format!("{LIST}?limit=2&cursor=")).await.json();
    let next = first["next"].as_str().unwrap();
    world.ingest(&[event("20:00", "eve")]);
    let second = world.get(next).await.json();
    assert_eq!(second["results"][0]["distinct_ids"][0], "bob", "somebody new moves nobody");
    let other = world.get(&format!("{next}&order_by=created_at")).await;
    assert_eq!(other.status, 400, "a cursor is of one order");
}

/// The errors that the reference names are in the snapshot of `answers.rs`; these are others.
#[tokio::test]
async fn filters_and_orders_that_make_no_sense_are_refused() {
    let world = World::new();
    for (query, words) in [
        ("order_by=name", "order_by must be"),
        ("count=perhaps", "count must be true or false"),
        ("cursor=&offset=1", "both cursor and offset"),
        (&properties(&json!([{"key": "a", "value": 1, "type": "cohort"}])), "must be person"),
        (&properties(&json!([{"key": "a", "value": "(", "operator": "regex"}])), "regular"),
        (&letters(93), "too large, alone or with"),
    ] {
        for more in ["", "&distinct_id=ann", "&format=csv"] {
            let (status, body) = world.get(&format!("{LIST}?{query}{more}")).await.error();
            assert!(status == 400 && body.contains(words), "{query}{more}: {body}");
        }
    }
}

/// A filter with so many patterns that each take much memory.
fn letters(count: usize) -> String {
    let letters = json!({"key": "a", "value": r"\pL{20}", "operator": "regex"}).to_string();
    format!("properties=[{}]", vec![letters; count].join(","))
        .replace('"', "%22")
        .replace('\\', "%5c")
}

#[tokio::test]
async fn patterns_are_compiled_by_whose_turn_it_is_to_read() {
    let world = World::new();
    let _permits = world.state.lists.clone().acquire_many_owned(8).await.unwrap();
    for more in ["", "&distinct_id=ann"] {
        let reply = world.get(&format!("{LIST}?{}{more}", letters(93))).await;
        assert!(reply.body.contains("\"overloaded\""), "{}", reply.body);
    }
}

#[tokio::test]
async fn values_are_counted() {
    let world = people();
    let values = async |query: &str| {
        let body = world.get(&format!("{LIST}/values?{query}")).await.json();
        assert_eq!(body["refreshing"], false);
        let results = body["results"].as_array().unwrap().clone();
        results.iter().map(|of| format!("{} {}", of["name"], of["count"])).collect::<Vec<_>>()
    };
    assert_eq!(values("key=plan").await, ["\"pro\" 2", "\"free\" 1"]);
    assert_eq!(values("key=age&limit=1").await, ["\"40\" 2"]);
    assert_eq!(values("key=plan&value=RE").await, ["\"free\" 1"]);
    assert_eq!(values("key=n").await, ["\"1.0\" 1", "\"[1]\" 1"]);
    assert_eq!(values("key=nobody").await, [""; 0]);
    assert_eq!(values("key=distinct_id&value=B").await, ["\"a-b-c-d-e\" 1", "\"bob\" 1"]);
    assert_eq!(world.get(&format!("{LIST}/values")).await.status, 400);
}

#[tokio::test]
async fn matches_far_down_a_list_are_found_too() {
    let world = World::of_persons(10);
    let old = properties(&json!([{"key": "n", "operator": "lt", "value": 5}]));
    let page = world.get(&format!("{LIST}?limit=1&{old}")).await.json();
    assert_eq!(page["count"], 5);
    assert_eq!(page["results"][0]["distinct_ids"], json!(["u4"]));
    assert!(page["next"].is_string());
}

#[tokio::test]
async fn a_cursor_walks_a_few_matches_oldest_first() {
    let world = World::of_persons(10);
    let few = properties(&json!([{"key": "n", "operator": "gte", "value": 7}]));
    let pages = world.pages(&format!("{LIST}?order_by=created_at&limit=1&cursor=&{few}")).await;
    assert_eq!(pages.iter().map(names).collect::<Vec<_>>(), [["u7"], ["u8"], ["u9"]]);
}
