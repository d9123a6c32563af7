//! kill -9 while the API is written to: every write that was answered with success is there afterwards.

use std::time::Duration;

use serde_json::json;

use crate::crash::{kills, verify};
use crate::harness::{Home, KEY, Service, Topic, wait_for};

/// Returns the number that was written last.
fn number(service: &Service) -> u64 {
    service.wait_for_readiness(200);
    // A write that was not answered may still come in from the log.
    let found = service.persons("?distinct_id=ann");
    found["results"][0]["properties"]["number"].as_u64().unwrap()
}

/// Writes the numbers after `sent` until the service is gone. Returns the number acknowledged last, beginning
/// with `acknowledged`, which is known to be there, and the number sent last.
fn write(url: &str, mut acknowledged: u64, mut sent: u64) -> (u64, u64) {
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    loop {
        let body = json!({"properties": {"number": sent + 1}}).to_string();
        let request = agent.patch(url).header("Authorization", format!("Bearer {KEY}"));
        let answer = request.header("Content-Type", "application/json").send(body);
        sent += 1;
        match answer {
            Ok(answer) if answer.status() == 200 => acknowledged = sent,
            Ok(answer) => panic!("{}", answer.status()),
            Err(_) => return (acknowledged, sent),
        }
    }
}

#[test]
fn kill_9_loses_no_acknowledged_write() {
    let topic = Topic::create("acknowledged", 1);
    let first = json!({
        "token": "t", "event": "$set", "distinct_id": "ann", "properties": {"$set": {"number": 0}},
    });
    topic.events(0, [&first]);
    let home = Home::new(&topic);
    let (mut acknowledged, mut sent, mut between) = (0, 0, 0);
    for kill in 0..kills() {
        let service = home.serve();
        let found = wait_for(|| {
            let found = service.persons("?distinct_id=ann")["results"][0]["uuid"].clone();
            found.as_str().map(str::to_owned).ok_or("ann is not there yet")
        });
        let number = number(&service);
        assert!(
            (acknowledged..=sent).contains(&number),
            "kill {kill}: {acknowledged} was acknowledged, {sent} sent, and {number} is there"
        );
        let url = format!("{}/api/projects/1/persons/{found}", service.url);
        let moment = Duration::from_micros(uuid::Uuid::new_v4().as_u64_pair().0 % 300_000);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(moment);
            service.kill();
        });
        (acknowledged, sent) = write(&url, number, sent.max(number));
        between += usize::from(acknowledged < sent && acknowledged > number);
        killer.join().unwrap();
        verify(&home);
    }
    assert!(between > 0, "killed while it was writing");
    let service = home.serve();
    let number = number(&service);
    assert!((acknowledged..=sent).contains(&number), "{acknowledged}..={sent}: {number}");
    let rebuilt = Home::new(&topic).serve();
    assert_eq!(self::number(&rebuilt), number, "the log has every one of them");
}
