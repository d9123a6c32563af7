//! Authorization: which key gives access to which projects.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::error::Error;
use super::key::{ApiKey, Keys, Scope};
use super::parameters::Parameters;
use super::rate::Rate;
use crate::person::ProjectId;

/// The name of the query parameter or body field that may contain the key.
pub const KEY_PARAMETER: &str = "personal_api_key";

/// A project that the API serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its id, as in the URL.
    pub id: ProjectId,
    /// Its name, for display.
    pub name: String,
}

/// The projects, and the keys that give access to them.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Every project.
    pub projects: Vec<Project>,
    /// Every key.
    pub keys: Keys,
}

impl Access {
    /// Returns the project that the URL names and the key with this secret, if the key has access to
    /// the project and the scope.
    pub(super) fn admit(
        &self,
        secret: Option<&str>,
        project: &str,
        scope: Scope,
    ) -> Result<(ProjectId, &ApiKey), Error> {
        let key = self.key(secret)?;
        let project = self.project(key, project)?.id;
        if key.scopes.allows(scope) { Ok((project, key)) } else { Err(Error::missing_scope(scope)) }
    }

    /// Returns the key with this secret, and counts one request against its rate limit.
    pub(super) fn key(&self, secret: Option<&str>) -> Result<&ApiKey, Error> {
        let secret = secret.ok_or_else(Error::not_authenticated)?;
        let (key, rate) = self.keys.with_rate(secret).ok_or_else(Error::authentication_failed)?;
        rate.map_or(Ok(()), Rate::take).map_err(Error::throttled)?;
        Ok(key)
    }

    /// Returns the project that a URL names, if the key has access to it.
    pub(super) fn project(&self, key: &ApiKey, text: &str) -> Result<&Project, Error> {
        let not_found = || Error::not_found("Project not found.");
        let id = if text == "@current" {
            only_project(key)?
        } else {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten().ok_or_else(not_found)?
        };
        if !key.projects.contains(&id) {
            return Err(Error::other_project(text));
        }
        self.projects.iter().find(|project| project.id == id).ok_or_else(not_found)
    }
}

fn only_project(key: &ApiKey) -> Result<ProjectId, Error> {
    let mut projects = key.projects.iter();
    match (projects.next(), projects.next()) {
        (Some(project), None) => Ok(*project),
        (Some(_), Some(_)) => {
            let detail =
                "@current is the only project of a key, and this key has several: use an id";
            Err(Error::invalid("project_id", detail))
        }
        (None, _) => Err(Error::other_project("@current")),
    }
}

/// Returns the secret of a request: that of the `Authorization` header, else that of the query. Only the
/// first one present is tried.
pub fn secret<'r>(headers: &'r HeaderMap, parameters: &'r Parameters) -> Option<&'r str> {
    bearer(headers).or_else(|| parameters.get(KEY_PARAMETER))
}

/// Returns the bearer token of the `Authorization` header.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let header = headers.get(AUTHORIZATION)?;
    // A value that is not visible ASCII matches no key, but it counts as the key that was given.
    let Ok(text) = header.to_str() else {
        return Some("");
    };
    let (scheme, secret) = text.split_once(' ').unwrap_or((text, ""));
    scheme.eq_ignore_ascii_case("bearer").then_some(secret.trim())
}
