//! The whole URL surface on one page.

use axum::Router;
use axum::http::Method;
use axum::routing::{MethodRouter, get, post};
use tower_http::limit::RequestBodyLimitLayer;

use super::error::Error;
use super::{
    State, activity, as_of, batch, change, changes, health, history, join, layers, list, projects,
    single, values,
};

/// Where the routes of a project are; both mean the same.
const PREFIXES: [&str; 2] = ["/api/projects/{project}", "/api/environments/{project}"];

/// The routes of a project, but for those whose bodies may be of any length.
fn of_project() -> [(&'static str, MethodRouter<State>); 17] {
    let one = get(single::person).patch(change::patch).put(change::patch).delete(change::delete);
    [
        ("", get(projects::one)),
        ("/persons", get(list::persons).fallback(persons_come_from_events)),
        ("/persons/activity", get(activity::of_project)),
        ("/persons/batch_by_distinct_ids", post(batch::by_distinct_ids)),
        ("/persons/batch_by_uuids", post(batch::by_uuids)),
        ("/persons/bulk_delete", post(change::bulk_delete)),
        ("/persons/changes", get(changes::changes)),
        ("/persons/properties_at_time", get(as_of::person)),
        ("/persons/reset_person_distinct_id", post(change::reset)),
        ("/persons/values", get(values::values)),
        ("/persons/{id}", one),
        ("/persons/{id}/activity", get(activity::of_person)),
        ("/persons/{id}/delete_property", post(change::delete_property)),
        ("/persons/{id}/diff", get(history::diff)),
        ("/persons/{id}/history", get(history::history)),
        ("/persons/{id}/split", post(change::split)),
        ("/persons/{id}/update_property", post(change::update_property)),
    ]
}

/// The routes of a project that take any number of lines.
fn of_lines() -> [(&'static str, MethodRouter<State>); 1] {
    [("/persons/properties_at_time", post(join::join))]
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
    let limit = usize::try_from(state.settings.body_limit).unwrap_or(usize::MAX);
    let limited = |methods: MethodRouter<State>| methods.layer(RequestBodyLimitLayer::new(limit));
    for prefix in PREFIXES {
        for (path, methods) in of_project() {
            router = with(router, &format!("{prefix}{path}"), &limited(methods));
        }
        for (path, methods) in of_lines() {
            router = with(router, &format!("{prefix}{path}"), &methods);
        }
    }
    for path in ["/api/projects", "/api/environments"] {
        router = with(router, path, &limited(get(projects::list)));
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
