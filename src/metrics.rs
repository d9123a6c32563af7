//! What the program measures of itself, as Prometheus reads it.
//!
//! `series!` below is every series once: name with its unit, labels, help. Labels are bounded:
//! no project, no distinct id and no property ever becomes one.

use std::sync::{Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::{
    Counter, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::store::Measure;

/// From an answer of the cache to one that just made its deadline.
const REQUEST_SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];
/// From one millisecond to ten minutes.
const FRESHNESS_SECONDS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0,
    600.0,
];
/// From a stage with hardly anything to do to one that waits for the disk.
const STAGE_SECONDS: [f64; 13] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
/// From a trickle to a full batch of a generous configuration.
const BATCH_RECORDS: [f64; 12] =
    [1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0, 50_000.0];

/// What the HTTP methods are counted as; any other is `other`.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Makes [`Metrics`] of lines `field: Type = "name" [labels] (buckets) "help";`, each registered
/// as `personview_<name>`.
macro_rules! series {
    ($($field:ident: $type:ident = $name:literal [$($label:ident),*] $(($buckets:ident))? $help:literal;)*) => {
        /// Every series. Cheap to record into, from any thread.
        pub struct Metrics {
            registry: Registry,
            /// Held while series are copied from the store and read, so that two readers at once
            /// do not count the same growth twice.
            reading: Mutex<()>,
            $($field: $type,)*
        }

        impl Metrics {
            fn register(registry: Registry) -> prometheus::Result<Self> {
                let metrics = Self {
                    $($field: $type::build($name, $help, &[$(stringify!($label)),*], &[$(&$buckets)?])?,)*
                    registry,
                    reading: Mutex::new(()),
                };
                $(metrics.registry.register(Box::new(metrics.$field.clone()))?;)*
                Ok(metrics)
            }
        }
    };
}

