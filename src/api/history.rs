//! `GET …/persons/:id/history` and `GET …/persons/:id/diff`: what became of a person, operation by
//! operation, and from one moment to another.

use std::collections::BTreeMap;

use axum::extract::Path;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;

use super::as_of::{self, Who};
use super::called::Called;
use super::error::Error;
use super::export::Take;
use super::json::{Object, array};
use super::link::Link;
use super::openapi::{answers, parameters, past};
use super::parameters::Parameters;
use super::read::{Read, View};
use super::{body, cursor};
use crate::person::{Head, Mode, PersonId, Place, Time, Value};
use crate::store::{Asked, Change, Changed, Moment, Person};

const DEFAULT_LIMIT: u64 = 100;
const MAX_LIMIT: u64 = 1_000;

/// Operations that an export reads at once.
const CHUNK: usize = 100;

/// Which part of a timeline is asked for.
#[derive(Clone)]
struct Query {
    called: Called,
    from: Time,
    until: Place,
    key: Option<String>,
    limit: usize,
}

impl Query {
    fn of(id: &str, parameters: &Parameters, limit: u64) -> Result<Self, Error> {
        let to = parameters.time("to")?.unwrap_or(Time::MAX);
        let mut until = Some(Place::end_of(to));
        if let Some(text) = parameters.get(cursor::PARAMETER) {
            until = cursor::operation(text)?.before().min(until);
        }
        Ok(Self {
            called: Called::parse(id, "id")?,
            from: parameters.time("from")?.unwrap_or(Time(i64::MIN)),
            until: until.unwrap_or_default(),
            key: parameters.get("key").map(str::to_owned),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
        })
    }
}

/// List what happened to a person
///
/// The operations on a person, newest first, and what each changed, `$set_once` included. A merge
/// shows the properties that it brought.
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
    let limit = read.parameters.whole("limit", 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    let query = Query::of(&id, &read.parameters, limit)?;
    if read.is_export() {
        let query = Query { limit: CHUNK, ..query };
        return read.export(move |view, take| export(view, query.clone(), take)).await;
    }
    let link = Link::of(&uri, &headers, read.state.settings.trust_forwarded, limit)?;
    read.list(move |view| page(view, &query, &link)).await
}

fn page(view: &View<'_>, query: &Query, link: &Link) -> Result<Vec<u8>, Error> {
    let (id, head) = view.now(query.called)?;
    let mut changed = operations(view, (id, &head), query)?;
    let more = changed.len() > query.limit;
    changed.truncate(query.limit);
    let last = changed.last().filter(|_| more);
    let next = last.map(|last| link.cursor(&cursor::after_operation(last.place)));
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    array(object.field("results"), &changed, |out, changed| entry(view, out, changed));
    object.optional_string("next", next.as_deref());
    object.end();
    Ok(out)
}

/// Every operation as a row.
fn export(view: &View<'_>, mut query: Query, take: &mut Take<'_>) -> Result<(), Error> {
    let (id, head) = view.now(query.called)?;
    let mut out = Vec::new();
    loop {
        let changed = operations(view, (id, &head), &query)?;
        for changed in changed.iter().take(query.limit) {
            out.clear();
            entry(view, &mut out, changed);
            take(&out)?;
        }
        // One more is read than taken, so there is a next one where there is one before it.
        match changed.get(query.limit) {
            Some(next) => query.until = next.place,
            None => return Ok(()),
        }
    }
}

/// Operations on a person, newest first, and one more than asked for, which tells that it goes on.
fn operations(
    view: &View<'_>,
    person: (PersonId, &Head),
    query: &Query,
) -> Result<Vec<Changed>, Error> {
    let key = query.key.as_deref();
    let property = key.map(|key| view.store.dictionary().property(view.project, key));
    // Nobody has a property that has no number.
    if property == Some(None) {
        return Ok(Vec::new());
    }
    let (from, until, limit) = (query.from, query.until, query.limit + 1);
    let asked = Asked { from, until, property: property.flatten(), limit };
    Ok(view.snapshot.operations_with_changes(view.project, person, asked)?)
}

fn entry(view: &View<'_>, out: &mut Vec<u8>, Changed { operation, changes, .. }: &Changed) {
    let mut object = Object::new(out);
    body::operation(&mut object, operation);
    let name = |change: &Change| {
        let name = view.store.dictionary().property_name(view.project, change.property);
        name.unwrap_or_default()
    };
    let mut changes: Vec<_> = changes.iter().map(|change| (name(change), change)).collect();
    changes.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    array(object.field("changes"), changes, |out, (name, Change { before, after, .. })| {
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
/// The properties that were added, removed and changed from one moment to the other, `$set_once`
/// included.
#[utoipa::path(
    get, path = "/persons/{id}/diff", tag = "past",
    params(parameters::Difference, parameters::Position, parameters::Answer, parameters::Known),
    responses(answers::Single<past::Difference>),
    extensions(("x-required-scope" = json!("person:read"))),
)]
pub async fn diff(read: Read, Path((_, id)): Path<(String, String)>) -> Result<Response, Error> {
    let called = Called::parse(&id, "id")?;
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
        view.now(called)?;
        let at = |time| {
            let who = Who::PersonId(called, id.clone());
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
