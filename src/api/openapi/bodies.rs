//! The schemas of answers in the document. Answers are written by hand (`api::json`), so these types are
//! never constructed; tests check every answer against them.
#![allow(
    dead_code,
    clippy::struct_field_names,
    reason = "the document is made of their fields alone"
)]

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

use super::requests;

/// A person as it is now.
#[derive(ToSchema)]
pub struct Person {
    /// The integer id, of at most 53 bits, which is safe in JavaScript.
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_u64, example = 120_747_818_924_389_u64)]
    id: u64,
    /// The first display name property that has a truthy value, else a distinct id, else the uuid.
    #[schema(example = "bob@example.com")]
    name: String,
    /// In the order in which they joined the person, those that are not anonymous first. A list shows
    /// at most 1,000 per person.
    distinct_ids: Vec<String>,
    #[schema(value_type = Object, example = json!({"email": "bob@example.com", "plan": "starter"}))]
    properties: Value,
    /// The time of its first event.
    #[schema(format = "date-time", example = "2026-01-11T08:00:00Z")]
    created_at: String,
    #[schema(format = "uuid", example = "7d15b82a-df57-5ed7-b9e0-6dd1cadab965")]
    uuid: String,
    /// The time of its newest event, rounded down to the hour, so it can be slightly before `created_at`.
    #[schema(required = true, format = "date-time", example = "2026-04-02T09:00:00Z")]
    last_seen_at: Option<String>,
    /// Whether the person was identified.
    is_identified: bool,
    /// Present if a list left out some distinct ids.
    #[schema(required = false)]
    distinct_ids_truncated: bool,
    /// The uuid of the requested person, if that person was merged into this one.
    #[schema(required = false, format = "uuid")]
    merged_from: String,
}

/// A page of a list.
#[derive(ToSchema)]
pub struct Persons {
    /// The URL of the next page; `null` on the last one.
    #[schema(required = true, format = "uri")]
    next: Option<String>,
    /// The URL of the previous page; `null` on the first one and when paging by cursor.
    #[schema(required = true, format = "uri")]
    previous: Option<String>,
    /// The number of persons on all pages; left out with `count=false`.
    #[schema(required = false, minimum = 0)]
    count: u64,
    results: Vec<Person>,
}

/// The values that a property has.
#[derive(ToSchema)]
pub struct Values {
    /// The most frequent first, then by name.
    results: Vec<Counted>,
    /// Always false: the counts are up to date.
    refreshing: bool,
}

/// A value, and how many persons have it.
#[derive(ToSchema)]
pub struct Counted {
    /// The value; one that is not a string is shown as JSON.
    #[schema(example = "starter")]
    name: String,
    #[schema(minimum = 1)]
    count: u64,
}

/// Persons keyed by what was requested; those that are not found are left out.
#[derive(ToSchema)]
pub struct PersonsFound {
    results: BTreeMap<String, Person>,
}

/// A project.
#[derive(ToSchema)]
pub struct Project {
    #[schema(minimum = 1)]
    id: u64,
    #[schema(format = "uuid")]
    uuid: String,
    name: String,
    /// The operator of this server.
    #[schema(format = "uuid")]
    organization: String,
    #[schema(example = "UTC")]
    timezone: String,
}

/// The projects of a key, on one page.
#[derive(ToSchema)]
pub struct Projects {
    #[schema(minimum = 0)]
    count: u64,
    #[schema(schema_with = requests::null)]
    next: (),
    #[schema(schema_with = requests::null)]
    previous: (),
    results: Vec<Project>,
}

/// The write was done.
#[derive(ToSchema)]
pub struct Success {
    success: bool,
}

/// The write is in Kafka but was not applied in time. It will be: a read with `min_position` set
/// to `position` waits for it.
#[derive(ToSchema)]
pub struct Accepted {
    accepted: bool,
    position: String,
}

/// The result of a bulk deletion.
#[derive(ToSchema)]
pub struct Deleted {
    #[schema(minimum = 0)]
    persons_found: u64,
    #[schema(minimum = 0)]
    persons_deleted: u64,
    deletion_errors: Vec<DeletionError>,
}

/// Why a person was not deleted.
#[derive(ToSchema)]
pub struct DeletionError {
    #[schema(required = true, format = "uuid")]
    person_uuid: Option<String>,
    error: String,
}

/// The process is alive.
#[derive(ToSchema)]
pub struct Liveness {
    #[schema(example = "alive")]
    status: String,
}

/// Whether the server is ready for requests, and why not.
#[derive(ToSchema)]
pub struct Readiness {
    #[schema(inline)]
    status: ReadinessStatus,
    components: Components,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum ReadinessStatus {
    Ready,
    NotReady,
}

/// The components of the server.
#[derive(ToSchema)]
pub struct Components {
    store: Component,
    ingestion: Component,
    caught_up: Component,
    /// Always ok, since reads go on without Kafka; `reason` says if something is wrong.
    kafka: Component,
    process: Component,
}

/// A component of the server.
#[derive(ToSchema)]
pub struct Component {
    ok: bool,
    #[schema(required = false)]
    reason: String,
    /// The number of records that are not applied yet; left out while Kafka does not report it.
    #[schema(required = false, minimum = 0)]
    lag_records: u64,
    /// When Kafka received the newest record that is applied, which shows how old the answers are.
    #[schema(required = false, format = "date-time")]
    last_record_at: String,
}
