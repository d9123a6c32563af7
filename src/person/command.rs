//! Commands: what the API writes. They have a topic of their own, so that the log stays the only source of
//! truth and no client of a capture endpoint can forge one.
//!
//! ```json
//! {"command": "split", "uuid": "…", "project": 1, "person": "…", "distinct_ids": ["a"],
//!  "other_uuids": ["…"], "author": "dashboard", "idempotency_key": "…", "now": "2026-03-01T12:00:00Z",
//!  "seen": [{"topic": "events_plugin_ingestion", "partition": 0, "next_offset": 7}]}
//! ```

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::event::Rejection;
use super::event::clock::Clock;
use super::{Action, ProjectId, Record, Time, Update, Value, json};

/// One write made through the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Identifies it in the timeline.
    pub uuid: Uuid,
    /// The project.
    pub project: ProjectId,
    /// A command with the same key as one of the past day is not applied again.
    pub idempotency_key: String,
    /// The label of the API key that wrote it.
    pub author: String,
    /// When it was written.
    pub known: Time,
    /// The positions that its author had seen applied; it is not applied before they are.
    pub seen: Vec<Seen>,
    /// Uuids that the person may have instead if the log is read in another order: those derived
    /// from its other distinct ids.
    pub other_uuids: Vec<Uuid>,
    /// What it does.
    pub act: Act,
}

/// How far a partition was applied when a command was written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The first offset that was not applied.
    pub next_offset: u64,
}

/// What a command does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Sets properties of a person.
    Set(Uuid, BTreeMap<String, Value>),
    /// Removes properties of a person.
    Unset(Uuid, BTreeSet<String>),
    /// Deletes a person and everything that is known of it.
    Delete(Uuid),
    /// Moves distinct ids of a person to separate persons.
    Split(Uuid, Leaving),
    /// Stops dropping the events of a distinct id whose person was deleted.
    Reset(String),
}

impl Act {
    /// Returns the uuid of the person that it is about; `None` if it is about a distinct id.
    #[must_use]
    pub fn person(&self) -> Option<Uuid> {
        match self {
            Self::Set(uuid, _)
            | Self::Unset(uuid, _)
            | Self::Delete(uuid)
            | Self::Split(uuid, _) => Some(*uuid),
            Self::Reset(_) => None,
        }
    }

    /// Returns what it does to properties.
    #[must_use]
    pub fn updates(&self) -> Vec<Update> {
        let update = |name: &String, action| Update {
            name: Cow::Owned(name.clone()),
            action,
            promoted: false,
        };
        match self {
            Self::Set(_, properties) => {
                let set = properties.iter();
                set.map(|(name, value)| update(name, Action::Set(value.clone()))).collect()
            }
            Self::Unset(_, keys) => keys.iter().map(|name| update(name, Action::Unset)).collect(),
            Self::Delete(_) | Self::Split(..) | Self::Reset(_) => Vec::new(),
        }
    }
}

/// Which distinct ids a split takes from a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// The listed ones.
    These(Vec<String>),
    /// All but this one, or with `None` all but the first.
    AllBut(Option<String>),
}

/// The JSON form of a command.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a> {
    command: Kind,
    uuid: Uuid,
    project: ProjectId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    person: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    other_uuids: Vec<Uuid>,
    #[serde(default, borrow, skip_serializing_if = "BTreeMap::is_empty")]
    properties: BTreeMap<String, &'a RawValue>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    keys: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    distinct_ids: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    distinct_id: Option<String>,
    author: String,
    idempotency_key: String,
    now: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    seen: Vec<Seen>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Set,
    Unset,
    Delete,
    Split,
    Reset,
}

impl Command {
    /// Reads a record of the command topic.
    ///
    /// # Errors
    /// [`Rejection::EmptyValue`] if it has no value, [`Rejection::InvalidCommand`] if that is not a command.
    pub fn parse(record: &Record) -> Result<Self, Rejection> {
        let bytes = record.value.as_deref().ok_or(Rejection::EmptyValue)?;
        let text = std::str::from_utf8(bytes).map_err(|_| Rejection::InvalidCommand)?;
        let (text, _) = json::repaired(text);
        if json::is_too_deep(&text) {
            return Err(Rejection::InvalidCommand);
        }
        let wire: Wire = serde_json::from_str(&text).map_err(|_| Rejection::InvalidCommand)?;
        let now = Time::parse(&wire.now).ok_or(Rejection::InvalidCommand)?;
        let known = Clock { now: Some(now), kafka: record.timestamp, ..Clock::default() };
        Ok(Self {
            uuid: wire.uuid,
            project: wire.project,
            idempotency_key: wire.idempotency_key.clone(),
            author: wire.author.clone(),
            known: known.known_time(),
            seen: wire.seen.clone(),
            other_uuids: wire.other_uuids.clone(),
            act: wire.act().ok_or(Rejection::InvalidCommand)?,
        })
    }

    /// Returns whether its JSON nests deeper than [`Command::parse`] accepts.
    #[must_use]
    pub fn is_too_deep(&self) -> bool {
        json::is_too_deep(&self.to_json())
    }

