//! The schemas of the change feed and the activity log in the document; see [`super::bodies`] for others.
#![allow(
    dead_code,
    clippy::struct_field_names,
    reason = "the document is made of their fields alone"
)]

use serde_json::Value;
use utoipa::ToSchema;

use super::bodies::Person;

/// Persons in the order of their last change.
#[derive(ToSchema)]
pub struct Changes {
    results: Vec<Change>,
    /// The cursor to continue with, now or later.
    cursor: String,
}

/// A person that changed, or that was deleted or merged away.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum Change {
    Person(Person),
    Gone(Gone),
}

/// A person that was deleted or merged away.
#[derive(ToSchema)]
pub struct Gone {
    #[schema(minimum = 0)]
    id: u64,
    #[schema(format = "uuid")]
    uuid: String,
    /// Always true.
    deleted: bool,
    /// The uuid of the person that it was merged into, if it was merged.
    #[schema(required = false, format = "uuid")]
    merged_into: String,
}

/// A page of the activity log, newest first.
#[derive(ToSchema)]
pub struct ActivityLog {
    results: Vec<ActivityEntry>,
    /// The URL of the next page; `null` on the last one.
    #[schema(required = true, format = "uri")]
    next: Option<String>,
    /// The URL of the previous page; `null` on the first one.
    #[schema(required = true, format = "uri")]
    previous: Option<String>,
    /// The number of entries on all pages.
    #[schema(minimum = 0)]
    total_count: u64,
}

/// An entry of the activity log.
#[derive(ToSchema)]
pub struct ActivityEntry {
    #[schema(format = "uuid")]
    id: String,
    user: User,
    #[schema(inline)]
    activity: Deed,
    #[schema(example = "Person")]
    scope: String,
    /// The person's integer id.
    #[schema(pattern = "^[0-9]+$", example = "120747818924389")]
    item_id: String,
    detail: Detail,
    #[schema(format = "date-time")]
    created_at: String,
}

/// The author of an entry.
#[derive(ToSchema)]
pub struct User {
    /// The label of the API key; `System` if an event caused the entry.
    #[schema(example = "dashboard")]
    first_name: String,
    #[schema(schema_with = super::requests::null)]
    email: (),
}

/// What was done.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Deed {
    Updated,
    DeleteProperty,
    SplitPerson,
    Deleted,
    Merged,
}

/// The details of an entry.
#[derive(ToSchema)]
pub struct Detail {
    /// Empty if the person was deleted since.
    changes: Vec<DetailChange>,
    /// The person's uuid.
    #[schema(format = "uuid")]
    name: String,
    #[schema(schema_with = super::requests::null)]
    trigger: (),
    #[schema(rename = "type", schema_with = super::requests::null)]
    kind: (),
}

/// A change, with the real values before and after.
#[derive(ToSchema)]
pub struct DetailChange {
    #[schema(rename = "type", example = "Person")]
    kind: String,
    #[schema(inline)]
    action: DetailAction,
    /// The property's key, or `distinct_ids`; `null` for a merge.
    #[schema(required = true)]
    field: Option<String>,
    before: Value,
    after: Value,
}

/// The kind of a change.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum DetailAction {
    Created,
    Changed,
    Deleted,
    Split,
    Merged,
}
