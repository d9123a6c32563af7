//! Tests that the text for Prometheus contains what was recorded.

use strum::VariantNames;

use super::*;
use crate::person::event::Warning;
use crate::store::FamilyMeasure;

#[test]
fn prometheus_reads_what_was_recorded() {
    let metrics = Metrics::new();
    metrics.ingest_records("events", "recorded", 2);
    metrics.ingest_records("events", "recorded", 3);
    metrics.ingest_operations("set", 4);
    metrics.ingest_dead_letters("not_json", 1);
    let warning = Warning::VARIANTS[0];
    metrics.ingest_warnings(warning, 1);
    metrics.ingest_lag(&[("events", 6, Some(1)), ("events", 7, Some(3))]);
    metrics.ingest_lag(&[("events", 6, None), ("events", 7, Some(12))]);
    metrics.ingest_freshness(0.003);
    metrics.ingest_batch(100);
    metrics.ingest_batch_stage("commit", 0.002);
    metrics.ingest_late_operations(6);
    let broker = |name: &str, errors| BrokerMeasure {
        name: name.to_owned(),
        is_up: true,
        round_trip: Duration::from_millis(2),
        errors,
        disconnects: 1,
    };
    metrics.kafka_brokers(&[broker("kafka:9092", 3), broker("gone:9092", 0)]);
    metrics.kafka_brokers(&[broker("kafka:9092", 1)]);
    metrics.kafka_bytes(500, 7);
    metrics.config_reloaded(true, 9);
    metrics.config_reloaded(false, 11);
    metrics.http_answer("/_liveness", "GET", "200", 0.0001);
    metrics.http_answer("/_liveness", "BREW", "405", 0.0001);
    let text = metrics.text(&Measure::default()).unwrap();
    for line in [
        r#"personview_ingest_records_total{result="recorded",topic="events"} 5"#,
        r#"personview_ingest_operations_total{kind="set"} 4"#,
        r#"personview_ingest_dead_letters_total{reason="not_json"} 1"#,
        &format!(r#"personview_ingest_warnings_total{{kind="{warning}"}} 1"#),
        r#"personview_ingest_lag_records{partition="7",topic="events"} 12"#,
        r#"personview_ingest_freshness_seconds_bucket{le="0.0025"} 0"#,
        r#"personview_ingest_freshness_seconds_bucket{le="0.005"} 1"#,
        r#"personview_ingest_freshness_seconds_bucket{le="600"} 1"#,
        "personview_ingest_batch_records_sum 100",
        r#"personview_ingest_batch_seconds_count{stage="commit"} 1"#,
        "personview_ingest_late_operations_total 6",
        r#"personview_http_request_duration_seconds_count{method="GET",route="/_liveness",status="200"} 1"#,
        r#"personview_http_request_duration_seconds_count{method="other",route="/_liveness",status="405"} 1"#,
        r#"personview_kafka_broker_up{broker="kafka:9092"} 1"#,
        r#"personview_kafka_broker_round_trip_seconds{broker="kafka:9092"} 0.002"#,
        r#"personview_kafka_broker_errors_total{broker="kafka:9092"} 4"#,
        r#"personview_kafka_broker_disconnects_total{broker="kafka:9092"} 2"#,
        "personview_kafka_received_bytes_total 500",
        "personview_kafka_fetch_queue_bytes 7",
        "personview_config_last_reload_successful 0",
        "personview_config_last_reload_success_timestamp_seconds 9",
        r#"personview_build_info{version="0.1.0"} 1"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    for gone in [r#"ingest_lag_records{partition="6""#, r#"broker_up{broker="gone"#] {
        assert!(!text.contains(gone), "{gone}\n{text}");
    }
    #[cfg(target_os = "linux")]
    assert!(text.contains("process_resident_memory_bytes"));
}

#[test]
fn the_store_is_measured_at_every_reading_and_counted_once() {
    let metrics = Metrics::new();
    let family = |bytes| FamilyMeasure {
        name: "person",
        bytes,
        memtable_bytes: 3,
        compaction_pending_bytes: 4,
    };
    let mut measure = Measure {
        families: vec![family(10)],
        cache_hits: 5,
        cache_misses: 2,
        history_cache_bytes: 6,
        stall_micros: 1_500_000,
        disk_available_bytes: Some(9),
        is_poisoned: true,
        ..Measure::default()
    };
    metrics.text(&measure).unwrap();
    measure.cache_hits = 7;
    measure.families = vec![family(8)];
    measure.disk_available_bytes = None;
    let text = metrics.text(&measure).unwrap();
    for line in [
        r#"personview_store_bytes{family="person"} 8"#,
        r#"personview_store_memtable_bytes{family="person"} 3"#,
        r#"personview_store_compaction_pending_bytes{family="person"} 4"#,
        "personview_store_disk_available_bytes 9",
        "personview_store_poisoned 1",
        "personview_store_last_backup_timestamp_seconds 0",
        "personview_store_block_cache_hits_total 7",
        "personview_store_block_cache_misses_total 2",
        "personview_store_history_cache_bytes 6",
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
