//! The program's own metrics, exposed in Prometheus' text format.
//!
//! `series!` below defines every series once: its name with the unit, its labels and its help. Labels are
//! bounded: no project, distinct id or property ever becomes a label.

mod build;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::{
    Counter, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Registry, TextEncoder,
};

use self::build::Build;
use crate::store::Measure;

/// From an answer out of a cache to one that takes as long as the default `api.request_timeout`.
const REQUEST_SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];
/// From one millisecond to ten minutes.
const FRESHNESS_SECONDS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0,
    600.0,
];
/// From a stage with hardly any work to one that waits for the disk.
const STAGE_SECONDS: [f64; 13] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
/// From a trickle of records to a full batch under a generous configuration.
const BATCH_RECORDS: [f64; 12] =
    [1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0, 50_000.0];

/// The HTTP methods that are counted by name; any other is counted as `other`.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Builds [`Metrics`] from lines `field: Type = "name" [labels] (buckets) "help";`, each
/// registered as `personview_<name>`.
macro_rules! series {
    ($($field:ident: $type:ident = $name:literal [$($label:ident),*] $(($buckets:ident))? $help:literal;)*) => {
        /// Every series. Recording is cheap and possible from any thread.
        pub struct Metrics {
            registry: Registry,
            /// Locked while series are replaced and while they are read, so that no scrape sees half of them,
            /// and so that two concurrent scrapes do not add the same growth twice.
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
    ingest_operations: IntCounterVec = "ingest_operations_total" [kind] "What was recorded, by kind: set, set_once, unset, merge, split, deletion.";
    ingest_dead_letters: IntCounterVec = "ingest_dead_letters_total" [reason] "Records that could not be used, by reason.";
    ingest_warnings: IntCounterVec = "ingest_warnings_total" [kind] "Odd things about records that were used nevertheless, by kind.";
    ingest_lag: IntGaugeVec = "ingest_lag_records" [topic, partition] "Records in Kafka that are not applied yet; absent while unknown.";
    ingest_freshness: Histogram = "ingest_freshness_seconds" [] (FRESHNESS_SECONDS) "Time from when Kafka received a record until it could be read here.";
    ingest_batch_records: Histogram = "ingest_batch_records" [] (BATCH_RECORDS) "Records per batch.";
    ingest_batch_seconds: HistogramVec = "ingest_batch_seconds" [stage] (STAGE_SECONDS) "Time per batch, by stage: parse, apply, commit.";
    ingest_late_operations: IntCounter = "ingest_late_operations_total" [] "Operations placed before one that was already recorded.";
    ingest_last_record: IntGauge = "ingest_last_record_timestamp_seconds" [] "When Kafka received the newest applied record, in seconds since 1970; 0 before the first.";
    ingest_topics_not_read: IntGauge = "ingest_topics_not_read" [] "Topics that are not read although brokers answer: they do not exist, or Kafka refuses access.";
    ingest_running: IntGauge = "ingest_running" [] "1 while records are read and applied, 0 after ingestion has ended for good.";
    kafka_reachable: IntGauge = "kafka_reachable" [] "1 while Kafka can be read, 0 while it cannot and is retried.";
    kafka_broker_up: IntGaugeVec = "kafka_broker_up" [broker] "1 while connected to a broker, 0 while not; absent for brokers that Kafka does not name.";
    kafka_broker_round_trip: GaugeVec = "kafka_broker_round_trip_seconds" [broker] "Time from a request to a broker until its answer, averaged over the last second.";
    kafka_broker_errors: IntCounterVec = "kafka_broker_errors_total" [broker] "Requests to a broker that failed or were not answered in time.";
    kafka_broker_disconnects: IntCounterVec = "kafka_broker_disconnects_total" [broker] "Broken connections to a broker.";
    kafka_received_bytes: IntCounter = "kafka_received_bytes_total" [] "Bytes received from Kafka, as on the wire.";
    kafka_fetch_queue_bytes: IntGauge = "kafka_fetch_queue_bytes" [] "Bytes of records that are fetched and not in a batch yet.";
    store_bytes: IntGaugeVec = "store_bytes" [family] "Bytes on disk, by column family.";
    store_write_stall: Counter = "store_write_stall_seconds_total" [] "How long writes waited for compaction.";
    store_block_cache_hits: IntCounter = "store_block_cache_hits_total" [] "Blocks found in the block cache.";
    store_block_cache_misses: IntCounter = "store_block_cache_misses_total" [] "Blocks that had to be read from disk.";
    store_block_cache_bytes: IntGauge = "store_block_cache_bytes" [] "Bytes in block cache and write buffers, part of store.memory.";
    store_row_cache_hits: IntCounter = "store_row_cache_hits_total" [] "Times that a reader found rows in the row cache.";
    store_row_cache_misses: IntCounter = "store_row_cache_misses_total" [] "Times that a reader had to look into the database.";
    store_row_cache_bytes: IntGauge = "store_row_cache_bytes" [] "Bytes in the row cache, part of store.memory.";
    store_column_cache_bytes: IntGauge = "store_column_cache_bytes" [] "Bytes of columns and distinct ids kept in memory, part of store.memory.";
    store_history_cache_bytes: IntGauge = "store_history_cache_bytes" [] "Bytes of histories that ingestion keeps in memory, part of store.memory.";
    store_memtable_bytes: IntGaugeVec = "store_memtable_bytes" [family] "Bytes in write buffers, by column family.";
    store_compaction_pending_bytes: IntGaugeVec = "store_compaction_pending_bytes" [family] "Bytes that compaction has yet to rewrite, by column family.";
    store_compactions_running: IntGauge = "store_compactions_running" [] "Running compactions.";
    store_compaction_read_bytes: IntCounter = "store_compaction_read_bytes_total" [] "Bytes that compaction read.";
    store_compaction_written_bytes: IntCounter = "store_compaction_written_bytes_total" [] "Bytes that compaction wrote.";
    store_flush_written_bytes: IntCounter = "store_flush_written_bytes_total" [] "Bytes written out of full write buffers.";
    store_wal_written_bytes: IntCounter = "store_wal_written_bytes_total" [] "Bytes written to the write-ahead log.";
    store_disk_available_bytes: IntGauge = "store_disk_available_bytes" [] "Bytes available on the disk of the store.";
    store_poisoned: IntGauge = "store_poisoned" [] "1 after a commit failed: nothing more is committed before a restart.";
    store_last_backup: IntGauge = "store_last_backup_timestamp_seconds" [] "When the last backup finished, in seconds since 1970; 0 if there was none.";
    config_reload_successful: IntGauge = "config_last_reload_successful" [] "1 if the configuration could be used when it was last read.";
    config_reload_success: IntGauge = "config_last_reload_success_timestamp_seconds" [] "When the configuration that is in force was read, in seconds since 1970.";
    http_request_duration: HistogramVec = "http_request_duration_seconds" [route, method, status] (REQUEST_SECONDS) "Time until a request was answered, by matched route.";
    http_errors: IntCounterVec = "http_errors_total" [code] "Requests answered with an error, by its code, without failing health checks.";
    http_requests_in_flight: IntGauge = "http_requests_in_flight" [] "Requests being answered.";
    build_info: IntGaugeVec = "build_info" [version] "1, labelled with the running version.";
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Creates every series, at zero, in a new registry.
    ///
    /// # Panics
    /// If two series share a name, which the tests rule out.
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

    /// Counts applied records of a topic by their result.
    pub fn ingest_records(&self, topic: &str, result: &str, records: u64) {
        let counter = self.ingest_records.with_label_values(&[topic, result]);
        counter.inc_by(records);
    }

    /// Counts recorded operations by kind.
    pub fn ingest_operations(&self, kind: &str, operations: u64) {
        self.ingest_operations.with_label_values(&[kind]).inc_by(operations);
    }

    /// Counts records that could not be used by reason.
    pub fn ingest_dead_letters(&self, reason: &str, records: u64) {
        let counter = self.ingest_dead_letters.with_label_values(&[reason]);
        counter.inc_by(records);
    }

    /// Counts warnings by kind.
    pub fn ingest_warnings(&self, kind: &str, warnings: u64) {
        let counter = self.ingest_warnings.with_label_values(&[kind]);
        counter.inc_by(warnings);
    }

    /// Replaces the lag of all partitions: records in Kafka that are not yet applied. A partition whose lag
    /// is unknown (`None`) has no series.
    pub fn ingest_lag(&self, lags: &[(&str, u32, Option<u64>)]) {
        let _reading = self.lock();
        self.ingest_lag.reset();
        for (topic, partition, records) in lags {
            let labels = [*topic, &partition.to_string()];
            if let Some(records) = records {
                self.ingest_lag.with_label_values(&labels).set(gauge(*records));
            }
        }
    }

    /// Sets when Kafka received the newest applied record, in microseconds since 1970.
    pub fn ingest_last_record(&self, micros: i64) {
        self.ingest_last_record.set(micros.div_euclid(1_000_000));
    }

    /// Sets how many topics are not read although brokers answer.
    pub fn ingest_topics_not_read(&self, topics: usize) {
        self.ingest_topics_not_read.set(gauge(topics as u64));
    }

    /// Sets whether records are being read and applied, and whether Kafka can be read at the moment.
    pub fn ingest_state(&self, running: bool, kafka_reachable: bool) {
        self.ingest_running.set(running.into());
        self.kafka_reachable.set(kafka_reachable.into());
    }

    /// Replaces the connections to all brokers that Kafka currently names, and adds up their failures.
    pub fn kafka_brokers(&self, brokers: &[BrokerMeasure]) {
        let _reading = self.lock();
        self.kafka_broker_up.reset();
        self.kafka_broker_round_trip.reset();
        for broker in brokers {
            let label = [broker.name.as_str()];
            let round_trip = broker.round_trip.as_secs_f64();
            self.kafka_broker_up.with_label_values(&label).set(broker.is_up.into());
            self.kafka_broker_round_trip.with_label_values(&label).set(round_trip);
            self.kafka_broker_errors.with_label_values(&label).inc_by(broker.errors);
            self.kafka_broker_disconnects.with_label_values(&label).inc_by(broker.disconnects);
        }
    }

    /// Adds the bytes received from Kafka since the last call, and sets how many bytes of records are fetched
    /// and not yet taken into a batch.
    pub fn kafka_bytes(&self, received: u64, waiting: u64) {
        self.kafka_received_bytes.inc_by(received);
        self.kafka_fetch_queue_bytes.set(gauge(waiting));
    }

    /// Notes that the configuration was read, and whether it could be used and is now in force. `now`
    /// is in seconds since 1970.
    pub fn config_reloaded(&self, successful: bool, now: u64) {
        self.config_reload_successful.set(successful.into());
        if successful {
            self.config_reload_success.set(gauge(now));
        }
    }

    /// Observes the time from when a record was received until it could be read here.
    pub fn ingest_freshness(&self, seconds: f64) {
        self.ingest_freshness.observe(seconds.max(0.0));
    }

    /// Observes the number of records in one batch.
    pub fn ingest_batch(&self, records: u64) {
        // Exact up to 2^53.
        #[allow(clippy::cast_precision_loss)]
        self.ingest_batch_records.observe(records as f64);
    }

    /// Observes how long one stage (`parse`, `apply`, `commit`) of one batch took.
    pub fn ingest_batch_stage(&self, stage: &str, seconds: f64) {
        let histogram = self.ingest_batch_seconds.with_label_values(&[stage]);
        histogram.observe(seconds);
    }

    /// Counts operations placed before one that was already recorded.
    pub fn ingest_late_operations(&self, operations: u64) {
        self.ingest_late_operations.inc_by(operations);
    }

    /// Counts a request as in progress until the returned guard is dropped.
    #[must_use]
    pub fn http_request(&self) -> InFlight {
        self.http_requests_in_flight.inc();
        InFlight(self.http_requests_in_flight.clone())
    }

    /// Counts an answer and observes its duration. `route` is the path's template, so
    /// that the label is bounded.
    pub fn http_answer(&self, route: &str, method: &str, status: &str, seconds: f64) {
        let method = METHODS.iter().find(|known| **known == method);
        let labels = [route, method.unwrap_or(&"other"), status];
        let histogram = self.http_request_duration.with_label_values(&labels);
        histogram.observe(seconds);
    }

    /// Counts errors returned to requests, by code.
    pub fn http_errors(&self, code: &str, errors: u64) {
        self.http_errors.with_label_values(&[code]).inc_by(errors);
    }

    /// Returns all series in Prometheus' text format, with the store's current measures.
    ///
    /// # Errors
    /// If a series cannot be written, which the tests rule out.
    pub fn text(&self, store: &Measure) -> prometheus::Result<String> {
        let _reading = self.lock();
        self.take_over(store);
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_over(&self, store: &Measure) {
        for family in &store.families {
            let label = [family.name];
            self.store_bytes.with_label_values(&label).set(gauge(family.bytes));
            self.store_memtable_bytes.with_label_values(&label).set(gauge(family.memtable_bytes));
            let pending = self.store_compaction_pending_bytes.with_label_values(&label);
            pending.set(gauge(family.compaction_pending_bytes));
        }
        raise(&self.store_block_cache_hits, store.cache_hits);
        raise(&self.store_block_cache_misses, store.cache_misses);
        raise(&self.store_row_cache_hits, store.row_cache_hits);
        raise(&self.store_row_cache_misses, store.row_cache_misses);
        raise(&self.store_compaction_read_bytes, store.compaction_read_bytes);
        raise(&self.store_compaction_written_bytes, store.compaction_written_bytes);
        raise(&self.store_flush_written_bytes, store.flush_written_bytes);
        raise(&self.store_wal_written_bytes, store.wal_written_bytes);
        self.store_block_cache_bytes.set(gauge(store.cache_bytes));
        self.store_row_cache_bytes.set(gauge(store.row_cache_bytes));
        self.store_column_cache_bytes.set(gauge(store.column_cache_bytes));
        self.store_history_cache_bytes.set(gauge(store.history_cache_bytes));
        self.store_compactions_running.set(gauge(store.compactions_running));
        if let Some(available) = store.disk_available_bytes {
            self.store_disk_available_bytes.set(gauge(available));
        }
        self.store_poisoned.set(store.is_poisoned.into());
        self.store_last_backup.set(gauge(store.last_backup.unwrap_or(0)));
        // Exact up to 2^53 microseconds, which are three centuries.
        #[allow(clippy::cast_precision_loss)]
        let stall = store.stall_micros as f64 / 1e6;
        self.store_write_stall.inc_by((stall - self.store_write_stall.get()).max(0.0));
    }
}

/// The state of the connection to one broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerMeasure {
    /// The broker's host and port.
    pub name: String,
    /// Whether the connection is up.
    pub is_up: bool,
    /// The average time from a request to its answer over the last second.
    pub round_trip: Duration,
    /// Requests that failed or were not answered in time, since the last measure.
    pub errors: u64,
    /// Connections that broke, since the last measure.
    pub disconnects: u64,
}

/// A guard for a request that is being answered.
pub struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Raises a counter to a total that is counted elsewhere.
fn raise(counter: &IntCounter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
