//! The errors that requests are answered with: a status and `{"type","code","detail","attr"}`.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};

use super::format;
use super::json::{self, Object};
use super::key::Scope;
use super::write::NotAppended;
use crate::store;

/// The `Retry-After` of temporary errors, in seconds.
const RETRY_SECONDS: u64 = 1;

/// The `code` of an error, by which errors are also counted. The response carries it as an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum Code {
    NotAuthenticated,
    AuthenticationFailed,
    Throttled,
    PermissionDenied,
    InvalidInput,
    Required,
    NotFound,
    MethodNotAllowed,
    UriTooLong,
    ParseError,
    UnsupportedMediaType,
    PayloadTooLarge,
    Overloaded,
    QueryTimeout,
    Unavailable,
    PositionNotReached,
    Error,
    Timeout,
}

impl Code {
    /// Returns the status and the `type` of an answer with this code.
    fn class(self) -> (StatusCode, &'static str) {
        let invalid_request = "invalid_request";
        match self {
            Self::NotAuthenticated | Self::AuthenticationFailed => {
                (StatusCode::UNAUTHORIZED, "authentication_error")
            }
            Self::PermissionDenied => (StatusCode::FORBIDDEN, "authentication_error"),
            Self::Throttled => (StatusCode::TOO_MANY_REQUESTS, "throttled_error"),
            Self::InvalidInput | Self::Required => (StatusCode::BAD_REQUEST, "validation_error"),
            Self::ParseError => (StatusCode::BAD_REQUEST, invalid_request),
            Self::NotFound => (StatusCode::NOT_FOUND, invalid_request),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, invalid_request),
            Self::UriTooLong => (StatusCode::URI_TOO_LONG, invalid_request),
            Self::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, invalid_request),
            Self::PayloadTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, invalid_request),
            Self::Overloaded
            | Self::QueryTimeout
            | Self::Unavailable
            | Self::PositionNotReached => (StatusCode::SERVICE_UNAVAILABLE, "server_error"),
            Self::Error => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
            Self::Timeout => (StatusCode::GATEWAY_TIMEOUT, "server_error"),
        }
    }
}

/// An error as the caller sees it.
#[derive(Debug)]
pub struct Error {
    status: StatusCode,
    code: Code,
    detail: String,
    attr: Option<String>,
    /// Whether the detail is repeated in the field `error`, where PostHog's clients look for it.
    repeated: bool,
    /// The `Retry-After` of the response, in seconds.
    retry_after: Option<u64>,
}

impl Error {
    fn new(code: Code, detail: impl Into<String>) -> Self {
        let (status, _) = code.class();
        let detail = detail.into();
        Self { status, code, detail, attr: None, repeated: false, retry_after: None }
    }

    /// The request has no key.
    pub fn not_authenticated() -> Self {
        let detail = "Authentication credentials were not provided.";
        Self::new(Code::NotAuthenticated, detail)
    }

    /// No key has the secret of the request.
    pub fn authentication_failed() -> Self {
        let detail = "The personal API key is invalid.";
        Self::new(Code::AuthenticationFailed, detail)
    }

    /// The key exceeds its rate limit; `wait` is how long until it may send the next request.
    pub fn throttled(wait: Duration) -> Self {
        // Rounded up, or the next request would come too early.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let detail = format!("Request was throttled. Expected available in {seconds} seconds.");
        let error = Self::new(Code::Throttled, detail);
        Self { retry_after: Some(seconds), ..error }
    }

    fn permission_denied(detail: String) -> Self {
        Self::new(Code::PermissionDenied, detail)
    }

    /// The key lacks the scope that the route requires.
    pub fn missing_scope(scope: Scope) -> Self {
        Self::permission_denied(format!("API key missing required scope '{scope}'"))
    }

    /// The key does not have access to the project.
    pub fn other_project(project: &str) -> Self {
        let detail =
            format!("API key does not have access to the requested project: ID {project}.");
        Self::permission_denied(detail)
    }

    /// A parameter or field is invalid.
    pub fn invalid(attr: &str, detail: impl Into<String>) -> Self {
        let error = Self::new(Code::InvalidInput, detail);
        error.about(attr)
    }

    /// A parameter or field is missing.
    pub fn required(attr: &str, detail: impl Into<String>) -> Self {
        Self::new(Code::Required, detail).about(attr)
    }

