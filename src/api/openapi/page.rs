//! Serves the document as JSON, and as a page that shows it, whose files are embedded in the binary.

use std::sync::{Arc, LazyLock};

use axum::body::Body;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, IF_NONE_MATCH, LOCATION,
};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use utoipa_swagger_ui::{Config, serve};

use super::answers;
use crate::api::error::Error;
use crate::api::format::Format;
use crate::api::{read, router};

/// Lets the page load nothing from elsewhere, whatever its scripts ask for.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'",
);

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    serde_json::to_string(&router::document()).expect("memory takes every document")
});

/// The configuration of the page. Without `none` it would have an external service validate the document.
static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    let config = Config::from("../openapi.json").validator_url("none");
    Arc::new(config.deep_linking(true).display_request_duration(true))
});

/// Returns the document as indented JSON.
///
/// # Panics
/// Never: writing to memory does not fail.
#[must_use]
pub fn text() -> String {
    serde_json::to_string_pretty(&router::document()).expect("memory takes every document")
}

/// Get this document
#[utoipa::path(
    get, path = "/openapi.json", tag = "operation",
    responses(
        (status = 200, description = "The document, in OpenAPI 3.1.", body = Object,
            headers(("ETag" = String, description = "Changes with the document."))),
        (status = 304, description = "The caller has it.",
            headers(("ETag" = String, description = "Changes with the document."))),
    ),
)]
pub async fn document(headers: HeaderMap) -> Response {
    read::tagged(Format::JSON, DOCUMENT.clone().into_bytes(), headers.get_all(IF_NONE_MATCH))
}

/// See this document as a page
///
/// Swagger UI, from files that are embedded in the program.
#[utoipa::path(
    get, path = "/docs", tag = "operation",
    responses(
        (status = 200, description = "The page.", body = String, content_type = "text/html"),
        (status = 308, description = "The page is at this path with a slash."),
    ),
)]
pub async fn index(uri: Uri) -> Result<Response, Error> {
    if !uri.path().ends_with('/') {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
        // Relative, so that it works behind a proxy that serves this under another path.
        response.headers_mut().insert(LOCATION, HeaderValue::from_static("docs/"));
        return Ok(response);
    }
    shown("index.html")
}

/// Get a file of the page
#[utoipa::path(
    get, path = "/docs/{file}", tag = "operation",
    responses((status = 200, description = "The file.", content(
        (String = "text/css"), (String = "text/javascript"), (String = "text/html"),
        (String = "image/png"),
    )), answers::OrAbsent),
)]
pub async fn file(file: Result<Path<String>, PathRejection>) -> Result<Response, Error> {
    // No file has a name that is not UTF-8.
    let Path(file) = file.map_err(|_| absent())?;
    shown(&file)
}

fn absent() -> Error {
    Error::not_found("Endpoint not found.")
}

fn shown(name: &str) -> Result<Response, Error> {
    let file = serve(name, CONFIG.clone()).map_err(|error| {
        tracing::error!(%error, "a file of the page cannot be made");
        Error::internal()
    })?;
    let file = file.ok_or_else(absent)?;
    let kind = HeaderValue::try_from(file.content_type).map_err(|_| Error::internal())?;
    let mut response = Response::new(Body::from(file.bytes.into_owned()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    Ok(response)
}
