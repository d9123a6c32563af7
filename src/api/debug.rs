//! `debug=true`: how a read of the past came to its answer, and the operations behind it.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::as_of::{self, Query};
use super::body;
use super::error::Error;
use super::json::{Object, array, string};
use super::read::View;
use crate::person::{Head, PersonId, ProjectId, PropertyId, Time, Value};
use crate::store::{Effect, NewestOperations, OperationWithValues, Person};

/// The most operations that are shown; fewer if their values exceed the page limit. All of them are counted.
const MAX_EVENTS: usize = 1_000;

/// The explanation of an as-of read.
pub struct Explanation {
    query: String,
    operations: NewestOperations,
    names: HashMap<PropertyId, Arc<str>>,
    sources: HashMap<PersonId, Uuid>,
}

impl Explanation {
    /// Reads the operations behind an answer.
    pub fn read(
        view: &View<'_>,
        query: &Query,
        person: &Person,
        head: &Head,
    ) -> Result<Self, Error> {
        let View { ref snapshot, project, store, .. } = *view;
        let bytes = view.page_bytes();
        let operations = if person.created_at.is_none() {
            // The person is answered as not existing, so its operations must not show.
            NewestOperations::default()
        } else if query.is_today() {
            snapshot.operations_of_today(project, person, query.at, MAX_EVENTS, bytes)?
        } else {
            snapshot.operations(project, person.id, query.at, MAX_EVENTS, bytes)?
        };
        let mut told = Self {
            query: describe_read(query, person, head),
            operations,
            names: HashMap::new(),
            sources: HashMap::new(),
        };
        for event in &told.operations.shown {
            for &(property, ..) in &event.effects {
                let name = store.dictionary().property_name(project, property);
                told.names.extend(name.map(|name| (property, name)));
            }
            if let Some(source) = event.operation.merged {
                let head = snapshot.head(project, source)?;
                told.sources.extend(head.map(|head| (source, head.uuid)));
            }
        }
        Ok(told)
    }

    /// Writes the explanation as JSON.
    pub fn write(&self, out: &mut Vec<u8>, project: ProjectId, query: &Query) {
        let mut object = Object::new(out);
        object.string("query", &self.query);
        as_of::write_params(object.field("params"), project, query);
        object.number("events_found", self.operations.count);
        array(object.field("events"), &self.operations.shown, |out, event| {
            self.event(out, event);
        });
        object.end();
    }

    fn event(&self, out: &mut Vec<u8>, event: &OperationWithValues) {
        let OperationWithValues { operation, effects, .. } = event;
        let mut object = Object::new(out);
        body::operation(&mut object, operation);
        let with = |kinds: &'static [Effect]| {
            let of_kind = effects.iter().filter(|(_, effect, _)| kinds.contains(effect));
            of_kind.filter_map(|(property, _, value)| {
                Some((self.names.get(property)?, value.as_ref()))
            })
        };
        values(object.field("$set"), with(&[Effect::Set, Effect::SetUnset]));
        values(object.field("$set_once"), with(&[Effect::Once, Effect::OnceUnset]));
        let unset = with(&[Effect::Unset, Effect::SetUnset, Effect::OnceUnset]);
        array(object.field("$unset"), unset, |out, (name, _)| string(out, name));
        if let Some(source) = operation.merged {
            let mut merge = Object::new(object.field("merge"));
            merge.number("source_id", source);
            merge.optional("source_uuid", self.sources.get(&source));
            merge.end();
        }
        object.end();
    }
}

fn values<'v>(out: &mut Vec<u8>, values: impl Iterator<Item = (&'v Arc<str>, Option<&'v Value>)>) {
    let mut object = Object::new(out);
    for (name, value) in values {
        if let Some(value) = value {
            object.raw(name, value.as_json());
        }
    }
    object.end();
}

/// Describes in words how the answer was read.
fn describe_read(query: &Query, person: &Person, head: &Head) -> String {
    if query.is_today() {
        return format!(
            "person {}: what its {} distinct ids of today did, by seeks in the history of each person that had \
             one of them or was merged into it",
            person.id,
            person.distinct_ids.len(),
        );
    }
    let properties = head.properties();
    let (in_head, sought): (Vec<_>, Vec<_>) = properties
        .partition(|(_, entry)| query.at.known == Time::MAX && entry.newest <= Some(query.at.time));
    format!(
        "person {}: of the {} properties that it ever had, {} were read from its head, which is \
         not newer, and {} by a seek each in their history",
        person.id,
        in_head.len() + sought.len(),
        in_head.len(),
        sought.len(),
    )
}
