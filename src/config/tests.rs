//! Tests of the configuration from the operator's view: files and variables in, settings or errors out.

mod kafka;

use std::fs;
use std::time::Duration;

use super::*;
use crate::fuzz;

const MIB: u64 = 1024 * 1024;

/// Loads a file with this text, and these environment variables.
fn load(file: &str, variables: &[(&str, &str)]) -> Result<Config, Error> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("test.toml");
    fs::write(&path, file).expect("written");
    let environment = variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    Config::load(Some(&path), environment)
}

/// Returns the problems, each without its origin in parentheses, which is `test.toml`.
fn problems(file: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let error = load(file, variables).expect_err("something wrong");
    let text = |problem: &Problem| {
        let text = problem.to_string();
        text.rsplit_once(" (in ").map_or(text.clone(), |(text, _)| text.to_owned())
    };
    error.problems().iter().map(text).collect()
}

fn defaults() -> Config {
    Config::load(None, std::iter::empty()).expect("the defaults")
}

#[test]
fn the_defaults_name_every_setting_and_no_other() {
    let mut shown: toml::Table = defaults().show().parse().expect("TOML");
    shown.retain(|name, _| name != "projects" && name != "api_keys");
    let written = layer::embedded(layer::DEFAULTS);
    let names = |table: &toml::Table| -> Vec<String> {
        let of_section = |(section, value): (&String, &toml::Value)| -> Vec<String> {
            let names = value.as_table().expect("a section").keys();
            names.map(|name| format!("{section}.{name}")).collect()
        };
        table.iter().flat_map(of_section).collect()
    };
    assert_eq!(names(&shown), names(&written));
}

/// Returns the name, default and explanation of every setting in the file of defaults.
fn explained() -> Vec<(String, String, String)> {
    let (mut settings, mut section, mut explanation) = (Vec::new(), "", Vec::new());
    for line in layer::DEFAULTS.lines() {
        if let Some(text) = line.strip_prefix("# ") {
            explanation.extend(text.split_whitespace());
        } else if let Some((name, value)) = line.split_once(" = ") {
            let text = explanation.join(" ");
            settings.push((format!("{section}.{name}"), value.to_owned(), text));
            explanation.clear();
        } else {
            section = line.trim_matches(['[', ']']);
            explanation.clear();
        }
    }
    settings
}

#[test]
fn the_page_on_configuration_says_of_every_setting_what_the_defaults_say() {
    let page = include_str!("../../docs/configuration.md");
    let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
    let settings = explained();
    assert!(settings.len() > 20 && settings.iter().all(|(.., text)| !text.is_empty()));
    for (name, default, explanation) in &settings {
        let variable = format!("PERSONVIEW_{}", name.to_uppercase().replace('.', "__"));
        let row = format!("| `{name}` | `{default}` | `{variable}` |");
        assert!(page.lines().any(|line| line == row), "{row}");
        let text = format!("`{name}`: {explanation}");
        assert!(words.contains(&text), "{text}");
    }
    let rows = page.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, settings.len(), "the page has a setting that there is not");
}

#[test]
fn the_example_files_can_be_served() {
    for file in ["config/local.toml", "config/production.toml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        // The files do not contain the password.
        let password = ("PERSONVIEW_KAFKA__CLIENT__SASL_PASSWORD".to_owned(), "x".to_owned());
        let config = Config::load(Some(&path), std::iter::once(password)).expect(file);
        config.check_start().expect(file);
        config.keys().expect(file);
    }
}

#[test]
fn what_is_left_of_the_example_is_noted() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/production.toml");
    let text = fs::read_to_string(path).expect("config/production.toml");
    let password = ("PERSONVIEW_KAFKA__CLIENT__SASL_PASSWORD", "x");
    let notes = load(&text, &[password]).expect("all right").notes();
    assert!(notes[0].contains("no API keys") && notes[1].contains("phc_change_me"), "{notes:?}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/local.toml");
    let notes = Config::load(Some(&path), std::iter::empty()).expect("all right").notes();
    assert_eq!(notes, [""; 0]);
}

