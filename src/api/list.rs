//! `GET …/persons`: lists of persons.

use std::cmp::Reverse;

use axum::http::{HeaderMap, Uri};
use axum::response::Response;

use super::error::Error;
use super::export::Take;
use super::format::Format;
use super::json::Object;
use super::link::Link;
use super::openapi::{answers, bodies, parameters};
use super::page::results;
use super::parameters::Parameters;
use super::read::{Read, View};
use super::{body, cursor, person_ref};
use crate::person::{self, Filter, Head, Needle, PersonId};
use crate::store::{Among, By, Order, Row, Start, Wanted};

/// Persons on a page, if `limit` is not given.
pub const DEFAULT_LIMIT: u64 = 100;
/// The most persons on a page.
pub const MAX_LIMIT: u64 = 10_000;

/// The parameter with the filter.
const PROPERTIES: &str = "properties";

/// Index rows that an export reads per chunk.
const CHUNK: usize = 1_000;

/// The most distinct ids of one person that a list and the activity log show.
pub const MAX_DISTINCT_IDS: usize = 1_000;

/// The parsed parameters of a list.
struct Query {
    limit: usize,
    start: Start,
    /// Whether paging is by cursor rather than by offset.
    walks: bool,
    counts: bool,
    order: Order,
    distinct_id: Option<String>,
    email: Option<String>,
    wanted: Wanted,
    /// Whether the answer is CSV, which has no place for the link to the next page.
    is_csv: bool,
}

impl Query {
    fn of(parameters: &Parameters, format: Format) -> Result<Self, Error> {
        let owned = |name| parameters.get(name).map(str::to_owned);
        let order = order(parameters)?;
        let offset = parameters.whole("offset", 0..=u64::MAX)?;
        let text = parameters.given(cursor::PARAMETER);
        if text.is_some() && offset.is_some() {
            let detail = "Cannot provide both cursor and offset";
            return Err(Error::invalid(cursor::PARAMETER, detail));
        }
        let start = match text.filter(|text| !text.is_empty()) {
            Some(text) => cursor::row(text, order)?,
            None => Start::Offset(offset.unwrap_or(0)),
        };
        let search = parameters.get("search").map(str::trim).filter(|text| !text.is_empty());
        Ok(Self {
            limit: parameters.limit(DEFAULT_LIMIT, MAX_LIMIT)?,
            start,
            walks: text.is_some(),
            counts: parameters.get("count").is_none() || parameters.flag("count")?,
            order,
            distinct_id: owned("distinct_id").map(person_ref::distinct_id),
            email: owned("email"),
            wanted: Wanted { filter: filter(parameters)?, search: search.map(Needle::new) },
            is_csv: format.is_csv(),
        })
    }
}

fn order(parameters: &Parameters) -> Result<Order, Error> {
    let text = parameters.get("order_by").unwrap_or("-created_at");
    let (name, ascending) = text.strip_prefix('-').map_or((text, true), |name| (name, false));
    let by = match name {
        "created_at" => By::CreatedAt,
        "last_seen_at" => By::LastSeenAt,
        _ => {
            let detail =
                "order_by must be created_at or last_seen_at, with a - for the newest first";
            return Err(Error::invalid("order_by", detail));
        }
    };
    Ok(Order { by, ascending })
}

/// Parses all `properties` parameters, joined by AND. Patterns are left to [`compile`].
fn filter(parameters: &Parameters) -> Result<Filter, Error> {
    let now = super::now();
    let given = parameters.all().filter(|(name, text)| *name == PROPERTIES && !text.is_empty());
    let filters = given.map(|(_, text)| Filter::parse(text, now));
    let mut filters = filters.collect::<Result<Vec<_>, _>>()?;
    filters.retain(|filter| !filter.is_empty());
    Ok(if filters.len() == 1 { filters.remove(0) } else { Filter::All(filters) })
}

impl From<person::filter::Error> for Error {
    fn from(error: person::filter::Error) -> Self {
        Self::invalid(PROPERTIES, error.to_string())
    }
}

/// Compiles the patterns of the filter. That may take long, so it is done on the thread that reads, of which
/// there is a limited number.
fn compile(view: &View<'_>, query: &Query) -> Result<(), Error> {
    query.wanted.filter.compile(|| view.check())
}