series! {
    ingest_records: IntCounterVec = "ingest_records_total" [topic, result] "Records applied, by what became of them.";
    ingest_operations: IntCounterVec = "ingest_operations_total" [kind] "Rows recorded, by kind: set, set_once, unset, merge, split, deletion.";
    ingest_dead_letters: IntCounterVec = "ingest_dead_letters_total" [reason] "Records that could not be used, by reason.";
    ingest_warnings: IntCounterVec = "ingest_warnings_total" [kind] "Oddities of records that were used all the same, by kind.";
    ingest_lag: IntGaugeVec = "ingest_lag_records" [topic, partition] "Records that are in Kafka and not yet applied.";
    ingest_freshness: Histogram = "ingest_freshness_seconds" [] (FRESHNESS_SECONDS) "From when a record was received until it could be read here.";
    ingest_batch_records: Histogram = "ingest_batch_records" [] (BATCH_RECORDS) "Records of one batch.";
    ingest_batch_seconds: HistogramVec = "ingest_batch_seconds" [stage] (STAGE_SECONDS) "Time that one batch took, by stage: parse, apply, commit.";
    ingest_late_operations: IntCounter = "ingest_late_operations_total" [] "Operations that took a place before one already recorded.";
    ingest_running: IntGauge = "ingest_running" [] "1 while records are read and applied, 0 after ingestion has ended for good.";
    kafka_reachable: IntGauge = "kafka_reachable" [] "1 while Kafka can be read, 0 while it is away and tried again.";
    store_bytes: IntGaugeVec = "store_bytes" [family] "Bytes on disk, by column family.";
    store_write_stall: Counter = "store_write_stall_seconds_total" [] "How long writes waited for compaction.";
    store_block_cache_hits: IntCounter = "store_block_cache_hits_total" [] "Blocks found in the block cache.";
    store_block_cache_misses: IntCounter = "store_block_cache_misses_total" [] "Blocks that had to be read from disk.";
    http_request_duration: HistogramVec = "http_request_duration_seconds" [route, method, status] (REQUEST_SECONDS) "Time until a request was answered, by matched route.";
    http_requests_in_flight: IntGauge = "http_requests_in_flight" [] "Requests being answered just now.";
    build_info: IntGaugeVec = "build_info" [version] "1, labelled with the version that runs.";
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Every series, at zero, in a registry of their own.
    ///
    /// # Panics
    /// Where two series share a name, which the tests exclude.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self::register(Registry::new()).expect("every series has a name of its own");
        let version = env!("CARGO_PKG_VERSION");
        metrics.build_info.with_label_values(&[version]).set(1);
        #[cfg(target_os = "linux")]
        {
            let process = prometheus::process_collector::ProcessCollector::for_self();
            let registered = metrics.registry.register(Box::new(process));
            registered.expect("every series has a name of its own");
        }
        metrics
    }

    /// Counts applied records of a topic.
    pub fn ingest_records(&self, topic: &str, result: &str, records: u64) {
        let counter = self.ingest_records.with_label_values(&[topic, result]);
        counter.inc_by(records);
    }

    /// Counts rows recorded.
    pub fn ingest_operations(&self, kind: &str, rows: u64) {
        self.ingest_operations.with_label_values(&[kind]).inc_by(rows);
    }

    /// Counts records that could not be used.
    pub fn ingest_dead_letters(&self, reason: &str, records: u64) {
        let counter = self.ingest_dead_letters.with_label_values(&[reason]);
        counter.inc_by(records);
    }

    /// Counts oddities.
    pub fn ingest_warnings(&self, kind: &str, warnings: u64) {
        let counter = self.ingest_warnings.with_label_values(&[kind]);
        counter.inc_by(warnings);
    }

    /// How many records of a partition are in Kafka and not yet applied.
    pub fn ingest_lag(&self, topic: &str, partition: u32, records: u64) {
        let labels = [topic, &partition.to_string()];
        self.ingest_lag.with_label_values(&labels).set(gauge(records));
    }

    /// Whether records are read and applied, and whether Kafka can be read just now.
    pub fn ingest_state(&self, running: bool, kafka_reachable: bool) {
        self.ingest_running.set(running.into());
        self.kafka_reachable.set(kafka_reachable.into());
    }

    /// How long it took from when a record was received until it could be read here.
    pub fn ingest_freshness(&self, seconds: f64) {
        self.ingest_freshness.observe(seconds.max(0.0));
    }

    /// The size of one batch.
    pub fn ingest_batch(&self, records: u64) {
        // Exact up to 2^53.
        #[allow(clippy::cast_precision_loss)]
        self.ingest_batch_records.observe(records as f64);
    }

    /// How long one stage (`parse`, `apply`, `commit`) of one batch took.
    pub fn ingest_batch_stage(&self, stage: &str, seconds: f64) {
        let histogram = self.ingest_batch_seconds.with_label_values(&[stage]);
        histogram.observe(seconds);
    }

    /// Counts operations that took a place before one already recorded.
    pub fn ingest_late_operations(&self, operations: u64) {
        self.ingest_late_operations.inc_by(operations);
    }

    /// Counts a request as being answered for as long as the guard lives.
    #[must_use]
    pub fn http_request(&self) -> InFlight {
        self.http_requests_in_flight.inc();
        InFlight(self.http_requests_in_flight.clone())
    }

    /// Counts an answer. `route` is the path's template, so that it stays bounded.
    pub fn http_answer(&self, route: &str, method: &str, status: u16, seconds: f64) {
        let method = METHODS.iter().find(|known| **known == method);
        let labels = [route, method.unwrap_or(&"other"), &status.to_string()];
        let histogram = self.http_request_duration.with_label_values(&labels);
        histogram.observe(seconds);
    }

    /// All series as Prometheus reads them, with what the store measures just now.
    ///
    /// # Errors
    /// Where a series cannot be written, which the tests exclude.
    pub fn text(&self, store: &Measure) -> prometheus::Result<String> {
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        self.take_over(store);
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    fn take_over(&self, store: &Measure) {
        for (family, bytes) in &store.bytes {
            self.store_bytes.with_label_values(&[*family]).set(gauge(*bytes));
        }
        let raise = |counter: &IntCounter, to: u64| {
            counter.inc_by(to.saturating_sub(counter.get()));
        };
        raise(&self.store_block_cache_hits, store.cache_hits);
        raise(&self.store_block_cache_misses, store.cache_misses);
        // Exact up to 2^53 microseconds, which are three centuries.
        #[allow(clippy::cast_precision_loss)]
        let stall = store.stall_micros as f64 / 1e6;
        self.store_write_stall.inc_by((stall - self.store_write_stall.get()).max(0.0));
    }
}

/// A request that is being answered.
pub struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// How each type of series is made of one line of the table.
trait Build: Collector + Sized {
    fn build(
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[&[f64]],
    ) -> prometheus::Result<Self>;
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("personview")
}

