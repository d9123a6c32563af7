//! Persons from Kafka: who they are now, and who they were at any moment of the past.
//!
//! # The map
//!
//! ```text
//! topic ─► ingest::source ─► person::Event::parse ─► ingest::apply ─► store ─► RocksDB
//!            batches           pure, on all cores      in order         │ rows and positions,
//!                │                   └─► dead letters                   │ one atomic batch
//! HTTP ◄─ api ◄─ store::Snapshot ◄──────────────────────────────────────┘
//! ```
//!
//! | Room | Holds | May use |
//! |---|---|---|
//! | [`person`] | the model: values in, values out | nothing here |
//! | [`store`] | RocksDB: keys, codec, transaction, snapshot | person |
//! | [`ingest`] | the write path, from Kafka to the store | person, store, metrics, progress, clock |
//! | [`api`] | HTTP: the read path, and writes handed to the log | person, store, metrics, progress, clock |
//! | [`progress`] | what the write path tells the read path | nothing here |
//! | [`metrics`] | every series once | store's measures |
//! | [`config`] | what an operator may decide | the rooms' own types |
//! | [`control`] | what a running server does for a command beside it | store, clock |
//! | [`clock`] | what time it is | nothing here |
//! | [`cli`] | the commands | everything |
//! | [`logging`] | how the process logs | nothing here |
//!
//! `tests/tidy.rs` holds these arrows.
//!
//! What holds, and the test that tries to break each promise: `docs/guarantees.md`.
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

/// How long ingestion may take to commit the batch in hand.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Why the service could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// An API key in the configuration is none.
    #[error(transparent)]
    Key(#[from] api::key::Error),
    /// librdkafka refuses the settings.
    #[error(transparent)]
    Kafka(#[from] ingest::Error),
    /// Serving failed.
    #[error("the HTTP server failed: {0}")]
    Http(#[from] io::Error),
}

/// What one start of the service is given besides its configuration.
#[derive(Debug)]
pub struct Start {
    /// Where the API is reached.
    pub listener: TcpListener,
    /// Where metrics and health are reached, if apart.
    pub metrics_listener: Option<TcpListener>,
    /// Go on at the earliest record where those in between have expired.
    pub accept_gap: bool,
    /// Ask Kafka whether topics are compacted, and read none that is. A broker in memory does not tell, and
    /// would be waited for.
    pub refuse_compacted: bool,
    /// The configuration as it was read again, or why it cannot be used.
    pub reloads: mpsc::Receiver<Result<Config, config::Error>>,
}

/// The service, from configuration to the end: opens the store, reads the log into it and serves
/// it until `shutdown`. Then it stops fetching, commits the batch in hand, finishes the requests
/// under way and closes the store.
///
/// # Errors
/// Where the store cannot be opened or the server fails. A log that cannot be read is no error
/// here: reads go on, and readiness says why.
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
    // Nobody reads yet who could see what was deleted before this.
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
        tracing::info!("shutting down: the batch in hand is committed, then requests are finished");
        progress.update(|status| status.shutting_down = true);
        // Joins threads, which would block the requests under way. A Kafka that hangs is not waited
        // for: what was not committed is read again.
        let stopped = tokio::task::spawn_blocking(|| ingest.stop());
        if tokio::time::timeout(STOP_PATIENCE, stopped).await.is_err() {
            tracing::warn!("ingestion does not end, as Kafka does not answer; leaving it");
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
                ingest::NotAppended::Unknown => api::NotAppended::Unknown,
                ingest::NotAppended::TooLarge => api::NotAppended::TooLarge,
            });
            let (partition, offset) = appended?;
            Ok([((self.topic().to_owned(), partition), offset + 1)].into())
        })
    }
}

/// Serves checkpoints, where there can be a socket for it.
fn listen(store: &Arc<Store>, config: &Config) -> Option<Control> {
    let listening = Control::listen(store, &config.store.path);
    let say = |error: &io::Error| {
        tracing::warn!(%error, "no socket in store.path, so no backups while this server runs");
    };
    listening.inspect_err(say).ok()
}

/// Takes over projects and keys whenever the configuration is read again. What cannot be used
/// changes nothing.
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
            // Waits for threads of librdkafka.
            tokio::task::block_in_place(|| new.check_start())?;
            state.replace_access(new.access()?);
            Ok(new)
        });
        metrics.config_reloaded(taken.is_ok(), clock::now().as_secs());
        match taken {
            Ok(new) => {
                let (projects, api_keys) = (new.projects.len(), new.api_keys.len());
                tracing::info!(projects, api_keys, "projects and keys were read again");
                config.projects.clone_from(&new.projects);
                config.api_keys.clone_from(&new.api_keys);
                rules.replace(config.rules());
                if config != new {
                    tracing::warn!("other settings have changed too; they count after a restart");
                }
            }
            Err(error) => {
                tracing::error!(%error, "the configuration was read again and changes nothing");
            }
        }
    }
}

/// Takes deleted persons off the disk, now and then.
async fn erase(store: Arc<Store>, mut pending: store::Pending, interval: Duration) {
    loop {
        let (shared, before) = (store.clone(), pending.clone());
        let erased = tokio::task::spawn_blocking(move || shared.erase(&before)).await;
        match erased {
            Ok(Ok((persons, left))) => {
                if persons > 0 {
                    tracing::info!(persons, "deleted persons are off the disk");
                }
                pending = left;
            }
            Ok(Err(error)) => tracing::error!(%error, "deleted persons stay on the disk for now"),
            Err(_) => return,
        }
        tokio::time::sleep(interval).await;
    }
}
