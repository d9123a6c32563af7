//! HTTP: who asks, what for, and the answer as JSON or CSV; and writes, handed to the log.
//!
//! Reading order: [`router`] the whole URL surface on one page → [`read`] what every read of
//! persons has in common: key, project, position, snapshot, `ETag` → [`list`], [`single`],
//! [`as_of`], [`history`], [`activity`], [`change_feed`], [`batch`] and [`join`] the reads → [`body`] a
//! person as JSON → [`mod@format`] an answer as CSV, [`export`] all rows as CSV → [`mod@write`] what
//! every write has in common, [`mutations`] the writes → [`health`] what needs no key → [`mod@openapi`] how
//! all of it is described → [`server`] connections and their end.
//!
//! Guarantees: an answer shows one consistent snapshot and names its position; every error, a
//! panic's and a timeout's too, is JSON of one shape; a parameter whose value cannot be understood is
//! an error, while unknown names are ignored; a body that cannot be brought to its end is broken off.

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

/// Lists that are read at once; one more is turned away.
const LISTS_AT_ONCE: usize = 8;

/// Exports that are read at once. They have places of their own, so that whoever reads one slowly
/// keeps nobody from a list.
const EXPORTS_AT_ONCE: usize = 2;

/// Joins at once. They have places of their own too, as whoever sends slowly may take hours.
const JOINS_AT_ONCE: usize = 8;

/// Joins that read at one time; the others wait their turn.
const JOINING_AT_ONCE: usize = 4;

/// Reads of one person on threads of their own: the threads are shared with writes and metrics.
const APART_AT_ONCE: usize = 64;

/// How long an export may read from one snapshot.
pub const SNAPSHOT_LIFE: Duration = Duration::from_secs(600);

/// How the server answers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Properties that name a person, the first truthy one.
    pub display_name_properties: Vec<String>,
    /// The most connections at once.
    pub connections: usize,
    /// The longest time that a request may take.
    pub request_timeout: Duration,
    /// The longest time that an export may take: [`SNAPSHOT_LIFE`].
    pub snapshot_life: Duration,
    /// The largest body of a request, in bytes.
    pub body_limit: u64,
    /// The largest page of persons, in bytes. One of a single person may be larger.
    pub page_limit: u64,
    /// The most that a join is sent and has not answered, in bytes of the store's disk. At least
    /// [`LEAST_SPOOL`].
    pub join_spool: u64,
    /// The longest time that a read waits for its position.
    pub position_wait: Duration,
    /// Whether `X-Forwarded-Host` and `X-Forwarded-Proto` are believed.
    pub trust_forwarded: bool,
    /// Whether metrics and health are left out here, since they have a listener of their own.
    pub metrics_separate: bool,
}

impl Settings {
    /// When the reads of a request end that began then: a little earlier than the request, so that they
    /// say themselves what became of them.
    fn deadline(&self, begun: Instant) -> Instant {
        begun + self.request_timeout / 20 * 19
    }
}

/// What every request shares. Cheap to clone.
#[derive(Clone)]
pub struct State(Arc<Shared>);

impl Deref for State {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// What [`State`] is a handle to.
pub struct Shared {
    store: Arc<Store>,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
    settings: Settings,
    commands: Arc<dyn CommandLog>,
    /// Replaced as a whole; a request goes on with the one it began with.
    access: RwLock<Arc<Access>>,
    /// One permit a list being read, kept until the reading has really ended.
    lists: Arc<Semaphore>,
    /// One permit an export, kept until the reading has really ended.
    exports: Arc<Semaphore>,
    /// One permit a read of one person on a thread of its own.
    apart: Arc<Semaphore>,
    /// One permit a join, from its first line to its last.
    joins: Arc<Semaphore>,
    /// One permit a join that reads.
    joining: Arc<Semaphore>,
    /// So that the position is read once a commit, and not once a request.
    cached_position: read::CachedPosition,
}

impl State {
    /// What the requests to one server share.
    #[must_use]
    pub fn new(
        store: Arc<Store>,
        progress: Arc<Progress>,
        metrics: Arc<Metrics>,
        commands: Arc<dyn CommandLog>,
        access: Access,
        settings: Settings,
    ) -> Self {
        // A series that is not there before its first error hides that error from `increase` and `rate`.
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

    /// Takes other projects and keys from the next request on, here and in every clone.
    pub fn replace_access(&self, access: Access) {
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(access);
    }

    fn access(&self) -> Arc<Access> {
        let access = self.access.read().unwrap_or_else(PoisonError::into_inner);
        access.clone()
    }

    /// Waits until the view has got as far as a caller wants it to be.
    async fn wait_for(&self, wanted: &Positions, within: Duration) -> Result<(), error::Error> {
        let reached = wanted.is_empty() || self.progress.reached(wanted, within).await;
        reached.then_some(()).ok_or_else(error::Error::position_not_reached)
    }
}

/// Now, by this server's clock.
fn now() -> Time {
    Time(i64::try_from(clock::now().as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
