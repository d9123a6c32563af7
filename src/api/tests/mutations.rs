//! Writes over HTTP: what they change, how they are answered, and when they are refused.

use super::*;

const BULK_DELETE: &str = "/api/projects/1/persons/bulk_delete";

/// Sends a request as the writer of project 1, with a JSON body unless it is null.
async fn write(world: &World, method: Method, url: &str, body: &Json) -> Reply {
    world.request(WRITER, method, url, body).await
}

fn person(id: &str, rest: &str) -> String {
    format!("{LIST}/{id}{rest}")
}

async fn properties(world: &World, id: &str) -> Json {
    world.get(&person(id, "")).await.json()["properties"].clone()
}

#[tokio::test]
async fn a_patch_sets_the_given_keys_and_answers_the_person() {
    let world = World::new();
    let set = json!({"properties": {"plan": "team", "none": null, "n": 1.5}, "name": "ignored"});
    for (method, id) in [(Method::PATCH, ANN), (Method::PUT, &ANN.to_uppercase())] {
        let reply = write(&world, method, &person(id, "/"), &set).await;
        assert!(!reply.header("x-personview-position").is_empty());
        let body = reply.json();
        assert_eq!(body["uuid"], ANN);
        let properties = &body["properties"];
        assert_eq!(properties["plan"], "team");
        assert_eq!(properties["none"], Json::Null);
        assert_eq!(properties["theme"], "dark", "the others stay");
    }
    assert!(world.get(&person(ANN, "")).await.body.contains("\"n\":1.5"), "as it was written");
}

#[tokio::test]
async fn a_merged_person_is_written_as_what_it_became() {
    let world = World::new();
    let merged = person_uuid(1, "a-b-c-d-e");
    let set = json!({"properties": {"plan": "team"}});
    let body = write(&world, Method::PATCH, &person(&merged, ""), &set).await.json();
    assert_eq!((&body["uuid"], &body["merged_from"]), (&json!(ANN), &json!(merged)));
    assert_eq!(properties(&world, ANN).await["plan"], "team");
}

#[tokio::test]
async fn properties_are_set_and_taken_away_one_by_one() {
    let world = World::new();
    let url = person(ANN, "/update_property");
    let body = write(&world, Method::POST, &url, &json!({"key": "a.b", "value": [1]})).await.json();
    assert_eq!(body["properties"]["a.b"], json!([1]));
    let body = write(&world, Method::POST, &url, &json!({"$set": {"c": {}}})).await.json();
    assert_eq!(body["properties"]["c"], json!({}));
    let url = person(ANN, "/delete_property");
    for unset in
        [json!({"$unset": "a.b"}), json!({"$unset": ["c", "plan", "c"]}), json!({"$unset": "c"})]
    {
        let body = write(&world, Method::POST, &url, &unset).await.json();
        assert_eq!(body, json!({"success": true}));
    }
    let left = properties(&world, ANN).await;
    assert!(left.get("a.b").is_none() && left.get("c").is_none() && left.get("plan").is_none());
}

#[tokio::test]
async fn a_form_and_a_query_are_fields_too() {
    let world = World::new();
    let (url, form) =
        (person(ANN, "/update_property?value=7"), "application/x-www-form-urlencoded");
    let fields = "key=seven&personal_api_key=phx_writer";
    let reply = world.send_with(Method::POST, &url, &[("content-type", form)], fields).await;
    let body = reply.json();
    assert_eq!(body["properties"]["seven"], 7);
}

