//! Breaks each law in one row and checks that the verification names it.

use super::*;
use crate::person::{Class, Life, Place, Row, State, Stored, Value, identity};
use crate::store::{Family, Operation, codec, keys};

fn person(id: &str) -> u64 {
    identity::person_id(identity::person_uuids(1, id).next().unwrap())
}

fn place(minutes: i64, offset: u64) -> Place {
    let time = Time(START + minutes * HOUR / 60);
    Place { time, position: Position { topic: 0, partition: 0, offset } }
}

/// Returns the first row of a family whose key begins with `of`.
pub fn first(store: &Store, family: Family, of: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let rows = store.content().into_iter();
    let mut rows = rows.filter(|(name, key, _)| *name == family.name() && key.starts_with(of));
    let (_, key, value) = rows.next().unwrap();
    (key, value)
}

/// Damages a difficult store and returns every difference found.
fn damaged(damage: impl Fn(&Store)) -> Vec<(Law, String)> {
    let (_folder, store) = difficult();
    damage(&store);
    let report = report(&store);
    assert!(report.differences() >= report.first.len() as u64);
    report.first.into_iter().map(|it| (it.law, it.to_string())).collect()
}

/// Checks that a damage is found, under this law and with these words.
pub fn finds(law: Law, words: &str, damage: impl Fn(&Store)) {
    let found = damaged(damage);
    let hit = |(of, text): &(Law, String)| *of == law && text.contains(words);
    assert!(found.iter().any(hit), "{words}: {found:#?}");
}

fn property(store: &Store, name: &str) -> u32 {
    store.dictionary().property(1, name).unwrap()
}

/// Changes an operation of ann.
fn operation(store: &Store, place: Place, change: impl Fn(&mut Operation)) {
    let at = keys::at(keys::person(1, person("ann")), place);
    let (_, value) = first(store, Family::Timeline, &at);
    let mut operation = codec::decode_operation(place, &value).unwrap();
    change(&mut operation);
    let bytes = codec::encode_operation(place, &operation);
    store.damage(Family::Timeline, &at, Some(&bytes));
}

fn head(store: &Store, id: &str, change: impl Fn(&mut crate::person::Head)) {
    let mut head = store.snapshot().head(1, person(id)).unwrap().unwrap();
    change(&mut head);
    let bytes = codec::encode_person(&crate::person::PersonRow::Head(head));
    store.damage(Family::Person, &keys::person(1, person(id)), Some(&bytes));
}

#[test]
fn a_head_that_is_not_the_fold_is_found() {
    let value = || Some(Value::string("gold"));
    finds(Law::Heads, "property \"plan\": found \"gold\"", |store| {
        let plan = property(store, "plan");
        head(store, "ann", |head| {
            head.entries.get_mut(&plan).unwrap().state.current = value();
        });
    });
    finds(Law::Heads, "as of", |store| {
        let plan = property(store, "plan");
        head(store, "ann", |head| head.entries.get_mut(&plan).unwrap().newest = None);
    });
    finds(Law::Heads, "found no entry, expected", |store| {
        let plan = property(store, "plan");
        head(store, "ann", |head| _ = head.entries.remove(&plan));
    });
    finds(Law::Heads, "json_bytes", |store| head(store, "ann", |head| head.json_bytes += 1));
    finds(Law::Heads, "created_at", |store| {
        head(store, "ann", |head| head.created_at = Time(5));
    });
    finds(Law::Heads, "its own beginning", |store| {
        head(store, "ann", |head| head.began.known = Time(5));
    });
    finds(Law::Heads, "identified since", |store| {
        head(store, "ann", |head| head.identified = None);
    });
    finds(Law::Heads, "newest time", |store| head(store, "ann", |head| head.newest = None));
    finds(Law::Heads, "version", |store| head(store, "ann", |head| head.version = 1));
    finds(Law::Heads, "property \"b\": found 1.0", |store| {
        let b = property(store, "b");
        let value = Some(Value::from_json("1.0"));
        let state = State { current: value.clone(), set_only: value };
        head(store, "bob", |head| head.entries.get_mut(&b).unwrap().state = state.clone());
    });
    finds(Law::Heads, "has no name", |store| {
        let plan = property(store, "plan");
        store.damage(Family::Meta, &keys::Meta::Property(1, plan).key(), None);
        head(store, "ann", |head| {
            head.entries.insert(999, crate::person::Entry::default());
        });
    });
    finds(Law::Heads, "cannot be read", |store| {
        store.damage(Family::Person, &keys::person(1, person("ann")), Some(&[9]));
    });
}

