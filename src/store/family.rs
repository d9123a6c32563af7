//! The column families.

/// A column family. Names are part of the format and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// What describes the store itself.
    Meta,
    /// Heads, and what stays of deleted persons.
    Person,
    /// When a person was last seen.
    LastSeen,
    /// The rows of every property.
    History,
    /// Every recorded operation.
    Timeline,
    /// Which events are recorded: what a duplicate is found by.
    Recorded,
    /// Who owns a distinct id.
    DistinctId,
    /// Which distinct ids a person has and had.
    PersonDistinctId,
    /// How lives of persons ended, and which lives were merged into a person.
    Life,
    /// Distinct ids of deleted persons, whose events are dropped.
    Dropped,
    /// Persons by uuid.
    Uuid,
    /// Live persons, newest first.
    ByCreatedAt,
    /// Live persons, those seen last first.
    ByLastSeenAt,
    /// Current values by property.
    Column,
    /// Live persons by their email.
    ByEmail,
    /// What became of the commands of the last day.
    Command,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 16] = [
        Self::Meta,
        Self::Person,
        Self::LastSeen,
        Self::History,
        Self::Timeline,
        Self::Recorded,
        Self::DistinctId,
        Self::PersonDistinctId,
        Self::Life,
        Self::Dropped,
        Self::Uuid,
        Self::ByCreatedAt,
        Self::ByLastSeenAt,
        Self::Column,
        Self::ByEmail,
        Self::Command,
    ];

    /// Those whose keys begin with project and person.
    pub const ALL_OF_PERSON: [Self; 7] = [
        Self::Person,
        Self::LastSeen,
        Self::History,
        Self::Timeline,
        Self::Recorded,
        Self::PersonDistinctId,
        Self::Life,
    ];

    /// Its name in RocksDB and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Person => "person",
            Self::LastSeen => "last_seen",
            Self::History => "history",
            Self::Timeline => "timeline",
            Self::Recorded => "recorded",
            Self::DistinctId => "distinct_id",
            Self::PersonDistinctId => "person_distinct_id",
            Self::Life => "life",
            Self::Dropped => "dropped",
            Self::Uuid => "uuid",
            Self::ByCreatedAt => "by_created_at",
            Self::ByLastSeenAt => "by_last_seen_at",
            Self::Column => "column",
            Self::ByEmail => "by_email",
            Self::Command => "command",
        }
    }
}
