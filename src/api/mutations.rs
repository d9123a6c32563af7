//! Writes to persons: `PATCH`, `PUT` and `DELETE …/persons/:id`, and the `POST` routes under `…/persons`.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value as Tree, json};
use uuid::Uuid;

use super::batch::MAX_PERSONS;
use super::error::Error;
use super::once::{self, Done, NOBODY, nothing_to_split, of_one, once};
use super::openapi::{answers, bodies, parameters, requests};
use super::person_ref::{self, PersonRef};
use super::read::View;
use super::write::{KeyedAct, Write, Written, to_person};
use super::{access, json, now, position, single};
use crate::person::{self, Act, Leaving, Value};
use crate::store::{CommandOutcome, Moment};

/// Set properties of a person
///
/// Sets the given keys and leaves the others; `null` is a value. `PUT` does the same.
#[utoipa::path(
    patch, path = "/persons/{id}", tag = "writes",
    params(parameters::Position, parameters::Answer, parameters::Idempotency),
    request_body(content(
        (requests::PropertiesToSet = "application/json"),
        (requests::PropertiesToSet = "application/x-www-form-urlencoded"),
    )),
    responses(answers::Written<200, bodies::Person>),
    extensions(("x-required-scope" = json!("person:write"))),
)]
pub async fn patch(Path((_, id)): Path<(String, String)>, write: Write) -> Result<Response, Error> {
    let required = || {
        let detail = "properties is required: an object with the keys to set";
        Error::required("properties", detail)
    };
    let set = write.fields.object("properties")?.ok_or_else(required)?;
    set_properties(write, &id, set).await
}

/// Set one or more properties of a person
///
/// Takes `{"key": …, "value": …}` or `{"$set": {…}}`; the other properties stay.
#[utoipa::path(
    post, path = "/persons/{id}/update_property", tag = "writes",
    params(parameters::Position, parameters::Answer, parameters::Idempotency),
    request_body(content(
        (requests::PropertyToUpdate = "application/json"),
        (requests::PropertyToUpdate = "application/x-www-form-urlencoded"),
    )),
    responses(answers::Written<200, bodies::Person>),
    extensions(("x-required-scope" = json!("person:write"))),
)]
pub async fn update_property(
    Path((_, id)): Path<(String, String)>,
    write: Write,
) -> Result<Response, Error> {
    let set = match (write.fields.object("$set")?, write.fields.text("key")?) {
        (Some(_), Some(_)) => {
            return Err(Error::invalid("key", "Cannot provide both key and $set"));
        }
        (Some(set), None) => set,
        (None, key) => {
            let key = key.ok_or_else(|| Error::required("key", "key is required"))?;
            let value = write.fields.json("value");
            vec![(key, value.ok_or_else(|| Error::required("value", "value is required"))?)]
        }
    };
    set_properties(write, &id, set).await
}

/// Delete properties of a person
///
/// Takes one key or several. Succeeds even if the person has no such property.
#[utoipa::path(
    post, path = "/persons/{id}/delete_property", tag = "writes",
    params(parameters::Position, parameters::Answer, parameters::Idempotency),
    request_body(content(
        (requests::PropertiesToDelete = "application/json"),
        (requests::PropertiesToDelete = "application/x-www-form-urlencoded"),
    )),
    responses(answers::Written<200, bodies::Success>),
    extensions(("x-required-scope" = json!("person:write"))),
)]
pub async fn delete_property(
    Path((_, id)): Path<(String, String)>,
    write: Write,
) -> Result<Response, Error> {
    let keys = write.fields.texts("$unset")?.filter(|keys| !keys.is_empty());
    let keys = keys.ok_or_else(|| Error::required("$unset", "$unset is required: a key"))?;
    let keys: BTreeSet<_> = keys.into_iter().collect();
    let person_ref = PersonRef::parse(&id, "id")?;
    let what = once::describe("unset", person_ref, &json!(keys));
    let of_person = |uuid| Act::Unset(uuid, keys);
    let done = of_one(&write, &what, person_ref, of_person).await?;
    success(&write, done, StatusCode::OK).await
}

