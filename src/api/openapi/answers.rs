//! The answers of each kind of route in the document: the successful one and the failures.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{
    ContentBuilder, ObjectBuilder, OneOfBuilder, Ref, RefOr, Response, ResponseBuilder, Schema,
    Type,
};
use utoipa::{IntoResponses, ToSchema};

use super::requests;

type Responses = BTreeMap<String, RefOr<Response>>;

/// A way in which requests fail: the name by which answers refer to it, its types and
/// codes, and when it occurs.
struct Failure {
    name: &'static str,
    kinds: &'static [&'static str],
    codes: &'static [&'static str],
    /// Whether `detail` can be repeated as `error`.
    repeated: bool,
    words: &'static str,
}

const INVALID: &[&str] = &["validation_error"];
const REQUEST: &[&str] = &["invalid_request"];
const SERVER: &[&str] = &["server_error"];
const KEY: &[&str] = &["authentication_error"];

/// An example of the `Content-Disposition` of a list in CSV.
const FILE: &str = "attachment; filename=\"persons.csv\"";

#[rustfmt::skip]
const FAILURES: [Failure; 17] = [
    Failure { name: "BadRequest", kinds: INVALID, codes: &["invalid_input", "required"], repeated: false,
        words: "A parameter is missing or cannot be understood; `attr` names it." },
    Failure { name: "BadMoment", kinds: INVALID, codes: &["invalid_input", "required"], repeated: true,
        words: "A parameter is missing or cannot be understood; `attr` names it. `error` repeats `detail`." },
    Failure { name: "BadBody", kinds: &["validation_error", "invalid_request"],
        codes: &["invalid_input", "required", "parse_error"], repeated: false,
        words: "A field is missing or cannot be understood (`attr` names it), or the body cannot be read." },
    Failure { name: "Unauthorized", kinds: KEY, codes: &["not_authenticated", "authentication_failed"],
        repeated: false, words: "There is no key, or it is not valid." },
    Failure { name: "Forbidden", kinds: KEY, codes: &["permission_denied"], repeated: false,
        words: "The key lacks the scope, or does not open the project." },
    Failure { name: "Throttled", kinds: &["throttled_error"], codes: &["throttled"], repeated: false,
        words: "The key sends more requests than its `requests_per_minute`." },
    Failure { name: "NotFound", kinds: REQUEST, codes: &["not_found"], repeated: false,
        words: "There is no such project or person." },
    Failure { name: "NobodyThen", kinds: REQUEST, codes: &["not_found"], repeated: true,
        words: "There is no such project, or no person ever had this name. `error` repeats `detail`." },
    Failure { name: "Absent", kinds: REQUEST, codes: &["not_found"], repeated: false,
        words: "There is no such file; or `api.metrics_listen` has this path." },
    Failure { name: "BodyTooLarge", kinds: REQUEST, codes: &["payload_too_large"], repeated: false,
        words: "The body is larger than `api.body_limit`." },
    Failure { name: "UrlTooLong", kinds: REQUEST, codes: &["uri_too_long"], repeated: false,
        words: "The URL is longer than 8,192 bytes." },
    Failure { name: "UnsupportedMediaType", kinds: REQUEST, codes: &["unsupported_media_type"],
        repeated: false, words: "The body is neither JSON nor a form." },
    Failure { name: "ServerError", kinds: SERVER, codes: &["error"], repeated: false,
        words: "The server failed; see its log." },
    Failure { name: "ReadUnavailable", kinds: SERVER, codes: &["position_not_reached", "query_timeout"],
        repeated: false, words: "The position was not reached in time, or the read took too long." },
    Failure { name: "ListUnavailable", kinds: SERVER,
        codes: &["position_not_reached", "query_timeout", "overloaded"], repeated: false,
        words: "The position was not reached in time, the read took too long, or too many lists are being read." },
    Failure { name: "WriteUnavailable", kinds: SERVER, codes: &["unavailable", "position_not_reached"],
        repeated: false, words: "Nothing was written: Kafka is unavailable, or the position was not reached in time." },
    Failure { name: "TookTooLong", kinds: SERVER, codes: &["timeout"], repeated: false,
        words: "It took too long, and it is not known whether it was done." },
];

