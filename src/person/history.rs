//! The fold: computes what one property was at a moment from the rows that decide it.
//!
//! [`State::then`] is the definition: sort the rows of a property by place and apply them in order. [`value`]
//! finds the same answer without reading all of them, because rows fall into classes. A `$set` or an `$unset`
//! (an *anchor*) overrides everything before it. A `$set_once` or a merge matters only if the property is
//! absent, so only the first of them after the anchor counts.

mod beginning;
mod row;

pub use self::beginning::{began, began_by, began_merged, created};
pub use self::row::{Class, Row, State, Stored};
use super::{Life, PersonId, Place, PropertyId, Time, Value};

/// Which operations a fold takes into account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All of them: for current properties, and `include_set_once=true`.
    WithOnce,
    /// As if `$set_once` did not exist: for `include_set_once=false`.
    SetOnly,
}

impl Mode {
    /// Both modes.
    pub const ALL: [Self; 2] = [Self::WithOnce, Self::SetOnly];
}

/// Access to the rows of all properties of the persons of one project.
pub trait Histories {
    /// Why rows could not be read.
    type Error;

    /// Returns the newest row of a class at or before a place.
    ///
    /// # Errors
    /// If the rows cannot be read.
    fn last(
        &self,
        person: PersonId,
        property: PropertyId,
        class: Class,
        until: Place,
    ) -> Result<Option<Stored>, Self::Error>;

    /// Returns the row of a class at exactly this place.
    ///
    /// # Errors
    /// If the rows cannot be read.
    fn at(
        &self,
        person: PersonId,
        property: PropertyId,
        class: Class,
        place: Place,
    ) -> Result<Option<Stored>, Self::Error> {
        let row = self.last(person, property, class, place)?;
        Ok(row.filter(|row| row.place == place))
    }

    /// Returns the oldest row of a class after a place, or with `None` the oldest of all.
    ///
    /// # Errors
    /// If the rows cannot be read.
    fn first(
        &self,
        person: PersonId,
        property: PropertyId,
        class: Class,
        after: Option<Place>,
    ) -> Result<Option<Stored>, Self::Error>;

    /// Returns the place where a life began by a split; rows before it do not belong to the life. `None` if
    /// the life is the person's first one, or began after a deletion.
    ///
    /// # Errors
    /// If that cannot be read.
    fn lives_on(&self, life: Life) -> Result<Option<Place>, Self::Error>;
}

/// A read of one property: its state at `until`, by what was known at `known`.
#[derive(Clone, Copy, Debug)]
pub struct Query {
    /// The person.
    pub person: PersonId,
    /// The property.
    pub property: PropertyId,
    /// Only rows after this place count: where the requested life began.
    pub after: Option<Place>,
    /// Only rows up to and including this place count.
    pub until: Place,
    /// Only rows learned up to this time count.
    pub known: Time,
}

/// Returns the property's state under both modes.
///
/// # Errors
/// If the rows cannot be read.
pub fn state<H: Histories>(rows: &H, query: Query) -> Result<State, H::Error> {
    let anchors = anchors(rows, query)?;
    Ok(State {
        current: settled(rows, query, Mode::WithOnce, &anchors)?,
        set_only: settled(rows, query, Mode::SetOnly, &anchors)?,
    })
}

/// Returns the property's value under one mode: the result of the fold, found with a few seeks.
///
/// # Errors
/// If the rows cannot be read.
pub fn value<H: Histories>(rows: &H, query: Query, mode: Mode) -> Result<Option<Value>, H::Error> {
    settled(rows, query, mode, &anchors(rows, query)?)
}

/// The anchors that decide a property; they are the same under both modes.
struct Anchors {
    /// The newest anchor that does not depend on the value before it.
    base: Option<Stored>,
    /// The anchors after `base`, newest first. Each depends on the value before it.
    dependent: Vec<Stored>,
}

fn anchors<H: Histories>(rows: &H, query: Query) -> Result<Anchors, H::Error> {
    let mut dependent = Vec::new();
    let mut until = Some(query.until);
    while let Some(place) = until {
        let Some(anchor) = known_anchor(rows, Query { until: place, ..query })? else {
            break;
        };
        if !anchor.row.is_dependent() {
            return Ok(Anchors { base: Some(anchor), dependent });
        }
        until = anchor.place.before();
        dependent.push(anchor);
    }
    Ok(Anchors { base: None, dependent })
}

/// Folds the anchors in order, filling the property wherever it is absent before or after one of them.
fn settled<H: Histories>(
    rows: &H,
    query: Query,
    mode: Mode,
    Anchors { base, dependent }: &Anchors,
) -> Result<Option<Value>, H::Error> {
    let mut value = base.as_ref().and_then(|anchor| anchor.row.after(mode, None));
    let mut from = base.as_ref().map_or(query.after, |anchor| Some(anchor.place));
    for anchor in dependent.iter().rev() {
        if value.is_none() {
            value = filled(rows, Query { until: anchor.place, ..query }, mode, from)?;
        }
        value = anchor.row.after(mode, value);
        from = Some(anchor.place);
    }
    match value {
        None => filled(rows, query, mode, from),
        value => Ok(value),
    }
}

