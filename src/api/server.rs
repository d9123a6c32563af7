//! Connections: accepted, served within limits, and shut down.

use std::io;
use std::net;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;

use super::workers::Workers;
use super::{State, router, stream};

/// The longest time until a request's headers have arrived; a connection silent for longer is closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// The most bytes of the request line and headers; a request with more is answered with 431.
const MAX_HEAD: usize = 64 << 10;

/// How long running requests may go on after shutdown was requested.
const GRACE: Duration = Duration::from_secs(30);

/// The least time between two warnings that all connections are in use.
const CROWD_PAUSE: Duration = Duration::from_secs(60);

/// How long a caller may take nothing of its answer before its connection is closed.
const PATIENCE: Duration = if cfg!(test) { Duration::from_millis(100) } else { stream::PATIENCE };

/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Serves until `shutdown` completes and the requests running then are answered, or half a minute has passed.
/// If the health routes have their own listener, they are answered until then.
///
/// # Errors
/// If the system has no threads to serve on.
pub async fn serve(
    listener: TcpListener,
    metrics_listener: Option<TcpListener>,
    state: State,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let most = state.settings.connections;
    let workers = Workers::for_requests()?;
    let main = accept(listener, router::main(&state), &workers, most, shutdown);
    let Some(metrics_listener) = metrics_listener else {
        main.await;
        return Ok(());
    };
    // It has its own connection limit and thread, so that monitors are answered even if all others are busy.
    let worker = Workers::single()?;
    let router = router::health(&state);
    let health = accept(metrics_listener, router, &worker, most, std::future::pending());
    tokio::select! {
        () = main => {}
        () = health => {}
    }
    Ok(())
}

/// Serves at most `most` connections at a time, while the others wait in the system's
/// backlog. Ends after `shutdown`.
async fn accept(
    listener: TcpListener,
    router: Router,
    workers: &Workers,
    most: usize,
    shutdown: impl Future<Output = ()> + Send,
) {
    let places = Arc::new(Semaphore::new(most));
    let mut crowd = Crowd { most, told: None };
    let mut connections = JoinSet::new();
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            (place, accepted) = next(&listener, &places) => match accepted {
                Ok(stream) => {
                    let connection = connection(stream, router.clone(), graceful.watcher());
                    workers.spawn(&mut connections, async move {
                        let _place = place;
                        connection.await;
                    });
                    crowd.tell(&places);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
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
            "requests still running after {GRACE:?} are cancelled"
        );
    }
}

/// Accepts the next connection, once there is a permit for it.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (Option<OwnedSemaphorePermit>, io::Result<net::TcpStream>) {
    let place = places.clone().acquire_owned().await.ok();
    let accepted = listener.accept().await;
    // A stream belongs to the runtime that polls it, which here is another one.
    (place, accepted.and_then(|(stream, _)| stream.into_std()))
}

/// Warns once in a while that all connections are in use.
struct Crowd {
    most: usize,
    told: Option<Instant>,
}

impl Crowd {
    fn tell(&mut self, places: &Semaphore) {
        let is_due = self.told.is_none_or(|told| told.elapsed() >= CROWD_PAUSE);
        if places.available_permits() == 0 && is_due {
            tracing::warn!(
                api.connections = self.most,
                "all connections are in use; further ones wait"
            );
            self.told = Some(Instant::now());
        }
    }
}

async fn connection(
    stream: net::TcpStream,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, "cannot accept a connection"),
    };
    // Answers are written whole, so there is nothing to gain by delaying small packets.
    let _ = stream.set_nodelay(true);
    let stream = Connection::new(stream);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        // See `pieces`.
        .writev(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// A connection that ends if the caller takes nothing of its answer for [`PATIENCE`]: what is not taken
/// occupies memory, and nothing else gives up on such a caller. One that sends meanwhile is not given up, as it
/// may send all lines of a join before it reads any answer.
struct Connection(Pin<Box<TimeoutStream<TcpStream>>>);

impl Connection {
    fn new(stream: TcpStream) -> Self {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(PATIENCE));
        Self(Box::pin(stream))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.0.as_mut().poll_read(context, buffer);
        if buffer.filled().len() > before {
            // Starts the time anew.
            self.0.as_mut().set_write_timeout_pinned(Some(PATIENCE));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::Request;
    use axum::routing::any;
    use futures_util::StreamExt;
    use tokio::task::JoinHandle;

    use super::*;

    /// More than the socket buffers of both ends.
    const LONG: usize = 64 << 20;

    /// Serves one connection, which reads a body while it answers, and returns its caller.
    async fn called(graceful: &GracefulShutdown) -> (TcpStream, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let caller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let answer = async |request: Request| {
            let mut body = request.into_body().into_data_stream();
            tokio::spawn(async move { while body.next().await.is_some() {} });
            vec![0; LONG]
        };
        let router = Router::new().route("/", any(answer));
        let stream = stream.into_std().unwrap();
        (caller, tokio::spawn(connection(stream, router, graceful.watcher())))
    }

    async fn send(caller: &TcpStream, bytes: &[u8]) {
        caller.writable().await.unwrap();
        assert_eq!(caller.try_write(bytes).unwrap(), bytes.len());
    }

    #[tokio::test]
    async fn a_caller_that_takes_nothing_is_left() {
        let graceful = GracefulShutdown::new();
        let (caller, served) = called(&graceful).await;
        send(&caller, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        tokio::time::timeout(Duration::from_secs(30), served).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_caller_that_takes_nothing_is_not_left_while_it_sends() {
        let graceful = GracefulShutdown::new();
        let (caller, served) = called(&graceful).await;
        send(&caller, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        let began = Instant::now();
        while began.elapsed() < PATIENCE * 5 {
            send(&caller, b"1\r\nx\r\n").await;
            tokio::time::sleep(PATIENCE / 5).await;
        }
        assert!(!served.is_finished());
        tokio::time::timeout(Duration::from_secs(30), served).await.unwrap().unwrap();
    }
}
