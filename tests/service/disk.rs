//! A disk that is full, read-only, failing or without one of its files: one line says so, reads stay right,
//! and what is documented brings the store back.
//!
//! Full and read-only disks are file systems in memory, mounted in a mount namespace that only the program
//! sees. Root makes one directly; any other user does so as root of a user namespace.

use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value as Json, json};

use crate::crash::verify;
use crate::harness::{Home, Service, Topic, wait_for};
use crate::system_calls::strace;

/// A file system of its own, mounted in place of a home's store.
struct Disk {
    /// Keeps the namespace until its standard input is closed.
    keeper: Child,
    store: PathBuf,
    /// The home, with every process inside the namespace.
    home: Home,
}

impl Disk {
    fn new(home: &Home, size: &str) -> Self {
        let store = home.store();
        std::fs::create_dir(&store).unwrap();
        let is_root = nix::unistd::Uid::effective().is_root();
        let as_root: &[&str] = if is_root { &[] } else { &["--user", "--map-root-user"] };
        let mut keeper = Command::new("unshare");
        keeper.args(as_root).args(["--mount", "sh", "-c"]);
        keeper.arg("mount -t tmpfs -o size=$1 tmpfs \"$0\" && echo mounted && exec cat");
        keeper.arg(&store).arg(size).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = keeper.spawn().expect("this test needs unshare, of util-linux");
        let mut said = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(
            said, "mounted\n",
            "this test mounts a tmpfs in a mount namespace, and may not do so here: run it as root \
             with CAP_SYS_ADMIN (in a container: --cap-add SYS_ADMIN), or where user namespaces are \
             allowed (sysctl kernel.apparmor_restrict_unprivileged_userns=0)"
        );
        let target =
            ["nsenter", "--target", &keeper.id().to_string(), "--mount"].map(str::to_owned);
        let as_root: &[&str] = if is_root { &[] } else { &["--user", "--preserve-credentials"] };
        let inside = target.into_iter().chain(as_root.iter().map(|flag| (*flag).to_owned()));
        let home = home.under(inside.collect());
        Self { keeper, store, home }
    }

    /// Remounts it with other options.
    fn remount(&self, options: &str) {
        let inside = self.home.under.iter();
        let mut command: Vec<_> = inside.map(String::as_str).collect();
        let options = format!("remount,{options}");
        // If the source is named too, `mount` does not repeat the earlier options: the owner among them is
        // not valid in a user namespace.
        let store = self.store.to_str().unwrap();
        command.extend(["mount", "-t", "tmpfs", "-o", &options, "tmpfs", store]);
        assert!(Command::new(command[0]).args(&command[1..]).status().unwrap().success());
    }

    /// Returns its folder, as seen from outside of the namespace.
    fn folder(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        root.join(self.store.strip_prefix("/").unwrap())
    }

