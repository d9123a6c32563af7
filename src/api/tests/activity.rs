//! The activity log: who did what to whom, with the values before and after.

use super::*;

const LOG: &str = "/api/projects/1/persons/activity";

async fn log(world: &World, url: &str) -> Json {
    world.get_as(AUDITOR, url).await.json()
}

fn of(person: &str) -> String {
    format!("{LIST}/{person}/activity")
}

#[tokio::test]
async fn a_merge_by_an_event_has_the_system_as_its_author() {
    let world = World::new();
    let source = person_uuid(1, "a-b-c-d-e");
    let all = log(&world, LOG).await;
    let entry = &all["results"][0];
    let (ann, visitor) =
        (entry["item_id"].as_str().unwrap(), entry["detail"]["changes"][0].clone());
    assert_eq!(
        *entry,
        json!({
            "id": entry["id"],
            "user": {"first_name": "System", "email": null},
            "activity": "merged",
            "scope": "Person",
            "item_id": ann,
            "detail": {
                "changes": [{
                    "type": "Person", "action": "merged", "field": null,
                    "before": {"id": visitor["before"]["id"], "uuid": source},
                    "after": {"id": ann.parse::<u64>().unwrap(), "uuid": ANN},
                }],
                "name": ANN, "trigger": null, "type": null,
            },
            "created_at": "2026-03-01T13:00:00Z",
        })
    );
    assert_eq!((&all["total_count"], &all["next"]), (&json!(1), &Json::Null));
    for person in [ANN, &source, ann] {
        assert_eq!(log(&world, &of(person)).await, all, "in the log of both");
    }
    assert_eq!(log(&world, &of(&person_uuid(1, "bob"))).await["total_count"], 0);
}

#[tokio::test]
async fn writes_show_with_their_author_and_the_values_before_and_after() {
    let world = World::new();
    let set = json!({"properties": {"plan": "team", "seats": 1.50}});
    world.write(Method::PATCH, ANN, &set).await;
    let unset = json!({"$unset": ["theme", "nothing"]});
    world.write(Method::POST, &format!("{ANN}/delete_property"), &unset).await;
    world.write(Method::POST, &format!("{ANN}/split"), &json!({})).await;
    let body = log(&world, &of(ANN)).await;
    let entries = body["results"].as_array().unwrap();
    let told: Vec<_> =
        entries.iter().map(|entry| (&entry["activity"], &entry["user"]["first_name"])).collect();
    let by = |activity: &str, author: &str| (json!(activity), json!(author));
    let due = [
        by("split_person", "phx_writer"),
        by("delete_property", "phx_writer"),
        by("updated", "phx_writer"),
        by("merged", "System"),
    ];
    assert_eq!(told, due.iter().map(|(a, b)| (a, b)).collect::<Vec<_>>());
    let changes = |index: usize| entries[index]["detail"]["changes"].clone();
    let change = |action: &str, field: &str, before: Json, after: Json| {
        let of = "Person";
        json!({"type": of, "action": action, "field": field, "before": before, "after": after})
    };
    let (both, one) = (json!(["ann", "a-b-c-d-e"]), json!(["ann"]));
    assert_eq!(changes(0), json!([change("split", "distinct_ids", both, one)]));
    assert_eq!(changes(1), json!([change("deleted", "theme", json!("dark"), Json::Null)]));
    let plan = change("changed", "plan", json!("pro"), json!("team"));
    assert_eq!(changes(2), json!([plan, change("created", "seats", Json::Null, json!(1.5))]));
}

#[tokio::test]
async fn the_log_keeps_the_authors_but_no_values_of_a_deleted_person() {
    let world = World::new();
    world.write(Method::PATCH, ANN, &json!({"properties": {"secret": "s3cr3t"}})).await;
    world.write(Method::DELETE, ANN, &json!({})).await;
    for url in [LOG, &of(ANN)] {
        let body = log(&world, url).await;
        let entries = body["results"].as_array().unwrap();
        let told: Vec<_> = entries.iter().map(|entry| entry["activity"].as_str()).collect();
        assert_eq!(told, ["deleted", "updated", "merged"].map(Some));
        for entry in entries {
            assert_eq!(
                entry["detail"],
                json!({"changes": [], "name": ANN, "trigger": null, "type": null})
            );
        }
    }
}

