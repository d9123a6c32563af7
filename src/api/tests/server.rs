//! Connections: served, and brought to an end.

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

/// Asks on a connection of its own.
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
    let list = text(ask(address, "/api/projects/1/persons")).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_end_are_refused() {
    let (listener, address) = bind().await;
    let world = World::new();
    tokio::spawn(serve(listener, None, world.state.clone(), std::future::pending()));
    let refused = spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let header = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}", "x".repeat(80 << 10));
        // The answer may come before all is written.
        let _ = stream.write_all(header.as_bytes());
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text
    });
    let refused = refused.await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 431 "), "{refused}");
}
