//! What a running server does for a command started beside it: it makes a checkpoint of the store and keeps
//! it while the command copies it.
//!
//! They communicate over a Unix socket in the store's folder, restricted to the server's user and root and
//! not reachable over the network. The command writes `checkpoint`; the server answers with one line of JSON
//! and keeps the checkpoint until the command writes `done` or disconnects.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::store::Store;

/// The name of the socket in the store's folder.
const SOCKET: &str = "control.sock";

/// The maximum length of a line from a command, in bytes; a command sends two lines.
const LINE: u64 = 64;

const CHECKPOINT: &str = "checkpoint";
const DONE: &str = "done";

/// The server's answer to [`CHECKPOINT`].
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Checkpoint(PathBuf),
    Error(String),
}

/// A socket that the server listens on. The socket file is removed on drop.
#[derive(Debug)]
pub struct Control(PathBuf);

impl Control {
    /// Starts listening in the folder of an open store. Only one process can have the store open.
    ///
    /// # Errors
    /// If there can be no socket there: the path is longer than a socket's may be, or the file system
    /// does not support sockets.
    pub fn listen(store: &Arc<Store>, folder: &Path) -> io::Result<Self> {
        let path = folder.join(SOCKET);
        // A leftover of a killed process: no other process can have the store open.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        // A weak reference, so that a connected command does not keep the store open.
        let store = Arc::downgrade(store);
        thread::spawn(move || {
            for command in listener.incoming() {
                let Ok(command) = command else {
                    // For example, the limit of open files is reached. Only time helps.
                    thread::sleep(Duration::from_millis(500));
                    continue;
                };
                let store = store.clone();
                thread::spawn(move || {
                    if let Err(error) = serve(&store, &command) {
                        tracing::warn!(%error, "a backup was abandoned");
                    }
                });
            }
        });
        Ok(Self(path))
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn serve(store: &Weak<Store>, mut command: &UnixStream) -> io::Result<()> {
    let mut lines = BufReader::new(command.take(2 * LINE));
    let mut line = String::new();
    lines.read_line(&mut line)?;
    if line.trim_end() != CHECKPOINT {
        return Ok(());
    }
    let made = store.upgrade().map(|store| store.checkpoint());
    let (answer, checkpoint) = match made {
        Some(Ok(checkpoint)) => {
            (Answer::Checkpoint(checkpoint.path().to_owned()), Some(checkpoint))
        }
        Some(Err(error)) => (Answer::Error(error.to_string()), None),
        None => (Answer::Error("the server is shutting down".to_owned()), None),
    };
    let mut answer = serde_json::to_vec(&answer)?;
    answer.push(b'\n');
    command.write_all(&answer)?;
    let Some(checkpoint) = checkpoint else { return Ok(()) };
    tracing::info!("a checkpoint is being copied");
    line.clear();
    lines.read_line(&mut line)?;
    drop(checkpoint);
    if line.trim_end() != DONE {
        return Err(io::Error::other("the command ended before it had copied everything"));
    }
    if let Some(store) = store.upgrade() {
        store.note_backup(clock::now().as_secs()).map_err(io::Error::other)?;
    }
    tracing::info!("a backup was finished");
    command.write_all(b"\n")
}

/// Why a running server does not provide a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused, with this reason.
    #[error("the server running on this store refused a checkpoint: {0}")]
    Refused(String),
    /// The server belongs to another user.
    #[error(
        "this user may not ask the server that runs on this store; run the command as its user"
    )]
    Foreign,
    /// The server's answer cannot be understood, or the server is gone.
    #[error("the server that runs on this store does not answer")]
    Broken(#[from] io::Error),
}

/// A checkpoint of a store that a server runs on. The server keeps it until this is dropped.
#[derive(Debug)]
pub struct Lease {
    server: BufReader<UnixStream>,
    checkpoint: PathBuf,
}

impl Lease {
    /// Asks the server that runs on the store in `folder` for a checkpoint; `None` if no server runs there.
    ///
    /// # Errors
    /// If the server refuses or disconnects.
    pub fn take(folder: &Path) -> Result<Option<Self>, Error> {
        let mut stream = match UnixStream::connect(folder.join(SOCKET)) {
            Ok(stream) => stream,
            Err(error) if is_nobody(&error) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(Error::Foreign);
            }
            Err(error) => return Err(error.into()),
        };
        writeln!(stream, "{CHECKPOINT}")?;
        let mut server = BufReader::new(stream);
        let mut line = String::new();
        server.read_line(&mut line)?;
        match serde_json::from_str(&line).map_err(io::Error::from)? {
            Answer::Checkpoint(checkpoint) => Ok(Some(Self { server, checkpoint })),
            Answer::Error(error) => Err(Error::Refused(error)),
        }
    }

    /// Returns the folder of the checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> &Path {
        &self.checkpoint
    }

    /// Reports that everything was copied, and waits until the server has noted the backup.
    ///
    /// # Errors
    /// If the server is gone.
    pub fn done(mut self) -> Result<(), Error> {
        writeln!(self.server.get_mut(), "{DONE}")?;
        let mut line = String::new();
        match self.server.read_line(&mut line)? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            _ => Ok(()),
        }
    }
}

/// Returns whether no process listens on the socket: there is no server, or it was killed.
fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Arc<Store>) {
        let (folder, store) = crate::store::tests::opened();
        (folder, Arc::new(store))
    }

    #[test]
    fn a_checkpoint_lives_as_long_as_whoever_copies_it() {
        let (folder, store) = store();
        assert!(Lease::take(folder.path()).unwrap().is_none(), "nobody listens yet");
        let control = Control::listen(&store, folder.path()).unwrap();
        let lease = Lease::take(folder.path()).unwrap().unwrap();
        let checkpoint = lease.checkpoint().to_owned();
        assert!(checkpoint.join("CURRENT").exists());
        let second = Lease::take(folder.path()).unwrap_err().to_string();
        assert!(second.contains("another backup is being made"), "{second}");
        assert_eq!(store.last_backup(), None);
        lease.done().unwrap();
        assert!(store.last_backup().is_some_and(|time| time <= clock::now().as_secs()));
        assert!(!checkpoint.exists());
        drop(control);
        assert!(Lease::take(folder.path()).unwrap().is_none(), "it listens no more");
    }

    #[test]
    fn a_command_that_is_gone_leaves_no_checkpoint_and_no_note() {
        let (folder, store) = store();
        let _control = Control::listen(&store, folder.path()).unwrap();
        let lease = Lease::take(folder.path()).unwrap().unwrap();
        let checkpoint = lease.checkpoint().to_owned();
        drop(lease);
        while checkpoint.exists() {
            thread::yield_now();
        }
        assert_eq!(store.last_backup(), None);
    }

    #[test]
    fn an_open_connection_does_not_hold_the_store_open() {
        let (folder, store) = store();
        let _control = Control::listen(&store, folder.path()).unwrap();
        let _lease = Lease::take(folder.path()).unwrap().unwrap();
        assert_eq!(Arc::strong_count(&store), 1);
    }
}
