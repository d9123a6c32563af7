//! Capture records as a web product produces them. The same seed gives the same records.
//!
//! Persons are Zipf-distributed and begin anonymous. Most events are page views that change nothing; some set
//! properties, identify, unset or name an alias. 2 % of all come up to 60 days late, and 0.2 % come twice.

use personview::person::Time;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use uuid::Uuid;

const BROWSERS: [(&str, u32); 4] =
    [("Chrome", 142), ("Safari", 18), ("Firefox", 143), ("Edge", 141)];
const SYSTEMS: [&str; 4] = ["Mac OS X", "Windows", "Linux", "Android"];
const CITIES: [(&str, &str); 4] =
    [("Berlin", "DE"), ("Austin", "US"), ("Osaka", "JP"), ("São Paulo", "BR")];
const PAGES: [&str; 6] = ["/", "/pricing", "/docs/api", "/signup", "/app", "/app/report"];
const PLANS: [&str; 4] = ["free", "starter", "pro", "team"];
const AGENT: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";

/// When the stream begins, in microseconds: 2026-01-01.
pub const BEGIN: i64 = 1_767_225_600_000_000;
/// How much event time it covers, in microseconds: 90 days.
pub const SPAN: i64 = 90 * 86_400_000_000;

/// One record: Kafka's key and value.
pub struct Sent {
    pub key: String,
    pub value: Vec<u8>,
}

struct Person {
    anonymous: Uuid,
    identified: bool,
    seen: u32,
    browser: (&'static str, u32),
    system: &'static str,
    city: (&'static str, &'static str),
    plan: usize,
}

/// An endless stream of records; `events` of them cover [`SPAN`].
pub struct Stream {
    random: StdRng,
    people: Vec<Person>,
    /// Cumulative weights, the most active person first.
    weights: Vec<f64>,
    step: i64,
    index: i64,
    again: Option<Sent>,
}

/// Returns the distinct id of person `number` once it is identified.
pub fn known(number: usize) -> String {
    format!("user-{number}")
}

impl Stream {
    pub fn new(events: usize, persons: usize, seed: u64) -> Self {
        // The persons depend only on how many there are, not on the seed.
        let mut who = StdRng::seed_from_u64(persons as u64);
        let people = (0..persons).map(|_| Person {
            anonymous: uuid(&mut who),
            identified: false,
            seen: 0,
            browser: pick(&mut who, &BROWSERS),
            system: pick(&mut who, &SYSTEMS),
            city: pick(&mut who, &CITIES),
            plan: 0,
        });
        let people = people.collect();
        let mut sum = 0.0;
        let weights = (1..=persons).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        let step = SPAN / i64::try_from(events.max(1)).expect("fits");
        Self {
            random: StdRng::seed_from_u64(seed),
            people,
            weights: weights.collect(),
            step,
            index: 0,
            again: None,
        }
    }

    /// Returns the next record. It arrives at `now`, or at its place in the span.
    pub fn next(&mut self, now: Option<i64>) -> Sent {
        if let Some(again) = self.again.take() {
            return again;
        }
        let drawn = self.random.random_range(0.0..*self.weights.last().expect("has persons"));
        let number = self.weights.partition_point(|&weight| weight < drawn);
        let arrived = now.unwrap_or(BEGIN + self.index * self.step);
        self.index += 1;
        let behind = if self.random.random_bool(0.02) {
            60e6 * 10_f64.powf(self.random.random_range(0.0..4.94))
        } else {
            self.random.random_range(0.0..5e6)
        };
        let sent = self.record(number, arrived, arrived - behind as i64);
        if self.random.random_bool(0.002) {
            self.again = Some(Sent { key: sent.key.clone(), value: sent.value.clone() });
        }
        sent
    }

