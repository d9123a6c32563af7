//! `personview serve`: runs the service until a signal ends it.

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
use crate::{Start, api, logging};

/// Runs the service on its own runtime.
///
/// `load` reads the configuration, now and again on every SIGHUP.
pub fn run(
    accept_gap: bool,
    load: impl Fn() -> Result<Config, config::Error> + Clone + Send + 'static,
) -> anyhow::Result<()> {
    let runtime = runtime()?;
    // Before anything that takes time: a SIGHUP without a handler ends the process, which systemd takes for a
    // clean exit, so it would not restart it.
    let reloads = {
        let _context = runtime.enter();
        reloads(load.clone())?
    };
    let config = load()?;
    config.check_start()?;
    logging::start()?;
    allow_files(config.api.connections);
    let ended = runtime.block_on(async {
        let listener = bind("api.listen", config.api.listen).await?;
        let metrics_listener = match config.api.metrics_listen {
            Some(address) => Some(bind("api.metrics_listen", address).await?),
            None => None,
        };
        let start =
            Start { listener, metrics_listener, accept_gap, refuse_compacted: true, reloads };
        let shutdown = signalled()?;
        Ok(crate::run(config, start, Arc::<Progress>::default(), shutdown).await?)
    });
    // The store is closed by the last task that uses it. The process must not exit before that, or RocksDB
    // would destroy locks that are still in use. Tasks that wait for Kafka longer than this are abandoned.
    runtime.shutdown_timeout(api::SHUTDOWN_TIMEOUT);
    ended
}

/// Open files needed besides connections: those of the store, of Kafka clients and of the process.
const OTHER_FILES: u64 = 1_000;

/// Raises the limit of open files to the maximum the system allows, since a store that cannot open another
/// file fails. Shells and service managers often start processes with a much lower limit.
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

/// Returns a channel that receives the configuration, read again on every SIGHUP.
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

/// Builds the runtime for everything except requests, which have their own threads. One
/// worker is enough for the rest.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().context("the runtime cannot be started")
}

/// Binds the address of a setting. The error says what prevents it and which setting to change.
pub async fn bind(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => anyhow::anyhow!(
            "{address} is in use by another process; stop it, or set {setting} to another address"
        ),
        _ => anyhow::anyhow!("cannot listen on {address}: {error}; check {setting}"),
    })
}

/// Returns a future that resolves at the first SIGTERM or SIGINT. A second signal ends the process at once,
/// which loses nothing: what was not committed is read again.
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
