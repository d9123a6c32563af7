//! The rows of a property: what one operation did to it, and the class under which that is kept.

use super::Mode;
use crate::person::{Life, Place, Time, Value};

/// What one property is under either fold mode; absent is `None`, while `null` is a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Under [`Mode::WithOnce`].
    pub current: Option<Value>,
    /// Under [`Mode::SetOnly`].
    pub set_only: Option<Value>,
}

impl State {
    /// Whether both have their values in the same form: `1` and `1.0` are equal, and each keeps the form in
    /// which it came.
    #[must_use]
    pub fn is_written_like(&self, other: &Self) -> bool {
        Mode::ALL
            .into_iter()
            .all(|mode| self.get(mode).map(Value::as_json) == other.get(mode).map(Value::as_json))
    }

    /// The value under one mode.
    #[must_use]
    pub fn get(&self, mode: Mode) -> Option<&Value> {
        match mode {
            Mode::WithOnce => self.current.as_ref(),
            Mode::SetOnly => self.set_only.as_ref(),
        }
    }

    /// The state after one more row.
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
    /// The property is this value.
    Set(Value),
    /// The property is gone.
    Unset,
    /// Gone where it was present, this value where it was absent.
    SetUnset(Value),
    /// The same with `$set_once`: without that, gone.
    OnceUnset(Value),
    /// This state, whatever was before: what both in one event came to where too many such events
    /// follow one another ([`super::is_crowded`]).
    Decided(State),
    /// This value where the property was absent.
    Once(Value),
    /// The state of a person merged into this one, each mode's where it was absent.
    Merge {
        /// The life merged; `None` where its person was deleted since, so that the state stands
        /// alone.
        source: Option<Life>,
        /// Its state of the property when it was merged.
        state: State,
    },
}

impl Row {
    /// The value after this row, from the value before it.
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

    /// The value that came with it; of several that were decided the current one.
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

    /// Whether it decides whatever came before, but what it decides depends on that.
    #[must_use]
    pub fn is_dependent(&self) -> bool {
        matches!(self, Self::SetUnset(_) | Self::OnceUnset(_))
    }

    /// The class under which this row is kept.
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

/// Rows of one property are kept apart by what they may decide, so that a read finds the first
/// one that counts in one seek. The numbers are part of the store's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// Decides whatever came before: set, unset, and both in one event.
    Anchor = 0,
    /// `$set_once`.
    Once = 1,
    /// A merge that brings a value under both modes.
    MergeBoth = 2,
    /// A merge that brings a value with `$set_once` only.
    MergeCurrent = 3,
    /// A merge that brings a value without `$set_once` only.
    MergeSetOnly = 4,
    /// A merge that brings nothing now, but did by what was known earlier.
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

    /// The classes whose rows fill an absent property, by what is known now.
    pub(super) fn filling(mode: Mode) -> &'static [Self] {
        match mode {
            Mode::WithOnce => &[Self::Once, Self::MergeBoth, Self::MergeCurrent],
            Mode::SetOnly => &[Self::MergeBoth, Self::MergeSetOnly],
        }
    }

    /// The classes whose rows may have filled an absent property by what was known earlier: a
    /// merge's class tells only what it brings by what is known now.
    pub(super) fn filling_by_known_at(mode: Mode) -> &'static [Self] {
        match mode {
            Mode::WithOnce => &Self::ALL[1..],
            Mode::SetOnly => &Self::MERGES,
        }
    }
}

/// A row where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its event time and position.
    pub place: Place,
    /// When it was learned.
    pub known: Time,
    /// What it does.
    pub row: Row,
}