fn histogram_opts(name: &str, help: &str, buckets: &[&[f64]]) -> HistogramOpts {
    let opts = HistogramOpts::new(name, help).namespace("personview");
    opts.buckets(buckets.concat())
}

macro_rules! build {
    ($($type:ident($name:ident, $help:ident, $labels:pat, $buckets:pat) => $make:expr;)*) => {$(
        impl Build for $type {
            fn build($name: &str, $help: &str, $labels: &[&str], $buckets: &[&[f64]]) -> prometheus::Result<Self> {
                $make
            }
        }
    )*};
}

build! {
    Counter(name, help, _, _) => Self::with_opts(opts(name, help));
    IntCounter(name, help, _, _) => Self::with_opts(opts(name, help));
    IntGauge(name, help, _, _) => Self::with_opts(opts(name, help));
    IntCounterVec(name, help, labels, _) => Self::new(opts(name, help), labels);
    IntGaugeVec(name, help, labels, _) => Self::new(opts(name, help), labels);
    Histogram(name, help, _, buckets) => Self::with_opts(histogram_opts(name, help, buckets));
    HistogramVec(name, help, labels, buckets) => Self::new(histogram_opts(name, help, buckets), labels);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_what_prometheus_reads() {
        let metrics = Metrics::new();
        metrics.ingest_records("events", "recorded", 2);
        metrics.ingest_records("events", "recorded", 3);
        metrics.ingest_operations("set", 4);
        metrics.ingest_dead_letters("not_json", 1);
        metrics.ingest_warnings("timestamp_unusable", 1);
        metrics.ingest_lag("events", 7, 12);
        metrics.ingest_freshness(0.003);
        metrics.ingest_batch(100);
        metrics.ingest_batch_stage("commit", 0.002);
        metrics.ingest_late_operations(6);
        metrics.http_answer("/_liveness", "GET", 200, 0.0001);
        metrics.http_answer("/_liveness", "BREW", 405, 0.0001);
        let text = metrics.text(&Measure::default()).unwrap();
        for line in [
            r#"personview_ingest_records_total{result="recorded",topic="events"} 5"#,
            r#"personview_ingest_operations_total{kind="set"} 4"#,
            r#"personview_ingest_dead_letters_total{reason="not_json"} 1"#,
            r#"personview_ingest_warnings_total{kind="timestamp_unusable"} 1"#,
            r#"personview_ingest_lag_records{partition="7",topic="events"} 12"#,
            r#"personview_ingest_freshness_seconds_bucket{le="0.0025"} 0"#,
            r#"personview_ingest_freshness_seconds_bucket{le="0.005"} 1"#,
            r#"personview_ingest_freshness_seconds_bucket{le="600"} 1"#,
            "personview_ingest_batch_records_sum 100",
            r#"personview_ingest_batch_seconds_count{stage="commit"} 1"#,
            "personview_ingest_late_operations_total 6",
            r#"personview_http_request_duration_seconds_count{method="GET",route="/_liveness",status="200"} 1"#,
            r#"personview_http_request_duration_seconds_count{method="other",route="/_liveness",status="405"} 1"#,
            r#"personview_build_info{version="0.1.0"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        #[cfg(target_os = "linux")]
        assert!(text.contains("process_resident_memory_bytes"));
    }

    #[test]
    fn the_store_is_measured_at_every_reading_and_counted_once() {
        let metrics = Metrics::new();
        let mut measure = Measure {
            bytes: vec![("person", 10)],
            cache_hits: 5,
            cache_misses: 2,
            stall_micros: 1_500_000,
        };
        metrics.text(&measure).unwrap();
        measure.cache_hits = 7;
        measure.bytes = vec![("person", 8)];
        let text = metrics.text(&measure).unwrap();
        for line in [
            r#"personview_store_bytes{family="person"} 8"#,
            "personview_store_block_cache_hits_total 7",
            "personview_store_block_cache_misses_total 2",
            "personview_store_write_stall_seconds_total 1.5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_request_is_in_flight_until_it_is_answered() {
        let metrics = Metrics::new();
        let request = metrics.http_request();
        assert_eq!(metrics.http_requests_in_flight.get(), 1);
        drop(request);
        assert_eq!(metrics.http_requests_in_flight.get(), 0);
    }
}
