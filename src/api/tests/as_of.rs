//! The past: `GET …/persons/properties_at_time`.

use super::*;

const PATH: &str = "/api/projects/1/persons/properties_at_time";
const ANONYMOUS: &str = "distinct_id=a-b-c-d-e";

async fn at(world: &World, query: &str) -> Json {
    world.get(&format!("{PATH}?{query}")).await.json()
}

#[tokio::test]
async fn a_person_is_answered_as_it_was() {
    let world = World::new();
    let expected = concat!(
        r#"{"id":8328523598920501,"name":"ann@x.org","distinct_ids":["ann"],"#,
        r#""properties":{"email":"ann@x.org","plan":"trial"},"#,
        r#""created_at":"2026-03-01T10:00:00Z","uuid":"fe27503b-3771-5a01-819d-96bf829dfb35","#,
        r#""last_seen_at":"2026-03-01T10:00:00Z","is_identified":false,"point_in_time_metadata":{"#,
        r#""queried_timestamp":"2026-03-01T10:59:59.999999Z","include_set_once":false,"#,
        r#""distinct_id_used":"ann","person_id_used":null,"query_mode":"distinct_id","#,
        r#""distinct_ids_queried":["ann"],"distinct_ids_count":1,"known_at":null,"#,
        r#""identity":"as_of","existed":true}}"#
    );
    for prefix in ["projects/1", "environments/1", "environments/@current"] {
        for slash in ["", "/"] {
            let url = format!(
                "/api/{prefix}/persons/properties_at_time{slash}?distinct_id=ann\
                 &timestamp=2026-03-01T10:59:59.999999Z"
            );
            assert_eq!(world.get(&url).await.ok(), expected, "{url}");
        }
    }
}

#[tokio::test]
async fn set_once_counts_where_it_is_asked_for() {
    let world = World::new();
    for (query, expected) in [
        ("", json!({"email": "ann@x.org", "plan": "pro"})),
        ("&include_set_once=false", json!({"email": "ann@x.org", "plan": "pro"})),
        ("&include_set_once=true", json!({"email": "ann@x.org", "plan": "pro", "from": "ad"})),
    ] {
        let query = format!("distinct_id=ann&timestamp=2026-03-01T11:00:00Z{query}");
        let person = at(&world, &query).await;
        assert_eq!(person["properties"], expected, "{query}");
    }
}

#[tokio::test]
async fn the_second_clock_shows_what_was_known() {
    let world = World::new();
    for (known_at, plan) in [
        ("13:59", json!({"email": "ann@x.org", "plan": "free"})),
        ("14:00", json!({"email": "ann@x.org", "plan": "trial"})),
    ] {
        let query = format!(
            "distinct_id=ann&timestamp=2026-03-01T10:45:00Z&known_at=2026-03-01T{known_at}:00Z"
        );
        let person = at(&world, &query).await;
        assert_eq!(person["properties"], plan, "{known_at}");
        assert_eq!(
            person["point_in_time_metadata"]["known_at"],
            format!("2026-03-01T{known_at}:00Z")
        );
    }
}

#[tokio::test]
async fn identity_is_that_of_the_time() {
    let world = World::new();
    let anonymous = crate::person::identity::person_uuid(1, "a-b-c-d-e").to_string();
    for (query, uuid, ids, properties) in [
        (
            "timestamp=2026-03-01T12:30:00Z",
            anonymous.as_str(),
            json!(["a-b-c-d-e"]),
            json!({"n": 1.0, "theme": "dark"}),
        ),
        (
            "timestamp=2026-03-01T13:00:00Z",
            ANN,
            json!(["ann", "a-b-c-d-e"]),
            json!({"email": "ann@x.org", "n": 1.0, "plan": "pro", "theme": "dark"}),
        ),
        (
            "timestamp=2026-03-01T13:00:00Z&known_at=2026-03-01T12:59:00Z",
            anonymous.as_str(),
            json!(["a-b-c-d-e"]),
            json!({"n": 1.0, "theme": "dark"}),
        ),
    ] {
        for who in [ANONYMOUS.to_owned(), format!("person_id={anonymous}")] {
            let query = format!("{who}&{query}");
            let person = at(&world, &query).await;
            assert_eq!(person["uuid"], uuid, "{query}");
            assert_eq!(person["distinct_ids"], ids, "{query}");
            assert_eq!(person["properties"], properties, "{query}");
            let metadata = &person["point_in_time_metadata"];
            assert_eq!(metadata["distinct_ids_queried"], ids, "{query}");
            assert_eq!(metadata["identity"], "as_of");
        }
    }
}

#[tokio::test]
async fn a_person_is_asked_for_by_its_id_too() {
    let world = World::new();
    for id in [ANN, "8328523598920501"] {
        let query = format!("person_id={id}&timestamp=2026-03-01");
        let person = at(&world, &query).await;
        assert_eq!(person["uuid"], ANN);
        let metadata = &person["point_in_time_metadata"];
        assert_eq!(metadata["query_mode"], "person_id");
        assert_eq!(metadata["person_id_used"], id);
        assert_eq!(metadata["distinct_id_used"], Json::Null);
    }
}

