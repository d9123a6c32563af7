//! `personview serve`: the service until a signal ends it.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::config::{self, Config};
use crate::progress::Progress;
use crate::{Start, api};

/// Runs the service on a runtime of its own.
///
/// `load` reads the configuration again, at every SIGHUP.
pub fn run(
    config: Config,
    accept_gap: bool,
    load: impl Fn() -> Result<Config, config::Error> + Send + 'static,
) -> anyhow::Result<()> {
    allow_files(config.api.connections);
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let listener = bind("api.listen", config.api.listen).await?;
        let metrics_listener = match config.api.metrics_listen {
            Some(address) => Some(bind("api.metrics_listen", address).await?),
            None => None,
        };
        let start = Start {
            listener,
            metrics_listener,
            accept_gap,
            refuse_compacted: true,
            reloads: reloads(load)?,
        };
        let shutdown = signalled()?;
        Ok(crate::run(config, start, Arc::<Progress>::default(), shutdown).await?)
    });
    // The last task that holds the store closes it, and the process must not end meanwhile: RocksDB
    // would find its locks gone. Whatever waits for Kafka longer is left where it is.
    runtime.shutdown_timeout(api::SHUTDOWN_TIMEOUT);
    ended
}

/// Files that the process needs beside its connections: the store's, Kafka's, its own.
const OTHER_FILES: u64 = 1_000;

/// Lets the process have as many files open as the system allows it, since a store that cannot open
/// one more fails. Shells and service managers often begin with far fewer.
fn allow_files(connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    let allowed = if setrlimit(Resource::Nofile, raised).is_ok() { raised } else { limit }.current;
    let needed = connections as u64 + OTHER_FILES;
    if let Some(allowed) = allowed.filter(|allowed| *allowed < needed) {
        tracing::warn!(
            allowed,
            needed,
            "too few files may be open for api.connections; raise the limit (`ulimit -n`, LimitNOFILE)"
        );
    }
}

/// The configuration, read again at every SIGHUP.
fn reloads(
    load: impl Fn() -> Result<Config, config::Error> + Send + 'static,
) -> anyhow::Result<mpsc::Receiver<Result<Config, config::Error>>> {
    let mut hangup = signal(SignalKind::hangup())?;
    let (sender, reloads) = mpsc::channel(1);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            if sender.send(load()).await.is_err() {
                return;
            }
        }
    });
    Ok(reloads)
}

/// The runtime of all but requests, which have threads of their own: there is little to do.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().context("the runtime cannot be started")
}

/// Binds the address of a setting, or says what stands in the way.
pub async fn bind(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => anyhow::anyhow!(
            "{address} is in use by another process; stop it, or set {setting} to another address"
        ),
        _ => anyhow::anyhow!("cannot listen on {address}: {error}; check {setting}"),
    })
}

/// Resolves at the first SIGTERM or SIGINT. A second one ends the process at once, which loses
/// nothing: what was not committed is read again.
pub fn signalled() -> anyhow::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("a second signal: ending at once");
            std::process::exit(1);
        });
    })
}
