//! Connections: taken, served within limits, and brought to an end.

use std::io;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{State, router};

/// The longest time until a request's headers are all there; a connection that is silent for
/// longer is closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// The most bytes of a request's line and headers; beyond it the answer is 431.
const MAX_HEADERS: usize = 64 << 10;

/// How long running requests may go on after the end was asked for.
const GRACE: Duration = Duration::from_secs(30);

/// How long to wait before the next connection after one could not be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Serves until `shutdown` completes and the requests running then are answered, or half a
/// minute has passed. Health on a listener of its own answers as long as that takes.
///
/// # Errors
/// Where a listener is none any more.
pub async fn serve(
    listener: TcpListener,
    metrics_listener: Option<TcpListener>,
    state: State,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let main = accept(listener, router::main(&state), shutdown);
    let Some(metrics_listener) = metrics_listener else {
        main.await;
        return Ok(());
    };
    let health = accept(metrics_listener, router::health(&state), std::future::pending());
    tokio::select! {
        () = main => {}
        () = health => {}
    }
    Ok(())
}

async fn accept(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()> + Send) {
    let mut connections = JoinSet::new();
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, router.clone(), graceful.watcher()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!(
            requests = connections.len(),
            "requests still running after {GRACE:?} are broken off"
        );
    }
}

async fn connection(
    stream: TcpStream,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
) {
    // Answers are written whole; there is nothing to gather.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended early");
    }
}
