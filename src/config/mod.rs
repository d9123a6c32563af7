//! What an operator may decide, in one value: [`Config`].
//!
//! The defaults are `config/default.toml`, which is part of the program. A file lies over them, and
//! the environment over both. Nothing is guessed: a name that means nothing, a value of the wrong
//! kind and a value that cannot work are each told, all of them at once, before anything is opened
//! or bound.
//!
//! Reading order: `sections` (what there is), `layer` and `environment` (where it comes from),
//! `names` (what may be said), `check` (what must hold).

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

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Config {
    /// Where the log is.
    pub kafka: Kafka,
    /// Where the view is kept.
    pub store: Store,
    /// How it is read.
    pub api: Api,
    /// How records become persons.
    pub ingest: Ingest,
    /// Whose persons there are. Ids and tokens are unique.
    #[serde(default)]
    pub projects: Vec<Project>,
    /// Who may ask.
    #[serde(default)]
    pub api_keys: Vec<ApiKey>,
}

impl Config {
    /// Reads the configuration: the defaults, over them `file`, over that the variables of
    /// `environment` that begin with `PERSONVIEW_` (`PERSONVIEW_STORE__PATH` is `store.path`; lists
    /// are separated by commas). Settings under `kafka.client` that end in `_file` are replaced by
    /// what their file holds.
    ///
    /// # Errors
    ///
    /// [`Error`] with everything that is wrong: a file that cannot be read, unknown names, values
    /// of the wrong kind, values that cannot work.
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

    /// Whether the server could start with it; asks no broker. A start, `config check` and a reload ask
    /// the same, so that none takes what another refuses. Other commands do without.
    ///
    /// # Errors
    ///
    /// [`Error`] that tells how to add a project when there is none, or what librdkafka says against
    /// its settings.
    pub fn check_start(&self) -> Result<(), Error> {
        let checks = [self.check_projects(), self.check_kafka()];
        let problems = checks.into_iter().filter_map(Result::err).flat_map(|error| error.problems);
        let problems: Vec<_> = problems.collect();
        if problems.is_empty() { Ok(()) } else { Err(Error { problems }) }
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

    /// The API keys, ready to be asked.
    ///
    /// # Errors
    ///
    /// [`key::Error`] for a hash or a scope that [`Config::load`] would have refused.
    pub fn keys(&self) -> Result<key::Keys, key::Error> {
        let keys = self.api_keys.iter().map(key::ApiKey::try_from).collect::<Result<_, _>>()?;
        Ok(key::Keys::new(keys))
    }

    /// The configuration as TOML that [`Config::load`] reads back, but for the values of
    /// `kafka.client` that may be secrets, which are `***`.
    #[must_use]
    pub fn show(&self) -> String {
        // Plain tables, lists, text and numbers always can be written; an operator who asks for the
        // configuration is still better off with a comment than with a panic.
        toml::to_string_pretty(self).unwrap_or_else(|error| format!("# {error}\n"))
    }
}

/// Something in the configuration that cannot stand, told so that it can be mended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Full name of the setting, such as `store.path` or `projects[0].id`; empty when it is none.
    key: String,
    text: String,
}

impl Problem {
    fn new(key: impl Into<String>, text: impl Into<String>) -> Self {
        Self { key: key.into(), text: text.into() }
    }

    /// Adds the place that the value came from.
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

/// A configuration that cannot be used, with all reasons.
#[derive(Debug, thiserror::Error)]
#[error("the configuration cannot be used:{}", lines(.problems))]
pub struct Error {
    problems: Vec<Problem>,
}

impl Error {
    /// What is wrong; never empty.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

/// Each problem on a line of its own, after the line that they follow.
fn lines(problems: &[Problem]) -> String {
    let mut lines = vec![String::new()];
    lines.extend(problems.iter().map(ToString::to_string));
    lines.join("\n  - ")
}
