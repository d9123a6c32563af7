//! `GET …/persons/activity` and `GET …/persons/:id/activity`: what was done to persons, and by whom.

use axum::extract::Path;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use uuid::Uuid;

use super::error::Error;
use super::export::Take;
use super::json::{Object, array};
use super::link::Link;
use super::list::MAX_DISTINCT_IDS;
use super::openapi::{answers, log, parameters};
use super::page::results;
use super::parameters::Parameters;
use super::person_ref::PersonRef;
use super::read::{Audit, Read, View};
use crate::person::identity::NAMESPACE;
use crate::person::{Head, PersonId, PersonRow, Place, Time, Value};
use crate::store::{Activity, ActivityPage, Deed, Had, OperationQuery, PropertyDiff};

const DEFAULT_LIMIT: u64 = 10;
const MAX_LIMIT: u64 = 1_000;
const MAX_PAGE: u64 = 1 << 32;

/// Entries that an export reads per chunk.
const CHUNK: usize = 10_000;

/// The page of the log that is requested.
#[derive(Clone, Copy)]
struct Query {
    /// Counted from 1.
    page: u64,
    limit: usize,
}

impl Query {
    fn of(parameters: &Parameters) -> Result<Self, Error> {
        Ok(Self {
            page: parameters.whole("page", 1..=MAX_PAGE)?.unwrap_or(1),
            limit: parameters.limit(DEFAULT_LIMIT, MAX_LIMIT)?,
        })
    }

    fn skip(self) -> u64 {
        (self.page - 1).saturating_mul(self.limit as u64)
    }
}

/// The log that is requested: of the whole project or of one person.
#[derive(Clone, Copy)]
enum Whose {
    Project,
    Person(PersonRef),
}

impl Whose {
    /// Returns at most `limit` entries of the log, newest first, after the newest `skip` ones.
    fn part(self, view: &View<'_>, skip: u64, limit: usize) -> Result<ActivityPage, Error> {
        let View { ref snapshot, project, .. } = *view;
        let Self::Person(person_ref) = self else {
            return Ok(snapshot.activity(project, skip, limit)?);
        };
        let id = view.person(person_ref)?.ok_or_else(Error::no_person)?;
        snapshot.person_row(project, id)?.ok_or_else(Error::no_person)?;
        Ok(snapshot.activity_of(project, id, skip, limit)?)
    }
}

