//! Conditions on values: parses operators and evaluates them.

use std::cmp::Ordering::{self, Equal};

use chrono::{DateTime, Months, TimeDelta};
use semver::{Version, VersionReq};
use serde_json::Value as Tree;

use super::pattern::Pattern;
use crate::person::time::DAY;
use crate::person::{Needle, Time, Value};

/// The condition on a value that is present.
#[derive(Clone, Debug)]
pub enum Condition {
    /// It equals one of these.
    OneOf(Vec<Value>),
    /// It contains this text, ignoring case.
    Contains(Needle),
    /// It contains a match of this pattern.
    Matches(Pattern),
    /// It has this order relative to another value: as numbers if both are, else as texts.
    Compares(Order, Value),
    /// It is a number in this range, bounds included.
    Between(f64, f64),
    /// It is present.
    IsSet,
    /// It is a moment in this range, end excluded; `None` leaves a side unbounded.
    When(Option<Time>, Option<Time>),
    /// It is a version with this order relative to another.
    Version(Order, Version),
    /// It is a version that meets a requirement.
    Meets(VersionReq),
}

/// The order of one value relative to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// They are equal.
    Equal,
    /// The first is greater.
    Greater,
    /// The first is greater or they are equal.
    GreaterOrEqual,
    /// The first is less.
    Less,
    /// The first is less or they are equal.
    LessOrEqual,
}

impl Order {
    fn holds(self, found: Ordering) -> bool {
        match self {
            Self::Equal => found.is_eq(),
            Self::Greater => found.is_gt(),
            Self::GreaterOrEqual => found.is_ge(),
            Self::Less => found.is_lt(),
            Self::LessOrEqual => found.is_le(),
        }
    }
}

/// Why an operator and its value could not be understood.
pub enum Unknown {
    /// The operator is unknown.
    Operator,
    /// The value cannot be used; this says what it must be.
    Value(String),
}

/// An operator with its value, parsed.
pub struct Parsed {
    /// The condition on a value that is present.
    pub condition: Condition,
    /// Whether `condition` must not hold.
    pub negated: bool,
    /// The result for a missing property.
    pub missing: bool,
}

impl Parsed {
    /// Creates a condition or, if `negated`, its opposite, which a missing property meets.
    fn of(condition: Condition, negated: bool) -> Self {
        Self { condition, negated, missing: negated }
    }

    /// The same, but a missing property meets neither.
    fn of_present(condition: Condition, negated: bool) -> Self {
        Self { condition, negated, missing: false }
    }
}

impl Condition {
    /// Parses an operator and its value. Relative dates count back from `now`.
    ///
    /// # Errors
    /// [`Unknown`].
    pub fn parse(operator: &str, value: &Tree, now: Time) -> Result<Parsed, Unknown> {
        let (name, negated) = match operator.strip_prefix("not_") {
            Some(name) => (name, true),
            None => (operator, false),
        };
        let positive = |condition| Parsed::of(condition, false);
        Ok(match (name, negated) {
            ("exact", false) => Parsed::of(Self::OneOf(any_of(value)?), false),
            ("is_not", false) => Parsed::of(Self::OneOf(any_of(value)?), true),
            ("in", _) if !value.is_array() => return due("it must be an array"),
            ("in", _) => Parsed::of(Self::OneOf(any_of(value)?), negated),
            ("icontains", _) => Parsed::of(Self::Contains(Needle::new(&text(value)?)), negated),
            ("regex", _) => Parsed::of(Self::Matches(Pattern::new(text(value)?)), negated),
            ("between", _) => {
                let (least, most) = span(value)?;
                Parsed::of_present(Self::Between(least, most), negated)
            }
            ("is_set", false) => Parsed::of(Self::IsSet, false),
            ("is_not_set", false) => Parsed::of(Self::IsSet, true),
            (_, true) => return Err(Unknown::Operator),
            ("gt", _) => positive(Self::Compares(Order::Greater, scalar(value)?)),
            ("gte" | "min", _) => positive(Self::Compares(Order::GreaterOrEqual, scalar(value)?)),
            ("lt", _) => positive(Self::Compares(Order::Less, scalar(value)?)),
            ("lte" | "max", _) => positive(Self::Compares(Order::LessOrEqual, scalar(value)?)),
            (date, _) if date.starts_with("is_date_") => {
                positive(when(&date["is_date_".len()..], &text(value)?, now)?)
            }
            (of, _) if of.starts_with("semver_") => {
                let (condition, negated) = versions(&of["semver_".len()..], &text(value)?)?;
                Parsed::of_present(condition, negated)
            }
            _ => return Err(Unknown::Operator),
        })
    }

