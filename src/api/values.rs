//! `GET …/persons/values`: which values a property has, and how many persons have each.

use axum::response::Response;

use super::error::Error;
use super::export::Take;
use super::json::{Object, array};
use super::openapi::{answers, bodies, parameters};
use super::read::{Read, View};
use crate::person::Needle;
use crate::store::Values;

const DEFAULT_LIMIT: u64 = 20;
const MAX_LIMIT: u64 = 10_000;

/// Count the values of a property
///
/// Returns the current values and how many persons have each, the most frequent first, then by name. Null
/// and the empty string are left out; values that are not strings are shown as JSON. `key=distinct_id`
/// returns distinct ids, by name.
#[utoipa::path(
    get, path = "/persons/values", tag = "persons",
    params(parameters::Values, parameters::Position, parameters::Answer),
    responses(answers::Listed<bodies::Values>),
    extensions(("x-required-scope" = json!("person:read"))),
)]
pub async fn values(read: Read) -> Result<Response, Error> {
    let key = read.parameters.get("key").map(str::to_owned);
    let key =
        key.ok_or_else(|| Error::required("key", "key is required: the name of a property"))?;
    let needle = read.parameters.get("value").map(Needle::new);
    let limit = read.parameters.limit(DEFAULT_LIMIT, MAX_LIMIT)?;
    if read.is_export() {
        return read.export(move |view, take| export(view, &key, needle.as_ref(), take)).await;
    }
    let is_csv = read.format.is_csv();
    read.list(move |view| {
        let Values { values, left_out } =
            counted(view, &key, needle.as_ref(), limit, view.page_bytes())?;
        if left_out && is_csv {
            return Err(Error::page_too_large());
        }
        let mut out = Vec::new();
        let mut object = Object::new(&mut out);
        array(object.field("results"), values, |out, (name, count)| value(out, &name, count));
        object.flag("refreshing", false);
        object.end();
        Ok(out)
    })
    .await
}

fn value(out: &mut Vec<u8>, name: &str, count: u64) {
    let mut object = Object::new(out);
    object.string("name", name);
    object.number("count", count);
    object.end();
}

/// The most memory that the distinct values of an export may take, in bytes.
const EXPORTED_BYTES: usize = 256 << 20;

/// Passes every value to `take`, as a row. Values are held in memory while they are
/// counted; distinct ids are not.
fn export(
    view: &View<'_>,
    key: &str,
    needle: Option<&Needle>,
    take: &mut Take<'_>,
) -> Result<(), Error> {
    let mut out = Vec::new();
    let mut row = |name: &str, count| {
        out.clear();
        value(&mut out, name, count);
        take(&out)
    };
    if key != "distinct_id" {
        let Values { values, left_out } = counted(view, key, needle, usize::MAX, EXPORTED_BYTES)?;
        if left_out {
            let detail = "All values together are too large; ask with limit, or for a part of them";
            return Err(Error::invalid("key", format!("{detail} by value.")));
        }
        return values.iter().try_for_each(|(name, count)| row(name, *count));
    }
    let mut taken = Ok(());
    view.snapshot.each_id_with(view.project, needle, |id| {
        taken = row(id, 1);
        taken.is_ok()
    })?;
    taken
}

/// Returns at most `limit` values with their counts, and whether some were left out because
/// together they take more than `bytes`.
fn counted(
    view: &View<'_>,
    key: &str,
    needle: Option<&Needle>,
    limit: usize,
    bytes: usize,
) -> Result<Values, Error> {
    let View { ref snapshot, project, .. } = *view;
    if key == "distinct_id" {
        let mut values = Vec::new();
        snapshot.each_id_with(project, needle, |id| {
            values.push((id.to_owned(), 1));
            values.len() < limit
        })?;
        return Ok(Values { values, left_out: false });
    }
    Ok(snapshot.values(project, key, needle, limit, bytes)?)
}
