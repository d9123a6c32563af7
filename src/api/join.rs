//! `POST …/persons/properties_at_time`: the point-in-time join. Each line of JSON in the request
//! names a person and a moment, and is answered with one line, in the same order, while the
//! request is still being received.
//!
//! Many clients send all of their lines, which may be millions, before they read any answer. So the input
//! is kept in an unnamed file until it is answered: neither side waits for the other, and memory does not
//! grow. A caller that is further ahead of the answers than
//! [`Settings::join_spool`](super::Settings::join_spool) waits for them.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use axum::response::Response;
use futures_util::StreamExt;
use rayon::prelude::*;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::as_of::{self, Query};
use super::error::Error;
use super::json::Object;
use super::openapi::{answers, parameters, requests};
use super::parameters::Parameters;
use super::read::{self, Read, View};
use super::spool::Spool;
use super::stream::{self, PATIENCE, Sender};
use crate::person::json;
use crate::store::together;

/// The input that is read from the spool at once, in bytes; also the greatest length of a line.
const CHUNK: usize = 64 << 10;

/// The fewest lines that are worth another core.
const FEW: usize = 16;

/// Once the answers of one read are this long, in bytes, the remaining lines wait for the next read.
const MAX_ANSWER: usize = if cfg!(test) { 4 << 10 } else { 1 << 20 };

/// The smallest spool, in bytes: a line of the greatest length, and what arrives meanwhile.
pub const LEAST_SPOOL: u64 = 2 * CHUNK as u64;

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
        let mut lines = Lines { spool, at: 0, seen: 0, number: 0, skips: false };
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
            done.send_replace(lines.at);
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
        let part = answer.split_to(answer.len().min(CHUNK));
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

/// How much of the request body has arrived.
#[derive(Clone, Copy, Default)]
struct Came {
    bytes: u64,
    /// Whether that is the whole body.
    whole: bool,
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
            let piece = part.split_to(part.len().min(CHUNK));
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

/// The lines of a body, and how far they are answered.
#[derive(Clone)]
struct Lines {
    spool: Arc<Spool>,
    /// The position of the next line to answer.
    at: u64,
    /// How much of the body was searched for the ends of lines, in bytes.
    seen: u64,
    /// The number of the last line that was answered.
    number: u64,
    /// Whether the rest of the current line is skipped because the line is too long.
    skips: bool,
}

impl Lines {
    /// Waits until more has arrived than was searched; `None` if everything is answered.
    async fn wait(&self, coming: &mut watch::Receiver<Came>) -> io::Result<Option<Came>> {
        let more = coming.wait_for(|came| came.whole || came.bytes > self.seen).await;
        let came = *more.map_err(|_| io::Error::other("the body ended early"))?;
        Ok((!came.whole || came.bytes > self.at).then_some(came))
    }

    /// Answers the complete lines that have arrived, as many as one chunk of the spool contains
    /// and one answer should hold.
    fn answer(
        mut self,
        view: &View<'_>,
        common: &Parameters,
        came: Came,
    ) -> Result<(Self, Bytes), Error> {
        // One byte more, to see whether a line of the greatest length ends there.
        let length = usize::try_from(came.bytes - self.at).unwrap_or(CHUNK).min(CHUNK + 1);
        let chunk = self.spool.read(length, self.at).map_err(|error| {
            tracing::error!(%error, "cannot read back the input of a join");
            Error::internal()
        })?;
        let ends = memchr::memrchr(b'\n', &chunk).map(|end| end + 1);
        let is_last = came.whole
            && self.at + length as u64 == came.bytes
            && (length <= CHUNK || ends.is_some());
        let whole = if is_last { length } else { ends.unwrap_or(0) };
        let lines = self.split(&chunk[..whole]);
        let mut out = self.answer_lines(view, common, &lines)?;
        self.seen = self.at;
        if whole == 0 && length > CHUNK {
            if !self.skips {
                self.number += 1;
                refused(&mut out, self.number, &format!("The line is longer than {CHUNK} bytes."));
            }
            self.skips = true;
            self.at += length as u64;
            self.seen = self.at;
        } else if whole == 0 {
            self.seen = came.bytes;
        }
        Ok((self, out.into()))
    }

