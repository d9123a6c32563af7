//! Readers that run beside a writer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::store::{Snapshot, Store};

/// Commits `commits` times while three threads `read` from snapshots, some of which are older than what other
/// threads put into caches meanwhile.
pub fn beside_commits(
    store: &Store,
    commits: u64,
    mut commit: impl FnMut(u64),
    read: impl Fn(&Snapshot<'_>) + Sync,
) {
    let (is_done, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let read = || {
            while !is_done.load(Ordering::Relaxed) {
                let snapshots = [store.snapshot(), store.snapshot()];
                snapshots.iter().rev().chain(&snapshots).for_each(&read);
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        };
        let readers = [scope.spawn(read), scope.spawn(read), scope.spawn(read)];
        for number in 0..commits {
            commit(number);
            // After every other commit, waits for a few rounds of reads. The other commits are followed by
            // the next one in the middle of reads.
            let until = rounds.load(Ordering::Relaxed) + 3 * (number % 2);
            let is_reading = || readers.iter().all(|reader| !reader.is_finished());
            while rounds.load(Ordering::Relaxed) < until && is_reading() {
                std::thread::yield_now();
            }
        }
        is_done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}
