//! Who may read what.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::error::Error;
use super::key::{ApiKey, Keys, Scope};
use super::parameters::Parameters;
use super::rate::Rate;
use crate::person::ProjectId;

/// The name of the parameter that may hold the key.
pub const KEY_PARAMETER: &str = "personal_api_key";

/// A project that can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its id, as in the URL.
    pub id: ProjectId,
    /// For people to read.
    pub name: String,
}

/// The projects, and the keys to them.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Every project.
    pub projects: Vec<Project>,
    /// Every key.
    pub keys: Keys,
}

impl Access {
    /// The project that the URL names, where this secret opens it.
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

    /// The key whose secret this is, where it does not ask too often.
    pub(super) fn key(&self, secret: Option<&str>) -> Result<&ApiKey, Error> {
        let secret = secret.ok_or_else(Error::not_authenticated)?;
        let (key, rate) = self.keys.with_rate(secret).ok_or_else(Error::authentication_failed)?;
        rate.map_or(Ok(()), Rate::take).map_err(Error::throttled)?;
        Ok(key)
    }

    /// The project that a URL names, if it is one of the key's.
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

/// The secret of a request: that of the header, else that of the query. Only the first one
/// present is tried.
pub fn secret<'r>(headers: &'r HeaderMap, parameters: &'r Parameters) -> Option<&'r str> {
    bearer(headers).or_else(|| parameters.get(KEY_PARAMETER))
}

/// The secret of the header `Authorization`.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let header = headers.get(AUTHORIZATION)?;
    // Bytes that are no text are no key's, but a key was tried.
    let Ok(text) = header.to_str() else {
        return Some("");
    };
    let (scheme, secret) = text.split_once(' ').unwrap_or((text, ""));
    scheme.eq_ignore_ascii_case("bearer").then_some(secret.trim())
}
