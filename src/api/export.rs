//! Everything there is as CSV, read from one snapshot while it is sent.
//!
//! The rows are gone through twice, since the header names the columns of all of them; nothing is
//! kept of a row, so memory does not grow with their number.
//!
//! The first pass may take longer than a request may (`api.request_timeout`). The headers are held
//! back for half of that time, so that what fails by then is an error as any other. Whoever waits
//! longer gets the headers, and the body begins where the first pass ends. From then on a failure
//! breaks the body off. So does the end of the snapshot's life: it keeps the store from dropping
//! what was overwritten since, and must not live on for a caller who reads slowly.

use std::time::Instant;

use axum::http::StatusCode;
use axum::http::header::CONTENT_DISPOSITION;
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout_at;

use super::error::Error;
use super::read::{POSITION, Read, View};
use super::stream::{self, Sender};
use super::table::{Columns, MAX_HEADER, Row, Table};

/// About so much is sent at once, in bytes.
const CHUNK: usize = 64 << 10;

/// Takes the JSON object of a row.
pub type Take<'t> = dyn FnMut(&[u8]) -> Result<(), Error> + 't;

impl Read {
    /// Whether everything is asked for: as CSV, and without a limit that would make it a page.
    pub fn is_export(&self) -> bool {
        self.format.is_csv() && self.parameters.get("limit").is_none()
    }

    /// Answers with everything, where not too many do so. `rows` hands on every row, and is
    /// called twice.
    pub async fn export<F>(self, rows: F) -> Result<Response, Error>
    where
        F: Fn(&View<'_>, &mut Take<'_>) -> Result<(), Error> + Send + 'static,
    {
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
        // Where the thread panics nobody sends.
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

/// Goes through the rows twice. How the first time ended is told, as long as somebody waits for
/// it; what goes wrong later shows as a body without an end. The permit is given back before the caller
/// knows the end, and may ask again.
fn passes<F>(
    view: &View<'_>,
    rows: &F,
    noted: oneshot::Sender<Result<(), Error>>,
    sender: Sender,
    permit: OwnedSemaphorePermit,
) where
    F: Fn(&View<'_>, &mut Take<'_>) -> Result<(), Error>,
{
    let sent = match columns(view, rows) {
        Ok(table) => {
            // Headers that are sent already are as good.
            let _ = noted.send(Ok(()));
            send(view, rows, table, &sender).and_then(|()| {
                drop(permit);
                taken(sender.end_by(view.deadline))
            })
        }
        Err(error) => {
            drop(permit);
            match noted.send(Err(error)) {
                Err(Err(error)) => Err(error),
                _ => Ok(()),
            }
        }
    };
    if sent.is_err() && !view.snapshot.is_abandoned() {
        let why = if view.check().is_ok() {
            "the caller took nothing, or the store could not be read"
        } else {
            "it took longer than a snapshot may live"
        };
        tracing::warn!("an export was broken off: {why}");
    }
}

/// The first pass: which columns there are.
fn columns<F>(view: &View<'_>, rows: &F) -> Result<Table, Error>
where
    F: Fn(&View<'_>, &mut Take<'_>) -> Result<(), Error>,
{
    let mut columns = Columns::default();
    rows(view, &mut |json| {
        view.check()?;
        columns.note(&Row::of(json)?)?;
        if columns.length() > MAX_HEADER { Err(Error::too_many_columns()) } else { Ok(()) }
    })?;
    Ok(columns.table()?)
}

/// The second pass: what stands in them.
fn send<F>(view: &View<'_>, rows: &F, mut table: Table, sender: &Sender) -> Result<(), Error>
where
    F: Fn(&View<'_>, &mut Take<'_>) -> Result<(), Error>,
{
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

/// Whether the caller took what was sent to it.
fn taken(is_sent: bool) -> Result<(), Error> {
    is_sent.then_some(()).ok_or_else(Error::query_timeout)
}
