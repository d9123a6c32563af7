//! `POST …/persons/properties_at_time`: the point-in-time join. Each line of JSON in the request
//! names a person and a moment, and is answered with one line, in the same order, while the
//! request is still being received.
//!
//! Many clients send all of their lines, which may be millions, before they read any answer. So the input
//! is kept in an unnamed file until it is answered: neither side waits for the other, and memory does not
//! grow. A caller that is further ahead of the answers than
//! [`Settings::join_spool`](super::Settings::join_spool) waits for them.

mod lines;

use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use axum::response::Response;
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

pub use self::lines::{Came, LEAST_SPOOL, Lines};
use super::as_of;
use super::error::Error;
use super::openapi::{answers, parameters, requests};
use super::pieces::PIECE;
use super::read::{self, Read, View};
use super::spool::Spool;
use super::stream::{self, PATIENCE, Sender};

const CONTENT: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// Join lines with persons at a point in time
///
/// Answers each line of JSON with one line of JSON, in the same order and while the request is being
/// received, so that millions of lines take constant memory. A line that cannot be answered gets `error`
/// and its number instead. `known_at`, `include_set_once` and `identity` may be given per line; otherwise
/// those of the query apply.
#[utoipa::path(
    post, path = "/persons/properties_at_time", tag = "past",
    params(parameters::AsOf, parameters::Position),
    request_body(content = requests::LinesToJoin, content_type = "application/x-ndjson"),
    responses(answers::Joined),
    extensions(("x-required-scope" = json!("person:read"))),
)]
pub async fn join(mut read: Read, request: Request) -> Result<Response, Error> {
    read.ensure_streamable("")?;
    // The shared parameters are validated before the first line is read.
    let common = Arc::new(as_of::common(std::mem::take(&mut read.parameters))?);
    let permit = read.wait_for_turn(&read.state.joins, "joins").await?;
    let file = read.state.store.spool().map_err(|error| {
        tracing::error!(%error, "cannot create a file for the input of a join");
        Error::internal()
    })?;
    let spool = Arc::new(Spool::new(file, read.state.settings.join_spool));
    let (came, mut coming) = watch::channel(Came::default());
    let (done, answered) = watch::channel(0);
    let (answers, body) = stream::body();
    tokio::spawn(take(request.into_body(), spool.clone(), came, answered));
    tokio::spawn(async move {
        let (state, project) = (read.state.clone(), read.project);
        let mut lines = Lines::of(spool);
        // On an error, `answers` is dropped without an end, which breaks the body off.
        while let Ok(came) = lines.wait(&mut coming).await {
            let Some(came) = came else {
                // Released before the caller sees the end, since it may ask again at once.
                drop(permit);
                answers.end().await;
                return;
            };
            let (here, common) = (lines.clone(), common.clone());
            let Ok(turn) = state.joining.clone().acquire_owned().await else { return };
            let read = move |view: &View<'_>| {
                let _turn = turn;
                here.answer(view, &common, came)
            };
            let read = read::on_thread(state.clone(), project, Instant::now(), read).await;
            let Ok((_, (after, answer))) = read else { return };
            lines = after;
            done.send_replace(lines.at());
            if !give(&answers, answer, &coming, &done).await {
                return;
            }
        }
    });
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, CONTENT);
    let cache = HeaderValue::from_static("private, no-cache");
    response.headers_mut().insert(CACHE_CONTROL, cache);
    Ok(response)
}

/// Sends an answer in parts, so that a slow caller is seen to take some; `false` if the caller is gone, or
/// took nothing for [`PATIENCE`] while it sent nothing either.
async fn give(
    answers: &Sender,
    mut answer: Bytes,
    coming: &watch::Receiver<Came>,
    done: &watch::Sender<u64>,
) -> bool {
    let mut seen = coming.borrow().bytes;
    while !answer.is_empty() {
        let part = answer.split_to(answer.len().min(PIECE));
        let is_sending = || {
            let came = coming.borrow().bytes;
            came > std::mem::replace(&mut seen, came)
        };
        if !answers.send_while(part, is_sending).await {
            return false;
        }
        // Tells `take` that the caller is there.
        done.send_modify(|_| ());
    }
    true
}

/// Receives the body into the spool, as fast as it arrives and there is room. Gives up if the caller sends
/// nothing for [`PATIENCE`] while no answer is taken either. If the body ends early, `came` is dropped.
async fn take(
    body: Body,
    spool: Arc<Spool>,
    came: watch::Sender<Came>,
    mut answered: watch::Receiver<u64>,
) {
    let mut body = body.into_data_stream();
    let mut bytes = 0;
    loop {
        let mut part = match timeout(PATIENCE, body.next()).await {
            Err(_) if answered.has_changed().unwrap_or(false) => {
                answered.mark_unchanged();
                continue;
            }
            Err(_) | Ok(Some(Err(_))) => return,
            Ok(None) => return came.send_modify(|came| came.whole = true),
            Ok(Some(Ok(part))) => part,
        };
        while !part.is_empty() {
            let piece = part.split_to(part.len().min(PIECE));
            let (spool, after) = (spool.clone(), bytes + piece.len() as u64);
            // Needs no timeout: if the caller takes no answers, the answering task ends, closing `answered`.
            let has_room = |answered: &u64| after - answered <= spool.size();
            if answered.wait_for(has_room).await.is_err() {
                return;
            }
            let written = spawn_blocking(move || spool.write(&piece, bytes)).await;
            if let Ok(Err(error)) = &written {
                tracing::error!(%error, "cannot store the input of a join");
            }
            if !matches!(written, Ok(Ok(()))) || came.is_closed() {
                return;
            }
            bytes = after;
            came.send_modify(|came| came.bytes = bytes);
        }
    }
}
