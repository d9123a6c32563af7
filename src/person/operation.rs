//! What one event does to the properties of one person, and which of that is worth a row.

use std::borrow::Cow;

use super::history::{Row, State};
use super::promotion::{self, Ranked};
use super::{Time, Value};

/// What one event does to one property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `$set`.
    Set(Value),
    /// `$set_once`.
    Once(Value),
    /// `$unset`.
    Unset,
    /// `$set` and `$unset` of one key in one event: the key is removed if it was present, and set to
    /// the value if it was absent.
    SetUnset(Value),
    /// `$set_once` and `$unset` of one key in one event, likewise.
    OnceUnset(Value),
}

impl Action {
    /// Returns the row that records this action.
    #[must_use]
    pub fn into_row(self) -> Row {
        match self {
            Self::Set(value) => Row::Set(value),
            Self::Once(value) => Row::Once(value),
            Self::Unset => Row::Unset,
            Self::SetUnset(value) => Row::SetUnset(value),
            Self::OnceUnset(value) => Row::OnceUnset(value),
        }
    }
}

/// What one event does to one property, with the property's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The property's name.
    pub name: Cow<'static, str>,
    /// What is done.
    pub action: Action,
    /// Whether it was promoted from the event's properties rather than set explicitly.
    pub promoted: bool,
}

/// The operations named in an event, before they are joined per key.
#[derive(Debug, Default)]
pub struct Draft {
    given: Vec<(Cow<'static, str>, Named)>,
    promoted: Vec<(Ranked, Named)>,
}

/// An operation as an event names it.
#[derive(Debug)]
enum Named {
    Set(Value),
    /// `None` stands for `null`: it sets nothing, but it names the key.
    Once(Option<Value>),
    Unset,
    PromotedSet(Value),
    PromotedOnce(Value),
}

/// All operations that an event names for one key.
#[derive(Default)]
struct Joined {
    set: Option<(Value, bool)>,
    once: Option<(Option<Value>, bool)>,
    unset: bool,
}

impl Draft {
    /// Creates the draft of an event with `promoted` promoted properties.
    #[must_use]
    pub fn of(promoted: usize) -> Self {
        Self { given: Vec::new(), promoted: Vec::with_capacity(2 * promoted) }
    }

    /// Adds a `$set` of one key. A later one of the same key wins.
    pub fn set(&mut self, key: String, value: Value) {
        self.given.push((key.into(), Named::Set(value)));
    }

    /// Adds a `$set_once` of one key. `null` sets nothing.
    pub fn once(&mut self, key: String, value: Value) {
        let value = (!value.is_null()).then_some(value);
        self.given.push((key.into(), Named::Once(value)));
    }

    /// Adds an `$unset` of one key.
    pub fn unset(&mut self, key: String) {
        self.given.push((key.into(), Named::Unset));
    }

    /// Adds a promoted event property. It yields to what the event sets explicitly.
    pub fn promote(&mut self, names: promotion::Promoted, value: &Value) {
        self.promoted.push((names.name, Named::PromotedSet(value.clone())));
        if !value.is_null() {
            self.promoted.push((names.initial, Named::PromotedOnce(value.clone())));
        }
    }

    /// Returns one update per key, sorted by name. `$set` shadows `$set_once`, and `$unset` joins either.
    #[must_use]
    pub fn finish(self) -> Vec<Update> {
        let Self { given: mut all, mut promoted } = self;
        // The sorts are stable, so operations on one key keep their order.
        promoted.sort_by_key(|(name, _)| name.rank);
        let is_sorted = all.is_empty();
        all.extend(promoted.into_iter().map(|(name, named)| (name.text.into(), named)));
        if !is_sorted {
            all.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        let mut updates = Vec::with_capacity(all.len());
        let mut named = all.into_iter().peekable();
        while let Some((name, first)) = named.next() {
            let mut joined = Joined::default();
            joined.add(first);
            while let Some((_, next)) = named.next_if(|(next, _)| *next == name) {
                joined.add(next);
            }
            let action = joined.action();
            updates.extend(action.map(|(action, promoted)| Update { name, action, promoted }));
        }
        updates
    }
}

impl Joined {
    fn add(&mut self, named: Named) {
        match named {
            Named::Set(value) => self.set = Some((value, false)),
            Named::Once(value) => self.once = Some((value, false)),
            Named::Unset => self.unset = true,
            Named::PromotedSet(value) => _ = self.set.get_or_insert((value, true)),
            Named::PromotedOnce(value) => _ = self.once.get_or_insert((Some(value), true)),
        }
    }

