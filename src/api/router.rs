//! The whole URL surface on one page.

use axum::Router;
use axum::http::Method;
use axum::routing::{MethodRouter, any, get};

use super::error::Error;
use super::{State, as_of, health, layers, list, single};

/// Where the routes of a project are; both mean the same.
const PREFIXES: [&str; 2] = ["/api/projects/{project}", "/api/environments/{project}"];

/// The routes of a project.
fn of_project() -> [(&'static str, MethodRouter<State>); 10] {
    [
        ("/persons", get(list::persons).fallback(persons_come_from_events)),
        ("/persons/properties_at_time", get(as_of::person)),
        ("/persons/{id}", get(single::person)),
        // Names that are no ids, whose routes are still to come.
        ("/persons/activity", any(not_found)),
        ("/persons/batch_by_distinct_ids", any(not_found)),
        ("/persons/batch_by_uuids", any(not_found)),
        ("/persons/bulk_delete", any(not_found)),
        ("/persons/changes", any(not_found)),
        ("/persons/reset_person_distinct_id", any(not_found)),
        ("/persons/values", any(not_found)),
    ]
}

/// What monitors ask; no key needed.
fn of_health() -> [(&'static str, MethodRouter<State>); 3] {
    [
        ("/_liveness", get(health::liveness)),
        ("/_readiness", get(health::readiness)),
        ("/metrics", get(health::metrics)),
    ]
}

/// The server's routes; with those of health unless these have a listener of their own.
pub fn main(state: &State) -> Router {
    let mut router = Router::new();
    for prefix in PREFIXES {
        for (path, methods) in of_project() {
            router = with(router, &format!("{prefix}{path}"), &methods);
        }
    }
    if !state.settings.metrics_separate {
        router = with_health(router);
    }
    finish(router, state)
}

/// The routes of health alone.
pub fn health(state: &State) -> Router {
    finish(with_health(Router::new()), state)
}

fn with_health(mut router: Router<State>) -> Router<State> {
    for (path, methods) in of_health() {
        router = with(router, path, &methods);
    }
    router
}

fn finish(router: Router<State>, state: &State) -> Router {
    layers::around(router.fallback(not_found).with_state(state.clone()), state)
}

/// Adds a path, with and without a slash at its end.
fn with(router: Router<State>, path: &str, methods: &MethodRouter<State>) -> Router<State> {
    router.route(path, methods.clone()).route(&format!("{path}/"), methods.clone())
}

async fn not_found() -> Error {
    Error::not_found("Endpoint not found.")
}

async fn persons_come_from_events(method: Method) -> Error {
    let detail = if method == Method::POST {
        "Creating persons via this API is not allowed: a person begins with its first event. \
         Send an event, such as $identify or one with $set, to the capture endpoint or to Kafka."
            .to_owned()
    } else {
        format!("Method \"{method}\" not allowed.")
    };
    Error::method_not_allowed(detail)
}