#[tokio::test]
async fn an_id_that_was_not_known_yet_is_answered_empty() {
    let world = World::new();
    // Nothing was known at 09:00: the first event arrived at 10:00.
    let query = "distinct_id=ann&timestamp=2026-03-02&known_at=2026-03-01T09:00:00Z";
    let person = at(&world, query).await;
    assert_eq!(person["point_in_time_metadata"]["existed"], false);
    assert_eq!((&person["properties"], &person["distinct_ids"]), (&json!({}), &json!([])));
}

#[tokio::test]
async fn a_person_that_did_not_exist_yet_is_answered_empty() {
    let world = World::new();
    for query in [
        "timestamp=2026-03-01T09:59:59Z",
        "timestamp=2026-03-01T11:00:00Z&known_at=2026-03-01T09:00:00Z",
    ] {
        for who in ["distinct_id=ann", "person_id=8328523598920501"] {
            let person = at(&world, &format!("{who}&{query}&debug=true")).await;
            assert_eq!(person["uuid"], ANN);
            assert_eq!(person["name"], ANN);
            assert_eq!(person["properties"], json!({}));
            assert_eq!(person["distinct_ids"], json!([]));
            assert_eq!(person["created_at"], Json::Null);
            assert_eq!(person["last_seen_at"], Json::Null);
            assert_eq!(person["is_identified"], false);
            assert_eq!(person["point_in_time_metadata"]["existed"], false);
            assert_eq!(person["debug"]["events_found"], 0);
        }
    }
}

#[tokio::test]
async fn todays_identity_finds_nobody_before_anything_was_known() {
    let world = World::new();
    for (known_at, existed) in [("09:59", false), ("10:00", true)] {
        let query = format!(
            "distinct_id=ann&timestamp=2026-03-02&known_at=2026-03-01T{known_at}:00Z&identity=current"
        );
        let person = at(&world, &query).await;
        assert_eq!(person["point_in_time_metadata"]["existed"], existed);
        assert_eq!(person["created_at"].is_string(), existed);
    }
}

#[tokio::test]
async fn an_id_whose_person_was_deleted_since_is_answered_empty_by_every_name() {
    let world = World::new();
    let visitor = person_uuid(1, "a-b-c-d-e");
    world.write(Method::POST, &format!("{ANN}/split"), &json!({})).await;
    world.write(Method::DELETE, ANN, &json!({})).await;
    for who in [format!("person_id={visitor}"), "distinct_id=a-b-c-d-e".to_owned()] {
        let person = at(&world, &format!("{who}&timestamp=2026-03-02")).await;
        assert_eq!(person["uuid"], *visitor, "{who}");
        assert_eq!(person["point_in_time_metadata"]["existed"], false, "{who}");
        assert_eq!(person["properties"], json!({}), "{who}");
    }
    let url = format!("{PATH}?person_id={ANN}&timestamp=2026-03-02");
    assert_eq!(world.get(&url).await.error().0, 404, "who is deleted is not found");
}

