//! Ingestion gives way to reads: they take a core for less than a millisecond, and it takes all of them
//! while it catches up.

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// How much lower than that of the others the priority of ingestion's threads is.
const NICENESS: i32 = 5;

/// Lets the threads of others go first before the one that calls this. Where the system refuses, nothing
/// changes.
pub fn give_way() {
    let _ = rustix::process::nice(NICENESS);
}

/// Threads of one stage, as many as there are cores. The stage itself runs on one of them for as long as it goes:
/// what it hands to the others needs another one, also where there is one core.
///
/// # Errors
/// Where the system has no more threads.
pub fn threads(stage: &'static str) -> Result<ThreadPool, ThreadPoolBuildError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = ThreadPoolBuilder::new().num_threads(cores.max(2));
    let threads = threads.thread_name(move |number| format!("{stage}-{number}"));
    threads.start_handler(|_| give_way()).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's word for the thread that calls it.
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
