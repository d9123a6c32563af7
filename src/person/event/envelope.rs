//! The fields of a record and of the event in it, each as the JSON text that stands there.

use std::borrow::Cow;

use super::Rejection;
use crate::person::json::{self, Fault};
use crate::person::promotion::{self, Promoted};

/// The fields of the wrapper, or of the event itself; `null` is as absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Envelope<'a> {
    pub uuid: Option<&'a str>,
    pub distinct_id: Option<&'a str>,
    pub dollar_distinct_id: Option<&'a str>,
    token: Option<&'a str>,
    api_key: Option<&'a str>,
    pub data: Option<&'a str>,
    pub now: Option<&'a str>,
    pub sent_at: Option<&'a str>,
    pub event: Option<&'a str>,
    pub timestamp: Option<&'a str>,
    pub offset: Option<&'a str>,
    pub properties: Option<&'a str>,
    pub set: Option<&'a str>,
    pub set_once: Option<&'a str>,
}

impl<'a> Envelope<'a> {
    /// Reads an object; `not_json` is the rejection of a text that is no JSON.
    pub fn read(text: &'a str, not_json: Rejection) -> Result<Self, Rejection> {
        let mut read = Self::default();
        let fields = json::fields(text, |key, raw| {
            let slot = match key.as_ref() {
                "uuid" => &mut read.uuid,
                "distinct_id" => &mut read.distinct_id,
                "$distinct_id" => &mut read.dollar_distinct_id,
                "token" => &mut read.token,
                "api_key" => &mut read.api_key,
                "data" => &mut read.data,
                "now" => &mut read.now,
                "sent_at" => &mut read.sent_at,
                "event" => &mut read.event,
                "timestamp" => &mut read.timestamp,
                "offset" => &mut read.offset,
                "properties" => &mut read.properties,
                "$set" => &mut read.set,
                "$set_once" => &mut read.set_once,
                _ => return,
            };
            *slot = (raw != "null").then_some(raw);
        });
        match fields {
            Ok(()) => Ok(read),
            Err(Fault::Syntax) => Err(not_json),
            Err(Fault::NoObject) if not_json == Rejection::NotJson => {
                Err(Rejection::WrongType("value"))
            }
            Err(Fault::NoObject) => Err(Rejection::WrongType("data")),
        }
    }

    /// The token, not blank.
    pub fn token(&self) -> Option<Cow<'a, str>> {
        let usable = |raw: &'a str| json::text(raw).filter(|token| !token.trim().is_empty());
        self.token.and_then(usable).or_else(|| self.api_key.and_then(usable))
    }

    /// A record that is the event itself: its own timestamp is the client's, not yet normalised.
    pub fn flat(self) -> (Self, Self) {
        (Self { timestamp: None, ..self }, self)
    }
}

/// Those of the event's properties that mean something here.
#[derive(Clone, Debug, Default)]
pub struct Properties<'a> {
    pub token: Option<&'a str>,
    pub distinct_id: Option<&'a str>,
    pub set: Option<&'a str>,
    pub set_once: Option<&'a str>,
    unset: Option<&'a str>,
    pub process_person_profile: Option<&'a str>,
    pub anon_distinct_id: Option<&'a str>,
    pub alias: Option<&'a str>,
    pub is_server: Option<&'a str>,
    pub ignore_sent_at: Option<&'a str>,
    pub promoted: Vec<(Promoted, &'a str)>,
}

impl<'a> Properties<'a> {
    /// Reads the event's `properties`.
    pub fn read(text: &'a str) -> Result<Self, Rejection> {
        let mut read = Self::default();
        let fields = json::fields(text, |key, raw| {
            let slot = match key.as_ref() {
                "token" => &mut read.token,
                "distinct_id" => &mut read.distinct_id,
                "$set" => &mut read.set,
                "$set_once" => &mut read.set_once,
                "$unset" => &mut read.unset,
                "$process_person_profile" => &mut read.process_person_profile,
                "$anon_distinct_id" => &mut read.anon_distinct_id,
                "alias" => &mut read.alias,
                "$is_server" => &mut read.is_server,
                "$ignore_sent_at" => &mut read.ignore_sent_at,
                name => {
                    read.promoted.extend(promotion::promoted(name).map(|names| (names, raw)));
                    return;
                }
            };
            *slot = (raw != "null").then_some(raw);
        });
        fields.map_err(|_| Rejection::WrongType("properties"))?;
        // Of a key given twice the last one counts, and promotion keeps the first it is given.
        read.promoted.reverse();
        Ok(read)
    }

    /// The keys of `$unset`: the strings of an array, or the keys of an object.
    pub fn unset_keys(&self) -> Vec<String> {
        let Some(raw) = self.unset else {
            return Vec::new();
        };
        let mut keys = Vec::new();
        if json::fields(raw, |key, _| keys.push(key.into_owned())).is_ok() {
            return keys;
        }
        let entries: Vec<serde_json::Value> = serde_json::from_str(raw).unwrap_or_default();
        let strings = entries.into_iter().filter_map(|entry| match entry {
            serde_json::Value::String(key) => Some(key),
            _ => None,
        });
        strings.collect()
    }
}
