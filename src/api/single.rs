//! `GET …/persons/:id`

use axum::extract::Path;
use axum::response::Response;

use super::body;
use super::error::Error;
use super::read::{Called, NOW, Read, View};

/// One person as it is now; of one merged away what it became.
pub async fn person(read: Read, Path((_, id)): Path<(String, String)>) -> Result<Response, Error> {
    read.parameters.only_json()?;
    let called = Called::parse(&id, "id")?;
    read.person(move |view| current(view, called)).await
}

fn current(view: &View<'_>, called: Called) -> Result<Vec<u8>, Error> {
    let View { ref snapshot, project, settings, .. } = *view;
    let not_found = || Error::not_found("Not found.");
    let asked = view.person(called)?.ok_or_else(not_found)?;
    let became = snapshot.became(project, asked, NOW)?;
    let (id, head) = became.ok_or_else(not_found)?;
    let merged_from = match snapshot.head(project, asked)? {
        Some(source) if id != asked => Some(source.uuid),
        _ => None,
    };
    let person = snapshot.current(project, (id, &head), usize::MAX)?;
    let mut out = Vec::new();
    let display = &settings.display_name_properties;
    body::person(&mut out, &person, display, usize::MAX, |object| {
        if merged_from.is_some() {
            object.optional("merged_from", merged_from);
        }
    });
    Ok(out)
}
