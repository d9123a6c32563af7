//! Keys of the indexes: the lists and columns of live persons, their changes, and the activity log.

use uuid::Uuid;

use super::{KeyReader, time_bytes};
use crate::person::{PersonId, ProjectId, PropertyId, Time};

/// The most bytes of an email that are indexed. A longer one is indexed by its beginning.
const EMAIL_BYTES: usize = 512;

/// Project and property: the first bytes of a key of `column`.
pub const COLUMN_BYTES: usize = 8;

/// Families `by_created_at` and `by_last_seen_at`: one person, sorted newest first.
#[must_use]
pub fn by_time(project: ProjectId, time: Time, uuid: Uuid) -> Vec<u8> {
    let time = time_bytes(time).map(|byte| !byte);
    [&project.to_be_bytes()[..], &time, uuid.as_bytes()].concat()
}

/// Returns the time and the uuid in a key of [`by_time`].
#[must_use]
pub fn time_and_uuid(key: &[u8]) -> Option<(Time, Uuid)> {
    let (time, uuid) = key.get(4..)?.split_first_chunk::<8>()?;
    let time = KeyReader(&time.map(|byte| !byte)).time()?;
    Some((time, Uuid::from_bytes(uuid.try_into().ok()?)))
}

/// Family `by_email`: the prefix of all persons with this email. If it is long, the prefix also covers others
/// whose email begins the same.
#[must_use]
pub fn email(project: ProjectId, email: &str) -> Vec<u8> {
    let mut key = project.to_be_bytes().to_vec();
    key.extend(email.bytes().take(EMAIL_BYTES));
    key.push(0);
    key
}

/// Family `by_email`: one person with this email.
#[must_use]
pub fn by_email(project: ProjectId, email_text: &str, id: PersonId) -> Vec<u8> {
    let mut key = email(project, email_text);
    key.extend(id.to_be_bytes());
    key
}

/// Family `by_change`: the person whose last change has this number.
#[must_use]
pub fn by_change(project: ProjectId, change: u64) -> Vec<u8> {
    [&project.to_be_bytes()[..], &change.to_be_bytes()].concat()
}

/// Returns the number at the end of a key of `by_change` or `activity`.
#[must_use]
pub fn number_at_end(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|number| u64::from_be_bytes(*number))
}

/// Family `activity`: the prefix of a project's log.
#[must_use]
pub fn activities(project: ProjectId) -> Vec<u8> {
    [&[0], &project.to_be_bytes()[..]].concat()
}

/// Family `activity`: one entry of a project's log.
#[must_use]
pub fn activity(project: ProjectId, ordinal: u64) -> Vec<u8> {
    [activities(project), ordinal.to_be_bytes().to_vec()].concat()
}

/// Family `activity`: the prefix of a person's log.
#[must_use]
pub fn activities_of(project: ProjectId, person: PersonId) -> Vec<u8> {
    [&[1], &project.to_be_bytes()[..], &person.to_be_bytes()].concat()
}

/// Family `activity`: a reference from a person's log to an entry of the project's log.
#[must_use]
pub fn activity_of(project: ProjectId, person: PersonId, ordinal: u64) -> Vec<u8> {
    [activities_of(project, person), ordinal.to_be_bytes().to_vec()].concat()
}

/// Family `column`: the prefix of all rows of a column.
#[must_use]
pub fn column(project: ProjectId, property: PropertyId) -> Vec<u8> {
    let mut key = project.to_be_bytes().to_vec();
    key.extend(property.to_be_bytes());
    key
}

/// Family `column`: the row of a person in a column.
#[must_use]
pub fn column_row(project: ProjectId, property: PropertyId, person: PersonId) -> Vec<u8> {
    let mut key = column(project, property);
    key.extend(person.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_persons_come_first() {
        let key = |time| by_time(1, Time(time), Uuid::nil());
        assert!(key(5) < key(4) && key(4) < key(-4) && key(-4) < key(i64::MIN));
        let uuid = Uuid::from_u128(7);
        assert_eq!(time_and_uuid(&by_time(1, Time(-5), uuid)), Some((Time(-5), uuid)));
    }
}
