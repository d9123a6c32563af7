//! When a person began: the time of its first event, or of that of a person merged into it.

use super::{Class, Histories, Row, State, Stored};
use crate::person::{CREATED, Life, PersonId, Place, Time, Value};

/// Returns when a person began, as of `time` and by what was known at `known`: the time of its own first
/// event, or the beginning of a person merged into it by then. `None` if it did not exist.
///
/// # Errors
/// If the rows cannot be read.
pub fn created<H: Histories>(
    rows: &H,
    person: PersonId,
    time: Time,
    known: Time,
) -> Result<Option<Time>, H::Error> {
    let own = began(rows, person, time, known)?;
    let merged = if known == Time::MAX {
        // Each row of this class is earlier than all before it, so the last one is the minimum.
        let until = Place::end_of(time);
        let last = rows.last(person, CREATED, Class::MergeBoth, until)?;
        last.and_then(|row| began_by(&row.row))
    } else {
        let of = |row: Stored| match row.row {
            Row::Merge { source: Some(source), .. } => {
                super::with_room(|| created(rows, source.person, row.place.time, known))
            }
            row => Ok(began_by(&row)),
        };
        let [counts, does_not] = [Class::MergeBoth, Class::MergeCurrent]
            .map(|class| earliest(rows, person, class, time, known, of));
        earlier(counts?, does_not?)
    };
    Ok(earlier(own, merged))
}

fn earlier(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    a.into_iter().chain(b).min()
}

/// Returns the row that gives a person the beginning of one merged into it. `counts` says whether
/// that is earlier than all such rows before it. Rows that do not count are only needed for reads
/// by an earlier known time.
#[must_use]
pub fn began_merged(source: Option<Life>, began: Time, counts: bool) -> Row {
    let value = Some(Value::from_json(&began.0.to_string()));
    let set_only = if counts { value.clone() } else { None };
    Row::Merge { source, state: State { current: value, set_only } }
}

/// Returns the beginning that a merge's row brings; `None` for any other row.
#[must_use]
pub fn began_by(row: &Row) -> Option<Time> {
    match row {
        Row::Merge { state: State { current: Some(value), .. }, .. } => {
            value.as_json().parse().ok().map(Time)
        }
        _ => None,
    }
}

/// Returns the time of a person's own first event, as of `time` and by what was known at `known`.
///
/// # Errors
/// If the rows cannot be read.
pub fn began<H: Histories>(
    rows: &H,
    person: PersonId,
    time: Time,
    known: Time,
) -> Result<Option<Time>, H::Error> {
    earliest(rows, person, Class::Once, time, known, |row| Ok(Some(row.place.time)))
}

/// Returns the earliest time among the rows of [`CREATED`] of one class.
fn earliest<H: Histories>(
    rows: &H,
    person: PersonId,
    class: Class,
    time: Time,
    known: Time,
    of: impl Fn(Stored) -> Result<Option<Time>, H::Error>,
) -> Result<Option<Time>, H::Error> {
    let (mut least, mut after) = (None, None);
    while let Some(row) = rows.first(person, CREATED, class, after)? {
        if row.place.time > time {
            break;
        }
        after = Some(row.place);
        if row.known > known {
            continue;
        }
        least = earlier(least, of(row)?);
        if class == Class::Once {
            break;
        }
    }
    Ok(least)
}
