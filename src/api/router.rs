//! The whole URL surface on one page.

use axum::Router;
use axum::http::Method;

use super::error::Error;
use super::openapi::{self, Route, page, route};
use super::{
    State, activity, as_of, batch, change_feed, health, history, join, layers, list, mutations,
    projects, single, values,
};

/// The prefixes of a project's routes, which are equivalent.
const PREFIXES: [&str; 2] = ["/api/projects/{project}", "/api/environments/{project}"];

/// The routes of a project.
fn of_project() -> Vec<Route> {
    vec![
        route!("", get projects::one),
        route!("/persons", get list::persons).fallback(persons_come_from_events),
        route!("/persons/activity", get activity::of_project),
        route!("/persons/batch_by_distinct_ids", post batch::by_distinct_ids),
        route!("/persons/batch_by_uuids", post batch::by_uuids),
        route!("/persons/bulk_delete", post mutations::bulk_delete),
        route!("/persons/changes", get change_feed::changes),
        route!("/persons/properties_at_time", get as_of::person, post join::join),
        route!("/persons/reset_person_distinct_id", post mutations::reset),
        route!("/persons/values", get values::values),
        route!(
            "/persons/{id}",
            get single::person,
            patch mutations::patch,
            put mutations::patch,
            delete mutations::delete
        ),
        route!("/persons/{id}/activity", get activity::of_person),
        route!("/persons/{id}/delete_property", post mutations::delete_property),
        route!("/persons/{id}/diff", get history::diff),
        route!("/persons/{id}/history", get history::history),
        route!("/persons/{id}/split", post mutations::split),
        route!("/persons/{id}/update_property", post mutations::update_property),
    ]
}

/// The routes to the projects of a key.
fn of_key() -> Vec<Route> {
    vec![
        route!("/api/projects", get projects::list),
        route!("/api/environments", get projects::list),
    ]
}

/// The routes of the OpenAPI document; no key needed.
fn of_document() -> Vec<Route> {
    vec![
        route!("/openapi.json", get page::document),
        route!("/docs", get page::index),
        route!("/docs/{file}", get page::file),
    ]
}

/// The routes for monitors; no key needed.
fn of_health() -> Vec<Route> {
    vec![
        route!("/_liveness", get health::liveness),
        route!("/_readiness", get health::readiness),
        route!("/metrics", get health::metrics),
    ]
}

/// Returns the OpenAPI document of all routes.
pub fn document() -> utoipa::openapi::OpenApi {
    let others = of_key().into_iter().chain(of_document()).chain(of_health());
    openapi::document(&PREFIXES, &of_project(), &others.collect::<Vec<_>>())
}

/// Returns the path of each route, with the path that each of its handlers documents.
#[cfg(test)]
pub fn told() -> Vec<(&'static str, String)> {
    let all = of_project().into_iter().chain(of_key()).chain(of_document()).chain(of_health());
    let told = all.flat_map(|route| route.told.into_iter().map(move |told| (route.path, told)));
    told.collect()
}

/// Returns the routes of the main listener, with those for monitors unless these have their own listener.
pub fn main(state: &State) -> Router {
    let mut router = PREFIXES
        .into_iter()
        .fold(Router::new(), |router, prefix| with(router, prefix, of_project()));
    router = with(with(router, "", of_key()), "", of_document());
    if !state.settings.metrics_separate {
        router = with(router, "", of_health());
    }
    finish(router, state)
}

/// Returns the routes for monitors alone.
pub fn health(state: &State) -> Router {
    finish(with(Router::new(), "", of_health()), state)
}

fn finish(router: Router<State>, state: &State) -> Router {
    layers::around(router.fallback(not_found).with_state(state.clone()), state)
}

/// Adds routes under a prefix, each with and without a trailing slash.
fn with(router: Router<State>, prefix: &str, added: Vec<Route>) -> Router<State> {
    added.into_iter().fold(router, |router, Route { path, methods, .. }| {
        let path = format!("{prefix}{path}");
        router.route(&path, methods.clone()).route(&format!("{path}/"), methods)
    })
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
