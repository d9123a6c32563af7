//! More requests than the server can serve: lists are turned away, single reads and ingestion go on, and it
//! recovers by itself. Slow callers do not hold up others.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value as Json, json};

use crate::harness::{Home, KEY, Topic, wait_for};

const PERSONS: usize = 20_000;

fn event(number: usize, round: usize) -> Json {
    json!({
        "token": "t", "event": "$set", "distinct_id": format!("user-{number}"),
        "properties": {"$set": {"email": format!("user-{number}@example.com"), "round": round}},
    })
}

/// The outcomes of a flood of requests.
#[derive(Default)]
struct Told {
    answered: AtomicU64,
    turned_away: AtomicU64,
    other: AtomicU64,
}

/// Requests lists that read every person, again and again.
fn flood(url: &str, going: &AtomicBool, told: &Told) {
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    while going.load(Ordering::Relaxed) {
        let request = agent.get(url).header("Authorization", format!("Bearer {KEY}"));
        let answer = request.call().unwrap();
        let count = match answer.status().as_u16() {
            200 => &told.answered,
            503 if answer.headers().contains_key("retry-after") => &told.turned_away,
            _ => &told.other,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn lists_beyond_what_it_can_serve_are_turned_away_and_ingestion_goes_on() {
    let topic = Topic::create("flood", 1);
    let round = |round| {
        let events: Vec<_> = (0..PERSONS).map(|number| event(number, round)).collect();
        topic.events(0, &events);
    };
    round(1);
    let service = Home::new(&topic).serve();
    service.wait_for_readiness(200);
    let (going, told) = (AtomicBool::new(true), Told::default());
    let url = format!("{}/api/projects/1/persons?search=nobody-is-called-that", service.url);
    std::thread::scope(|scope| {
        let (url, going, told) = (&url, &going, &told);
        for _ in 0..40 {
            scope.spawn(move || flood(url, going, told));
        }
        round(2);
        let position = format!("{}:0:{}", topic.name, 2 * PERSONS - 1);
        let seen = wait_for(|| {
            let path = format!("?distinct_id=user-7&min_position={position}");
            match service.get(&format!("/api/projects/1/persons{path}")) {
                (200, found) => Ok(found["results"][0]["properties"]["round"].clone()),
                other => Err(other),
            }
        });
        assert_eq!(seen, 2);
        wait_for(|| {
            let turned_away = told.turned_away.load(Ordering::Relaxed);
            if turned_away > 0 { Ok(()) } else { Err("nobody was turned away yet") }
        });
        going.store(false, Ordering::Relaxed);
    });
    let [answered, other] = [&told.answered, &told.other].map(|it| it.load(Ordering::Relaxed));
    assert!(answered > 0 && other == 0, "{answered} answered, {other} otherwise");
    let found = service.persons("?search=user-77@example");
    assert_eq!(found["count"], 1, "it serves as before");
}

#[test]
fn slow_clients_hold_up_nobody_else() {
    let topic = Topic::create("slow", 1);
    topic.events(0, [&event(1, 1)]);
    let service = Home::new(&topic).serve_in(&[
        ("PERSONVIEW_API__REQUEST_TIMEOUT", "2s"),
        ("PERSONVIEW_API__POSITION_WAIT", "1s"),
    ]);
    service.wait_for_readiness(200);
    let address = service.url.strip_prefix("http://").unwrap();
    // Half of them do not finish the request's head, the others do not finish its body.
    let slow: Vec<_> = (0..200)
        .map(|number| {
            let mut stream = TcpStream::connect(address).unwrap();
            let begun = if number % 2 == 0 {
                "GET /api/projects/1/persons HTTP/1.1\r\nHost: x\r\nX-Slow: ".to_owned()
            } else {
                format!(
                    "POST /api/projects/1/persons/batch_by_distinct_ids HTTP/1.1\r\nHost: x\r\n\
                     Authorization: Bearer {KEY}\r\nContent-Type: application/json\r\n\
                     Content-Length: 1000\r\n\r\n{{"
                )
            };
            stream.write_all(begun.as_bytes()).unwrap();
            stream
        })
        .collect();
    assert_eq!(service.persons("?distinct_id=user-1")["count"], 1);
    // A body that does not come is given up after the request timeout.
    let mut answer = String::new();
    let mut waiting = &slow[1];
    waiting.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    let mut byte = [0; 1];
    while !answer.ends_with("\r\n") && waiting.read(&mut byte).unwrap() > 0 {
        answer.push(char::from(byte[0]));
    }
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(service.persons("?distinct_id=user-1")["count"], 1);
}
