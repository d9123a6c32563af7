//! The tables of the configuration. The meaning of each setting to an operator stands in
//! `config/default.toml`; the names are the same.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Client, Partitions, notation};
use crate::api::key;

/// `[kafka]`: the log that everything comes from.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Kafka {
    /// Brokers to begin with: `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// Topics with capture events. At least one, all different.
    pub topics: Vec<String>,
    /// Topic for writes that come over the API. None of `topics`.
    pub command_topic: String,
    /// Consumer group that monitors see, and first part of the dead letter topic's name.
    pub group: String,
    /// Settings for librdkafka. None of those that this program decides itself.
    pub client: Client,
}

impl Kafka {
    /// Name of the topic for records that could not be used: `<group>_dlq`.
    #[must_use]
    pub fn dead_letter_topic(&self) -> String {
        format!("{}_dlq", self.group)
    }
}

/// `[store]`: the database.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Store {
    /// Directory, created when missing.
    pub path: PathBuf,
    /// Bytes for block cache, write buffers, rows and columns that readers asked for lately, histories that
    /// late events ask for, and queues together. At least 64 MiB.
    #[serde(with = "notation::size")]
    pub memory: u64,
    /// Whether a batch is on the disk before the next one begins.
    pub sync_writes: bool,
    /// How often the bytes of deleted persons are taken off the disk. Not zero.
    #[serde(with = "notation::duration")]
    pub erase_interval: Duration,
}

/// `[api]`: the HTTP server.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Api {
    /// Where it listens. Port 0 takes any free one.
    #[serde(with = "notation::address")]
    pub listen: SocketAddr,
    /// Where metrics and health listen; `None`: at `listen`, too.
    #[serde(with = "notation::optional_address")]
    pub metrics_listen: Option<SocketAddr>,
    /// Most connections at once. Not zero.
    pub connections: usize,
    /// Longest time that a request may take. Not zero.
    #[serde(with = "notation::duration")]
    pub request_timeout: Duration,
    /// Largest body of a request, in bytes. Not zero.
    #[serde(with = "notation::size")]
    pub body_limit: u64,
    /// Largest answer of several persons, operations or values, in bytes. One of a single one may be larger.
    /// Not zero.
    #[serde(with = "notation::size")]
    pub page_limit: u64,
    /// Most that a join is sent and has not answered, in bytes. At least 128 KiB.
    #[serde(with = "notation::size")]
    pub join_spool: u64,
    /// Longest time that a read waits for its position, or a write for being applied. Less than
    /// `request_timeout`.
    #[serde(with = "notation::duration")]
    pub position_wait: Duration,
    /// Whether `X-Forwarded-*` headers are believed.
    pub trust_forwarded: bool,
}

impl Api {
    /// Where health and metrics answer: `metrics_listen`, or else `listen`.
    #[must_use]
    pub fn health_address(&self) -> SocketAddr {
        self.metrics_listen.unwrap_or(self.listen)
    }
}

/// `[ingest]`: from records to persons.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Ingest {
    /// Whether listed event properties are set on the person, too.
    pub promote_event_properties: bool,
    /// Whether a change to nothing but volatile properties is recorded on its own.
    pub record_volatile_properties: bool,
    /// Properties that name a person, the first that is there.
    pub display_name_properties: Vec<String>,
    /// Most records in a batch. At least one.
    pub batch_records: usize,
    /// Bytes of records fetched ahead of the batch at work. At least 1 MiB, less than
    /// `store.memory`, which it is part of.
    #[serde(with = "notation::size")]
    pub queue: u64,
    /// Largest properties of one person, in bytes of JSON. Not zero.
    #[serde(with = "notation::size")]
    pub person_properties_limit: u64,
    /// Records behind the end at which the view first counts as ready.
    pub ready_lag: u64,
    /// Which partitions this instance owns.
    pub partitions: Partitions,
}

/// `[[projects]]`: one project, whose persons are apart from all others'.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Project {
    /// 1 to 2147483647, unique.
    pub id: u32,
    /// For people to read.
    pub name: String,
    /// Tokens by which events name the project. At least one, each of one project only.
    pub tokens: Vec<String>,
}

/// `[[api_keys]]`: one key, as text. [`key::ApiKey`] is the one that can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct ApiKey {
    /// Who uses it, as the activity log names it. Unique.
    pub label: String,
    /// SHA-256 of the secret in 64 hexadecimal digits. Unique.
    pub sha256: String,
    /// Names out of [`key::SCOPE_NAMES`]. At least one.
    pub scopes: Vec<String>,
    /// Ids of the projects it reaches. At least one; they exist.
    pub projects: Vec<u32>,
    /// The most requests a minute. Not zero; any number where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
}

impl TryFrom<&ApiKey> for key::ApiKey {
    type Error = key::Error;

    fn try_from(text: &ApiKey) -> Result<Self, key::Error> {
        Ok(Self {
            label: text.label.clone(),
            sha256: key::from_hex(&text.sha256)?,
            scopes: key::Scopes::parse(text.scopes.iter().map(String::as_str))?,
            projects: text.projects.iter().copied().collect(),
            requests_per_minute: text.requests_per_minute.and_then(NonZeroU32::new),
        })
    }
}
