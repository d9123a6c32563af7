//! What every write has in common: the key is judged, the fields are understood, a command goes
//! to the log, and the answer waits until it was applied.

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
use super::json::Object;
use super::key::Scope;
use super::posted::Posted;
use super::read::View;
use super::{State, now, position, read};
use crate::person::command::Seen;
use crate::person::{Act, Command, Head, PersonId, ProjectId};
use crate::progress::Positions;
use crate::store::CommandOutcome;

/// A request with the key of an earlier one is answered as that one was, for a day.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How long Kafka may take at least, whatever the caller has waited for before.
const LEAST_TO_APPEND: Duration = Duration::from_secs(1);

/// The longest idempotency key, in bytes.
const MAX_KEY: usize = 255;

/// Where commands go.
pub trait CommandLog: Send + Sync {
    /// Adds a command to the log, and answers what has to be applied before it is.
    fn append(&self, command: Command, within: Duration) -> Appending<'_>;
}

/// A command on its way to the log.
pub type Appending<'a> = Pin<Box<dyn Future<Output = Result<Positions, NotAppended>> + Send + 'a>>;

/// Why a command is not known to be in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAppended {
    /// It is not there.
    Nothing,
    /// It may be there, or come to be.
    Unknown,
    /// It is larger than the log takes.
    TooLarge,
}

/// A write by someone who may.
pub struct Write {
    /// What requests share.
    pub state: State,
    /// The project that is written to.
    pub project: ProjectId,
    /// The body and the query.
    pub fields: Fields,
    /// The format of the answer.
    format: Format,
    /// The label of the key.
    author: String,
    /// What is waited for before anything is written.
    wanted: Positions,
    idempotency_key: Option<String>,
    /// By when it has to be answered.
    deadline: Instant,
}

impl FromRequest<State> for Write {
    type Rejection = Error;

    async fn from_request(request: Request, state: &State) -> Result<Self, Error> {
        let posted = Posted::of(request, state, Scope::PersonWrite).await?;
        // Counted from here: a slow body says nothing of Kafka.
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

/// A command to be written, and the key by which it is done once.
pub struct KeyedAct {
    /// Under which it is done once.
    pub key: String,
    /// What it does.
    pub act: Act,
    /// Uuids that the person may have instead.
    pub other_uuids: Vec<Uuid>,
}

/// So many other uuids of a person stand in a command: one that leads to it is enough.
const MAX_UUIDS: usize = 100;

/// What is to be done to a person, and the uuids that it may have instead where the log is read anew.
pub fn to_person(
    view: &View<'_>,
    of: (PersonId, &Head),
    act: impl FnOnce(Uuid) -> Act,
) -> Result<(Act, Vec<Uuid>), Error> {
    Ok((act(of.1.uuid), view.snapshot.other_uuids(view.project, of, MAX_UUIDS)?))
}

/// What became of commands.
pub enum Written {
    /// Each was applied.
    Applied(Vec<CommandOutcome>),
    /// The log has them, and they will be applied.
    Accepted(Positions),
}

impl Write {
    /// A command. `what` names what is done to whom and with what, in the words of the request: a
    /// repeated idempotency key counts for the same only.
    pub fn keyed(&self, what: &str, (act, other_uuids): (Act, Vec<Uuid>)) -> KeyedAct {
        KeyedAct { key: self.key_of(what), act, other_uuids }
    }

    /// Under which a command is done once.
    pub fn key_of(&self, what: &str) -> String {
        match &self.idempotency_key {
            // A distinct id or a value that it names does not outlive its person this way.
            Some(key) => {
                // The lengths keep one caller's key from being another's.
                let of =
                    format!("{} {} {} {key} {what}", self.author.len(), key.len(), self.author);
                format!("{:x}", Sha256::digest(of))
            }
            None => Uuid::new_v4().to_string(),
        }
    }

    /// Whether the caller gave a key under which the request is done once.
    pub fn has_idempotency_key(&self) -> bool {
        self.idempotency_key.is_some()
    }

    /// What became of the same command under the same idempotency key; `None` where there was
    /// none in the last day.
    pub async fn repeated(&self, what: &str) -> Result<Option<CommandOutcome>, Error> {
        if !self.has_idempotency_key() {
            return Ok(None);
        }
        let key = self.key_of(what);
        self.view(move |view| Ok(view.snapshot.outcome(view.project, &key, now())?)).await
    }

    /// Waits for what the caller wants to be applied first.
    pub async fn wait(&self) -> Result<(), Error> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.state.wait_for(&self.wanted, left).await
    }

    /// Reads something of the project.
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

    /// Answers where the log has a write that is not applied yet.
    pub fn accepted(&self, positions: &Positions) -> Result<Response, Error> {
        let mut body = Vec::new();
        let mut object = Object::new(&mut body);
        object.flag("accepted", true);
        object.string("position", &position::opaque(positions));
        object.end();
        self.format.answer(StatusCode::ACCEPTED, body)
    }

    /// Writes commands to the log and waits until they were applied.
    pub async fn write(&self, acts: Vec<KeyedAct>) -> Result<Written, Error> {
        // Of the store, which is never behind what the acts were made of.
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

    /// Adds commands to the log, all at once.
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
            // Some of it will be done.
            Some(_) => Err(Error::not_appended(NotAppended::Unknown)),
        }
    }
}
