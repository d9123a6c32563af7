//! A Kafka for one test, which may configure, pause and kill it.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A broker of `tests/kafka/broker`, killed at the end.
pub struct Broker(TempDir);

fn script() -> Command {
    Command::new(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/broker"))
}

fn done(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Broker {
    /// Starts a broker and returns its address.
    pub fn start() -> (Self, String) {
        Self::start_in(TempDir::new().unwrap(), "")
    }

    /// Starts a broker in a folder, with more lines of `server.properties`.
    pub fn start_in(folder: TempDir, properties: &str) -> (Self, String) {
        let broker = Self(folder);
        done(script().args(["start".as_ref(), broker.0.path()]).env("KAFKA_PROPS", properties));
        let address = std::fs::read_to_string(broker.0.path().join("address")).unwrap();
        (broker, address.trim().to_owned())
    }

    /// Kills the broker and starts it again with other lines of `server.properties`.
    pub fn restart(&self, properties: &str) {
        self.tell("kill");
        done(script().args(["start".as_ref(), self.folder()]).env("KAFKA_PROPS", properties));
    }

    /// Returns the folder of its data.
    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    pub fn tell(&self, verb: &str) {
        done(script().args([verb.as_ref(), self.0.path()]));
    }

    /// Runs one of Kafka's own tools.
    pub fn tool(arguments: &[&str]) {
        done(script().arg("tool").args(arguments));
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.tell("kill");
    }
}
