//! Requests over kept connections, and the ceiling: a handler that only answers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::harness::KEY;

/// The result of a run of requests.
pub struct Run {
    pub per_second: f64,
    /// The latency of each request in seconds, ascending.
    pub seconds: Vec<f64>,
}

impl Run {
    /// Returns the time within which this share of the requests was answered.
    pub fn quantile(&self, share: f64) -> f64 {
        let last = self.seconds.len().saturating_sub(1);
        self.seconds.get((last as f64 * share) as usize).copied().unwrap_or(f64::NAN)
    }
}

/// A client that runs on the thread that calls it.
pub struct Client {
    runtime: tokio::runtime::Runtime,
}

impl Client {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self { runtime: runtime.expect("a runtime") }
    }

    /// Requests the paths in turn, over this many connections, until the time is over.
    pub fn run(&self, url: &str, paths: &[String], connections: usize, during: Duration) -> Run {
        let address = address(url);
        let began = Instant::now();
        let walk = |first: usize| async move {
            let mut sender = connect(address).await;
            let (mut seconds, mut at) = (Vec::new(), first * paths.len() / connections);
            while began.elapsed() < during {
                let asked = Instant::now();
                get(&mut sender, &paths[at % paths.len()]).await;
                seconds.push(asked.elapsed().as_secs_f64());
                at += 1;
            }
            seconds
        };
        let all = futures_util::future::join_all((0..connections).map(walk));
        let mut seconds: Vec<f64> = self.runtime.block_on(all).concat();
        let per_second = seconds.len() as f64 / began.elapsed().as_secs_f64();
        seconds.sort_by(f64::total_cmp);
        Run { per_second, seconds }
    }

    /// Returns one body.
    pub fn get(&self, url: &str, path: &str) -> Bytes {
        self.runtime.block_on(async { get(&mut connect(address(url)).await, path).await })
    }

    /// Sends lines to the point-in-time join and returns the number of lines in the answer.
    pub fn join(&self, url: &str, lines: String) -> usize {
        let path = "/api/projects/1/persons/properties_at_time";
        let request = request("POST", path, Bytes::from(lines));
        let body = self.runtime.block_on(async {
            let answer = connect(address(url)).await.send_request(request).await;
            let answer = answer.expect("an answer");
            assert!(answer.status().is_success(), "{}", answer.status());
            answer.into_body().collect().await.expect("a whole answer").to_bytes()
        });
        memchr::memchr_iter(b'\n', &body).count()
    }
}

fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().expect("an address")
}

async fn connect(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.expect("the server listens");
    stream.set_nodelay(true).expect("a socket");
    let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);
    sender
}

fn request(method: &str, path: &str, body: Bytes) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(path).header("Host", "localhost");
    let request = request.header("Authorization", format!("Bearer {KEY}"));
    request.body(Full::new(body)).expect("a request")
}

async fn get(sender: &mut SendRequest<Full<Bytes>>, path: &str) -> Bytes {
    sender.ready().await.expect("a connection");
    let answer = sender.send_request(request("GET", path, Bytes::new())).await;
    let answer = answer.expect("an answer");
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    answer.into_body().collect().await.expect("a body").to_bytes()
}

/// Answers every request with the same bytes, on a multi-threaded runtime.
pub struct Ceiling {
    _runtime: tokio::runtime::Runtime,
    pub url: String,
}

impl Ceiling {
    pub fn start(bytes: Bytes) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let answer = move || {
            let bytes = bytes.clone();
            async move { ([("content-type", "application/json")], bytes) }
        };
        let router = Router::new().fallback(answer);
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
            let _ = stream.set_nodelay(true);
        });
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { _runtime: runtime, url }
    }
}
