//! Exports: all rows as CSV, read from one snapshot while they are sent.
//!
//! The rows are read twice, since the header names the columns of all of them. No row is kept, so memory does
//! not grow with their number.
//!
//! The first pass may take longer than a request may (`api.request_timeout`). The response headers are held
//! back for up to half of that time, so that a failure until then is answered as an ordinary error. If the
//! first pass takes longer, the headers are sent anyway, and the body begins when the first pass ends. From
//! then on a failure breaks the body off, and so does the end of the snapshot's life: a snapshot keeps the
//! store from dropping overwritten values, so a slow reader must not keep it alive.

use std::time::Instant;

use axum::http::header::CONTENT_DISPOSITION;
use axum::http::{StatusCode, Version};
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout_at;

use super::error::Error;
use super::read::{POSITION, Read, View};
use super::stream::{self, Sender};
use super::table::{Columns, MAX_HEADER, Row, Table};

/// The approximate size of a chunk of the body, in bytes.
const CHUNK: usize = 64 << 10;

/// A callback that takes a row as a JSON object.
pub type Take<'t> = dyn FnMut(&[u8]) -> Result<(), Error> + 't;

/// What an export sends: a function that passes every row of a view to its callback.
type Rows<'r> = dyn Fn(&View<'_>, &mut Take<'_>) -> Result<(), Error> + 'r;

impl Read {
    /// Whether all rows are requested: as CSV, and without a `limit`, which would make it a page.
    pub fn is_export(&self) -> bool {
        self.format.is_csv() && self.parameters.get("limit").is_none()
    }

    /// Returns an error if the caller could not tell whether a body that is produced while it is read was
    /// broken off. It also says what is answered `instead`.
    pub fn ensure_streamable(&self, instead: &str) -> Result<(), Error> {
        if self.version < Version::HTTP_11 {
            Err(Error::not_over_http_1_0(instead))
        } else {
            Ok(())
        }
    }

    /// Answers with all rows, or with 503 if too many exports are running. `rows` passes every row to its
    /// callback, and is called twice.
    pub async fn export<F>(self, rows: F) -> Result<Response, Error>
    where
        F: Fn(&View<'_>, &mut Take<'_>) -> Result<(), Error> + Send + 'static,
    {
        self.ensure_streamable(" A page needs no more than HTTP/1.0: give a limit.")?;
        let permit = self.wait_for_turn(&self.state.exports, "exports").await?;
        let Self { state, project, format, begun, file, .. } = self;
        let (sender, body) = stream::body();
        let (position_found, position) = oneshot::channel();
        let (noted, first_pass) = oneshot::channel();
        let headers_by = begun + state.settings.request_timeout / 2;
        let deadline = Instant::now() + state.settings.snapshot_life;
        spawn_blocking(move || {
            let listening = sender.clone();
            let view = View::of(&state, project, deadline, move || listening.is_abandoned());
            let position = view.position();
            let is_known = position.is_ok();
            if position_found.send(position).is_ok() && is_known {
                passes(&view, &rows, noted, sender, permit);
            }
        });
        // The sender is dropped without a message if the thread panics.
        let position = position.await.unwrap_or_else(|_| Err(Error::internal()))?;
        let mut response = match timeout_at(headers_by.into(), first_pass).await {
            Ok(Ok(Ok(()))) | Err(_) => format.respond(StatusCode::OK, body),
            Ok(Ok(Err(error))) => error.into_response(),
            Ok(Err(_)) => Error::internal().into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(POSITION, position);
        if let Some(file) = file.filter(|_| response.status().is_success()) {
            response.headers_mut().insert(CONTENT_DISPOSITION, file);
        }
        Ok(response)
    }
}

/// Runs both passes, and tells `noted` how the first one ended. Its error is the answer, unless the headers
/// were sent already: then the body is left without its end, as it is when the second pass fails. The permit
/// is released before the caller sees the end, since the caller may ask again at once.
fn passes(
    view: &View<'_>,
    rows: &Rows<'_>,
    noted: oneshot::Sender<Result<(), Error>>,
    sender: Sender,
    permit: OwnedSemaphorePermit,
) {
    let sent = match columns(view, rows) {
        Ok(table) => {
            // Nothing waits for this if the headers were sent already.
            let _ = noted.send(Ok(()));
            send(view, rows, table, &sender).and_then(|()| {
                drop(permit);
                taken(sender.end_by(view.deadline))
            })
        }
        Err(error) => {
            drop(permit);
            match noted.send(Err(error)) {
                // The headers were sent already, so the error cannot be the answer.
                Err(returned) => returned,
                Ok(()) => Ok(()),
            }
        }
    };
    if sent.is_err() && !view.snapshot.is_abandoned() {
        let why = if view.check().is_ok() {
            "the caller took nothing, or the store could not be read"
        } else {
            "it took longer than a snapshot may live"
        };
        tracing::warn!("an export was cancelled: {why}");
    }
}

/// The first pass: collects the columns.
fn columns(view: &View<'_>, rows: &Rows<'_>) -> Result<Table, Error> {
    let mut columns = Columns::default();
    rows(view, &mut |json| {
        view.check()?;
        columns.note(&Row::of(json)?)?;
        if columns.length() > MAX_HEADER { Err(Error::too_many_columns()) } else { Ok(()) }
    })?;
    Ok(columns.table()?)
}

/// The second pass: sends the header and the rows.
fn send(view: &View<'_>, rows: &Rows<'_>, mut table: Table, sender: &Sender) -> Result<(), Error> {
    rows(view, &mut |json| {
        view.check()?;
        table.row(&Row::of(json)?)?;
        if table.length() < CHUNK {
            return Ok(());
        }
        taken(sender.send_by(view.deadline, table.take()?.into()))
    })?;
    taken(sender.send_by(view.deadline, table.take()?.into()))
}

/// Returns an error if the caller did not take what was sent to it.
fn taken(is_sent: bool) -> Result<(), Error> {
    is_sent.then_some(()).ok_or_else(Error::query_timeout)
}
