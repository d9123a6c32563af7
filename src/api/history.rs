//! `GET …/persons/:id/history` and `GET …/persons/:id/diff`: the timeline of a person, and what
//! changed between two moments.

use std::collections::BTreeMap;

use axum::extract::Path;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;

use super::as_of::{self, Who};
use super::error::Error;
use super::export::Take;
use super::json::{Object, array};
use super::link::Link;
use super::openapi::{answers, parameters, past};
use super::page::Results;
use super::person_ref::PersonRef;
use super::read::{Read, View};
use super::{body, cursor};
use crate::person::{Head, Mode, PersonId, Place, Time, Value};
use crate::store::{Moment, OperationDiff, OperationQuery, Person, PropertyDiff};

const DEFAULT_LIMIT: u64 = 100;
const MAX_LIMIT: u64 = 1_000;

/// Operations that are read per chunk.
const CHUNK: usize = 100;

/// The part of a timeline that is requested.
struct Query {
    person_ref: PersonRef,
    from: Time,
    /// `None` if nothing can be before the cursor.
    until: Option<Place>,
    key: Option<String>,
    limit: usize,
    is_csv: bool,
}

impl Query {
    fn of(id: &str, read: &Read) -> Result<Self, Error> {
        let parameters = &read.parameters;
        let limit = parameters.limit(DEFAULT_LIMIT, MAX_LIMIT)?;
        let to = parameters.time("to")?.unwrap_or(Time::MAX);
        let mut until = Some(Place::end_of(to));
        if let Some(text) = parameters.get(cursor::PARAMETER) {
            until = cursor::operation(text)?.before().min(until);
        }
        Ok(Self {
            person_ref: PersonRef::parse(id, "id")?,
            from: parameters.time("from")?.unwrap_or(Time(i64::MIN)),
            until,
            key: parameters.get("key").map(str::to_owned),
            limit,
            is_csv: read.format.is_csv(),
        })
    }
}

