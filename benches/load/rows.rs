//! The rows that are measured on a loaded store.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use personview::person::Time;
use serde_json::{Value, json};

use crate::Plan;
use crate::harness::{Home, Service};
use crate::http::{Ceiling, Client};
use crate::ingest::{self, Loader};
use crate::peer::{self, Postgres};
use crate::report::{self, Aim, Report};
use crate::stream::{BEGIN, SPAN, Sent, Stream};

/// What the run remembers of what it sent.
#[derive(Default)]
pub struct World {
    /// Distinct ids, each with the time of one of its events.
    seen: Vec<(String, String)>,
    /// By distinct id, its index in `seen` and the number of its events.
    met: HashMap<String, (usize, u32)>,
}

impl World {
    /// Remembers one in `one_in` distinct ids, and for each the time of one of its events, all equally
    /// likely.
    pub fn remember(&mut self, sent: &Sent, one_in: u64) {
        let random = |text: &str| xxhash_rust::xxh3::xxh3_64(text.as_bytes());
        if !random(&sent.key).is_multiple_of(one_in) {
            return;
        }
        let value: Value = serde_json::from_slice(&sent.value).expect("our own JSON");
        let text = |name: &str| value[name].as_str().expect(name).to_owned();
        let (who, when) = (text("distinct_id"), text("timestamp"));
        let next = self.seen.len();
        let (at, events) = self.met.entry(who.clone()).or_insert((next, 0));
        *events += 1;
        if *at == next {
            self.seen.push((who, when));
        } else if random(&when).is_multiple_of(u64::from(*events)) {
            self.seen[*at].1 = when;
        }
    }

    /// Kills the program, starts it again, and waits until it answers as before.
    pub fn restart(home: &Home, service: Service, report: &Report, memory: &str) -> Service {
        let path = "/api/projects/1/persons?limit=10";
        let (_, before) = service.get(path);
        service.kill();
        let began = Instant::now();
        let service = ingest::serve(home, memory);
        ingest::answers(&service, path, &before);
        let seconds = began.elapsed().as_secs_f64();
        report.row("start after kill -9 to a correct read", "s", seconds, 2.0, Aim::AtMost(1.0));
        service
    }

    /// Measures reads of a timeline of very many operations against one of few.
    pub fn timelines(plan: &Plan, loader: &mut Loader, service: &Service, report: &Report) {
        for (who, times) in [("hot", plan.hot), ("cold", 10)] {
            for time in 0..times {
                let at = Time(BEGIN + SPAN / times * time).to_string();
                let event = json!({
                    "token": "t", "event": "$set", "distinct_id": who, "timestamp": at, "now": at,
                    "properties": {"$set": {"n": time, "plan": "pro", "email": "a@example.com"}},
                });
                loader
                    .send(&Sent { key: format!("t:{who}"), value: event.to_string().into_bytes() });
            }
        }
        loader.flush();
        ingest::caught_up(service);
        let p99 = |who: &str| {
            let paths =
                (1..1_000).map(|at| as_of(who, &Time(BEGIN + SPAN / 1_000 * at).to_string()));
            let paths: Vec<_> = paths.collect();
            let run = |during| Client::new().run(&service.url, &paths, 1, during);
            run(Duration::from_millis(300));
            run(Duration::from_secs_f64(plan.seconds)).quantile(0.99) * 1e3
        };
        let (cold, hot) = (p99("cold"), p99("hot"));
        let work = format!("as-of read, p99, {} operations to 10", plan.hot);
        report.row(&work, "ms", hot, cold, Aim::AtMost(1.5));
    }

    /// Returns as-of reads of persons that existed at the time.
    pub fn as_of_paths(&self, service: &Service) -> Vec<String> {
        let paths = self.seen.iter().map(|(who, when)| as_of(who, when));
        paths.filter(|path| service.get(path).0 == 200).collect()
    }

    /// Measures requests per second against a handler that only answers.
    pub fn reads(&self, plan: &Plan, service: &Service, report: &Report) {
        let client = Client::new();
        let during = Duration::from_secs_f64(plan.seconds);
        let rate = |url: &str, paths: &[String], connections| {
            client.run(url, paths, connections, Duration::from_millis(300));
            client.run(url, paths, connections, during).per_second
        };
        let as_of = self.as_of_paths(service);
        let by_distinct_id =
            |who: &str| format!("/api/projects/1/persons?distinct_id={}", encoded(who));
        let lookups: Vec<_> = self.seen.iter().map(|(who, _)| by_distinct_id(who)).collect();
        let page = client.get(&service.url, "/api/projects/1/persons?limit=1000");
        let page: Value = serde_json::from_slice(&page).expect("JSON");
        let persons = page["results"].as_array().expect("a page");
        let ids = persons.iter().filter_map(|person| person["uuid"].as_str());
        let ids: Vec<_> = ids.map(|id| format!("/api/projects/1/persons/{id}")).collect();
        for (work, paths, connections, aim) in [
            ("as-of read", &as_of, 8, 0.5),
            ("as-of read", &as_of, 64, 0.5),
            ("lookup by distinct id", &lookups, 8, 0.6),
            ("lookup by id", &ids, 8, 0.6),
        ] {
            let ceiling = Ceiling::start(client.get(&service.url, &paths[paths.len() / 2]));
            let against = rate(&ceiling.url, paths, connections);
            let measured = rate(&service.url, paths, connections);
            let work = format!("{work}, {connections} connections");
            report.row(&work, "req/s", measured, against, Aim::AtLeast(aim));
        }
        let singles = rate(&service.url, &as_of, 8);
        let mut lines = String::new();
        let times = (singles * plan.seconds) as usize;
        for (who, when) in self.seen.iter().cycle().take(times) {
            writeln!(lines, "{}", json!({"distinct_id": who, "timestamp": when}))
                .expect("a string");
        }
        let began = Instant::now();
        assert_eq!(client.join(&service.url, lines), times, "a line for each");
        let joined = times as f64 / began.elapsed().as_secs_f64();
        report.row("point-in-time join", "lines/s", joined, singles, Aim::AtLeast(3.0));
    }

