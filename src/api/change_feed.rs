//! `GET …/persons/changes`: what changed since an earlier request, for callers that keep a copy of the
//! persons.

use axum::response::Response;

use super::error::Error;
use super::format::{self, Format};
use super::json::Object;
use super::list::{DEFAULT_LIMIT, MAX_LIMIT};
use super::openapi::{answers, log, parameters};
use super::page::results;
use super::read::{Read, View};
use super::{cursor, list};
use crate::person::{PersonId, PersonRow};
use crate::store::Moment;

/// List the persons that changed since a cursor
///
/// Returns persons in the order of their last change, each once. Pass the returned `cursor` to the next
/// request to continue. A caller that follows the changes has the same persons as the list.
#[utoipa::path(
    get, path = "/persons/changes", tag = "log",
    params(parameters::Changes, parameters::Position),
    responses(answers::Followed<log::Changes>),
    extensions(("x-required-scope" = json!("person:read"))),
)]
pub async fn changes(mut read: Read) -> Result<Response, Error> {
    if read.parameters.get(format::PARAMETER) == Some("csv") {
        let detail = "changes are JSON: CSV has no place for the cursor";
        return Err(Error::invalid(format::PARAMETER, detail));
    }
    // A client that prefers CSV in general is answered with what there is.
    (read.format, read.file) = (Format::JSON, None);
    let after = read.parameters.get(cursor::PARAMETER);
    let store = read.state.store.identity();
    let after = after.map_or(Ok(0), |text| cursor::change(text, store, read.project))?;
    let limit = read.parameters.limit(DEFAULT_LIMIT, MAX_LIMIT)?;
    read.list(move |view| page(view, after, limit)).await
}

fn page(view: &View<'_>, after: u64, limit: usize) -> Result<Vec<u8>, Error> {
    let View { ref snapshot, project, .. } = *view;
    // A store restored from a backup may not have reached this change again.
    if after > snapshot.last_change(project)? {
        return Err(cursor::foreign());
    }
    let changed = snapshot.persons_by_change(project, after, limit)?;
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    let field = object.field("results");
    let shown = results(view, field, &changed, |out, (_, id)| person(view, out, *id))?;
    let last = changed[..shown].last().map_or(after, |(last, _)| *last);
    object.string("cursor", &cursor::after_change(view.store.identity(), project, last));
    object.end();
    Ok(out)
}

/// Writes a person as lists show it, or that it was deleted or merged away.
fn person(view: &View<'_>, out: &mut Vec<u8>, id: PersonId) -> Result<(), Error> {
    let View { ref snapshot, project, .. } = *view;
    let row = snapshot.person_row(project, id)?.ok_or_else(Error::internal)?;
    let (uuid, merged_into) = match row {
        PersonRow::Head(head) if head.merged.is_none() => {
            return list::person(view, out, (id, &head));
        }
        PersonRow::Head(head) => {
            let became = snapshot.became(project, id, Moment::NOW)?;
            (head.uuid, became.map(|(_, became)| became.uuid))
        }
        PersonRow::Tombstone(tombstone) => (tombstone.uuid, None),
    };
    let mut object = Object::new(out);
    object.number("id", id);
    object.optional("uuid", Some(uuid));
    object.flag("deleted", true);
    if merged_into.is_some() {
        object.optional("merged_into", merged_into);
    }
    object.end();
    Ok(())
}
