//! Parses capture records: [`Event::parse`] is the only entry point.

pub(crate) mod clock;
mod envelope;
mod rejection;

use std::borrow::Cow;
use std::cell::LazyCell;
use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use self::clock::Timestamp;
use self::envelope::{Envelope, Properties};
pub use self::rejection::{Rejection, Warning};
use super::identity::{self, MergeRequest};
use super::operation::{Draft, Update};
use super::{ProjectId, Record, Time, Value, json, promotion};

/// The parts of the configuration that parsing needs.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Whether well-known event properties become properties of the person.
    pub promote: bool,
    /// The project of every token.
    pub projects: HashMap<String, ProjectId>,
}

/// A parsed capture event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The project that its token names.
    pub project: ProjectId,
    /// The distinct id, not blank and at most 200 characters.
    pub distinct_id: String,
    /// The event's name; empty if it has none.
    pub name: String,
    /// The event's uuid.
    pub uuid: Uuid,
    /// When it happened; never later than `known_time`.
    pub event_time: Time,
    /// When it was learned.
    pub known_time: Time,
    /// Whether it neither creates nor changes a person.
    pub personless: bool,
    /// The merge that it asks for, if that passed the guards.
    pub merge: Option<MergeRequest>,
    /// What it does to properties, one update per key.
    pub updates: Vec<Update>,
    /// What was odd about it without making it unusable.
    pub warnings: Vec<Warning>,
}

impl Event {
    /// Parses a capture record: an event in a wrapper, or the event itself.
    ///
    /// # Errors
    /// [`Rejection`] if it cannot be used, with the reason.
    pub fn parse(record: &Record, rules: &Rules) -> Result<Self, Rejection> {
        let bytes = record.value.as_deref().unwrap_or_default();
        if bytes.is_empty() {
            return Err(Rejection::EmptyValue);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Rejection::NotJson)?;
        let (text, outer_nul) = json::repaired(text);
        if json::is_too_deep(&text) {
            return Err(Rejection::TooDeep);
        }
        let mut outer = Envelope::read(&text, Rejection::NotJson, Rejection::WrongType("value"))?;
        // The token is checked before all other fields: their faults do not matter in a
        // record for an unknown project.
        let project = |token: Cow<str>| {
            rules.projects.get(token.as_ref()).copied().ok_or(Rejection::UnknownToken)
        };
        let known_project = outer.token().map(&project).transpose()?;
        let data = outer.data.take().transpose()?;
        let (data, inner_nul) = match &data {
            Some(data) => {
                let (data, had_nul) = json::repaired(data);
                (Some(data), had_nul)
            }
            None => (None, false),
        };
        if data.as_deref().is_some_and(json::is_too_deep) {
            return Err(Rejection::TooDeep);
        }
        let (outer, mut inner) = match &data {
            Some(data) => {
                let no_object = Rejection::WrongType("data");
                (outer, Envelope::read(data, Rejection::DataNotJson, no_object)?)
            }
            None => outer.flat(),
        };
        let properties = inner.properties.take().transpose()?.unwrap_or_default();
        let token = inner.token().or_else(|| record.header("token").map(Cow::from));
        let project = match known_project {
            Some(project) => project,
            None => token
                .or_else(|| properties.token.and_then(json::text))
                .ok_or(Rejection::UnknownToken)
                .and_then(project)?,
        };
        let is_wrapped = data.is_some();
        let (outer, inner, properties) = (&outer, &inner, &properties);
        let text = data.as_deref().unwrap_or(&text);
        let parts = Parts { record, is_wrapped, text, outer, inner, properties };
        parts.event(project, rules, outer_nul || inner_nul)
    }
}

/// All parts of a record, extracted but not yet validated.
struct Parts<'a> {
    record: &'a Record,
    is_wrapped: bool,
    /// The JSON text that contains the event.
    text: &'a str,
    outer: &'a Envelope<'a>,
    inner: &'a Envelope<'a>,
    properties: &'a Properties<'a>,
}

