//! What all reads of persons share: the key is checked, the parameters are parsed, the position is waited
//! for, one snapshot is read, and the answer names its position.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode, Version};
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use xxhash_rust::xxh3::xxh3_128;

use super::error::Error;
use super::format::Format;
use super::key::Scope;
use super::parameters::Parameters;
use super::person_ref::PersonRef;
use super::{Settings, State, access, position};
use crate::person::{Head, PersonId, ProjectId};
use crate::progress::Positions;
use crate::store::{Moment, Snapshot, Store};

/// The header that says how much of the log an answer reflects.
pub const POSITION: HeaderName = HeaderName::from_static("x-personview-position");

/// How long a connection thread may read for one request, before the read is moved to a blocking thread.
const INLINE_READ_LIMIT: Duration =
    if cfg!(test) { Duration::from_millis(2) } else { Duration::from_millis(10) };

/// The position of the view, and the body that was read from it.
type Answered = (HeaderValue, Result<Vec<u8>, Error>);

/// An authorized read.
pub struct Read {
    /// The state shared by all requests.
    pub state: State,
    /// The project that is read.
    pub project: ProjectId,
    /// The query parameters.
    pub parameters: Parameters,
    /// The format of the answer.
    pub format: Format,
    /// When the request arrived.
    pub begun: Instant,
    /// The `Content-Disposition` of a list in CSV, if it has one.
    pub file: Option<HeaderValue>,
    /// The positions that the answer must reflect.
    wanted: Positions,
    /// The version of HTTP.
    pub version: Version,
    if_none_match: Vec<HeaderValue>,
}

impl FromRequestParts<State> for Read {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Error> {
        Self::with_scope(parts, state, Scope::PersonRead).await
    }
}

/// An authorized read of the activity log.
pub struct Audit(pub Read);

impl FromRequestParts<State> for Audit {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Error> {
        Read::with_scope(parts, state, Scope::ActivityLogRead).await.map(Self)
    }
}

impl Read {
    async fn with_scope(parts: &mut Parts, state: &State, scope: Scope) -> Result<Self, Error> {
        let begun = Instant::now();
        let parameters = Parameters::parse(parts.uri.query().unwrap_or_default())?;
        let project = project_of(parts, state).await?;
        let secret = access::secret(&parts.headers, &parameters);
        let (project, _) = state.access().admit(secret, &project, scope)?;
        let format = Format::of(&parameters, &parts.headers)?;
        let wanted = parameters.get(position::PARAMETER).map(position::parse);
        Ok(Self {
            state: state.clone(),
            project,
            format,
            begun,
            file: format.is_csv().then(|| file(parts.uri.path())).flatten(),
            wanted: wanted.transpose()?.unwrap_or_default(),
            version: parts.version,
            parameters,
            if_none_match: parts.headers.get_all(IF_NONE_MATCH).into_iter().cloned().collect(),
        })
    }
}

/// The project that the path names.
pub async fn project_of(parts: &mut Parts, state: &State) -> Result<String, Error> {
    let path = RawPathParams::from_request_parts(parts, state).await;
    let path = path.map_err(|_| Error::invalid("path", "The path is not valid UTF-8."))?;
    let project = path.iter().find(|(name, _)| *name == "project");
    Ok(project.map_or("", |(_, value)| value).to_owned())
}

/// Returns the `Content-Disposition` that names the file after its route.
fn file(path: &str) -> Option<HeaderValue> {
    let name = path.trim_end_matches('/').rsplit('/').next()?;
    HeaderValue::try_from(format!("attachment; filename=\"{name}.csv\"")).ok()
}

/// The view of the store that a read has.
pub struct View<'s> {
    /// The store, for its dictionary and identity.
    pub store: &'s Store,
    /// One consistent state of the store.
    pub snapshot: Snapshot<'s>,
    /// The project that is read.
    pub project: ProjectId,
    /// The settings of the server.
    pub settings: &'s Settings,
    /// When reads must end.
    pub deadline: Instant,
    cached_position: &'s CachedPosition,
}

/// The number of the state of the store whose position was read last, and that position.
pub type CachedPosition = Mutex<Option<(u64, HeaderValue)>>;

impl Read {
    /// Creates a read whose parameters are in the body of the request.
    pub fn of(
        state: State,
        project: ProjectId,
        begun: Instant,
        format: Format,
        wanted: Positions,
    ) -> Self {
        Self {
            state,
            project,
            parameters: Parameters::default(),
            format,
            begun,
            file: None,
            wanted,
            version: Version::HTTP_11,
            if_none_match: Vec::new(),
        }
    }

