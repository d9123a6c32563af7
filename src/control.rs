//! What a running server does for a command beside it: a checkpoint of the store, for as long as
//! the command copies it.
//!
//! They talk over a socket in the store's folder, so whoever may write there may ask, and nobody
//! over the network. The command writes `checkpoint`; the server answers with a line of JSON and
//! keeps the checkpoint until the command has said `done`, or is gone.

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

/// The socket, in the store's folder.
const SOCKET: &str = "control.sock";

/// The longest line that is read from a command, in bytes.
const LINE: u64 = 64;

const CHECKPOINT: &str = "checkpoint";
const DONE: &str = "done";

/// What the server says to [`CHECKPOINT`].
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Checkpoint(PathBuf),
    Error(String),
}

/// A socket that is listened on. It is taken away when this is dropped.
#[derive(Debug)]
pub struct Control(PathBuf);

impl Control {
    /// Listens in the folder of an open store, which there is only one process that has.
    ///
    /// # Errors
    /// Where there can be no socket: a folder whose name is longer than a socket's may be, or a
    /// file system without sockets.
    pub fn listen(store: &Arc<Store>, folder: &Path) -> io::Result<Self> {
        let path = folder.join(SOCKET);
        // One that a killed process left: nobody else can have the store open.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        // The store closes when everybody else lets go of it, whoever is talking here.
        let store = Arc::downgrade(store);
        thread::spawn(move || {
            for command in listener.incoming() {
                let Ok(command) = command else {
                    // No more files may be open, say, which only time mends.
                    thread::sleep(Duration::from_millis(500));
                    continue;
                };
                let store = store.clone();
                thread::spawn(move || {
                    if let Err(error) = serve(&store, &command) {
                        tracing::warn!(%error, "a backup was left");
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
    tracing::info!("a backup was made");
    command.write_all(b"\n")
}

/// Why a running server gives no checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It said so.
    #[error("the server that runs on this store gives no checkpoint: {0}")]
    Refused(String),
    /// It is another user's.
    #[error(
        "this user may not ask the server that runs on this store; run the command as its user"
    )]
    Foreign,
    /// It cannot be understood, or is gone.
    #[error("the server that runs on this store does not answer")]
    Broken(#[from] io::Error),
}

/// A checkpoint of a store that a server runs on. The server keeps it as long as this is there.
#[derive(Debug)]
pub struct Lease {
    server: BufReader<UnixStream>,
    checkpoint: PathBuf,
}

impl Lease {
    /// Asks the server that runs on the store in a folder; `None` where there is none.
    ///
    /// # Errors
    /// Where the server refuses or breaks off.
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

    /// Where the checkpoint stands.
    #[must_use]
    pub fn checkpoint(&self) -> &Path {
        &self.checkpoint
    }

    /// Says that everything was copied, and waits until the server has noted it.
    ///
    /// # Errors
    /// Where the server is gone.
    pub fn done(mut self) -> Result<(), Error> {
        writeln!(self.server.get_mut(), "{DONE}")?;
        let mut line = String::new();
        match self.server.read_line(&mut line)? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            _ => Ok(()),
        }
    }
}

/// Nobody listens there: no server, or one that was killed.
fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Arc<Store>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let config = crate::store::Config { path, memory: 64 << 20, sync_writes: false };
        let store = Arc::new(Store::open(&config).unwrap());
        (folder, store)
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
    fn whoever_talks_holds_no_store_open() {
        let (folder, store) = store();
        let _control = Control::listen(&store, folder.path()).unwrap();
        let _lease = Lease::take(folder.path()).unwrap().unwrap();
        assert_eq!(Arc::strong_count(&store), 1);
    }
}
