//! Starts the program and talks to it.

mod topic;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value as Json;
use tempfile::TempDir;

pub use self::topic::*;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The key that every test service accepts.
pub const KEY: &str = "phx_test";

/// Returns the command that runs the program.
pub fn personview(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_personview"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// A folder with a configuration and a store.
pub struct Home {
    folder: Arc<TempDir>,
    /// The command that runs the program, if it is run by another one.
    pub under: Vec<String>,
}

impl Home {
    pub fn new(topic: &Topic) -> Self {
        Self::with(topic, "")
    }

    /// Adds `more` to the configuration.
    pub fn with(topic: &Topic, more: &str) -> Self {
        Self::at(&topic.address, &topic.name, more)
    }

    /// Reads a topic of any Kafka, which the tests themselves need not reach.
    pub fn at(address: &str, topic: &str, more: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let mut config = String::new();
        let hash = personview::api::key::to_hex(&personview::api::key::hash(KEY));
        write!(
            config,
            "[kafka]\nbootstrap_servers = \"{}\"\ntopics = [\"{topic}\"]\ngroup = \"{topic}\"\n\
             command_topic = \"{topic}-commands\"\n\
             [store]\npath = \"{}\"\nmemory = \"128MiB\"\n\
             [api]\nlisten = \"127.0.0.1:0\"\n\
             [[projects]]\nid = 1\nname = \"Test\"\ntokens = [\"t\"]\n\
             [[api_keys]]\nlabel = \"test\"\nsha256 = \"{hash}\"\nscopes = [\"*\"]\nprojects = [1]\n\
             {more}\n",
            address,
            folder.path().join("store").display(),
        )
        .unwrap();
        std::fs::write(folder.path().join("config.toml"), config).unwrap();
        Self { folder: Arc::new(folder), under: Vec::new() }
    }

    /// The same folder, with every process of the program run by another command.
    pub fn under(&self, command: Vec<String>) -> Self {
        Self { folder: self.folder.clone(), under: command }
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Returns the command that runs the program with this configuration.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let config = self.config();
        let all = [&["--config", config.to_str().unwrap()], arguments].concat();
        let Some((first, others)) = self.under.split_first() else { return personview(&all) };
        let mut command = Command::new(first);
        command.args(others).arg(personview(&[]).get_program()).args(all).stdin(Stdio::null());
        command
    }

    /// Runs the program to its end, and returns exit code, standard output and standard error.
    pub fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    pub fn serve(&self) -> Service {
        self.serve_with(&[])
    }

    pub fn serve_with(&self, flags: &[&str]) -> Service {
        Service::start(self, flags, &[])
    }

    /// Starts the service without waiting until it can be reached.
    pub fn spawn(&self) -> Service {
        Service::spawn(self, &[], &[])
    }

    /// Starts the service with these environment variables.
    pub fn serve_in(&self, environment: &[(&str, &str)]) -> Service {
        Service::start(self, &[], environment)
    }
}

/// A running `personview serve`.
pub struct Service {
    /// Keeps the store while it is served.
    _folder: Arc<TempDir>,
    process: Child,
    pub url: String,
    /// The lines that it logged after the one with its address.
    pub log: Receiver<String>,
}

impl Service {
    fn spawn(home: &Home, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let folder = home.folder.clone();
        let mut command = home.command(&["serve"]);
        command.args(flags).envs(environment.iter().copied());
        let mut process = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        let (sender, log) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                // The test may have ended.
                let _ = sender.send(line);
            }
        });
        Self { _folder: folder, process, url: String::new(), log }
    }

    fn start(home: &Home, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut service = Self::spawn(home, flags, environment);
        while service.url.is_empty() {
            let line = service.log.recv_timeout(PATIENCE).expect("the service did not start");
            let fields: Json = serde_json::from_str(&line).expect(&line);
            if let Some(address) = fields["address"].as_str() {
                service.url = format!("http://{address}");
            }
        }
        service
    }

    /// Returns status and body of a GET with the key.
    pub fn get(&self, path: &str) -> (u16, Json) {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let request = agent.get(format!("{}{path}", self.url));
        let mut answer = request.header("Authorization", format!("Bearer {KEY}")).call().unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Json::String(text)))
    }

    /// Returns status and body of a request with the key, and with JSON if there is a body.
    pub fn send(&self, method: &str, path: &str, body: Option<&Json>) -> (u16, Json) {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .build()
            .new_agent();
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("Authorization", format!("Bearer {KEY}"));
        let mut answer = match body {
            None => agent.run(request.body(()).unwrap()),
            Some(body) => {
                let request = request.header("Content-Type", "application/json");
                agent.run(request.body(body.to_string()).unwrap())
            }
        }
        .unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Json::String(text)))
    }

    /// Returns the body of a GET under the project's persons, which must succeed.
    pub fn persons(&self, path: &str) -> Json {
        let (status, body) = self.get(&format!("/api/projects/1/persons{path}"));
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Returns the value of one series.
    pub fn metric(&self, series: &str) -> f64 {
        let (_, text) = self.get("/metrics");
        let text = text.as_str().unwrap().to_owned();
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    /// Waits until readiness answers with this status, and returns its body.
    pub fn wait_for_readiness(&self, wanted: u16) -> Json {
        wait_for(|| {
            let (status, body) = self.get("/_readiness");
            if status == wanted { Ok(body) } else { Err(body.to_string()) }
        })
    }

    /// Waits until readiness gives a reason with these words for a component, and returns that reason.
    pub fn wait_for_reason(&self, component: &str, words: &str) -> String {
        wait_for(|| {
            let (_, body) = self.get("/_readiness");
            let reason = body["components"][component]["reason"].as_str().unwrap_or_default();
            if reason.contains(words) { Ok(reason.to_owned()) } else { Err(body.to_string()) }
        })
    }

    /// Returns its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.id().try_into().unwrap()), signal).unwrap();
    }

    /// Waits for the next log line that has this text.
    pub fn wait_for_log(&self, text: &str) -> String {
        loop {
            let line = self.log.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("it did not log {text:?}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Returns how it ended; `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().unwrap()
    }

    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Ends it with SIGTERM, and expects a clean exit.
    #[track_caller]
    pub fn terminate(mut self) {
        self.signal(Signal::SIGTERM);
        let ended: ExitStatus = wait_for(|| self.ended().ok_or("still running"));
        let said = || self.log.try_iter().collect::<Vec<_>>().join("\n");
        assert!(ended.success(), "{ended}\n{}", said());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what {} logged:", self.url);
            self.log.try_iter().for_each(|line| eprintln!("{line}"));
        }
        // If the test killed or ended it, there is nothing left to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Asks until there is an answer, and panics after [`PATIENCE`].
pub fn wait_for<T, E: std::fmt::Debug>(mut ask: impl FnMut() -> Result<T, E>) -> T {
    let began = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(last) if began.elapsed() > PATIENCE => panic!("not in time; at last {last:?}"),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}
