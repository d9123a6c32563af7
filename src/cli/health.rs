//! `personview health`: asks the server on this machine whether it is ready. It serves as the health check of
//! containers, which have no `curl`.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, ensure};
use ureq::Agent;

use crate::config::Config;

/// The longest wait for the complete answer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Requests `/_readiness` at the address configured for health, and prints the answer.
///
/// # Errors
///
/// If there is no answer within three seconds, or the server is not ready.
pub fn run(config: &Config, output: &mut impl Write) -> anyhow::Result<()> {
    let url = format!("http://{}/_readiness", reachable(config.api.health_address()));
    // Never through a proxy, whatever the environment says. Error statuses are read as ordinary answers,
    // because the body says what the server lacks.
    let agent: Agent = Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .into();
    let mut response = agent.get(&url).call().with_context(|| format!("no answer from {url}"))?;
    let status = response.status();
    let body = response.body_mut().read_to_string().with_context(|| format!("{url} broke off"))?;
    writeln!(output, "{}", body.trim_end())?;
    ensure!(status.is_success(), "not ready: {url} answers {status}");
    Ok(())
}

/// Returns the address to connect to for an address to listen on: a server that listens on all addresses is
/// also reachable on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Returns what `run` prints and its result if the server answers with this status line and body.
    fn health(status: &'static str, body: &'static str) -> (String, Result<(), String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = String::new();
            BufReader::new(&stream).read_line(&mut request).expect("a request");
            let length = body.len();
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}")
                .expect("answered");
            request
        });
        let mut config = Config::load(None, std::iter::empty()).expect("the defaults");
        config.api.metrics_listen = Some(address);
        let mut output = Vec::new();
        let result = run(&config, &mut output).map_err(|error| error.to_string());
        assert!(server.join().expect("a request").starts_with("GET /_readiness HTTP/1.1"));
        (String::from_utf8(output).expect("text"), result)
    }

    #[test]
    fn a_ready_server_is_well() {
        assert_eq!(
            health("200 OK", "{\"ready\":true}\n"),
            ("{\"ready\":true}\n".to_owned(), Ok(()))
        );
    }

    #[test]
    fn a_server_that_is_not_ready_says_why_and_is_not_well() {
        let (output, result) = health("503 Service Unavailable", "{\"kafka\":\"away\"}");
        assert_eq!(output, "{\"kafka\":\"away\"}\n");
        assert!(result.expect_err("not ready").contains("503"));
    }

    #[test]
    fn a_server_that_does_not_answer_is_not_well() {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("one");
        let mut config = Config::load(None, std::iter::empty()).expect("the defaults");
        config.api.listen = free;
        let error = run(&config, &mut std::io::sink()).expect_err("no server").to_string();
        assert!(error.contains(&free.to_string()), "{error}");
    }

    #[test]
    fn a_server_on_all_addresses_is_asked_on_this_machine() {
        let asked = |listen: &str| reachable(listen.parse().expect("an address")).to_string();
        assert_eq!(asked("0.0.0.0:8000"), "127.0.0.1:8000");
        assert_eq!(asked("[::]:8000"), "[::1]:8000");
        assert_eq!(asked("10.1.2.3:8000"), "10.1.2.3:8000");
    }
}