/// List persons
///
/// Sorted by `created_at`, newest first, unless `order_by` says otherwise; ties are broken by uuid. If
/// several conditions are given, all must hold.
#[utoipa::path(
    get, path = "/persons", tag = "persons",
    params(parameters::List, parameters::Properties, parameters::Position, parameters::Answer),
    responses(answers::Listed<bodies::Persons>),
    extensions(("x-required-scope" = json!("person:read"))),
)]
pub async fn persons(read: Read, uri: Uri, headers: HeaderMap) -> Result<Response, Error> {
    let query = Query::of(&read.parameters, read.format)?;
    if read.is_export() {
        return read.export(move |view, take| export(view, &query, take)).await;
    }
    let link = Link::of(&uri, &headers, read.state.settings.trust_forwarded, query.limit)?;
    let is_quick = query.wanted.search.is_none() && !query.wanted.filter.has_pattern();
    if query.distinct_id.is_some() && is_quick {
        return read.list_of_one(move |view| page(view, &query, &link)).await;
    }
    read.list(move |view| page(view, &query, &link)).await
}

fn page(view: &View<'_>, query: &Query, link: &Link) -> Result<Vec<u8>, Error> {
    compile(view, query)?;
    let Page { count, mut rows, only, more } = rows(view, query)?;
    let mut persons = Vec::with_capacity(rows.len().min(100) * body::USUAL);
    let shown = results(view, &mut persons, &rows, |out, row| {
        row_of(view, out, row.person, only.as_ref())
    })?;
    let more = more || shown < rows.len();
    if query.is_csv && shown < rows.len() {
        return Err(Error::page_too_large());
    }
    rows.truncate(shown);
    let after_last = || Some(link.cursor(&cursor::after_row(query.order, rows.last()?)));
    let (next, previous) = match query.start {
        Start::Offset(offset) if !query.walks => {
            (more.then(|| link.next(offset, shown)), link.previous(offset))
        }
        _ => (more.then(after_last), None),
    };
    let mut out = Vec::with_capacity(persons.len() + 512);
    let mut object = Object::new(&mut out);
    object.optional_string("next", next.flatten().as_deref());
    object.optional_string("previous", previous.as_deref());
    if query.counts {
        object.number("count", count);
    }
    object.field("results").append(&mut persons);
    object.end();
    Ok(out)
}

/// The rows of a page.
struct Page {
    /// The number of persons on all pages.
    count: u64,
    rows: Vec<Row>,
    /// The head of the only person on all pages, if it was read along the way.
    only: Option<Head>,
    /// Whether more rows follow.
    more: bool,
}

fn rows(view: &View<'_>, query: &Query) -> Result<Page, Error> {
    let View { ref snapshot, project, .. } = *view;
    let limit = query.limit;
    let walked = |among: Option<Among<'_>>, count| {
        // One row more, to see whether there is another page.
        let rows = snapshot.page(project, query.order, query.start, limit + 1, among)?;
        Ok::<_, Error>(rows.map(|mut rows| {
            let more = rows.len() > limit;
            rows.truncate(limit);
            Page { count, rows, only: None, more }
        }))
    };
    let is_one = query.distinct_id.is_some() || query.email.is_some();
    if !is_one && query.wanted.is_everybody() {
        let count = if query.counts { snapshot.count(project)? } else { 0 };
        return walked(None, count)?.ok_or_else(Error::internal);
    }
    let (mut rows, only) = if is_one {
        few(view, query)?
    } else {
        let found = snapshot.find(project, &query.wanted)?;
        let offset = if let Start::Offset(offset) = query.start { offset } else { 0 };
        let rows = offset.saturating_add(limit as u64).saturating_add(1);
        let count = found.len() as u64;
        let most_read = snapshot.walk_budget(project, rows, count)?;
        if most_read > 0
            && let Some(page) = walked(Some(Among { persons: &found, most_read }), count)?
        {
            return Ok(page);
        }
        (snapshot.rows(project, &found, query.order.by)?, None)
    };
    let count = rows.len() as u64;
    let skipped = sorted(&mut rows, query);
    let more = rows.len() > skipped.saturating_add(limit);
    let rows = rows.into_iter().skip(skipped).take(limit).collect();
    Ok(Page { count, rows, only, more })
}

