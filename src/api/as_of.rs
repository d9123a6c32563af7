//! `GET …/persons/properties_at_time`: a person as of a moment, by what is known now or
//! was known at another moment.

use axum::response::Response;

use super::error::Error;
use super::json::Object;
use super::openapi::{answers, parameters, past};
use super::parameters::Parameters;
use super::person_ref::{self, PersonRef};
use super::read::{Read, View};
use super::{body, debug, format};
use crate::person::{Head, Mode, PersonId, ProjectId, Time};
use crate::store::{Moment, Person};

/// The person that is requested.
pub enum Who {
    /// The owner of this distinct id.
    DistinctId(String),
    /// The person with this id, and the id as the caller wrote it.
    PersonId(PersonRef, String),
}

impl Who {
    fn of(parameters: &Parameters) -> Result<Self, Error> {
        match (parameters.get("distinct_id"), parameters.get("person_id")) {
            (Some(_), Some(_)) => {
                let detail = "Cannot provide both distinct_id and person_id - choose one";
                Err(Error::invalid("person_id", detail))
            }
            (None, None) => {
                let detail = "Must provide either distinct_id or person_id parameter";
                Err(Error::required("distinct_id", detail))
            }
            (Some(id), None) => Ok(Self::DistinctId(person_ref::distinct_id(id.to_owned()))),
            (None, Some(id)) => {
                let person_ref = PersonRef::parse(id, "person_id")?;
                Ok(Self::PersonId(person_ref, id.to_owned()))
            }
        }
    }

    /// Returns the distinct id, if the person is requested by one.
    fn distinct_id(&self) -> Option<&str> {
        match self {
            Self::DistinctId(text) => Some(text),
            Self::PersonId(..) => None,
        }
    }

    /// Returns the person id as the caller wrote it, if the person is requested by one.
    fn person_id(&self) -> Option<&str> {
        match self {
            Self::DistinctId(_) => None,
            Self::PersonId(_, text) => Some(text),
        }
    }

    /// Returns the name of the parameter by which the person is requested.
    fn parameter(&self) -> &'static str {
        match self {
            Self::DistinctId(_) => "distinct_id",
            Self::PersonId(..) => "person_id",
        }
    }
}

/// How the past is read.
struct How {
    /// The `known_at` parameter, if it was given.
    known_at: Option<Time>,
    /// Whether `$set_once` operations count.
    mode: Mode,
    /// Whether today's distinct ids are applied to the past (`identity=current`).
    today: bool,
}

impl How {
    fn of(parameters: &Parameters) -> Result<Self, Error> {
        let today = match parameters.get("identity") {
            None | Some("as_of") => false,
            Some("current") => true,
            Some(_) => return Err(Error::invalid("identity", "identity must be as_of or current")),
        };
        let with_once = parameters.flag("include_set_once")?;
        let mode = if with_once { Mode::WithOnce } else { Mode::SetOnly };
        Ok(Self { known_at: parameters.time("known_at")?, mode, today })
    }

    fn identity(&self) -> &'static str {
        if self.today { "current" } else { "as_of" }
    }
}

/// A parsed as-of query.
pub struct Query {
    /// The person that is requested.
    pub who: Who,
    /// The event time and the known time to read at.
    pub at: Moment,
    how: How,
    debug: bool,
}

/// Validates the parameters that all lines of a join share. Removes the person and the timestamp, which
/// each line must give itself.
pub fn common(mut parameters: Parameters) -> Result<Parameters, Error> {
    for name in ["timestamp", "distinct_id", "person_id"] {
        parameters.remove(name);
    }
    if parameters.flag("debug")? {
        return Err(Error::invalid("debug", "debug is for one person, without a body"));
    }
    if parameters.get(format::PARAMETER) == Some("csv") {
        let detail = "format=csv is for one person: lines are answered with lines of JSON";
        return Err(Error::invalid(format::PARAMETER, detail));
    }
    How::of(&parameters)?;
    Ok(parameters)
}

impl Query {
    /// Parses the parameters of a request.
    pub fn of(parameters: &Parameters) -> Result<Self, Error> {
        let who = Who::of(parameters)?;
        let time = parameters.time("timestamp")?.ok_or_else(|| {
            let detail = "timestamp parameter is required (ISO format: 2023-06-15T14:30:00Z)";
            Error::required("timestamp", detail)
        })?;
        let how = How::of(parameters)?;
        let at = Moment { time, known: how.known_at.unwrap_or(Time::MAX) };
        Ok(Self { who, at, how, debug: parameters.flag("debug")? })
    }

    /// Returns the moment at which the owner of a distinct id, or what a person was merged into, is resolved.
    fn identity_at(&self) -> Moment {
        if self.is_today() { Moment::NOW } else { self.at }
    }

    /// Whether the read may walk all merged persons or all operations, and so may take long.
    fn is_long(&self) -> bool {
        self.is_today() || self.debug || self.how.known_at.is_some()
    }

    /// Whether the distinct ids are those of today.
    pub fn is_today(&self) -> bool {
        self.how.today
    }
}

