//! Settings from the environment: `PERSONVIEW_STORE__PATH` is `store.path`.
//!
//! The value of a variable is text. The type of the setting decides how it is read, so a password
//! made of digits stays a text.

use toml::{Table, Value};

use super::names::{self, Names};
use super::{Problem, layer};

/// Prefix of all our variables.
const PREFIX: &str = "PERSONVIEW_";
/// The variable that names the configuration file, like `--config`. It is not a setting.
pub const FILE_VARIABLE: &str = "PERSONVIEW_CONFIG";
/// Separates table and setting in a variable's name, in place of a dot.
const SEPARATOR: &str = "__";

/// Builds a table from the variables. Variables that make no sense are added to `problems`.
pub(super) fn read(
    environment: impl Iterator<Item = (String, String)>,
    names: &Names,
    problems: &mut Vec<Problem>,
) -> Table {
    let mut table = Table::new();
    for (variable, text) in environment {
        let Some(path) = variable.strip_prefix(PREFIX).filter(|_| variable != FILE_VARIABLE) else {
            continue;
        };
        match setting(path, &text, names) {
            Ok((key, value)) => insert(&mut table, &key, value),
            Err(problem) => problems.push(problem.located(format_args!("from {variable}"))),
        }
    }
    table
}

/// Returns the name of the variable that sets `key`.
pub(super) fn variable(key: &str) -> String {
    let key = match names::client_setting(key) {
        Some(name) => format!("{}.{}", names::CLIENT, name.replace('.', "_")),
        None => layer::setting(key).to_owned(),
    };
    format!("{PREFIX}{}", key.replace('.', SEPARATOR).to_uppercase())
}

/// Returns the setting for one variable: its full name, and the value in the setting's type.
fn setting(path: &str, text: &str, names: &Names) -> Result<(String, Value), Problem> {
    let key = path.to_lowercase().replace(SEPARATOR, ".");
    if let Some(name) = names::client_setting(&key).filter(|name| !name.is_empty()) {
        let key = format!("{}.{}", names::CLIENT, client_name(name));
        return Ok((key, Value::String(text.to_owned())));
    }
    let section = key.split('.').next().unwrap_or(&key);
    if names.is_file_only(section) {
        let text = format!(
            "`{section}` cannot come from the environment; write [[{section}]] in the \
             file given with --config"
        );
        return Err(Problem::new(section, text));
    }
    match names.example(&key) {
        Some(example) => coerce(&key, text, example).map(|value| (key, value)),
        None if is_service_link(path) => Err(service_link(&key)),
        None => Err(misspelt_separator(&key, names).unwrap_or_else(|| names.unknown(&key))),
    }
}

/// Returns the problem of a variable that has `_` where [`SEPARATOR`] is due, if that is its only mistake.
fn misspelt_separator(key: &str, names: &Names) -> Option<Problem> {
    let flat = key.replace('.', "_");
    let client = format!("{}_", names::CLIENT.replace('.', "_"));
    let meant = match flat.strip_prefix(&client) {
        Some("") => return None,
        Some(name) => format!("{}.{name}", names::CLIENT),
        None => names.with_underscores(&flat)?,
    };
    let text = format!("unknown key `{key}`; did you mean {}?", variable(&meant));
    Some(Problem::new(key, text))
}

/// Converts a name with underscores to librdkafka's name: its names have dots, and only our suffix
/// `_file` keeps its underscore.
fn client_name(name: &str) -> String {
    match name.strip_suffix("_file") {
        Some(name) => format!("{}_file", name.replace('_', ".")),
        None => name.replace('_', "."),
    }
}

/// Parses a text as a value of the type of `example`.
fn coerce(key: &str, text: &str, example: &Value) -> Result<Value, Problem> {
    let value = match example {
        Value::Integer(_) => text.trim().parse().map(Value::Integer).ok(),
        Value::Boolean(_) => text.trim().parse().map(Value::Boolean).ok(),
        Value::String(_) => Some(Value::String(text.to_owned())),
        Value::Array(_) => Some(Value::Array(list(text))),
        Value::Table(_) => {
            let text = format!(
                "`{key}` is a table; set what is in it, such as {}{SEPARATOR}…",
                variable(key)
            );
            return Err(Problem::new(key, text));
        }
        Value::Float(_) | Value::Datetime(_) => None,
    };
    value.ok_or_else(|| names::wrong_kind(key, &Value::String(text.to_owned()), example))
}

/// Splits a text at commas into trimmed, non-empty elements.
fn list(text: &str) -> Vec<Value> {
    text.split(',')
        .map(str::trim)
        .filter(|element| !element.is_empty())
        .map(|element| Value::String(element.to_owned()))
        .collect()
}

/// Inserts a value into its table, creating the table if it is missing.
fn insert(table: &mut Table, key: &str, value: Value) {
    let (section, name) = match names::client_setting(key) {
        Some(name) => (names::CLIENT, name),
        None => key.split_once('.').unwrap_or(("", key)),
    };
    let mut inner = table;
    for part in section.split('.').filter(|part| !part.is_empty()) {
        let made = inner.entry(part).or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(made) = made else { return };
        inner = made;
    }
    inner.insert(name.to_owned(), value);
}

