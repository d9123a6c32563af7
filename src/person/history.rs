//! The fold: what one property was at a moment, from the rows that decide it.
//!
//! [`State::then`] is the definition: sort the rows of a property by place, apply one after the
//! other. [`value`] finds the same answer without reading them all. It can, because rows fall
//! into classes: a `$set` or an `$unset` decides whatever came before it (an *anchor*), while a
//! `$set_once` or a merge matters only where the property is absent, so that of those only the
//! first one after the anchor counts.

mod beginning;
mod row;

pub use self::beginning::{began, began_by, began_merged, created};
pub use self::row::{Class, Row, State, Stored};
use super::{Life, PersonId, Place, PropertyId, Time, Value};

/// Which operations a fold sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All of them: current properties, and `include_set_once=true`.
    WithOnce,
    /// As if `$set_once` did not exist: `include_set_once=false`.
    SetOnly,
}

impl Mode {
    /// Both modes.
    pub const ALL: [Self; 2] = [Self::WithOnce, Self::SetOnly];
}

/// The rows of all properties of the persons of one project.
pub trait Histories {
    /// Why rows could not be read.
    type Error;

    /// The newest row of a class at or before a place.
    ///
    /// # Errors
    /// Where the rows cannot be read.
    fn last(
        &self,
        person: PersonId,
        property: PropertyId,
        class: Class,
        until: Place,
    ) -> Result<Option<Stored>, Self::Error>;

    /// The oldest row of a class after a place; with `None` the oldest of all.
    ///
    /// # Errors
    /// Where the rows cannot be read.
    fn first(
        &self,
        person: PersonId,
        property: PropertyId,
        class: Class,
        after: Option<Place>,
    ) -> Result<Option<Stored>, Self::Error>;

    /// Where a life began that goes on after a merge: what was before it does not count. `None`
    /// of a life that is the person's first one, or followed a deletion.
    ///
    /// # Errors
    /// Where that cannot be read.
    fn lives_on(&self, life: Life) -> Result<Option<Place>, Self::Error>;
}

/// What a read asks of one property: how it was at `until`, by what was known at `known`.
#[derive(Clone, Copy, Debug)]
pub struct Query {
    /// The person.
    pub person: PersonId,
    /// The property.
    pub property: PropertyId,
    /// Only rows after this place: where the life began that is asked for.
    pub after: Option<Place>,
    /// Up to and including this place.
    pub until: Place,
    /// Only rows learned by then.
    pub known: Time,
}

/// The property's state under both modes.
///
/// # Errors
/// Where the rows cannot be read.
pub fn state<H: Histories>(rows: &H, query: Query) -> Result<State, H::Error> {
    let anchors = anchors(rows, query)?;
    Ok(State {
        current: settled(rows, query, Mode::WithOnce, &anchors)?,
        set_only: settled(rows, query, Mode::SetOnly, &anchors)?,
    })
}

/// The property's value under one mode: the fold, by a few seeks.
///
/// # Errors
/// Where the rows cannot be read.
pub fn value<H: Histories>(rows: &H, query: Query, mode: Mode) -> Result<Option<Value>, H::Error> {
    settled(rows, query, mode, &anchors(rows, query)?)
}

/// The anchors that decide a property, which are the same under both modes.
struct Anchors {
    /// The newest one that depends on nothing before it.
    base: Option<Stored>,
    /// Those after it, newest first: each depends on what was before it.
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

/// What the anchors, and where they leave the property absent what fills it, come to.
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

/// The time of the property's newest row at or before a place, of any class but those merges
/// that bring nothing.
///
/// # Errors
/// Where the rows cannot be read.
pub fn newest<H: Histories>(rows: &H, query: Query) -> Result<Option<Time>, H::Error> {
    let mut newest = None;
    for class in Class::ALL.into_iter().filter(|class| *class != Class::MergeAbsent) {
        let row = rows.last(query.person, query.property, class, query.until)?;
        newest = newest.max(row.map(|row| row.place.time));
    }
    Ok(newest)
}

/// So many rows that depend on what was before them may follow one another. A read walks over them,
/// and anybody may send as many as they like.
const MAX_DEPENDENT: usize = if cfg!(test) { 2 } else { 64 };

/// Whether one more dependent row at a place would be one too many: what it comes to is decided
/// then by what is known, once.
///
/// # Errors
/// Where the rows cannot be read.
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

/// Merges of merges are read one inside the other, to any depth: a caller may make a chain as long
/// as it likes, and the stack must not be what ends it.
pub(crate) fn with_room<T>(read: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(64 << 10, 1 << 20, read)
}

/// What fills the absent property after `from`: the first `$set_once` or merge with a value.
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
            // What was not known yet did not fill it. A merge's own `$set_once` is no more
            // known than the merge, so nothing at this place is passed over.
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

/// The `$set_once` of the merge event itself, where the merge brought nothing.
fn own_once<H: Histories>(
    rows: &H,
    query: Query,
    mode: Mode,
    place: Place,
) -> Result<Option<Value>, H::Error> {
    if mode == Mode::SetOnly {
        return Ok(None);
    }
    let row = rows.last(query.person, query.property, Class::Once, place)?;
    let row = row.filter(|row| row.place == place && row.known <= query.known);
    Ok(row.and_then(|row| row.row.after(mode, None)))
}

#[cfg(test)]
mod tests;