/// Delete a person
///
/// Deletes the person with all persons merged into it and their history. From then on no read finds them, not
/// even a read of the past. Deleting the person again is answered with 404.
#[utoipa::path(
    delete, path = "/persons/{id}", tag = "writes",
    params(parameters::Position, parameters::Answer, parameters::Idempotency),
    responses(answers::Written<202, bodies::Success>),
    extensions(("x-required-scope" = json!("person:write"))),
)]
pub async fn delete(
    Path((_, id)): Path<(String, String)>,
    write: Write,
) -> Result<Response, Error> {
    refuse_keep_person(&write)?;
    let person_ref = PersonRef::parse(&id, "id")?;
    let done = of_one(&write, &format!("delete {person_ref}"), person_ref, Act::Delete).await?;
    success(&write, done, StatusCode::ACCEPTED).await
}

/// Split distinct ids off into persons of their own
///
/// Takes effect from now on; history stays with the person. If neither field is given, the first distinct id
/// stays and all others leave.
#[utoipa::path(
    post, path = "/persons/{id}/split", tag = "writes",
    params(parameters::Position, parameters::Answer, parameters::Idempotency),
    request_body(content(
        (requests::DistinctIdsToSplit = "application/json"),
        (requests::DistinctIdsToSplit = "application/x-www-form-urlencoded"),
    )),
    responses(answers::Written<201, bodies::Success>),
    extensions(("x-required-scope" = json!("person:write"))),
)]
pub async fn split(Path((_, id)): Path<(String, String)>, write: Write) -> Result<Response, Error> {
    let main = write.fields.text("main_distinct_id")?.map(person_ref::distinct_id);
    let these = write.fields.texts("distinct_ids_to_split")?;
    let these = these.map(|ids| ids.into_iter().map(person_ref::distinct_id).collect::<Vec<_>>());
    if main.is_none() && these.is_none() {
        refuse_other_fields(&write)?;
    }
    let (named, attr, leaving) = match (main, these) {
        // An empty array is not the same as an absent one, which means all but the first.
        (_, Some(these)) if these.is_empty() => return Err(nothing_to_split()),
        (Some(_), Some(_)) => {
            let detail = "Cannot provide both main_distinct_id and distinct_ids_to_split";
            return Err(Error::invalid("main_distinct_id", detail));
        }
        (None, Some(these)) => (these.clone(), "distinct_ids_to_split", Leaving::These(these)),
        (main, None) => {
            (main.clone().into_iter().collect(), "main_distinct_id", Leaving::AllBut(main))
        }
    };
    let person_ref = PersonRef::parse(&id, "id")?;
    write.wait().await?;
    let what = once::describe("split", person_ref, &json!({attr: BTreeSet::from_iter(&named)}));
    if write.repeated(&what).await?.is_none() {
        write.view(move |view| ensure_ids_of_person(view, person_ref, &named, attr)).await?;
    }
    let done = of_one(&write, &what, person_ref, |uuid| Act::Split(uuid, leaving)).await?;
    success(&write, done, StatusCode::CREATED).await
}

/// Returns an error for a body with fields that a split does not have. It was meant for something else, and
/// must not split off all distinct ids but the first.
fn refuse_other_fields(write: &Write) -> Result<(), Error> {
    let known =
        ["main_distinct_id", "distinct_ids_to_split", access::KEY_PARAMETER, position::PARAMETER];
    let mut names = write.fields.names_of_body();
    let Some(other) = names.find(|name| !known.contains(name)) else { return Ok(()) };
    let detail = format!(
        "'{other}' is not a field of a split: give main_distinct_id or distinct_ids_to_split"
    );
    Err(Error::invalid(other, detail))
}

/// Returns an error for distinct ids that do not belong to the person now. A person that does not exist is
/// left to [`of_one`].
fn ensure_ids_of_person(
    view: &View<'_>,
    person_ref: PersonRef,
    named: &[String],
    attr: &str,
) -> Result<(), Error> {
    let Some(person) = view.find(person_ref)?.map(|(person, _)| person) else { return Ok(()) };
    for distinct_id in named {
        if view.snapshot.person_of_distinct_id(view.project, distinct_id)? != Some(person) {
            let detail = format!("'{distinct_id}' is not a distinct id of this person");
            return Err(Error::invalid(attr, detail));
        }
    }
    Ok(())
}

