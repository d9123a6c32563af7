//! Where settings come from and which takes precedence: environment over file over defaults.

use std::fs;
use std::path::Path;

use config::{ConfigError, File, FileFormat};
use toml::{Table, Value};

use super::names::{self, Names};
use super::{Config, Problem, check, environment};

/// The complete defaults with comments: the text that operators read.
pub(super) const DEFAULTS: &str = include_str!("../../config/default.toml");

/// The settings of one origin, with known names and values of the right types.
pub(super) struct Layer {
    origin: Origin,
    table: Table,
}

/// Where a layer was read from.
#[derive(PartialEq, Eq)]
enum Origin {
    Default,
    /// The file at this path.
    File(String),
    Environment,
}

/// Parses a TOML text that is embedded in the program.
pub(super) fn embedded(text: &str) -> Table {
    text.parse().expect("a test reads every embedded text")
}

/// Returns all layers, lowest precedence first. Settings that had to be left out are added to `problems`.
pub(super) fn collect(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
    problems: &mut Vec<Problem>,
) -> Vec<Layer> {
    let names = Names::new();
    let mut layers = vec![Layer { origin: Origin::Default, table: embedded(DEFAULTS) }];
    layers.extend(file.and_then(|path| read(path, &names, problems)));
    let table = environment::read(environment, &names, problems);
    layers.push(Layer { origin: Origin::Environment, table });
    layers
}

/// Merges the layers into one configuration. Values that cannot be read or cannot work are added to
/// `problems`. `None` if a value that cannot be read is in no layer above the defaults.
pub(super) fn merge(mut layers: Vec<Layer>, problems: &mut Vec<Problem>) -> Option<Config> {
    let mut config = loop {
        match deserialize(&layers) {
            Ok(config) => break config,
            Err(error) => {
                let (key, text) = describe(&error);
                problems.push(locate(&layers, told(&layers, &key, &text)));
                // Drops the value, so that the next lower layer's applies, and
                // continues with the next problem.
                layers.iter_mut().rev().find_map(|layer| layer.remove(&key))?;
            }
        }
    };
    let files = config.kafka.client.read_files().into_iter().map(|(name, text)| {
        let key = format!("{}.{name}", names::CLIENT);
        Problem::new(key, format!("`{}.\"{name}\"` {text}", names::CLIENT))
    });
    let found: Vec<Problem> = files.chain(check::check(&config)).collect();
    problems.extend(found.into_iter().map(|problem| locate(&layers, problem)));
    Some(config)
}

/// Reads the settings of a file; `None` if the file cannot be read or is not TOML.
fn read(path: &Path, names: &Names, problems: &mut Vec<Problem>) -> Option<Layer> {
    let mut found = Vec::new();
    let table = fs::read_to_string(path)
        .map_err(|error| format!("the configuration file cannot be read: {error}"))
        .and_then(|text| text.parse::<Table>().map_err(|error| syntax(&text, &error)))
        .map_err(|text| found.push(Problem::new("", text)))
        .map(|mut table| {
            found.extend(names.sift(&mut table));
            table
        });
    let path = path.display().to_string();
    problems.extend(found.into_iter().map(|problem| problem.located(format_args!("in {path}"))));
    Some(Layer { origin: Origin::File(path), table: table.ok()? })
}

/// Describes why a file is not valid TOML. Unlike the error's own display, this does not quote the line,
/// which may contain a secret.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    format!("line {line} is not TOML: {}", error.message())
}

fn deserialize(layers: &[Layer]) -> Result<Config, ConfigError> {
    let mut builder = config::Config::builder();
    for layer in layers {
        builder = builder.add_source(File::from_str(&layer.table.to_string(), FileFormat::Toml));
    }
    builder.build()?.try_deserialize()
}

/// Returns which setting an error is about, and what it says.
fn describe(error: &ConfigError) -> (String, String) {
    match error {
        ConfigError::Type { key: Some(key), expected, .. } => {
            (key.clone(), format!("expected {expected}"))
        }
        ConfigError::At { key: Some(key), error, .. } => (key.clone(), error.to_string()),
        // This variant omits the dot after an index.
        ConfigError::NotFound(key) => {
            (key.replace("].", "]").replace(']', "]."), "missing".to_owned())
        }
        other => (String::new(), other.to_string()),
    }
}

/// Describes a value that could not be read, quoting it as it was found.
fn told(layers: &[Layer], key: &str, text: &str) -> Problem {
    let found = layers.iter().rev().find_map(|layer| layer.find(key));
    let text = match found {
        Some(value) => format!("`{key}` is {value}; {text}"),
        None => format!("`{key}` is {text}"),
    };
    Problem::new(key, text)
}

/// Adds the origin of the setting to a problem, unless that is the defaults.
fn locate(layers: &[Layer], problem: Problem) -> Problem {
    let setting = setting(&problem.key);
    match layers.iter().rev().find(|layer| layer.find(setting).is_some()) {
        Some(Layer { origin: Origin::File(path), .. }) => {
            problem.located(format_args!("in {path}"))
        }
        Some(Layer { origin: Origin::Environment, .. }) => {
            let variable = environment::variable(setting);
            problem.located(format_args!("from {variable}"))
        }
        Some(Layer { origin: Origin::Default, .. }) | None => problem,
    }
}

/// Returns the setting that contains a key. A list always comes from one layer as a whole.
pub(super) fn setting(key: &str) -> &str {
    key.split('[').next().unwrap_or(key)
}

impl Layer {
    /// Returns the value at a full name such as `store.path` or `projects[0].id`.
    fn find(&self, key: &str) -> Option<&Value> {
        if let Some(name) = names::client_setting(key) {
            return self.find(names::CLIENT)?.get(name);
        }
        let mut parts = key.split(['.', '[']).map(|part| part.trim_end_matches(']'));
        let first = self.table.get(parts.next()?)?;
        parts.try_fold(first, |value, part| match value {
            Value::Array(list) => list.get(part.parse::<usize>().ok()?),
            other => other.get(part),
        })
    }

    /// Removes the setting that contains `key` and returns it if it was present. The defaults keep theirs.
    fn remove(&mut self, key: &str) -> Option<Value> {
        if self.origin == Origin::Default {
            return None;
        }
        match setting(key).split_once('.') {
            Some((section, name)) => {
                let section = self.table.get_mut(section).and_then(Value::as_table_mut);
                section.and_then(|section| section.remove(name))
            }
            None => self.table.remove(setting(key)),
        }
    }
}
