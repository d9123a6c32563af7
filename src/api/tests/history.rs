//! A person's timeline, and the difference between two moments.

use super::*;

fn url(rest: &str) -> String {
    format!("{LIST}/{ANN}/{rest}")
}

#[tokio::test]
async fn a_timeline_tells_what_each_operation_changed() {
    let world = World::new();
    let history = world.get(&url("history")).await.json();
    let told: Vec<_> = history["results"].as_array().unwrap().iter().collect();
    let line = |index: usize| {
        let entry = &told[index];
        format!("{} {} {}", entry["timestamp"], entry["event"], entry["changes"])
    };
    assert_eq!(told.len(), 4);
    assert_eq!(
        line(0),
        r#""2026-03-01T13:00:00Z" "$identify" [{"after":1.0,"before":null,"key":"n"},{"after":"dark","before":null,"key":"theme"}]"#
    );
    assert_eq!(
        line(2),
        r#""2026-03-01T10:30:00Z" "$set" [{"after":"trial","before":"free","key":"plan"}]"#
    );
    assert_eq!(told[2]["known_at"], "2026-03-01T14:00:00Z");
    assert_eq!(told[2]["distinct_id"], "ann");
    assert_eq!(history["next"], Json::Null);
}

#[tokio::test]
async fn a_timeline_is_read_by_key_and_time_page_by_page() {
    let world = World::new();
    let whole = world.get(&url("history?key=plan")).await.json();
    let whole = whole["results"].as_array().unwrap().clone();
    assert_eq!(whole.len(), 3);
    assert!(whole.iter().all(|entry| entry["changes"][0]["key"] == "plan"));
    let pages = world.pages(&url("history?key=plan&limit=2")).await;
    let read = pages.iter().flat_map(|page| page["results"].as_array().unwrap());
    assert!(read.eq(&whole), "{pages:#?}");
    let between = "history?from=2026-03-01T10:30:00Z&to=2026-03-01T11:00:00Z";
    assert_eq!(world.get(&url(between)).await.json()["results"].as_array().unwrap().len(), 2);
    let nobody = world.get(&url("history?key=nothing")).await.json();
    assert_eq!(nobody["results"], json!([]));
    for wrong in ["limit=0", "limit=1001", "from=x", "cursor=x", "format=xml"] {
        assert_eq!(world.get(&url(&format!("history?{wrong}"))).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_difference_is_between_two_moments() {
    let world = World::new();
    let diff = |from: &str, to: &str, more: &str| {
        url(&format!("diff?from=2026-03-01T{from}:00Z&to=2026-03-01T{to}:00Z{more}"))
    };
    assert_eq!(
        world.get(&diff("10:00", "11:00", "")).await.ok(),
        r#"{"from":"2026-03-01T10:00:00Z","to":"2026-03-01T11:00:00Z","added":{"from":"ad"},"removed":{},"changed":{"plan":{"before":"free","after":"pro"}}}"#
    );
    let back = world.get(&diff("13:00", "10:30", "")).await.json();
    assert_eq!(back["removed"], json!({"from": "ad", "n": 1.0, "theme": "dark"}));
    assert_eq!(back["changed"]["plan"], json!({"before": "pro", "after": "trial"}));
    let known = diff("10:00", "10:45", "&known_at=2026-03-01T12:00:00Z");
    assert_eq!(world.get(&known).await.json()["changed"], json!({}), "it was not known yet");
    assert_eq!(world.get(&url("diff?from=2026-03-01")).await.status, 400);
    let nobody = "/api/projects/1/persons/1/diff?from=2026-03-01&to=2026-03-02";
    let (status, error) = world.get(nobody).await.error();
    assert!(status == 404 && error.contains("Not found."), "{error}");
}

#[tokio::test]
async fn what_came_by_set_once_or_by_a_merge_has_its_history() {
    let mut world = World::new();
    world.ingest(&[
        event("16:00", "v").with(json!({"$set_once": {"ref": "ad"}})),
        event("17:00", "ann").named("$identify", json!({"$anon_distinct_id": "v"})),
    ]);
    for (key, name) in [("from", "$set"), ("theme", "$identify"), ("ref", "$identify")] {
        let told = world.get(&url(&format!("history?key={key}"))).await.json();
        assert_eq!(told["results"][0]["event"], name, "{key}");
        assert_eq!(told["results"][0]["changes"][0]["before"], Json::Null, "{key}");
    }
    let whole = world.get(&url("history?limit=1")).await.json();
    assert_eq!(whole["results"][0]["changes"][0]["key"], "ref");
    let from = world.get(&url("history?key=plan&from=2026-03-01T10:30:00Z")).await.json();
    assert_eq!(from["results"].as_array().unwrap().len(), 2);
}
