//! The schemas of answers about the past in the document; see [`super::bodies`] for others.
#![allow(
    dead_code,
    clippy::large_enum_variant,
    reason = "the document is made of their fields alone"
)]

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

/// A person as it was at a moment.
#[derive(ToSchema)]
pub struct PersonAtTime {
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_u64)]
    id: u64,
    /// Its name at that moment.
    name: String,
    /// The distinct ids that it had at that moment.
    distinct_ids: Vec<String>,
    #[schema(value_type = Object)]
    properties: Value,
    /// `null` if the person did not exist yet.
    #[schema(required = true, format = "date-time")]
    created_at: Option<String>,
    #[schema(format = "uuid")]
    uuid: String,
    /// The time of the newest event by then that changed the person, rounded down to the hour.
    #[schema(required = true, format = "date-time")]
    last_seen_at: Option<String>,
    is_identified: bool,
    point_in_time_metadata: PointInTimeMetadata,
    /// Present with `debug=true`.
    #[schema(required = false)]
    debug: Debug,
}

/// How an as-of read was understood.
#[derive(ToSchema)]
pub struct PointInTimeMetadata {
    #[schema(format = "date-time")]
    queried_timestamp: String,
    include_set_once: bool,
    #[schema(required = true)]
    distinct_id_used: Option<String>,
    #[schema(required = true)]
    person_id_used: Option<String>,
    #[schema(inline)]
    query_mode: QueryMode,
    distinct_ids_queried: Vec<String>,
    #[schema(minimum = 0)]
    distinct_ids_count: u64,
    #[schema(required = true, format = "date-time")]
    known_at: Option<String>,
    #[schema(inline)]
    identity: Identity,
    /// Whether the person existed at that moment.
    existed: bool,
}

/// What a person was requested by.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum QueryMode {
    DistinctId,
    PersonId,
}

/// Which ownership of distinct ids applies.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case", default = "as_of")]
pub enum Identity {
    AsOf,
    Current,
}

/// How an answer about the past was read.
#[derive(ToSchema)]
pub struct Debug {
    /// How it was read, in words.
    query: String,
    params: DebugParams,
    /// The number of all operations up to the moment.
    #[schema(minimum = 0)]
    events_found: u64,
    /// The newest 1,000 of them, or fewer if their values are large.
    #[schema(max_items = 1_000)]
    events: Vec<DebugEvent>,
}

/// The parsed query, field by field.
#[derive(ToSchema)]
pub struct DebugParams {
    #[schema(minimum = 1)]
    project_id: u64,
    #[schema(required = true)]
    distinct_id: Option<String>,
    #[schema(required = true)]
    person_id: Option<String>,
    #[schema(format = "date-time")]
    timestamp: String,
    #[schema(required = true, format = "date-time")]
    known_at: Option<String>,
    #[schema(inline)]
    identity: Identity,
    include_set_once: bool,
}

/// An operation behind an answer about the past.
#[derive(ToSchema)]
pub struct DebugEvent {
    #[schema(format = "date-time")]
    timestamp: String,
    #[schema(format = "date-time")]
    known_at: String,
    event: String,
    #[schema(format = "uuid")]
    uuid: String,
    /// `null` of a write over HTTP.
    #[schema(required = true)]
    distinct_id: Option<String>,
    #[schema(rename = "$set", value_type = Object)]
    set: Value,
    #[schema(rename = "$set_once", value_type = Object)]
    set_once: Value,
    #[schema(rename = "$unset")]
    unset: Vec<String>,
    /// The person that the operation merged into this one.
    #[schema(required = false)]
    merge: Merge,
}

/// A person that was merged away.
#[derive(ToSchema)]
pub struct Merge {
    #[schema(minimum = 0)]
    source_id: u64,
    #[schema(required = true, format = "uuid")]
    source_uuid: Option<String>,
}

/// A line to join: a person and a moment. The person is given by either `distinct_id` or `person_id`.
#[derive(ToSchema)]
#[schema(examples(json!({"distinct_id": "ann", "timestamp": "2026-03-10T00:00:00Z"})))]
pub struct LineToJoin {
    #[schema(required = false)]
    distinct_id: String,
    /// An integer id or a uuid.
    #[schema(required = false)]
    person_id: String,
    #[schema(format = "date-time")]
    timestamp: String,
    #[schema(required = false, format = "date-time")]
    known_at: String,
    #[schema(required = false)]
    include_set_once: bool,
    #[schema(required = false, inline)]
    identity: Identity,
}

/// A line of the join's answer: the person, or an error.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum JoinedLine {
    Person(PersonAtTime),
    Error(LineError),
}

/// Why a line of the join was not answered.
#[derive(ToSchema)]
pub struct LineError {
    error: String,
    /// The number of the line, from 1.
    #[schema(minimum = 1)]
    line: u64,
}

/// A page of a timeline, newest first.
#[derive(ToSchema)]
pub struct History {
    results: Vec<HistoryEntry>,
    /// The URL of the next page; `null` on the last one.
    #[schema(required = true, format = "uri")]
    next: Option<String>,
}

/// An operation on a person, and what it changed.
#[derive(ToSchema)]
pub struct HistoryEntry {
    #[schema(format = "date-time")]
    timestamp: String,
    #[schema(format = "date-time")]
    known_at: String,
    event: String,
    #[schema(format = "uuid")]
    uuid: String,
    /// `null` of a write over HTTP.
    #[schema(required = true)]
    distinct_id: Option<String>,
    changes: Vec<HistoryChange>,
}

/// A property before and after; `null` if it was absent.
#[derive(ToSchema)]
pub struct HistoryChange {
    key: String,
    before: Value,
    after: Value,
}

/// What changed between two moments.
#[derive(ToSchema)]
pub struct Difference {
    #[schema(format = "date-time")]
    from: String,
    #[schema(format = "date-time")]
    to: String,
    #[schema(value_type = Object)]
    added: Value,
    #[schema(value_type = Object)]
    removed: Value,
    changed: BTreeMap<String, BeforeAndAfter>,
}

/// A value before and after a change.
#[derive(ToSchema)]
pub struct BeforeAndAfter {
    before: Value,
    after: Value,
}
