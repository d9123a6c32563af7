//! The schemas of answers in the document. Small answers are sent as they are described, so their types
//! implement `Serialize`. Persons and lists are written by hand (`api::json`) and their types never
//! constructed. Tests check every answer against these types.
#![allow(
    dead_code,
    clippy::struct_field_names,
    reason = "the document is made of the fields of persons and lists alone"
)]

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

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
    /// The time of its first event, or of the split that created it.
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
#[derive(Serialize, ToSchema)]
pub struct Project {
    #[schema(minimum = 1)]
    pub id: u64,
    #[schema(value_type = String, format = "uuid")]
    pub uuid: Uuid,
    pub name: String,
    /// The operator of this server.
    #[schema(value_type = String, format = "uuid")]
    pub organization: Uuid,
    #[schema(example = "UTC")]
    pub timezone: &'static str,
}

/// The projects of a key, on one page.
#[derive(Serialize, ToSchema)]
pub struct Projects {
    #[schema(minimum = 0)]
    pub count: u64,
    #[schema(schema_with = requests::null)]
    pub next: (),
    #[schema(schema_with = requests::null)]
    pub previous: (),
    pub results: Vec<Project>,
}

/// The write was done.
#[derive(Serialize, ToSchema)]
pub struct Success {
    pub success: bool,
}

/// The write is in Kafka but was not applied in time. It will be: a read with `min_position` set
/// to `position` waits for it.
#[derive(Serialize, ToSchema)]
pub struct Accepted {
    pub accepted: bool,
    pub position: String,
}

/// The result of a bulk deletion.
#[derive(Serialize, ToSchema)]
pub struct Deleted {
    #[schema(minimum = 0)]
    pub persons_found: u64,
    #[schema(minimum = 0)]
    pub persons_deleted: u64,
    pub deletion_errors: Vec<DeletionError>,
}

/// Why a person was not deleted.
#[derive(Serialize, ToSchema)]
pub struct DeletionError {
    #[schema(required = true, value_type = Option<String>, format = "uuid")]
    pub person_uuid: Option<Uuid>,
    pub error: &'static str,
}

/// The process is alive.
#[derive(Serialize, ToSchema)]
pub struct Liveness {
    #[schema(example = "alive")]
    pub status: &'static str,
}

/// Whether the server is ready for requests, and why not.
#[derive(Serialize, ToSchema)]
pub struct Readiness {
    #[schema(inline)]
    pub status: ReadinessStatus,
    pub components: Components,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadinessStatus {
    Ready,
    NotReady,
}

/// The components of the server.
#[derive(Serialize, ToSchema)]
pub struct Components {
    pub store: Component,
    pub ingestion: Component,
    pub caught_up: Component,
    /// Always ok, since reads go on without Kafka; `reason` says if something is wrong.
    pub kafka: Component,
    pub process: Component,
}

/// A component of the server.
#[derive(Serialize, ToSchema)]
pub struct Component {
    pub ok: bool,
    // Why it is not ok, or a problem that it has while it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<String>,
    /// The number of records that are not applied yet; left out while Kafka does not report it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0)]
    pub lag_records: Option<u64>,
    /// When Kafka received the newest record that is applied, which shows how old the answers are.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = "date-time")]
    pub last_record_at: Option<String>,
}
