//! The parameters of requests as the document shows them. They are read by name, so nothing is
//! ever made of these types.
#![allow(dead_code, reason = "the document is made of their fields alone")]

use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{ContentBuilder, Ref, Required};
use utoipa::{IntoParams, ToSchema};

/// How an answer is written.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase", default = "json")]
pub enum Format {
    Json,
    Csv,
}

/// What every request takes.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Answer {
    /// How the answer is written; the header `Accept: text/csv` asks for CSV as well.
    #[param(required = false, inline)]
    format: Format,
}

/// What every request with a position takes.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Position {
    /// Answer when at least so much of the log is applied: a value of `X-Personview-Position`, or
    /// `topic:partition:offset` of records, separated by commas. Where that does not come in time the
    /// answer is 503.
    #[param(
        required = false,
        pattern = "^([A-Za-z0-9_-]+|[A-Za-z0-9._-]{1,249}:[0-9]{1,9}:[0-9]{1,18}(,[A-Za-z0-9._-]{1,249}:[0-9]{1,9}:[0-9]{1,18})*)$",
        example = "events_plugin_ingestion:0:10"
    )]
    min_position: String,
}

/// What reads of one person take beside.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct Known {
    /// An `ETag` that the caller has: an answer that is still the same is 304, without a body.
    #[param(
        required = false,
        rename = "If-None-Match",
        example = "\"c375d523589f43b2db7ff315671ba33c\""
    )]
    if_none_match: String,
}

/// What every write takes beside its position.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct Idempotency {
    /// A write with the key of an earlier one, by the same API key and of the same thing, is not
    /// done again and is answered as the first one was. Remembered for a day.
    #[param(
        required = false,
        rename = "Idempotency-Key",
        max_length = 255,
        pattern = "^[!-~]([ -~]*[!-~])?$",
        example = "import-2026-03-01"
    )]
    idempotency_key: String,
}

/// In which order a list is.
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

/// Which persons a list has.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct List {
    /// Only the person that has this distinct id now.
    #[param(required = false, example = "bob")]
    distinct_id: String,
    /// Only persons whose property `email` is exactly this.
    #[param(required = false, example = "bob@example.com")]
    email: String,
    /// Only persons that have this text in their property `email` or `name` or in a distinct id,
    /// upper and lower case alike, or whose uuid begins with it.
    #[param(required = false, example = "bob")]
    search: String,
    /// The order; a `-` puts the newest first.
    #[param(required = false, inline)]
    order_by: OrderBy,
    /// Persons on a page.
    #[param(required = false, minimum = 1, maximum = 10_000, default = 100)]
    limit: u32,
    /// Persons to skip. Not together with `cursor`.
    #[param(
        required = false,
        format = "uint64",
        minimum = 0,
        maximum = 18_446_744_073_709_551_615_u64,
        default = 0
    )]
    offset: u64,
    /// Pages by cursor: an empty one begins, and `next` of the answer goes on. It passes over
    /// nobody whose place stays the same, whoever comes or goes meanwhile.
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

/// Which values are counted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Values {
    /// The property; `distinct_id` for distinct ids.
    #[param(min_length = 1, example = "plan")]
    key: String,
    /// Only values that have this text somewhere, upper and lower case alike.
    #[param(required = false, example = "start")]
    value: String,
    /// The most values.
    #[param(required = false, minimum = 1, maximum = 10_000, default = 20)]
    limit: u32,
}

/// Whom a question about the past is about, and when.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Whom {
    /// Whoever had this distinct id. Either this or `person_id`.
    #[param(required = false, example = "bob")]
    distinct_id: String,
    /// The person with this integer id or uuid. Either this or `distinct_id`.
    #[param(required = false, pattern = "^([0-9]+|[0-9A-Fa-f-]{32,36})$")]
    person_id: String,
    /// The moment.
    #[param(format = DateTime, example = "2026-03-10T00:00:00Z")]
    timestamp: String,
}

/// How the past is read.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AsOf {
    /// Answer by what was known at this moment; without it, by everything known now.
    #[param(required = false, format = DateTime)]
    known_at: String,
    /// Whether properties set by `$set_once` are there as well.
    #[param(required = false, default = false)]
    include_set_once: bool,
    /// `as_of`: a distinct id belongs to the person that had it at that moment. `current`: today's
    /// identity is applied to the past.
    #[param(required = false, inline)]
    identity: super::past::Identity,
}

/// Whether the operations behind an answer are told.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Debug {
    /// Adds how the answer was found, and the operations behind it.
    #[param(required = false, default = false)]
    debug: bool,
}

/// Which part of a timeline is asked for.
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
    /// Operations on a page.
    #[param(required = false, minimum = 1, maximum = 1_000, default = 100)]
    limit: u32,
    /// Where to go on, as `next` of an answer has it.
    #[param(required = false, pattern = "^[A-Za-z0-9_-]*$")]
    cursor: String,
}

/// What is followed.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Changes {
    /// Where to go on, as an earlier answer gave it; without it, from the beginning.
    #[param(required = false, pattern = "^[A-Za-z0-9_-]*$")]
    cursor: String,
    /// Persons in an answer.
    #[param(required = false, minimum = 1, maximum = 10_000, default = 100)]
    limit: u32,
}

/// Which part of the activity log is asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Activity {
    /// The number of the page.
    #[param(required = false, minimum = 1, maximum = 4_294_967_296_u64, default = 1)]
    page: u64,
    /// Entries on a page.
    #[param(required = false, minimum = 1, maximum = 1_000, default = 10)]
    limit: u32,
}

/// Which moments are compared.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Difference {
    /// The first moment.
    #[param(format = DateTime, example = "2026-01-12T00:00:00Z")]
    from: String,
    /// The second moment.
    #[param(format = DateTime, example = "2026-07-01T00:00:00Z")]
    to: String,
    /// Answer by what was known at this moment; without it, by everything known now.
    #[param(required = false, format = DateTime)]
    known_at: String,
}
