//! When a person began: its first event, or that of a person merged into it.

use super::{Class, Histories, Row, Stored};
use crate::person::{CREATED, PersonId, Time};

/// When a person began, at `time` and by what was known at `known`: its own earliest event, or
/// that of a person merged into it by then. `None` where it did not exist.
///
/// # Errors
/// Where the rows cannot be read.
pub fn created<H: Histories>(
    rows: &H,
    person: PersonId,
    time: Time,
    known: Time,
) -> Result<Option<Time>, H::Error> {
    let mut least = began(rows, person, time, known)?;
    let merged = each(rows, (person, Class::MergeBoth), time, known, |row| match row.row {
        Row::Merge { source, .. } => {
            super::with_room(|| created(rows, source, row.place.time, known))
        }
        _ => Ok(None),
    })?;
    if least.is_none() || merged.is_some_and(|merged| Some(merged) < least) {
        least = merged.or(least);
    }
    Ok(least)
}

/// The time of a person's own first event, at `time` and by what was known at `known`.
///
/// # Errors
/// Where the rows cannot be read.
pub fn began<H: Histories>(
    rows: &H,
    person: PersonId,
    time: Time,
    known: Time,
) -> Result<Option<Time>, H::Error> {
    each(rows, (person, Class::Once), time, known, |row| Ok(Some(row.place.time)))
}

/// The least time among the rows of [`CREATED`] of one class.
fn each<H: Histories>(
    rows: &H,
    (person, class): (PersonId, Class),
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
        let began = of(row)?;
        if least.is_none() || began.is_some_and(|began| Some(began) < least) {
            least = began.or(least);
        }
        if class == Class::Once {
            break;
        }
    }
    Ok(least)
}
