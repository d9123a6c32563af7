//! `GET …/persons`

use std::time::Instant;

use axum::http::{HeaderMap, Uri};
use axum::response::Response;

use super::body;
use super::error::Error;
use super::json::{Object, array};
use super::link::Link;
use super::parameters::Parameters;
use super::read::{Read, View};
use crate::person::PersonId;
use crate::store::Page;

/// What the contract knows and this does not do yet.
const UNAVAILABLE: [&str; 5] = ["search", "properties", "order_by", "cursor", "count"];

const DEFAULT_LIMIT: u64 = 100;
const MAX_LIMIT: u64 = 10_000;

/// Distinct ids that a list shows of one person.
pub const MAX_DISTINCT_IDS: usize = 1_000;

/// Which persons are asked for.
struct Query {
    limit: u64,
    offset: u64,
    distinct_id: Option<String>,
    email: Option<String>,
}

impl Query {
    fn of(parameters: &Parameters) -> Result<Self, Error> {
        parameters.refuse(&UNAVAILABLE)?;
        parameters.only_json()?;
        let owned = |name| parameters.get(name).map(str::to_owned);
        Ok(Self {
            limit: parameters.whole("limit", 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT),
            offset: parameters.whole("offset", 0..=u64::MAX)?.unwrap_or(0),
            distinct_id: owned("distinct_id"),
            email: owned("email"),
        })
    }
}

/// Persons, newest first.
pub async fn persons(read: Read, uri: Uri, headers: HeaderMap) -> Result<Response, Error> {
    let query = Query::of(&read.parameters)?;
    let settings = &read.state.settings;
    let link = Link::of(&uri, &headers, settings.trust_forwarded, query.limit)?;
    let deadline = Instant::now() + settings.request_timeout;
    read.list(move |view| page(view, &query, &link, deadline)).await
}

fn page(view: &View<'_>, query: &Query, link: &Link, deadline: Instant) -> Result<Vec<u8>, Error> {
    let page = found(view, query)?;
    let mut persons = Vec::with_capacity(page.persons.len().min(100) * 1_024);
    let mut failed = Ok(());
    array(&mut persons, &page.persons, |out, id| {
        if failed.is_ok() {
            failed = person(view, out, *id, deadline);
        }
    });
    failed?;
    let mut out = Vec::with_capacity(persons.len() + 512);
    let mut object = Object::new(&mut out);
    object.optional_string("next", link.next(query.offset, page.count).as_deref());
    object.optional_string("previous", link.previous(query.offset).as_deref());
    object.number("count", page.count);
    object.field("results").append(&mut persons);
    object.end();
    Ok(out)
}

/// The persons of the page, and how many there are on all pages.
fn found(view: &View<'_>, query: &Query) -> Result<Page, Error> {
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let found = match (&query.distinct_id, &query.email) {
        (None, None) => return Ok(view.snapshot.page(view.project, query.offset, limit)?),
        (Some(distinct_id), email) => {
            let owner = owner_now(view, distinct_id, email.as_deref())?;
            owner.into_iter().collect()
        }
        (None, Some(email)) => view.snapshot.persons_by_email(view.project, email)?,
    };
    let offset = usize::try_from(query.offset).unwrap_or(usize::MAX);
    Ok(Page {
        count: found.len() as u64,
        persons: found.into_iter().skip(offset).take(limit).collect(),
    })
}

/// Who has a distinct id now, where its email is the one asked for.
fn owner_now(
    view: &View<'_>,
    distinct_id: &str,
    email: Option<&str>,
) -> Result<Option<PersonId>, Error> {
    let View { ref snapshot, project, .. } = *view;
    let Some(owner) = snapshot.owner(project, distinct_id)? else {
        return Ok(None);
    };
    let id = owner.now(&snapshot.lives(project))?.person;
    let Some(head) = snapshot.head(project, id)? else {
        return Ok(None);
    };
    let Some(email) = email else {
        return Ok(Some(id));
    };
    let property = view.store.dictionary().property(project, "email");
    let value = property.and_then(|email| head.entries.get(&email)?.state.current.as_ref());
    let same = value.is_some_and(|value| !value.is_null() && value.text() == email);
    Ok(same.then_some(id))
}

fn person(
    view: &View<'_>,
    out: &mut Vec<u8>,
    id: PersonId,
    deadline: Instant,
) -> Result<(), Error> {
    if Instant::now() > deadline {
        return Err(Error::query_timeout());
    }
    let View { ref snapshot, project, settings, .. } = *view;
    let head = snapshot.head(project, id)?.ok_or_else(Error::internal)?;
    let person = snapshot.current(project, (id, &head), MAX_DISTINCT_IDS + 1)?;
    let display = &settings.display_name_properties;
    body::person(out, &person, display, MAX_DISTINCT_IDS, |_| ());
    Ok(())
}