#[tokio::test]
async fn a_person_created_again_has_its_earlier_log_without_the_values() {
    let mut world = World::new();
    world.write(Method::PATCH, ANN, &json!({"properties": {"plan": "team"}})).await;
    world.write(Method::DELETE, ANN, &json!({})).await;
    let future = "2099-03-01T10:00:00Z";
    let value = json!({"token": "t1", "distinct_id": "ann", "event": "$set", "timestamp": future,
        "now": future, "properties": {"$set": {"plan": "new"}}});
    let record = Record {
        position: Position { topic: 0, partition: 0, offset: world.applied },
        topic: "events".into(),
        timestamp: Time::parse(future).unwrap(),
        value: Some(value.to_string().into_bytes()),
        ..Record::default()
    };
    world.applied += 1;
    commit(&world.state.store, &[record]);
    world.write(Method::PATCH, ANN, &json!({"properties": {"plan": "newer"}})).await;
    let body = log(&world, &of(ANN)).await;
    let told: Vec<_> = body["results"].as_array().unwrap().iter().collect();
    assert_eq!(told[0]["detail"]["changes"][0]["before"], "new");
    assert_eq!(told[2]["activity"], "updated");
    assert_eq!(told[2]["detail"]["changes"], json!([]));
}

#[tokio::test]
async fn a_split_before_a_deletion_shows_nothing_of_the_person_created_again() {
    let mut world = World::new();
    world.write(Method::POST, &format!("{ANN}/split"), &json!({})).await;
    world.write(Method::DELETE, ANN, &json!({})).await;
    let again = json!({"distinct_id": "ann"});
    world.write(Method::POST, "reset_person_distinct_id", &again).await;
    world.ingest(&[event("11:00", "ann").with(json!({"$set": {"plan": "new"}}))]);
    let body = log(&world, &of(ANN)).await;
    let split = body["results"].as_array().unwrap().iter();
    let mut split = split.filter(|entry| entry["activity"] == "split_person");
    assert_eq!(split.next().unwrap()["detail"]["changes"], json!([]));
}

#[tokio::test]
async fn pages_are_numbered() {
    let world = World::new();
    for plan in ["a", "b", "c"] {
        world.write(Method::PATCH, ANN, &json!({"properties": {"plan": plan}})).await;
    }
    for url in [LOG, &of(ANN)] {
        let ids = |body: &Json| -> Vec<Json> {
            body["results"].as_array().unwrap().iter().map(|entry| entry["id"].clone()).collect()
        };
        let whole = ids(&log(&world, url).await);
        assert_eq!(whole.len(), 4);
        assert_eq!(whole.iter().map(Json::to_string).collect::<BTreeSet<_>>().len(), 4);
        let first = log(&world, &format!("{url}?limit=3&x=1")).await;
        assert_eq!((&first["total_count"], &first["previous"]), (&json!(4), &Json::Null));
        let next = first["next"].as_str().unwrap();
        assert!(next.ends_with("?x=1&limit=3&page=2"), "{next}");
        let second = log(&world, next).await;
        assert_eq!([ids(&first), ids(&second)].concat(), whole);
        assert_eq!(second["next"], Json::Null);
        assert!(second["previous"].as_str().unwrap().ends_with("page=1"));
        let beyond = log(&world, &format!("{url}?page=4294967296")).await;
        assert_eq!(beyond["results"], json!([]));
    }
}

#[tokio::test]
async fn the_log_requires_a_scope_of_its_own() {
    let world = World::new();
    for url in [LOG, &of(ANN)] {
        let (status, body) = world.get(url).await.error();
        assert_eq!(status, 403);
        assert!(body.contains("missing required scope 'activity_log:read'"), "{body}");
    }
    let nobody = of("1");
    let reply = world.get_as(AUDITOR, &nobody).await;
    assert_eq!(reply.error().0, 404);
}

