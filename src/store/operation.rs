//! Rows that belong to the store and not to the model.

use uuid::Uuid;

use crate::person::{Action, Class, PersonId, PropertyId, Time};

/// One recorded operation as the timeline keeps it: everything but the values, which stand in
/// the history at the same place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The event's uuid.
    pub uuid: Uuid,
    /// The event time; of a merge that took effect later it is before the place's time.
    pub event_time: Time,
    /// When it was learned.
    pub known: Time,
    /// The event's name.
    pub event: String,
    /// The event's distinct id.
    pub distinct_id: String,
    /// The person that it merged into this one.
    pub merged: Option<PersonId>,
    /// Which properties it changed, and how.
    pub effects: Vec<(PropertyId, Effect)>,
}

/// How an operation changed a property. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Effect {
    /// `$set`.
    Set = 0,
    /// `$set_once`.
    Once = 1,
    /// `$unset`.
    Unset = 2,
    /// `$set` and `$unset`.
    SetUnset = 3,
    /// `$set_once` and `$unset`.
    OnceUnset = 4,
}

impl Effect {
    /// Every effect, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Set, Self::Once, Self::Unset, Self::SetUnset, Self::OnceUnset];

    /// The class of the row that holds its value.
    #[must_use]
    pub fn class(self) -> Class {
        if self == Self::Once { Class::Once } else { Class::Anchor }
    }
}

impl From<&Action> for Effect {
    fn from(action: &Action) -> Self {
        match action {
            Action::Set(_) => Self::Set,
            Action::Once(_) => Self::Once,
            Action::Unset => Self::Unset,
            Action::SetUnset(_) => Self::SetUnset,
            Action::OnceUnset(_) => Self::OnceUnset,
        }
    }
}

/// A distinct id of a person, in the order in which they joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The distinct id.
    pub distinct_id: String,
    /// The person has it from this event time on.
    pub from: Time,
    /// When that was learned.
    pub known: Time,
    /// From when on it is another person's, and when that was learned.
    pub left: Option<(Time, Time)>,
}

impl Member {
    /// Whether the person had this distinct id at a moment, by what was known at another.
    #[must_use]
    pub fn is_at(&self, time: Time, known: Time) -> bool {
        let gone = self.left.is_some_and(|(until, learned)| until <= time && learned <= known);
        self.from <= time && self.known <= known && !gone
    }
}

/// How far a partition was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The first offset that is not applied yet.
    pub next_offset: u64,
    /// The offset of the last record applied.
    pub last_offset: u64,
    /// Kafka's timestamp of that record.
    pub last_timestamp: Time,
    /// A hash of that record's value: with offset and timestamp it tells whether a topic is
    /// still the one that was read.
    pub last_hash: u64,
}