/// Returns whether Kubernetes may have set the variable. In every pod it sets such variables for each
/// Service, here for one named `personview`.
fn is_service_link(path: &str) -> bool {
    let after_name = ["SERVICE_HOST", "SERVICE_PORT", "PORT"];
    let is_link = after_name.iter().any(|end| path.ends_with(end))
        || ["SERVICE_PORT_", "PORT_"].iter().any(|part| path.contains(part));
    is_link && !path.contains(SEPARATOR)
}

fn service_link(key: &str) -> Problem {
    let text = format!(
        "unknown key `{key}`; if Kubernetes has set it for a Service, put \
         `enableServiceLinks: false` into the pod's spec"
    );
    Problem::new(key, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the table built from some variables, or the problems with them.
    fn read_all(variables: &[(&str, &str)]) -> Result<String, Vec<String>> {
        let environment =
            variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        let mut problems = Vec::new();
        let table = read(environment, &Names::new(), &mut problems);
        if problems.is_empty() {
            Ok(table.to_string())
        } else {
            Err(problems.iter().map(ToString::to_string).collect())
        }
    }

    #[test]
    fn the_kind_of_the_setting_decides_what_a_text_becomes() {
        let table = read_all(&[
            ("HOME", "/root"),
            ("PERSONVIEW_STORE__PATH", "007"),
            ("PERSONVIEW_STORE__SYNC_WRITES", "true"),
            ("PERSONVIEW_INGEST__BATCH_RECORDS", "12"),
            ("PERSONVIEW_KAFKA__TOPICS", "a, b,c"),
            ("PERSONVIEW_KAFKA__CLIENT__SASL_PASSWORD", "0123"),
            ("PERSONVIEW_KAFKA__CLIENT__SSL_KEY_PEM_FILE", "/key"),
        ]);
        let expected = "[ingest]\nbatch_records = 12\n\n[kafka]\ntopics = [\"a\", \"b\", \"c\"]\n\n\
                        [kafka.client]\n\"sasl.password\" = \"0123\"\n\"ssl.key.pem_file\" = \"/key\"\n\n\
                        [store]\npath = \"007\"\nsync_writes = true\n";
        assert_eq!(table.expect("all known"), expected);
    }

    #[test]
    fn each_variable_that_makes_no_sense_is_told() {
        let problems = read_all(&[
            ("PERSONVIEW_STORE__PAHT", "data"),
            ("PERSONVIEW_STORE_PATH", "data"),
            ("PERSONVIEW_KAFKA__CLIENT_SASL_PASSWORD", "x"),
            ("PERSONVIEW_", "x"),
            ("PERSONVIEW_KAFKA__CLIENT__", "x"),
            ("PERSONVIEW_INGEST__BATCH_RECORDS", "many"),
            ("PERSONVIEW_STORE__SYNC_WRITES", "perhaps"),
            ("PERSONVIEW_STORE", "data"),
            ("PERSONVIEW_PROJECTS__0__ID", "1"),
            ("PERSONVIEW_SERVICE_HOST", "10.0.0.1"),
        ])
        .expect_err("nothing right");
        let expected = [
            "unknown key `store.paht`; did you mean `store.path`? (from PERSONVIEW_STORE__PAHT)",
            "unknown key `store_path`; did you mean PERSONVIEW_STORE__PATH? (from PERSONVIEW_STORE_PATH)",
            "unknown key `kafka.client_sasl_password`; did you mean \
             PERSONVIEW_KAFKA__CLIENT__SASL_PASSWORD? (from PERSONVIEW_KAFKA__CLIENT_SASL_PASSWORD)",
            "unknown key ``; `personview config show` prints all there are (from PERSONVIEW_)",
            "unknown key `kafka.client.`; `personview config show` prints all there are \
             (from PERSONVIEW_KAFKA__CLIENT__)",
            "`ingest.batch_records` is \"many\"; expected a whole number \
             (from PERSONVIEW_INGEST__BATCH_RECORDS)",
            "`store.sync_writes` is \"perhaps\"; expected true or false \
             (from PERSONVIEW_STORE__SYNC_WRITES)",
            "`store` is a table; set what is in it, such as PERSONVIEW_STORE__… \
             (from PERSONVIEW_STORE)",
            "`projects` cannot come from the environment; write [[projects]] in the file given \
             with --config (from PERSONVIEW_PROJECTS__0__ID)",
            "unknown key `service_host`; if Kubernetes has set it for a Service, put \
             `enableServiceLinks: false` into the pod's spec (from PERSONVIEW_SERVICE_HOST)",
        ];
        assert_eq!(problems, expected);
    }

    #[test]
    fn a_key_knows_its_variable() {
        assert_eq!(variable("store.path"), "PERSONVIEW_STORE__PATH");
        assert_eq!(variable("kafka.topics[1]"), "PERSONVIEW_KAFKA__TOPICS");
        assert_eq!(
            variable("kafka.client.sasl.password"),
            "PERSONVIEW_KAFKA__CLIENT__SASL_PASSWORD"
        );
    }
}