#[test]
fn the_local_key_opens_the_local_project() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/local.toml");
    let config = Config::load(Some(&path), std::iter::empty()).expect("config/local.toml");
    let keys = config.keys().expect("keys");
    let key = keys.find("phx_local").expect("the local key");
    assert_eq!(key.label, "local");
    assert!(key.projects.contains(&1) && key.scopes.allows(key::Scope::PersonWrite));
}

#[test]
fn the_environment_lies_over_the_file_and_the_file_over_the_defaults() {
    let file = "[store]\npath = \"file\"\nmemory = \"1GiB\"\n[kafka]\ntopics = [\"a\"]\n";
    let variables = [
        ("PERSONVIEW_STORE__PATH", "environment"),
        ("PERSONVIEW_KAFKA__TOPICS", "b,c"),
        ("PERSONVIEW_INGEST__PARTITIONS", "1/3"),
        ("PERSONVIEW_API__METRICS_LISTEN", "[::1]:9000"),
        ("PATH", "/bin"),
    ];
    let config = load(file, &variables).expect("all right");
    assert_eq!(config.store.path, Path::new("environment"));
    assert_eq!(config.store.memory, 1024 * MIB);
    assert_eq!(config.kafka.topics, ["b", "c"]);
    assert_eq!(config.ingest.partitions, Partitions::Share { ordinal: 1, of: 3 });
    assert_eq!(config.api.health_address(), "[::1]:9000".parse().expect("an address"));
    assert_eq!(config.ingest.batch_records, 5000);
    assert_eq!(config.api.request_timeout, Duration::from_secs(30));
}

#[test]
fn settings_for_librdkafka_pass_through_quoted_or_not() {
    let file = "[kafka.client]\n\"sasl.username\" = \"ann\"\nsasl.password = \"file\"\n\
                ssl.key.password = 12\n\"enable.idempotence\" = true\n";
    let config = load(file, &[("PERSONVIEW_KAFKA__CLIENT__SASL_PASSWORD", "0123")]);
    let client = config.expect("all right").kafka.client;
    let expected = [
        ("enable.idempotence", "true"),
        ("sasl.password", "0123"),
        ("sasl.username", "ann"),
        ("ssl.key.password", "12"),
    ];
    assert_eq!(client.iter().collect::<Vec<_>>(), expected);
}

#[test]
fn the_shown_configuration_can_be_loaded() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/local.toml");
    let text = fs::read_to_string(path).expect("config/local.toml");
    let odd =
        [("PERSONVIEW_API__BODY_LIMIT", "1000001"), ("PERSONVIEW_API__POSITION_WAIT", "1500us")];
    let config = load(&text, &odd).expect("all right");
    assert_eq!(load(&config.show(), &[]).expect("what was shown"), config);
}

#[test]
fn unknown_names_are_told_all_at_once_with_the_nearest_one() {
    let file = "[kafka]\nbootstrap_server = \"x\"\npath = \"data\"\n[stroe]\n[api]\nzzz = 1\n\
                [[projects]]\nid = 1\nname = \"a\"\ntokens = [\"t\"]\nlabels = 1\ntoken = \"t\"\n";
    let variables = [("PERSONVIEW_KAFKA__TOPIC", "a")];
    let expected = [
        "unknown key `api.zzz`; `personview config show` prints all there are",
        "unknown key `kafka.bootstrap_server`; did you mean `kafka.bootstrap_servers`?",
        "unknown key `kafka.path`; did you mean `store.path`?",
        "unknown key `projects[0].labels`; `personview config show` prints all there are",
        "unknown key `projects[0].token`; did you mean `projects.tokens`?",
        "unknown key `stroe`; did you mean `store`?",
        "unknown key `kafka.topic`; did you mean `kafka.topics`? (from PERSONVIEW_KAFKA__TOPIC)",
    ];
    assert_eq!(problems(file, &variables), expected);
}

