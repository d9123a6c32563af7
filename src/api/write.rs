//! What all writes share: the key is checked, the fields are parsed, a command is appended to the log, and
//! the answer waits until it is applied.

use std::pin::Pin;
use std::time::{Duration, Instant};

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::Response;
use futures_util::future::join_all;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::error::Error;
use super::fields::Fields;
use super::format::Format;
use super::key::Scope;
use super::openapi::bodies;
use super::posted::Posted;
use super::read::View;
use super::{State, json, now, position, read};
use crate::person::command::Seen;
use crate::person::{Act, Command, Head, PersonId, ProjectId};
use crate::progress::Positions;
use crate::store::CommandOutcome;

/// The header with the idempotency key: for a day, a write that repeats an earlier one under the
/// same key is not done again.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The least time that Kafka has to accept a command, however long the caller has waited before.
const LEAST_TO_APPEND: Duration = Duration::from_secs(1);

/// The longest idempotency key, in bytes.
const MAX_KEY: usize = 255;

/// The log that commands are appended to.
pub trait CommandLog: Send + Sync {
    /// Appends a command to the log, and returns the positions at which it is applied.
    fn append(&self, command: Command, within: Duration) -> Appending<'_>;
}

/// The future of [`CommandLog::append`].
pub type Appending<'a> = Pin<Box<dyn Future<Output = Result<Positions, NotAppended>> + Send + 'a>>;

/// Why a command is not known to be in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAppended {
    /// It is not in the log.
    Nothing,
    /// It is not in the log, because there is no log.
    NoTopic,
    /// It may be in the log, or get there later.
    Unknown,
    /// It is larger than the log accepts.
    TooLarge,
}

/// An authorized write.
pub struct Write {
    /// The state shared by all requests.
    pub state: State,
    /// The project that is written to.
    pub project: ProjectId,
    /// The body and the query.
    pub fields: Fields,
    /// The format of the answer.
    format: Format,
    /// The label of the key.
    author: String,
    /// The positions that must be applied before anything is written.
    wanted: Positions,
    idempotency_key: Option<String>,
    /// When waiting for positions ends.
    deadline: Instant,
}

impl FromRequest<State> for Write {
    type Rejection = Error;

    async fn from_request(request: Request, state: &State) -> Result<Self, Error> {
        let posted = Posted::of(request, state, Scope::PersonWrite).await?;
        // Counted from here, as a slow body says nothing about Kafka.
        let deadline = Instant::now() + state.settings.position_wait;
        let Posted { project, fields, format, author, wanted, headers, .. } = posted;
        let idempotency_key = idempotency_key(&headers)?;
        let state = state.clone();
        Ok(Self { state, project, fields, format, author, wanted, idempotency_key, deadline })
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let text = value.to_str().ok().filter(|text| (1..=MAX_KEY).contains(&text.len()));
    let detail = format!("Idempotency-Key must be 1 to {MAX_KEY} printable ASCII characters");
    let text = text.ok_or_else(|| Error::invalid(IDEMPOTENCY_KEY.as_str(), detail))?;
    Ok(Some(text.to_owned()))
}

/// An act to be written as a command, and the key under which it is done once.
pub struct KeyedAct {
    /// The key under which it is done once.
    pub key: String,
    /// What it does.
    pub act: Act,
    /// Uuids that the person may have instead if the log is re-read in another order.
    pub other_uuids: Vec<Uuid>,
}

/// The most other uuids of a person in a command; one that leads to the person is enough.
const MAX_UUIDS: usize = 100;

/// Returns an act on a person, and the uuids that the person may have instead if the log is
/// re-read in another order.
pub fn to_person(
    view: &View<'_>,
    of: (PersonId, &Head),
    act: impl FnOnce(Uuid) -> Act,
) -> Result<(Act, Vec<Uuid>), Error> {
    Ok((act(of.1.uuid), view.snapshot.other_uuids(view.project, of, MAX_UUIDS)?))
}

/// How far commands got.
pub enum Written {
    /// All were applied, with these outcomes.
    Applied(Vec<CommandOutcome>),
    /// They are in the log up to these positions, and will be applied.
    Accepted(Positions),
}

impl Write {
    /// Returns an act with its key. `what` says what is done to which person and with which values, as
    /// requested: a repeated idempotency key counts for the same request only.
    pub fn keyed(&self, what: &str, (act, other_uuids): (Act, Vec<Uuid>)) -> KeyedAct {
        KeyedAct { key: self.key_of(what), act, other_uuids }
    }