/// Allow a deleted person's distinct id to be used again
///
/// Events with the distinct id that arrive from now on count again, even if they are from before the
/// deletion. If no person ever had the distinct id, the answer is 404.
#[utoipa::path(
    post, path = "/persons/reset_person_distinct_id", tag = "writes",
    params(parameters::Position, parameters::Answer, parameters::Idempotency),
    request_body(content(
        (requests::DistinctIdToReset = "application/json"),
        (requests::DistinctIdToReset = "application/x-www-form-urlencoded"),
    )),
    responses(answers::Written<200, bodies::Success>),
    extensions(("x-required-scope" = json!("person:write"))),
)]
pub async fn reset(write: Write) -> Result<Response, Error> {
    let distinct_id = write.fields.text("distinct_id")?;
    let required = || Error::required("distinct_id", "distinct_id is required");
    let distinct_id = person_ref::distinct_id(distinct_id.ok_or_else(required)?);
    write.wait().await?;
    let what = format!("reset {distinct_id}");
    let done = once(&write, &what, async || Ok((Act::Reset(distinct_id), Vec::new()))).await?;
    success(&write, done, StatusCode::OK).await
}

/// Delete many persons
///
/// Deletes at most 1,000 persons, given by `ids` or by `distinct_ids`. Persons that are not found are
/// skipped.
#[utoipa::path(
    post, path = "/persons/bulk_delete", tag = "writes",
    params(parameters::Position, parameters::Answer, parameters::Idempotency),
    request_body(content(
        (requests::PersonsToDelete = "application/json"),
        (requests::PersonsToDelete = "application/x-www-form-urlencoded"),
    )),
    responses(answers::Written<202, bodies::Deleted>),
    extensions(("x-required-scope" = json!("person:write"))),
)]
pub async fn bulk_delete(write: Write) -> Result<Response, Error> {
    refuse_keep_person(&write)?;
    let (ids, distinct_ids) = (write.fields.texts("ids")?, write.fields.texts("distinct_ids")?);
    let (attr, asked) = match (ids, distinct_ids) {
        // A client that always sends both fields may leave one of them empty.
        (Some(ids), Some(none)) if none.is_empty() => ("ids", ids),
        (Some(none), Some(distinct_ids)) if none.is_empty() => ("distinct_ids", distinct_ids),
        (Some(_), Some(_)) => {
            return Err(Error::invalid("ids", "Cannot provide both ids and distinct_ids"));
        }
        (Some(ids), None) => ("ids", ids),
        (None, Some(distinct_ids)) => ("distinct_ids", distinct_ids),
        (None, None) => {
            let detail = "Must provide either ids or distinct_ids, an array of at most 1000";
            return Err(Error::required("ids", detail));
        }
    };
    if asked.len() > MAX_PERSONS {
        return Err(Error::invalid(
            attr,
            format!("At most {MAX_PERSONS} persons can be deleted at once"),
        ));
    }
    let asked = named_once(attr, asked)?;
    write.wait().await?;
    let keyed = asked
        .into_iter()
        .map(|(text, named)| (write.key_of(&format!("bulk_delete {attr} {text}")), named))
        .collect();
    let remembers = write.has_idempotency_key();
    let found = write.view(move |view| found(view, keyed, remembers)).await?;
    let Found { mut outcomes, acts } = found;
    let persons: Vec<_> = acts.iter().map(|keyed| keyed.act.person()).collect();
    match write.write(acts).await? {
        Written::Accepted(positions) => return write.accepted(&positions),
        Written::Applied(applied) => {
            let applied = persons.into_iter().zip(applied);
            outcomes.extend(applied.filter(|(person, _)| *person != Some(NOBODY)));
        }
    }
    let failed = outcomes.iter().filter(|(_, outcome)| *outcome != CommandOutcome::Done);
    let errors = failed.map(|&(person_uuid, outcome)| bodies::DeletionError {
        person_uuid,
        error: outcome.name(),
    });
    let deletion_errors: Vec<_> = errors.collect();
    let deleted = bodies::Deleted {
        persons_found: outcomes.len() as u64,
        persons_deleted: (outcomes.len() - deletion_errors.len()) as u64,
        deletion_errors,
    };
    write.answer(StatusCode::ACCEPTED, move |_| Ok(json::of(&deleted))).await
}