    fn record(&mut self, number: usize, arrived: i64, happened: i64) -> Sent {
        let (name, properties) = self.event(number);
        let person = &mut self.people[number];
        person.seen += 1;
        let distinct_id =
            if person.identified { known(number) } else { person.anonymous.to_string() };
        let (uuid, timestamp) = (uuid(&mut self.random), Time(happened).to_string());
        let data = json!({
            "uuid": uuid, "event": name, "distinct_id": distinct_id, "properties": properties,
            "timestamp": timestamp, "offset": null,
        });
        let now = Time(arrived).to_string();
        let value = json!({
            "uuid": uuid, "distinct_id": distinct_id, "ip": "203.0.113.7", "data": data.to_string(),
            "now": now, "sent_at": now, "token": "t", "event": name, "timestamp": timestamp,
            "is_cookieless_mode": false,
        });
        Sent { key: format!("t:{distinct_id}"), value: value.to_string().into_bytes() }
    }

    fn event(&mut self, number: usize) -> (&'static str, Value) {
        let random = &mut self.random;
        let person = &mut self.people[number];
        let page = pick(random, &PAGES);
        let mut properties = json!({
            "$os": person.system, "$browser": person.browser.0, "$browser_version": person.browser.1,
            "$device_type": "Desktop", "$raw_user_agent": AGENT, "$host": "app.example.com",
            "$current_url": format!("https://app.example.com{page}?ref={}", random.random_range(0..40)),
            "$pathname": page, "$screen_height": 1080, "$screen_width": 1920, "$viewport_height": 937,
            "$viewport_width": 1920, "$lib": "web", "$lib_version": "1.298.0",
            "$insert_id": format!("{:020x}", random.random::<u64>()), "$device_id": person.anonymous,
            "$session_id": format!("{:016x}", random.random::<u64>()),
            "$window_id": format!("{:016x}", random.random::<u64>()),
            "$referrer": "$direct", "$referring_domain": "$direct", "$is_identified": person.identified,
            "$process_person_profile": true, "$geoip_city_name": person.city.0,
            "$geoip_country_code": person.city.1, "$geoip_time_zone": "Europe/Berlin",
            "$geoip_latitude": 52.52, "$geoip_longitude": 13.4, "$timezone": "Europe/Berlin",
            "$pageview_id": format!("{:016x}", random.random::<u64>()),
            "$feature/new-report": random.random_bool(0.5),
            "$active_feature_flags": ["new-report", "dark-mode"],
        });
        let roll = random.random_range(0.0..1.0);
        if !person.identified && person.seen > 3 && roll < 0.1 {
            properties["$anon_distinct_id"] = json!(person.anonymous);
            properties["$set"] = json!({
                "email": format!("user{number}@example.com"), "name": format!("User {number}"), "plan": "free",
            });
            properties["$set_once"] = json!({ "signed_up_on": page });
            person.identified = true;
            return ("$identify", properties);
        }
        let report = format!("r-{}", random.random_range(0..1_000));
        if roll < 0.03 {
            person.plan = (person.plan + 1) % PLANS.len();
            properties["$set"] =
                json!({ "plan": PLANS[person.plan], "seats": random.random_range(1..50) });
            ("plan changed", properties)
        } else if roll < 0.05 {
            properties["$set"] =
                json!({ "last_report": report, "reports": random.random_range(1..400) });
            properties["$set_once"] = json!({ "first_report": report });
            ("report created", properties)
        } else if roll < 0.06 {
            let score = f64::from(random.random_range(0..10_000)) / 100.0;
            ("$set", json!({ "$set": { "score": score, "tags": ["a", "b"] } }))
        } else if roll < 0.062 {
            properties["$unset"] = json!(["last_report"]);
            ("reports cleared", properties)
        } else if roll < 0.063 && person.identified {
            ("$create_alias", json!({ "alias": format!("crm-{number}") }))
        } else {
            properties["$process_person_profile"] = json!(roll >= 0.083);
            (if roll < 0.5 { "$autocapture" } else { "$pageview" }, properties)
        }
    }
}

fn pick<T: Copy>(random: &mut StdRng, of: &[T]) -> T {
    *of.choose(random).expect("not empty")
}

fn uuid(random: &mut StdRng) -> Uuid {
    uuid::Builder::from_random_bytes(random.random()).into_uuid()
}
