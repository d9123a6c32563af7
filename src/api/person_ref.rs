//! How callers refer to a person, or to one of its distinct ids.

use std::fmt;

use uuid::Uuid;

use super::error::Error;
use crate::person::{PersonId, identity};

/// A reference to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PersonRef {
    /// By the integer id.
    Id(PersonId),
    /// By the uuid.
    Uuid(Uuid),
}

/// Gives the same text for the same reference, however the caller wrote it.
impl fmt::Display for PersonRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Uuid(uuid) => uuid.fmt(f),
        }
    }
}

impl PersonRef {
    /// Parses the value of the parameter `attr`.
    pub fn parse(text: &str, attr: &str) -> Result<Self, Error> {
        // A uuid without hyphens may consist of digits alone, but no integer id is that long.
        if matches!(text.len(), 32 | 36)
            && let Ok(uuid) = Uuid::try_parse(text)
        {
            return Ok(Self::Uuid(uuid));
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // An id that does not fit belongs to no person, and neither does `PersonId::MAX`.
            return Ok(Self::Id(text.parse().unwrap_or(PersonId::MAX)));
        }
        let detail = "The ID provided does not look like a personID. If you are using a \
                      distinctId, please use /persons?distinct_id=<id> instead.";
        Err(Error::invalid(attr, detail))
    }
}

/// Normalizes a distinct id as ingestion does, so that the id of an event finds its person.
pub fn distinct_id(text: String) -> String {
    identity::cut(if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_called_by_integer_or_uuid() {
        let uuid = Uuid::from_u128(0x6931_a681_6e90_500d_8294_1458_2dcc_2e3f);
        for (text, expected) in [
            ("17", PersonRef::Id(17)),
            ("99999999999999999999", PersonRef::Id(u64::MAX)),
            ("6931a681-6e90-500d-8294-14582dcc2e3f", PersonRef::Uuid(uuid)),
            ("6931A681-6E90-500D-8294-14582DCC2E3F", PersonRef::Uuid(uuid)),
            ("6931a6816e90500d829414582dcc2e3f", PersonRef::Uuid(uuid)),
        ] {
            assert_eq!(PersonRef::parse(text, "id").unwrap(), expected, "{text}");
        }
        for text in ["", "-1", "+1", "user-1", "{6931a6816e90500d829414582dcc2e}"] {
            assert!(PersonRef::parse(text, "id").is_err(), "{text}");
        }
    }
}