    /// Returns what is done, and whether it was promoted.
    fn action(self) -> Option<(Action, bool)> {
        let once = self.once.and_then(|(value, promoted)| Some((value?, promoted)));
        match (self.set, once, self.unset) {
            (Some((value, promoted)), _, false) => Some((Action::Set(value), promoted)),
            (Some((value, _)), _, true) => Some((Action::SetUnset(value), false)),
            (None, Some((value, promoted)), false) => Some((Action::Once(value), promoted)),
            (None, Some((value, _)), true) => Some((Action::OnceUnset(value), false)),
            (None, None, true) => Some((Action::Unset, false)),
            (None, None, false) => None,
        }
    }
}

/// How much an update matters at its place in the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It changes nothing there, so it gets no row.
    Nothing,
    /// It is recorded only if another update of the same event is.
    RidesAlong,
    /// It is recorded.
    Recorded,
}

/// Returns whether an update sets the value that the property already has at its place, in both fold modes.
fn is_unchanged(update: &Update, before: &State) -> bool {
    let Action::Set(value) = &update.action else { return false };
    let (Some(current), Some(set_only)) = (&before.current, &before.set_only) else { return false };
    // Usually both are the same part of the head's text.
    current == value && (set_only.is_same_part(current) || set_only == value)
}

/// Weighs an update against the state just before it at its place in the timeline. An explicit `$set` that
/// repeats the value re-asserts it, but at most once an hour. `newest_row` returns the time of the property's
/// newest row at or before that place; it is called only in that case.
///
/// With `record_volatile`, volatile keys are treated like any other.
///
/// # Errors
/// Those of `newest_row`.
pub fn weigh<E>(
    update: &Update,
    before: &State,
    newest_row: impl FnOnce() -> Result<Option<Time>, E>,
    at: Time,
    record_volatile: bool,
) -> Result<Weight, E> {
    let absent = before.current.is_none();
    let changes = match &update.action {
        Action::Set(_) if is_unchanged(update, before) => {
            let hour = at.floor_to_hour();
            !update.promoted && newest_row()?.is_none_or(|row| row.floor_to_hour() != hour)
        }
        Action::Set(_) => true,
        Action::Once(_) => absent,
        Action::Unset | Action::SetUnset(_) | Action::OnceUnset(_) => return Ok(Weight::Recorded),
    };
    if !changes {
        return Ok(Weight::Nothing);
    }
    let new_under_set = absent && matches!(update.action, Action::Set(_));
    if new_under_set || record_volatile || !promotion::is_volatile(&update.name) {
        Ok(Weight::Recorded)
    } else {
        Ok(Weight::RidesAlong)
    }
}

/// Returns whether an event of this name records every change, volatile or not.
#[must_use]
pub fn records_volatile(event: &str) -> bool {
    matches!(event, "$identify" | "$create_alias" | "$merge_dangerously" | "$set" | "$set_once")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::person::time::DAY;

    fn value(json: &str) -> Value {
        Value::from_json(json)
    }

    fn set(name: &'static str, json: &str, promoted: bool) -> Update {
        Update { name: name.into(), action: Action::Set(value(json)), promoted }
    }

    fn weighed(
        update: &Update,
        before: &State,
        row: Option<Time>,
        at: Time,
        volatile: bool,
    ) -> Weight {
        let newest_row = || Ok::<_, std::convert::Infallible>(row);
        weigh(update, before, newest_row, at, volatile).unwrap()
    }

    fn both(json: &str) -> State {
        State { current: Some(value(json)), set_only: Some(value(json)) }
    }

    #[test]
    fn actions_of_one_key_are_joined() {
        let mut draft = Draft::default();
        draft.set("a".into(), value("1"));
        draft.once("a".into(), value("2"));
        draft.once("b".into(), value("null"));
        draft.once("c".into(), value("3"));
        draft.unset("c".into());
        draft.set("d".into(), value("4"));
        draft.unset("d".into());
        draft.unset("d".into());
        draft.unset("e".into());
        let actions: Vec<_> = draft.finish().into_iter().map(|u| (u.name, u.action)).collect();
        assert_eq!(
            actions,
            [
                ("a".into(), Action::Set(value("1"))),
                ("c".into(), Action::OnceUnset(value("3"))),
                ("d".into(), Action::SetUnset(value("4"))),
                ("e".into(), Action::Unset),
            ]
        );
    }

    #[test]
    fn promotion_yields_to_what_is_explicit() {
        let mut draft = Draft::default();
        draft.set("$browser".into(), value("\"mine\""));
        draft.promote(promotion::promoted("$browser").unwrap(), &value("\"seen\""));
        draft.promote(promotion::promoted("gclid").unwrap(), &value("null"));
        let got: Vec<_> =
            draft.finish().into_iter().map(|u| (u.name, u.action, u.promoted)).collect();
        assert_eq!(
            got,
            [
                ("$browser".into(), Action::Set(value("\"mine\"")), false),
                ("$initial_browser".into(), Action::Once(value("\"seen\"")), true),
                ("gclid".into(), Action::Set(value("null")), true),
            ]
        );
    }

    #[test]
    fn an_explicit_set_re_asserts_once_an_hour_and_a_promoted_one_never() {
        let at = Time(DAY);
        let weigh_at = |update: &Update, row| weighed(update, &both("1"), Some(row), at, false);
        assert_eq!(weigh_at(&set("plan", "1.0", false), Time(DAY - 1)), Weight::Recorded);
        assert_eq!(weigh_at(&set("plan", "1.0", false), Time(DAY)), Weight::Nothing);
        assert_eq!(weigh_at(&set("plan", "1.0", true), Time(DAY - 1)), Weight::Nothing);
        assert_eq!(weigh_at(&set("plan", "2", false), Time(DAY)), Weight::Recorded);
    }

    #[test]
    fn a_value_that_differs_in_one_mode_only_is_recorded() {
        let before = State { current: Some(value("1")), set_only: None };
        let weight = weighed(&set("plan", "1", true), &before, Some(Time(0)), Time(0), false);
        assert_eq!(weight, Weight::Recorded);
    }

    #[test]
    fn volatile_keys_ride_along_unless_new_under_set() {
        let weigh_it = |before: &State, volatile| {
            weighed(&set("$browser", "2", true), before, None, Time(0), volatile)
        };
        assert_eq!(weigh_it(&both("1"), false), Weight::RidesAlong);
        assert_eq!(weigh_it(&both("1"), true), Weight::Recorded);
        assert_eq!(weigh_it(&State::default(), false), Weight::Recorded);
    }

    #[test]
    fn a_null_in_set_once_keeps_promotion_off() {
        let mut draft = Draft::default();
        draft.once("$initial_browser".into(), Value::from_json("null"));
        draft.promote(promotion::promoted("$browser").unwrap(), &Value::from_json("1"));
        assert_eq!(draft.finish().len(), 1, "$browser alone");
    }
}
