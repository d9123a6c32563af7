//! What holds for every request: it is counted, limited in size and time, and answered in one
//! shape whatever happens.

use std::time::Instant;

use axum::extract::{self, DefaultBodyLimit, MatchedPath, Request};
use axum::http::StatusCode;
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Router, http};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

use super::State;
use super::error::Error;
use super::json::CONTENT;

/// The longest path and query, in bytes.
const MAX_URL: usize = 8 << 10;

/// Puts the layers around every route, the outermost last.
pub fn around(routes: Router, state: &State) -> Router {
    let timeout = state.settings.request_timeout;
    routes
        // The limit that counts is that of the routes.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn(limit_url))
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, timeout))
        .layer(CatchPanicLayer::new())
        .layer(from_fn(shape))
        .layer(from_fn_with_state(state.clone(), observe))
}

async fn limit_url(request: Request, next: Next) -> Response {
    let length = request.uri().path_and_query().map_or(0, |url| url.as_str().len());
    if length > MAX_URL {
        return Error::uri_too_long(MAX_URL).into_response();
    }
    next.run(request).await
}

/// Gives errors that other layers answered with a text or nothing the shape of all errors.
async fn shape(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let response = next.run(request).await;
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || response.headers().get(CONTENT_TYPE) == Some(&CONTENT) {
        return response;
    }
    let mut shaped = Error::of_status(status, &method).into_response();
    if let Some(allow) = response.headers().get(ALLOW) {
        shaped.headers_mut().insert(ALLOW, allow.clone());
    }
    shaped
}

async fn observe(
    extract::State(state): extract::State<State>,
    request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let _in_flight = state.metrics.http_request();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let method: http::Method = request.method().clone();
    let response = next.run(request).await;
    let route = path.as_ref().map_or("unmatched", MatchedPath::as_str);
    state.metrics.http_answer(
        route.strip_suffix('/').unwrap_or(route),
        method.as_str(),
        response.status().as_u16(),
        begun.elapsed().as_secs_f64(),
    );
    response
}
