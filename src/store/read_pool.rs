//! The thread pool for reads that use all cores.

use std::sync::LazyLock;

use rayon::{ThreadPool, ThreadPoolBuilder};

/// The pool is separate from the threads of ingestion, so that neither waits for the other's work.
static READERS: LazyLock<Option<ThreadPool>> = LazyLock::new(|| {
    ThreadPoolBuilder::new().thread_name(|number| format!("reader-{number}")).build().ok()
});

/// Runs `read` in the pool, whose threads its rayon iterators and joins share with other reads.
pub fn together<T: Send>(read: impl FnOnce() -> T + Send) -> T {
    match &*READERS {
        Some(readers) => readers.install(read),
        // The pool could not be created: the system has no more threads.
        None => read(),
    }
}
