//! Random histories, with everything that makes them difficult.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

fn event() -> impl Strategy<Value = Json> {
    let id = || prop::sample::select(IDS.to_vec());
    let value = || prop::sample::select(vec![json!(1), json!(2), json!(null), json!(1.0)]);
    let key = || prop::sample::select(vec!["p", "q", "$browser"]);
    let object = || prop::collection::hash_map(key(), value(), 0..3).prop_map(|map| json!(map));
    let unset = prop::collection::vec(key(), 0..2);
    let ordinary = (id(), object(), object(), unset, any::<bool>()).prop_map(
        |(id, set, once, unset, named)| {
            let name = if named { "$set" } else { "visit" };
            let properties = json!({"$set": set, "$set_once": once, "$unset": unset});
            json!({"distinct_id": id, "event": name, "properties": properties})
        },
    );
    // `$set` and `$unset` of one key: the result depends on the value before.
    let either = (id(), value(), any::<bool>()).prop_map(|(id, value, once)| {
        let set = if once { "$set_once" } else { "$set" };
        json!({"distinct_id": id, "event": "visit", "properties": {set: {"p": value}, "$unset": ["p"]}})
    });
    let visit = (id(), value()).prop_map(|(id, browser)| {
        json!({"distinct_id": id, "event": "visit", "properties": {"$browser": browser, "$os": "x"}})
    });
    let more = (object(), prop::collection::vec(key(), 0..2));
    let merge = (id(), id(), object(), more, 0..6_u8).prop_map(|(id, other, set, more, kind)| {
        let (name, key) = match kind {
            0 => ("$create_alias", "alias"),
            1 | 2 => ("$merge_dangerously", "alias"),
            _ => ("$identify", "$anon_distinct_id"),
        };
        let (once, unset) = more;
        let properties = json!({key: other, "$set": set, "$set_once": once, "$unset": unset});
        json!({"distinct_id": id, "event": name, "properties": properties})
    });
    prop_oneof![5 => ordinary, 2 => visit, 2 => either, 4 => merge, 3 => command()]
}

/// Distinct ids, one of which looks anonymous.
pub const IDS: [&str; 5] = ["a", "b", "c", "d", "a-b-c-d-e"];

fn command() -> impl Strategy<Value = Json> {
    let id = || prop::sample::select(IDS.to_vec());
    let ids = prop::collection::vec(id(), 1..3);
    (id(), 0..3_u8, 0..9_u8, id(), ids).prop_map(|(of, split, kind, id, ids)| {
        let mut command = match kind {
            0 => json!({"command": "delete"}),
            1 => json!({"command": "reset", "distinct_id": id}),
            2 => json!({"command": "set", "properties": {"p": 3}}),
            3 => json!({"command": "unset", "keys": ["p", "q"]}),
            4 => json!({"command": "split"}),
            5 => json!({"command": "split", "distinct_id": id}),
            _ => json!({"command": "split", "distinct_ids": &ids}),
        };
        if kind != 1 {
            // The person that this id creates, or the one that a split makes of it.
            command["of"] = json!([of, u8::from(split == 0)]);
            command["or"] = json!(ids);
        }
        command["author"] = "key".into();
        command
    })
}

/// Events in the order of their arrival, each with the minute at which it happened and the minute at which it
/// was learned.
#[derive(Clone)]
pub struct History(pub Vec<(i64, i64, Json)>);

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut lines = self.0.iter();
        lines.try_for_each(|(minutes, known, event)| write!(f, "\n  {minutes:3} {known:3} {event}"))
    }
}

/// Generates histories in which some events come twice, at once or later.
pub fn histories() -> impl Strategy<Value = History> {
    let one = (event(), 0..200_i64, 0..300_i64, 0..8_u8);
    prop::collection::vec(one, 1..24).prop_map(|events| {
        let mut all = Vec::new();
        for (number, (mut event, minutes, known, again)) in events.into_iter().enumerate() {
            event["uuid"] = uuid::Uuid::from_u64_pair(1, number as u64).to_string().into();
            if !event["command"].is_null() {
                event["idempotency_key"] = event["uuid"].clone();
            }
            all.push((minutes, known, event.clone()));
            match again {
                7 => all.push((minutes, known, event)),
                // Its idempotency key is forgotten by then.
                6 if !event["command"].is_null() => all.push((minutes, known + 3 * 24 * 60, event)),
                _ => {}
            }
        }
        all.extend(all.first().cloned());
        History(all)
    })
}
