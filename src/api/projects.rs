//! `GET /api/projects` and `GET /api/projects/:project_id`: the projects of a key, where connectors begin.

use axum::extract;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use uuid::Uuid;

use super::access::{self, Project};
use super::error::Error;
use super::format::Format;
use super::json::{Object, array};
use super::openapi::{answers, bodies, parameters};
use super::parameters::Parameters;
use super::{State, read};
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
    let projects: Vec<_> = projects.collect();
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    object.number("count", projects.len() as u64);
    object.raw("next", "null");
    object.raw("previous", "null");
    array(object.field("results"), projects, project);
    object.end();
    format.answer(StatusCode::OK, out)
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
    let mut out = Vec::new();
    project(&mut out, access.project(key, &id)?);
    format.answer(StatusCode::OK, out)
}

fn project(out: &mut Vec<u8>, Project { id, name }: &Project) {
    let uuid = |text: &str| Uuid::new_v5(&NAMESPACE, text.as_bytes());
    let mut object = Object::new(out);
    object.number("id", u64::from(*id));
    object.optional("uuid", Some(uuid(&format!("project:{id}"))));
    object.string("name", name);
    // There is only one organization, the operator of this server.
    object.optional("organization", Some(uuid("organization")));
    object.string("timezone", "UTC");
    object.end();
}
