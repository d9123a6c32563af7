//! One person: `GET …/persons/:id`.

use super::*;

async fn id_of(world: &World, distinct_id: &str) -> String {
    let url = format!("{LIST}?distinct_id={distinct_id}");
    world.get(&url).await.json()["results"][0]["id"].to_string()
}

#[tokio::test]
async fn a_person_is_answered_by_integer_and_by_uuid_in_any_form() {
    let world = World::new();
    let id = id_of(&world, "ann").await;
    let expected = world.get(&format!("{LIST}/{ANN}")).await.ok();
    assert_eq!(
        expected,
        format!(r#"{{"id":{id},"name":"ann@x.org","distinct_ids":["ann","a-b-c-d-e"],"#)
            + r#""properties":{"email":"ann@x.org","from":"ad","n":1.0,"plan":"pro","theme":"dark"},"#
            + r#""created_at":"2026-03-01T10:00:00Z","uuid":"fe27503b-3771-5a01-819d-96bf829dfb35","#
            + r#""last_seen_at":"2026-03-01T13:00:00Z","is_identified":true}"#
    );
    for person_ref in [&id, &ANN.to_uppercase(), &ANN.replace('-', "")] {
        for prefix in ["projects/1", "environments/1", "projects/@current"] {
            for slash in ["", "/", "?format=json&x=y&format="] {
                let url = format!("/api/{prefix}/persons/{person_ref}{slash}");
                assert_eq!(world.get(&url).await.ok(), expected, "{url}");
            }
        }
    }
}

#[tokio::test]
async fn a_person_merged_away_is_answered_by_what_it_became() {
    let world = World::new();
    let uuid = crate::person::identity::person_uuid(1, "a-b-c-d-e");
    let id = crate::person::identity::person_id(uuid);
    let current = world.get(&format!("{LIST}/{ANN}")).await.ok();
    let expected = current.replace(
        r#""is_identified":true}"#,
        &format!(r#""is_identified":true,"merged_from":"{uuid}"}}"#),
    );
    for person_ref in [uuid.to_string(), id.to_string()] {
        let url = format!("{LIST}/{person_ref}");
        assert_eq!(world.get(&url).await.ok(), expected);
    }
}

#[tokio::test]
async fn an_invalid_id_is_told_apart_from_an_unknown_one() {
    let world = World::new();
    for id in ["user-1", "-1", "%20", "1.0"] {
        let url = format!("{LIST}/{id}");
        let expected = concat!(
            r#"{"type":"validation_error","code":"invalid_input","detail":"#,
            r#""The ID provided does not look like a personID. If you are using a distinctId, "#,
            r#"please use /persons?distinct_id=<id> instead.","attr":"id"}"#
        );
        assert_eq!(world.get(&url).await.error(), (400, expected.to_owned()), "{url}");
    }
    let nobody =
        r#"{"type":"invalid_request","code":"not_found","detail":"Not found.","attr":null}"#;
    for id in ["1", "99999999999999999999", "00000000-0000-0000-0000-000000000000"] {
        let url = format!("{LIST}/{id}");
        assert_eq!(world.get(&url).await.error(), (404, nobody.to_owned()), "{url}");
    }
    // A person of another project does not exist here.
    let reply = world.get_as(OF_TWO, &format!("/api/projects/2/persons/{ANN}")).await;
    assert_eq!(reply.error(), (404, nobody.to_owned()));
}

#[tokio::test]
async fn an_answer_that_the_caller_has_is_not_sent_again() {
    let mut world = World::new();
    let url = format!("{LIST}/{ANN}");
    let tag = world.get(&url).await.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.len() == 34, "{tag}");
    for known in [tag.clone(), format!("\"x\", W/{tag}"), "*".to_owned()] {
        let reply = world.get_with(&url, &[("if-none-match", &known)]).await;
        assert_eq!((reply.status.as_u16(), reply.body.as_str()), (304, ""), "{known}");
        assert_eq!(reply.header("etag"), tag);
        assert!(!reply.header("x-personview-position").is_empty());
    }
    let twice = [("if-none-match", "\"x\""), ("if-none-match", &tag)];
    assert_eq!(world.get_with(&url, &twice).await.status, 304, "on a line of its own");
    world.ingest(&[event("17:00", "ann").with(json!({"$set": {"plan": "max"}}))]);
    let reply = world.get_with(&url, &[("if-none-match", &tag)]).await;
    assert_ne!(reply.header("etag"), tag);
    assert!(reply.ok().contains(r#""plan":"max""#));
}

#[tokio::test]
async fn a_read_reflects_the_position_it_asks_for() {
    let mut world = World::new();
    let url = format!("{LIST}/{ANN}?min_position=");
    let reply = world.get(&url).await;
    let position = reply.header("x-personview-position").to_owned();
    reply.ok();
    for known in [&position, "events:0:6"] {
        world.get(&format!("{url}{known}")).await.ok();
    }
    let late = concat!(
        r#"{"type":"server_error","code":"position_not_reached","#,
        r#""detail":"The position in min_position was not reached in time.","attr":null}"#
    );
    let reply = world.get(&format!("{url}events:0:7")).await;
    assert_eq!(reply.header("retry-after"), "1");
    assert_eq!(reply.error(), (503, late.to_owned()));
    world.ingest(&[event("17:00", "ann").with(json!({"$set": {"plan": "max"}}))]);
    let reply = world.get(&format!("{url}events:0:7")).await;
    assert_ne!(reply.header("x-personview-position"), position);
    assert!(reply.ok().contains(r#""plan":"max""#));
    for garbage in ["x", "events:0", "events:0:x", &position[1..]] {
        let (status, body) = world.get(&format!("{url}{garbage}")).await.error();
        assert_eq!(status, 400, "{garbage}");
        assert!(body.contains(r#""attr":"min_position""#), "{body}");
    }
}

#[tokio::test]
async fn a_reader_waits_while_the_position_is_being_reached() {
    let mut world = World::with(&Settings {
        position_wait: Duration::from_secs(60),
        request_timeout: Duration::from_secs(70),
        ..settings()
    });
    let request = Request::get("/api/projects/1/persons?min_position=events:0:0")
        .header("authorization", "Bearer phx_reader")
        .body(Body::empty());
    let answer = tokio::spawn(world.router.clone().oneshot(request.unwrap()));
    tokio::task::yield_now().await;
    world.ingest(&[event("10:00", "ann")]);
    let reply = Reply::of(answer.await.unwrap().unwrap()).await;
    assert_eq!(reply.json()["count"], 1);
}