/// List what happened to a person
///
/// Returns the operations on a person, newest first, with what each changed, `$set_once` included. A merge
/// shows the properties that it added.
#[utoipa::path(
    get, path = "/persons/{id}/history", tag = "past",
    params(parameters::Timeline, parameters::Position, parameters::Answer),
    responses(answers::Listed<past::History>),
    extensions(("x-required-scope" = json!("person:read"))),
)]
pub async fn history(
    read: Read,
    Path((_, id)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let query = Query::of(&id, &read)?;
    if read.is_export() {
        return read.export(move |view, take| export(view, &query, take)).await;
    }
    let link = Link::of(&uri, &headers, read.state.settings.trust_forwarded, query.limit)?;
    read.list(move |view| page(view, &query, &link)).await
}

fn page(view: &View<'_>, query: &Query, link: &Link) -> Result<Vec<u8>, Error> {
    let (id, head) = view.now(query.person_ref)?;
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    let mut results = Results::new(view, object.field("results"));
    let (mut last, mut left, mut is_full) = (None, query.limit, false);
    each(view, (id, &head), query, |changed| {
        is_full = left == 0
            || !results.push(|out| {
                entry(view, out, changed);
                Ok(())
            })?;
        if !is_full {
            (last, left) = (Some(changed.place), left - 1);
        }
        Ok(!is_full)
    })?;
    results.end();
    if is_full && left > 0 && query.is_csv {
        return Err(Error::page_too_large());
    }
    let last = last.filter(|_| is_full);
    let next = last.map(|last| link.cursor(&cursor::after_operation(last)));
    object.optional_string("next", next.as_deref());
    object.end();
    Ok(out)
}

/// Passes every operation to `take`, as a row.
fn export(view: &View<'_>, query: &Query, take: &mut Take<'_>) -> Result<(), Error> {
    let (id, head) = view.now(query.person_ref)?;
    let mut out = Vec::new();
    each(view, (id, &head), query, |changed| {
        out.clear();
        entry(view, &mut out, changed);
        take(&out)?;
        Ok(true)
    })
}

/// Calls `take` with the operations on a person, newest first, until it returns `false`.
fn each(
    view: &View<'_>,
    person: (PersonId, &Head),
    query: &Query,
    mut take: impl FnMut(&OperationDiff) -> Result<bool, Error>,
) -> Result<(), Error> {
    // One more than a page, to see whether there is another page.
    let limit = CHUNK.min(query.limit.saturating_add(1));
    let mut until = query.until;
    while let Some(place) = until {
        view.check()?;
        let changed = operations(view, person, query, place, limit)?;
        for changed in &changed {
            if !take(changed)? {
                return Ok(());
            }
        }
        let last = changed.last().filter(|_| changed.len() == limit);
        until = last.and_then(|last| last.place.before());
    }
    Ok(())
}

/// Returns at most `limit` operations on a person up to a place, newest first.
fn operations(
    view: &View<'_>,
    person: (PersonId, &Head),
    query: &Query,
    until: Place,
    limit: usize,
) -> Result<Vec<OperationDiff>, Error> {
    let key = query.key.as_deref();
    let property = key.map(|key| view.store.dictionary().property(view.project, key));
    // A property that has no number was never set on any person.
    if property == Some(None) {
        return Ok(Vec::new());
    }
    let asked = OperationQuery { from: query.from, until, property: property.flatten(), limit };
    Ok(view.snapshot.operation_diffs(view.project, person, asked)?)
}

fn entry(
    view: &View<'_>,
    out: &mut Vec<u8>,
    OperationDiff { operation, changes, .. }: &OperationDiff,
) {
    let mut object = Object::new(out);
    body::operation(&mut object, operation);
    let name = |change: &PropertyDiff| {
        let name = view.store.dictionary().property_name(view.project, change.property);
        name.unwrap_or_default()
    };
    let mut changes: Vec<_> = changes.iter().map(|change| (name(change), change)).collect();
    changes.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    array(object.field("changes"), changes, |out, (name, PropertyDiff { before, after, .. })| {
        let mut object = Object::new(out);
        object.string("key", &name);
        object.raw("before", before.as_ref().map_or("null", Value::as_json));
        object.raw("after", after.as_ref().map_or("null", Value::as_json));
        object.end();
    });
    object.end();
}

/// Compare a person at two moments
///
/// Returns the properties that were added, removed or changed from one moment to the
/// other, `$set_once` included.
#[utoipa::path(
    get, path = "/persons/{id}/diff", tag = "past",
    params(parameters::Difference, parameters::Position, parameters::Answer, parameters::Known),
    responses(answers::Single<past::Difference>),
    extensions(("x-required-scope" = json!("person:read"))),
)]
pub async fn diff(read: Read, Path((_, id)): Path<(String, String)>) -> Result<Response, Error> {
    let person_ref = PersonRef::parse(&id, "id")?;
    let moment = |name: &str| {
        let time = read.parameters.time(name)?;
        time.ok_or_else(|| {
            let detail = format!("{name} is required (ISO format: 2023-06-15T14:30:00Z)");
            Error::required(name, detail)
        })
    };
    let (from, to) = (moment("from")?, moment("to")?);
    let known = read.parameters.time("known_at")?.unwrap_or(Time::MAX);
    read.person_apart(move |view| {
        view.now(person_ref)?;
        let at = |time| {
            let who = Who::PersonId(person_ref, id.clone());
            as_of::at(view, who, Moment { time, known }, Mode::WithOnce)
        };
        Ok(difference(from, to, &at(from)?, &at(to)?))
    })
    .await
}

fn difference(from: Time, to: Time, old: &Person, new: &Person) -> Vec<u8> {
    let map = |person: &Person| -> BTreeMap<_, _> { person.properties.iter().cloned().collect() };
    let (old, new) = (map(old), map(new));
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    object.optional("from", Some(from));
    object.optional("to", Some(to));
    for (name, here, there) in [("added", &new, &old), ("removed", &old, &new)] {
        let mut values = Object::new(object.field(name));
        for (key, value) in here.iter().filter(|(key, _)| !there.contains_key(*key)) {
            values.raw(key, value.as_json());
        }
        values.end();
    }
    let mut values = Object::new(object.field("changed"));
    for (key, before) in &old {
        if let Some(after) = new.get(key).filter(|after| *after != before) {
            let mut change = Object::new(values.field(key));
            change.raw("before", before.as_json());
            change.raw("after", after.as_json());
            change.end();
        }
    }
    values.end();
    object.end();
    out
}
