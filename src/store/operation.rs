//! Rows that belong to the store and not to the model.

use uuid::Uuid;

use crate::person::time::DAY;
use crate::person::{Action, Class, Life, Merged, PersonId, Place, PropertyId, Time};

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
    /// The event's distinct id; empty for a command, which names none.
    pub distinct_id: String,
    /// Of a command the label of the API key that wrote it.
    pub author: Option<String>,
    /// The person that it merged into this one.
    pub merged: Option<PersonId>,
    /// How many distinct ids it split off.
    pub split: Option<u32>,
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

/// What joined a life of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joined {
    /// A distinct id.
    Id(String),
    /// All distinct ids that another life had when it was merged into this one.
    Bundle(Life),
}

/// An entry of a life's list: one id, or the bundle of all ids of another life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What joined.
    pub joined: Joined,
    /// The person has it from this event time on.
    pub from: Time,
    /// When that was learned.
    pub known: Time,
    /// From when on it is another person's, where it did not leave with all the others.
    pub left: Option<Time>,
}

/// How a life began and ended, where that was not by a first event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LifeSpan {
    /// The split by which the person lives on, and when that was learned.
    pub lives_on: Option<(Place, Time)>,
    /// The merge that ended it.
    pub merged: Option<Merged>,
    /// Where it stands in its group.
    pub group: Group,
}

/// Lives that merges have made one, as a tree: of two groups that become one the smaller hangs
/// under the top of the larger, so that no life is deep, however long a chain the merges are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// How many lives are below.
    pub lives: u32,
    /// How often the group moved while this life was its top: each move has a row.
    pub moves: u32,
    /// What the life hangs under.
    pub above: Option<Above>,
}

/// What a life hangs under, from when on, and how it came there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Above {
    /// The top of the other group.
    pub life: Life,
    /// From this event time on.
    pub from: Time,
    /// How often the other group had moved: what it did later is what this life did as well.
    pub after: u32,
    /// The merge by which the group moved; `None` where the other group came to this one.
    pub merged: Option<Merged>,
}

/// What became of a command. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum CommandOutcome {
    /// It was done, be it that nothing had to change.
    Done = 0,
    /// Nobody is called what it names.
    NotFound = 1,
    /// The properties would have become too large.
    TooLarge = 2,
    /// A split that would leave the person without a distinct id, or names none of its own.
    NothingToSplit = 3,
    /// A split of distinct ids that went through too many merges together.
    TooManyMerges = 4,
}

impl CommandOutcome {
    /// Every outcome, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Done, Self::NotFound, Self::TooLarge, Self::NothingToSplit, Self::TooManyMerges];

    /// The name under which it is counted.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::NotFound => "not_found",
            Self::TooLarge => "too_large",
            Self::NothingToSplit => "nothing_to_split",
            Self::TooManyMerges => "too_many_merges",
        }
    }
}

/// What became of a command, and when that was known: its idempotency key counts for a day from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// What became of it.
    pub outcome: CommandOutcome,
    /// When the command was known.
    pub known: Time,
}

impl Remembered {
    /// Whether a command of `now` with the same key is the same one.
    #[must_use]
    pub fn is_remembered(&self, now: Time) -> bool {
        self.known > now.plus(-DAY)
    }
}

/// How recent a person is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recency {
    /// Its newest event time, floored to the hour; `None` where no event showed it, or of one that
    /// was deleted.
    pub seen: Option<Time>,
    /// The number of its last change. Every record that changes a person takes the next number of
    /// the project for it, from 1 on.
    pub change: u64,
}

/// What was done to a person, as the activity log keeps it: without any value, so that it may
/// outlive the person. The values stand in the person's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// The person.
    pub person: PersonId,
    /// What was done.
    pub deed: Deed,
    /// Where its operation stands in the person's timeline.
    pub place: Place,
    /// When it was learned.
    pub known: Time,
    /// The label of the API key that did it; `None` where an event did.
    pub author: Option<String>,
}

impl Activity {
    /// In whose logs it stands: the person's, and that of one that was merged into it.
    pub fn persons(&self) -> impl Iterator<Item = PersonId> + use<> {
        let source = match self.deed {
            Deed::Merged(source) => Some(source),
            _ => None,
        };
        source.into_iter().chain([self.person])
    }
}

/// What was done to a person. The numbers of the codec are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Properties were set.
    Updated,
    /// Properties were taken away.
    PropertiesDeleted,
    /// Distinct ids were given to persons of their own.
    Split,
    /// It was deleted.
    Deleted,
    /// This person was merged into it.
    Merged(PersonId),
}

/// How far a partition was applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
