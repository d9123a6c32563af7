//! Tests which of several possible sources each field of an event comes from.

use super::*;

fn time_of(value: &Json) -> String {
    parse(value).unwrap().event_time.to_string()
}

#[test]
fn the_clocks_of_a_record_reach_its_event() {
    let clocks = json!({"now": "2026-03-01T12:00:00Z", "sent_at": "2026-03-01T12:00:10Z",
        "timestamp": "2026-03-01T11:00:00Z"});
    assert_eq!(time_of(&flat(&clocks)), "2026-03-01T10:59:50Z");
    let mut whole = wrapped(&json!({"timestamp": clocks["timestamp"]}));
    (whole["now"], whole["sent_at"]) = (clocks["now"].clone(), clocks["sent_at"].clone());
    assert_eq!(time_of(&whole), "2026-03-01T10:59:50Z");
    let ignored =
        json!({"timestamp": clocks["timestamp"], "properties": {"$ignore_sent_at": true}});
    whole["data"] = ignored.to_string().into();
    assert_eq!(time_of(&whole), "2026-03-01T11:00:00Z");
    let before = flat(&json!({"now": clocks["now"], "offset": 1500}));
    assert_eq!(time_of(&before), "2026-03-01T11:59:58.500000Z");
}

#[test]
fn headers_fill_in_for_the_value() {
    let mut bare = record(br#"{"token":"phc_x","distinct_id":"a","data":"{}"}"#);
    let header = |name: &str, text: &str| (name.to_owned(), Some(text.as_bytes().to_vec()));
    bare.headers = vec![
        header("uuid", UUID),
        header("event", "$set"),
        header("now", "2026-03-01T12:00:30Z"),
        header("timestamp", "1772362800000"),
    ];
    let event = Event::parse(&bare, &rules()).unwrap();
    assert_eq!((event.uuid.to_string().as_str(), event.name.as_str()), (UUID, "$set"));
    assert_eq!(event.known_time.to_string(), "2026-03-01T12:00:30Z");
    assert_eq!(event.event_time.to_string(), "2026-03-01T11:00:00Z");
    bare.headers[1] = header("event", "x\0");
    assert_eq!(Event::parse(&bare, &rules()).unwrap().name, "x\u{fffd}");
}

#[test]
fn older_names_of_token_and_distinct_id_count() {
    let event = json!({"api_key": "phc_x", "$distinct_id": "d", "event": "x"});
    let event = parse(&event).unwrap();
    assert_eq!((event.project, event.distinct_id.as_str()), (1, "d"));
}

#[test]
fn the_outermost_wins_for_set_once_and_the_name() {
    let both = flat(&json!({"$set_once": {"a": 1}, "properties": {"$set_once": {"a": 2}}}));
    let once = Action::Once(Value::from_json("1"));
    assert_eq!(actions(parse(&both).unwrap()), [("a".to_owned(), once)]);
    let mut named = wrapped(&json!({"event": "inner"}));
    named["event"] = "outer".into();
    assert_eq!(parse(&named).unwrap().name, "outer");
}

#[test]
fn promotion_can_be_turned_off() {
    let value = flat(&json!({"properties": {"$browser": "x", "$os_name": "y"}})).to_string();
    let rules = Rules { promote: false, ..rules() };
    assert_eq!(Event::parse(&record(value.as_bytes()), &rules).unwrap().updates, []);
}
