//! `GET …/persons/values`: which values a property has, and how many persons have each.

use axum::response::Response;

use super::error::Error;
use super::json::{Object, array};
use super::read::{Read, View};

const DEFAULT_LIMIT: u64 = 20;
const MAX_LIMIT: u64 = 10_000;

/// The values of a property, the most frequent first; or distinct ids.
pub async fn values(read: Read) -> Result<Response, Error> {
    read.parameters.only_json()?;
    let key = read.parameters.get("key").map(str::to_owned);
    let key =
        key.ok_or_else(|| Error::required("key", "key is required: the name of a property"))?;
    let part = read.parameters.get("value").map(str::to_lowercase);
    let limit = read.parameters.whole("limit", 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    read.list(move |view| {
        let counted = counted(view, &key, part.as_deref(), limit)?;
        let mut out = Vec::new();
        let mut object = Object::new(&mut out);
        array(object.field("results"), counted, |out, (name, count)| {
            let mut object = Object::new(out);
            object.string("name", &name);
            object.number("count", count);
            object.end();
        });
        object.flag("refreshing", false);
        object.end();
        Ok(out)
    })
    .await
}

fn counted(
    view: &View<'_>,
    key: &str,
    part: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, u64)>, Error> {
    let View { ref snapshot, project, .. } = *view;
    let go_on = || view.goes_on();
    if key == "distinct_id" {
        let ids = snapshot.ids_with(project, part.unwrap_or_default(), limit, &go_on)?;
        let ids = ids.ok_or_else(Error::query_timeout)?;
        return Ok(ids.into_iter().map(|id| (id, 1)).collect());
    }
    let counts = snapshot.values(project, key, part, &go_on)?.ok_or_else(Error::query_timeout)?;
    // They come by name, and the sort keeps that among equals.
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.truncate(limit);
    Ok(counts)
}
