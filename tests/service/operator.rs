//! What an operator does to a running service.

use std::io::{Read, Write};
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value as Json, json};

use crate::harness::{Home, KEY, Service, Topic, wait_for};

/// Runs a command that must succeed, and returns its output.
fn done(home: &Home, arguments: &[&str]) -> String {
    let (code, told, errors) = home.run(arguments);
    assert_eq!(code, 0, "{arguments:?}: {told}{errors}");
    told
}

pub fn plan(number: usize) -> Json {
    let (id, at) = (format!("p{}", number % 7), format!("2026-01-01T00:{:02}:00Z", number % 60));
    json!({"token": "t", "event": "$set", "distinct_id": id, "timestamp": at,
           "$set": {"plan": number}})
}

/// Returns every person as listed, without what differs between stores.
pub fn everybody(service: &Service) -> Json {
    service.persons("?order_by=created_at")["results"].clone()
}

#[test]
fn a_backup_of_a_running_service_comes_back_and_reads_on() {
    let topic = Topic::create("backup", 2);
    let home = Home::new(&topic);
    let service = home.serve();
    let send = |numbers: std::ops::Range<usize>| {
        let (even, odd): (Vec<_>, Vec<_>) = numbers.partition(|number| number % 2 == 0);
        topic.events(0, &even.into_iter().map(plan).collect::<Vec<_>>());
        topic.events(1, &odd.into_iter().map(plan).collect::<Vec<_>>());
    };
    send(0..200);
    let at = |offset: u32| format!("?min_position={0}:0:{offset},{0}:1:{offset}", topic.name);
    service.persons(&at(99));
    assert!(service.metric("personview_store_last_backup_timestamp_seconds") < 1.0);
    let folder = tempfile::tempdir().unwrap();
    let backups = folder.path().join("backups");
    let backups = backups.to_str().unwrap();
    let told = done(&home, &["backup", backups]);
    assert!(told.starts_with("backup 1 of 20"), "{told}");
    assert!(service.metric("personview_store_last_backup_timestamp_seconds") > 1.7e9);
    // More comes after the first backup, and the second one is taken meanwhile.
    std::thread::scope(|scope| {
        scope.spawn(|| send(200..400));
        let told = done(&home, &["backup", backups, "--keep", "2"]);
        assert!(told.starts_with("backup 2 of 20"), "{told}");
    });
    let last = at(199);
    service.persons(&last);
    let (everybody_before, verified) = (everybody(&service), done(&home, &["verify"]));
    assert!(verified.lines().all(|line| line.ends_with(": ok")), "{verified}");
    assert!(done(&home, &["restore", "--list", backups]).starts_with("backup 1 of 20"));
    let (code, _, errors) = home.run(&["restore", backups]);
    assert_eq!(code, 1);
    assert!(errors.contains("there is a store already"), "{errors}");
    service.terminate();

    for number in ["1", "2"] {
        std::fs::remove_dir_all(home.store()).unwrap();
        let told = done(&home, &["restore", backups, "--backup", number]);
        assert!(told.contains(&format!("goes on at {}:0:", topic.name)), "{told}");
        let service = home.serve();
        service.persons(&last);
        assert_eq!(everybody(&service), everybody_before, "backup {number}");
        service.terminate();
        let verified = done(&home, &["verify"]);
        assert!(verified.lines().all(|line| line.ends_with(": ok")), "{verified}");
    }
    // A backup without a running server.
    assert!(done(&home, &["backup", backups]).starts_with("backup 3 of 20"));
}

