//! The threads that answer requests: each has a runtime of its own and serves its connections until they end.

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// How long reads in progress may take to release the store, once nothing waits for them any more.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// The fewest threads for requests. Reads of one person run on them, and one that waits for the disk
/// must not hold up all others.
const MIN_THREADS: usize = 4;

/// Threads with a runtime each. A connection stays on its thread: moving requests between threads costs more
/// in wake-ups than it saves in waiting.
///
/// Dropping it ends the threads: remaining tasks are dropped, and reads in progress are waited for up to
/// [`SHUTDOWN_TIMEOUT`], since the process must not end while they hold the store.
pub struct Workers(Vec<Worker>);

struct Worker {
    handle: Handle,
    /// Dropped to end the thread.
    running: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Workers {
    /// Starts a thread for each core, and at least `MIN_THREADS`.
    ///
    /// # Errors
    /// If the system has no thread, or no file descriptor for its runtime.
    pub fn for_requests() -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (0..cores.max(MIN_THREADS)).map(|_| Worker::start()).collect::<io::Result<_>>().map(Self)
    }

    /// Starts one thread, for requests that must be answered even if all other threads are busy.
    ///
    /// # Errors
    /// See [`Workers::for_requests`].
    pub fn single() -> io::Result<Self> {
        Ok(Self(vec![Worker::start()?]))
    }

    /// Runs a task on the thread with the fewest tasks.
    pub fn spawn(&self, tasks: &mut JoinSet<()>, task: impl Future<Output = ()> + Send + 'static) {
        let handles = self.0.iter().map(|worker| &worker.handle);
        let idlest = handles.min_by_key(|handle| handle.metrics().num_alive_tasks());
        if let Some(handle) = idlest {
            tasks.spawn_on(task, handle);
        }
    }
}

impl Worker {
    fn start() -> io::Result<Self> {
        let runtime =
            Builder::new_current_thread().enable_all().thread_name("http-read").build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name("http".to_owned());
        let thread = thread.spawn(move || run(runtime, ended))?;
        Ok(Self { handle, running: Some(running), thread: Some(thread) })
    }
}

fn run(runtime: Runtime, ended: oneshot::Receiver<()>) {
    let _ = runtime.block_on(ended);
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
}

impl Drop for Workers {
    fn drop(&mut self) {
        // All threads are signalled first, so that they end at the same time.
        for worker in &mut self.0 {
            worker.running.take();
        }
        for thread in self.0.iter_mut().filter_map(|worker| worker.thread.take()) {
            if thread.join().is_err() {
                tracing::error!("a thread that answers requests ended with a panic");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn tasks_are_shared_out_evenly_and_stay_where_they_are() {
        let workers = Workers::for_requests().unwrap();
        let mut tasks = JoinSet::new();
        let (sender, receiver) = mpsc::channel();
        let (_waiting, wait) = tokio::sync::watch::channel(());
        let number = workers.0.len() * 3;
        for _ in 0..number {
            let (sender, mut wait) = (sender.clone(), wait.clone());
            workers.spawn(&mut tasks, async move {
                sender.send(std::thread::current().id()).unwrap();
                let _ = wait.changed().await;
            });
        }
        let mut on: Vec<_> = receiver.iter().take(number).collect();
        on.sort_by_key(|thread| format!("{thread:?}"));
        let runs: Vec<_> = on.chunk_by(|one, other| one == other).map(<[_]>::len).collect();
        assert_eq!(runs, vec![3; workers.0.len()]);
    }

    #[tokio::test]
    async fn reads_under_way_are_waited_for_and_waiting_tasks_are_not() {
        let workers = Workers::single().unwrap();
        let mut tasks = JoinSet::new();
        let (at_work, waiting) = mpsc::channel();
        let (sender, receiver) = mpsc::channel();
        workers.spawn(&mut tasks, async move {
            tokio::task::spawn_blocking(move || {
                at_work.send(()).unwrap();
                std::thread::sleep(Duration::from_millis(50));
                sender.send("read").unwrap();
            });
            std::future::pending::<()>().await;
        });
        waiting.recv().unwrap();
        drop(workers);
        assert_eq!(receiver.try_recv(), Ok("read"));
        assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
    }
}
