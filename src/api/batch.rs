//! `POST …/persons/batch_by_distinct_ids` and `…/batch_by_uuids`: many persons at once.

use axum::extract::{self, Request};
use axum::response::Response;
use uuid::Uuid;

use super::error::Error;
use super::json::Object;
use super::key::Scope;
use super::openapi::{answers, bodies, parameters, requests};
use super::posted::Posted;
use super::read::{Read, View};
use super::{State, list, person_ref};
use crate::person::PersonId;
use crate::store::Moment;

/// The most persons in one request.
pub const MAX_PERSONS: usize = 1_000;

/// Get many persons by their distinct ids
///
/// At most 1,000. Each person is keyed by the distinct id that was requested; distinct ids that
/// are not found are left out.
#[utoipa::path(
    post, path = "/persons/batch_by_distinct_ids", tag = "persons",
    params(parameters::Position, parameters::Answer),
    request_body(content(
        (requests::DistinctIdsToFind = "application/json"),
        (requests::DistinctIdsToFind = "application/x-www-form-urlencoded"),
    )),
    responses(answers::Found<bodies::PersonsFound>),
    extensions(("x-required-scope" = json!("person:read"))),
)]
pub async fn by_distinct_ids(
    extract::State(state): extract::State<State>,
    request: Request,
) -> Result<Response, Error> {
    let (read, asked) = asked(state, request, "distinct_ids").await?;
    read.list(move |view| {
        each(view, "distinct_ids", &asked, |distinct_id| {
            let distinct_id = person_ref::distinct_id(distinct_id.to_owned());
            Ok(view.snapshot.person_of_distinct_id(view.project, &distinct_id)?)
        })
    })
    .await
}

/// Get many persons by their uuids
///
/// At most 1,000; the uuid of a person that was merged away works too. Each person is keyed by the uuid that
/// was requested; uuids that are not found are left out.
#[utoipa::path(
    post, path = "/persons/batch_by_uuids", tag = "persons",
    params(parameters::Position, parameters::Answer),
    request_body(content(
        (requests::UuidsToFind = "application/json"),
        (requests::UuidsToFind = "application/x-www-form-urlencoded"),
    )),
    responses(answers::Found<bodies::PersonsFound>),
    extensions(("x-required-scope" = json!("person:read"))),
)]
pub async fn by_uuids(
    extract::State(state): extract::State<State>,
    request: Request,
) -> Result<Response, Error> {
    let (read, asked) = asked(state, request, "uuids").await?;
    if let Some(text) = asked.iter().find(|text| Uuid::try_parse(text).is_err()) {
        return Err(Error::invalid("uuids", format!("'{text}' is not a uuid")));
    }
    read.list(move |view| {
        each(view, "uuids", &asked, |text| {
            let Ok(uuid) = Uuid::try_parse(text) else { return Ok(None) };
            Ok(view.snapshot.person_of_uuid(view.project, uuid)?)
        })
    })
    .await
}

async fn asked(state: State, request: Request, name: &str) -> Result<(Read, Vec<String>), Error> {
    let posted = Posted::of(request, &state, Scope::PersonRead).await?;
    let required = || Error::required(name, format!("{name} is required: an array of strings"));
    let asked = posted.fields.texts(name)?.ok_or_else(required)?;
    if asked.len() > MAX_PERSONS {
        let detail = format!("At most {MAX_PERSONS} persons can be asked for at once");
        return Err(Error::invalid(name, detail));
    }
    let Posted { project, begun, format, wanted, .. } = posted;
    Ok((Read::of(state, project, begun, format, wanted), asked))
}

/// Answers the persons that are found, keyed by the requested text; the others are left out.
fn each(
    view: &View<'_>,
    name: &str,
    asked: &[String],
    find: impl Fn(&str) -> Result<Option<PersonId>, Error>,
) -> Result<Vec<u8>, Error> {
    let View { ref snapshot, project, .. } = *view;
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    let mut results = Object::new(object.field("results"));
    let mut answered = std::collections::BTreeSet::new();
    for text in asked {
        view.check()?;
        let became = match find(text)? {
            Some(id) if answered.insert(text) => snapshot.became(project, id, Moment::NOW)?,
            _ => None,
        };
        if let Some((id, head)) = became {
            let out = results.field(text);
            list::person(view, out, (id, &head))?;
            if answered.len() > 1 && out.len() > view.page_bytes() {
                return Err(Error::answer_too_large(name));
            }
        }
    }
    results.end();
    object.end();
    Ok(out)
}
