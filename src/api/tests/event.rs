//! Events of the small world.

use super::*;

/// An event on 1 March 2026.
pub struct Event {
    time: String,
    known: String,
    token: &'static str,
    distinct_id: String,
    name: &'static str,
    properties: Json,
}

pub fn event(time: &str, distinct_id: &str) -> Event {
    Event {
        time: time.to_owned(),
        known: time.to_owned(),
        token: "t1",
        distinct_id: distinct_id.to_owned(),
        name: "$set",
        properties: json!({}),
    }
}

/// Returns events that merge so many visitors, `id-0` and so on, into ann's person.
pub fn merges_into_ann(visitors: usize) -> Vec<Event> {
    let merge =
        |n| event("12:00", "ann").named("$merge_dangerously", json!({"alias": format!("id-{n}")}));
    (0..visitors).map(merge).collect()
}

impl Event {
    pub fn with(self, properties: Json) -> Self {
        Self { properties, ..self }
    }

    pub fn named(self, name: &'static str, properties: Json) -> Self {
        Self { name, ..self }.with(properties)
    }

    pub fn known(self, known: &str) -> Self {
        let known = known.to_owned();
        Self { known, ..self }
    }

    pub fn of_project_2(self) -> Self {
        Self { token: "t2", ..self }
    }

    /// Returns the record that has the event at this offset.
    pub fn record(&self, offset: u64) -> Record {
        let day = |time: &str| format!("2026-03-01T{time}:00Z");
        let value = json!({
            "token": self.token,
            "distinct_id": self.distinct_id,
            "event": self.name,
            "timestamp": day(&self.time),
            "now": day(&self.known),
            "properties": self.properties,
        });
        Record {
            position: Position { topic: 0, partition: 0, offset },
            topic: "events".into(),
            timestamp: Time::parse(&day(&self.known)).unwrap(),
            value: Some(value.to_string().into_bytes()),
            ..Record::default()
        }
    }
}