#[test]
fn wrong_kinds_and_values_are_told_all_at_once() {
    let file = "[store]\nmemory = \"much\"\nsync_writes = 1\n\
                [api]\nlisten = \"localhost\"\nrequest_timeout = 30\n\
                [ingest]\nbatch_records = true\nready_lag = -1\npartitions = \"3/3\"\n\
                [kafka]\ntopics = \"a\"\nclient = { \"sasl.password\" = [1] }\n\
                [[projects]]\nid = -1\ntokens = [\"t\"]\n";
    let found = problems(file, &[("PERSONVIEW_API__POSITION_WAIT", "1")]);
    let expected = [
        "`ingest.batch_records` is true; expected a whole number",
        "`kafka.client.sasl.password` is a list; expected a text in quotes",
        "`kafka.topics` is \"a\"; expected a list",
        "`store.sync_writes` is 1; expected true or false",
        "`store.memory` is \"much\"; expected a size with its unit, such as \"64MiB\"",
        "`api.listen` is \"localhost\"; expected a numeric address and a port, such as \
         \"127.0.0.1:8000\"",
        "`api.request_timeout` is 30; expected a duration with its unit, such as \"10s\"",
        "`api.position_wait` is \"1\"; expected a duration with its unit, such as \"10s\" \
         (from PERSONVIEW_API__POSITION_WAIT)",
        "`ingest.partitions` is \"3/3\"; expected \"all\", or \"ordinal/of\" with an ordinal from \
         0 that is less than the number of instances, such as \"0/3\"",
    ];
    for text in expected {
        assert!(found.iter().any(|found| found == text), "{text}\n{found:#?}");
    }
    for key in ["`ingest.ready_lag` is -1", "`projects[0]"] {
        assert!(found.iter().any(|found| found.starts_with(key)), "{key}\n{found:#?}");
    }
    assert_eq!(found.len(), expected.len() + 2, "{found:#?}");
}

