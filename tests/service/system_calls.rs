//! kill -9 at a named system call: before a commit is in the write-ahead log, in the middle of a table,
//! between a new manifest and the rename that makes it the current one. strace kills before the call is done,
//! so a file is only torn if it is written with more than one call; `a_torn_write_ahead_log_…` in
//! `src/store/tests.rs` tears it at any byte.

use std::ops::RangeInclusive;
use std::os::unix::process::ExitStatusExt;

use serde_json::json;

use crate::crash::{kills, loses_and_repeats_nothing, numbered, verify};
use crate::harness::{Home, Topic, wait_for};

/// A call on files of the store, and its possible numbers, counted from a start; `*` in a name stands for
/// RocksDB's file number. strace counts the calls of each thread, so one thread has to make that many in
/// every start.
struct Place {
    call: &'static str,
    files: &'static str,
    numbers: RangeInclusive<u64>,
}

const fn place(call: &'static str, files: &'static str, numbers: RangeInclusive<u64>) -> Place {
    Place { call, files, numbers }
}

/// Where a running store is killed, in this order: a start has tables to write only if the one before had
/// committed some batches when it was killed.
const PLACES: [Place; 13] = [
    // A commit; the first ones register the topics.
    place("write", "*.log", 1..=4),
    place("write", "*.log", 5..=12),
    // A start flushes the write-ahead log into tables.
    place("write", "*.sst", 1..=6),
    place("openat", "*.log", 1..=2),
    // The manifest changes, or a new one is written.
    place("write", "MANIFEST-*", 1..=12),
    place("fdatasync", "MANIFEST-*", 1..=1),
    // The new manifest becomes the current one.
    place("rename", "*.dbtmp", 1..=1),
    place("write", "*.log", 5..=12),
    place("fdatasync", "*.sst", 1..=6),
    place("write", "*.dbtmp", 1..=1),
    place("fsync", "", 1..=2),
    // Obsolete files are deleted.
    place("unlink", "*.log", 1..=1),
    place("unlink", "MANIFEST-*", 1..=1),
];

/// Where a start that creates a store is killed: until the first column family exists, and later.
const MAKING: [Place; 6] = [
    place("rename", "*.dbtmp", 1..=3),
    place("write", "MANIFEST-*", 1..=24),
    place("openat", "*.dbtmp", 1..=3),
    place("fsync", "", 1..=2),
    place("mkdir", "", 1..=12),
    place("fdatasync", "*.dbtmp", 1..=3),
];

/// More than the files that a start creates, and than those that are left from before.
const NUMBERS: u64 = 200;

/// Returns the command that runs a program and does something at calls on some files of a store; `what` is
/// what strace's `inject` takes.
pub fn strace(home: &Home, calls: &str, files: &[&str], what: &str) -> Vec<String> {
    let entries = std::fs::read_dir(home.store()).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let number = |name: String| name.matches(|c: char| c.is_ascii_digit()).collect::<String>();
    let numbers = names.filter(|name| !name.starts_with("LOG")).map(number);
    let newest: u64 = numbers.filter_map(|number| number.parse().ok()).max().unwrap_or(0);
    // With -D the program is the child of this process, not strace, so that signals reach the program.
    // --seccomp-bpf would be faster, but an injected signal would get lost.
    let options = ["strace", "-D", "-f", "-qq", "-o", "/dev/null"];
    let mut command: Vec<_> = options.map(str::to_owned).into();
    command.extend(["-e".to_owned(), format!("trace={calls}")]);
    command.extend(["-e".to_owned(), format!("inject={calls}:{what}")]);
    for file in files {
        let numbers = if file.contains('*') {
            newest.saturating_sub(NUMBERS)..newest + NUMBERS
        } else {
            0..1
        };
        for number in numbers {
            let path = home.store().join(file.replace('*', &format!("{number:06}")));
            let path = path.to_str().unwrap().trim_end_matches('/').to_owned();
            command.extend(["-P".to_owned(), path]);
        }
    }
    command
}

/// Serves until it is killed at one of the calls, chosen at random.
fn killed_at(home: &Home, Place { call, files, numbers }: &Place) {
    let among = numbers.end() - numbers.start() + 1;
    let number = numbers.start() + uuid::Uuid::new_v4().as_u64_pair().0 % among;
    let place = format!("{call} {number} of {files:?}");
    let what = format!("signal=KILL:when={number}");
    let mut service = home.under(strace(home, call, &[files], &what)).spawn();
    let ended = wait_for(|| service.ended().ok_or_else(|| format!("it runs after {place}")));
    let said = || service.log.iter().collect::<Vec<_>>().join("\n");
    assert_eq!(ended.signal(), Some(9), "{ended} before {place}\n{}", said());
}

#[test]
fn kill_9_at_any_system_call_loses_and_repeats_nothing() {
    let stream = numbered(1);
    let places: Vec<_> = PLACES.iter().cycle().take(kills() * 13 / 8).collect();
    // Each store is killed only this often, so that some of the stream is left for it to read.
    for places in places.chunks(2 * PLACES.len()) {
        loses_and_repeats_nothing(&stream, |home| {
            home.serve().kill();
            for place in places {
                killed_at(home, place);
                verify(home);
            }
        });
    }
}

#[test]
fn kill_9_while_a_store_is_made_leaves_one_that_starts() {
    let topic = Topic::create("made", 1);
    topic.events(0, [&json!({"token": "t", "event": "x", "distinct_id": "ann"})]);
    for place in MAKING.iter().cycle().take(kills()) {
        let home = Home::new(&topic);
        killed_at(&home, place);
        let service = home.serve();
        assert_eq!(service.persons(&topic.position(0, 0))["count"], 1);
        service.terminate();
        verify(&home);
    }
}
