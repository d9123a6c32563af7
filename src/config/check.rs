//! Validation of values beyond their names and types, so that nothing is started that cannot work.
//!
//! All problems are reported in one go. Each names the setting, the value found and what to write instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::SocketAddr;
use std::time::Duration;

use bytesize::{ByteSize, MIB};

use super::{Api, ApiKey, Client, Config, Ingest, Kafka, Problem, Project, Store, names};
use crate::api::{LEAST_SPOOL, key};
use crate::ingest;

/// Minimum of `store.memory`, in bytes.
const MEMORY_MIN: u64 = 64 * MIB;
/// Minimum of `ingest.queue`, in bytes: one message of Kafka's default size limit.
const QUEUE_MIN: u64 = MIB;
/// Maximum id of a project: clients store it in a signed 32-bit integer.
pub const PROJECT_ID_MAX: u32 = i32::MAX.unsigned_abs();
/// Maximum length of a topic name in Kafka, in bytes.
const TOPIC_NAME_MAX: usize = 249;
/// librdkafka settings that are controlled by one of ours.
const RENAMED: [(&str, &str); 3] = [
    ("bootstrap.servers", "kafka.bootstrap_servers"),
    ("metadata.broker.list", "kafka.bootstrap_servers"),
    ("group.id", "kafka.group"),
];
/// The end of librdkafka settings that name a file or a folder.
const LOCATION: &str = ".location";
/// What librdkafka takes in place of a folder of certificates: it looks for one.
const PROBE: &str = "probe";
/// librdkafka settings that must keep our fixed values. With others, records would be lost or applied twice,
/// or lag and readiness would be wrong.
const FIXED: [&str; 6] = [
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "isolation.level",
    "statistics.interval.ms",
];

/// Returns every problem with the values of `config`.
pub(super) fn check(config: &Config) -> Vec<Problem> {
    let mut check = Check { problems: Vec::new() };
    check.kafka(&config.kafka);
    check.store(&config.store);
    check.api(&config.api);
    check.ingest(&config.ingest, config.store.memory);
    check.projects(&config.projects);
    check.api_keys(&config.api_keys, &config.projects);
    check.problems
}

/// Returns a problem for every file of `client` that cannot be read. Apart from [`check`], as commands that do
/// not use Kafka do not need these files. librdkafka's own error names neither the setting nor, for some files,
/// the file.
pub(super) fn check_files(client: &Client) -> Vec<Problem> {
    let files = client.iter().filter(|(name, value)| name.ends_with(LOCATION) && *value != PROBE);
    let unreadable = files.filter_map(|(name, value)| {
        let error = File::open(value).err()?;
        Some(of_client(name, &format!("names {value}, which cannot be read: {error}")))
    });
    unreadable.collect()
}

/// Returns a problem with a setting of librdkafka.
fn of_client(name: &str, text: &str) -> Problem {
    let text = format!("`{}.\"{name}\"` {text}", names::CLIENT);
    Problem::new(format!("{}.{name}", names::CLIENT), text)
}

struct Check {
    problems: Vec<Problem>,
}