    /// Uses up the space that is left.
    fn fill(&self) {
        let mut ballast = std::fs::File::create(self.folder().join("ballast")).unwrap();
        let zeros = [0; 4096];
        while std::io::Write::write_all(&mut ballast, &zeros).is_ok() {}
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

const PERSONS: usize = 20;

fn time(number: usize) -> String {
    format!("2026-01-01T{:02}:{:02}:{:02}Z", number / 3600, number / 60 % 60, number % 60)
}

/// Sends events that carry their number, and filler that cannot be compressed.
fn send(topic: &Topic, numbers: Range<usize>) {
    let events = numbers.map(|number| {
        let filler = (0..256).map(|_| uuid::Uuid::new_v4().simple().to_string());
        let set = json!({"number": number, "filler": filler.collect::<String>()});
        json!({"token": "t", "event": "x", "distinct_id": format!("p{}", number % PERSONS),
               "timestamp": time(number), "$set": set})
    });
    topic.events(0, &events.collect::<Vec<_>>());
}

/// Compares every answer with the events up to the newest one that is visible, and returns its number.
#[track_caller]
fn newest_of_right_answers(service: &Service) -> usize {
    let list = service.persons("?limit=1000");
    let persons = list["results"].as_array().unwrap().iter();
    let number =
        |person: &Json| usize::try_from(person["properties"]["number"].as_u64().unwrap()).unwrap();
    let mut found: Vec<_> = persons.map(number).collect();
    found.sort_unstable();
    let newest = *found.last().expect("some were applied");
    // The last event of each person is among the last `PERSONS` events.
    let expected: Vec<_> = ((newest + 1).saturating_sub(PERSONS)..=newest).collect();
    assert_eq!(found, expected);
    for number in (0..=newest).step_by(newest / 50 + 1) {
        let (id, at) = (number % PERSONS, time(number));
        let path = format!("/properties_at_time?distinct_id=p{id}&timestamp={at}");
        assert_eq!(service.persons(&path)["properties"]["number"], number);
    }
    newest
}

/// Serves until every event is applied, then compares with a store built in one go and verifies the laws.
#[track_caller]
fn reads_on_to_the_end(home: &Home, topic: &Topic, events: usize) {
    let service = home.serve();
    service.wait_for_readiness(200);
    service.persons(&format!("{}&limit=1", topic.position(0, events - 1)));
    assert_eq!(newest_of_right_answers(&service), events - 1);
    let lag = format!("personview_ingest_lag_records{{partition=\"0\",topic=\"{}\"}}", topic.name);
    wait_for(|| if service.metric(&lag) > 0.0 { Err(service.metric(&lag)) } else { Ok(()) });
    let (found, built) = (everybody(&service), Home::new(topic).serve());
    built.persons(&format!("{}&limit=1", topic.position(0, events - 1)));
    assert!(found == everybody(&built), "as a store that is built in one go");
    service.terminate();
    verify(home);
}

fn everybody(service: &Service) -> Json {
    service.persons("?limit=1000&order_by=created_at")["results"].take()
}

/// Waits until ingestion has ended for a reason with these words, which readiness must give too.
#[track_caller]
fn wait_for_the_end_of_ingestion(service: &Service, words: [&str; 2]) {
    let line = service.wait_for_log("ingestion has ended");
    let body = service.wait_for_readiness(503)["components"]["ingestion"].to_string();
    for word in words {
        assert!(line.contains(word) && body.contains(word), "{line}\n{body}");
    }
    assert!(service.metric("personview_ingest_running") < 1.0);
}

/// Checks that a start is refused, with exit code 1 and one line that has these words.
#[track_caller]
fn is_refused(home: &Home, arguments: &[&str], words: [&str; 2]) {
    let (code, _, errors) = home.run(arguments);
    assert_eq!(code, 1, "{errors}");
    let told: Vec<_> = errors.lines().filter(|line| line.starts_with("personview: ")).collect();
    assert_eq!(told.len(), 1, "{errors}");
    assert!(words.iter().all(|word| told[0].contains(word)), "{errors}");
}

#[test]
fn a_full_disk_ends_ingestion_and_with_room_it_goes_on() {
    const EVENTS: usize = 2_000;
    let topic = Topic::create("full", 1);
    topic.commands();
    send(&topic, 0..EVENTS);
    for (size, while_it_runs) in [("20m", true), ("28m", false)] {
        let disk = Disk::new(&Home::with(&topic, "[ingest]\nbatch_records = 20\n"), size);
        let service = disk.home.serve();
        wait_for_the_end_of_ingestion(&service, ["the disk is full", "make room"]);
        let applied = newest_of_right_answers(&service);
        assert!(applied < EVENTS - 1, "{applied}");
        if while_it_runs {
            disk.remount("size=1g");
            service.terminate();
        } else {
            service.terminate();
            disk.fill();
            is_refused(&disk.home, &["serve"], ["the disk is full", "make room"]);
            verify(&disk.home);
            disk.remount("size=1g");
        }
        reads_on_to_the_end(&disk.home, &topic, EVENTS);
    }
}

#[test]
fn a_disk_that_is_no_longer_written_ends_ingestion_and_not_the_reads() {
    const EVENTS: usize = 600;
    let topic = Topic::create("failing", 1);
    topic.commands();
    send(&topic, 0..EVENTS);
    // A file system that has met an error refuses writes to open files.
    for (error, words) in [
        ("EROFS", ["the disk is read-only", "mount it"]),
        ("EIO", ["the disk fails", "system's log"]),
    ] {
        let home = Home::with(&topic, "[ingest]\nbatch_records = 20\n");
        home.serve().terminate();
        let what = format!("error={error}:when=8+");
        let service = home.under(strace(&home, "write", &["*.log", "*.sst"], &what)).serve();
        wait_for_the_end_of_ingestion(&service, words);
        assert!(newest_of_right_answers(&service) < EVENTS - 1);
        service.terminate();
        reads_on_to_the_end(&home, &topic, EVENTS);
    }
}

#[test]
fn a_store_on_a_read_only_disk_is_not_served() {
    let topic = Topic::create("read-only", 1);
    topic.commands();
    send(&topic, 0..100);
    let disk = Disk::new(&Home::new(&topic), "1g");
    reads_on_to_the_end(&disk.home, &topic, 100);
    disk.remount("ro");
    is_refused(&disk.home, &["serve"], ["cannot open the store", "the disk is read-only"]);
    verify(&disk.home);
    disk.remount("rw");
    reads_on_to_the_end(&disk.home, &topic, 100);
}

#[test]
fn a_missing_table_is_told_and_a_backup_or_the_log_brings_it_back() {
    let topic = Topic::create("missing-table", 1);
    topic.commands();
    send(&topic, 0..100);
    let home = Home::new(&topic);
    reads_on_to_the_end(&home, &topic, 100);
    let backups = tempfile::tempdir().unwrap();
    let backups = backups.path().to_str().unwrap();
    assert_eq!(home.run(&["backup", backups]).0, 0);
    send(&topic, 100..200);
    reads_on_to_the_end(&home, &topic, 200);
    // A start flushes the write-ahead log into tables.
    home.serve().terminate();
    let entries = std::fs::read_dir(home.store()).unwrap().map(|entry| entry.unwrap().path());
    let mut tables: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|it| it == "sst")).collect();
    tables.sort();
    let aside = home.store().with_file_name("aside");
    for table in [tables.first(), tables.last()].into_iter().flatten() {
        std::fs::rename(table, &aside).unwrap();
        for command in ["serve", "verify"] {
            is_refused(&home, &[command], ["a file is damaged or missing", "restore a backup"]);
        }
        std::fs::rename(&aside, table).unwrap();
    }
    std::fs::remove_file(&tables[0]).unwrap();
    is_refused(&home, &["restore", backups], ["there is a store already", "move the folder away"]);
    std::fs::remove_dir_all(home.store()).unwrap();
    assert_eq!(home.run(&["restore", backups]).0, 0);
    reads_on_to_the_end(&home, &topic, 200);
    std::fs::remove_dir_all(home.store()).unwrap();
    reads_on_to_the_end(&home, &topic, 200);
}