/// Yields every failure, with the name by which answers refer to it.
pub fn failures() -> impl Iterator<Item = (String, RefOr<Response>)> {
    FAILURES.iter().map(|failure| {
        let mut response = ResponseBuilder::new()
            .description(failure.words)
            .content("application/json", json(failure.schema()));
        if failure.name.ends_with("Unavailable") || failure.name == "Throttled" {
            let after = always(header("Seconds to wait before the next try.", "1"));
            response = response.header("Retry-After", after);
        }
        if failure.name == "Unauthorized" {
            let how = always(header("How to send the key.", "Bearer"));
            response = response.header("WWW-Authenticate", how);
        }
        if failure.is_read() {
            response = response.header("X-Personview-Position", position());
        }
        (failure.name.to_owned(), response.build().into())
    })
}

impl Failure {
    /// Whether it can be detected while the store is read, so that the answer may have a position.
    fn is_read(&self) -> bool {
        let codes = ["invalid_input", "not_found", "query_timeout", "error"];
        self.codes.iter().any(|code| codes.contains(code))
    }

    fn schema(&self) -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let one_of = |names: &[&'static str]| text().enum_values(Some(names.iter().copied()));
        let attr = ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
            .description(Some("The parameter or field at fault."));
        let mut schema = ObjectBuilder::new()
            .property("type", one_of(self.kinds))
            .property("code", one_of(self.codes))
            .property("detail", text().description(Some("What is wrong, in words.")))
            .property("attr", attr);
        if self.repeated {
            schema = schema.property("error", text().description(Some("The same as `detail`.")));
        }
        let required = ["type", "code", "detail", "attr"];
        required.into_iter().fold(schema, ObjectBuilder::required).into()
    }
}

/// Returns how every request to a path can fail; `keyed` says whether the path needs a key.
pub fn common(path: &str, keyed: bool) -> Vec<(String, RefOr<Response>)> {
    let mut failures = vec![failure(414, "UrlTooLong"), failure(500, "ServerError")];
    if keyed {
        failures.extend([failure(400, "BadRequest"), failure(401, "Unauthorized")]);
        failures.push(failure(429, "Throttled"));
    }
    if path.contains("{project_id}") {
        failures.extend([failure(403, "Forbidden"), failure(404, "NotFound")]);
    }
    failures
}

fn failure(status: u16, name: &str) -> (String, RefOr<Response>) {
    (status.to_string(), Ref::from_response_name(name).into())
}

/// The failure of a path that may be absent.
pub struct OrAbsent;

impl IntoResponses for OrAbsent {
    fn responses() -> Responses {
        Responses::from([failure(404, "Absent")])
    }
}

/// A page of a list.
pub struct Listed<T>(PhantomData<T>);

impl<T: ToSchema> IntoResponses for Listed<T> {
    fn responses() -> Responses {
        let answer = positioned(in_both("The list.", schema_of::<T>()));
        let answer = answer.header("Content-Disposition", header("Of CSV: as a file.", FILE));
        Responses::from([status(200, answer), failure(503, "ListUnavailable")])
    }
}

/// The change feed, which is always JSON.
pub struct Followed<T>(PhantomData<T>);

impl<T: ToSchema> IntoResponses for Followed<T> {
    fn responses() -> Responses {
        let answer = ResponseBuilder::new().description("What changed.");
        let answer = positioned(answer.content("application/json", json(schema_of::<T>())));
        Responses::from([status(200, answer), failure(503, "ListUnavailable")])
    }
}

/// An answer about a key, which has no position.
pub struct OfKey<T>(PhantomData<T>);

impl<T: ToSchema> IntoResponses for OfKey<T> {
    fn responses() -> Responses {
        Responses::from([status(200, in_both("What the key opens.", schema_of::<T>()))])
    }
}

/// One person, or an answer about one.
pub struct Single<T>(PhantomData<T>);

impl<T: ToSchema> IntoResponses for Single<T> {
    fn responses() -> Responses {
        let answer = tagged(positioned(in_both("The answer.", schema_of::<T>())));
        let known = tagged(positioned(ResponseBuilder::new().description("The caller has it.")));
        Responses::from([status(200, answer), status(304, known), failure(503, "ReadUnavailable")])
    }
}

/// One person as of a moment.
pub struct AsOf<T>(PhantomData<T>);

impl<T: ToSchema> IntoResponses for AsOf<T> {
    fn responses() -> Responses {
        let mut responses = Single::<T>::responses();
        responses.extend([failure(400, "BadMoment"), failure(404, "NobodyThen")]);
        responses
    }
}