/// How a bulk deletion names a person.
enum Named {
    Ref(PersonRef),
    DistinctId(String),
}

/// Removes duplicates. The text of each, on which its idempotency key depends, is the same however the caller
/// wrote an id.
fn named_once(attr: &str, asked: Vec<String>) -> Result<BTreeMap<String, Named>, Error> {
    let named = |asked: String| {
        if attr != "ids" {
            return Ok((asked.clone(), Named::DistinctId(person_ref::distinct_id(asked))));
        }
        let person_ref = PersonRef::parse(&asked, attr).map_err(|_| {
            let detail =
                format!("'{asked}' is not an id or uuid; distinct ids go into distinct_ids");
            Error::invalid(attr, detail)
        })?;
        Ok((person_ref.to_string(), Named::Ref(person_ref)))
    };
    asked.into_iter().map(named).collect()
}

/// The persons of a bulk deletion: the outcomes of those that an earlier request with the same idempotency
/// key handled, and the acts for the others.
struct Found {
    outcomes: Vec<(Option<Uuid>, CommandOutcome)>,
    acts: Vec<KeyedAct>,
}

fn found(view: &View<'_>, keyed: Vec<(String, Named)>, remembers: bool) -> Result<Found, Error> {
    let mut found = Found { outcomes: Vec::new(), acts: Vec::new() };
    let mut persons = BTreeSet::new();
    for (key, named) in keyed {
        if let Some(outcome) = view.snapshot.outcome(view.project, &key, now())? {
            if outcome != CommandOutcome::NotFound {
                found.outcomes.push((None, outcome));
            }
            continue;
        }
        let person = match named {
            Named::Ref(person_ref) => view.person(person_ref)?,
            Named::DistinctId(id) => view.snapshot.person_of_distinct_id(view.project, &id)?,
        };
        let became =
            person.map(|id| view.snapshot.became(view.project, id, Moment::NOW)).transpose()?;
        if let Some((id, head)) = became.flatten()
            && persons.insert(id)
        {
            let (act, other_uuids) = to_person(view, (id, &head), Act::Delete)?;
            found.acts.push(KeyedAct { key, act, other_uuids });
        } else if remembers {
            found.acts.push(KeyedAct { key, act: Act::Delete(NOBODY), other_uuids: Vec::new() });
        }
    }
    Ok(found)
}

async fn set_properties(
    write: Write,
    id: &str,
    set: Vec<(String, Value)>,
) -> Result<Response, Error> {
    let person_ref = PersonRef::parse(id, "id")?;
    let with = set.iter().map(|(key, value)| (key, tree(value))).collect();
    let what = once::describe("set", person_ref, &with);
    let of_person = |uuid| Act::Set(uuid, set.into_iter().collect());
    if let Done::Accepted(response) = of_one(&write, &what, person_ref, of_person).await? {
        return Ok(response);
    }
    write.answer(StatusCode::OK, move |view| single::current(view, person_ref)).await
}

fn tree(value: &Value) -> Tree {
    person::json::tree(value.as_json()).unwrap_or_else(|| value.as_json().into())
}

/// Returns an error for `keep_person`, with which PostHog deletes a person's events but not the person. There
/// are no events here, and a caller that wants to keep a person must not lose it.
fn refuse_keep_person(write: &Write) -> Result<(), Error> {
    let keep = write.fields.filled("keep_person");
    // Python clients write `False`.
    let keeps = keep
        .is_some_and(|keep| keep.is_truthy() && !keep.text().trim().eq_ignore_ascii_case("false"));
    let detail = "keep_person cannot be asked for: there is nothing to delete but the person";
    if keeps { Err(Error::invalid("keep_person", detail)) } else { Ok(()) }
}

/// Answers a command that was applied with `{"success":true}`.
async fn success(write: &Write, done: Done, status: StatusCode) -> Result<Response, Error> {
    match done {
        Done::Accepted(response) => Ok(response),
        Done::Applied => {
            write.answer(status, |_| Ok(json::of(&bodies::Success { success: true }))).await
        }
    }
}