#[tokio::test]
async fn debug_of_todays_identity_tells_the_operations_of_todays_distinct_ids() {
    let world = World::new();
    // Before the two were merged.
    let query = "distinct_id=ann&timestamp=2026-03-01T12:30:00Z&identity=current&debug=true&include_set_once=true";
    let person = at(&world, query).await;
    assert_eq!(person["properties"]["theme"], "dark");
    let debug = &person["debug"];
    let way = debug["query"].as_str().unwrap();
    assert!(way.contains("its 2 distinct ids of today"), "{way}");
    assert_eq!(debug["events_found"], 4);
    let events = debug["events"].as_array().unwrap();
    let ids: Vec<_> = events.iter().map(|event| event["distinct_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["a-b-c-d-e", "ann", "ann", "ann"]);
    assert_eq!(events[0]["$set"], json!({"n": 1.0, "theme": "dark"}));
}

#[tokio::test]
async fn debug_tells_the_operations_behind_an_answer() {
    let world = World::new();
    let query = "distinct_id=ann&timestamp=2026-03-01T13:00:00Z&debug=true&include_set_once=True";
    let debug = &at(&world, query).await["debug"];
    assert_eq!(
        debug["params"],
        json!({
            "project_id": 1, "distinct_id": "ann", "person_id": null,
            "timestamp": "2026-03-01T13:00:00Z", "known_at": null,
            "identity": "as_of", "include_set_once": true
        })
    );
    let way = debug["query"].as_str().unwrap();
    assert!(way.starts_with("person 8328523598920501: of the 5 properties"), "{way}");
    assert_eq!(debug["events_found"], 4);
    let events = debug["events"].as_array().unwrap();
    let seen: Vec<_> = events
        .iter()
        .map(|event| {
            assert!(event["uuid"].as_str().unwrap().len() == 36);
            let time = event["timestamp"].as_str().unwrap();
            (&time[11..16], &event["event"], &event["$set"], &event["$set_once"], &event["$unset"])
        })
        .collect();
    let none = json!({});
    assert_eq!(
        seen,
        [
            ("13:00", &json!("$identify"), &none, &none, &json!([])),
            ("11:00", &json!("$set"), &json!({"plan": "pro"}), &json!({"from": "ad"}), &json!([])),
            ("10:30", &json!("$set"), &json!({"plan": "trial"}), &none, &json!([])),
            (
                "10:00",
                &json!("$set"),
                &json!({"plan": "free", "email": "ann@x.org"}),
                &none,
                &json!([])
            ),
        ]
    );
    assert_eq!(events[2]["known_at"], "2026-03-01T14:00:00Z");
    let source = crate::person::identity::person_uuid(1, "a-b-c-d-e");
    assert_eq!(events[0]["merge"]["source_uuid"], source.to_string());
    assert_eq!(events[0]["distinct_id"], "ann");
    assert_eq!(events[1].get("merge"), None);

    let bob = at(&world, "distinct_id=bob&timestamp=2026-03-02&debug=true").await;
    assert_eq!(bob["debug"]["events"][0]["$unset"], json!(["email"]));
    assert_eq!(bob["debug"]["events"][0]["$set"], json!({"n": [1]}));
}

#[tokio::test]
async fn debug_shows_the_newest_thousand_and_counts_them_all() {
    let mut world = World::empty();
    let events: Vec<_> =
        (0..1_003).map(|n| event("10:00", "u").with(json!({"$set": {"n": n}}))).collect();
    world.ingest(&events);
    let debug = &at(&world, "distinct_id=u&timestamp=2026-03-02&debug=true").await["debug"];
    assert_eq!(debug["events_found"], 1_003);
    assert_eq!(debug["events"].as_array().unwrap().len(), 1_000);
    assert_eq!(debug["events"][0]["$set"]["n"], 1_002);
}

#[tokio::test]
async fn times_are_read_as_people_write_them() {
    let world = World::new();
    for (text, expected) in [
        ("2026-03-01T13:00:00%2B02:00", "2026-03-01T11:00:00Z"),
        ("2026-03-01T13:00:00+02:00", "2026-03-01T11:00:00Z"),
        ("2026-03-01+11:00", "2026-03-01T11:00:00Z"),
        ("2026-03-02", "2026-03-02T00:00:00Z"),
    ] {
        let person = at(&world, &format!("distinct_id=ann&timestamp={text}")).await;
        assert_eq!(person["point_in_time_metadata"]["queried_timestamp"], expected, "{text}");
    }
}

/// Invalid parameters that are not in the snapshot of `answers.rs`: the query, the parameter at fault, the
/// text.
const REFUSED: [(&str, &str, &str); 3] = [
    (
        "distinct_id=ann&timestamp=2026-03-01&known_at=1",
        "known_at",
        "Invalid known_at format. Use ISO format like 2023-06-15T14:30:00Z",
    ),
    (
        "distinct_id=ann&timestamp=2026-03-01&identity=x",
        "identity",
        "identity must be as_of or current",
    ),
    (
        "distinct_id=ann&timestamp=2026-03-01&include_set_once=1",
        "include_set_once",
        "include_set_once must be true or false",
    ),
];

#[tokio::test]
async fn a_refused_parameter_is_reported_in_both_error_fields() {
    let world = World::new();
    for (query, attr, text) in REFUSED {
        let expected = format!(
            r#"{{"type":"validation_error","code":"invalid_input","detail":"{text}","attr":"{attr}","error":"{text}"}}"#
        );
        let reply = world.get(&format!("{PATH}?{query}")).await;
        assert_eq!(reply.error(), (400, expected), "{query}");
    }
    let url = format!("{PATH}?person_id=ann&timestamp=2026-03-01");
    let (status, body) = world.get(&url).await.error();
    assert_eq!(status, 400);
    assert!(body.contains(r#""attr":"person_id""#) && body.contains("personID"), "{body}");
}

#[tokio::test]
async fn an_unknown_person_is_reported_in_both_error_fields_and_with_a_position() {
    let world = World::new();
    for (query, text) in [
        ("distinct_id=it's", "Person with distinct_id 'it's' not found"),
        ("person_id=1", "Person with person_id '1' not found"),
    ] {
        let expected = format!(
            r#"{{"type":"invalid_request","code":"not_found","detail":"{text}","attr":null,"error":"{text}"}}"#
        );
        let reply = world.get(&format!("{PATH}?{query}&timestamp=2026-03-01")).await;
        assert!(!reply.header("x-personview-position").is_empty());
        assert_eq!(reply.error(), (404, expected), "{query}");
    }
}

#[tokio::test]
async fn a_read_of_the_past_has_a_tag_as_well() {
    let world = World::new();
    let url = format!("{PATH}?distinct_id=ann&timestamp=2026-03-02");
    let tag = world.get(&url).await.header("etag").to_owned();
    let reply = world.get_with(&url, &[("if-none-match", &tag)]).await;
    assert_eq!(reply.status, 304);
}
