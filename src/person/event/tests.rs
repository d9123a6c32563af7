//! Tests of parsing, by examples of every form and fault of a record.

mod sources;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::fuzz;
use crate::person::Command;
use crate::person::operation::Action;

const UUID: &str = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";

fn rules() -> Rules {
    Rules { promote: true, projects: [("phc_x".to_owned(), 1)].into() }
}

fn record(value: &[u8]) -> Record {
    Record {
        topic: "events".into(),
        timestamp: Time::parse("2026-03-01T12:00:00Z").unwrap(),
        value: Some(value.to_vec()),
        ..Record::default()
    }
}

fn parse(value: &Json) -> Result<Event, Rejection> {
    Event::parse(&record(value.to_string().as_bytes()), &rules())
}

fn wrapped(data: &Json) -> Json {
    json!({"uuid": UUID, "distinct_id": "ann", "token": "phc_x", "data": data.to_string()})
}

fn flat(fields: &Json) -> Json {
    let mut event = json!({"token": "phc_x", "distinct_id": "ann", "event": "x"});
    for (key, value) in fields.as_object().unwrap() {
        event[key] = value.clone();
    }
    event
}

fn actions(event: Event) -> Vec<(String, Action)> {
    event.updates.into_iter().map(|update| (update.name.into_owned(), update.action)).collect()
}

#[test]
fn a_wrapped_record_a_data_object_and_a_flat_event_say_the_same() {
    let inner = json!({"event": "x", "properties": {"$set": {"plan": "pro"}}});
    let string = parse(&wrapped(&inner)).unwrap();
    let mut object = wrapped(&inner);
    object["data"] = inner;
    assert_eq!(parse(&object).unwrap(), string);
    let flat = flat(&json!({"uuid": UUID, "$set": {"plan": "pro"}}));
    assert_eq!(parse(&flat).unwrap(), string);
    assert_eq!(actions(string), [("plan".to_owned(), Action::Set(Value::string("pro")))]);
}