#[test]
fn a_backup_or_restore_that_cannot_be_made_says_why() {
    let topic = Topic::create("no-backup", 1);
    let home = Home::new(&topic);
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let refused = |command: &str, directory: &str, reason: &str| {
        let (code, _, errors) = home.run(&[command, directory]);
        assert_eq!(code, 1, "{command} {directory}");
        assert!(errors.contains(reason), "{command} {directory}: {errors}");
    };
    refused("backup", &at("new"), "there is no store in");
    assert!(!folder.path().join("new").exists(), "nothing is made for nothing");
    refused("restore", &at("missing"), "there is no such folder");
    refused("restore", &at("file"), "it is not a folder");
    home.serve().terminate();
    refused("backup", &at("file"), "backups in");
    let within = home.store().join("backups/of/today");
    refused("backup", within.to_str().unwrap(), "is inside store.path; keep backups elsewhere");
    assert!(!within.exists());
    let around = home.store().parent().unwrap().to_owned();
    refused("backup", around.to_str().unwrap(), "contains store.path");
}

fn add_to(file: &Path, text: &str) {
    let config = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, format!("{config}\n{text}\n")).unwrap();
}

#[test]
fn projects_and_keys_are_read_again_on_sighup() {
    let topic = Topic::create("reload", 1);
    let home = Home::new(&topic);
    let service = home.serve();
    let event = |token: &str| json!({"token": token, "event": "x", "distinct_id": "ann"});
    topic.events(0, [&event("later"), &event("t")]);
    service.persons(&topic.position(0, 1));
    assert_eq!(service.get("/api/projects/2/persons").0, 403, "there is no such project yet");

    // A mistake changes nothing, and is reported.
    let good = std::fs::read_to_string(home.config()).unwrap();
    add_to(&home.config(), "[[projects]]\nid = 2\nname = \"Later\"\ntokens = [\"t\"]");
    service.signal(Signal::SIGHUP);
    let line = service.wait_for_log("the current one stays in force");
    assert!(line.contains("\\\"t\\\"") || line.contains("token"), "{line}");
    assert!(service.metric("personview_config_last_reload_successful") < 1.0);
    assert_eq!(service.persons("")["count"], 1);

    // So is a setting for which a restart would be refused.
    std::fs::write(home.config(), &good).unwrap();
    add_to(&home.config(), "[kafka.client]\nacks = \"1\"");
    service.signal(Signal::SIGHUP);
    let line = service.wait_for_log("the current one stays in force");
    assert!(line.contains("acks"), "{line}");
    assert!(service.metric("personview_config_last_reload_successful") < 1.0);

    let good = good.replace("projects = [1]", "projects = [1, 2]");
    std::fs::write(home.config(), good).unwrap();
    add_to(&home.config(), "[[projects]]\nid = 2\nname = \"Later\"\ntokens = [\"later\"]");
    service.signal(Signal::SIGHUP);
    service.wait_for_log("were reloaded");
    assert!(service.metric("personview_config_last_reload_successful") > 0.0);
    topic.events(0, [&event("later")]);
    wait_for(|| match service.get(&format!("/api/projects/2/persons{}", topic.position(0, 2))) {
        (200, body) if body["count"] == 1 => Ok(()),
        other => Err(other),
    });
    service.terminate();
}

