//! `GET …/persons/:id`: one person as it is now.

use axum::extract::Path;
use axum::response::Response;

use super::body;
use super::error::Error;
use super::openapi::{answers, bodies, parameters};
use super::person_ref::PersonRef;
use super::read::{Read, View};

/// Get one person
///
/// Returns the person as it is now. The id of a person that was merged away returns the person that it
/// became, and `merged_from` is the uuid of the requested one.
#[utoipa::path(
    get, path = "/persons/{id}", tag = "persons",
    params(parameters::Position, parameters::Answer, parameters::Known),
    responses(answers::Single<bodies::Person>),
    extensions(("x-required-scope" = json!("person:read"))),
)]
pub async fn person(read: Read, Path((_, id)): Path<(String, String)>) -> Result<Response, Error> {
    let person_ref = PersonRef::parse(&id, "id")?;
    read.person(move |view| current(view, person_ref)).await
}

/// Returns the person that is referred to as it is now, as JSON.
pub fn current(view: &View<'_>, person_ref: PersonRef) -> Result<Vec<u8>, Error> {
    let View { ref snapshot, project, settings, .. } = *view;
    let (id, head) = view.now(person_ref)?;
    let asked = view.person(person_ref)?.filter(|asked| *asked != id);
    let merged_from = asked.map(|asked| snapshot.head(project, asked)).transpose()?.flatten();
    let merged_from = merged_from.map(|source| source.uuid);
    let person = snapshot.current(project, (id, &head), usize::MAX)?;
    let mut out = Vec::with_capacity(body::USUAL);
    let display = &settings.display_name_properties;
    body::person(&mut out, &person, display, usize::MAX, |object| {
        if merged_from.is_some() {
            object.optional("merged_from", merged_from);
        }
    });
    Ok(out)
}
