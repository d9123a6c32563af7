//! What ingestion counts and logs about records.

use std::collections::BTreeSet;
use std::time::Duration;

use strum::VariantNames;

use super::Settings;
use super::apply::{Kind, Outcome, Tally};
use crate::clock;
use crate::metrics::Metrics;
use crate::person::event::{Rejection, Warning};
use crate::person::{Position, Record, Time};
use crate::store::Dictionary;

/// Starts every counter at zero: a series that first appears with its first event hides that event from
/// `increase` and `rate`.
pub fn begin(metrics: &Metrics, settings: &Settings) {
    for topic in settings.topics.iter().chain([&settings.command_topic]) {
        for outcome in Outcome::VARIANTS {
            metrics.ingest_records(topic, outcome, 0);
        }
    }
    for kind in Kind::VARIANTS {
        metrics.ingest_operations(kind, 0);
    }
    for reason in Rejection::VARIANTS {
        if *reason != Rejection::UnknownToken.reason() {
            metrics.ingest_dead_letters(reason, 0);
        }
    }
    for kind in Warning::VARIANTS {
        metrics.ingest_warnings(kind, 0);
    }
}

/// Logs the position of the first record of each rejection reason: an unknown token shows up nowhere else.
pub fn first_of_each(
    logged_reasons: &mut BTreeSet<&'static str>,
    records: &[Record],
    tally: &Tally,
) {
    for &(index, rejection) in &tally.rejections {
        let (reason, record) = (rejection.reason(), &records[index]);
        if logged_reasons.insert(reason) {
            let (topic, Position { partition, offset, .. }) = (&*record.topic, record.position);
            tracing::warn!(
                reason,
                topic,
                partition,
                offset,
                "a record cannot be used; more of this reason are counted and not logged"
            );
        }
    }
}

/// Counts applied records.
pub fn records(metrics: &Metrics, names: &Dictionary, records: &[Record], tally: &Tally) {
    metrics.ingest_batch(records.len() as u64);
    for (&(topic, outcome), &count) in &tally.records {
        let topic = names.topic_name(topic).unwrap_or_default();
        metrics.ingest_records(&topic, outcome.name(), count);
    }
    for (kind, count) in &tally.operations {
        metrics.ingest_operations(kind.into(), *count);
    }
    for (warning, count) in &tally.warnings {
        metrics.ingest_warnings(warning.kind(), *count);
    }
    for (_, rejection) in &tally.rejections {
        if rejection.is_dead_letter() {
            metrics.ingest_dead_letters(rejection.reason(), 1);
        }
    }
    metrics.ingest_late_operations(tally.late);
    let now = clock::now();
    // A record without a Kafka timestamp does not say when it arrived.
    for record in records.iter().filter(|record| record.timestamp > Time::EPOCH) {
        let received = Duration::from_micros(record.timestamp.0.unsigned_abs());
        metrics.ingest_freshness(now.saturating_sub(received).as_secs_f64());
    }
}
