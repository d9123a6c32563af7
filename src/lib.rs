//! Persons built from a Kafka log: who they are now, and who they were at any moment of the past.
//!
//! # Map
//!
//! ```text
//! topic ─► ingest::source ─► person::Event::parse ─► ingest::apply ─► store ─► RocksDB
//!            batches           pure, on all cores      in order         │ rows and positions,
//!                │                   └─► dead letters                   │ one atomic batch
//! HTTP ◄─ api ◄─ store::Snapshot ◄──────────────────────────────────────┘
//! ```
//!
//! | Room (top-level module) | Contents | May use |
//! |---|---|---|
//! | [`person`] | the model: pure functions on values | no other room |
//! | [`store`] | RocksDB: keys, codec, transaction, snapshot | person |
//! | [`ingest`] | the write path, from Kafka to the store | person, store, metrics, progress, clock |
//! | [`api`] | HTTP: reads, and writes appended to the log | person, store, metrics, progress, clock |
//! | [`progress`] | what the write path reports to the read path: positions, readiness | no other room |
//! | [`metrics`] | the definition of every Prometheus series | store's measures |
//! | [`config`] | the operator's settings | the rooms' own types |
//! | [`control`] | what a running server does for a command started beside it | store, clock |
//! | [`clock`] | the wall clock | no other room |
//! | [`cli`] | the subcommands of the program | everything |
//! | [`logging`] | how the process logs | no other room |
//!
//! `tests/tidy.rs` enforces these dependencies.
//!
//! `docs/guarantees.md` lists what the program guarantees, each with the test that tries to break it.
//!
//! Reading order: [`person`], [`store`], [`ingest`], [`api`].

pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
#[cfg(test)]
mod fuzz;
pub mod ingest;
pub mod logging;
pub mod metrics;
pub mod person;
pub mod progress;
pub mod store;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::config::Config;
use crate::control::Control;
use crate::ingest::{Commands, Ingest, SharedRules};
use crate::metrics::Metrics;
use crate::person::Command;
use crate::progress::Progress;
use crate::store::Store;