/// List what was done in a project
///
/// Returns writes, with the label of the API key, and merges caused by events, newest first. Entries about
/// persons that were deleted since are included.
#[utoipa::path(
    get, path = "/persons/activity", tag = "log",
    params(parameters::Activity, parameters::Position, parameters::Answer),
    responses(answers::Listed<log::ActivityLog>),
    extensions(("x-required-scope" = json!("activity_log:read"))),
)]
pub async fn of_project(
    Audit(read): Audit,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Error> {
    page(read, Whose::Project, &uri, &headers).await
}

/// List what was done to a person
///
/// Also works for a person that was merged away or deleted: each person keeps its own log. A merge is in
/// the logs of both persons.
#[utoipa::path(
    get, path = "/persons/{id}/activity", tag = "log",
    params(parameters::Activity, parameters::Position, parameters::Answer),
    responses(answers::Listed<log::ActivityLog>),
    extensions(("x-required-scope" = json!("activity_log:read"))),
)]
pub async fn of_person(
    Audit(read): Audit,
    Path((_, id)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let whose = Whose::Person(PersonRef::parse(&id, "id")?);
    page(read, whose, &uri, &headers).await
}

async fn page(read: Read, whose: Whose, uri: &Uri, headers: &HeaderMap) -> Result<Response, Error> {
    let query = Query::of(&read.parameters)?;
    if read.is_export() {
        return read.export(move |view, take| export(view, whose, query.skip(), take)).await;
    }
    let link = Link::of(uri, headers, read.state.settings.trust_forwarded, query.limit)?;
    read.list(move |view| {
        let log = whose.part(view, query.skip(), query.limit)?;
        answer(view, query, &link, &log)
    })
    .await
}

/// Passes every entry after the newest `skip` ones to `take`, as a row.
fn export(view: &View<'_>, whose: Whose, mut skip: u64, take: &mut Take<'_>) -> Result<(), Error> {
    let mut out = Vec::new();
    loop {
        let log = whose.part(view, skip, CHUNK)?;
        for activity in &log.entries {
            out.clear();
            Entry::read(view, activity)?.write(&mut out);
            take(&out)?;
        }
        skip += log.entries.len() as u64;
        if log.entries.is_empty() || skip >= log.count {
            return Ok(());
        }
    }
}

fn answer(
    view: &View<'_>,
    query: Query,
    link: &Link,
    log: &ActivityPage,
) -> Result<Vec<u8>, Error> {
    let entries = log.entries.len();
    let more = query.skip().saturating_add(entries as u64) < log.count;
    let next = (more && entries > 0).then(|| link.page(query.page + 1));
    let previous = (query.page > 1).then(|| link.page(query.page - 1));
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    let shown = results(view, object.field("results"), &log.entries, |out, activity| {
        Entry::read(view, activity)?.write(out);
        Ok(())
    })?;
    if shown < entries {
        return Err(Error::answer_too_large("limit"));
    }
    object.optional_string("next", next.as_deref());
    object.optional_string("previous", previous.as_deref());
    object.number("total_count", log.count);
    object.end();
    Ok(out)
}

/// An entry of the log, with the changes as far as the person's history still has them.
struct Entry<'a> {
    activity: &'a Activity,
    id: Uuid,
    uuid: Uuid,
    changes: Vec<Detail>,
}

/// One change of an entry.
struct Detail {
    action: &'static str,
    field: Option<String>,
    /// The values before and after, as JSON; `None` is written as `null`.
    before: Option<String>,
    after: Option<String>,
}

impl<'a> Entry<'a> {
    fn read(view: &View<'_>, activity: &'a Activity) -> Result<Self, Error> {
        let row = view.snapshot.person_row(view.project, activity.person)?;
        let row = row.ok_or_else(Error::internal)?;
        let changes = match &row {
            // The history of a deleted person, and so every value, is gone.
            PersonRow::Tombstone(_) => Vec::new(),
            PersonRow::Head(head) => changes(view, activity, head)?,
        };
        Ok(Self { activity, id: id(view, activity.place)?, uuid: row.uuid(), changes })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let author = self.activity.author.as_deref().unwrap_or("System");
        let mut object = Object::new(out);
        object.optional("id", Some(self.id));
        let mut user = Object::new(object.field("user"));
        user.string("first_name", author);
        user.raw("email", "null");
        user.end();
        object.string("activity", name(self.activity.deed));
        object.string("scope", "Person");
        object.string("item_id", &self.activity.person.to_string());
        let mut detail = Object::new(object.field("detail"));
        array(detail.field("changes"), &self.changes, |out, change| {
            let mut object = Object::new(out);
            object.string("type", "Person");
            object.string("action", change.action);
            object.optional_string("field", change.field.as_deref());
            object.raw("before", change.before.as_deref().unwrap_or("null"));
            object.raw("after", change.after.as_deref().unwrap_or("null"));
            object.end();
        });
        detail.optional("name", Some(self.uuid));
        detail.raw("trigger", "null");
        detail.raw("type", "null");
        detail.end();
        object.optional("created_at", Some(self.activity.known));
        object.end();
    }
}

fn name(deed: Deed) -> &'static str {
    match deed {
        Deed::Updated => "updated",
        Deed::PropertiesDeleted => "delete_property",
        Deed::Split => "split_person",
        Deed::Deleted => "deleted",
        Deed::Merged(_) => "merged",
    }
}

