//! The column families.

/// A column family. Names are part of the format and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// What describes the store itself.
    Meta,
    /// Heads, and what stays of deleted persons.
    Person,
    /// When a person was last seen, and the number of its last change.
    Recency,
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
    /// How lives of persons began and ended, which were merged into a person, and moves of their groups.
    Life,
    /// Distinct ids of deleted persons, whose events are dropped.
    Dropped,
    /// Persons by uuid.
    Uuid,
    /// Live persons, newest first.
    ByCreatedAt,
    /// Live persons, those seen last first.
    ByLastSeenAt,
    /// Persons in the order of their last change.
    ByChange,
    /// Current values by property.
    Column,
    /// Live persons by their email.
    ByEmail,
    /// What became of the commands of the last two days.
    Command,
    /// What was done to persons, and by whom.
    Activity,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 18] = [
        Self::Meta,
        Self::Person,
        Self::Recency,
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
        Self::ByChange,
        Self::Column,
        Self::ByEmail,
        Self::Command,
        Self::Activity,
    ];

    /// Those whose keys begin with project and person.
    pub const ALL_OF_PERSON: [Self; 7] = [
        Self::Person,
        Self::Recency,
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
            Self::Recency => "recency",
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
            Self::ByChange => "by_change",
            Self::Column => "column",
            Self::ByEmail => "by_email",
            Self::Command => "command",
            Self::Activity => "activity",
        }
    }
}