/// How long shutdown waits for ingestion to commit its current batch.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Why the service could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// An API key in the configuration is invalid.
    #[error(transparent)]
    Key(#[from] api::key::Error),
    /// librdkafka rejects the settings.
    #[error(transparent)]
    Kafka(#[from] ingest::Error),
    /// Serving failed.
    #[error("the HTTP server failed: {0}")]
    Http(#[from] io::Error),
}

/// The inputs of one start of the service besides its configuration.
#[derive(Debug)]
pub struct Start {
    /// The socket that serves the API.
    pub listener: TcpListener,
    /// The socket that serves metrics and health, if that is a separate one.
    pub metrics_listener: Option<TcpListener>,
    /// Whether to continue at the earliest record in Kafka if records not yet read have expired.
    pub accept_gap: bool,
    /// Whether to ask Kafka if topics are compacted, and refuse to read one that is. The in-memory broker
    /// does not answer that question, so the demo does not ask it.
    pub refuse_compacted: bool,
    /// Reloaded configurations, or why one could not be used.
    pub reloads: mpsc::Receiver<Result<Config, config::Error>>,
}

/// Runs the service: opens the store, reads the log into it and serves it until `shutdown` resolves. Then it
/// stops fetching, commits the current batch, completes the requests in progress and closes the store.
///
/// # Errors
/// If the store cannot be opened or the server fails. A log that cannot be read is not an error here: reads
/// go on, and readiness reports the reason.
pub async fn run(
    config: Config,
    start: Start,
    progress: Arc<Progress>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let store = Arc::new(Store::open(&config.store_config())?);
    store.claim_share(&config.ingest.partitions.to_string())?;
    let metrics = Arc::new(Metrics::new());
    let (access, settings) = (config.access()?, config.api_settings());
    let ingest_settings = ingest::Settings {
        accept_gap: start.accept_gap,
        refuse_compacted: start.refuse_compacted,
        ..config.ingest_settings()
    };
    let rules = ingest_settings.rules.clone();
    let commands = Commands::connect(&ingest_settings.kafka, &ingest_settings.command_topic)?;
    let state = api::State::new(
        store.clone(),
        progress.clone(),
        metrics.clone(),
        Arc::new(commands),
        access,
        settings,
    );
    let _control = listen(&store, &config);
    // No reader has started, so no snapshot can hold rows of persons that were deleted before this point.
    let pending = store.pending()?;
    let ingest = Ingest::start(
        ingest_settings,
        store.clone(),
        progress.clone(),
        metrics.clone(),
        Handle::current(),
    );
    let erasing = tokio::spawn(erase(store.clone(), pending, config.store.erase_interval));
    let reloading = tokio::spawn(reload(start.reloads, config, state.clone(), rules, metrics));
    tracing::info!(address = %start.listener.local_addr()?, "listening");
    let ending = async {
        shutdown.await;
        tracing::info!("shutting down: committing the current batch, then finishing requests");
        progress.update(|status| status.shutting_down = true);
        // `stop` joins threads, so it must not run on a runtime thread: it would block the requests in
        // progress. If Kafka hangs, ingestion is abandoned after `STOP_PATIENCE`; what was not committed is
        // read again at the next start.
        let stopped = tokio::task::spawn_blocking(|| ingest.stop());
        if tokio::time::timeout(STOP_PATIENCE, stopped).await.is_err() {
            tracing::warn!("ingestion does not end because Kafka does not answer; giving up on it");
        }
    };
    let served = api::serve(start.listener, start.metrics_listener, state, ending).await;
    erasing.abort();
    reloading.abort();
    store.end_background_work();
    served?;
    tracing::info!("done");
    Ok(())
}

impl api::CommandLog for Commands {
    fn append(&self, command: Command, within: Duration) -> api::Appending<'_> {
        Box::pin(async move {
            let appended = self.append(&command, within).await.map_err(|why| match why {
                ingest::NotAppended::Nothing => api::NotAppended::Nothing,
                ingest::NotAppended::NoTopic => api::NotAppended::NoTopic,
                ingest::NotAppended::Unknown => api::NotAppended::Unknown,
                ingest::NotAppended::TooLarge => api::NotAppended::TooLarge,
            });
            let (partition, offset) = appended?;
            Ok([((self.topic().to_owned(), partition), offset + 1)].into())
        })
    }
}

/// Listens for commands that ask for a checkpoint; `None`, with a warning, if there can be no socket.
fn listen(store: &Arc<Store>, config: &Config) -> Option<Control> {
    let listening = Control::listen(store, &config.store.path);
    let say = |error: &io::Error| {
        tracing::warn!(%error, "cannot create the socket in store.path: no backups while this server runs");
    };
    listening.inspect_err(say).ok()
}

/// Applies the projects and API keys of every reloaded configuration. A configuration that
/// cannot be used changes nothing.
async fn reload(
    mut reloads: mpsc::Receiver<Result<Config, config::Error>>,
    mut config: Config,
    state: api::State,
    rules: SharedRules,
    metrics: Arc<Metrics>,
) {
    metrics.config_reloaded(true, clock::now().as_secs());
    while let Some(read) = reloads.recv().await {
        let taken = read.map_err(anyhow::Error::from).and_then(|new| {
            // Creates librdkafka clients to validate their settings, and waits for those clients' threads.
            tokio::task::block_in_place(|| new.check_start())?;
            state.replace_access(new.access()?);
            Ok(new)
        });
        metrics.config_reloaded(taken.is_ok(), clock::now().as_secs());
        match taken {
            Ok(new) => {
                let (projects, api_keys) = (new.projects.len(), new.api_keys.len());
                tracing::info!(projects, api_keys, "projects and keys were reloaded");
                config.projects.clone_from(&new.projects);
                config.api_keys.clone_from(&new.api_keys);
                rules.replace(config.rules());
                if config != new {
                    tracing::warn!("other settings changed too; they take effect after a restart");
                }
            }
            Err(error) => {
                tracing::error!(%error, "the new configuration cannot be used; the current one stays in force");
            }
        }
    }
}

/// Removes the bytes of deleted persons from the disk, once per `interval`.
async fn erase(store: Arc<Store>, mut pending: store::Pending, interval: Duration) {
    loop {
        let (shared, before) = (store.clone(), pending.clone());
        let erased = tokio::task::spawn_blocking(move || shared.erase(&before)).await;
        match erased {
            Ok(Ok((persons, left))) => {
                if persons > 0 {
                    tracing::info!(persons, "deleted persons were erased from the disk");
                }
                pending = left;
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "deleted persons could not be erased from the disk yet");
            }
            Err(_) => return,
        }
        tokio::time::sleep(interval).await;
    }
}
