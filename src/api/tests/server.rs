//! Connections: served, and shut down.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};

use super::*;

async fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Sends a `GET` request on a connection of its own.
fn ask(address: SocketAddr, path: &'static str) -> JoinHandle<std::io::Result<String>> {
    spawn_blocking(move || {
        let mut stream = TcpStream::connect(address)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer phx_reader\r\n\
             Connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })
}

async fn text(answer: JoinHandle<std::io::Result<String>>) -> String {
    answer.await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn running_requests_are_answered_before_the_end() {
    let world = World::with(&Settings {
        position_wait: Duration::from_millis(400),
        metrics_separate: true,
        ..settings()
    });
    let (listener, address) = bind().await;
    let (metrics_listener, health) = bind().await;
    let (end, ended) = oneshot::channel::<()>();
    let shutdown = async { drop(ended.await) };
    let serving =
        tokio::spawn(serve(listener, Some(metrics_listener), world.state.clone(), shutdown));
    let list = text(ask(address, LIST)).await;
    assert!(list.starts_with("HTTP/1.1 200 OK\r\n"), "{list}");
    assert!(list.ends_with(r#""count":0,"results":[]}"#), "{list}");

    let slow = ask(address, "/api/projects/1/persons?min_position=events:0:1");
    let idle = TcpStream::connect(address).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    end.send(()).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let refused = ask(address, "/").await.unwrap();
    assert!(refused.is_err(), "no further connection is taken");
    let alive = text(ask(health, "/_liveness")).await;
    assert!(alive.starts_with("HTTP/1.1 200 OK\r\n"), "{alive}");
    let slow = text(slow).await;
    assert!(slow.starts_with("HTTP/1.1 503 "), "{slow}");
    let ended = tokio::time::timeout(Duration::from_secs(10), serving).await;
    ended.expect("idle connections do not hold it up").unwrap().unwrap();
    drop(idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_wait_until_one_ends() {
    let world = World::with(&Settings { connections: 2, ..settings() });
    let (listener, address) = bind().await;
    tokio::spawn(serve(listener, None, world.state.clone(), std::future::pending()));
    let taken = [(); 2].map(|()| TcpStream::connect(address).unwrap());
    let waiting = ask(address, "/_liveness");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished(), "both places are taken");
    drop(taken);
    let answer = text(waiting).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

/// Sends any bytes and returns the answer.
fn send(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    // The answer may come before all is written.
    let _ = stream.write_all(request);
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}

/// These bytes never become a request, so the answer lacks the usual shape of errors, as the reference says.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_request_are_refused_without_a_body() {
    const END: &str = "\r\nHost: x\r\nConnection: close\r\n\r\n";
    let (listener, address) = bind().await;
    let world = World::new();
    tokio::spawn(serve(listener, None, world.state.clone(), std::future::pending()));
    let line = |target: &str| format!("GET {target} HTTP/1.1{END}").into_bytes();
    let headers = |many: usize| {
        let more = (2..many).fold(String::new(), |more, n| more + &format!("\r\nX-{n}: x"));
        format!("GET /_liveness HTTP/1.1{more}{END}").into_bytes()
    };
    let long = format!("/_liveness?{}", "x".repeat(64 << 10));
    let refused = spawn_blocking(move || {
        for (request, status) in [
            (line("/_liveness?x=%22%3C"), 200),
            (line("/_liveness?x={\u{fc}}"), 200),
            (line("/_liveness?x=\""), 400),
            (line("/_liveness?x=<"), 400),
            (line("/_liveness?x=>"), 400),
            (line("/_liveness?x= y"), 400),
            (b"GET /_liveness?x=\xff HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 400),
            (b"GET /_liveness HTTP/1.1\r\nno header\r\n\r\n".to_vec(), 400),
            (headers(100), 200),
            (headers(101), 431),
        ] {
            let answer = send(address, &request);
            let about = String::from_utf8_lossy(&request[..request.len().min(100)]).into_owned();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{about}: {answer}");
            assert_eq!(answer.ends_with("\r\n\r\n"), status != 200, "{about}: {answer}");
        }
        // Whether the URL or the whole head is found too long first depends on how the bytes arrive.
        let answer = send(address, &line(&long));
        assert!(answer.starts_with("HTTP/1.1 4") && answer.ends_with("\r\n\r\n"), "{answer}");
    });
    refused.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_end_are_refused() {
    let (listener, address) = bind().await;
    let world = World::new();
    tokio::spawn(serve(listener, None, world.state.clone(), std::future::pending()));
    let header = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}", "x".repeat(80 << 10));
    let refused = spawn_blocking(move || send(address, header.as_bytes())).await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 431 "), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_body_changes_nothing() {
    let world =
        World::with(&Settings { request_timeout: Duration::from_millis(400), ..settings() });
    let (listener, address) = bind().await;
    tokio::spawn(serve(listener, None, world.state.clone(), std::future::pending()));
    for route in ["PATCH /api/projects/1/persons/1", "POST /api/projects/1/persons/batch_by_uuids"]
    {
        let request = format!(
            "{route} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer phx_writer\r\n\
             Content-Type: application/json\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{{\"a\""
        );
        let answer = spawn_blocking(move || send(address, request.as_bytes())).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("nothing was done"), "{answer}");
    }
}
