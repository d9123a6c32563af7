//! Liveness, readiness and metrics: what monitors ask for, without a key.

use axum::Json;
use axum::extract;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use super::State;
use super::error::Error;
use super::openapi::answers;
use super::openapi::bodies::{self, Component, Components, ReadinessStatus};
use crate::person::Time;
use crate::progress::Status;

/// Check whether the process is alive
#[utoipa::path(
    get, path = "/_liveness", tag = "operation",
    responses((status = 200, description = "It answers, so it is alive.", body = bodies::Liveness), answers::OrAbsent),
)]
pub async fn liveness() -> impl IntoResponse {
    Json(bodies::Liveness { status: "alive" })
}

/// Check whether the server is ready for requests
///
/// Reports each component, with the reason if something is wrong.
#[utoipa::path(
    get, path = "/_readiness", tag = "operation",
    responses(
        (status = 200, description = "They may.", body = bodies::Readiness),
        (status = 503, description = "They may not.", body = bodies::Readiness),
        answers::OrAbsent,
    ),
)]
pub async fn readiness(extract::State(state): extract::State<State>) -> impl IntoResponse {
    let components = components(&state.progress.status(), state.store.is_poisoned());
    let Components { store, ingestion, caught_up, kafka, process } = &components;
    let ready = [store, ingestion, caught_up, kafka, process].iter().all(|component| component.ok);
    let (code, status) = if ready {
        (StatusCode::OK, ReadinessStatus::Ready)
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, ReadinessStatus::NotReady)
    };
    (code, Json(bodies::Readiness { status, components }))
}

/// Returns a component that is ok if it has no fault.
fn component(fault: Option<String>) -> Component {
    Component { ok: fault.is_none(), reason: fault, lag_records: None, last_record_at: None }
}

/// Returns what is wrong with Kafka, and the cause if librdkafka has told one.
fn kafka_reason(status: &Status) -> Option<String> {
    match (&status.kafka_trouble, &status.kafka_cause) {
        (Some(trouble), Some(cause)) if trouble != cause => Some(format!("{trouble}: {cause}")),
        (trouble, cause) => {
            let others = [status.dead_letter_trouble.as_ref(), status.not_read.values().next()];
            [cause.as_ref(), trouble.as_ref()].into_iter().chain(others).flatten().next().cloned()
        }
    }
}

fn components(status: &Status, poisoned: bool) -> Components {
    let fault = |is: bool, reason: &str| is.then(|| reason.to_owned());
    let store = fault(poisoned, "an earlier commit failed; restart to go on from what is on disk");
    let behind = fault(!status.caught_up, "not caught up with Kafka since the start");
    let ending = fault(status.shutting_down, "shutting down");
    let caught_up = Component {
        lag_records: status.lag_records,
        last_record_at: status.last_record.map(|at| Time(at).to_string()),
        ..component(behind)
    };
    // Always ok: reads go on without Kafka, and every answer says how far the log is applied.
    let kafka = Component { reason: kafka_reason(status), ..component(None) };
    Components {
        store: component(store),
        ingestion: component(status.stopped.clone()),
        caught_up,
        kafka,
        process: component(ending),
    }
}

/// Get the metrics
///
/// All series in the Prometheus text format.
#[utoipa::path(
    get, path = "/metrics", tag = "operation",
    responses(
        (status = 200, description = "The series.", body = String,
            content_type = "text/plain; version=0.0.4; charset=utf-8"),
        answers::OrAbsent,
    ),
)]
pub async fn metrics(
    extract::State(state): extract::State<State>,
) -> Result<impl IntoResponse, Error> {
    let status = state.progress.status();
    state.metrics.ingest_state(status.stopped.is_none(), status.kafka_trouble.is_none());
    state.metrics.ingest_topics_not_read(status.topics_not_read());
    let reading =
        tokio::task::spawn_blocking(move || state.metrics.text(&state.store.measure())).await;
    match reading {
        Ok(Ok(text)) => Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)),
        Ok(Err(error)) => {
            tracing::error!(%error, "the metrics cannot be written");
            Err(Error::internal())
        }
        Err(_) => Err(Error::internal()),
    }
}
