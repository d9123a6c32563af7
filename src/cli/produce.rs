//! `personview produce`: sends capture events from a file to the first configured topic.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};

use super::pulse::Pulse;
use crate::config::Config;
use crate::ingest::produce::{Delivered, Producer};
use crate::ingest::{self, Partitions};
use crate::person::json::{self, Fault};

/// How long to wait for Kafka to acknowledge the last events.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends every usable line. Every other line is reported and skipped.
pub fn run(config: &Config, file: &str) -> anyhow::Result<()> {
    let topic = config.kafka.topics.first().context("kafka.topics is empty")?;
    config.check_kafka()?;
    let producer = Producer::connect(&config.kafka_connection())?;
    let reader: Box<dyn BufRead> = match file {
        "-" => Box::new(io::stdin().lock()),
        path => {
            let file = File::open(path).with_context(|| format!("cannot read {path}"))?;
            Box::new(BufReader::with_capacity(1 << 20, file))
        }
    };
    producer.check_reachable(topic).map_err(|error| {
        let reason = producer.cause().unwrap_or_else(|| error.to_string());
        anyhow!(config.kafka_connection().unreachable(&reason))
    })?;
    let mut pulse = Pulse::new("sending", "{spinner} {human_pos} events sent, {per_sec}");
    let mut counts = Counts::default();
    let ended = send(config, file, reader, &producer, topic, &mut counts, &mut pulse);
    // However sending ended, what was sent until then is in Kafka and must be reported.
    let (delivered, finished) = finish(&producer, config, "events");
    pulse.end();
    let Counts { bad, unknown, .. } = counts;
    let refused = tell_refused(&delivered, "events");
    println!("{} events are in topic {topic}", delivered.count);
    let last = delivered.next_offsets.iter();
    let last: Vec<_> =
        last.map(|(partition, next)| format!("{topic}:{partition}:{}", next - 1)).collect();
    if !last.is_empty() {
        println!("min_position={}", last.join(","));
    }
    if unknown > 0 {
        eprintln!("{unknown} events carry a token of no configured project and will be dropped");
    }
    ended?;
    finished?;
    if bad + refused > 0 {
        bail!("{bad} lines were skipped and {refused} events refused");
    }
    Ok(())
}

/// Counts of events sent, lines skipped, and sent events whose token belongs to no project.
#[derive(Default)]
struct Counts {
    sent: u64,
    bad: u64,
    unknown: u64,
}

fn send(
    config: &Config,
    file: &str,
    reader: Box<dyn BufRead>,
    producer: &Producer,
    topic: &str,
    counts: &mut Counts,
    pulse: &mut Pulse,
) -> anyhow::Result<()> {
    let tokens: HashSet<&str> =
        config.projects.iter().flat_map(|project| &project.tokens).map(String::as_str).collect();
    for (index, line) in reader.split(b'\n').enumerate() {
        let line = line.with_context(|| format!("cannot read {file}"))?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        match judge(&line) {
            Ok(event) => {
                // Instances that share the partitions need all events of a project in one partition.
                let key = match config.ingest.partitions {
                    Partitions::All => format!("{}:{}", event.token, event.distinct_id),
                    Partitions::Share { .. } => event.token.clone(),
                };
                producer.send(topic, &key, event.value)?;
                counts.sent += 1;
                counts.unknown += u64::from(!tokens.contains(event.token.as_str()));
            }
            Err(reason) => {
                counts.bad += 1;
                eprintln!("{file}:{}: {reason}; the line was left out", index + 1);
            }
        }
        pulse.tick(counts.sent, None);
    }
    Ok(())
}

/// Waits until Kafka has acknowledged or refused everything that was sent. Returns its answers, and an error
/// if some are still missing.
pub fn finish(producer: &Producer, config: &Config, what: &str) -> (Delivered, anyhow::Result<()>) {
    let finished = producer.finish(PATIENCE).map_err(|error| {
        let (seconds, unanswered) = (PATIENCE.as_secs(), producer.unanswered());
        let reason = producer.cause().unwrap_or_else(|| error.to_string());
        anyhow!(
            "Kafka at {} has not acknowledged {unanswered} more {what} within {seconds} s, and may or may \
             not have them: {reason}",
            config.kafka.bootstrap_servers
        )
    });
    (producer.delivered(), finished)
}

/// Names the setting in an error that says that no broker can be reached.
pub fn with_address(config: &Config, error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<ingest::Error>() {
        Some(found) if found.is_out_of_reach() => {
            anyhow!(config.kafka_connection().unreachable(&found.to_string()))
        }
        _ => error,
    }
}

/// Prints what Kafka refused and why, and returns how many records these are.
pub fn tell_refused(delivered: &Delivered, what: &str) -> u64 {
    for (reason, count) in &delivered.refused {
        eprintln!("{count} {what} were refused by Kafka: {reason}");
    }
    delivered.refused.values().sum()
}

/// A line that is an event: its value, and the parts of its message key.
#[derive(Debug, PartialEq)]
struct Line<'a> {
    token: String,
    distinct_id: String,
    value: &'a str,
}

/// Reads a line as an event, or returns why it is not one.
fn judge(line: &[u8]) -> Result<Line<'_>, String> {
    let text = std::str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?.trim();
    let (mut token, mut api_key, mut properties, mut distinct_id) = (None, None, None, None);
    let fields = json::fields(text, |key, value| match key.as_ref() {
        "token" => token = json::text(value),
        "api_key" => api_key = json::text(value),
        "properties" => properties = Some(value),
        "distinct_id" => distinct_id = json::text(value),
        _ => {}
    });
    // SDKs put the token here.
    let of_properties = || {
        let mut token = None;
        let read = json::fields(properties?, |key, value| {
            if key == "token" {
                token = json::text(value);
            }
        });
        read.ok().and(token)
    };
    let token = token.or(api_key).or_else(of_properties);
    match fields {
        Ok(()) => {}
        Err(fault @ Fault::Syntax) => {
            return Err(format!("it is {fault} (one event a line is due)"));
        }
        Err(fault @ Fault::NoObject) => return Err(format!("it is {fault}")),
    }
    let owned = |text: Option<Cow<'_, str>>| text.unwrap_or_default().into_owned();
    Ok(Line { token: owned(token), distinct_id: owned(distinct_id), value: text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_gives_its_key_and_value() {
        let judged = judge(br#" {"token":"phc_x","distinct_id":7,"event":"a"} "#);
        let value = r#"{"token":"phc_x","distinct_id":7,"event":"a"}"#;
        let (token, distinct_id) = ("phc_x".to_owned(), "7".to_owned());
        assert_eq!(judged, Ok(Line { token, distinct_id, value }));
        for line in [
            r#"{"token":"t","api_key":null}"#,
            r#"{"api_key":"t"}"#,
            r#"{"properties":{"$set":{},"token":"t"}}"#,
        ] {
            assert_eq!(judge(line.as_bytes()).unwrap().token, "t", "{line}");
        }
    }

    #[test]
    fn a_bad_line_says_what_it_is() {
        for (line, reason) in
            [(&b"{"[..], "not JSON"), (&b"[1]"[..], "not an object"), (&b"\xff"[..], "not UTF-8")]
        {
            assert!(judge(line).unwrap_err().contains(reason), "{reason}");
        }
    }
}
