//! The parameters of requests in the document. They are read by name, so these types are never constructed.
#![allow(dead_code, reason = "the document is made of their fields alone")]

use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{ContentBuilder, Ref, Required};
use utoipa::{IntoParams, ToSchema};

/// The format of an answer.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase", default = "json")]
pub enum Format {
    Json,
    Csv,
}

/// The parameter that every request takes.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Answer {
    /// The format of the answer. The header `Accept: text/csv` requests CSV as well.
    #[param(required = false, inline)]
    format: Format,
}

/// The parameter that every request with a position takes.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Position {
    /// Waits until at least this much of the log is applied: a value of `X-Personview-Position`, or
    /// `topic:partition:offset` of records, separated by commas. If that takes too long, the answer is 503.
    #[param(
        required = false,
        pattern = "^([A-Za-z0-9_-]+|[A-Za-z0-9._-]{1,249}:[0-9]{1,9}:[0-9]{1,18}(,[A-Za-z0-9._-]{1,249}:[0-9]{1,9}:[0-9]{1,18})*)$",
        example = "events_plugin_ingestion:0:10"
    )]
    min_position: String,
}

/// The header that reads of one person take.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct Known {
    /// An `ETag` that the caller has. If the answer has not changed, it is 304 without a body.
    #[param(
        required = false,
        rename = "If-None-Match",
        example = "\"c375d523589f43b2db7ff315671ba33c\""
    )]
    if_none_match: String,
}

/// The header that every write takes.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct Idempotency {
    /// A write with the key of an earlier one, by the same API key and with the same content, is not done
    /// again and gets the result of the first one. Keys are remembered for a day.
    #[param(
        required = false,
        rename = "Idempotency-Key",
        max_length = 255,
        pattern = "^[!-~]([ -~]*[!-~])?$",
        example = "import-2026-03-01"
    )]
    idempotency_key: String,
}

/// The order of a list.
#[derive(ToSchema)]
#[schema(default = "-created_at")]
pub enum OrderBy {
    #[schema(rename = "-created_at")]
    NewestCreated,
    #[schema(rename = "created_at")]
    OldestCreated,
    #[schema(rename = "-last_seen_at")]
    NewestSeen,
    #[schema(rename = "last_seen_at")]
    OldestSeen,
}

/// The parameters of a list of persons.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct List {
    /// Only the person that has this distinct id now.
    #[param(required = false, example = "bob")]
    distinct_id: String,
    /// Only persons whose property `email` is exactly this.
    #[param(required = false, example = "bob@example.com")]
    email: String,
    /// Only persons that have this text in their property `email` or `name` or in a distinct id, ignoring
    /// case, or whose uuid begins with it.
    #[param(required = false, example = "bob")]
    search: String,
    /// The order; a leading `-` puts the newest first.
    #[param(required = false, inline)]
    order_by: OrderBy,
    /// The number of persons on a page.
    #[param(required = false, minimum = 1, maximum = 10_000, default = 100)]
    limit: u32,
    /// The number of persons to skip. Cannot be combined with `cursor`.
    #[param(
        required = false,
        format = "uint64",
        minimum = 0,
        maximum = 18_446_744_073_709_551_615_u64,
        default = 0
    )]
    offset: u64,
    /// Pages by cursor: begin with an empty value, then follow `next` of the answer. No person whose sort key
    /// stays the same is skipped, even if others are added or removed meanwhile.
    #[param(required = false, pattern = "^[A-Za-z0-9_-]*$")]
    cursor: String,
    /// `false` leaves the field `count` out.
    #[param(required = false, default = true)]
    count: bool,
}

/// The parameter `properties` of a list.
pub struct Properties;

impl IntoParams for Properties {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let filter = Ref::from_schema_name("Filter");
        let words = "Only persons with such properties: a JSON array of conditions, which all have \
                     to hold, or a group of them. Given several times, all have to hold.";
        let example = serde_json::json!([{"key": "plan", "operator": "exact", "value": "pro"}]);
        let content = ContentBuilder::new().schema(Some(filter)).example(Some(example));
        let parameter = ParameterBuilder::new()
            .name("properties")
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(Some(words))
            .content("application/json", content.build());
        vec![parameter.build()]
    }
}

/// The parameters of a count of values.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Values {
    /// The property; `distinct_id` for distinct ids.
    #[param(min_length = 1, example = "plan")]
    key: String,
    /// Only values that contain this text, ignoring case.
    #[param(required = false, example = "start")]
    value: String,
    /// The largest number of values in the answer.
    #[param(required = false, minimum = 1, maximum = 10_000, default = 20)]
    limit: u32,
}

/// The person and the moment of an as-of read.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Whom {
    /// The person that owned this distinct id. Give either this or `person_id`.
    #[param(required = false, example = "bob")]
    distinct_id: String,
    /// The person with this integer id or uuid. Give either this or `distinct_id`.
    #[param(required = false, pattern = "^([0-9]+|[0-9A-Fa-f-]{32,36})$")]
    person_id: String,
    /// The moment to read the person at.
    #[param(format = DateTime, example = "2026-03-10T00:00:00Z")]
    timestamp: String,
}

/// How an as-of read is done.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AsOf {
    /// Answers by what was known at this moment; without it, by everything known now.
    #[param(required = false, format = DateTime)]
    known_at: String,
    /// Whether properties set by `$set_once` are included.
    #[param(required = false, default = false)]
    include_set_once: bool,
    /// `as_of`: a distinct id belongs to the person that owned it at that moment. `current`: today's
    /// ownership of distinct ids is applied to the past.
    #[param(required = false, inline)]
    identity: super::past::Identity,
}

/// The parameter that explains an answer.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Debug {
    /// Adds how the answer was read, and the operations behind it.
    #[param(required = false, default = false)]
    debug: bool,
}

/// The part of a timeline to return.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Timeline {
    /// Only operations that touched this property.
    #[param(required = false, example = "plan")]
    key: String,
    /// Only operations from this moment on.
    #[param(required = false, format = DateTime)]
    from: String,
    /// Only operations up to this moment.
    #[param(required = false, format = DateTime)]
    to: String,
    /// The number of operations on a page.
    #[param(required = false, minimum = 1, maximum = 1_000, default = 100)]
    limit: u32,
    /// Where to continue: the cursor that `next` of an answer contains.
    #[param(required = false, pattern = "^[A-Za-z0-9_-]*$")]
    cursor: String,
}

/// The parameters of the change feed.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Changes {
    /// Where to continue: the `cursor` of an earlier answer; without it, from the beginning.
    #[param(required = false, pattern = "^[A-Za-z0-9_-]*$")]
    cursor: String,
    /// The largest number of persons in an answer.
    #[param(required = false, minimum = 1, maximum = 10_000, default = 100)]
    limit: u32,
}

/// The page of the activity log to return.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Activity {
    /// The number of the page, counted from 1.
    #[param(required = false, minimum = 1, maximum = 4_294_967_296_u64, default = 1)]
    page: u64,
    /// The number of entries on a page.
    #[param(required = false, minimum = 1, maximum = 1_000, default = 10)]
    limit: u32,
}

/// The moments to compare.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Difference {
    /// The first moment.
    #[param(format = DateTime, example = "2026-01-12T00:00:00Z")]
    from: String,
    /// The second moment.
    #[param(format = DateTime, example = "2026-07-01T00:00:00Z")]
    to: String,
    /// Answers by what was known at this moment; without it, by everything known now.
    #[param(required = false, format = DateTime)]
    known_at: String,
}
