//! The key layout: numbers are big-endian and prefixes come first, so that byte order is the order of reads.
//!
//! | Family | Key | Value |
//! |---|---|---|
//! | `meta` | a tag, see [`Meta`] | format version, topic numbers, positions, property names, counts |
//! | `person` | project, person | [`PersonRow`](crate::person::PersonRow): a head, or a tombstone |
//! | `recency` | project, person | [`Recency`](super::Recency) |
//! | `history` | project, person, property, class, event time, position | [`Row`](crate::person::Row) with its known time |
//! | `timeline` | project, person, event time, position | [`Operation`](super::Operation) |
//! | `recorded` | project, person, event time, uuid | – |
//! | `distinct_id` | project, distinct id | [`Ownership`](crate::person::Ownership) |
//! | `person_distinct_id` | project, person, life, anonymous or not, ordinal | [`Member`](super::Member) |
//! | `life` | project, person, 0, life | [`LifeSpan`](super::LifeSpan) |
//! | `life` | project, person, 1, source, its life | – (a life merged into the person) |
//! | `life` | project, person, 2, life, time, position | the move of its group: its number and the merge |
//! | `dropped` | project, keyed hash of a distinct id | the time up to which its events are dropped |
//! | `uuid` | project, uuid | person, also of one merged away or deleted |
//! | `by_created_at` | project, created at descending, uuid | person |
//! | `by_last_seen_at` | project, last seen descending, uuid | person |
//! | `by_change` | project, number of the last change | person, also one merged away or deleted |
//! | `column` | project, property, person | the current value, see [`super::column`] |
//! | `by_email` | project, email, person | – |
//! | `command` | 0, project, idempotency key | [`Remembered`](super::Remembered) |
//! | `command` | 1, project, known time, idempotency key | – (for forgetting it after two days) |
//! | `activity` | 0, project, ordinal | [`Activity`](super::Activity) |
//! | `activity` | 1, project, person, ordinal | – (what was done to one person) |
//!
//! Times are stored with their sign bit flipped, so that times before 1970 sort first.

mod index;

use uuid::Uuid;

pub use self::index::{
    COLUMN_BYTES, activities, activities_of, activity, activity_of, by_change, by_email, by_time,
    column, column_row, email, number_at_end, time_and_uuid,
};
use crate::person::{Class, Life, PersonId, Place, Position, ProjectId, PropertyId, Time};

/// Project and person: the first bytes of every key that belongs to one person.
pub const PERSON_BYTES: usize = 12;

/// Project, person and property: the first bytes of a history key.
const PROPERTY_BYTES: usize = PERSON_BYTES + 4;

const PLACE_BYTES: usize = 22;

/// Keys of the family `meta`. Tags are never reused.
#[derive(Clone, Copy, Debug)]
pub enum Meta<'a> {
    /// The format version.
    Format,
    /// The number of a topic.
    Topic(&'a str),
    /// How far a partition was applied.
    Position(u16, u32),
    /// The name of a property.
    Property(ProjectId, PropertyId),
    /// How many live persons a project has.
    Count(ProjectId),
    /// The secret with which distinct ids of deleted persons are hashed.
    Secret,
    /// A deleted person whose bytes may still be on disk, and its version: it may be created and deleted
    /// again before they are erased.
    Erased(ProjectId, PersonId, u64),
    /// The identity of this store, which differs from that of every other one, even if built from the same
    /// log.
    Identity,
    /// When the last backup was completed.
    Backup,
    /// The share of the log that fills the store.
    Share,
}

impl Meta<'_> {
    /// Returns the key.
    #[must_use]
    pub fn key(self) -> Vec<u8> {
        let mut key = vec![self.tag()];
        match self {
            Self::Format | Self::Secret | Self::Identity | Self::Backup | Self::Share => {}
            Self::Topic(name) => key.extend(name.as_bytes()),
            Self::Position(topic, partition) => {
                key.extend(topic.to_be_bytes());
                key.extend(partition.to_be_bytes());
            }
            Self::Property(project, property) => {
                key.extend(project.to_be_bytes());
                key.extend(property.to_be_bytes());
            }
            Self::Count(project) => key.extend(project.to_be_bytes()),
            Self::Erased(project, id, version) => {
                key.extend(person(project, id));
                key.extend(version.to_be_bytes());
            }
        }
        key
    }

    /// Returns the first byte of every key of this kind.
    #[must_use]
    pub fn tag(self) -> u8 {
        match self {
            Self::Format => 0,
            Self::Topic(_) => 1,
            Self::Position(..) => 2,
            Self::Property(..) => 3,
            Self::Count(_) => 4,
            Self::Secret => 5,
            Self::Erased(..) => 6,
            Self::Identity => 7,
            Self::Backup => 8,
            Self::Share => 9,
        }
    }
}