#[test]
fn an_entry_that_lacks_something_is_told() {
    let found = problems("[[projects]]\nid = 1\nname = \"a\"\n", &[]);
    assert_eq!(found, ["`projects[0].tokens` is missing"]);
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_told_without_its_secrets() {
    let missing = Config::load(Some(Path::new("/does/not/exist.toml")), std::iter::empty());
    let error = missing.expect_err("no file").to_string();
    assert!(error.contains("/does/not/exist.toml"), "{error}");

    let file = "[kafka.client]\n\n\"sasl.password\" = \"hunter2\n";
    let error = load(file, &[]).expect_err("no TOML").to_string();
    assert!(error.contains("line 3") && error.contains("test.toml"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn settings_that_cannot_work_are_reported_all_at_once() {
    let file = "[kafka]\ntopics = [\"a\", \"a\", \"b c\"]\ncommand_topic = \"a\"\ngroup = \"\"\n\
                bootstrap_servers = \"\"\nclient = { \"group.id\" = \"x\", isolation.level = \"y\" }\n\
                [store]\npath = \"\"\nmemory = \"1MiB\"\n\
                [api]\nmetrics_listen = \"127.0.0.1:8000\"\nposition_wait = \"30s\"\nbody_limit = 0\n\
                page_limit = 0\njoin_spool = \"1KiB\"\nconnections = 0\n\
                [ingest]\nbatch_records = 0\nqueue = \"1KiB\"\n";
    let keys: Vec<String> = problems(file, &[])
        .iter()
        .filter_map(|text| text.split('`').nth(1).map(str::to_owned))
        .collect();
    let expected = [
        "kafka.bootstrap_servers",
        "kafka.topics[1]",
        "kafka.topics[2]",
        "kafka.command_topic",
        "kafka.group",
        "kafka.client.\"group.id\"",
        "kafka.client.\"isolation.level\"",
        "store.path",
        "store.memory",
        "api.metrics_listen",
        "api.connections",
        "api.body_limit",
        "api.page_limit",
        "api.join_spool",
        "api.position_wait",
        "ingest.batch_records",
        "ingest.queue",
    ];
    assert_eq!(keys, expected);
}

#[test]
fn projects_and_keys_that_cannot_work_are_told_all_at_once() {
    let file = "[[projects]]\nid = 0\nname = \"a\"\ntokens = []\n\
                [[projects]]\nid = 2\nname = \"b\"\ntokens = [\"t\", \"\"]\n\
                [[projects]]\nid = 2\nname = \"c\"\ntokens = [\"t\"]\n\
                [[api_keys]]\nlabel = \"\"\nsha256 = \"phx_local\"\nscopes = [\"persons:read\"]\n\
                projects = [2, 3]\n\
                [[api_keys]]\nlabel = \"x\"\nsha256 = \"\"\nscopes = []\nprojects = []\n\
                requests_per_minute = 0\n";
    let known = "person:read, person:write, activity_log:read, activity_log:write, project:read, *";
    let expected = [
        "`projects[0].id` is 0; write a number from 1 to 2147483647".to_owned(),
        "`projects[0].tokens` is empty; write at least one token, such as \"phc_example\"".to_owned(),
        "`projects[1].tokens[1]` is empty; write for example phc_example".to_owned(),
        "`projects[2].id` is the same as `projects[1].id`; give each project an id of its own"
            .to_owned(),
        "`projects[2].tokens[0]` is the same as `projects[1].tokens[0]`; a token names one \
         project; take one of them out"
            .to_owned(),
        "`api_keys[0].label` is empty; write for example dashboard".to_owned(),
        "`api_keys[0].sha256` is not a hash: a SHA-256 is 64 hexadecimal digits; `personview key hash` \
         prints them for a key"
            .to_owned(),
        format!("`api_keys[0].scopes[0]` is \"persons:read\", which is not a scope; use some of: {known}"),
        "`api_keys[0].projects[1]` is 3, but no [[projects]] table has that id; add one or take \
         it out"
            .to_owned(),
        "`api_keys[1].sha256` is not a hash: a SHA-256 is 64 hexadecimal digits; `personview key hash` \
         prints them for a key"
            .to_owned(),
        format!("`api_keys[1].scopes` is empty, so the key may do nothing; write some of: {known}"),
        "`api_keys[1].projects` is empty, so the key reaches nothing; write the ids of its projects"
            .to_owned(),
        "`api_keys[1].requests_per_minute` is 0, so the key may never ask; leave it out for any number"
            .to_owned(),
    ];
    assert_eq!(problems(file, &[]), expected);
}

#[test]
fn without_a_project_there_is_nothing_to_serve() {
    let error = defaults().check_start().expect_err("no projects").to_string();
    assert!(error.contains("[[projects]]") && error.contains("tokens"), "{error}");
}

#[test]
fn no_configuration_does_harm_however_it_is_changed() {
    let files = ["config/default.toml", "config/local.toml", "config/production.toml"];
    let lines = files.map(|file| fs::read_to_string(file).expect("a file of this folder"));
    // Seeds are whole files, and each of their lines alone.
    let seeds = lines.iter().flat_map(|file| [file.as_str()].into_iter().chain(file.lines()));
    let seeds: Vec<_> = seeds.map(|text| text.as_bytes().to_vec()).collect();
    fuzz::run(&seeds, 50, |bytes| {
        if let Ok(text) = std::str::from_utf8(bytes) {
            let _ = load(text, &[("PERSONVIEW_STORE__PATH", text)]);
        }
    });
}

#[test]
fn an_address_that_the_other_listener_takes_is_refused() {
    let taken = |listen: &str, metrics: &str| {
        let file = format!("[api]\nlisten = \"{listen}\"\nmetrics_listen = \"{metrics}\"\n");
        let told =
            |error: Error| error.problems().iter().map(Problem::to_string).collect::<String>();
        load(&file, &[]).err().is_some_and(|error| told(error).contains("is taken by `api.listen`"))
    };
    assert!(taken("0.0.0.0:8451", "127.0.0.1:8451"));
    assert!(taken("127.0.0.1:8451", "[::]:8451"));
    assert!(taken("127.0.0.1:8451", "127.0.0.1:8451"));
    assert!(!taken("127.0.0.1:8451", "10.0.0.1:8451"));
    assert!(!taken("0.0.0.0:8451", "127.0.0.1:9000"));
    assert!(!taken("0.0.0.0:0", "127.0.0.1:0"), "the system chooses two ports");
}