    /// Measures the questions that `PostgreSQL` is asked too.
    pub fn peer(&self, service: &Service, report: &Report) {
        let postgres = match Postgres::start() {
            Ok(postgres) => postgres,
            Err(why) => return report::say(&why),
        };
        let persons = postgres.load(service);
        let users = self.seen.iter().filter_map(|(who, _)| who.strip_prefix("user-")?.parse().ok());
        let number = users.max().unwrap_or(1);
        let client = Client::new();
        for (work, path, statements) in peer::questions(number) {
            let path = format!("/api/projects/1/{path}");
            let read = || drop(client.get(&service.url, &path));
            let measured = peer::median(21, read) * 1e3;
            let against = peer::median(21, || postgres.ask(&statements)) * 1e3;
            let work = format!("{work}, {persons} persons");
            report.row(&work, "ms", measured, against, Aim::AtMost(1.0));
        }
    }

    /// Measures reads at rest, and while a backlog is ingested that should outlast them.
    pub fn while_ingesting(
        &self,
        plan: &Plan,
        loader: &mut Loader,
        stream: &mut Stream,
        service: Service,
        home: &Home,
        report: &Report,
    ) {
        let paths = self.as_of_paths(&service);
        let client = Client::new();
        let during = Duration::from_secs_f64(plan.seconds);
        client.run(&service.url, &paths, 8, during / 10);
        let rest = client.run(&service.url, &paths, 8, during).quantile(0.99) * 1e3;
        service.kill();
        (0..plan.events / 2).for_each(|_| loader.send(&stream.next(None)));
        loader.flush();
        let service = ingest::serve(home, "512MiB");
        let busy = client.run(&service.url, &paths, 8, during).quantile(0.99) * 1e3;
        let (_, readiness) = service.get("/_readiness");
        let lag = readiness["components"]["caught_up"]["lag_records"].as_u64();
        if lag.is_none_or(|lag| lag == 0) {
            report::say(
                "it had caught up before the reads ended: the next row is not at full speed",
            );
        }
        report.row("reads while ingesting, p99", "ms", busy, rest, Aim::AtMost(5.0));
        ingest::caught_up(&service);
        service.kill();
    }

    /// Measures how soon records are readable at half the catch-up rate. It is measured after a while, since
    /// the caches are empty at the start.
    pub fn fresh(
        plan: &Plan,
        loader: &mut Loader,
        stream: &mut Stream,
        home: &Home,
        rate: f64,
        report: &Report,
    ) {
        let service = ingest::serve(home, "512MiB");
        ingest::caught_up(&service);
        // Made beforehand, since making them is not the program's work.
        let step = Duration::from_secs_f64(2.0 / rate);
        let warm = ((plan.seconds / 2.0 / step.as_secs_f64()) as u32).max(1);
        let (records, micros) = (i64::from(warm) * 3, step.as_micros() as i64);
        let now = chrono::Utc::now().timestamp_micros();
        let sent = (0..records).map(|record| stream.next(Some(now + record * micros)));
        let sent: Vec<_> = sent.collect();
        let mut before = Vec::new();
        let (began, sent_before) = (Instant::now(), loader.records);
        for (number, record) in (0..).zip(&sent) {
            if number == warm {
                before = ingest::freshness(&service);
            }
            while began.elapsed() < step * number {
                std::thread::sleep(Duration::from_millis(1));
            }
            loader.send(record);
        }
        let reached = (loader.records - sent_before) as f64 / began.elapsed().as_secs_f64();
        loader.flush();
        ingest::caught_up(&service);
        let bound = ingest::bound(&before, &ingest::freshness(&service), 0.99) * 1e3;
        report::say(&format!("{reached:.0} records a second were sent meanwhile"));
        report.row("freshness at half the rate, p99 below", "ms", bound, 100.0, Aim::AtMost(1.0));
        service.kill();
    }
}

fn as_of(who: &str, when: &str) -> String {
    format!(
        "/api/projects/1/persons/properties_at_time?distinct_id={}&timestamp={when}",
        encoded(who)
    )
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
