//! An operation as a person's timeline stores it.

use strum::VariantArray;
use uuid::Uuid;

use crate::person::{Action, Class, PersonId, PropertyId, Time};

/// One recorded operation as the timeline stores it: everything but the values, which are in the
/// history at the same place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The event's uuid.
    pub uuid: Uuid,
    /// The event time; for a merge that took effect later, it is before the time of the place.
    pub event_time: Time,
    /// When it was learned.
    pub known: Time,
    /// The event's name.
    pub event: String,
    /// The event's distinct id; empty for a command, which names none.
    pub distinct_id: String,
    /// The label of the API key that wrote the command; `None` for an event.
    pub author: Option<String>,
    /// The person that it merged into this one.
    pub merged: Option<PersonId>,
    /// How many distinct ids it split off.
    pub split: Option<u32>,
    /// Which properties it changed, and how.
    pub effects: Vec<(PropertyId, Effect)>,
}

/// How an operation changed a property. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray)]
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
    pub const ALL: &[Self] = Self::VARIANTS;

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