#[test]
fn a_store_of_a_newer_format_is_refused_by_every_command_and_left_as_it_is() {
    let topic = Topic::create("newer", 1);
    let home = Home::new(&topic);
    home.serve().terminate();
    {
        let options = rocksdb::Options::default();
        let families = rocksdb::DB::list_cf(&options, home.store()).unwrap();
        let db = rocksdb::DB::open_cf(&options, home.store(), families).unwrap();
        let newer = (personview::store::FORMAT + 1).to_be_bytes();
        let meta = db.cf_handle("meta").unwrap();
        db.put_cf(meta, personview::store::keys::Meta::Format.key(), newer).unwrap();
    }
    let words = ["has format 3, and this program reads format 2", "Nothing was changed"];
    let backups = home.store().with_file_name("backups");
    let content = || {
        let mut entries: Vec<_> =
            std::fs::read_dir(home.store()).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        entries.into_iter().map(|path| (std::fs::read(&path).ok(), path)).collect::<Vec<_>>()
    };
    let before = content();
    for command in [&["serve"][..], &["verify"], &["backup", backups.to_str().unwrap()]] {
        is_refused(&home, command, words);
    }
    assert!(content() == before, "nothing was changed");
}

#[test]
fn deleted_persons_stay_pending_where_the_disk_has_no_room_to_take_them_off() {
    const EVENTS: usize = 2_000;
    let topic = Topic::create("crowded", 1);
    topic.commands();
    send(&topic, 0..EVENTS);
    let disk = Disk::new(&Home::new(&topic), "200m");
    reads_on_to_the_end(&disk.home, &topic, EVENTS);
    // A start flushes the write-ahead log into tables.
    let service = disk.home.serve_in(&[("PERSONVIEW_STORE__ERASE_INTERVAL", "1s")]);
    let person = service.persons("?limit=1")["results"][0]["id"].clone();
    disk.fill();
    // There is room for the deletion, but not for rewriting the tables without the person.
    let ballast = disk.folder().join("ballast");
    let ballast = std::fs::File::options().write(true).open(ballast).unwrap();
    ballast.set_len(ballast.metadata().unwrap().len() - (4 << 20)).unwrap();
    let (status, body) = service.send("DELETE", &format!("/api/projects/1/persons/{person}"), None);
    assert_eq!(status, 202, "{body}");
    service.wait_for_log("deleted persons could not be erased from the disk yet");
    disk.remount("size=1g");
    service.wait_for_log("deleted persons were erased from the disk");
    service.terminate();
    verify(&disk.home);
}