    /// Splits a text, which ends where a line does, into its lines. Leaves out the rest of a skipped line.
    fn split<'c>(&mut self, text: &'c [u8]) -> Vec<Line<'c>> {
        let mut lines = Vec::new();
        let mut end = self.at;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            end += line.len() as u64;
            if std::mem::take(&mut self.skips) {
                self.at = end;
            } else {
                let number = self.number + 1 + lines.len() as u64;
                lines.push(Line { number, text: line.trim_ascii(), end });
            }
        }
        lines
    }

    /// Answers lines from the first on, until the answer is long enough or half of the time is over.
    fn answer_lines(
        &mut self,
        view: &View<'_>,
        common: &Parameters,
        lines: &[Line<'_>],
    ) -> Result<Vec<u8>, Error> {
        let (mut out, mut rest, mut group) = (Vec::new(), lines, FEW);
        // If lines take long, the rest is left to the next read, which has a deadline of its own.
        let began = Instant::now();
        let half = view.deadline.saturating_duration_since(began) / 2;
        while !rest.is_empty() && out.len() < MAX_ANSWER {
            if rest.len() < lines.len() && began.elapsed() >= half {
                break;
            }
            let (now, later) = rest.split_at(group.min(rest.len()));
            // On all cores; the answers keep their order.
            let answers = now.par_iter().with_min_len(FEW).map(|line| one(view, common, line));
            out.extend(together(|| answers.collect::<Result<Vec<_>, Error>>())?.concat());
            (rest, self.at) = (later, now[now.len() - 1].end);
            // As many as there is room for, if their answers are as long as those so far.
            let usual = out.len() / (lines.len() - rest.len());
            group = (MAX_ANSWER.saturating_sub(out.len()) / usual.max(1)).max(1);
        }
        self.number += (lines.len() - rest.len()) as u64;
        Ok(out)
    }
}

/// A line of the body.
struct Line<'c> {
    /// Counted from 1.
    number: u64,
    text: &'c [u8],
    /// The position in the body at which it ends.
    end: u64,
}

/// Answers one line. An empty line gets no answer.
fn one(view: &View<'_>, common: &Parameters, line: &Line<'_>) -> Result<Vec<u8>, Error> {
    if line.text.is_empty() {
        return Ok(Vec::new());
    }
    let answered = query(common, line.text).and_then(|query| as_of::past(view, &query));
    match answered {
        Ok(mut answer) => {
            answer.push(b'\n');
            Ok(answer)
        }
        Err(error) if error.is_internal() => Err(error),
        Err(error) => {
            let mut out = Vec::new();
            refused(&mut out, line.number, error.detail());
            Ok(out)
        }
    }
}

/// Parses what a line asks for.
fn query(common: &Parameters, line: &[u8]) -> Result<Query, Error> {
    let wrong = |why: &str| Error::invalid("line", format!("The line is {why}."));
    let text = std::str::from_utf8(line).map_err(|_| wrong("not UTF-8"))?;
    let (text, _) = json::repaired(text);
    let mut parameters = common.clone();
    let fields = json::fields(&text, |name, value| {
        // `debug` is for single reads and ignored here. An empty value is absent, so that of the URL applies.
        if let Some(value) = json::text(value).filter(|it| name != "debug" && !it.is_empty()) {
            parameters.set(&name, &value);
        }
    });
    fields.map_err(|fault| wrong(&fault.to_string()))?;
    Query::of(&parameters)
}

fn refused(out: &mut Vec<u8>, number: u64, detail: &str) {
    let mut object = Object::new(out);
    object.string("error", detail);
    object.number("line", number);
    object.end();
    out.push(b'\n');
}
