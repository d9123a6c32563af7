//! The tables of the configuration. `config/default.toml` explains every setting to the
//! operator under the same name.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Client, Partitions, notation};
use crate::api::key;

/// `[kafka]`: the log that is read.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Kafka {
    /// Bootstrap brokers: `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// Topics with capture events. At least one, without duplicates.
    pub topics: Vec<String>,
    /// Topic for writes made through the API. Must not be in `topics`.
    pub command_topic: String,
    /// Consumer group under which monitors see the lag, and first part of the dead letter topic's name.
    pub group: String,
    /// Settings for librdkafka, except those that this program controls itself.
    pub client: Client,
}

impl Kafka {
    /// Returns the name of the topic for records that could not be used: `<group>_dlq`.
    #[must_use]
    pub fn dead_letter_topic(&self) -> String {
        format!("{}_dlq", self.group)
    }
}

/// `[store]`: the database.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Store {
    /// Directory, created if missing.
    pub path: PathBuf,
    /// Total bytes for the block cache, write buffers, rows and columns recently requested by readers,
    /// histories needed for late events, and the ingestion queue. At least 64 MiB.
    #[serde(with = "notation::size")]
    pub memory: u64,
    /// Whether each batch is synced to disk before the next one begins.
    pub sync_writes: bool,
    /// Interval at which the bytes of deleted persons are removed from the disk. Not zero.
    #[serde(with = "notation::duration")]
    pub erase_interval: Duration,
}

/// `[api]`: the HTTP server.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Api {
    /// Address to listen on. Port 0 picks any free port.
    #[serde(with = "notation::address")]
    pub listen: SocketAddr,
    /// Address for metrics and health; `None` serves them at `listen`.
    #[serde(with = "notation::optional_address")]
    pub metrics_listen: Option<SocketAddr>,
    /// Maximum number of simultaneous connections. Not zero.
    pub connections: usize,
    /// Maximum duration of a request. Not zero.
    #[serde(with = "notation::duration")]
    pub request_timeout: Duration,
    /// Maximum size of a request body, in bytes. Not zero.
    #[serde(with = "notation::size")]
    pub body_limit: u64,
    /// Maximum size of an answer with several persons, operations or values, in bytes. An answer with a
    /// single one may be larger. Not zero.
    #[serde(with = "notation::size")]
    pub page_limit: u64,
    /// Maximum input that a join has received but not answered yet, in bytes. At least 128 KiB.
    #[serde(with = "notation::size")]
    pub join_spool: u64,
    /// Maximum time that a read waits for its position, or a write waits until it is applied.
    /// Less than `request_timeout`.
    #[serde(with = "notation::duration")]
    pub position_wait: Duration,
    /// Whether to trust `X-Forwarded-*` headers.
    pub trust_forwarded: bool,
}

impl Api {
    /// Returns the address of health and metrics: `metrics_listen`, or else `listen`.
    #[must_use]
    pub fn health_address(&self) -> SocketAddr {
        self.metrics_listen.unwrap_or(self.listen)
    }
}

/// `[ingest]`: how records become persons.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Ingest {
    /// Whether device, page and campaign properties of events are also set on the person.
    pub promote_event_properties: bool,
    /// Whether a change to volatile properties only is recorded on its own.
    pub record_volatile_properties: bool,
    /// Properties that may give a person's display name; the first truthy one does.
    pub display_name_properties: Vec<String>,
    /// Maximum number of records in a batch. At least one.
    pub batch_records: usize,
    /// Maximum bytes of records fetched ahead of the current batch. At least 1 MiB and less than
    /// `store.memory`, of which it is a part.
    #[serde(with = "notation::size")]
    pub queue: u64,
    /// Maximum size of one person's properties, in bytes of JSON. Not zero.
    #[serde(with = "notation::size")]
    pub person_properties_limit: u64,
    /// Lag, in records, at or below which the view first counts as ready.
    pub ready_lag: u64,
    /// Which partitions this instance owns.
    pub partitions: Partitions,
}

/// `[[projects]]`: one project. Its persons are separate from those of all other projects.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Project {
    /// The project id, from 1 to 2147483647. Unique.
    pub id: u32,
    /// A human-readable name.
    pub name: String,
    /// Tokens by which events name the project. At least one; a token belongs to one project only.
    pub tokens: Vec<String>,
}

/// `[[api_keys]]`: one API key as it is configured. [`key::ApiKey`] is its parsed form.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct ApiKey {
    /// Name for the key's user; the activity log shows it as the author. Unique.
    pub label: String,
    /// SHA-256 of the secret in 64 hexadecimal digits. Unique.
    pub sha256: String,
    /// Names from [`key::SCOPE_NAMES`]. At least one.
    pub scopes: Vec<String>,
    /// Ids of existing projects that the key may access. At least one.
    pub projects: Vec<u32>,
    /// Maximum number of requests per minute. Not zero; unlimited if absent.
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
