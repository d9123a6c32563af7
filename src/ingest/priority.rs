//! Lowers the priority of ingestion below that of reads: a read needs a core for less than a millisecond,
//! while ingestion uses all cores during catch-up.

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// The nice value of ingestion's threads, relative to the others.
const NICENESS: i32 = 5;

/// Lowers the priority of the calling thread. If the system refuses, nothing changes.
pub fn give_way() {
    let _ = rustix::process::nice(NICENESS);
}

/// Creates the threads of one stage, one per core and at least two: the stage itself runs on one of them
/// until it ends, so its parallel work needs another.
///
/// # Errors
/// If the system cannot create more threads.
pub fn threads(stage: &'static str) -> Result<ThreadPool, ThreadPoolBuildError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = ThreadPoolBuilder::new().num_threads(cores.max(2));
    let threads = threads.thread_name(move |number| format!("{stage}-{number}"));
    threads.start_handler(|_| give_way()).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the nice value of the calling thread, as the kernel reports it.
    fn niceness() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let fields = stat.rsplit_once(')').unwrap().1;
        fields.split_whitespace().nth(16).unwrap().parse().unwrap()
    }

    #[test]
    fn the_threads_of_a_stage_give_way_and_no_others() {
        let before = niceness();
        assert_eq!(threads("test").unwrap().install(niceness), before + NICENESS);
        assert_eq!(niceness(), before);
    }
}