    /// The requested resource does not exist.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Code::NotFound, detail)
    }

    /// The person that the path names does not exist.
    pub fn no_person() -> Self {
        Self::not_found("Not found.")
    }

    /// The route does not support the method.
    pub fn method_not_allowed(detail: impl Into<String>) -> Self {
        Self::new(Code::MethodNotAllowed, detail)
    }

    /// The URL is too long.
    pub fn uri_too_long(limit: usize) -> Self {
        let detail = format!("The URL is longer than {limit} bytes.");
        Self::new(Code::UriTooLong, detail)
    }

    /// Too many reads of the same kind are running; `what` names the kind.
    pub fn overloaded(what: &str) -> Self {
        let detail = format!("Too many {what} are being read at once, try again soon.");
        Self::new(Code::Overloaded, detail).retry()
    }

    /// The columns of a CSV answer exceed the limit of its header.
    pub fn too_many_columns() -> Self {
        let detail = "There are too many columns for CSV: ask for JSON, or for fewer rows.";
        Self::invalid(format::PARAMETER, detail)
    }

    /// A page of CSV exceeds the page limit. It is not cut, since CSV cannot link to the next page.
    pub fn page_too_large() -> Self {
        let detail = "The page would be too large for CSV: leave limit out, or ask for less.";
        Self::invalid("limit", detail)
    }

    /// An answer that cannot be split into pages exceeds the page limit.
    pub fn answer_too_large(asked: &str) -> Self {
        Self::invalid(asked, "The answer would be larger than allowed: ask for less.")
    }

    /// A read exceeded its deadline.
    pub fn query_timeout() -> Self {
        let detail = "The query took longer than allowed; narrow it down or try again.";
        Self::new(Code::QueryTimeout, detail).retry()
    }

    /// The body cannot be received or parsed.
    pub fn unreadable(why: &str) -> Self {
        Self::new(Code::ParseError, format!("The body cannot be read: {why}."))
    }

    /// A body that is declared as a form is JSON.
    pub fn json_as_form() -> Self {
        let detail = "The body looks like JSON but was sent as a form: send Content-Type: \
                      application/json";
        Self::new(Code::ParseError, detail)
    }

    /// HTTP/1.0 ends an answer by closing the connection, so one that is broken off would look complete.
    /// `instead` says what is answered all the same.
    pub fn not_over_http_1_0(instead: &str) -> Self {
        let detail = "This answer is sent while it is read, which needs HTTP/1.1 (nginx: \
                      proxy_http_version 1.1).";
        Self::new(Code::InvalidInput, format!("{detail}{instead}"))
    }

    /// The content type of the body is not supported.
    pub fn unsupported_media_type(found: Option<&str>) -> Self {
        let found =
            found.map_or("no Content-Type".to_owned(), |found| format!("Content-Type {found}"));
        let detail = format!("A body with {found} is not read: send application/json.");
        Self::new(Code::UnsupportedMediaType, detail)
    }

    /// A body is compressed.
    pub fn unsupported_encoding(found: &HeaderValue) -> Self {
        let found = String::from_utf8_lossy(found.as_bytes());
        let detail = format!("A body with Content-Encoding {found} is not read: send it as it is.");
        Self::new(Code::UnsupportedMediaType, detail)
    }

    /// A write was not appended to the log, or it is not known whether it was.
    pub fn not_appended(why: NotAppended) -> Self {
        match why {
            NotAppended::Nothing => {
                let detail = "Nothing was written, because Kafka is unavailable; try again soon.";
                Self::new(Code::Unavailable, detail).retry()
            }
            NotAppended::NoTopic => {
                let detail = "Nothing was written, because the topic of commands does not exist.";
                Self::new(Code::Unavailable, detail).retry()
            }
            NotAppended::Unknown => Self::of_status(StatusCode::GATEWAY_TIMEOUT, &Method::POST),
            NotAppended::TooLarge => Self::of_status(StatusCode::PAYLOAD_TOO_LARGE, &Method::POST),
        }
    }

    /// The positions that the caller asked for were not applied in time.
    pub fn position_not_reached() -> Self {
        let detail = "The position in min_position was not reached in time.";
        Self::new(Code::PositionNotReached, detail).retry()
    }

    /// The server failed; its log has the details.
    pub fn internal() -> Self {
        Self::new(Code::Error, "A server error occurred.")
    }

    /// Returns the error for a status that comes without a body of its own.
    pub fn of_status(status: StatusCode, method: &Method) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::not_found("Endpoint not found."),
            StatusCode::METHOD_NOT_ALLOWED => {
                Self::method_not_allowed(format!("Method \"{method}\" not allowed."))
            }
            StatusCode::PAYLOAD_TOO_LARGE => {
                let detail = "The body is larger than allowed.";
                Self::new(Code::PayloadTooLarge, detail)
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                let detail = "The content type is not supported.";
                Self::new(Code::UnsupportedMediaType, detail)
            }
            StatusCode::GATEWAY_TIMEOUT if method.is_safe() => Self::query_timeout(),
            StatusCode::GATEWAY_TIMEOUT => {
                let detail = "The request took too long; it is not known whether it was done.";
                Self::new(Code::Timeout, detail)
            }
            status if status.is_server_error() => Self::internal(),
            status => Self { status, ..Self::new(Code::ParseError, "Malformed request.") },
        }
    }

    /// Names the parameter or field that the error is about.
    fn about(mut self, attr: &str) -> Self {
        self.attr = Some(attr.to_owned());
        self
    }

    fn retry(mut self) -> Self {
        self.retry_after = Some(RETRY_SECONDS);
        self
    }

    /// Returns what is wrong, in words.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Whether the server is at fault rather than the request.
    pub fn is_internal(&self) -> bool {
        self.status.is_server_error()
    }

    /// Whether a read took too long, or its caller has gone.
    pub fn is_query_timeout(&self) -> bool {
        self.code == Code::QueryTimeout
    }

    /// Repeats the detail in the field `error`.
    pub fn repeated(mut self) -> Self {
        self.repeated = true;
        self
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        if matches!(error, store::Error::Ended) {
            return Self::query_timeout();
        }
        tracing::error!(%error, "a read of the store failed");
        Self::internal()
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut body = Vec::new();
        let mut object = Object::new(&mut body);
        object.string("type", self.code.class().1);
        object.string("code", self.code.into());
        object.string("detail", &self.detail);
        object.optional_string("attr", self.attr.as_deref());
        if self.repeated {
            object.string("error", &self.detail);
        }
        object.end();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self.code);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, json::CONTENT);
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}
