//! Why a record cannot be used, and what was odd about one that can.

use crate::person::json::MAX_DEPTH;

/// Why a record cannot be used.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr, strum::VariantNames,
)]
#[strum(serialize_all = "snake_case")]
pub enum Rejection {
    /// No project has this token. The record is dropped and counted, but is not a dead letter.
    #[error("no project has the record's token")]
    UnknownToken,
    /// The record has no value, or an empty one.
    #[error("the value is empty")]
    EmptyValue,
    /// The value is not JSON in UTF-8.
    #[error("the value is not JSON")]
    NotJson,
    /// `data` does not contain JSON.
    #[error("`data` is not JSON")]
    DataNotJson,
    /// A field that must be an object is not one.
    #[error("`{0}` is not an object")]
    WrongType(&'static str),
    /// A wrapped record has no uuid.
    #[error("the record has no uuid")]
    MissingUuid,
    /// The uuid is not valid.
    #[error("the record's uuid is not a UUID")]
    InvalidUuid,
    /// Neither the value nor the headers name a distinct id.
    #[error("the record has no distinct id")]
    MissingDistinctId,
    /// The value nests deeper than allowed.
    #[error("the value nests deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// `$anon_distinct_id` is an array or object.
    #[error("`$anon_distinct_id` is not a string")]
    InvalidAnonDistinctId,
    /// `alias` is an array or object.
    #[error("`alias` is not a string")]
    InvalidAlias,
    /// A record of the command topic is not a command.
    #[error("the record is not a command")]
    InvalidCommand,
    /// The operation would make the person's properties too large.
    #[error("the person's properties would be too large")]
    PersonPropertiesSize,
}

impl Rejection {
    /// Returns the name under which it is counted, also used as the dead letter's `dlq_reason`.
    #[must_use]
    pub fn reason(self) -> &'static str {
        self.into()
    }

    /// Returns the field that is wrong, if the reason alone does not say which.
    #[must_use]
    pub fn field(self) -> Option<&'static str> {
        match self {
            Self::WrongType(field) => Some(field),
            _ => None,
        }
    }

    /// Returns whether the record goes to the dead letter topic.
    #[must_use]
    pub fn is_dead_letter(self) -> bool {
        self != Self::UnknownToken
    }
}

/// What was odd about a record that is used nevertheless.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr, strum::VariantNames,
)]
pub enum Warning {
    /// The client's timestamp could not be read; the time of capture is used instead.
    #[strum(serialize = "invalid_event_timestamp")]
    InvalidTimestamp,
    /// A personless event asks for a merge. The merge is dropped.
    #[strum(serialize = "cannot_merge_personless")]
    PersonlessMerge,
    /// A merge with an id that many people share by mistake. The event is applied as an ordinary one.
    #[strum(serialize = "cannot_merge_with_illegal_distinct_id")]
    IllegalDistinctId,
    /// A merge of an id with itself. The event is applied as an ordinary one.
    #[strum(serialize = "cannot_merge_with_itself")]
    SameDistinctId,
    /// A merge of an identified person. The merge is refused.
    #[strum(serialize = "cannot_merge_already_identified")]
    AlreadyIdentified,
}

impl Warning {
    /// Returns the name under which it is counted.
    #[must_use]
    pub fn kind(self) -> &'static str {
        self.into()
    }
}
