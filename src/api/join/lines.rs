//! The lines of a join: split, answered on all cores, and taken up again where a read stopped.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use axum::body::Bytes;
use rayon::prelude::*;
use tokio::sync::watch;

use crate::api::as_of::{self, Query};
use crate::api::error::Error;
use crate::api::json::Object;
use crate::api::parameters::Parameters;
use crate::api::read::View;
use crate::api::spool::Spool;
use crate::person::json;
use crate::store::together;

/// The input that is read from the spool at once, in bytes; also the greatest length of a line.
const CHUNK: usize = 64 << 10;

/// The number of lines that a core takes at once.
const FEW: usize = 8;

/// Once the answers of one read are this long, in bytes, the remaining lines wait for the next read.
const MAX_ANSWER: usize = if cfg!(test) { 4 << 10 } else { 1 << 20 };

/// The smallest spool, in bytes: a line of the greatest length, and what arrives meanwhile.
pub const LEAST_SPOOL: u64 = 2 * CHUNK as u64;

/// How much of the request body has arrived.
#[derive(Clone, Copy, Default)]
pub struct Came {
    /// Its bytes.
    pub bytes: u64,
    /// Whether that is the whole body.
    pub whole: bool,
}

/// The lines of a body, and how far they are answered.
#[derive(Clone)]
pub struct Lines {
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
    /// Returns the lines of the body that a spool receives.
    pub fn of(spool: Arc<Spool>) -> Self {
        Self { spool, at: 0, seen: 0, number: 0, skips: false }
    }

    /// Returns how much of the body is answered, in bytes.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Waits until more has arrived than was searched; `None` if everything is answered.
    pub async fn wait(&self, coming: &mut watch::Receiver<Came>) -> io::Result<Option<Came>> {
        let more = coming.wait_for(|came| came.whole || came.bytes > self.seen).await;
        let came = *more.map_err(|_| io::Error::other("the body ended early"))?;
        Ok((!came.whole || came.bytes > self.at).then_some(came))
    }

    /// Answers the complete lines that have arrived, as many as one chunk of the spool contains
    /// and one answer should hold.
    pub fn answer(
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

    /// Answers lines from the first on, on all cores, until the answer is long enough or half of the time is
    /// over. The rest is left to the next read, which has a deadline of its own.
    fn answer_lines(
        &mut self,
        view: &View<'_>,
        common: &Parameters,
        lines: &[Line<'_>],
    ) -> Result<Vec<u8>, Error> {
        let budget = Budget::of(view, self.number + 1);
        // In order, so that little is answered after a line that is left to the next read.
        let blocks = lines.chunks(FEW).enumerate().par_bridge();
        let blocks = blocks.map(|(at, block)| Ok((at, budget.answer(view, common, block)?)));
        let mut blocks = together(|| blocks.collect::<Result<Vec<_>, Error>>())?;
        blocks.sort_unstable_by_key(|(at, _)| *at);
        let (mut out, mut answered) = (Vec::new(), 0);
        for (_, block) in blocks {
            out.extend(block.answers);
            answered += block.lines;
            if block.lines < FEW {
                break;
            }
        }
        let Some(last) = lines[..answered].last() else {
            return if lines.is_empty() { Ok(out) } else { Err(Error::query_timeout()) };
        };
        (self.at, self.number) = (last.end, last.number);
        Ok(out)
    }
}

/// What one read may still spend.
struct Budget {
    /// The number of the first line, which is answered in any case, so that every read gets on.
    first: u64,
    bytes: AtomicUsize,
    until: Instant,
}

/// The answers to the first lines of a block.
#[derive(Default)]
struct Block {
    answers: Vec<u8>,
    lines: usize,
}

impl Budget {
    fn of(view: &View<'_>, first: u64) -> Self {
        let began = Instant::now();
        let until = began + view.deadline.saturating_duration_since(began) / 2;
        Self { first, bytes: AtomicUsize::new(0), until }
    }

    fn is_spent(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) >= MAX_ANSWER || Instant::now() >= self.until
    }

    /// Answers the lines of a block until the budget is spent or the deadline strikes.
    fn answer(
        &self,
        view: &View<'_>,
        common: &Parameters,
        lines: &[Line<'_>],
    ) -> Result<Block, Error> {
        let mut block = Block::default();
        for line in lines.iter().take_while(|line| line.number == self.first || !self.is_spent()) {
            let answer = match one(view, common, line) {
                Err(error) if error.is_query_timeout() => break,
                answer => answer?,
            };
            self.bytes.fetch_add(answer.len(), Ordering::Relaxed);
            block.answers.extend(answer);
            block.lines += 1;
        }
        Ok(block)
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