/// Reads numbers of fixed width from the front of a key; `None` if the key is too short.
pub struct KeyReader<'a>(pub &'a [u8]);

impl KeyReader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    /// Reads a 16-bit number.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// Reads a 32-bit number.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Reads a 64-bit number.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// Reads a time.
    pub fn time(&mut self) -> Option<Time> {
        Some(Time((self.u64()? ^ (1 << 63)).cast_signed()))
    }

    /// Reads a place.
    pub fn place(&mut self) -> Option<Place> {
        let time = self.time()?;
        let (topic, partition, offset) = (self.u16()?, self.u32()?, self.u64()?);
        Some(Place { time, position: Position { topic, partition, offset } })
    }
}

/// Returns a time as it is stored in keys.
#[must_use]
pub fn time_bytes(time: Time) -> [u8; 8] {
    (time.0.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

fn push_place(key: &mut Vec<u8>, place: Place) {
    key.extend(time_bytes(place.time));
    key.extend(place.position.topic.to_be_bytes());
    key.extend(place.position.partition.to_be_bytes());
    key.extend(place.position.offset.to_be_bytes());
}

/// Families `person` and `recency`: one person. Also the prefix in families with many rows per person.
#[must_use]
pub fn person(project: ProjectId, person: PersonId) -> Vec<u8> {
    let mut key = Vec::with_capacity(PROPERTY_BYTES + 1 + PLACE_BYTES);
    key.extend(project.to_be_bytes());
    key.extend(person.to_be_bytes());
    key
}

/// Returns the least key after all keys that begin with a prefix.
#[must_use]
pub fn after(prefix: &[u8]) -> Vec<u8> {
    let mut key = prefix.to_vec();
    while let Some(last) = key.pop() {
        if last < u8::MAX {
            key.push(last + 1);
            break;
        }
    }
    key
}

/// Family `history`: the prefix of one property's rows.
#[must_use]
pub fn property(project: ProjectId, id: PersonId, property: PropertyId) -> Vec<u8> {
    let mut key = person(project, id);
    key.extend(property.to_be_bytes());
    key
}

/// Family `history`: the prefix of the rows of one property and class.
#[must_use]
pub fn class(project: ProjectId, id: PersonId, of: PropertyId, class: Class) -> Vec<u8> {
    let mut key = property(project, id, of);
    key.push(class as u8);
    key
}

/// Families `history` and `timeline`: the row at a place, within a prefix.
#[must_use]
pub fn at(mut prefix: Vec<u8>, place: Place) -> Vec<u8> {
    push_place(&mut prefix, place);
    prefix
}

/// Returns the place at the end of a key of `history` or `timeline`.
#[must_use]
pub fn place_of(key: &[u8]) -> Option<Place> {
    let at = key.len().checked_sub(PLACE_BYTES)?;
    KeyReader(&key[at..]).place()
}

/// Returns the property and class in a key of `history`.
#[must_use]
pub fn property_and_class_of(key: &[u8]) -> Option<(PropertyId, Class)> {
    let mut reader = KeyReader(key.get(PERSON_BYTES..)?);
    let property = reader.u32()?;
    let number = usize::from(*reader.0.first()?);
    Some((property, *Class::ALL.get(number)?))
}

/// Family `recorded`: one event of a person.
#[must_use]
pub fn recorded(project: ProjectId, id: PersonId, event_time: Time, uuid: Uuid) -> Vec<u8> {
    let mut key = person(project, id);
    key.extend(time_bytes(event_time));
    key.extend(uuid.as_bytes());
    key
}

/// Family `distinct_id`: one distinct id.
#[must_use]
pub fn distinct_id(project: ProjectId, distinct_id: &str) -> Vec<u8> {
    [&project.to_be_bytes(), distinct_id.as_bytes()].concat()
}

/// Returns the project and the distinct id in a key of `distinct_id`.
#[must_use]
pub fn distinct_id_of(key: &[u8]) -> Option<(ProjectId, &[u8])> {
    let (project, id) = key.split_first_chunk()?;
    Some((ProjectId::from_be_bytes(*project), id))
}

/// Family `person_distinct_id`: the prefix of a life's ids that look anonymous, or of its others.
#[must_use]
pub fn members(project: ProjectId, life: Life, anonymous: bool) -> Vec<u8> {
    let mut key = members_of_life(project, life);
    key.push(u8::from(anonymous));
    key
}

/// Family `person_distinct_id`: the prefix of all that joined a life; ids that look anonymous come last.
#[must_use]
pub fn members_of_life(project: ProjectId, life: Life) -> Vec<u8> {
    let mut key = person(project, life.person);
    key.extend(life.number.to_be_bytes());
    key
}

/// Family `person_distinct_id`: what joined a life at an ordinal.
#[must_use]
pub fn member(project: ProjectId, life: Life, anonymous: bool, ordinal: u32) -> Vec<u8> {
    let mut key = members(project, life, anonymous);
    key.extend(ordinal.to_be_bytes());
    key
}

/// Returns the life, whether the ids look anonymous, and the ordinal in a key of `person_distinct_id`.
#[must_use]
pub fn member_of(key: &[u8]) -> Option<(Life, bool, u32)> {
    let mut reader = KeyReader(key.get(4..)?);
    let (person, number) = (reader.u64()?, reader.u32()?);
    let (anonymous, rest) = reader.0.split_first()?;
    Some((Life { person, number }, *anonymous == 1, KeyReader(rest).u32()?))
}

/// Family `life`: how a life began and ended.
#[must_use]
pub fn life(project: ProjectId, life: Life) -> Vec<u8> {
    let mut key = person(project, life.person);
    key.push(0);
    key.extend(life.number.to_be_bytes());
    key
}

/// Family `life`: the prefix of the lives merged into a person.
#[must_use]
pub fn sources(project: ProjectId, target: PersonId) -> Vec<u8> {
    let mut key = person(project, target);
    key.push(1);
    key
}

/// Family `life`: the row that says that a life was merged into a person.
#[must_use]
pub fn source(project: ProjectId, target: PersonId, source: Life) -> Vec<u8> {
    let mut key = sources(project, target);
    key.extend(source.person.to_be_bytes());
    key.extend(source.number.to_be_bytes());
    key
}

/// Returns the merged life in a key of [`source`].
#[must_use]
pub fn source_of(key: &[u8]) -> Option<Life> {
    let mut reader = KeyReader(key.get(PERSON_BYTES + 1..)?);
    Some(Life { person: reader.u64()?, number: reader.u32()? })
}

/// Family `life`: the prefix of the moves that a life's group made while the life was its top.
#[must_use]
pub fn moves(project: ProjectId, top: Life) -> Vec<u8> {
    [&person(project, top.person)[..], &[2], &top.number.to_be_bytes()].concat()
}

/// Family `dropped`: the drop rule of a distinct id.
#[must_use]
pub fn dropped(project: ProjectId, hash: [u8; 16]) -> Vec<u8> {
    [&project.to_be_bytes()[..], &hash].concat()
}

/// Family `command`: the outcome of a command.
#[must_use]
pub fn command(project: ProjectId, idempotency_key: &str) -> Vec<u8> {
    let mut key = vec![0];
    key.extend(project.to_be_bytes());
    key.extend(idempotency_key.as_bytes());
    key
}

/// Family `command`: the prefix of a project's commands, sorted by when they became known.
#[must_use]
pub fn commands(project: ProjectId) -> Vec<u8> {
    [&[1], &project.to_be_bytes()[..]].concat()
}

/// Family `command`: a command, sorted by when it became known.
#[must_use]
pub fn command_at(project: ProjectId, known: Time, idempotency_key: &str) -> Vec<u8> {
    [&commands(project), &time_bytes(known)[..], idempotency_key.as_bytes()].concat()
}

/// Returns when the command in a key of [`command_at`] became known, and the key of its outcome.
#[must_use]
pub fn command_of(key: &[u8]) -> Option<(Time, Vec<u8>)> {
    let mut reader = KeyReader(key.get(1..)?);
    let (project, time) = (reader.u32()?, reader.time()?);
    Some((time, [&[0], &project.to_be_bytes()[..], reader.0].concat()))
}

/// Family `uuid`: the person with a uuid.
#[must_use]
pub fn uuid(project: ProjectId, uuid: Uuid) -> Vec<u8> {
    let mut key = project.to_be_bytes().to_vec();
    key.extend(uuid.as_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_is_the_order_of_places() {
        let place = |time, topic, partition, offset| Place {
            time: Time(time),
            position: Position { topic, partition, offset },
        };
        let places = [
            place(i64::MIN, 0, 0, 0),
            place(-1, 9, 9, 9),
            place(0, 0, 0, 1),
            place(0, 0, 1, 0),
            place(0, 1, 0, 0),
            place(1, 0, 0, 0),
            Place::MAX,
        ];
        let keys = places.map(|place| at(person(1, 2), place));
        assert!(keys.is_sorted());
        assert_eq!(keys.each_ref().map(|key| place_of(key)), places.map(Some));
    }

    #[test]
    fn a_history_key_tells_property_and_class() {
        for of in Class::ALL {
            let key = at(class(1, 2, 3, of), Place::default());
            assert_eq!(property_and_class_of(&key), Some((3, of)));
        }
        assert_eq!(property_and_class_of(&[0; 12]), None);
    }
}
