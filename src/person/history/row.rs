//! The rows of a property: what one operation did to it, and the class under which that is stored.

use super::Mode;
use crate::person::{Life, Place, Time, Value};

/// The value of one property under each fold mode. `None` means absent; `null` is a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Under [`Mode::WithOnce`].
    pub current: Option<Value>,
    /// Under [`Mode::SetOnly`].
    pub set_only: Option<Value>,
}

impl State {
    /// Returns whether both states have the same values in the same notation: `1` and `1.0` are equal, but
    /// each keeps the notation in which it came.
    #[must_use]
    pub fn is_written_like(&self, other: &Self) -> bool {
        Mode::ALL
            .into_iter()
            .all(|mode| self.get(mode).map(Value::as_json) == other.get(mode).map(Value::as_json))
    }

    /// Returns the value under one mode.
    #[must_use]
    pub fn get(&self, mode: Mode) -> Option<&Value> {
        match mode {
            Mode::WithOnce => self.current.as_ref(),
            Mode::SetOnly => self.set_only.as_ref(),
        }
    }

    /// Returns the state after one more row.
    #[must_use]
    pub fn then(self, row: &Row) -> Self {
        Self {
            current: row.after(Mode::WithOnce, self.current),
            set_only: row.after(Mode::SetOnly, self.set_only),
        }
    }
}

/// One recorded operation on one property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// `$set`: sets the property to this value.
    Set(Value),
    /// `$unset`: removes the property.
    Unset,
    /// `$set` and `$unset`: removes the property if it was present, sets it to this value if it was absent.
    SetUnset(Value),
    /// `$set_once` and `$unset`: likewise, except that under [`Mode::SetOnly`] it
    /// always removes the property.
    OnceUnset(Value),
    /// Sets this state, whatever was before: the decided result of setting and unsetting in one event, stored
    /// if too many such events follow one another ([`super::is_crowded`]).
    Decided(State),
    /// `$set_once`: sets the property to this value if it was absent; ignored under [`Mode::SetOnly`].
    Once(Value),
    /// The state of a person merged into this one: under each mode, its value applies if there was none.
    Merge {
        /// The merged life; `None` if its person was deleted since, so that only the state remains.
        source: Option<Life>,
        /// Its state of the property at the merge.
        state: State,
    },
}

impl Row {
    /// Returns the value after this row, from the value before it.
    #[must_use]
    pub fn after(&self, mode: Mode, before: Option<Value>) -> Option<Value> {
        match self {
            Self::Set(value) => Some(value.clone()),
            Self::Unset => None,
            Self::SetUnset(value) => before.is_none().then(|| value.clone()),
            Self::OnceUnset(value) => {
                (before.is_none() && mode == Mode::WithOnce).then(|| value.clone())
            }
            Self::Decided(state) => state.get(mode).cloned(),
            Self::Once(value) if mode == Mode::WithOnce => before.or_else(|| Some(value.clone())),
            Self::Once(_) => before,
            Self::Merge { state, .. } => before.or_else(|| state.get(mode).cloned()),
        }
    }

    /// Returns the value that the row brings of itself: of a decided row the current one, of a merge none.
    #[must_use]
    pub fn value(&self) -> Option<&Value> {
        match self {
            Self::Set(value)
            | Self::SetUnset(value)
            | Self::OnceUnset(value)
            | Self::Once(value) => Some(value),
            Self::Decided(state) => state.current.as_ref(),
            Self::Unset | Self::Merge { .. } => None,
        }
    }

    /// Returns whether the row is an anchor whose result depends on the value before it.
    #[must_use]
    pub fn is_dependent(&self) -> bool {
        matches!(self, Self::SetUnset(_) | Self::OnceUnset(_))
    }

    /// Returns the class under which this row is stored.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Set(_)
            | Self::Unset
            | Self::SetUnset(_)
            | Self::OnceUnset(_)
            | Self::Decided(_) => Class::Anchor,
            Self::Once(_) => Class::Once,
            Self::Merge { state, .. } => match (&state.current, &state.set_only) {
                (Some(_), Some(_)) => Class::MergeBoth,
                (Some(_), None) => Class::MergeCurrent,
                (None, Some(_)) => Class::MergeSetOnly,
                (None, None) => Class::MergeAbsent,
            },
        }
    }
}

/// The class of a row. Rows of one property are stored by class, according to what they may decide, so that a
/// read finds the first one that counts in one seek. The numbers are part of the store's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// Overrides everything before it: set, unset, and both in one event.
    Anchor = 0,
    /// `$set_once`.
    Once = 1,
    /// A merge that brings a value under both modes.
    MergeBoth = 2,
    /// A merge that brings a value only under [`Mode::WithOnce`].
    MergeCurrent = 3,
    /// A merge that brings a value only under [`Mode::SetOnly`].
    MergeSetOnly = 4,
    /// A merge that brings nothing by what is known now, but may have by what was known earlier.
    MergeAbsent = 5,
}

impl Class {
    /// Every class, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Anchor,
        Self::Once,
        Self::MergeBoth,
        Self::MergeCurrent,
        Self::MergeSetOnly,
        Self::MergeAbsent,
    ];

    /// The classes of merges.
    pub const MERGES: [Self; 4] =
        [Self::MergeBoth, Self::MergeCurrent, Self::MergeSetOnly, Self::MergeAbsent];

    /// Returns the classes whose rows fill an absent property, by what is known now.
    pub(super) fn filling(mode: Mode) -> &'static [Self] {
        match mode {
            Mode::WithOnce => &[Self::Once, Self::MergeBoth, Self::MergeCurrent],
            Mode::SetOnly => &[Self::MergeBoth, Self::MergeSetOnly],
        }
    }

    /// Returns the classes whose rows may have filled an absent property by what was known earlier. The class
    /// of a merge reflects only what it brings by what is known now.
    pub(super) fn filling_by_known_at(mode: Mode) -> &'static [Self] {
        match mode {
            Mode::WithOnce => &Self::ALL[1..],
            Mode::SetOnly => &Self::MERGES,
        }
    }
}

/// A row with its place and known time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its event time and position.
    pub place: Place,
    /// When it was learned.
    pub known: Time,
    /// What it does.
    pub row: Row,
}