#[test]
fn dead_letters_are_seen_mended_and_sent_once_more() {
    let topic = Topic::create("letters", 3);
    let home = Home::with(&topic, "[ingest]\nperson_properties_limit = \"1KiB\"");
    let service = home.serve();
    let large = "x".repeat(2000);
    // Neither record has a uuid or a time of its own: both come from its origin.
    let big = json!({"token": "t", "event": "$set", "distinct_id": "ann", "$set": {"big": large}});
    topic.events(2, [&big]);
    topic.send(2, Some(b"{\"token\": \"t\",\n\"event\": \"x\", \"distinct_id\": \"bob\""), &[]);
    topic.flush();
    service.persons(&topic.position(2, 1));
    service.terminate();

    let list = done(&home, &["dead-letters", "list"]);
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 3, "{list}");
    let origin = |offset| format!("{}:2:{offset}  key", topic.name);
    assert!(
        lines[0].contains("person_properties_size") && lines[0].ends_with(&origin(0)),
        "{list}"
    );
    assert!(lines[1].contains("not_json") && lines[1].ends_with(&origin(1)), "{list}");
    assert_eq!(lines[2], "2 dead letters: not_json 1, person_properties_size 1");
    assert_eq!(done(&home, &["dead-letters", "list", "--from", "2"]), "no dead letters\n");

    // One is mended by hand, the other by a configuration that allows it.
    let broken = done(&home, &["dead-letters", "list", "--reason", "not_json", "--values"]);
    let mended = home.config().with_file_name("mended.ndjson");
    std::fs::write(&mended, format!("{}}}\n", broken.trim_end())).unwrap();
    let produced = done(&home, &["produce", mended.to_str().unwrap()]);
    let produced = produced.lines().find_map(|line| line.strip_prefix("min_position=")).unwrap();
    let config = std::fs::read_to_string(home.config()).unwrap();
    std::fs::write(home.config(), config.replace("1KiB", "64KiB")).unwrap();
    let before = chrono::Utc::now().to_rfc3339();
    let told = done(&home, &["dead-letters", "replay", "--reason", "person_properties_size"]);
    assert_eq!(told, "1 records were sent once more\n");
    let told = done(&home, &["dead-letters", "replay", "--until", "1"]);
    let expected = "1 records were sent once more\n--from 1 leaves them out next time\n";
    assert_eq!(told, expected);
    let service = home.serve();
    let ann = service.persons(&format!("{}&distinct_id=ann", topic.position(2, 3)));
    assert_eq!(ann["results"][0]["properties"]["big"], large.as_str());
    let bob = service.persons(&format!("?distinct_id=bob&min_position={produced}"));
    assert_eq!(bob["count"], 1);
    let duplicates = format!("{{result=\"duplicate\",topic=\"{}\"}}", topic.name);
    let duplicates = service.metric(&format!("personview_ingest_records_total{duplicates}"));
    assert!(
        (duplicates - 1.0).abs() < 0.5,
        "the second replay is known as the first: {duplicates}"
    );
    // Its event time and known time are those of its capture.
    let as_of = |known: &str| {
        let at = format!("/properties_at_time?distinct_id=ann&timestamp={before}{known}");
        service.persons(&at.replace('+', "%2B"))["properties"].clone()
    };
    assert_eq!(as_of("")["big"], large.as_str());
    assert_eq!(as_of(&format!("&known_at={before}")), as_of(""));
    service.terminate();
}

#[test]
fn a_second_signal_ends_it_at_once_and_loses_nothing() {
    let topic = Topic::create("twice", 1);
    let home = Home::new(&topic);
    let mut service = home.serve();
    topic.events(0, [&json!({"token": "t", "event": "x", "distinct_id": "ann"})]);
    let applied = topic.position(0, 0);
    service.persons(&applied);
    // A join whose lines do not end is a request under way, which a graceful shutdown waits for.
    let address = service.url.strip_prefix("http://").unwrap();
    let mut join = std::net::TcpStream::connect(address).unwrap();
    let line = r#"{"distinct_id":"ann","timestamp":"2026-01-01T00:00:00Z"}"#;
    write!(
        join,
        "POST /api/projects/1/persons/properties_at_time HTTP/1.1\r\nHost: {address}\r\n\
         Authorization: Bearer {KEY}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{line}\n\r\n",
        line.len() + 1,
    )
    .unwrap();
    let mut first = [0];
    join.read_exact(&mut first).unwrap();
    service.signal(Signal::SIGTERM);
    service.wait_for_log("shutting down");
    assert_eq!(service.ended(), None, "the join goes on");
    let told = std::time::Instant::now();
    service.signal(Signal::SIGTERM);
    let status = wait_for(|| service.ended().ok_or("still running"));
    assert_eq!(status.code(), Some(1));
    assert!(told.elapsed().as_secs() < 5, "{:?}", told.elapsed());
    assert_eq!(home.serve().persons(&applied)["count"], 1);
}