    /// Returns the JSON text that [`Command::parse`] reads.
    ///
    /// # Panics
    /// Never: texts, numbers and property values can always be written as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut wire = Wire {
            command: Kind::Reset,
            uuid: self.uuid,
            project: self.project,
            person: self.act.person(),
            other_uuids: self.other_uuids.clone(),
            properties: BTreeMap::new(),
            keys: BTreeSet::new(),
            distinct_ids: None,
            distinct_id: None,
            author: self.author.clone(),
            idempotency_key: self.idempotency_key.clone(),
            now: self.known.to_string(),
            seen: self.seen.clone(),
        };
        match &self.act {
            Act::Set(_, properties) => {
                wire.command = Kind::Set;
                let raw = properties.iter().map(|(name, value)| {
                    Ok((name.clone(), serde_json::from_str(value.as_json())?))
                });
                let raw: serde_json::Result<_> = raw.collect();
                wire.properties = raw.expect("values are JSON");
            }
            Act::Unset(_, keys) => {
                (wire.command, wire.keys) = (Kind::Unset, keys.clone());
            }
            Act::Delete(_) => wire.command = Kind::Delete,
            Act::Split(_, leaving) => {
                wire.command = Kind::Split;
                match leaving.clone() {
                    Leaving::These(these) => wire.distinct_ids = Some(these),
                    Leaving::AllBut(main) => wire.distinct_id = main,
                }
            }
            Act::Reset(distinct_id) => wire.distinct_id = Some(distinct_id.clone()),
        }
        serde_json::to_string(&wire).expect("texts and numbers are JSON")
    }

    /// Returns the event name of its operation in a timeline.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match &self.act {
            Act::Set(..) => "$set",
            Act::Unset(..) => "$unset",
            Act::Delete(_) => "$delete_person",
            Act::Split(..) => "$split_person",
            Act::Reset(_) => "$reset_person_distinct_id",
        }
    }
}

impl Wire<'_> {
    /// Returns what the command does; `None` if a required field is missing.
    fn act(self) -> Option<Act> {
        Some(match self.command {
            Kind::Set => {
                let set = self.properties.into_iter();
                let set = set.map(|(key, value)| (key, Value::from_json(value.get())));
                Act::Set(self.person?, set.collect())
            }
            Kind::Unset => Act::Unset(self.person?, self.keys),
            Kind::Delete => Act::Delete(self.person?),
            Kind::Split => {
                let leaving = match self.distinct_ids {
                    Some(these) => Leaving::These(these),
                    None => Leaving::AllBut(self.distinct_id),
                };
                Act::Split(self.person?, leaving)
            }
            Kind::Reset => Act::Reset(self.distinct_id?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Command, Rejection> {
        let timestamp = Time::parse("2026-03-01T12:00:00Z").unwrap();
        Command::parse(&Record { value: Some(json.into()), timestamp, ..Record::default() })
    }

    fn command(rest: &str) -> Result<Command, Rejection> {
        parse(&format!(
            r#"{{"uuid": "932979b4-65c3-4424-8467-0b66ec27bc22", "project": 1, "author": "me",
                "idempotency_key": "k", "now": "2026-03-01T11:00:00Z", {rest}}}"#
        ))
    }

    #[test]
    fn each_kind_is_understood() {
        let person = "\"person\": \"932979b4-65c3-4424-8467-0b66ec27bc22\"";
        let act = |rest: &str| command(&format!("{person}, {rest}")).unwrap().act;
        let uuid = super::super::identity::NAMESPACE;
        let set = act(r#""command": "set", "properties": {"a": 1.50, "b": null}"#).updates();
        assert_eq!(set[0].action, Action::Set(Value::from_json("1.50")));
        assert_eq!(set[1].action, Action::Set(Value::from_json("null")));
        let unset = act(r#""command": "unset", "keys": ["b", "a", "b"]"#);
        assert_eq!(unset, Act::Unset(uuid, ["a".to_owned(), "b".to_owned()].into()));
        assert_eq!(act(r#""command": "delete""#), Act::Delete(uuid));
        let these = Leaving::These(vec!["a".to_owned()]);
        assert_eq!(act(r#""command": "split", "distinct_ids": ["a"]"#), Act::Split(uuid, these));
        assert_eq!(
            act(r#""command": "split", "distinct_id": "a""#),
            Act::Split(uuid, Leaving::AllBut(Some("a".to_owned())))
        );
        let reset = command(r#""command": "reset", "distinct_id": "a""#).unwrap();
        assert_eq!(reset.act, Act::Reset("a".to_owned()));
        assert_eq!(Some(reset.known), Time::parse("2026-03-01T11:00:00Z"));
    }

    #[test]
    fn commands_read_back() {
        let person = Uuid::from_u128(7);
        let set = |name: &str, json| (name.to_owned(), Value::from_json(json));
        let seen = Seen { topic: "events".to_owned(), partition: 3, next_offset: u64::MAX };
        for act in [
            Act::Set(person, [set("a\"", "1.50"), set("b", "null")].into()),
            Act::Set(person, BTreeMap::new()),
            Act::Unset(person, [String::new(), "b".to_owned()].into()),
            Act::Unset(person, BTreeSet::new()),
            Act::Delete(person),
            Act::Split(person, Leaving::These(vec!["a".to_owned(), "ü".to_owned()])),
            Act::Split(person, Leaving::AllBut(None)),
            Act::Split(person, Leaving::AllBut(Some("x".to_owned()))),
            Act::Reset("x".to_owned()),
        ] {
            let written = Command {
                uuid: Uuid::from_u128(1),
                project: 2,
                idempotency_key: "k".to_owned(),
                author: "me".to_owned(),
                known: Time::parse("2026-03-01T11:00:00.000001Z").unwrap(),
                seen: vec![seen.clone()],
                other_uuids: vec![Uuid::from_u128(8)],
                act,
            };
            assert_eq!(parse(&written.to_json()), Ok(written));
        }
    }

    #[test]
    fn an_invalid_command_is_refused() {
        for rest in [
            r#""command": "delete""#,
            r#""command": "reset""#,
            r#""command": "drop", "distinct_id": "a""#,
            r#""command": "reset", "distinct_id": "a", "persn": 1"#,
        ] {
            assert_eq!(command(rest), Err(Rejection::InvalidCommand), "{rest}");
        }
        assert_eq!(parse("{"), Err(Rejection::InvalidCommand));
    }
}
