//! The names and types of all settings, and the best match for a wrong name.
//!
//! The defaults contain every setting, so they serve as the list. The two tables without defaults,
//! `[[projects]]` and `[[api_keys]]`, are added here.

use strsim::normalized_damerau_levenshtein;
use toml::{Table, Value};

use super::{Problem, layer};

/// The table whose names are librdkafka's, not ours.
pub(super) const CLIENT: &str = "kafka.client";
/// One example of each table that can only come from a file.
const FILE_ONLY: &str = r#"
[[projects]]
id = 1
name = ""
tokens = [""]

[[api_keys]]
label = ""
sha256 = ""
scopes = [""]
projects = [1]
requests_per_minute = 1
"#;
/// Minimum similarity, from 0 to 1, for suggesting a known name in place of a wrong one.
const ALIKE: f64 = 0.6;

/// All settings by name, each with an example value of its type. An array holds one example element.
pub(super) struct Names {
    known: Table,
}

impl Names {
    pub(super) fn new() -> Self {
        let mut known = layer::embedded(layer::DEFAULTS);
        known.extend(layer::embedded(FILE_ONLY));
        Self { known }
    }

    /// Returns the example for a full name such as `store.path`.
    pub(super) fn example(&self, key: &str) -> Option<&Value> {
        let (first, rest) =
            key.split_once('.').map_or((key, None), |(first, rest)| (first, Some(rest)));
        let value = self.known.get(first)?;
        rest.map_or(Some(value), |rest| value.as_table()?.get(rest))
    }

    /// Returns whether the setting is a list of tables, which can only come from a file.
    pub(super) fn is_file_only(&self, key: &str) -> bool {
        matches!(self.example(key), Some(Value::Array(list)) if list.iter().any(Value::is_table))
    }

    /// Returns the problem that `key` is not a setting, suggesting the one that may have been meant.
    pub(super) fn unknown(&self, key: &str) -> Problem {
        let text = match self.nearest(key) {
            Some(name) => format!("unknown key `{key}`; did you mean `{name}`?"),
            None => format!("unknown key `{key}`; `personview config show` prints all there are"),
        };
        Problem::new(key, text)
    }

    /// Removes everything unknown or of the wrong type from a file's table, and returns a problem for each.
    /// What remains has known names and values of the same types as the defaults.
    pub(super) fn sift(&self, table: &mut Table) -> Vec<Problem> {
        let mut sieve = Sieve { names: self, problems: Vec::new(), wrong_kinds: 0 };
        sieve.table("", table, &self.known);
        sieve.problems
    }

    /// Returns the known name most similar to `key`: in the same table, or the same name in another table.
    fn nearest(&self, key: &str) -> Option<String> {
        let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
        let table = layer::setting(table);
        self.all()
            .into_iter()
            .map(|(known_table, known_name)| {
                let alike = if known_table == table {
                    normalized_damerau_levenshtein(name, &known_name)
                } else if known_name == name {
                    ALIKE
                } else {
                    0.0
                };
                (alike, join(&known_table, &known_name))
            })
            .filter(|(alike, _)| *alike >= ALIKE)
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, known)| known)
    }

    /// Returns the full name of the setting that is `flat` once its dot is an underscore.
    pub(super) fn with_underscores(&self, flat: &str) -> Option<String> {
        let mut all = self.all().into_iter().map(|(table, name)| join(&table, &name));
        all.find(|known| known.contains('.') && known.replace('.', "_") == flat)
    }

    /// Returns every known name with the table it belongs to.
    fn all(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for (section, value) in &self.known {
            all.push((String::new(), section.clone()));
            let table = match value {
                Value::Array(list) => list.first().and_then(Value::as_table),
                other => other.as_table(),
            };
            let names = table.into_iter().flat_map(Table::keys);
            all.extend(names.map(|name| (section.clone(), name.clone())));
        }
        all
    }
}

/// One pass over a file's tables, compared with the known ones.
struct Sieve<'a> {
    names: &'a Names,
    problems: Vec<Problem>,
    wrong_kinds: usize,
}

impl Sieve<'_> {
    fn table(&mut self, key: &str, table: &mut Table, known: &Table) {
        table.retain(|name, value| {
            let key = join(key, name);
            let Some(known) = known.get(name) else {
                self.problems.push(self.names.unknown(&key));
                return false;
            };
            self.keeps(&key, value, known)
        });
    }

    /// Checks a value whose name is known; returns whether to keep it.
    fn keeps(&mut self, key: &str, value: &mut Value, known: &Value) -> bool {
        match (known, &mut *value) {
            (Value::Table(_), Value::Table(table)) if key == CLIENT => {
                *table = self.flat("", table);
                true
            }
            (Value::Table(known), Value::Table(table)) => {
                self.table(key, table, known);
                true
            }
            (Value::Array(known), Value::Array(list)) => self.list(key, list, known.first()),
            (Value::Integer(_), Value::Integer(_))
            | (Value::Boolean(_), Value::Boolean(_))
            | (Value::String(_), Value::String(_) | Value::Integer(_)) => true,
            _ => {
                self.refuse(wrong_kind(key, value, known));
                false
            }
        }
    }

    /// Checks a list; returns whether to keep it. A list is kept or dropped as a whole: a project without its
    /// invalid field would be reported again, as lacking that field.
    fn list(&mut self, key: &str, list: &mut [Value], known: Option<&Value>) -> bool {
        let Some(known) = known else { return true };
        let before = self.wrong_kinds;
        for (index, value) in list.iter_mut().enumerate() {
            self.keeps(&format!("{key}[{index}]"), value, known);
        }
        self.wrong_kinds == before
    }

    fn refuse(&mut self, problem: Problem) {
        self.wrong_kinds += 1;
        self.problems.push(problem);
    }

    /// Returns librdkafka's settings under their dotted names and as text, including names written without
    /// quotes, whose dots TOML reads as nested tables.
    fn flat(&mut self, prefix: &str, table: &Table) -> Table {
        let mut flat = Table::new();
        for (name, value) in table {
            let name = join(prefix, name);
            let text = match value {
                Value::Table(table) => {
                    flat.extend(self.flat(&name, table));
                    continue;
                }
                Value::String(text) => text.clone(),
                Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => value.to_string(),
                Value::Array(_) | Value::Datetime(_) => {
                    let key = join(CLIENT, &name);
                    let known = Value::String(String::new());
                    self.refuse(wrong_kind(&key, value, &known));
                    continue;
                }
            };
            flat.insert(name, Value::String(text));
        }
        flat
    }
}

/// Returns the problem that a value has the wrong type. Values of librdkafka's settings are not quoted.
pub(super) fn wrong_kind(key: &str, value: &Value, known: &Value) -> Problem {
    let found = match value {
        Value::Table(_) | Value::Array(_) => kind(value).to_owned(),
        _ if client_setting(key).is_some() => kind(value).to_owned(),
        _ => value.to_string(),
    };
    Problem::new(key, format!("`{key}` is {found}; expected {}", kind(known)))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text in quotes",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a time",
        Value::Array(list) if list.iter().any(Value::is_table) => "a list of tables ([[…]])",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

/// Returns librdkafka's name if `key` is a setting under `kafka.client`.
pub(super) fn client_setting(key: &str) -> Option<&str> {
    key.strip_prefix(CLIENT)?.strip_prefix('.')
}

fn join(table: &str, name: &str) -> String {
    if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") }
}
