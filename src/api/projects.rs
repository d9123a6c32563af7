//! `GET /api/projects` and `GET /api/projects/:project_id`: the projects of a key, where connectors begin.

use axum::extract;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use uuid::Uuid;

use super::access;
use super::error::Error;
use super::format::Format;
use super::openapi::{answers, bodies, parameters};
use super::parameters::Parameters;
use super::{State, json, read};
use crate::person::identity::NAMESPACE;

/// List the projects of a key
#[utoipa::path(
    get, path = "/api/projects", tag = "projects",
    params(parameters::Answer),
    responses(answers::OfKey<bodies::Projects>),
    extensions(("x-required-scope" = json!("any"))),
)]
pub async fn list(
    extract::State(state): extract::State<State>,
    parts: Parts,
) -> Result<Response, Error> {
    let parameters = Parameters::parse(parts.uri.query().unwrap_or_default())?;
    let access = state.access();
    let key = access.key(access::secret(&parts.headers, &parameters))?;
    let format = Format::of(&parameters, &parts.headers)?;
    let projects = access.projects.iter().filter(|project| key.projects.contains(&project.id));
    let results: Vec<_> = projects.map(project).collect();
    let count = results.len() as u64;
    let projects = bodies::Projects { count, next: (), previous: (), results };
    format.answer(StatusCode::OK, json::of(&projects))
}

/// Get one project of a key
#[utoipa::path(
    get, path = "", tag = "projects",
    params(parameters::Answer),
    responses(answers::OfKey<bodies::Project>),
    extensions(("x-required-scope" = json!("any"))),
)]
pub async fn one(
    extract::State(state): extract::State<State>,
    mut parts: Parts,
) -> Result<Response, Error> {
    let parameters = Parameters::parse(parts.uri.query().unwrap_or_default())?;
    let id = read::project_of(&mut parts, &state).await?;
    let access = state.access();
    let key = access.key(access::secret(&parts.headers, &parameters))?;
    let format = Format::of(&parameters, &parts.headers)?;
    format.answer(StatusCode::OK, json::of(&project(access.project(key, &id)?)))
}

fn project(access::Project { id, name }: &access::Project) -> bodies::Project {
    let uuid = |text: &str| Uuid::new_v5(&NAMESPACE, text.as_bytes());
    bodies::Project {
        id: u64::from(*id),
        uuid: uuid(&format!("project:{id}")),
        name: name.clone(),
        // There is only one organization, the operator of this server.
        organization: uuid("organization"),
        timezone: "UTC",
    }
}
