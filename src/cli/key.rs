//! `personview key`: creates API keys, of which only the hash is stored.

use std::io::{BufRead, Write};

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::api::key;
use crate::config::ApiKey;

/// A configuration file that contains only one key.
#[derive(Serialize)]
struct Document<'a> {
    api_keys: [&'a ApiKey; 1],
}

/// Creates a key with the label, scopes and projects of `wanted`. Prints its table to `output`, which may be
/// appended to a configuration file, and its secret to `aside`.
///
/// # Errors
///
/// If the system provides no random bytes, or the output cannot be written.
pub fn create(
    wanted: ApiKey,
    output: &mut impl Write,
    aside: &mut impl Write,
) -> anyhow::Result<()> {
    let secret = key::generate_secret()?;
    let api_key = ApiKey { sha256: key::to_hex(&key::hash(&secret)), ..wanted };
    let table = toml::to_string(&Document { api_keys: [&api_key] })?;
    writeln!(aside, "{secret}")?;
    writeln!(
        aside,
        "# Above: the key, shown this once. Below: what the configuration file needs."
    )?;
    // The file may lack the end of its last line.
    write!(output, "\n{table}")?;
    Ok(())
}

/// Prints the hash of the secret on the first line of `input`.
///
/// # Errors
///
/// If the line is empty or cannot be read, or the output cannot be written.
pub fn hash(input: impl BufRead, output: &mut impl Write) -> anyhow::Result<()> {
    let mut lines = input.lines();
    let secret = lines.next().transpose().context("standard input cannot be read")?;
    let secret = secret.unwrap_or_default();
    let secret = secret.trim();
    ensure!(!secret.is_empty(), "standard input is empty; write the key there");
    writeln!(output, "{}", key::to_hex(&key::hash(secret)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_new_key_opens_the_door_once_its_table_is_appended() {
        let wanted = ApiKey {
            label: "the \"dashboard\"".to_owned(),
            sha256: String::new(),
            scopes: vec!["person:read".to_owned()],
            projects: vec![1],
            requests_per_minute: Some(600),
        };
        let (mut output, mut aside) = (Vec::new(), Vec::new());
        create(wanted, &mut output, &mut aside).expect("a key");
        let table = String::from_utf8(output).expect("text");
        let aside = String::from_utf8(aside).expect("text");
        let secret = aside.lines().next().expect("a line");
        assert!(!table.contains(secret));

        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("keys.toml");
        let project = "[[projects]]\nid = 1\nname = \"a\"\ntokens = [\"t\"]";
        std::fs::write(&file, format!("{project}{table}")).expect("written");
        let config = Config::load(Some(&file), std::iter::empty()).expect("a configuration");
        let keys = config.keys().expect("keys");
        assert_eq!(keys.find(secret).expect("the key").label, "the \"dashboard\"");
    }

    #[test]
    fn a_hash_is_of_the_line_without_its_end() {
        let expected = "a906981b091132060161999629c98475da45efb03b980e60185b6ddca09689d1\n";
        for input in ["phx_local", "phx_local\n", " phx_local\r\nmore\n"] {
            let mut output = Vec::new();
            hash(input.as_bytes(), &mut output).expect("a hash");
            assert_eq!(String::from_utf8(output).expect("text"), expected);
        }
    }

    #[test]
    fn empty_input_has_no_hash() {
        for input in ["", "\n", " \n"] {
            assert!(hash(input.as_bytes(), &mut std::io::sink()).is_err());
        }
    }
}
