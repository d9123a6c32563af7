//! The layer around every route: requests are counted, limited in size and time, and answered
//! in one shape if they fail.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State as Extracted};
use axum::http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use hyper::body::Body as _;

use super::State;
use super::error::{Code, Error};
use super::json::CONTENT;
use super::pieces::in_pieces;

/// The longest path and query, in bytes.
const MAX_URL: usize = 8 << 10;

/// Wraps every route in one layer. It is a single one, as each layer costs every request some allocations.
pub fn around(routes: Router, state: &State) -> Router {
    routes.layer(from_fn_with_state(state.clone(), observe))
}

/// Answers a request, and counts it and its duration.
async fn observe(Extracted(state): Extracted<State>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let _in_flight = state.metrics.http_request();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let response = limited(&state, request, next).await;
    let response = shaped(response, &method);
    if let Some(code) = response.extensions().get::<Code>() {
        state.metrics.http_errors(code.into(), 1);
    }
    let route = path.as_ref().map_or("unmatched", MatchedPath::as_str);
    state.metrics.http_answer(
        route.strip_suffix('/').unwrap_or(route),
        method.as_str(),
        response.status().as_str(),
        begun.elapsed().as_secs_f64(),
    );
    in_pieces(response)
}

/// Answers within the request timeout, even if the handler panics.
async fn limited(state: &State, mut request: Request, next: Next) -> Response {
    let length = request.uri().path_and_query().map_or(0, |url| url.as_str().len());
    if length > MAX_URL {
        return Error::uri_too_long(MAX_URL).into_response();
    }
    let encoding = request.headers().get(CONTENT_ENCODING);
    let is_encoded =
        |encoding: &&HeaderValue| !encoding.as_bytes().eq_ignore_ascii_case(b"identity");
    // Without a body the header means nothing; some clients send it with every request.
    if !request.body().is_end_stream()
        && let Some(encoding) = encoding.filter(is_encoded)
    {
        return Error::unsupported_encoding(encoding).into_response();
    }
    // This does not limit the join, which reads its body as a stream and never as a whole.
    let most = usize::try_from(state.settings.body_limit).unwrap_or(usize::MAX);
    DefaultBodyLimit::max(most).apply(&mut request);
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(state.settings.request_timeout, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default();
            tracing::error!(panic = text, "a request panicked; this is a bug");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Err(_) => StatusCode::GATEWAY_TIMEOUT.into_response(),
    }
}

/// Gives an error that was answered with plain text or without a body, as by axum, the shape of all errors.
fn shaped(response: Response, method: &Method) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || response.headers().get(CONTENT_TYPE) == Some(&CONTENT) {
        return response;
    }
    let mut shaped = Error::of_status(status, method).into_response();
    if let Some(allow) = response.headers().get(ALLOW) {
        shaped.headers_mut().insert(ALLOW, allow.clone());
    }
    shaped
}
