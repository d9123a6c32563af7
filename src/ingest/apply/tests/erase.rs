//! Deleted persons are removed from the disk.

use super::story::{delete, given, identify, set};
use super::*;
use crate::store::Pending;
use crate::store::tests::open;

#[test]
fn a_person_that_is_deleted_again_leaves_the_disk_again() {
    let anew = set("ann", &json!({"second": "x"}));
    let lines = [(0, set("ann", &json!({"first": "x"}))), (10, delete("ann")), (20, anew)];
    let (_folder, store, _) = given(&lines);
    let (_, once) = store.erase(&Pending::default()).unwrap();
    assert_eq!(once.persons.len(), 1);
    let reader = store.snapshot();
    let mut again = delete("ann");
    again["idempotency_key"] = "again".into();
    apply(&store, &[record(lines.len(), 30, 30, &again)], &[1], SETTINGS);
    let (erased, pending) = store.erase(&once).unwrap();
    assert_eq!(
        (erased, pending.persons.len()),
        (1, 1),
        "of the second deletion there may be readers"
    );
    assert_eq!(store.erase(&pending).unwrap(), (0, pending.clone()), "there is one");
    drop(reader);
    let (erased, pending) = store.erase(&pending).unwrap();
    assert_eq!((erased, pending.persons.len()), (1, 0));
}

#[test]
fn deleted_data_leaves_the_disk() {
    deleted_with(&[]);
    deleted_with(&[(11, set("carl", &json!({"plan": "third-secret"}))), (12, delete("carl"))]);
}

/// Erases two persons and those that the other lines delete, each as one more.
fn deleted_with(others: &[(i64, Json)]) {
    let mut lines = vec![
        (0, set("ann-the-secret", &json!({"plan": "property-secret", "email": "secret@x.org"}))),
        (1, set("bob", &json!({"plan": "public-value"}))),
        (2, set("anon-the-secret", &json!({"plan": "merged-secret", "from": "visitor-secret"}))),
        (3, identify("ann-the-secret", "anon-the-secret")),
        (2, set("anon-the-secret", &json!({"from": "late-secret"}))),
        (10, delete("ann-the-secret")),
    ];
    lines.extend_from_slice(others);
    let (folder, store, _) = given(&lines);
    let (erased, pending) = store.erase(&Pending::default()).unwrap();
    let persons = 2 + others.len() / 2;
    let due = (0, persons);
    assert_eq!((erased, pending.persons.len()), due, "a reader of before may still be there");
    let checkpoint = store.checkpoint().unwrap();
    assert_eq!(store.erase(&pending).unwrap(), (0, pending.clone()), "a checkpoint has them");
    drop(checkpoint);
    assert_eq!(store.erase(&pending).unwrap().0, persons);
    let files = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path());
    let bytes: Vec<u8> = files.flat_map(|file| std::fs::read(file).unwrap()).collect();
    let holds = |text: &str| memchr::memmem::find(&bytes, text.as_bytes()).is_some();
    assert!(holds("public-value"), "what is not deleted can be found this way");
    for secret in [
        "the-secret",
        "property-secret",
        "secret@x.org",
        "merged-secret",
        "visitor-secret",
        "late-secret",
        "third-secret",
    ] {
        assert!(!holds(secret), "{secret}");
    }
}

#[test]
fn an_erasure_that_the_end_cuts_short_is_none() {
    let (folder, store, _) = given(&[(0, set("ann", &json!({"first": "x"}))), (10, delete("ann"))]);
    let (_, pending) = store.erase(&Pending::default()).unwrap();
    store.end_background_work();
    assert_eq!(store.erase(&pending).unwrap(), (0, pending));
    drop(store);
    let store = open(folder.path());
    let (_, pending) = store.erase(&Pending::default()).unwrap();
    assert_eq!(store.erase(&pending).unwrap().0, 1, "with the next start it begins anew");
}