#[test]
fn a_row_that_is_missing_odd_or_too_much_is_found() {
    let key = |store: &Store, class| {
        keys::at(keys::class(1, person("ann"), property(store, "plan"), class), place(6, 2))
    };
    finds(Law::Heads, "property \"plan\": found", |store| {
        store.damage(Family::History, &key(store, Class::Anchor), None);
    });
    finds(Law::Timeline, "expected Set known", |store| {
        store.damage(Family::History, &key(store, Class::Anchor), None);
    });
    finds(Law::Heads, "under Some(Once)", |store| {
        let row = Row::Set(Value::string("x"));
        let stored = Stored { place: place(6, 2), known: Time(0), row };
        let bytes = codec::encode_row(&stored);
        store.damage(Family::History, &key(store, Class::Once), Some(&bytes));
    });
    finds(Law::Heads, "`history` cannot be read", |store| {
        store.damage(Family::History, &key(store, Class::Anchor), Some(&[77]));
    });
    finds(Law::Timeline, "that no operation tells of", |store| {
        let at = keys::at(keys::person(1, person("ann")), place(6, 2));
        store.damage(Family::Timeline, &at, None);
    });
    finds(Law::Timeline, "is not in `recorded`", |store| {
        let (key, _) = first(store, Family::Recorded, &keys::person(1, person("ann")));
        store.damage(Family::Recorded, &key, None);
    });
    finds(Law::Timeline, "`timeline` cannot be read", |store| {
        let at = keys::at(keys::person(1, person("ann")), place(6, 2));
        store.damage(Family::Timeline, &at, Some(&[1]));
    });
    finds(Law::Timeline, "whom no life knows", |store| {
        operation(store, place(10, 3), |operation| operation.merged = Some(person("kim")));
    });
    finds(Law::Heads, "its clocks are", |store| {
        operation(store, place(6, 2), |operation| operation.known = Time(5));
    });
    finds(Law::Timeline, "expected its own time", |store| {
        operation(store, place(6, 2), |operation| operation.event_time = Time(5));
    });
}

#[test]
fn a_merged_value_that_is_not_its_sources_is_found() {
    let life = Life { person: person("anon"), number: 0 };
    let key = |store: &Store, name: &str| {
        let class = keys::class(1, person("ann"), property(store, name), Class::MergeBoth);
        keys::at(class, place(10, 3))
    };
    let put = |store: &Store, name: &str, source: Life, value: &str| {
        let (_, old) = first(store, Family::History, &key(store, name));
        let old = codec::decode_row(place(10, 3), &old).unwrap();
        let value = Some(Value::from_json(value));
        let state = State { current: value.clone(), set_only: value };
        let row = Row::Merge { source: Some(source), state };
        let bytes = codec::encode_row(&Stored { row, ..old });
        store.damage(Family::History, &key(store, name), Some(&bytes));
    };
    finds(Law::Merges, "found 7, expected 2", |store| put(store, "seen", life, "7"));
    finds(Law::Merges, "was not merged into it there", |store| {
        put(store, "seen", Life { person: person("kim"), number: 0 }, "2");
    });
    finds(Law::Merges, "has no row of it", |store| {
        store.damage(Family::History, &key(store, "from"), None);
    });
    let created = || {
        keys::at(
            keys::class(1, person("ann"), crate::person::CREATED, Class::MergeBoth),
            place(10, 3),
        )
    };
    finds(Law::Merges, "began at", |store| store.damage(Family::History, &created(), None));
    finds(Law::Merges, "the beginning brought by", |store| {
        let key = created();
        let (_, old) = first(store, Family::History, &key);
        let old = codec::decode_row(place(10, 3), &old).unwrap();
        let row = crate::person::history::began_merged(Some(life), Time(5), true);
        let bytes = codec::encode_row(&Stored { row, ..old });
        store.damage(Family::History, &key, Some(&bytes));
    });
}