/// Returns the time of the property's newest row at or before `query.until`, ignoring
/// merges that bring nothing.
///
/// # Errors
/// If the rows cannot be read.
pub fn newest<H: Histories>(rows: &H, query: Query) -> Result<Option<Time>, H::Error> {
    let mut newest = None;
    for class in Class::ALL.into_iter().filter(|class| *class != Class::MergeAbsent) {
        let row = rows.last(query.person, query.property, class, query.until)?;
        newest = newest.max(row.map(|row| row.place.time));
    }
    Ok(newest)
}

/// The maximum number of consecutive anchors that depend on the value before them. A read walks over all of
/// them, and a client may send any number of such events.
const MAX_DEPENDENT: usize = if cfg!(test) { 2 } else { 64 };

/// Returns whether one more dependent row at a place would exceed this limit. Its result is then decided
/// once, from what is known at that time, and stored instead ([`Row::Decided`]).
///
/// # Errors
/// If the rows cannot be read.
pub fn is_crowded<H: Histories>(
    rows: &H,
    person: PersonId,
    property: PropertyId,
    place: Place,
) -> Result<bool, H::Error> {
    let (mut met, mut until, mut after) = (0, place.before(), place);
    while met < MAX_DEPENDENT
        && let Some(before) = until
        && let Some(row) = rows.last(person, property, Class::Anchor, before)?
        && row.row.is_dependent()
    {
        met += 1;
        until = row.place.before();
    }
    while met < MAX_DEPENDENT
        && let Some(row) = rows.first(person, property, Class::Anchor, Some(after))?
        && row.row.is_dependent()
    {
        met += 1;
        after = row.place;
    }
    Ok(met >= MAX_DEPENDENT)
}

fn known_anchor<H: Histories>(rows: &H, query: Query) -> Result<Option<Stored>, H::Error> {
    let mut until = Some(query.until);
    while let Some(place) = until {
        match rows.last(query.person, query.property, Class::Anchor, place)? {
            Some(row) if Some(row.place) <= query.after => return Ok(None),
            Some(row) if row.known > query.known => until = row.place.before(),
            found => return Ok(found),
        }
    }
    Ok(None)
}

/// Runs `read` with enough stack, which grows if needed. Merges within merges are read recursively, and a
/// client may build a chain of any length, which must not overflow the stack.
pub(crate) fn with_room<T>(read: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(64 << 10, 1 << 20, read)
}

/// Returns the value that fills the absent property after `from`: that of the first
/// `$set_once` or merge that has one.
fn filled<H: Histories>(
    rows: &H,
    query: Query,
    mode: Mode,
    from: Option<Place>,
) -> Result<Option<Value>, H::Error> {
    let classes = if query.known == Time::MAX {
        Class::filling(mode)
    } else {
        Class::filling_by_known_at(mode)
    };
    let mut after = from;
    loop {
        let mut next: Option<Stored> = None;
        for &class in classes {
            let row = rows.first(query.person, query.property, class, after)?;
            let row = row.filter(|row| row.place <= query.until);
            // At one place a merge comes before the merge event's own `$set_once`.
            let order = |row: &Stored| (row.place, row.row.class() == Class::Once);
            next = next.into_iter().chain(row).min_by_key(order);
        }
        let Some(stored) = next else { return Ok(None) };
        after = Some(stored.place);
        if stored.known > query.known {
            // A row that was not known yet fills nothing. A merge event's own `$set_once` was learned
            // together with the merge, so skipping this whole place skips nothing that was known.
            continue;
        }
        let is_merge = matches!(stored.row, Row::Merge { .. });
        let brought = match stored.row {
            Row::Merge { source: Some(source), .. } if query.known != Time::MAX => {
                let until = Place::end_of(stored.place.time);
                let after = rows.lives_on(source)?;
                let of_source = Query { person: source.person, after, until, ..query };
                with_room(|| value(rows, of_source, mode))?
            }
            row => row.after(mode, None),
        };
        let value = match brought {
            None if is_merge => own_once(rows, query, mode, stored.place)?,
            brought => brought,
        };
        if value.is_some() {
            return Ok(value);
        }
    }
}

/// Returns the value of the merge event's own `$set_once`, which applies if the merge brought nothing.
fn own_once<H: Histories>(
    rows: &H,
    query: Query,
    mode: Mode,
    place: Place,
) -> Result<Option<Value>, H::Error> {
    if mode == Mode::SetOnly {
        return Ok(None);
    }
    let row = rows.at(query.person, query.property, Class::Once, place)?;
    let row = row.filter(|row| row.known <= query.known);
    Ok(row.and_then(|row| row.row.after(mode, None)))
}

#[cfg(test)]
mod tests;