#[tokio::test]
async fn the_log_in_csv_is_complete_and_has_the_values() {
    let world = World::new();
    for number in 0..12 {
        let set = json!({"properties": {"n": number}});
        world.write(Method::PATCH, ANN, &set).await;
    }
    let csv = async |url: &str, page: &str| {
        // An export may end a little later than its body.
        drop(world.state.exports.acquire_many(2).await.unwrap());
        let reply = world.get_as(AUDITOR, &format!("{url}?format=csv{page}")).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply
    };
    for url in [LOG, &of(ANN)] {
        let reply = csv(url, "").await;
        let mut lines = reply.body.lines();
        let header = lines.next().unwrap();
        assert!(header.starts_with("activity,created_at,detail.changes.0.action,"), "{header}");
        let lines: Vec<_> = lines.collect();
        assert_eq!(lines.len(), 13, "more than a page");
        assert!(
            lines[0].starts_with("updated,") && lines[0].contains(",changed,11,,,10,,,n,"),
            "{}",
            lines[0]
        );
        assert!(lines[12].starts_with("merged,"));
        // A page has ten entries.
        let second = csv(url, "&page=2").await;
        assert_eq!(second.body.lines().skip(1).collect::<Vec<_>>(), lines[10..]);
        assert_eq!(csv(url, "&page=99").await.body, "");
    }
    let reply = world.get("/api/projects/1/persons/changes?format=csv").await;
    assert_eq!(reply.error().0, 400);
}

#[tokio::test]
async fn a_person_that_lives_on_after_a_split_starts_without_values() {
    let world = World::new();
    let visitor = person_uuid(1, "a-b-c-d-e");
    world.write(Method::POST, &format!("{ANN}/split"), &json!({})).await;
    world.write(Method::PATCH, &visitor, &json!({"properties": {"theme": "light"}})).await;
    let entry = log(&world, &of(&visitor)).await["results"][0].clone();
    let change = &entry["detail"]["changes"][0];
    assert_eq!((&change["action"], &change["before"]), (&json!("created"), &Json::Null));
}

#[tokio::test]
async fn a_split_names_ids_that_came_together_too() {
    let mut world = World::new();
    let joins =
        |other: &str| event("17:00", "x1").named("$identify", json!({"$anon_distinct_id": other}));
    let merge = event("18:00", "ann").named("$merge_dangerously", json!({"alias": "x1"}));
    world.ingest(&[joins("x2"), joins("x3"), merge]);
    let split = json!({"distinct_ids_to_split": ["x2"]});
    world.write(Method::POST, &format!("{ANN}/split"), &split).await;
    let entry = log(&world, &of(ANN)).await["results"][0].clone();
    let change = &entry["detail"]["changes"][0];
    assert_eq!(change["before"], json!(["ann", "x1", "x2", "x3", "a-b-c-d-e"]));
    assert_eq!(change["after"], json!(["ann", "x1", "x3", "a-b-c-d-e"]));
}

#[tokio::test]
async fn a_split_of_very_many_distinct_ids_shows_those_that_left() {
    let mut world = World::with(&settings());
    world.ingest(&merges_into_ann(1_100));
    let ann = person_uuid(1, "ann");
    let left = json!({"distinct_ids_to_split": ["id-1050", "id-1051"]});
    world.write(Method::POST, &format!("{ann}/split"), &left).await;
    let log = log(&world, &format!("{}?limit=1", of(&ann))).await;
    let change = &log["results"][0]["detail"]["changes"][0];
    let [before, after] = ["before", "after"].map(|side| change[side].as_array().unwrap());
    assert_eq!((before.len(), after.len()), (1_000, 1_000));
    assert_eq!(before[..3], [json!("id-1050"), json!("id-1051"), json!("ann")]);
    assert!(after.contains(&json!("id-0")) && !after.contains(&json!("id-1050")));
    let csv = world.get_as(AUDITOR, &format!("{LOG}?format=csv")).await;
    assert_eq!(csv.status, 200);
}
