//! The commands, their exit codes, and how the service ends.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value as Json, json};

use crate::harness::{Home, KEY, Topic, personview, wait_for};

fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = personview(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn exit_codes_are_as_documented() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.toml");
    std::fs::write(&file, "[kafka]\nbootstrap_server = \"x\"\n").unwrap();
    let file = file.to_str().unwrap();
    let (code, _, errors) = run(&["config", "check", "--config", file]);
    assert_eq!(code, 78);
    assert!(errors.contains("did you mean `kafka.bootstrap_servers`"), "{errors}");
    assert_eq!(run(&["serve", "--config", file]).0, 78);
    assert_eq!(run(&["serve", "--config", "/does/not/exist"]).0, 78);
    std::fs::write(
        file,
        "[[projects]]\nid = 1\nname = \"x\"\ntokens = [\"t\"]\n[kafka.client]\nfoo = \"1\"\n",
    )
    .unwrap();
    let (code, _, errors) = run(&["serve", "--config", file]);
    assert_eq!(code, 78);
    assert!(errors.contains("foo"), "{errors}");
    assert_eq!(run(&["serve", "--sideways"]).0, 2);
    assert_eq!(run(&["produce", "/does/not/exist"]).0, 1);
    assert_eq!(run(&["config", "show"]).0, 0);
    assert_eq!(run(&["health"]).0, 1, "nobody is there");
}

#[test]
fn the_openapi_document_is_printed_without_a_configuration() {
    let (code, document, _) = run(&["openapi", "--config", "/does/not/exist"]);
    assert_eq!(code, 0);
    let document: Json = serde_json::from_str(&document).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_created_key_opens_the_api() {
    let (code, table, aside) =
        run(&["key", "create", "--label", "new", "--scope", "person:read", "--project", "1"]);
    assert_eq!(code, 0);
    let key = aside.lines().next().unwrap();
    assert!(key.starts_with("phx_") && !table.contains(key), "{table}");
    let topic = Topic::create("key", 1);
    let service = Home::with(&topic, &table).serve();
    let url = format!("{}/api/projects/1/persons?personal_api_key={key}", service.url);
    assert_eq!(ureq::get(url).call().unwrap().status(), 200);
}

#[test]
fn produce_sends_what_is_good_and_tells_of_the_rest() {
    let topic = Topic::create("produce", 1);
    let home = Home::new(&topic);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.ndjson");
    let event = |id: &str| json!({"token": "t", "event": "x", "distinct_id": id}).to_string();
    // The broker refuses a record of this size, but not the others.
    let noise = (0..64 << 10).map(|_| uuid::Uuid::new_v4().simple().to_string());
    let large =
        json!({"token": "t", "event": "x", "distinct_id": "cy", "x": noise.collect::<String>()});
    let (ann, bob) = (event("ann"), event("bob"));
    std::fs::write(&file, format!("{ann}\n\nnot json\n{large}\n{bob}\n")).unwrap();
    let config = home.config();
    let (code, told, errors) =
        run(&["produce", "--config", config.to_str().unwrap(), file.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(told.contains("2 events are in topic"), "{told}");
    assert!(told.contains(&format!("min_position={}:0:1", topic.name)), "{told}");
    assert!(errors.contains("events.ndjson:3: it is not JSON"), "{errors}");
    assert!(errors.contains("1 events were refused by Kafka"), "{errors}");
    assert!(errors.contains("1 lines were skipped and 1 events refused"), "{errors}");
    let service = home.serve();
    assert_eq!(service.persons(&topic.position(0, 1))["count"], 2);
}

#[test]
fn a_second_process_on_the_same_store_is_refused() {
    let topic = Topic::create("second", 1);
    let home = Home::new(&topic);
    let _first = home.serve();
    let (code, _, errors) = run(&["serve", "--config", home.config().to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(errors.contains("another process uses it"), "{errors}");
}

#[test]
fn a_signal_ends_the_service_in_order() {
    let topic = Topic::create("signal", 1);
    topic.events(0, [&json!({"token": "t", "event": "x", "distinct_id": "ann"})]);
    let home = Home::new(&topic);
    let service = home.serve();
    service.wait_for_readiness(200);
    // Like the health check of a container, which gets the path of the file only from the environment.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("personview.toml");
    let listens = &service.url["http://".len()..];
    std::fs::write(&file, format!("[api]\nmetrics_listen = \"{listens}\"\n")).unwrap();
    let health = personview(&["health"]).env("PERSONVIEW_CONFIG", file).output().unwrap();
    assert!(health.status.success());
    service.terminate();
    assert!(home.store().join("CURRENT").exists());
    assert_eq!(home.serve().persons("")["count"], 1);
}

#[test]
fn the_log_holds_no_key_and_no_property_value() {
    let topic = Topic::create("secret", 1);
    let planted = "planted-value-4711";
    topic.events(
        0,
        [&json!({"token": "t", "event": "x", "distinct_id": "ann", "$set": {"a": planted}})],
    );
    let service = Home::new(&topic).serve();
    service.persons(&format!("{}&personal_api_key={KEY}", topic.position(0, 0)));
    let lines: Vec<String> = service.log.try_iter().collect();
    assert!(!lines.is_empty());
    for line in lines {
        assert!(!line.contains(planted) && !line.contains(KEY), "{line}");
    }
}

#[test]
fn the_demo_shows_a_person_change_and_goes_on_serving() {
    let mut command = personview(&["demo"]);
    command
        .env("PERSONVIEW_API__LISTEN", "127.0.0.1:0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut demo = command.spawn().unwrap();
    let mut told = Vec::new();
    for line in BufReader::new(demo.stdout.take().unwrap()).lines() {
        told.push(line.unwrap());
        if told.last().unwrap().contains("until Ctrl-C") {
            break;
        }
    }
    let text = told.join("\n");
    for plan in ["\"plan\":\"team\"", "\"plan\":\"trial\"", "\"plan\":\"free\""] {
        assert!(text.contains(plan), "{text}");
    }
    let shown: Vec<_> = told.iter().filter(|line| line.starts_with("curl ")).collect();
    assert_eq!(shown.len(), 5, "{text}");
    let answers = wait_for(|| {
        let (curl, url) = shown[1].rsplit_once(' ').unwrap();
        assert!(curl.contains("Bearer phx_demo"));
        let mut answer =
            ureq::get(url.trim_matches('\'')).header("Authorization", "Bearer phx_demo").call()?;
        answer.body_mut().read_json::<Json>()
    });
    assert_eq!(answers["properties"]["plan"], "trial");
    demo.kill().unwrap();
    demo.wait().unwrap();
}