impl Check {
    /// Adds a problem about `key` unless `holds` is true.
    fn expect(&mut self, holds: bool, key: &str, text: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(Problem::new(key, format!("`{key}` {}", text())));
        }
    }

    fn not_empty(&mut self, key: &str, text: &str, example: &str) {
        self.expect(!text.trim().is_empty(), key, || {
            format!("is empty; write for example {example}")
        });
    }

    /// Adds a problem if `value` is in `seen`, which maps earlier values to the keys of their settings.
    fn unique<T: Ord>(&mut self, seen: &mut BTreeMap<T, String>, key: &str, value: T, what: &str) {
        if let Some(other) = seen.get(&value) {
            let text = format!("`{key}` is the same as `{other}`; {what}");
            self.problems.push(Problem::new(key, text));
        } else {
            seen.insert(value, key.to_owned());
        }
    }

    fn kafka(&mut self, kafka: &Kafka) {
        let servers = "kafka-1:9092,kafka-2:9092";
        self.not_empty("kafka.bootstrap_servers", &kafka.bootstrap_servers, servers);
        let has_topics = !kafka.topics.is_empty();
        self.expect(has_topics, "kafka.topics", || "is empty; name at least one topic".to_owned());

        let mut topics = BTreeMap::new();
        for (index, topic) in kafka.topics.iter().enumerate() {
            let key = format!("kafka.topics[{index}]");
            self.topic_name(&key, topic);
            self.unique(&mut topics, &key, topic.clone(), "name each topic once");
        }
        self.topic_name("kafka.command_topic", &kafka.command_topic);
        let what = "give commands a topic of their own";
        self.unique(&mut topics, "kafka.command_topic", kafka.command_topic.clone(), what);
        self.not_empty("kafka.group", &kafka.group, "personview");
        let dead_letters = kafka.dead_letter_topic();
        // What is wrong with an empty name has just been said.
        if !kafka.group.trim().is_empty() {
            self.topic_name("kafka.group", &dead_letters);
        }
        let free = !topics.contains_key(&dead_letters);
        self.expect(free, "kafka.group", || {
            format!(
                "makes {dead_letters} the topic for dead letters, which is read, too; rename one"
            )
        });
        self.client(kafka);
    }

    fn topic_name(&mut self, key: &str, name: &str) {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let is_name = (1..=TOPIC_NAME_MAX).contains(&name.len())
            && name.bytes().all(legal)
            && !matches!(name, "." | "..");
        self.expect(is_name, key, || {
            format!(
                "makes \"{name}\" the name of a topic; Kafka allows 1 to {TOPIC_NAME_MAX} letters, \
                 digits, dots, underscores and hyphens"
            )
        });
    }

    fn client(&mut self, kafka: &Kafka) {
        let mut refuse = |name: &str, text: String| self.problems.push(of_client(name, &text));
        for (name, ours) in RENAMED {
            if kafka.client.names(name) {
                refuse(name, format!("is decided by `{ours}`; set that instead"));
            }
        }
        for name in FIXED {
            if kafka.client.names(name) {
                refuse(name, "is fixed, or records would be lost; take it out".to_owned());
            }
        }
        let is_ours =
            |name| FIXED.contains(&name) || RENAMED.iter().any(|(theirs, _)| *theirs == name);
        for (name, value) in kafka.client.iter().filter(|(name, _)| !is_ours(*name)) {
            if let Err(error) = ingest::kafka::check_setting(name, value) {
                refuse(name, format!("is not accepted by librdkafka: {error}"));
            }
        }
    }

    fn store(&mut self, store: &Store) {
        self.not_empty("store.path", &store.path.to_string_lossy(), "data");
        self.at_least("store.memory", store.memory, MEMORY_MIN);
        self.positive("store.erase_interval", !store.erase_interval.is_zero());
    }

    fn at_least(&mut self, key: &str, bytes: u64, least: u64) {
        self.expect(bytes >= least, key, || {
            format!("is {}; write at least {}", ByteSize(bytes), ByteSize(least))
        });
    }

    fn api(&mut self, api: &Api) {
        let is_taken = |other: SocketAddr| {
            let is_every = other.ip().is_unspecified() || api.listen.ip().is_unspecified();
            let port = other.port();
            port != 0 && port == api.listen.port() && (is_every || other.ip() == api.listen.ip())
        };
        self.expect(!api.metrics_listen.is_some_and(is_taken), "api.metrics_listen", || {
            "is taken by `api.listen`; write another port, or leave it empty to have both there"
                .to_owned()
        });
        self.positive("api.connections", api.connections > 0);
        self.positive("api.request_timeout", !api.request_timeout.is_zero());
        self.positive("api.body_limit", api.body_limit > 0);
        self.positive("api.page_limit", api.page_limit > 0);
        self.at_least("api.join_spool", api.join_spool, LEAST_SPOOL);
        let (wait, timeout) = (api.position_wait, api.request_timeout);
        let in_time = wait < timeout || timeout == Duration::ZERO;
        self.expect(in_time, "api.position_wait", || {
            format!("is {wait:?}; write less than `api.request_timeout`, {timeout:?}")
        });
    }

    fn positive(&mut self, key: &str, holds: bool) {
        self.expect(holds, key, || "is zero, which lets nothing through; write more".to_owned());
    }

    fn ingest(&mut self, ingest: &Ingest, memory: u64) {
        self.expect(ingest.batch_records >= 1, "ingest.batch_records", || {
            "is 0; write at least 1".to_owned()
        });
        self.at_least("ingest.queue", ingest.queue, QUEUE_MIN);
        self.expect(memory < MEMORY_MIN || ingest.queue < memory, "ingest.queue", || {
            format!(
                "is {}; write less than `store.memory`, {}, which it is part of",
                ByteSize(ingest.queue),
                ByteSize(memory)
            )
        });
        self.positive("ingest.person_properties_limit", ingest.person_properties_limit > 0);
        for (index, name) in ingest.display_name_properties.iter().enumerate() {
            self.not_empty(&format!("ingest.display_name_properties[{index}]"), name, "email");
        }
    }

    fn projects(&mut self, projects: &[Project]) {
        let (mut ids, mut tokens) = (BTreeMap::new(), BTreeMap::new());
        for (index, project) in projects.iter().enumerate() {
            let at = |name: &str| format!("projects[{index}].{name}");
            let id = project.id;
            self.expect((1..=PROJECT_ID_MAX).contains(&id), &at("id"), || {
                format!("is {id}; write a number from 1 to {PROJECT_ID_MAX}")
            });
            self.unique(&mut ids, &at("id"), id, "give each project an id of its own");
            self.expect(!project.tokens.is_empty(), &at("tokens"), || {
                "is empty; write at least one token, such as \"phc_example\"".to_owned()
            });
            for (nth, token) in project.tokens.iter().enumerate() {
                let key = at(&format!("tokens[{nth}]"));
                self.not_empty(&key, token, "phc_example");
                let what = "a token names one project; take one of them out";
                self.unique(&mut tokens, &key, token.clone(), what);
            }
        }
    }

    fn api_keys(&mut self, api_keys: &[ApiKey], projects: &[Project]) {
        let ids: BTreeSet<u32> = projects.iter().map(|project| project.id).collect();
        let (mut labels, mut hashes) = (BTreeMap::new(), BTreeMap::new());
        for (index, api_key) in api_keys.iter().enumerate() {
            let at = |name: &str| format!("api_keys[{index}].{name}");
            self.not_empty(&at("label"), &api_key.label, "dashboard");
            let what = "the activity log tells keys apart by their labels";
            self.unique(&mut labels, &at("label"), api_key.label.clone(), what);
            match key::from_hex(&api_key.sha256) {
                Ok(hash) => self.unique(&mut hashes, &at("sha256"), hash, "write each key once"),
                Err(error) => {
                    self.expect(false, &at("sha256"), || format!("is not a hash: {error}"));
                }
            }
            self.scopes(&at("scopes"), &api_key.scopes);
            self.reach(&at("projects"), &api_key.projects, &ids);
            self.expect(api_key.requests_per_minute != Some(0), &at("requests_per_minute"), || {
                "is 0, so the key may never ask; leave it out for any number".to_owned()
            });
        }
    }

    fn scopes(&mut self, key: &str, scopes: &[String]) {
        let known = key::SCOPE_NAMES.join(", ");
        self.expect(!scopes.is_empty(), key, || {
            format!("is empty, so the key may do nothing; write some of: {known}")
        });
        for (nth, scope) in scopes.iter().enumerate() {
            let is_known = key::SCOPE_NAMES.contains(&scope.as_str());
            self.expect(is_known, &format!("{key}[{nth}]"), || {
                format!("is \"{scope}\", which is not a scope; use some of: {known}")
            });
        }
    }

    /// Checks the projects of one API key. If no projects are configured at all, that is reported elsewhere.
    fn reach(&mut self, key: &str, projects: &[u32], ids: &BTreeSet<u32>) {
        self.expect(!projects.is_empty(), key, || {
            "is empty, so the key reaches nothing; write the ids of its projects".to_owned()
        });
        for (nth, project) in projects.iter().enumerate() {
            let exists = ids.is_empty() || ids.contains(project);
            self.expect(exists, &format!("{key}[{nth}]"), || {
                format!(
                    "is {project}, but no [[projects]] table has that id; add one or take it out"
                )
            });
        }
    }
}