#[test]
fn a_list_that_does_not_show_the_heads_is_found() {
    let take = |family: Family| {
        move |store: &Store| {
            let (key, _) = first(store, family, &[]);
            store.damage(family, &key, None);
        }
    };
    finds(Law::Indexes, "in `by_created_at`, expected itself", take(Family::ByCreatedAt));
    finds(Law::Indexes, "in `by_email`, expected itself", take(Family::ByEmail));
    finds(Law::Indexes, "under its uuid", take(Family::Uuid));
    finds(Law::Indexes, "found last seen none", |store| {
        store.damage(Family::Recency, &keys::person(1, person("ann")), None);
    });
    finds(Law::Indexes, "under its last change", take(Family::ByChange));
    finds(Law::Indexes, "found in `by_change` as change 99", |store| {
        let key = keys::by_change(1, 99);
        store.damage(Family::ByChange, &key, Some(&person("ann").to_be_bytes()));
    });
    let (shown, merged) = (person("ann").to_be_bytes(), person("anon").to_be_bytes());
    let uuid = uuid::Uuid::nil();
    for (family, key, words) in [
        (Family::ByCreatedAt, keys::by_time(1, Time(5), uuid), "`by_created_at`, but"),
        (Family::ByEmail, keys::by_email(1, "x", person("ann")), "`by_email`, but"),
        (Family::Uuid, keys::uuid(1, uuid), "`uuid`, but the person is listed otherwise"),
    ] {
        finds(Law::Indexes, words, |store| store.damage(family, &key, Some(&shown)));
    }
    finds(Law::Indexes, "the person is not to be listed", |store| {
        let key = keys::by_time(1, Time(5), uuid);
        store.damage(Family::ByCreatedAt, &key, Some(&merged));
    });
    let count = || keys::Meta::Count(1).key();
    finds(Law::Indexes, "found a count of 77", |store| {
        store.damage(Family::Meta, &count(), Some(&77_u64.to_be_bytes()));
    });
    finds(Law::Indexes, "found a count of 0", |store| store.damage(Family::Meta, &count(), None));
}

#[test]
fn an_id_that_is_not_where_its_owner_says_is_found() {
    let owner = |store: &Store, id: &str, change: &dyn Fn(&mut crate::person::Ownership)| {
        let mut owner = store.snapshot().owner(1, id).unwrap().unwrap();
        change(&mut owner);
        let bytes = codec::encode_ownership(&owner);
        store.damage(Family::DistinctId, &keys::distinct_id(1, id), Some(&bytes));
    };
    finds(Law::Ownership, "who is not there", |store| {
        owner(store, "ann", &|owner| owner.first.life.person = 77);
    });
    finds(Law::Ownership, "expected not before", |store| {
        owner(store, "x1", &|owner| owner.later[1].from = Time(5));
    });
    finds(Law::Ownership, "found nothing, expected \"ann\"", |store| {
        let life = Life { person: person("ann"), number: 0 };
        store.damage(Family::PersonDistinctId, &keys::member(1, life, false, 0), None);
    });
    finds(Law::Ownership, "left none", |store| {
        owner(store, "anon", &|owner| owner.later.clear());
    });
    finds(Law::Ownership, "which is not its", |store| {
        store.damage(Family::DistinctId, &keys::distinct_id(1, "kim"), None);
    });
    finds(Law::Ownership, "expected a bundle", |store| {
        let life = Life { person: person("bob"), number: 0 };
        store.damage(Family::PersonDistinctId, &keys::member(1, life, false, 1), None);
    });
    finds(Law::Ownership, "expected its bundle", |store| {
        let life = Life { person: person("bob"), number: 0 };
        store.damage(Family::PersonDistinctId, &keys::member(1, life, false, 1), None);
    });
    finds(Law::Ownership, "beyond its number", |store| {
        head(store, "ann", |head| head.distinct_ids = 1);
    });
    finds(Law::Ownership, "`distinct_id` cannot be read", |store| {
        store.damage(Family::DistinctId, &keys::distinct_id(1, "ann"), Some(&[]));
    });
    finds(Law::Ownership, "`person_distinct_id` cannot be read", |store| {
        let (key, _) = first(store, Family::PersonDistinctId, &[]);
        store.damage(Family::PersonDistinctId, &key, Some(&[]));
    });
}

#[test]
fn lives_that_make_no_forest_are_found() {
    let span = |store: &Store, id: &str, number, change: &dyn Fn(&mut crate::store::LifeSpan)| {
        let key = keys::life(1, Life { person: person(id), number });
        let (_, value) = first(store, Family::Life, &key);
        let mut span = codec::decode_life_span(&value).unwrap();
        change(&mut span);
        store.damage(Family::Life, &key, Some(&codec::encode_life_span(&span)));
    };
    finds(Law::Lives, "expected one after the other", |store| {
        // Ann is merged into anon, which was merged into her.
        let (_, value) =
            first(store, Family::Life, &keys::life(1, Life { person: person("anon"), number: 0 }));
        let mut span = codec::decode_life_span(&value).unwrap();
        let merged = span.merged.as_mut().unwrap();
        merged.into = Life { person: person("anon"), number: 0 };
        let key = keys::life(1, Life { person: person("ann"), number: 0 });
        store.damage(Family::Life, &key, Some(&codec::encode_life_span(&span)));
    });
    finds(Law::Lives, "ended it, its head", |store| span(store, "anon", 0, &|it| it.merged = None));
    finds(Law::Lives, "its group leads to", |store| {
        span(store, "anon", 0, &|it| it.group.above = None);
    });
    finds(Law::Lives, "lives on from", |store| span(store, "x1", 1, &|it| it.lives_on = None));
    finds(Law::Lives, "found in its head that it lives on", |store| {
        head(store, "x1", |head| head.lives_on = None);
    });
    finds(Law::Lives, "is its source", |store| {
        let source = Life { person: person("anon"), number: 0 };
        store.damage(Family::Life, &keys::source(1, person("ann"), source), None);
    });
    finds(Law::Lives, "which it was not", |store| {
        let source = Life { person: person("kim"), number: 0 };
        store.damage(Family::Life, &keys::source(1, person("ann"), source), Some(&[]));
    });
    finds(Law::Lives, "who is not there", |store| {
        span(store, "anon", 0, &|it| it.merged.as_mut().unwrap().into.person = 77);
    });
    finds(Law::Lives, "merges it", |store| {
        let at = keys::at(keys::person(1, person("ann")), place(10, 3));
        store.damage(Family::Timeline, &at, None);
    });
    finds(Law::Lives, "found life 9 of person", |store| {
        let key = keys::life(1, Life { person: person("kim"), number: 9 });
        let bytes = codec::encode_life_span(&crate::store::LifeSpan::default());
        store.damage(Family::Life, &key, Some(&bytes));
    });
}

