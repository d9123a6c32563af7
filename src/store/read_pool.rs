//! Reads that are worth all cores.

use std::sync::LazyLock;

use rayon::{ThreadPool, ThreadPoolBuilder};

/// Threads of their own.
static READERS: LazyLock<Option<ThreadPool>> = LazyLock::new(|| {
    ThreadPoolBuilder::new().thread_name(|number| format!("reader-{number}")).build().ok()
});

/// Does what it is given where rayon's parallel iterators and joins share all cores among the reads.
pub fn together<T: Send>(read: impl FnOnce() -> T + Send) -> T {
    match &*READERS {
        Some(readers) => readers.install(read),
        // The system has no more threads.
        None => read(),
    }
}
