//! The fields of a record and of the event in it, each as its JSON text.

use std::borrow::Cow;

use serde::de::{IgnoredAny, MapAccess};

use super::Rejection;
use crate::person::json::{self, Fault, Fill};
use crate::person::promotion::{self, Promoted};

/// The fields of the wrapper, or of the event itself. `null` counts as absent.
#[derive(Clone, Debug, Default)]
pub struct Envelope<'a> {
    pub uuid: Option<&'a str>,
    pub distinct_id: Option<&'a str>,
    pub dollar_distinct_id: Option<&'a str>,
    token: Option<&'a str>,
    api_key: Option<&'a str>,
    /// The event in the wrapper, as the SDK sent it: a string that contains JSON, or the object itself.
    pub data: Option<Result<Cow<'a, str>, Rejection>>,
    pub now: Option<&'a str>,
    pub sent_at: Option<&'a str>,
    pub event: Option<&'a str>,
    pub timestamp: Option<&'a str>,
    pub offset: Option<&'a str>,
    pub properties: Option<Result<Properties<'a>, Rejection>>,
    pub set: Option<&'a str>,
    pub set_once: Option<&'a str>,
}

impl<'a> Fill<'a> for Envelope<'a> {
    fn field<V: MapAccess<'a>>(
        &mut self,
        key: Cow<'a, str>,
        values: &mut V,
    ) -> Result<(), V::Error> {
        match key.as_ref() {
            "data" => self.data = json::next_string(values)?.map(Ok),
            "properties" => self.properties = json::next_object(values)?.map(Ok),
            key => match self.slot(key) {
                Some(slot) => *slot = json::given(json::next_raw(values)?),
                None => _ = values.next_value::<IgnoredAny>()?,
            },
        }
        Ok(())
    }
}

impl<'a> Envelope<'a> {
    /// Parses an object. Any other text is rejected with `not_json` or `no_object`.
    pub fn read(
        text: &'a str,
        not_json: Rejection,
        no_object: Rejection,
    ) -> Result<Self, Rejection> {
        let mut read = Self::default();
        match json::fill(text, &mut read) {
            Ok(()) => Ok(read),
            // It is not an object, or a field in it does not have its usual type.
            Err(_) => Self::read_apart(text).map_err(|fault| match fault {
                Fault::Syntax => not_json,
                Fault::NoObject => no_object,
            }),
        }
    }

    /// Parses an object field by field, so that the fault of each field is known.
    fn read_apart(text: &'a str) -> Result<Self, Fault> {
        let mut read = Self::default();
        json::fields(text, |key, raw| {
            let raw = json::given(raw);
            match key.as_ref() {
                "data" => read.data = raw.map(data_text),
                "properties" => read.properties = raw.map(Properties::read),
                key => read.slot(key).into_iter().for_each(|slot| *slot = raw),
            }
        })?;
        Ok(read)
    }

    fn slot(&mut self, key: &str) -> Option<&mut Option<&'a str>> {
        Some(match key {
            "uuid" => &mut self.uuid,
            "distinct_id" => &mut self.distinct_id,
            "$distinct_id" => &mut self.dollar_distinct_id,
            "token" => &mut self.token,
            "api_key" => &mut self.api_key,
            "now" => &mut self.now,
            "sent_at" => &mut self.sent_at,
            "event" => &mut self.event,
            "timestamp" => &mut self.timestamp,
            "offset" => &mut self.offset,
            "$set" => &mut self.set,
            "$set_once" => &mut self.set_once,
            _ => return None,
        })
    }

    /// Returns the token, unless it is missing or blank.
    pub fn token(&self) -> Option<Cow<'a, str>> {
        self.token.and_then(json::filled).or_else(|| self.api_key.and_then(json::filled))
    }

    /// Splits a record that is the event itself. Its timestamp is the client's, not
    /// one normalised by capture.
    pub fn flat(mut self) -> (Self, Self) {
        let properties = self.properties.take();
        (Self { timestamp: None, ..self.clone() }, Self { properties, ..self })
    }
}

fn data_text(raw: &str) -> Result<Cow<'_, str>, Rejection> {
    match raw.as_bytes().first() {
        Some(b'{') => Ok(Cow::Borrowed(raw)),
        Some(b'"') => json::string(raw).ok_or(Rejection::DataNotJson),
        _ => Err(Rejection::WrongType("data")),
    }
}

/// The properties of the event that have a meaning here.
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
    /// In their original order.
    pub promoted: Vec<(Promoted, &'a str)>,
}

impl<'a> Fill<'a> for Properties<'a> {
    fn field<V: MapAccess<'a>>(
        &mut self,
        key: Cow<'a, str>,
        values: &mut V,
    ) -> Result<(), V::Error> {
        let slot = match key.as_ref() {
            "token" => &mut self.token,
            "distinct_id" => &mut self.distinct_id,
            "$set" => &mut self.set,
            "$set_once" => &mut self.set_once,
            "$unset" => &mut self.unset,
            "$process_person_profile" => &mut self.process_person_profile,
            "$anon_distinct_id" => &mut self.anon_distinct_id,
            "alias" => &mut self.alias,
            "$is_server" => &mut self.is_server,
            "$ignore_sent_at" => &mut self.ignore_sent_at,
            name => {
                match promotion::promoted(name) {
                    Some(names) => self.promoted.push((names, json::next_raw(values)?)),
                    None => _ = values.next_value::<IgnoredAny>()?,
                }
                return Ok(());
            }
        };
        *slot = json::given(json::next_raw(values)?);
        Ok(())
    }
}

impl<'a> Properties<'a> {
    /// Parses the event's `properties`.
    fn read(text: &'a str) -> Result<Self, Rejection> {
        let mut read = Self::default();
        json::fill(text, &mut read).map_err(|_| Rejection::WrongType("properties"))?;
        Ok(read)
    }

    /// Returns the keys of `$unset`: the strings of an array, or the keys of an object.
    pub fn unset_keys(&self) -> Vec<String> {
        let Some(raw) = self.unset else {
            return Vec::new();
        };
        let mut keys = Vec::new();
        if json::fields(raw, |key, _| keys.push(key.into_owned())).is_ok() {
            return keys;
        }
        let entries = json::elements(raw).unwrap_or_default().into_iter();
        entries.filter_map(json::string).map(Cow::into_owned).collect()
    }
}
