//! The operator's settings, in one value: [`Config`].
//!
//! The defaults are `config/default.toml`, which is compiled into the program. A configuration file overrides
//! them, and environment variables override both. Nothing is guessed: unknown names, values of the wrong type
//! and values that cannot work are all reported at once, before anything is opened or bound.
//!
//! Reading order: `sections` (the settings), `layer` and `environment` (where values come from), `names`
//! (which names and types are valid), `check` (which values are valid).

mod check;
mod client;
mod environment;
mod layer;
mod names;
mod notation;
mod rooms;
mod sections;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use crate::ingest::Partitions;
pub use check::PROJECT_ID_MAX;
pub use client::Client;
pub use environment::FILE_VARIABLE;
pub use sections::{Api, ApiKey, Ingest, Kafka, Project, Store};

use crate::api::key;

/// The token in the configuration files that operators start from.
const EXAMPLE_TOKEN: &str = "phc_change_me";

/// The complete configuration.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Config {
    /// The Kafka log that is read.
    pub kafka: Kafka,
    /// The database that holds the view.
    pub store: Store,
    /// The HTTP server.
    pub api: Api,
    /// How records become persons.
    pub ingest: Ingest,
    /// The projects. Ids and tokens are unique.
    #[serde(default)]
    pub projects: Vec<Project>,
    /// The keys that may use the API.
    #[serde(default)]
    pub api_keys: Vec<ApiKey>,
}

impl Config {
    /// Loads the configuration: the defaults, overridden by `file`, overridden by the variables of
    /// `environment` that begin with `PERSONVIEW_` (`PERSONVIEW_STORE__PATH` is `store.path`; lists are
    /// separated by commas). A setting `<name>_file` under `kafka.client` is replaced by `<name>` with
    /// the contents of that file.
    ///
    /// # Errors
    ///
    /// [`Error`] with everything that is wrong: an unreadable file, unknown names, values of the wrong
    /// type, values that cannot work.
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Error> {
        let mut problems = Vec::new();
        let layers = layer::collect(file, environment, &mut problems);
        let config = layer::merge(layers, &mut problems);
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(Error { problems }),
        }
    }

    /// Checks whether the server could start with this configuration, without contacting a
    /// broker. Start, `config check` and reload all use this check, so none accepts what another
    /// refuses. Other commands skip it.
    ///
    /// # Errors
    ///
    /// [`Error`] that explains how to add a project if there is none, or why librdkafka rejects its settings.
    pub fn check_start(&self) -> Result<(), Error> {
        let checks = [self.check_projects(), self.check_kafka()];
        let problems = checks.into_iter().filter_map(Result::err).flat_map(|error| error.problems);
        let problems: Vec<_> = problems.collect();
        if problems.is_empty() { Ok(()) } else { Err(Error { problems }) }
    }

    /// Returns what is probably not meant although the server can start with it.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.api_keys.is_empty() {
            let text = "there are no API keys, so every request is refused; `personview key create` makes one";
            notes.push(text.to_owned());
        }
        for project in &self.projects {
            if project.tokens.iter().any(|token| token == EXAMPLE_TOKEN) {
                let id = project.id;
                let text = format!(
                    "project {id} has the token {EXAMPLE_TOKEN} of the example; events carry another one"
                );
                notes.push(text);
            }
        }
        notes
    }

    fn check_projects(&self) -> Result<(), Error> {
        if !self.projects.is_empty() {
            return Ok(());
        }
        let text = "`projects` is empty, so every event would be dropped; add to the file given \
                    with --config: [[projects]] id = 1, name = \"Example\", \
                    tokens = [\"phc_example\"] (each on a line of its own)";
        Err(Error { problems: vec![Problem::new("projects", text)] })
    }

    /// Returns the parsed API keys.
    ///
    /// # Errors
    ///
    /// [`key::Error`] for a hash or a scope that [`Config::load`] would have refused.
    pub fn keys(&self) -> Result<key::Keys, key::Error> {
        let keys = self.api_keys.iter().map(key::ApiKey::try_from).collect::<Result<_, _>>()?;
        Ok(key::Keys::new(keys))
    }

    /// Returns the configuration as TOML that [`Config::load`] reads back, except that values of
    /// `kafka.client` that may be secrets are shown as `***`.
    #[must_use]
    pub fn show(&self) -> String {
        // Serializing plain tables, lists, texts and numbers cannot fail. If it did, a comment would still
        // serve the operator better than a panic.
        toml::to_string_pretty(self).unwrap_or_else(|error| format!("# {error}\n"))
    }
}

/// A problem in the configuration, described so that the operator can fix it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Full name of the setting, such as `store.path` or `projects[0].id`; empty if it is not about one.
    key: String,
    text: String,
}

impl Problem {
    fn new(key: impl Into<String>, text: impl Into<String>) -> Self {
        Self { key: key.into(), text: text.into() }
    }

    /// Appends the origin of the value to the text.
    fn located(mut self, origin: impl fmt::Display) -> Self {
        self.text = format!("{} ({origin})", self.text);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// A configuration that cannot be used, with all problems.
#[derive(Debug, thiserror::Error)]
#[error("the configuration cannot be used:{}", lines(.problems))]
pub struct Error {
    problems: Vec<Problem>,
}

impl Error {
    /// Returns all problems; never empty.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

/// Formats each problem on its own line, after the line that introduces them.
fn lines(problems: &[Problem]) -> String {
    let mut lines = vec![String::new()];
    lines.extend(problems.iter().map(ToString::to_string));
    lines.join("\n  - ")
}