/// Sorts rows and returns how many of them come before the start.
fn sorted(rows: &mut [Row], query: &Query) -> usize {
    let ascending = query.order.ascending;
    let key = |row: &Row| (Reverse(row.time), row.uuid);
    rows.sort_unstable_by_key(key);
    if ascending {
        rows.reverse();
    }
    match query.start {
        Start::Offset(offset) => usize::try_from(offset).unwrap_or(usize::MAX),
        Start::After(time, uuid) => {
            let after = (Reverse(time), uuid);
            let is_before =
                |row: &Row| if ascending { key(row) >= after } else { key(row) <= after };
            rows.partition_point(is_before)
        }
    }
}

/// Passes every matching person from the start on to `take`, as a row. No persons are held in memory: a
/// filter is checked for every person, in the order of the list.
fn export(view: &View<'_>, query: &Query, take: &mut Take<'_>) -> Result<(), Error> {
    compile(view, query)?;
    let View { ref snapshot, project, .. } = *view;
    let mut out = Vec::new();
    let mut one = |id: PersonId, head: &Head| {
        out.clear();
        person(view, &mut out, (id, head))?;
        take(&out)
    };
    let found = |row: &Row| snapshot.head(project, row.person)?.ok_or_else(Error::internal);
    if query.distinct_id.is_some() || query.email.is_some() {
        let (mut rows, _) = few(view, query)?;
        let skipped = sorted(&mut rows, query);
        return rows.iter().skip(skipped).try_for_each(|row| one(row.person, &found(row)?));
    }
    let everybody = query.wanted.is_everybody();
    let (mut start, mut skipped) = match query.start {
        Start::Offset(offset) if !everybody => (Start::Offset(0), offset),
        start => (start, 0),
    };
    loop {
        let rows = snapshot.page(project, query.order, start, CHUNK, None)?;
        let rows = rows.ok_or_else(Error::internal)?;
        for row in &rows {
            view.check()?;
            let head = found(row)?;
            if !everybody && !snapshot.is_wanted(project, (row.person, &head), &query.wanted)? {
                continue;
            }
            if skipped > 0 {
                skipped -= 1;
            } else {
                one(row.person, &head)?;
            }
        }
        match rows.last() {
            Some(last) if rows.len() == CHUNK => start = Start::After(last.time, last.uuid),
            _ => return Ok(()),
        }
    }
}

/// Returns the persons with the requested distinct id or email that also match the filter, and the
/// head if there is only one.
fn few(view: &View<'_>, query: &Query) -> Result<(Vec<Row>, Option<Head>), Error> {
    let View { ref snapshot, project, .. } = *view;
    let persons = match (&query.distinct_id, &query.email) {
        (Some(distinct_id), _) => {
            snapshot.person_of_distinct_id(project, distinct_id)?.into_iter().collect()
        }
        (None, Some(email)) => snapshot.persons_by_email(project, email)?,
        (None, None) => Vec::new(),
    };
    let (mut rows, mut last) = (Vec::new(), None);
    for id in persons {
        view.check()?;
        let Some(head) = snapshot.head(project, id)? else { continue };
        let email = query.email.as_deref();
        if email.is_none_or(|email| has_email(view, &head, email))
            && snapshot.is_wanted(project, (id, &head), &query.wanted)?
        {
            rows.push(snapshot.row(project, (id, &head), query.order.by)?);
            last = Some(head);
        }
    }
    // Many persons may have the same email, so at most one head is kept.
    let only = last.filter(|_| rows.len() == 1);
    Ok((rows, only))
}

fn has_email(view: &View<'_>, head: &Head, email: &str) -> bool {
    let property = view.store.dictionary().email(view.project);
    let value = property.and_then(|email| head.entries.get(&email)?.state.current.as_ref());
    value.is_some_and(|value| !value.is_null() && value.text() == email)
}

fn row_of(
    view: &View<'_>,
    out: &mut Vec<u8>,
    id: PersonId,
    head: Option<&Head>,
) -> Result<(), Error> {
    if let Some(head) = head {
        return person(view, out, (id, head));
    }
    let head = view.snapshot.head(view.project, id)?.ok_or_else(Error::internal)?;
    person(view, out, (id, &head))
}

/// Writes a person as lists show it.
pub fn person(view: &View<'_>, out: &mut Vec<u8>, of: (PersonId, &Head)) -> Result<(), Error> {
    view.check()?;
    let View { ref snapshot, project, settings, .. } = *view;
    let person = snapshot.current(project, of, MAX_DISTINCT_IDS + 1)?;
    let display = &settings.display_name_properties;
    body::person(out, &person, display, MAX_DISTINCT_IDS, |_| ());
    Ok(())
}
