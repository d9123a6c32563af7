//! The bodies of what changed and of what was done as the document shows them, as [`super::bodies`]
//! has the others.
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
    /// Where to go on, now or later.
    cursor: String,
}

/// A person that changed, or that is none any more.
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
    /// The person that it became, where it was merged.
    #[schema(required = false, format = "uuid")]
    merged_into: String,
}

/// A page of the activity log, newest first.
#[derive(ToSchema)]
pub struct ActivityLog {
    results: Vec<ActivityEntry>,
    /// The address of the next page; `null` on the last one.
    #[schema(required = true, format = "uri")]
    next: Option<String>,
    /// The address of the page before; `null` on the first one.
    #[schema(required = true, format = "uri")]
    previous: Option<String>,
    /// How many entries there are on all pages.
    #[schema(minimum = 0)]
    total_count: u64,
}

/// What was done to a person.
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

/// Who did it.
#[derive(ToSchema)]
pub struct User {
    /// The label of the API key; `System` where an event did it.
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

/// What changed by it.
#[derive(ToSchema)]
pub struct Detail {
    /// Empty where the person was deleted since.
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
    /// The property's key, or `distinct_ids`.
    #[schema(required = true)]
    field: Option<String>,
    before: Value,
    after: Value,
}

/// How something changed.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum DetailAction {
    Created,
    Changed,
    Deleted,
    Split,
    Merged,
}