/// Get a person at a point in time
///
/// Returns the person that owned a distinct id at a moment, or that a person id stood for then, with the
/// properties of that moment. `known_at` leaves out what was learned later. If the person did not exist yet,
/// the answer is 200 with empty properties and `existed` false.
#[utoipa::path(
    get, path = "/persons/properties_at_time", tag = "past",
    params(parameters::Whom, parameters::AsOf, parameters::Debug, parameters::Position, parameters::Answer, parameters::Known),
    responses(answers::AsOf<past::PersonAtTime>),
    extensions(("x-required-scope" = json!("person:read"))),
)]
pub async fn person(read: Read) -> Result<Response, Error> {
    let query = Query::of(&read.parameters).map_err(Error::repeated)?;
    let is_long = query.is_long();
    let body = move |view: &View<'_>| past(view, &query).map_err(Error::repeated);
    if is_long { read.person_apart(body).await } else { read.person(body).await }
}

/// Returns a person as of a moment, as JSON.
pub fn past(view: &View<'_>, query: &Query) -> Result<Vec<u8>, Error> {
    let asked = resolve(view, query)?;
    let person = at_time(view, query, &asked)?;
    let told = if query.debug {
        Some(debug::Explanation::read(view, query, &person, &asked.head)?)
    } else {
        None
    };
    let mut out = Vec::with_capacity(body::USUAL);
    let display = &view.settings.display_name_properties;
    body::person(&mut out, &person, display, usize::MAX, |object| {
        metadata(object.field("point_in_time_metadata"), query, &person);
        if let Some(told) = told {
            told.write(object.field("debug"), view.project, query);
        }
    });
    Ok(out)
}

/// The person that a query resolves to.
struct Subject {
    id: PersonId,
    head: Head,
    /// Whether, by what was known then, the distinct id had no owner (then the person is its current owner),
    /// or the owner's life had not begun. Such a person is answered as not existing.
    unknown: bool,
}

fn resolve(view: &View<'_>, query: &Query) -> Result<Subject, Error> {
    let View { ref snapshot, project, .. } = *view;
    let at = query.identity_at();
    match &query.who {
        Who::DistinctId(distinct_id) => {
            let not_found = || {
                let detail = format!("Person with distinct_id '{distinct_id}' not found");
                Error::not_found(detail)
            };
            let owner = snapshot.owner(project, distinct_id)?;
            let owner = owner.ok_or_else(not_found)?;
            let known = owner.at(&snapshot.lives(project), at.time, at.known)?;
            // An owner that was deleted since counts as unknown.
            if let Some(life) = known
                && let Some(head) = snapshot.head_of(project, life)?
            {
                let unknown = !snapshot.had_begun(project, life, at)?;
                return Ok(Subject { id: life.person, head, unknown });
            }
            let id = owner.now(&snapshot.lives(project))?.person;
            let head = snapshot.head(project, id)?.ok_or_else(not_found)?;
            Ok(Subject { id, head, unknown: true })
        }
        Who::PersonId(person_ref, text) => {
            let not_found =
                || Error::not_found(format!("Person with person_id '{text}' not found"));
            let id = view.person(*person_ref)?.ok_or_else(not_found)?;
            if let Some((id, head)) = snapshot.became(project, id, at)? {
                return Ok(Subject { id, head, unknown: false });
            }
            // It was somebody then who is deleted since, as a distinct id may have been.
            let now = snapshot.became(project, id, Moment::NOW)?;
            let (id, head) = now.ok_or_else(not_found)?;
            Ok(Subject { id, head, unknown: true })
        }
    }
}

/// Returns a person as of a moment.
pub fn at(view: &View<'_>, who: Who, at: Moment, mode: Mode) -> Result<Person, Error> {
    let how = How { known_at: None, mode, today: false };
    let query = Query { who, at, how, debug: false };
    let asked = resolve(view, &query)?;
    at_time(view, &query, &asked)
}

fn at_time(view: &View<'_>, query: &Query, asked: &Subject) -> Result<Person, Error> {
    let View { ref snapshot, project, .. } = *view;
    let of = (asked.id, &asked.head);
    let mut person = if query.is_today() {
        snapshot.as_of_today(project, of, query.at, query.how.mode)?
    } else {
        snapshot.as_of(project, of, query.at, query.how.mode)?
    };
    if asked.unknown {
        person.created_at = None;
    }
    if person.created_at.is_none() {
        person.distinct_ids.clear();
        person.properties.clear();
        person.last_seen_at = None;
        person.is_identified = false;
    }
    Ok(person)
}

fn metadata(out: &mut Vec<u8>, query: &Query, person: &Person) {
    let Query { who, at, how, .. } = query;
    let mut object = Object::new(out);
    object.optional("queried_timestamp", Some(at.time));
    object.flag("include_set_once", how.mode == Mode::WithOnce);
    object.optional_string("distinct_id_used", who.distinct_id());
    object.optional_string("person_id_used", who.person_id());
    object.string("query_mode", who.parameter());
    object.strings("distinct_ids_queried", &person.distinct_ids);
    object.number("distinct_ids_count", person.distinct_ids.len() as u64);
    object.optional("known_at", how.known_at);
    object.string("identity", how.identity());
    object.flag("existed", person.created_at.is_some());
    object.end();
}

/// Writes the parsed query, field by field.
pub fn write_params(out: &mut Vec<u8>, project: ProjectId, query: &Query) {
    let Query { who, at, how, .. } = query;
    let mut object = Object::new(out);
    object.number("project_id", u64::from(project));
    object.optional_string("distinct_id", who.distinct_id());
    object.optional_string("person_id", who.person_id());
    object.optional("timestamp", Some(at.time));
    object.optional("known_at", how.known_at);
    object.string("identity", how.identity());
    object.flag("include_set_once", how.mode == Mode::WithOnce);
    object.end();
}