impl Parts<'_> {
    fn event(&self, project: ProjectId, rules: &Rules, had_nul: bool) -> Result<Event, Rejection> {
        let uuid = self.uuid()?;
        let full_id = self.distinct_id().ok_or(Rejection::MissingDistinctId)?;
        let name = self.name();
        let mut warnings = Vec::new();
        let (event_time, known_time) = self.times(&mut warnings);
        let forced = self.record.header("force_disable_person_processing") == Some("true");
        let personless = forced || self.properties.process_person_profile == Some("false");
        let merge = match self.other_id(&name)? {
            Some(_) if personless => {
                warnings.push(Warning::PersonlessMerge);
                None
            }
            Some(other) => {
                let merge = self.merge(&name, &full_id, &other, had_nul);
                merge.map_err(|warning| warnings.push(warning)).ok()
            }
            None => None,
        };
        let updates = self.updates(&name, rules)?;
        Ok(Event {
            project,
            distinct_id: identity::cut(full_id),
            name,
            uuid,
            event_time,
            known_time,
            personless,
            merge,
            updates: if personless { Vec::new() } else { updates },
            warnings,
        })
    }

    fn uuid(&self) -> Result<Uuid, Rejection> {
        if let Some(raw) = self.outer.uuid {
            let text = json::string(raw).ok_or(Rejection::InvalidUuid)?;
            if !text.trim().is_empty() {
                return Uuid::parse_str(text.trim()).map_err(|_| Rejection::InvalidUuid);
            }
        }
        if let Some(uuid) = self.record.header("uuid").and_then(|text| Uuid::parse_str(text).ok()) {
            return Ok(uuid);
        }
        if self.is_wrapped {
            return Err(Rejection::MissingUuid);
        }
        let Record { topic, position, .. } = self.record;
        Ok(identity::origin_uuid(topic, position.partition, position.offset))
    }

    fn distinct_id(&self) -> Option<String> {
        let of = |raw: Option<&'_ str>| raw.and_then(json::filled).map(Cow::into_owned);
        let header = || self.header("distinct_id");
        of(self.outer.distinct_id)
            .or_else(|| of(self.inner.distinct_id))
            .or_else(|| of(self.inner.dollar_distinct_id))
            .or_else(header)
            .or_else(|| of(self.properties.distinct_id))
    }

    fn name(&self) -> String {
        let outer = self.outer.event.and_then(json::filled);
        let name = outer.or_else(|| self.inner.event.and_then(json::filled));
        let name = name.map(Cow::into_owned).or_else(|| self.header("event"));
        identity::cut(name.unwrap_or_default())
    }

    /// Returns a header that is kept as text.
    fn header(&self, name: &str) -> Option<String> {
        self.record.header(name).map(|text| text.replace('\0', "\u{fffd}"))
    }

    fn times(&self, warnings: &mut Vec<Warning>) -> (Time, Time) {
        let header = |name| self.record.header(name);
        let of = |raw: Option<&str>| raw.and_then(json::string).and_then(|text| Time::parse(&text));
        let clock = clock::Clock {
            now: of(self.outer.now).or_else(|| header("now").and_then(Time::parse)),
            kafka: self.record.timestamp,
            sent_at: of(self.outer.sent_at),
            normalised: of(self.outer.timestamp)
                .or_else(|| header("timestamp").and_then(clock::milliseconds)),
            timestamp: match self.inner.timestamp {
                None => Timestamp::Absent,
                Some(raw) => json::string(raw)
                    .and_then(|text| Time::parse_any(&text))
                    .map_or(Timestamp::Unreadable, Timestamp::At),
            },
            offset_ms: self.inner.offset.and_then(|raw| raw.parse().ok()),
            ignore_sent_at: self.properties.ignore_sent_at == Some("true"),
        };
        let known = clock.known_time();
        let (time, odd) = clock.event_time();
        if odd {
            warnings.push(Warning::InvalidTimestamp);
        }
        (time.min(known), known)
    }

    /// Returns the other id that a merge event names.
    fn other_id(&self, name: &str) -> Result<Option<Cow<'_, str>>, Rejection> {
        let (raw, rejection) = match name {
            "$identify" => (self.properties.anon_distinct_id, Rejection::InvalidAnonDistinctId),
            "$create_alias" | "$merge_dangerously" => {
                (self.properties.alias, Rejection::InvalidAlias)
            }
            _ => return Ok(None),
        };
        match raw {
            Some(raw) if raw.starts_with(['{', '[']) => Err(rejection),
            raw => Ok(raw.and_then(json::text)),
        }
    }

    /// Returns the merge that an event asks for, or why it may not merge.
    fn merge(
        &self,
        name: &str,
        distinct_id: &str,
        other: &str,
        had_nul: bool,
    ) -> Result<MergeRequest, Warning> {
        // NULs were replaced by U+FFFD, so in a record that had one, that character counts as a NUL.
        let had_nul =
            had_nul || self.record.header("distinct_id").is_some_and(|id| id.contains('\0'));
        let illegal = |id: &str| identity::is_illegal(id) || (had_nul && id.contains('\u{fffd}'));
        if illegal(other) || illegal(distinct_id) {
            return Err(Warning::IllegalDistinctId);
        }
        let other = identity::cut(other.to_owned());
        if other == identity::cut(distinct_id.to_owned()) {
            return Err(Warning::SameDistinctId);
        }
        Ok(MergeRequest { other, dangerously: name == "$merge_dangerously" })
    }

    fn updates(&self, name: &str, rules: &Rules) -> Result<Vec<Update>, Rejection> {
        let mut draft = Draft::of(self.properties.promoted.len());
        // The values, some twenty, share one text, so that they take one allocation.
        let whole = LazyCell::new(|| Arc::from(self.text));
        let value = |raw: &str| Value::within(&whole, self.text, raw);
        let values = |raw: Option<&str>, field, put: &mut dyn FnMut(String, Value)| match raw {
            Some(raw) => json::fields(raw, |key, raw| put(key.into_owned(), value(raw)))
                .map_err(|_| Rejection::WrongType(field)),
            None => Ok(()),
        };
        for given in [self.properties.set, self.inner.set] {
            values(given, "$set", &mut |key, value| draft.set(key, value))?;
        }
        for given in [self.properties.set_once, self.inner.set_once] {
            values(given, "$set_once", &mut |key, value| draft.once(key, value))?;
        }
        if matches!(name, "$groupidentify" | "$exception" | "$$heatmap") {
            return Ok(Vec::new());
        }
        for key in self.properties.unset_keys() {
            draft.unset(key);
        }
        if rules.promote {
            self.promote(&mut draft, value);
        }
        Ok(draft.finish())
    }

    fn promote(&self, draft: &mut Draft, value: impl Fn(&str) -> Value) {
        let server = self.properties.is_server == Some("true");
        let mut os_name = None;
        // If a key occurs twice the last one counts, but promotion keeps the first that it is given.
        for (names, raw) in self.properties.promoted.iter().rev() {
            if server && promotion::is_operating_system(names.name.text) {
                continue;
            }
            let value = value(raw);
            if names.name.text == promotion::OS_NAME {
                _ = os_name.get_or_insert(value);
            } else {
                draft.promote(*names, &value);
            }
        }
        if let Some((value, names)) = os_name.zip(promotion::promoted(promotion::OS)) {
            draft.promote(names, &value);
        }
    }
}

#[cfg(test)]
mod tests;
