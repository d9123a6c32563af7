//! Why a record cannot be used, and what was odd about one that can.

use crate::person::json::MAX_DEPTH;

/// Why a record cannot be used.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr, strum::VariantNames,
)]
#[strum(serialize_all = "snake_case")]
pub enum Rejection {
    /// No project has this token: dropped and counted, not a dead letter.
    #[error("no project has the record's token")]
    UnknownToken,
    /// The record has no value.
    #[error("the value is empty")]
    EmptyValue,
    /// The value is no JSON in UTF-8.
    #[error("the value is not JSON")]
    NotJson,
    /// `data` holds no JSON.
    #[error("`data` is not JSON")]
    DataNotJson,
    /// A field is not an object where one is due.
    #[error("`{0}` is not an object")]
    WrongType(&'static str),
    /// A wrapped record without uuid.
    #[error("the record has no uuid")]
    MissingUuid,
    /// The uuid is none.
    #[error("the record's uuid is not a UUID")]
    InvalidUuid,
    /// Neither the value nor the headers name a distinct id.
    #[error("the record has no distinct id")]
    MissingDistinctId,
    /// More levels of nesting than are read.
    #[error("the value nests deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// `$anon_distinct_id` is an array or object.
    #[error("`$anon_distinct_id` is no text")]
    InvalidAnonDistinctId,
    /// `alias` is an array or object.
    #[error("`alias` is no text")]
    InvalidAlias,
    /// A record of the command topic that is no command.
    #[error("the record is no command")]
    InvalidCommand,
    /// The operation would make the person's properties too large.
    #[error("the person's properties would be too large")]
    PersonPropertiesSize,
}

impl Rejection {
    /// The name under which it is counted, and the dead letter's `dlq_reason`.
    #[must_use]
    pub fn reason(self) -> &'static str {
        self.into()
    }

    /// Whether the record goes to the dead-letter topic.
    #[must_use]
    pub fn is_dead_letter(self) -> bool {
        self != Self::UnknownToken
    }
}

/// What was odd about a record that is used all the same.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr, strum::VariantNames,
)]
pub enum Warning {
    /// The timestamp could not be read; the time of capture stands in.
    #[strum(serialize = "invalid_event_timestamp")]
    InvalidTimestamp,
    /// A merge of a personless event: dropped.
    #[strum(serialize = "cannot_merge_personless")]
    PersonlessMerge,
    /// A merge with an id that many people share by mistake: an ordinary event.
    #[strum(serialize = "cannot_merge_with_illegal_distinct_id")]
    IllegalDistinctId,
    /// A merge of an id with itself: an ordinary event.
    #[strum(serialize = "cannot_merge_with_itself")]
    SameDistinctId,
    /// A merge of an identified person: refused.
    #[strum(serialize = "cannot_merge_already_identified")]
    AlreadyIdentified,
}

impl Warning {
    /// The name under which it is counted.
    #[must_use]
    pub fn kind(self) -> &'static str {
        self.into()
    }
}