/// The persons that a request body asked for.
pub struct Found<T>(PhantomData<T>);

impl<T: ToSchema> IntoResponses for Found<T> {
    fn responses() -> Responses {
        let answer = positioned(in_both("Those who were found.", schema_of::<T>()));
        let mut responses = Responses::from([status(200, answer), failure(503, "ListUnavailable")]);
        responses.extend(of_a_body());
        responses
    }
}

/// The lines of a join.
pub struct Joined;

impl IntoResponses for Joined {
    fn responses() -> Responses {
        let lines =
            requests::lines("JoinedLine", "A `JoinedLine` for each line, in the same order.");
        let answer = ResponseBuilder::new()
            .description("A line for each line, while they come.")
            .content("application/x-ndjson", json(lines));
        Responses::from([
            status(200, answer),
            failure(503, "ListUnavailable"),
            failure(504, "TookTooLong"),
        ])
    }
}

/// A write that was applied, with this status and body, or that was accepted and will be applied.
pub struct Written<const STATUS: u16, T>(PhantomData<T>);

impl<const STATUS: u16, T: ToSchema> IntoResponses for Written<STATUS, T> {
    fn responses() -> Responses {
        let accepted = Ref::from_schema_name("Accepted");
        let applied = |schema| positioned(in_both("It was applied.", schema));
        let mut responses = Responses::from([failure(503, "WriteUnavailable")]);
        responses.extend(of_a_body());
        if STATUS == 202 {
            let either = OneOfBuilder::new().item(schema_of::<T>()).item(accepted);
            let words = "It was applied; or Kafka has it, and it will be.";
            let answer = in_both(words, either.into()).header("X-Personview-Position", position());
            responses.extend([status(202, answer)]);
        } else {
            let words = "Kafka has it, and it was not applied in time. It will be.";
            let later = in_both(words, accepted.into());
            responses.extend([status(STATUS, applied(schema_of::<T>())), status(202, later)]);
        }
        responses
    }
}

/// Returns how a request with a body can fail.
fn of_a_body() -> [(String, RefOr<Response>); 4] {
    [
        failure(400, "BadBody"),
        failure(413, "BodyTooLarge"),
        failure(415, "UnsupportedMediaType"),
        failure(504, "TookTooLong"),
    ]
}

fn status(status: u16, response: ResponseBuilder) -> (String, RefOr<Response>) {
    (status.to_string(), response.build().into())
}

/// An answer as JSON and as CSV.
fn in_both(words: &str, schema: RefOr<Schema>) -> ResponseBuilder {
    let csv = ObjectBuilder::new().schema_type(Type::String).description(Some(
        "A row a result. Nested values are columns with dotted names; the header has all of them.",
    ));
    let answer =
        ResponseBuilder::new().description(words).content("application/json", json(schema));
    answer.content("text/csv", json(csv.into()))
}

fn json(schema: RefOr<Schema>) -> utoipa::openapi::Content {
    ContentBuilder::new().schema(Some(schema)).build()
}

/// Adds the header that says how much of the log an answer reflects.
fn positioned(response: ResponseBuilder) -> ResponseBuilder {
    response.header("X-Personview-Position", always(position()))
}

fn position() -> Header {
    let words = "How much of the log the answer reflects.";
    header(words, "ARdldmVudHNfcGx1Z2luX2luZ2VzdGlvbgEACwZWYqk")
}

fn tagged(response: ResponseBuilder) -> ResponseBuilder {
    let words = "Changes with the answer; for `If-None-Match`.";
    response.header("ETag", always(header(words, "\"c375d523589f43b2db7ff315671ba33c\"")))
}

/// Marks a header as always present. OpenAPI has a field for that, but utoipa's type does not.
fn always(mut header: Header) -> Header {
    header.extensions = Some(Extensions::from_iter([("required", true)]));
    header
}

fn header(words: &str, example: &str) -> Header {
    let schema = ObjectBuilder::new().schema_type(Type::String);
    HeaderBuilder::new()
        .schema(Some(schema))
        .description(Some(words))
        .example(Some(example.into()))
        .build()
}

fn schema_of<T: ToSchema>() -> RefOr<Schema> {
    Ref::from_schema_name(T::name()).into()
}