    /// Returns the key under which a command is done once; a random one if the caller gave no idempotency
    /// key.
    pub fn key_of(&self, what: &str) -> String {
        match &self.idempotency_key {
            // Hashed, so that a distinct id or a value in `what` does not outlive its person.
            Some(key) => {
                // The lengths ensure that keys of different callers never give the same text.
                let of =
                    format!("{} {} {} {key} {what}", self.author.len(), key.len(), self.author);
                format!("{:x}", Sha256::digest(of))
            }
            None => Uuid::new_v4().to_string(),
        }
    }

    /// Whether the caller gave an idempotency key.
    pub fn has_idempotency_key(&self) -> bool {
        self.idempotency_key.is_some()
    }

    /// Returns the outcome of the same command under the same idempotency key; `None` if there was none in
    /// the last day, or no key is given.
    pub async fn repeated(&self, what: &str) -> Result<Option<CommandOutcome>, Error> {
        if !self.has_idempotency_key() {
            return Ok(None);
        }
        let key = self.key_of(what);
        self.view(move |view| Ok(view.snapshot.outcome(view.project, &key, now())?)).await
    }

    /// Waits until the positions that the caller asked for are applied.
    pub async fn wait(&self) -> Result<(), Error> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.state.wait_for(&self.wanted, left).await
    }

    /// Reads from the project on a blocking thread.
    pub async fn view<T: Send + 'static>(
        &self,
        read: impl FnOnce(&View<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        Ok(read::on_thread(self.state.clone(), self.project, Instant::now(), read).await?.1)
    }

    /// Answers with what is read after the write.
    pub async fn answer(
        &self,
        status: StatusCode,
        body: impl FnOnce(&View<'_>) -> Result<Vec<u8>, Error> + Send + 'static,
    ) -> Result<Response, Error> {
        let state = self.state.clone();
        let (position, body) = read::on_thread(state, self.project, Instant::now(), body).await?;
        let mut response = self.format.answer(status, body)?;
        response.headers_mut().insert(read::POSITION, position);
        Ok(response)
    }

    /// Answers a write that is in the log but not applied yet.
    pub fn accepted(&self, positions: &Positions) -> Result<Response, Error> {
        let body = bodies::Accepted { accepted: true, position: position::opaque(positions) };
        self.format.answer(StatusCode::ACCEPTED, json::of(&body))
    }

    /// Writes commands to the log and waits until they are applied.
    pub async fn write(&self, acts: Vec<KeyedAct>) -> Result<Written, Error> {
        // Those of the store, which is never behind the state that the acts are based on.
        let seen = self.view(|view| Ok(view.snapshot.positions()?)).await?.into_iter();
        let seen = seen.map(|(topic, partition, applied)| Seen {
            topic,
            partition,
            next_offset: applied.next_offset,
        });
        let seen: Vec<_> = seen.collect();
        let keys: Vec<_> = acts.iter().map(|keyed| keyed.key.clone()).collect();
        let commands = acts.into_iter().map(|KeyedAct { key, act, other_uuids }| Command {
            uuid: Uuid::new_v4(),
            project: self.project,
            idempotency_key: key,
            author: self.author.clone(),
            known: now(),
            seen: seen.clone(),
            other_uuids,
            act,
        });
        let commands: Vec<_> = commands.collect();
        if commands.iter().any(Command::is_too_deep) {
            return Err(Error::unreadable("it is nested too deeply"));
        }
        let left = || self.deadline.saturating_duration_since(Instant::now());
        let positions = self.append(commands, left().max(LEAST_TO_APPEND)).await?;
        if !self.state.progress.reached(&positions, left()).await {
            return Ok(Written::Accepted(positions));
        }
        let outcomes = self.view(move |view| {
            let outcomes = keys.iter().map(|key| view.snapshot.outcome(view.project, key, now()));
            outcomes.map(|outcome| outcome?.ok_or_else(Error::internal)).collect()
        });
        Ok(Written::Applied(outcomes.await?))
    }

    /// Appends commands to the log, all at once.
    async fn append(&self, commands: Vec<Command>, within: Duration) -> Result<Positions, Error> {
        let appending = commands.into_iter().map(|it| self.state.commands.append(it, within));
        let (mut positions, mut failed) = (Positions::new(), None);
        for appended in join_all(appending).await {
            match appended {
                Ok(appended) => {
                    for (partition, next) in appended {
                        let known = positions.entry(partition).or_default();
                        *known = next.max(*known);
                    }
                }
                Err(why) => _ = failed.get_or_insert(why),
            }
        }
        match failed {
            None => Ok(positions),
            Some(why) if positions.is_empty() => Err(Error::not_appended(why)),
            // Some of the commands will be applied.
            Some(_) => Err(Error::not_appended(NotAppended::Unknown)),
        }
    }
}