    /// Returns whether it holds for a value that is not null.
    #[must_use]
    pub fn holds(&self, value: &Value) -> bool {
        match self {
            Self::OneOf(values) => {
                values.iter().any(|other| value == other || value.text() == other.text())
            }
            Self::Contains(needle) => needle.is_in(&value.text()),
            Self::Matches(pattern) => pattern.is_match(&value.text()),
            Self::Compares(order, other) => order.holds(compare(value, other)),
            Self::Between(least, most) => {
                number(&value.text()).is_some_and(|number| (*least..=*most).contains(&number))
            }
            Self::IsSet => true,
            Self::When(from, to) => moment(value).is_some_and(|moment| {
                from.is_none_or(|from| from <= moment) && to.is_none_or(|to| moment < to)
            }),
            Self::Version(order, other) => {
                version(&value.text()).is_some_and(|found| order.holds(found.cmp_precedence(other)))
            }
            Self::Meets(requirement) => {
                version(&value.text()).is_some_and(|found| requirement.matches(&found))
            }
        }
    }
}

fn due<T>(due: &str) -> Result<T, Unknown> {
    Err(Unknown::Value(due.to_owned()))
}

fn value_of(tree: &Tree) -> Value {
    Value::from_json(&tree.to_string())
}

/// Reads one value, or each of an array. Nulls in an array are ignored: a null property counts as missing.
fn any_of(tree: &Tree) -> Result<Vec<Value>, Unknown> {
    match tree {
        Tree::Null => due("it is missing or null, which is_set and is_not_set ask for"),
        Tree::Array(items) => {
            Ok(items.iter().filter(|item| !item.is_null()).map(value_of).collect())
        }
        one => Ok(vec![value_of(one)]),
    }
}

fn scalar(tree: &Tree) -> Result<Value, Unknown> {
    match tree {
        Tree::String(_) | Tree::Number(_) | Tree::Bool(_) => Ok(value_of(tree)),
        _ => due("it must be a text or a number"),
    }
}

fn text(tree: &Tree) -> Result<String, Unknown> {
    Ok(scalar(tree)?.text().into_owned())
}

fn span(tree: &Tree) -> Result<(f64, f64), Unknown> {
    let items = tree.as_array().map(Vec::as_slice).unwrap_or_default();
    let numbers: Vec<_> = items.iter().filter_map(|item| number(&text(item).ok()?)).collect();
    match (items.len(), &numbers[..]) {
        (2, [least, most]) => Ok((*least, *most)),
        _ => due("it must be an array of two numbers"),
    }
}

/// Parses a number from the text of a value, whatever its type.
fn number(text: &str) -> Option<f64> {
    let digits = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
    text.parse().ok().filter(|number: &f64| digits && number.is_finite())
}

fn compare(a: &Value, b: &Value) -> Ordering {
    let (a_text, b_text) = (a.text(), b.text());
    match (number(&a_text), number(&b_text)) {
        // Integers that round to the same double are compared by all of their digits.
        (Some(x), Some(y)) => {
            let digits = whole(&a_text).zip(whole(&b_text)).map_or(Equal, |(a, b)| a.cmp(&b));
            // Adding 0.0 turns -0.0 into 0.0, which `total_cmp` tells apart.
            (x + 0.0).total_cmp(&(y + 0.0)).then(digits)
        }
        _ => a_text.cmp(&b_text),
    }
}

fn whole(text: &str) -> Option<i128> {
    text.parse().ok()
}

/// Reads a property as a moment: a time as text, or seconds or milliseconds since 1970.
fn moment(value: &Value) -> Option<Time> {
    let text = value.text();
    if let Some(time) = Time::parse(&text) {
        return Some(time);
    }
    let number = number(&text)?;
    let microseconds = number * if number.abs() < 1e11 { 1e6 } else { 1e3 };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "of what is a moment at all nothing is cut off"
    )]
    (microseconds.abs() < 1e18).then(|| Time(microseconds.round() as i64))
}

