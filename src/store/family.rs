//! The column families.

use strum::VariantArray;

/// A column family. Names are part of the format and never reused.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum Family {
    /// Data about the store itself, such as its format, positions and names.
    Meta,
    /// Heads, and the tombstones of deleted persons.
    Person,
    /// When a person was last seen, and the number of its last change.
    Recency,
    /// The rows of every property: its history.
    History,
    /// Every recorded operation.
    Timeline,
    /// The event time and uuid of every recorded event, by which duplicates are detected.
    Recorded,
    /// Who owns a distinct id.
    DistinctId,
    /// The distinct ids that a person has and had.
    PersonDistinctId,
    /// How lives began and ended, which lives were merged into a person, and the moves of groups of lives.
    Life,
    /// Drop rules: hashed distinct ids of deleted persons, whose events are dropped.
    Dropped,
    /// Persons by uuid.
    Uuid,
    /// Live persons by creation time, newest first.
    ByCreatedAt,
    /// Live persons by the time they were last seen, newest first.
    ByLastSeenAt,
    /// Persons in the order of their last change.
    ByChange,
    /// Current values by property.
    Column,
    /// Live persons by their email.
    ByEmail,
    /// The outcomes of the commands of the last two days.
    Command,
    /// The activity log: what was done to persons, and by whom.
    Activity,
}

impl Family {
    /// Every family.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The families whose keys begin with project and person.
    pub const ALL_OF_PERSON: [Self; 7] = [
        Self::Person,
        Self::Recency,
        Self::History,
        Self::Timeline,
        Self::Recorded,
        Self::PersonDistinctId,
        Self::Life,
    ];

    /// Returns whether it lists what a person has: many rows of a person, which are read one after the other.
    #[must_use]
    pub fn lists_per_person(self) -> bool {
        matches!(self, Self::History | Self::Timeline | Self::PersonDistinctId)
    }

    /// Returns its name in RocksDB and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}
