//! Settings passed to librdkafka unchanged, some of which are secrets.

use std::collections::BTreeMap;
use std::{fmt, fs, mem};

use serde::{Deserialize, Serialize, Serializer};

/// Parts of a setting's name that mark its value as a possible secret. Better too broad than too narrow: the name
/// may be misspelt.
const SECRET: [&str; 6] = ["pas", "secret", "key", "token", "jaas", "oauthbearer.config"];
/// Suffix of a setting that names the file containing the value.
const FILE: &str = "_file";

/// librdkafka settings by librdkafka's own names, such as `sasl.password`. Neither `Debug` nor `Serialize`
/// reveals a possible secret.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Client(BTreeMap<String, String>);

impl Client {
    /// Returns names and values with secrets in clear text. Only for passing them to librdkafka.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns whether a setting of this name is present.
    pub(super) fn names(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Replaces each `<name>_file` by `<name>` with the contents of that file, without one trailing line
    /// break, which editors and `echo` append. Returns the settings for which this failed, and why.
    pub(super) fn read_files(&mut self) -> Vec<(String, String)> {
        let (files, values): (BTreeMap<_, _>, BTreeMap<_, _>) =
            mem::take(&mut self.0).into_iter().partition(|(name, _)| name.ends_with(FILE));
        self.0 = values;
        let mut failures = Vec::new();
        for (file_name, path) in files {
            let name = file_name[..file_name.len() - FILE.len()].to_owned();
            if self.0.contains_key(&name) {
                failures
                    .push((file_name, format!("is set beside \"{name}\"; keep one of the two")));
                continue;
            }
            match fs::read_to_string(&path) {
                Ok(text) if without_line_end(&text).is_empty() => {
                    failures.push((file_name, format!("names {path}, which is empty")));
                }
                Ok(text) => {
                    self.0.insert(name, without_line_end(&text).to_owned());
                }
                Err(error) => failures.push((file_name, format!("cannot read {path}: {error}"))),
            }
        }
        failures
    }

    /// Returns names and values, with `***` for possible secrets.
    fn masked(&self) -> impl Iterator<Item = (&str, &str)> {
        let secret = |name: &str| SECRET.iter().any(|part| name.contains(part));
        self.iter().map(move |(name, value)| (name, if secret(name) { "***" } else { value }))
    }
}

fn without_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

impl FromIterator<(String, String)> for Client {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(settings: I) -> Self {
        Self(settings.into_iter().collect())
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.masked()).finish()
    }
}

impl Serialize for Client {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.masked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(settings: &[(&str, &str)]) -> Client {
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn secrets_are_shown_to_nobody() {
        let secrets = [
            "sasl.password",
            "sasl.pasword",
            "sasl.passwd",
            "ssl.key.password",
            "ssl.key.pem",
            "ssl.keystore.password",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.token.endpoint.url",
            "sasl.oauthbearer.config",
            "sasl.jaas.config",
        ];
        for name in secrets {
            let client = client(&[(name, "hunter2")]);
            assert!(!format!("{client:?}").contains("hunter2"), "{name}");
            assert!(!toml::to_string(&client).expect("TOML").contains("hunter2"), "{name}");
            assert_eq!(client.iter().next(), Some((name, "hunter2")));
        }
        assert!(format!("{:?}", client(&[("sasl.username", "ann")])).contains("ann"));
    }

    #[test]
    fn a_secret_comes_from_its_file_without_the_line_end() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        for (text, value) in [("a b\n", "a b"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a", "a")] {
            fs::write(file.path(), text).expect("written");
            let path = file.path().to_str().expect("a path in UTF-8");
            let mut client = client(&[("sasl.password_file", path)]);
            assert_eq!(client.read_files(), []);
            assert_eq!(client.iter().collect::<Vec<_>>(), [("sasl.password", value)]);
        }
    }

    #[test]
    fn a_missing_or_empty_file_and_a_doubled_setting_are_told() {
        let mut client = client(&[
            ("sasl.password_file", "/does/not/exist"),
            ("ssl.key.password_file", "/dev/null"),
            ("ssl.key.pem", "one"),
            ("ssl.key.pem_file", "two"),
        ]);
        let failures = client.read_files();
        assert_eq!(failures.len(), 3, "{failures:?}");
        assert!(failures[0].1.contains("/does/not/exist"), "{failures:?}");
        assert!(failures[1].1.contains("/dev/null, which is empty"), "{failures:?}");
        assert!(failures[2].1.contains("\"ssl.key.pem\""), "{failures:?}");
    }
}
