//! Persons and operations as JSON.

use super::json::Object;
use crate::person::{Value, head};
use crate::store::{Operation, Person};

/// The usual size of an answer with one person, in bytes.
pub const USUAL: usize = 2_048;

/// Writes a person as JSON. At most `most` distinct ids are shown; `more` writes further fields at the end.
pub fn person(
    out: &mut Vec<u8>,
    person: &Person,
    display: &[String],
    most: usize,
    more: impl FnOnce(&mut Object),
) {
    let shown = person.distinct_ids.len().min(most);
    let mut object = Object::new(out);
    object.number("id", person.id);
    object.string("name", &name(person, display));
    object.strings("distinct_ids", &person.distinct_ids[..shown]);
    properties(object.field("properties"), person);
    object.optional("created_at", person.created_at);
    object.optional("uuid", Some(person.uuid));
    object.optional("last_seen_at", person.last_seen_at);
    object.flag("is_identified", person.is_identified);
    if shown < person.distinct_ids.len() {
        object.flag("distinct_ids_truncated", true);
    }
    more(&mut object);
    object.end();
}

/// Returns the value of the property with this name.
pub fn property<'p>(person: &'p Person, name: &str) -> Option<&'p Value> {
    let properties = &person.properties;
    let found = properties.binary_search_by(|(found, _)| found.as_ref().cmp(name));
    found.ok().map(|index| &properties[index].1)
}

/// Writes the fields with which every listed operation begins.
pub fn operation(object: &mut Object, operation: &Operation) {
    object.optional("timestamp", Some(operation.event_time));
    object.optional("known_at", Some(operation.known));
    object.string("event", &operation.event);
    object.optional("uuid", Some(operation.uuid));
    // A write over HTTP has none.
    let distinct_id = Some(operation.distinct_id.as_str()).filter(|id| !id.is_empty());
    object.optional_string("distinct_id", distinct_id);
}

fn name(person: &Person, display: &[String]) -> String {
    let values = display.iter().map(|name| property(person, name));
    head::display_name(values, &person.distinct_ids, person.uuid)
}

fn properties(out: &mut Vec<u8>, person: &Person) {
    let mut object = Object::new(out);
    for (name, value) in &person.properties {
        object.raw(name, value.as_json());
    }
    object.end();
}