#[test]
fn rows_beyond_the_positions_are_found() {
    let position = || keys::Meta::Position(0, 0).key();
    finds(Law::Positions, "expected those below 3", |store| {
        let (_, value) = first(store, Family::Meta, &position());
        let applied = codec::decode_applied(&value).unwrap();
        let applied = Applied { next_offset: 3, last_offset: 2, ..applied };
        store.damage(Family::Meta, &position(), Some(&codec::encode_applied(&applied)));
    });
    finds(Law::Positions, "of which nothing was applied", |store| {
        store.damage(Family::Meta, &position(), None);
    });
    finds(Law::Positions, "but goes on at 3", |store| {
        let (_, value) = first(store, Family::Meta, &position());
        let applied = codec::decode_applied(&value).unwrap();
        let applied = Applied { next_offset: 3, ..applied };
        store.damage(Family::Meta, &position(), Some(&codec::encode_applied(&applied)));
    });
    let (_folder, store, _) = given(&[(0, set("ann", &json!({"a": 1})))]);
    let found = report(&store).first;
    assert!(found[0].to_string().contains("topic number 0 is used and has no name"), "{found:?}");
}

#[test]
fn remains_of_a_deleted_person_are_found() {
    let prefix = || keys::person(1, person("eve"));
    for (family, words) in [
        (Family::History, "rows in `history`, but it was deleted"),
        (Family::Timeline, "rows in `timeline`, but it was deleted"),
        (Family::Recorded, "rows in `recorded`, but it was deleted"),
        (Family::Recency, "but it was deleted"),
    ] {
        finds(Law::Deletion, words, |store| {
            let (key, value) = first(store, family, &keys::person(1, person("ann")));
            let key = [&prefix()[..], &key[keys::PERSON_BYTES..]].concat();
            store.damage(family, &key, Some(&value));
        });
        finds(Law::Deletion, "of a person that is not there", |store| {
            let (key, value) = first(store, family, &keys::person(1, person("ann")));
            let key = [&keys::person(9, 9)[..], &key[keys::PERSON_BYTES..]].concat();
            store.damage(family, &key, Some(&value));
        });
    }
    finds(Law::Deletion, "which was deleted, and is still there", |store| {
        let (_, tombstone) = first(store, Family::Person, &prefix());
        store.damage(Family::Person, &keys::person(1, person("ann")), Some(&tombstone));
    });
}

#[test]
fn an_activity_log_that_does_not_add_up_is_found() {
    let merge = || keys::activity(1, 0);
    finds(Law::Activity, "found ordinal 1, expected 0", |store| {
        store.damage(Family::Activity, &merge(), None);
    });
    finds(Law::Activity, "which is not its", |store| {
        store.damage(Family::Activity, &merge(), None);
    });
    finds(Law::Activity, "cannot be read", |store| {
        store.damage(Family::Activity, &merge(), Some(&[9]));
    });
    finds(Law::Activity, "activity 0 is not in its log", |store| {
        let key = keys::activity_of(1, person("anon"), 0);
        store.damage(Family::Activity, &key, None);
    });
    finds(Law::Activity, "is in its timeline: false, due: true", |store| {
        let at = keys::at(keys::person(1, person("ann")), place(10, 3));
        store.damage(Family::Timeline, &at, None);
    });
    finds(Law::Activity, "activity 0 is of nobody", |store| {
        let (_, row) = first(store, Family::Activity, &merge());
        let activity = codec::decode_activity(&row).unwrap();
        let row = codec::encode_activity(&crate::store::Activity { person: 77, ..activity });
        store.damage(Family::Activity, &merge(), Some(&row));
    });
}