#[test]
fn the_last_of_two_equal_fields_counts_whatever_the_first_is() {
    let of = |first: &str, last: &str| {
        let text = format!(r#"{{"token":"phc_x","distinct_id":"ann",{first},"event":"x",{last}}}"#);
        Event::parse(&record(text.as_bytes()), &rules())
    };
    let properties = r#""properties":{"$set":{"plan":"pro"}}"#;
    let set = [("plan".to_owned(), Action::Set(Value::string("pro")))];
    for first in [r#""properties":[1]"#, r#""properties":7"#, r#""properties":{"$set":{"plan":1}}"#]
    {
        assert_eq!(actions(of(first, properties).unwrap()), set, "{first}");
    }
    assert_eq!(actions(of(properties, r#""properties":null"#).unwrap()), []);
    assert_eq!(of(properties, r#""properties":7"#), Err(Rejection::WrongType("properties")));
}

#[test]
fn every_fault_has_its_reason() {
    let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
    let with = |key: &str, value: Json| {
        let mut record = wrapped(&json!({}));
        record[key] = value;
        record.to_string()
    };
    let without = |key: &str| {
        let mut record = wrapped(&json!({}));
        record.as_object_mut().unwrap().remove(key);
        record.to_string()
    };
    for (value, reason) in [
        (String::new(), "empty_value"),
        ("{".to_owned(), "not_json"),
        ("[]".to_owned(), "wrong_type"),
        (deep, "too_deep"),
        (with("data", json!("{")), "data_not_json"),
        (with("data", json!("[]")), "wrong_type"),
        (with("data", json!(1)), "wrong_type"),
        (with("data", json!({"properties": []})), "wrong_type"),
        (with("data", json!({"$set": 1})), "wrong_type"),
        (with("data", json!({"properties": {"$set_once": "x"}})), "wrong_type"),
        (with("uuid", json!("x")), "invalid_uuid"),
        (with("uuid", json!("")), "missing_uuid"),
        (without("uuid"), "missing_uuid"),
        (without("distinct_id"), "missing_distinct_id"),
        (with("distinct_id", json!(" ")), "missing_distinct_id"),
        (with("token", json!("phc_other")), "unknown_token"),
        (without("token"), "unknown_token"),
        (
            with("data", json!({"event": "$identify", "properties": {"$anon_distinct_id": []}})),
            "invalid_anon_distinct_id",
        ),
        (
            with("data", json!({"event": "$create_alias", "properties": {"alias": {}}})),
            "invalid_alias",
        ),
    ] {
        let rejection = Event::parse(&record(value.as_bytes()), &rules()).unwrap_err();
        assert_eq!(rejection.reason(), reason, "{value}");
    }
    assert_eq!(Event::parse(&record(b"\xff"), &rules()), Err(Rejection::NotJson));
    assert_eq!(Event::parse(&Record::default(), &rules()), Err(Rejection::EmptyValue));
}

#[test]
fn ids_become_text_and_are_cut() {
    for (id, expected) in [
        (json!(23), "23"),
        (json!(true), "true"),
        (json!([1, "a"]), "[1,\"a\"]"),
        (json!(" a "), " a "),
        (json!("a\0b"), "a\u{fffd}b"),
    ] {
        assert_eq!(parse(&flat(&json!({"distinct_id": id}))).unwrap().distinct_id, expected);
    }
    let event = parse(&flat(&json!({"distinct_id": "🦔".repeat(201)}))).unwrap();
    assert_eq!(event.distinct_id, "🦔".repeat(200));
}

#[test]
fn a_nul_of_a_header_takes_no_part_in_a_merge() {
    let value = json!({"token": "phc_x", "event": "$identify", "uuid": UUID, "properties": {"$anon_distinct_id": "b"}});
    let mut bare = record(value.to_string().as_bytes());
    bare.headers = vec![("distinct_id".to_owned(), Some(b"a\0".to_vec()))];
    let event = Event::parse(&bare, &rules()).unwrap();
    assert_eq!((event.distinct_id.as_str(), event.merge), ("a\u{fffd}", None));
    assert_eq!(event.warnings, [Warning::IllegalDistinctId]);
}

#[test]
fn a_time_that_its_offset_leads_out_of_the_years_is_the_epoch() {
    for (time, due) in [
        ("0000-01-01T00:00:00+01:00", Time::EPOCH),
        ("0000-01-01T00:00:00Z", Time::parse("0000-01-01T00:00:00Z").unwrap()),
    ] {
        let event = parse(&flat(&json!({"uuid": UUID, "timestamp": time}))).unwrap();
        assert_eq!((event.event_time, event.warnings), (due, vec![]), "{time}");
    }
}

#[test]
fn headers_and_properties_stand_in() {
    let mut bare = record(br#"{"event":"x","properties":{"distinct_id":"p","token":"phc_x"}}"#);
    assert_eq!(Event::parse(&bare, &rules()).unwrap().distinct_id, "p");
    bare.headers = vec![("distinct_id".to_owned(), Some(b"h".to_vec()))];
    assert_eq!(Event::parse(&bare, &rules()).unwrap().distinct_id, "h");
    bare.headers.push(("distinct_id".to_owned(), Some(b"\xff".to_vec())));
    assert_eq!(
        Event::parse(&bare, &rules()).unwrap().distinct_id,
        "p",
        "an invalid header is absent"
    );
    bare.headers = vec![("token".to_owned(), Some(b" ".to_vec()))];
    assert!(Event::parse(&bare, &rules()).is_ok(), "a blank header is absent");
    let blank = json!({"event": "", "data": {"event": "$identify"}});
    let mut record = wrapped(&blank["data"]);
    record["event"] = blank["event"].clone();
    assert_eq!(parse(&record).unwrap().name, "$identify", "a blank name is absent");
    bare.headers = vec![("force_disable_person_processing".to_owned(), Some(b"true".to_vec()))];
    assert!(Event::parse(&bare, &rules()).unwrap().personless);
}

#[test]
fn a_flat_event_without_uuid_gets_one_of_its_origin() {
    let uuid = parse(&flat(&json!({}))).unwrap().uuid;
    assert_eq!(uuid, Uuid::new_v5(&identity::NAMESPACE, b"events:0:0"));
}

#[test]
fn the_top_level_wins_per_key() {
    let event = parse(&flat(&json!({
        "$set": {"a": 1},
        "properties": {"$set": {"a": 2, "b": 3}, "$unset": ["c", 4]},
    })));
    assert_eq!(
        actions(event.unwrap()),
        [
            ("a".to_owned(), Action::Set(Value::from_json("1"))),
            ("b".to_owned(), Action::Set(Value::from_json("3"))),
            ("c".to_owned(), Action::Unset),
        ]
    );
}

#[test]
fn unset_takes_strings_whatever_stands_beside_them() {
    let text = flat(&json!({"properties": {"$unset": ["c", "ODD"]}})).to_string();
    let text = text.replace("\"ODD\"", &crate::person::json::wrapped(60));
    let event = Event::parse(&record(text.as_bytes()), &rules()).unwrap();
    assert_eq!(actions(event), [("c".to_owned(), Action::Unset)]);
}

#[test]
fn os_name_fills_os_and_a_server_has_none() {
    let names = |properties: Json| {
        let updates = parse(&flat(&json!({"properties": properties}))).unwrap().updates;
        updates.into_iter().map(|update| update.name.into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(json!({"$os_name": "iOS"})), ["$initial_os", "$os"]);
    assert_eq!(names(json!({"$os_name": "iOS", "$is_server": true})), [""; 0]);
    let both = parse(&flat(&json!({"properties": {"$os_name": "a", "$os": "b"}}))).unwrap();
    assert!(actions(both).contains(&("$os".to_owned(), Action::Set(Value::string("b")))));
    let twice = flat(&json!({"properties": {"$os_name": "a"}})).to_string();
    let twice = twice.replace(r#""$os_name":"a""#, r#""$os_name":"a","$os_name":"b""#);
    let twice = Event::parse(&record(twice.as_bytes()), &rules()).unwrap();
    let set = ("$os".to_owned(), Action::Set(Value::string("b")));
    assert!(actions(twice).contains(&set), "the last one counts");
}

#[test]
fn events_about_something_else_update_no_person() {
    for name in ["$groupidentify", "$exception", "$$heatmap"] {
        let event =
            parse(&flat(&json!({"event": name, "$set": {"a": 1}, "properties": {"$os": "x"}})));
        assert_eq!(event.unwrap().updates, []);
    }
}

#[test]
fn merges_pass_the_guards_or_say_why_not() {
    let merge = |name: &str, properties: Json| {
        let event = parse(&flat(&json!({"event": name, "properties": properties}))).unwrap();
        (event.merge, event.warnings)
    };
    let request = |other: &str, dangerously| {
        (Some(MergeRequest { other: other.to_owned(), dangerously }), vec![])
    };
    assert_eq!(merge("$identify", json!({"$anon_distinct_id": "b"})), request("b", false));
    assert_eq!(merge("$identify", json!({"$anon_distinct_id": 7})), request("7", false));
    assert_eq!(merge("$merge_dangerously", json!({"alias": "b"})), request("b", true));
    assert_eq!(merge("$identify", json!({"$anon_distinct_id": null})), (None, vec![]));
    assert_eq!(merge("x", json!({"alias": "b"})), (None, vec![]));
    for (other, warning) in [
        (json!("ann"), Warning::SameDistinctId),
        (json!("null"), Warning::IllegalDistinctId),
        (json!(""), Warning::IllegalDistinctId),
        (json!("b\0"), Warning::IllegalDistinctId),
    ] {
        assert_eq!(merge("$create_alias", json!({"alias": other})), (None, vec![warning]));
    }
    let personless = json!({"alias": "b", "$process_person_profile": false});
    assert_eq!(merge("$create_alias", personless), (None, vec![Warning::PersonlessMerge]));
}

#[test]
fn event_time_is_never_later_than_known_time() {
    let event = parse(&flat(&json!({"timestamp": "2027-01-01"}))).unwrap();
    assert_eq!(event.event_time, event.known_time);
    let odd = parse(&flat(&json!({"timestamp": "soon"}))).unwrap();
    assert_eq!((odd.event_time, odd.warnings), (odd.known_time, vec![Warning::InvalidTimestamp]));
}

/// Generates JSON of any type, extremes included, for fields that expect another one.
fn anything() -> impl Strategy<Value = Json> {
    let numbers = || {
        prop::sample::select(vec![
            json!(0),
            json!(-1),
            json!(1e300),
            json!(-1e300),
            json!(i64::MIN),
            json!(u64::MAX),
            json!(0.1),
        ])
    };
    let texts = || {
        let odd = prop::sample::select(vec![
            "",
            " ",
            "null",
            "2026-03-01",
            "0000-01-01",
            "9999-12-31T23:59:59.999999-23:59",
            "+057042-03-01T00:00:00.000Z",
            "phc_x",
            "ann",
            UUID,
            "{",
            "\0",
            "🦔",
        ]);
        odd.prop_map(Json::from)
    };
    let leaf =
        prop_oneof![numbers(), texts(), Just(json!(null)), Just(json!(true)), Just(json!(false))];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let keys = prop::sample::select(KEYS.to_vec());
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::hash_map(keys, inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

/// Every key that has a meaning, and some that do not.
const KEYS: [&str; 26] = [
    "uuid",
    "distinct_id",
    "$distinct_id",
    "token",
    "api_key",
    "data",
    "now",
    "sent_at",
    "event",
    "timestamp",
    "offset",
    "properties",
    "$set",
    "$set_once",
    "$unset",
    "alias",
    "$anon_distinct_id",
    "$process_person_profile",
    "$is_server",
    "$ignore_sent_at",
    "$os",
    "$os_name",
    "$browser",
    "utm_source",
    "x",
    "a.b",
];

/// Generates events whose fields may contain anything.
fn odd_records() -> impl Strategy<Value = Json> {
    let fields =
        || prop::collection::hash_map(prop::sample::select(KEYS.to_vec()), anything(), 0..9);
    let name =
        prop::sample::select(vec!["$identify", "$create_alias", "$merge_dangerously", "visit"]);
    (fields(), fields(), name, any::<bool>()).prop_map(|(outer, properties, name, wrap)| {
        let mut event = json!({"token": "phc_x", "distinct_id": "ann", "event": name, "properties": properties});
        for (key, value) in outer {
            event[key] = value;
        }
        if wrap { wrapped(&event) } else { event }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn whatever_comes_is_an_event_or_a_rejection(value in odd_records(), kafka in any::<i64>()) {
        let mut record = record(value.to_string().as_bytes());
        record.timestamp = Time::from_milliseconds(kafka);
        if let Ok(event) = Event::parse(&record, &rules()) {
            prop_assert!(event.event_time <= event.known_time);
            prop_assert!(event.event_time.is_writable() && event.known_time.is_writable());
            prop_assert!(!event.distinct_id.trim().is_empty());
            prop_assert!(event.distinct_id.chars().count() <= identity::MAX_DISTINCT_ID);
            prop_assert!(!event.personless || event.updates.is_empty());
        }
    }

    #[test]
    fn no_bytes_harm_the_event_parser(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0..400_usize) {
        let _ = Event::parse(&record(&bytes), &rules());
        // A good record, cut anywhere and followed by random bytes.
        let good = wrapped(&json!({"event": "$set", "properties": {"$set": {"a": "🦔\u{0}"}}})).to_string();
        let mut cut = good.into_bytes()[..cut.min(100)].to_vec();
        cut.extend(bytes);
        let _ = Event::parse(&record(&cut), &rules());
    }
}

#[test]
fn no_record_of_the_corpus_does_harm_however_it_is_changed() {
    let projects = ["t", "phc_example"].map(|token| (token.to_owned(), 1)).into();
    let rules = Rules { promote: true, projects };
    fuzz::run(&fuzz::corpus("records"), 1, |bytes| {
        let record = record(bytes);
        let _ = Command::parse(&record);
        if let Ok(event) = Event::parse(&record, &rules) {
            assert!(event.event_time <= event.known_time && event.known_time.is_writable());
            // An update's name is a part of the record, or a name derived from one by promotion.
            let values = event.updates.iter().map(|update| update.name.len());
            assert!(values.sum::<usize>() <= 3 * bytes.len() + 2_000);
        }
    });
}