/// Derives the id of an entry from the record that it came from, so that it is the same in every
/// store built from the same log.
fn id(view: &View<'_>, Place { position, .. }: Place) -> Result<Uuid, Error> {
    let topic = view.store.dictionary().topic_name(position.topic);
    let topic = topic.ok_or_else(Error::internal)?;
    let text = format!("activity:{topic}:{}:{}", position.partition, position.offset);
    Ok(Uuid::new_v5(&NAMESPACE, text.as_bytes()))
}

fn changes(view: &View<'_>, activity: &Activity, head: &Head) -> Result<Vec<Detail>, Error> {
    let of = (activity.person, head);
    Ok(match activity.deed {
        Deed::Updated | Deed::PropertiesDeleted => of_properties(view, of, activity.place)?,
        Deed::Split => of_split(view, of, activity.place.time)?.into_iter().collect(),
        Deed::Merged(source) => vec![of_merge(view, of, source)?],
        Deed::Deleted => Vec::new(),
    })
}

fn of_properties(
    view: &View<'_>,
    of: (PersonId, &Head),
    place: Place,
) -> Result<Vec<Detail>, Error> {
    let asked = OperationQuery { from: place.time, until: place, property: None, limit: 1 };
    let found = view.snapshot.operation_diffs(view.project, of, asked)?;
    // A person re-created after a deletion no longer has the operation of an entry from before it.
    let found = found.into_iter().filter(|changed| changed.place == place);
    let details = found.flat_map(|changed| changed.changes).map(|change| {
        let PropertyDiff { property, before, after } = change;
        let name = view.store.dictionary().property_name(view.project, property);
        let json = |value: Option<Value>| value.map(|value| value.as_json().to_owned());
        let action = match (&before, &after) {
            (None, _) => "created",
            (_, None) => "deleted",
            _ => "changed",
        };
        let field = Some(name.ok_or_else(Error::internal)?.to_string());
        Ok(Detail { action, field, before: json(before), after: json(after) })
    });
    let mut details = details.collect::<Result<Vec<_>, Error>>()?;
    details.sort_unstable_by(|a, b| a.field.cmp(&b.field));
    Ok(details)
}

/// Returns the change of a split: the distinct ids before and after it, of very many those that left first.
/// `None` if the split took none of the person's ids: then it was done to an earlier person with this id,
/// which was deleted since.
fn of_split(view: &View<'_>, of: (PersonId, &Head), at: Time) -> Result<Option<Detail>, Error> {
    let had = view.snapshot.had_distinct_ids(view.project, of, usize::MAX)?.first;
    let before = had.iter().filter(|had| had.from <= at && had.until.is_none_or(|left| left >= at));
    let mut before: Vec<&Had> = before.collect();
    let stays = |had: &Had| had.until.is_none_or(|left| left > at);
    let after: Vec<&Had> = before.iter().copied().filter(|had| stays(had)).collect();
    if before.len() == after.len() {
        return Ok(None);
    }
    if before.len() > MAX_DISTINCT_IDS {
        before.sort_by_key(|had| stays(had));
    }
    let ids = |had: Vec<&Had>| {
        let mut json = Vec::new();
        let had = had.into_iter().take(MAX_DISTINCT_IDS);
        array(&mut json, had, |out, had| super::json::string(out, &had.id));
        String::from_utf8(json).ok()
    };
    Ok(Some(Detail {
        action: "split",
        field: Some("distinct_ids".to_owned()),
        before: ids(before),
        after: ids(after),
    }))
}

/// Returns the change of a merge: its source and its target.
fn of_merge(view: &View<'_>, of: (PersonId, &Head), source: PersonId) -> Result<Detail, Error> {
    let row = view.snapshot.person_row(view.project, source)?;
    let uuid = row.ok_or_else(Error::internal)?.uuid();
    let person = |id: PersonId, uuid: Uuid| {
        let mut json = Vec::new();
        let mut object = Object::new(&mut json);
        object.number("id", id);
        object.optional("uuid", Some(uuid));
        object.end();
        String::from_utf8(json).ok()
    };
    let (before, after) = (person(source, uuid), person(of.0, of.1.uuid));
    Ok(Detail { action: "merged", field: None, before, after })
}