/// Parses a date as a span: a day if it names one, else a moment. A relative date such as `-7d` is also a
/// moment or, with `by_day`, the day of that moment unless it counts hours.
fn date(text: &str, now: Time, by_day: bool) -> Option<(Time, Time)> {
    if let Some(time) = Time::parse_from_url(text) {
        let is_day = text.trim().len() == "2026-03-01".len();
        return Some((time, time.plus(if is_day { DAY } else { 1 })));
    }
    let before = text.trim().strip_prefix('-')?;
    let time = relative(before, now)?;
    if by_day && !before.ends_with('h') {
        let day = Time(time.0.div_euclid(DAY) * DAY);
        return Some((day, day.plus(DAY)));
    }
    Some((time, time.plus(1)))
}

/// Returns the time before now by a count of hours, days, weeks, months or years, such as `7d`.
fn relative(text: &str, now: Time) -> Option<Time> {
    let unit = text.chars().last()?;
    let count = &text[..text.len() - unit.len_utf8()];
    let digits = count.bytes().all(|byte| byte.is_ascii_digit());
    let count = digits.then(|| count.parse::<u32>().ok()).flatten()?;
    let now = DateTime::from_timestamp_micros(now.0)?;
    let then = match unit {
        'h' => now.checked_sub_signed(TimeDelta::try_hours(count.into())?),
        'd' => now.checked_sub_signed(TimeDelta::try_days(count.into())?),
        'w' => now.checked_sub_signed(TimeDelta::try_weeks(count.into())?),
        'm' => now.checked_sub_months(Months::new(count)),
        'y' => now.checked_sub_months(Months::new(count.checked_mul(12)?)),
        _ => None,
    };
    Some(Time(then?.timestamp_micros()))
}

fn when(order: &str, text: &str, now: Time) -> Result<Condition, Unknown> {
    let Some((from, to)) = date(text, now, order == "exact") else {
        return due("it must be a date such as 2026-03-01 or -7d");
    };
    match order {
        "exact" => Ok(Condition::When(Some(from), Some(to))),
        "before" => Ok(Condition::When(None, Some(from))),
        "after" => Ok(Condition::When(Some(to), None)),
        _ => Err(Unknown::Operator),
    }
}

/// Parses a version as people write it: a leading `v` is ignored and missing parts are zero.
fn version(text: &str) -> Option<Version> {
    let text = bare(text);
    if let Ok(version) = Version::parse(text) {
        return Some(version);
    }
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (core, rest) = text.split_at(end);
    let missing = 2_usize.checked_sub(core.matches('.').count())?;
    Version::parse(&format!("{core}{}{rest}", ".0".repeat(missing))).ok()
}

fn bare(text: &str) -> &str {
    text.trim().trim_start_matches(['v', 'V'])
}

/// Converts a pattern such as `1.2.*` to a requirement; missing parts are stars. `None` if it is not one.
fn wildcard(text: &str) -> Option<String> {
    let parts: Vec<_> = bare(text).split('.').collect();
    let is_star = |part: &&str| matches!(*part, "*" | "x" | "X");
    let (numbers, stars) = parts.split_at(parts.iter().take_while(|part| !is_star(part)).count());
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit());
    if parts.len() > 3 || !numbers.iter().all(is_number) || !stars.iter().all(is_star) {
        return None;
    }
    Some(match numbers {
        [] => "*".to_owned(),
        [_, _, _] => format!("={}", numbers.join(".")),
        _ => format!("{}.*", numbers.join(".")),
    })
}

fn versions(order: &str, text: &str) -> Result<(Condition, bool), Unknown> {
    let no_version = || Unknown::Value("it must be a version such as 1.2.3".to_owned());
    let requirement = |text: String| VersionReq::parse(&text).map_err(|_| no_version());
    // Commas would join several requirements, but exactly one version is expected.
    let one = || Some(bare(text)).filter(|one| !one.contains(',')).ok_or_else(no_version);
    let compares = |order| Ok(Condition::Version(order, version(text).ok_or_else(no_version)?));
    Ok(match order {
        "eq" => (compares(Order::Equal)?, false),
        "neq" => (compares(Order::Equal)?, true),
        "gt" => (compares(Order::Greater)?, false),
        "gte" => (compares(Order::GreaterOrEqual)?, false),
        "lt" => (compares(Order::Less)?, false),
        "lte" => (compares(Order::LessOrEqual)?, false),
        "tilde" => (Condition::Meets(requirement(format!("~{}", one()?))?), false),
        "caret" => (Condition::Meets(requirement(format!("^{}", one()?))?), false),
        "wildcard" => {
            (Condition::Meets(requirement(wildcard(text).ok_or_else(no_version)?)?), false)
        }
        _ => return Err(Unknown::Operator),
    })
}
