//! Threads that answer requests: each serves its connections to their end, on a runtime of its own.

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// How long what was begun may take to let go of what it holds, once nobody waits for it any more.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// Threads for requests, at least. Reads of one person run on them, and one that waits for the disk
/// shall not hold up all others.
const MIN_THREADS: usize = 4;

/// Threads with a runtime each. A connection stays on the thread that has it: to move requests
/// between threads costs them more wake-ups than it saves them waiting.
///
/// Dropped, they end: tasks that are left are dropped, and reads that are under way are waited for as
/// long as [`SHUTDOWN_TIMEOUT`], since the process must not end while they hold the store.
pub struct Workers(Vec<Worker>);

struct Worker {
    handle: Handle,
    /// Dropped first of all, which ends the thread.
    running: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Workers {
    /// A thread for each core, and a few where there are few cores.
    ///
    /// # Errors
    /// Where the system has no thread or no file for one.
    pub fn for_requests() -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (0..cores.max(MIN_THREADS)).map(|_| Worker::start()).collect::<io::Result<_>>().map(Self)
    }

    /// One thread, for what shall be answered also where all others are busy.
    ///
    /// # Errors
    /// See [`Workers::for_requests`].
    pub fn single() -> io::Result<Self> {
        Ok(Self(vec![Worker::start()?]))
    }

    /// Runs a task on the thread that has the fewest.
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
        // All at once, so that they need not wait for one another.
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
    async fn what_reads_is_waited_for_and_who_waits_is_not() {
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