    /// Answers with one person if reading it may take long: on a blocking thread, so that the connection
    /// thread can answer others. Waits if too many of these reads are running.
    pub async fn person_apart<F>(self, body: F) -> Result<Response, Error>
    where
        F: FnOnce(&View<'_>) -> Result<Vec<u8>, Error> + Send + 'static,
    {
        self.wait().await?;
        let permit = self.state.apart.clone().acquire_owned().await;
        let format = self.format;
        let body = move |view: &View<'_>| {
            let _permit = permit;
            Ok(made(view, format, body))
        };
        let (position, body) =
            on_thread(self.state.clone(), self.project, self.begun, body).await?;
        Ok(self.respond_with_person(position, body))
    }

    /// Answers with one person, read on the connection thread if that is quick.
    pub async fn person<F>(self, body: F) -> Result<Response, Error>
    where
        F: Fn(&View<'_>) -> Result<Vec<u8>, Error> + Send + 'static,
    {
        self.wait().await?;
        match self.read_inline(&body)? {
            Some((position, body)) => Ok(self.respond_with_person(position, body)),
            None => self.person_apart(body).await,
        }
    }

    fn respond_with_person(self, position: HeaderValue, body: Result<Vec<u8>, Error>) -> Response {
        let respond = |body| tagged(self.format, body, &self.if_none_match);
        with_position(position, body.map_or_else(IntoResponse::into_response, respond))
    }

    /// Answers with a list of at most one person, read on the connection thread if that is quick.
    pub async fn list_of_one<F>(self, body: F) -> Result<Response, Error>
    where
        F: Fn(&View<'_>) -> Result<Vec<u8>, Error> + Send + 'static,
    {
        self.wait().await?;
        match self.read_inline(&body)? {
            Some((position, body)) => Ok(self.respond_with_list(position, body)),
            None => self.list(body).await,
        }
    }

    /// Reads on the connection thread, as a few lookups take less time than handing them to another
    /// thread. `None` if they take too long, as for a person with very many distinct ids: other
    /// requests wait for this thread.
    fn read_inline<F>(&self, body: &F) -> Result<Option<Answered>, Error>
    where
        F: Fn(&View<'_>) -> Result<Vec<u8>, Error>,
    {
        let deadline =
            self.state.settings.deadline(self.begun).min(Instant::now() + INLINE_READ_LIMIT);
        let view = View::of(&self.state, self.project, deadline, || false);
        let position = view.position()?;
        let body = made(&view, self.format, body);
        let is_over = body.is_err() && view.check().is_err();
        Ok((!is_over).then_some((position, body)))
    }

    /// Answers with a list, or with 503 if too many lists are being read. In CSV each of the
    /// `results` of the body is a row.
    pub async fn list<F>(self, body: F) -> Result<Response, Error>
    where
        F: FnOnce(&View<'_>) -> Result<Vec<u8>, Error> + Send + 'static,
    {
        let permit = self.wait_for_turn(&self.state.lists, "lists").await?;
        let format = self.format;
        let read = on_thread(self.state.clone(), self.project, self.begun, move |view| {
            let _permit = permit;
            Ok(made(view, format, body))
        });
        let (position, body) = read.await?;
        Ok(self.respond_with_list(position, body))
    }

    fn respond_with_list(self, position: HeaderValue, body: Result<Vec<u8>, Error>) -> Response {
        let respond = |body| {
            let mut response = self.format.respond(StatusCode::OK, body);
            if let Some(file) = self.file {
                response.headers_mut().insert(CONTENT_DISPOSITION, file);
            }
            response
        };
        with_position(position, body.map_or_else(IntoResponse::into_response, respond))
    }

    /// Waits for the position, then acquires a permit. If none is left, the error names `what`.
    pub async fn wait_for_turn(
        &self,
        permits: &Arc<Semaphore>,
        what: &str,
    ) -> Result<OwnedSemaphorePermit, Error> {
        self.wait().await?;
        permits.clone().try_acquire_owned().map_err(|_| Error::overloaded(what))
    }

    /// Waits until the positions that the caller asked for are applied.
    pub async fn wait(&self) -> Result<(), Error> {
        self.state.wait_for(&self.wanted, self.state.settings.position_wait).await
    }
}

/// Reads an answer as JSON and converts it to a format.
fn made(
    view: &View<'_>,
    format: Format,
    json: impl FnOnce(&View<'_>) -> Result<Vec<u8>, Error>,
) -> Result<Vec<u8>, Error> {
    format.body(json(view)?, view.page_bytes())
}

fn with_position(position: HeaderValue, mut response: Response) -> Response {
    response.headers_mut().insert(POSITION, position);
    response
}

/// Runs `read` on a blocking thread, and returns the position of the view and the result. The read ends
/// slightly before a request that began at `begun` times out, or when the caller is gone.
pub async fn on_thread<T: Send + 'static>(
    state: State,
    project: ProjectId,
    begun: Instant,
    read: impl FnOnce(&View<'_>) -> Result<T, Error> + Send + 'static,
) -> Result<(HeaderValue, T), Error> {
    let gone = Gone::default();
    let (deadline, is_gone) = (state.settings.deadline(begun), gone.0.clone());
    let reading = tokio::task::spawn_blocking(move || {
        let is_abandoned = move || is_gone.load(Ordering::Relaxed);
        let view = View::of(&state, project, deadline, is_abandoned);
        Ok((view.position()?, read(&view)?))
    });
    match reading.await {
        Ok(read) => read,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Error::internal()),
    }
}

/// Marks a read as abandoned when it is dropped.
#[derive(Default)]
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<'s> View<'s> {
    /// Takes a snapshot of the store, whose reads end at the deadline or when they are abandoned.
    pub fn of(
        state: &'s State,
        project: ProjectId,
        deadline: Instant,
        is_abandoned: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            store: &state.store,
            snapshot: state.store.snapshot().until(deadline, is_abandoned),
            project,
            settings: &state.settings,
            deadline,
            cached_position: &state.cached_position,
        }
    }

    /// Returns the page limit, in bytes.
    pub fn page_bytes(&self) -> usize {
        usize::try_from(self.settings.page_limit).unwrap_or(usize::MAX)
    }

    /// Returns an error if the deadline has passed or the read is abandoned.
    pub fn check(&self) -> Result<(), Error> {
        Ok(self.snapshot.check_not_ended()?)
    }

    /// Returns a person's integer id; `None` if no person has the uuid. An integer id is returned unchecked.
    pub fn person(&self, person_ref: PersonRef) -> Result<Option<PersonId>, Error> {
        Ok(match person_ref {
            PersonRef::Id(id) => Some(id),
            PersonRef::Uuid(uuid) => self.snapshot.person_of_uuid(self.project, uuid)?,
        })
    }

    /// Returns the person that is referred to, or the one that it was merged into; `None` if there is none.
    pub fn find(&self, person_ref: PersonRef) -> Result<Option<(PersonId, Head)>, Error> {
        let Some(id) = self.person(person_ref)? else { return Ok(None) };
        Ok(self.snapshot.became(self.project, id, Moment::NOW)?)
    }

    /// Returns the same person; 404 if there is none.
    pub fn now(&self, person_ref: PersonRef) -> Result<(PersonId, Head), Error> {
        self.find(person_ref)?.ok_or_else(Error::no_person)
    }

    /// Returns the position of the view, which is cached, as it only changes with a commit.
    pub fn position(&self) -> Result<HeaderValue, Error> {
        let state = self.snapshot.state();
        let cached = self.cached_position.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, position)) = cached.filter(|(of, _)| Some(*of) == state) {
            return Ok(position);
        }
        let position = self.read_position()?;
        if let Some(state) = state {
            let mut cached = self.cached_position.lock().unwrap_or_else(PoisonError::into_inner);
            *cached = Some((state, position.clone()));
        }
        Ok(position)
    }

    fn read_position(&self) -> Result<HeaderValue, Error> {
        let positions = self.snapshot.positions()?.into_iter();
        let positions =
            positions.map(|(topic, partition, applied)| ((topic, partition), applied.next_offset));
        let text = position::opaque(&positions.collect());
        HeaderValue::try_from(text).map_err(|_| Error::internal())
    }
}

/// Returns an answer with a strong `ETag`, or 304 without a body if the caller has it. `If-None-Match`
/// may be given several times.
pub fn tagged<'h>(
    format: Format,
    body: Vec<u8>,
    if_none_match: impl IntoIterator<Item = &'h HeaderValue>,
) -> Response {
    let tag = format!("\"{:032x}\"", xxh3_128(&body));
    let known = if_none_match.into_iter().filter_map(|value| value.to_str().ok());
    let mut known = known.flat_map(|tags| tags.split(',').map(str::trim));
    let is_known = known.any(|known| known == "*" || known.trim_start_matches("W/") == tag);
    let mut response = if is_known {
        format.respond(StatusCode::NOT_MODIFIED, Vec::new())
    } else {
        format.respond(StatusCode::OK, body)
    };
    if is_known {
        response.headers_mut().remove(CONTENT_TYPE);
    }
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}
