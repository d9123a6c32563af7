//! The HTTP API: authorizes requests, answers reads as JSON or CSV, and appends writes to the command log.
//!
//! Reading order: [`router`], the whole URL surface on one page → [`read`], what all reads of persons share:
//! key, project, position, snapshot, `ETag` → [`list`], [`single`], [`as_of`], [`history`], [`activity`],
//! [`change_feed`], [`batch`] and [`join`], the reads → [`body`], a person as JSON → [`mod@format`], an
//! answer as CSV → [`export`], all rows as CSV → [`mod@write`], what all writes share → [`mutations`], the
//! writes → [`health`], the routes for monitors → [`mod@openapi`], the description of the API → [`server`],
//! connections and shutdown.
//!
//! Guarantees: an answer shows one consistent snapshot and names its position; every error, including one
//! caused by a panic or a timeout, is JSON of the same shape; an invalid parameter value is an error, while
//! unknown names are ignored; a body that cannot be completed is broken off, so that it never looks complete.

mod access;
mod activity;
mod as_of;
mod batch;
mod body;
mod change_feed;
mod cursor;
mod debug;
mod error;
mod export;
mod fields;
mod format;
mod health;
mod history;
mod join;
mod json;
pub mod key;
mod layers;
mod link;
mod list;
mod mutations;
mod once;
mod openapi;
mod page;
mod parameters;
mod person_ref;
mod pieces;
mod position;
mod posted;
mod projects;
mod rate;
mod read;
mod router;
mod server;
mod single;
mod spool;
mod stream;
mod table;
mod values;
mod workers;
mod write;

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use strum::VariantNames;
use tokio::sync::Semaphore;

pub use self::access::{Access, Project};
pub use self::join::LEAST_SPOOL;
pub use self::openapi::page::text as openapi;
pub use self::server::serve;
pub use self::workers::SHUTDOWN_TIMEOUT;
pub use self::write::{Appending, CommandLog, NotAppended};
use crate::clock;
use crate::metrics::Metrics;
use crate::person::Time;
use crate::progress::{Positions, Progress};
use crate::store::Store;

/// The most lists that are read at the same time; further ones are rejected with 503.
const LISTS_AT_ONCE: usize = 8;

/// The most exports that are read at the same time. They have permits of their own, so that slow readers of
/// exports do not block lists.
const EXPORTS_AT_ONCE: usize = 2;

/// The most joins in progress. They have permits of their own, since a slow sender may take hours.
const JOINS_AT_ONCE: usize = 8;

/// The most joins that read the store at the same time; the others wait for their turn.
const JOINING_AT_ONCE: usize = 4;

/// The most reads of one person on blocking threads, which they share with writes and metrics.
const APART_AT_ONCE: usize = 64;

/// How long an export may read from one snapshot.
pub const SNAPSHOT_LIFE: Duration = Duration::from_secs(600);

/// The settings of the API server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The properties that may name a person; the first one with a truthy value does.
    pub display_name_properties: Vec<String>,
    /// The most connections at once.
    pub connections: usize,
    /// The longest time that a request may take.
    pub request_timeout: Duration,
    /// The longest time that an export may take: [`SNAPSHOT_LIFE`], except in tests.
    pub snapshot_life: Duration,
    /// The largest body of a request, in bytes.
    pub body_limit: u64,
    /// The largest answer with several persons, operations or values, in bytes. An answer with a
    /// single one may be larger.
    pub page_limit: u64,
    /// The most input of a join that may wait to be answered, in bytes on the store's disk.
    /// At least [`LEAST_SPOOL`].
    pub join_spool: u64,
    /// The longest time that a read waits for its position, or a write to be applied.
    pub position_wait: Duration,
    /// Whether `X-Forwarded-Host` and `X-Forwarded-Proto` are trusted.
    pub trust_forwarded: bool,
    /// Whether the main listener leaves out the metrics and health routes, because they have their own.
    pub metrics_separate: bool,
}

impl Settings {
    /// Returns the deadline for the reads of a request that began at `begun`. It is slightly before the
    /// request times out, so that a read that takes too long fails with its own error.
    fn deadline(&self, begun: Instant) -> Instant {
        begun + self.request_timeout / 20 * 19
    }
}

/// The state shared by all requests. Cheap to clone.
#[derive(Clone)]
pub struct State(Arc<Shared>);

impl Deref for State {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// The data behind [`State`].
pub struct Shared {
    store: Arc<Store>,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
    settings: Settings,
    commands: Arc<dyn CommandLog>,
    /// Replaced as a whole; a request keeps the one it started with.
    access: RwLock<Arc<Access>>,
    /// One permit per list being read, held until the read has really ended.
    lists: Arc<Semaphore>,
    /// One permit per export, held until the read has really ended.
    exports: Arc<Semaphore>,
    /// One permit per read of one person on a blocking thread.
    apart: Arc<Semaphore>,
    /// One permit per join, held until its last line is answered.
    joins: Arc<Semaphore>,
    /// One permit per join that is reading the store.
    joining: Arc<Semaphore>,
    /// Caches the position, so that it is read once per commit rather than once per request.
    cached_position: read::CachedPosition,
}

impl State {
    /// Creates the state of one server.
    #[must_use]
    pub fn new(
        store: Arc<Store>,
        progress: Arc<Progress>,
        metrics: Arc<Metrics>,
        commands: Arc<dyn CommandLog>,
        access: Access,
        settings: Settings,
    ) -> Self {
        // Creates all series at 0: `increase` and `rate` do not count an error with which a series appears.
        for code in error::Code::VARIANTS {
            metrics.http_errors(code, 0);
        }
        Self(Arc::new(Shared {
            store,
            progress,
            metrics,
            commands,
            settings,
            access: RwLock::new(Arc::new(access)),
            lists: Arc::new(Semaphore::new(LISTS_AT_ONCE)),
            exports: Arc::new(Semaphore::new(EXPORTS_AT_ONCE)),
            apart: Arc::new(Semaphore::new(APART_AT_ONCE)),
            joins: Arc::new(Semaphore::new(JOINS_AT_ONCE)),
            joining: Arc::new(Semaphore::new(JOINING_AT_ONCE)),
            cached_position: Mutex::default(),
        }))
    }

    /// Replaces the projects and keys for all later requests, also in every clone of this state.
    pub fn replace_access(&self, access: Access) {
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(access);
    }

    fn access(&self) -> Arc<Access> {
        let access = self.access.read().unwrap_or_else(PoisonError::into_inner);
        access.clone()
    }

    /// Waits until `wanted` is applied, for at most `within`.
    async fn wait_for(&self, wanted: &Positions, within: Duration) -> Result<(), error::Error> {
        let reached = wanted.is_empty() || self.progress.reached(wanted, within).await;
        reached.then_some(()).ok_or_else(error::Error::position_not_reached)
    }
}

/// Returns the current time of this server's clock.
fn now() -> Time {
    Time::after_epoch(clock::now())
}

#[cfg(test)]
mod tests;
