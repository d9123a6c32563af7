//! Commands in a rebuilt store, and commands that are refused for their size.

use super::story::{
    applied, command, delete, given, identify, merge, properties, records, set, split,
};
use super::*;
use crate::person::identity::person_uuid;
use crate::progress::tests::logged;

/// Completes a command of a random history: its project, its person, and the uuids that the person may have
/// instead.
pub fn of_project(project: ProjectId, line: &Json) -> Json {
    let mut line = line.clone();
    if !line["command"].is_null() {
        line["project"] = project.into();
    }
    if let Some(Json::Array(of)) = line.as_object_mut().and_then(|line| line.remove("of")) {
        let number = usize::from(of[1] == 1);
        let person = identity::person_uuids(project, of[0].as_str().unwrap()).nth(number);
        line["person"] = person.unwrap().to_string().into();
    }
    if let Some(Json::Array(or)) = line.as_object_mut().and_then(|line| line.remove("or")) {
        let others = or.iter().map(|id| person_uuid(project, id.as_str().unwrap()).to_string());
        line["other_uuids"] = others.collect();
    }
    line
}

/// Returns the uuid of the person that owns a distinct id.
fn uuid_of(store: &Store, id: &str) -> Option<uuid::Uuid> {
    let snapshot = store.snapshot();
    let person = snapshot.person_of_distinct_id(1, id).unwrap()?;
    Some(snapshot.head(1, person).unwrap().unwrap().uuid)
}

fn outcomes(tally: &Tally) -> Vec<Outcome> {
    tally.records.keys().map(|(_, outcome)| *outcome).collect()
}

#[test]
fn a_command_finds_its_person_where_events_came_in_another_order() {
    let visit = (0, set("anon", &json!({"plan": "free"})));
    let login = (1, identify("who", "anon"));
    let (_live, live, _) = given(&[login.clone(), visit.clone()]);
    assert_eq!(uuid_of(&live, "anon"), Some(person_uuid(1, "who")));
    let snapshot = live.snapshot();
    let person = snapshot.person_of_distinct_id(1, "who").unwrap().unwrap();
    let head = snapshot.head(1, person).unwrap().unwrap();
    let others = snapshot.other_uuids(1, (person, &head), 100).unwrap();
    assert_eq!(others, [person_uuid(1, "anon")]);
    let (_anew, anew, _) = given(&[visit, login]);
    assert_eq!(uuid_of(&anew, "who"), Some(person_uuid(1, "anon")));
    let with_others = |what: Json| {
        let mut command = command(&what);
        command["other_uuids"] = json!(others);
        command
    };
    let pro = json!({"plan": "pro"});
    let update = with_others(json!({"command": "set", "of": "who", "properties": &pro}));
    applied(&anew, &[(2, update)]);
    assert_eq!(properties(&anew, "who"), pro);
    applied(&anew, &[(3, with_others(json!({"command": "delete", "of": "who"})))]);
    assert_eq!((uuid_of(&anew, "who"), uuid_of(&anew, "anon")), (None, None));
}

#[test]
fn other_uuids_belong_to_no_other_person() {
    let (_folder, store, _) = given(&[
        (0, set("ann", &json!({}))),
        (1, identify("ann", "bob")),
        (2, split("ann", &["ann"])),
    ]);
    // Bob's person was created by the id ann, which has another person now.
    assert_eq!(uuid_of(&store, "bob"), Some(person_uuid(1, "ann")));
    let snapshot = store.snapshot();
    for id in ["ann", "bob"] {
        let person = snapshot.person_of_distinct_id(1, id).unwrap().unwrap();
        let head = snapshot.head(1, person).unwrap().unwrap();
        let others = snapshot.other_uuids(1, (person, &head), 100).unwrap();
        assert!(!others.contains(&person_uuid(1, "ann")), "{id}: {others:?}");
    }
}

#[test]
fn ids_that_went_through_too_many_merges_leave_a_few_at_a_time() {
    const LINKS: i64 = 60;
    let person = |link: i64| format!("p{link}");
    let chain = (1..LINKS).map(|link| (2 * link, merge(&person(link), &person(link - 1))));
    let all = (0..LINKS).map(|link| (0, set(&person(link), &json!({}))));
    let (_folder, store, _) = given(&all.chain(chain).collect::<Vec<_>>());
    let top = person(LINKS - 1);
    let now = |id: &str| store.snapshot().person_of_distinct_id(1, id).unwrap();
    assert_eq!(now("p0"), now(&top));
    let tally = applied(&store, &[(500, command(&json!({"command": "split", "of": top})))]);
    assert_eq!(outcomes(&tally), [Outcome::Refused]);
    assert_eq!(now("p0"), now(&top));
    let tally = applied(&store, &[(501, split(&top, &["p0", "p1"]))]);
    assert_eq!(outcomes(&tally), [Outcome::Recorded]);
    assert!(now("p0") != now(&top) && now("p0") != now("p1") && now("p2") == now(&top));
}

#[test]
fn a_deleted_person_of_many_rows_leaves_none() {
    let sets = (0..300).map(|n| (n, set("ann", &json!({"n": n}))));
    let end = [(400, delete("ann")), (500, set("ann", &json!({"m": 1})))];
    let bob = (0, set("bob", &json!({"b": 1})));
    let lines: Vec<_> = std::iter::once(bob).chain(sets).chain(end).collect();
    let (_folder, store) = opened();
    apply(&store, &records(&lines), &[100], SETTINGS);
    assert_eq!(properties(&store, "ann"), json!({"m": 1}));
    assert_eq!(properties(&store, "bob"), json!({"b": 1}));
    assert_eq!(store.content().iter().filter(|row| row.0 == "timeline").count(), 2);
}

#[test]
fn a_refused_command_is_logged_with_the_reason_and_without_its_properties() {
    let (_folder, store, _) = given(&[]);
    let unknown = json!({"command": "set", "of": "nobody", "properties": {"plan": "secret"}});
    let lines = logged(|| _ = applied(&store, &[(0, command(&unknown))]));
    let line = lines.iter().find(|line| line.contains("a command was refused")).unwrap();
    let person = format!("person={}", identity::person_uuids(1, "nobody").next().unwrap());
    for part in ["INFO", "offset=0", "command=\"$set\"", &person, "reason=\"not_found\""] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!line.contains("secret"), "{line}");
}

#[test]
fn one_instance_keeps_a_command_that_cannot_be_used() {
    let position = Position { topic: FIRST_COMMAND_TOPIC, ..Position::default() };
    let records = [Record { position, ..Record::default() }];
    let tally = Tally { rejections: vec![(0, Rejection::NotJson)], ..Tally::default() };
    let kept = |owned: &str| tally.dead_letters(&records, owned.parse().unwrap()).len();
    assert_eq!(["all", "0/3", "1/3", "2/3"].map(kept), [1, 1, 0, 0]);
}
