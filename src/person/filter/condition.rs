//! What an operator asks of a value.

use std::cmp::Ordering::{self, Equal};

use chrono::{DateTime, Months, TimeDelta};
use regex::Regex;
use semver::{Version, VersionReq};
use serde_json::Value as Tree;

use super::pattern;
use crate::person::time::DAY;
use crate::person::{Needle, Time, Value};

/// What is asked of a value that is there.
#[derive(Clone, Debug)]
pub enum Condition {
    /// It is one of these.
    OneOf(Vec<Value>),
    /// It has this somewhere, upper and lower case alike.
    Contains(Needle),
    /// The pattern is found in it.
    Matches(Regex),
    /// It stands in this order to another value: as numbers where both are, else as texts.
    Compares(Order, Value),
    /// It is a number from one to another.
    Between(f64, f64),
    /// It is there.
    IsSet,
    /// It is a moment in this span, its end not included.
    When(Option<Time>, Option<Time>),
    /// It is a version in this order to another.
    Version(Order, Version),
    /// It is a version that meets a requirement.
    Meets(VersionReq),
}

/// How two values stand to one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The same.
    Equal,
    /// The first is greater.
    Greater,
    /// The first is greater or they are the same.
    GreaterOrEqual,
    /// The first is less.
    Less,
    /// The first is less or they are the same.
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
    /// Nobody knows the operator.
    Operator,
    /// What the value must be.
    Value(String),
}

/// An operator with its value, understood.
pub struct Parsed {
    /// What is asked of a value that is there.
    pub condition: Condition,
    /// It must not hold.
    pub negated: bool,
    /// What a missing property answers.
    pub missing: bool,
}

impl Parsed {
    /// A condition, or that it does not hold: a missing property meets the second.
    fn of(condition: Condition, negated: bool) -> Self {
        Self { condition, negated, missing: negated }
    }

    /// The same of a property that must be there.
    fn of_present(condition: Condition, negated: bool) -> Self {
        Self { condition, negated, missing: false }
    }
}

impl Condition {
    /// Reads an operator and its value.
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
            ("regex", _) => Parsed::of(Self::Matches(pattern(&text(value)?)?), negated),
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

    /// Whether it holds for a value that is not null.
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

/// One value, or each of an array; a null is nobody's, as a property that is null counts as missing.
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

fn pattern(text: &str) -> Result<Regex, Unknown> {
    pattern::parse(text).map_err(|error| Unknown::Value(error.to_string()))
}

fn span(tree: &Tree) -> Result<(f64, f64), Unknown> {
    let items = tree.as_array().map(Vec::as_slice).unwrap_or_default();
    let numbers: Vec<_> = items.iter().filter_map(|item| number(&text(item).ok()?)).collect();
    match (items.len(), &numbers[..]) {
        (2, [least, most]) => Ok((*least, *most)),
        _ => due("it must be an array of two numbers"),
    }
}

/// A number by its text, whatever type it came in.
fn number(text: &str) -> Option<f64> {
    let digits = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
    text.parse().ok().filter(|number: &f64| digits && number.is_finite())
}

fn compare(a: &Value, b: &Value) -> Ordering {
    let (a_text, b_text) = (a.text(), b.text());
    match (number(&a_text), number(&b_text)) {
        // Whole numbers that are one double are compared by all of their digits.
        (Some(x), Some(y)) => {
            let digits = whole(&a_text).zip(whole(&b_text)).map_or(Equal, |(a, b)| a.cmp(&b));
            // Of the two zeros both are made the same one.
            (x + 0.0).total_cmp(&(y + 0.0)).then(digits)
        }
        _ => a_text.cmp(&b_text),
    }
}

fn whole(text: &str) -> Option<i128> {
    text.parse().ok()
}

/// A property's moment: a text, or seconds or milliseconds since 1970.
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

/// A date as a span: of a day where it names one, else of a moment. So many days or more before now are a
/// moment too, or the day of that where it is asked for `by_day`.
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

/// So long before now: hours, days, weeks, months or years.
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

/// A version as people write it: a `v` before it and missing parts are overlooked.
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

/// The requirement of a pattern such as `1.2.*`, whose missing parts are stars; `None` where it is none.
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
    // A requirement may be several, joined by commas; a version is one.
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