#[tokio::test]
async fn a_deleted_person_is_gone_until_its_distinct_id_is_reset() {
    let mut world = World::new();
    let reply = write(&world, Method::DELETE, &person(ANN, ""), &Json::Null).await;
    assert_eq!((reply.status.as_u16(), reply.body.as_str()), (202, r#"{"success":true}"#));
    assert_eq!(world.get(&person(ANN, "")).await.status, 404);
    assert_eq!(write(&world, Method::DELETE, &person(ANN, ""), &Json::Null).await.status, 404);
    let late = || event("11:30", "ann").with(json!({"$set": {"plan": "late"}}));
    world.ingest(&[late()]);
    let found = "/api/projects/1/persons?distinct_id=ann";
    assert_eq!(world.get(found).await.json()["count"], 0, "it happened before the deletion");
    let url = "/api/projects/1/persons/reset_person_distinct_id/";
    let reply = write(&world, Method::POST, url, &json!({"distinct_id": "ann"})).await;
    assert_eq!(reply.json(), json!({"success": true}));
    world.ingest(&[late()]);
    assert_eq!(world.get(found).await.json()["results"][0]["properties"], json!({"plan": "late"}));
    let unknown = write(&world, Method::POST, url, &json!({"distinct_id": "nobody"})).await;
    assert_eq!(unknown.status, 404);
    let missing = write(&world, Method::POST, url, &json!({"distinct_id": ""})).await;
    assert!(missing.body.contains("distinct_id is required"), "{}", missing.body);
}

#[tokio::test]
async fn a_deletion_that_would_keep_the_person_is_refused() {
    let world = World::new();
    let bulk = json!({"distinct_ids": ["ann"], "keep_person": true});
    let (status, error) = write(&world, Method::POST, BULK_DELETE, &bulk).await.error();
    assert!(status == 400 && error.contains("keep_person"), "{error}");
    let one = person(ANN, "?keep_person=true");
    assert_eq!(write(&world, Method::DELETE, &one, &Json::Null).await.status, 400);
    let one = person(ANN, "?keep_person=False");
    assert_eq!(write(&world, Method::DELETE, &one, &Json::Null).await.status, 202);
}

#[tokio::test]
async fn a_value_that_could_not_be_read_back_is_not_written() {
    let world = World::new();
    let deep = format!("{}{}", "[".repeat(127), "]".repeat(127));
    let value: Json = serde_json::from_str(&deep).unwrap();
    let body = json!({"key": "plan", "value": value});
    let reply = write(&world, Method::POST, &person(ANN, "/update_property"), &body).await;
    assert_eq!(reply.status, 400, "{}", reply.body);
    assert_eq!(properties(&world, ANN).await["plan"], "pro");
}

#[tokio::test]
async fn many_are_deleted_at_once() {
    let world = World::roomy();
    let both = json!({"ids": [ANN], "distinct_ids": ["bob"]});
    assert_eq!(write(&world, Method::POST, BULK_DELETE, &both).await.status, 400);
    for none in
        [json!({"ids": [], "distinct_ids": ["nobody"]}), json!({"ids": ["12"], "distinct_ids": []})]
    {
        assert_eq!(write(&world, Method::POST, BULK_DELETE, &none).await.status, 202, "{none}");
    }
    let many: Vec<_> = (0..1001).map(|id| id.to_string()).collect();
    assert_eq!(write(&world, Method::POST, BULK_DELETE, &json!({"ids": many})).await.status, 400);
    let merged = person_uuid(1, "a-b-c-d-e");
    let ids = json!({"ids": [ANN, merged, "12"]});
    let reply = write(&world, Method::POST, BULK_DELETE, &ids).await;
    assert_eq!(reply.status, 202);
    let expected = r#"{"persons_found":1,"persons_deleted":1,"deletion_errors":[]}"#;
    assert_eq!(reply.body, expected);
    let reply =
        write(&world, Method::POST, BULK_DELETE, &json!({"distinct_ids": ["bob", "ann"]})).await;
    assert_eq!(reply.body, expected);
    assert_eq!(world.get(LIST).await.json()["count"], 0);
}

#[tokio::test]
async fn a_person_is_found_by_an_id_that_was_cut() {
    let mut world = World::roomy();
    let long = "x".repeat(250);
    world.ingest(&[event("12:00", &long)]);
    for url in [
        format!("persons?distinct_id={long}"),
        format!("persons/properties_at_time?distinct_id={long}&timestamp=2026-03-02"),
    ] {
        let reply = world.get(&format!("/api/projects/1/{url}")).await;
        assert!(reply.status == 200 && reply.body.contains(&"x".repeat(200)), "{}", reply.body);
    }
    let reply = write(&world, Method::POST, BULK_DELETE, &json!({"distinct_ids": [long]})).await;
    assert!(reply.body.contains("\"persons_deleted\":1"), "{}", reply.body);
}

#[tokio::test]
async fn one_property_or_some_are_set_and_not_both() {
    let world = World::new();
    let both = json!({"$set": {"a": 1}, "key": "b", "value": 2});
    let reply = write(&world, Method::POST, &person(ANN, "/update_property"), &both).await;
    let (status, error) = reply.error();
    assert!(status == 400 && error.contains("both key and $set"), "{error}");
    assert_eq!(properties(&world, ANN).await["a"], Json::Null);
}

#[tokio::test]
async fn a_repeated_bulk_deletion_deletes_nobody_who_came_since() {
    let mut world = World::roomy();
    let names = json!({"distinct_ids": ["ann", "ann", "a-b-c-d-e", "zed"]});
    let expected = r#"{"persons_found":1,"persons_deleted":1,"deletion_errors":[]}"#;
    for _ in 0..2 {
        let key = [("idempotency-key", "k")];
        let reply = world.request_with(WRITER, Method::POST, BULK_DELETE, &key, &names).await;
        assert_eq!(reply.body, expected);
        world.ingest(&[event("17:00", "zed")]);
    }
    assert_eq!(world.get("/api/projects/1/persons?distinct_id=zed").await.json()["count"], 1);
    let reply = write(&world, Method::POST, BULK_DELETE, &names).await;
    assert_eq!(reply.body, expected, "without a key it is a request of its own");
}

#[tokio::test]
async fn a_split_takes_what_it_names_and_nobody_elses() {
    let world = World::new();
    let url = person(ANN, "/split");
    for (body, attr) in [
        (json!({"main_distinct_id": "bob"}), "main_distinct_id"),
        (json!({"distinct_ids_to_split": ["bob"]}), "distinct_ids_to_split"),
        (json!({"distinct_ids_to_split": []}), "distinct_ids_to_split"),
        (json!({"distinct_ids_to_split": ["ann", "a-b-c-d-e"]}), "distinct_ids_to_split"),
        (json!({"distinct_ids_to_split": ["ann"], "main_distinct_id": "ann"}), "main_distinct_id"),
        (json!({"distinct_ids": ["ann"]}), "'distinct_ids' is not a field"),
        (json!({"main_distinct_id": null, "distinct_ids": ["ann"]}), "'distinct_ids' is not"),
        (json!({"distinct_ids_to_split": "", "ids": ["ann"]}), "'ids' is not a field"),
    ] {
        let (status, error) = write(&world, Method::POST, &url, &body).await.error();
        assert!(status == 400 && error.contains(attr), "{body}: {error}");
    }
    let in_url = format!("{url}?main_distinct_id=ann");
    let reply = write(&world, Method::POST, &in_url, &json!({"properties": {}})).await;
    assert_eq!((reply.status.as_u16(), reply.body.as_str()), (201, r#"{"success":true}"#));
    let other = world.get("/api/projects/1/persons?distinct_id=a-b-c-d-e").await.json();
    assert_eq!(other["results"][0]["distinct_ids"], json!(["a-b-c-d-e"]));
    for nothing in [
        Json::Null,
        json!({}),
        json!({"personal_api_key": "x", "min_position": null, "main_distinct_id": null}),
    ] {
        let (status, error) = write(&world, Method::POST, &url, &nothing).await.error();
        assert!(status == 400 && error.contains("at least one"), "nothing is left: {error}");
    }
}

#[tokio::test]
async fn a_repeated_idempotency_key_gets_the_first_result() {
    let world = World::new();
    let key = [("idempotency-key", "k1")];
    let set = |n: u8| json!({"properties": {"plan": n}});
    let reply = world.request_with(WRITER, Method::PATCH, &person(ANN, ""), &key, &set(1)).await;
    assert_eq!(reply.json()["properties"]["plan"], 1);
    write(&world, Method::PATCH, &person(ANN, ""), &set(2)).await.ok();
    let reply = world.request_with(WRITER, Method::PATCH, &person(ANN, ""), &key, &set(1)).await;
    assert_eq!(reply.json()["properties"]["plan"], 2, "it is not done again");
    let url = person(&ANN.to_uppercase(), "");
    let reply = world.request_with(WRITER, Method::PATCH, &url, &key, &set(1)).await;
    assert_eq!(reply.json()["properties"]["plan"], 2, "nor where the id is written otherwise");
    for _ in 0..2 {
        let reply =
            world.request_with(WRITER, Method::DELETE, &person(ANN, ""), &key, &Json::Null).await;
        assert_eq!(reply.status, 202, "another thing is done, and once");
    }
    for _ in 0..2 {
        let ids = json!({"distinct_ids": ["bob"]});
        let reply = world.request_with(WRITER, Method::POST, BULK_DELETE, &key, &ids).await;
        assert!(reply.body.contains("\"persons_deleted\":1"), "{}", reply.body);
    }
    let long = "x".repeat(256);
    let long = [("idempotency-key", &*long)];
    let reply = world.request_with(WRITER, Method::PATCH, BULK_DELETE, &long, &Json::Null).await;
    assert_eq!(reply.status, 405);
    let url = person(ANN, "/split");
    let reply = world.request_with(WRITER, Method::POST, &url, &long, &Json::Null).await;
    assert_eq!(reply.status, 400);
}

#[tokio::test]
async fn a_repeated_write_to_nobody_changes_nobody_who_came_since() {
    let mut world = World::new();
    let zed = person_uuid(1, "zed");
    let key = [("idempotency-key", "k1")];
    for _ in 0..2 {
        for (method, rest, body) in [
            (Method::DELETE, "", Json::Null),
            (Method::PATCH, "", json!({"properties": {"plan": "x"}})),
            (Method::POST, "/update_property", json!({"key": "plan", "value": "y"})),
            (Method::POST, "/delete_property", json!({"$unset": "plan"})),
            (Method::POST, "/split", json!({"distinct_ids_to_split": ["bob"]})),
            (Method::POST, "/split", Json::Null),
        ] {
            let reply = world.request_with(WRITER, method, &person(&zed, rest), &key, &body).await;
            assert_eq!(reply.error().0, 404, "{rest} {body}");
        }
        world.ingest(&[event("17:00", "zed").with(json!({"$set": {"plan": "z"}}))]);
    }
    assert_eq!(properties(&world, &zed).await["plan"], "z");
}

#[tokio::test]
async fn another_write_under_one_idempotency_key_is_done() {
    let mut world = World::new();
    let merge = json!({"$anon_distinct_id": "f-g-h-i-j"});
    world.ingest(&[event("17:00", "ann").named("$identify", merge)]);
    let key = [("idempotency-key", "k1")];
    let post = async |rest: &str, body: Json| {
        let url = person(ANN, rest);
        let reply = world.request_with(WRITER, Method::POST, &url, &key, &body).await;
        assert!(reply.status.is_success(), "{}", reply.body);
    };
    for plan in ["a", "b"] {
        post("/update_property", json!({"key": "plan", "value": plan})).await;
        assert_eq!(properties(&world, ANN).await["plan"], plan);
    }
    for name in ["plan", "theme"] {
        post("/delete_property", json!({"$unset": name})).await;
        assert!(properties(&world, ANN).await.get(name).is_none(), "{name}");
    }
    for distinct_id in ["a-b-c-d-e", "f-g-h-i-j", "a-b-c-d-e"] {
        post("/split", json!({"distinct_ids_to_split": [distinct_id]})).await;
        let list = world.get(&format!("{LIST}?distinct_id={distinct_id}")).await;
        assert_eq!(list.json()["results"][0]["distinct_ids"], json!([distinct_id]));
    }
}

#[tokio::test]
async fn each_failure_of_kafka_has_its_own_answer() {
    let world = World::new();
    let set = json!({"properties": {"plan": "team"}});
    for (kafka, status, words) in [
        (Kafka::Away, 503, "\"unavailable\""),
        (Kafka::Bare, 503, "does not exist"),
        (Kafka::Silent, 504, "\"timeout\""),
        (Kafka::Slow, 202, r#"{"accepted":true,"position":""#),
    ] {
        *world.log.kafka.lock().unwrap() = kafka;
        let reply = write(&world, Method::PATCH, &person(ANN, ""), &set).await;
        assert_eq!(reply.status, status, "{}", reply.body);
        assert!(reply.body.contains(words), "{}", reply.body);
        assert_eq!(properties(&world, ANN).await["plan"], "pro", "nothing was applied");
    }
}

#[tokio::test]
async fn only_a_key_that_may_write_writes() {
    let world = World::new();
    let url = person(ANN, "");
    let set = r#"{"properties": {"plan": "x"}, "personal_api_key": "phx_reader"}"#;
    for (key, kind, body, status) in [
        ("", "application/json", "{}", 401),
        ("Bearer phx_x", "application/json", set, 401),
        ("Bearer phx_reader", "application/json", "{", 403),
        ("", "application/json", set, 403),
        ("Bearer phx_writer", "application/json", "{", 400),
        ("Bearer phx_writer", "application/json", "[]", 400),
        ("Bearer phx_writer", "application/json", "{}", 400),
        ("Bearer phx_writer", "application/json", r#"{"properties": [1]}"#, 400),
        ("Bearer phx_writer", "text/plain", set, 415),
        (
            "Bearer phx_writer",
            "application/json",
            r#"{"properties": {"a": 1}, "personal_api_key": true}"#,
            200,
        ),
        ("Bearer phx_reader", "application/json", r#"{"personal_api_key": true}"#, 403),
        ("", "application/json", r#"{"personal_api_key": true}"#, 400),
    ] {
        let headers = [("content-type", kind), ("authorization", key)];
        let headers = if key.is_empty() { &headers[..1] } else { &headers };
        let reply = world.send_with(Method::PATCH, &url, headers, body).await;
        assert_eq!(reply.status, status, "{key} {kind} {body}: {}", reply.body);
    }
    let wide = json!({"properties": {"wide": "x".repeat(2_000)}});
    assert_eq!(write(&world, Method::PATCH, &url, &wide).await.status, 413);
    assert_eq!(properties(&world, ANN).await["plan"], "pro");
}

#[tokio::test]
async fn an_encoding_without_a_body_is_ignored() {
    let world = World::new();
    let headers = [("content-encoding", "gzip")];
    world.get_with(&person(ANN, ""), &headers).await.ok();
    let reply =
        world.request_with(WRITER, Method::DELETE, &person(ANN, ""), &headers, &Json::Null).await;
    assert_eq!(reply.status, 202);
}

#[tokio::test]
async fn the_invalid_id_among_many_is_named() {
    let world = World::new();
    for (body, told) in [
        (json!({"ids": [1, "zz"]}), "'zz' is not an id or uuid; distinct ids go into distinct_ids"),
        (json!({"ids": {"a": 1}}), "ids must be an array of strings or numbers"),
    ] {
        let (status, error) = write(&world, Method::POST, BULK_DELETE, &body).await.error();
        assert_eq!(status, 400);
        assert!(error.contains(told), "{error}");
    }
}
