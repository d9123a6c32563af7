//! Filters that select persons of a list by their properties: `[{"key", "value", "operator"}, …]`, and groups
//! of these joined by `AND` and `OR`.

mod condition;
mod pattern;
mod re2;

use serde_json::{Map, Value as Tree};
use strsim::osa_distance;

pub use self::condition::Condition;
use self::condition::Parsed;
use self::pattern::{Memory, Pattern};
use super::{Time, Value, json};

/// The maximum number of conditions in one filter.
pub const MAX_CONDITIONS: usize = 100;

/// The maximum nesting depth of groups.
pub const MAX_DEPTH: usize = 10;

/// A filter of persons.
#[derive(Clone, Debug)]
pub enum Filter {
    /// All of these hold.
    All(Vec<Filter>),
    /// At least one of these holds.
    Any(Vec<Filter>),
    /// One property meets a condition.
    Property(PropertyCondition),
}

/// A condition on one property.
#[derive(Clone, Debug)]
pub struct PropertyCondition {
    /// The property.
    pub key: String,
    /// The condition on a value that is present and not null.
    pub condition: Condition,
    /// Whether `condition` must not hold.
    pub negated: bool,
    /// The result for a property that is missing or null.
    pub missing: bool,
}

/// Why a filter could not be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not a filter at all.
    #[error("Properties are unparsable!")]
    Unparsable,
    /// It filters by something other than persons.
    #[error("A filter of type '{0}' is not known here: type must be person.")]
    Type(String),
    /// The operator is unknown.
    #[error("The operator '{0}' is not known.")]
    Operator(String),
    /// A field of a condition is misspelt.
    #[error("The field '{name}' of a condition is not known; is {meant} meant?")]
    Field {
        /// The name that was given.
        name: String,
        /// The name that was probably meant.
        meant: &'static str,
    },
    /// The operator cannot use the value.
    #[error("The value of '{key}' cannot be used by the operator {operator}: {due}.")]
    Value {
        /// The property.
        key: String,
        /// The operator.
        operator: String,
        /// What the value must be.
        due: String,
    },
    /// It is too large.
    #[error("A filter may have {MAX_CONDITIONS} conditions and {MAX_DEPTH} levels of groups.")]
    TooLarge,
}

impl Filter {
    /// Parses a filter. Relative dates count back from `now`. [`Filter::compile`] has to be called before the
    /// filter is used.
    ///
    /// # Errors
    /// [`Error`], worded for the author of the filter.
    pub fn parse(json: &str, now: Time) -> Result<Self, Error> {
        let tree = json::tree(json).ok_or(Error::Unparsable)?;
        let mut seen = Seen::default();
        match tree {
            Tree::Array(filters) => Ok(Self::All(all(filters, now, 0, &mut seen)?)),
            group @ Tree::Object(_) => filter(group, now, 0, &mut seen),
            _ => Err(Error::Unparsable),
        }
    }

    /// Compiles its patterns. Each may take some hundred milliseconds, so `check` is called before each and
    /// can end it with an error.
    ///
    /// # Errors
    /// That of `check`, or [`Error::Value`] if a pattern is not one of RE2 or too large.
    pub fn compile<E: From<Error>>(&self, check: impl Fn() -> Result<(), E>) -> Result<(), E> {
        let patterns = self.patterns();
        let mut memory = Memory::of(patterns.len());
        patterns.into_iter().try_for_each(|(condition, pattern)| {
            check()?;
            let compiled = pattern.compile(&mut memory);
            compiled.map_err(|error| E::from(condition.error(&error.to_string())))
        })
    }

    /// Returns the conditions with a pattern, and the patterns.
    fn patterns(&self) -> Vec<(&PropertyCondition, &Pattern)> {
        match self {
            Self::All(filters) | Self::Any(filters) => {
                filters.iter().flat_map(Self::patterns).collect()
            }
            Self::Property(test) => match &test.condition {
                Condition::Matches(pattern) => vec![(test, pattern)],
                _ => Vec::new(),
            },
        }
    }

    /// Returns whether it has no conditions, and so holds for every person.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::All(all) if all.is_empty())
    }

    /// Returns the properties that it is about, each as often as it occurs.
    #[must_use]
    pub fn keys(&self) -> Vec<&str> {
        match self {
            Self::All(filters) | Self::Any(filters) => {
                filters.iter().flat_map(Self::keys).collect()
            }
            Self::Property(test) => vec![&test.key],
        }
    }

    /// Returns a property that every person must have for the filter to hold; `None` if there is none.
    #[must_use]
    pub fn driver(&self) -> Option<&str> {
        match self {
            Self::All(filters) => filters.iter().find_map(Self::driver),
            Self::Any(filters) => match &filters[..] {
                [one] => one.driver(),
                _ => None,
            },
            Self::Property(test) => (!test.missing).then_some(test.key.as_str()),
        }
    }

    /// Returns whether it has a regular expression, so that checking one value may take long.
    #[must_use]
    pub fn has_pattern(&self) -> bool {
        !self.patterns().is_empty()
    }

    /// Returns whether it holds for a person. `value` returns the person's value of a property.
    pub fn holds<'v>(&self, value: &impl Fn(&str) -> Option<&'v Value>) -> bool {
        match self {
            Self::All(filters) => filters.iter().all(|filter| filter.holds(value)),
            Self::Any(filters) => filters.iter().any(|filter| filter.holds(value)),
            Self::Property(test) => test.holds(value(&test.key)),
        }
    }
}

impl PropertyCondition {
    /// Returns whether it holds for a value of the property; `None` if the property is missing.
    #[must_use]
    pub fn holds(&self, value: Option<&Value>) -> bool {
        match value.filter(|value| !value.is_null()) {
            None => self.missing,
            Some(value) => self.condition.holds(value) != self.negated,
        }
    }

    /// Returns the error for its pattern.
    fn error(&self, due: &str) -> Error {
        let operator = if self.negated { "not_regex" } else { "regex" };
        Error::Value { key: self.key.clone(), operator: operator.to_owned(), due: due.to_owned() }
    }
}

/// How many parts of a filter were parsed so far.
#[derive(Default)]
struct Seen {
    conditions: usize,
    groups: usize,
}

/// Parses the conditions and groups of a group. Groups without conditions are left out, as PostHog does.
fn all(filters: Vec<Tree>, now: Time, depth: usize, seen: &mut Seen) -> Result<Vec<Filter>, Error> {
    let filters = filters.into_iter().map(|tree| filter(tree, now, depth, seen));
    filters.filter(|filter| !matches!(filter, Ok(filter) if filter.is_empty())).collect()
}

fn filter(tree: Tree, now: Time, depth: usize, seen: &mut Seen) -> Result<Filter, Error> {
    let Tree::Object(mut fields) = tree else {
        return Err(Error::Unparsable);
    };
    let count = if fields.contains_key("values") { &mut seen.groups } else { &mut seen.conditions };
    *count += 1;
    if *count > MAX_CONDITIONS || depth > MAX_DEPTH {
        return Err(Error::TooLarge);
    }
    if let Some(values) = fields.remove("values") {
        let Tree::Array(values) = values else {
            return Err(Error::Unparsable);
        };
        let values = all(values, now, depth + 1, seen)?;
        return match fields.get("type").and_then(Tree::as_str) {
            Some("OR") if !values.is_empty() => Ok(Filter::Any(values)),
            Some("AND" | "OR") => Ok(Filter::All(values)),
            _ => Err(Error::Unparsable),
        };
    }
    refuse_misspelt(&fields)?;
    let text = |name: &str| match fields.get(name) {
        None | Some(Tree::Null) => Ok(None),
        Some(Tree::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Error::Unparsable),
    };
    let key = text("key")?.ok_or(Error::Unparsable)?;
    if let Some(other) = text("type")?.filter(|kind| kind != "person") {
        return Err(Error::Type(other));
    }
    let operator = text("operator")?.unwrap_or_else(|| "exact".to_owned());
    let value = fields.remove("value").unwrap_or(Tree::Null);
    let Parsed { condition, negated, missing } = match Condition::parse(&operator, &value, now) {
        Ok(parsed) => parsed,
        Err(condition::Unknown::Operator) => return Err(Error::Operator(operator)),
        Err(condition::Unknown::Value(due)) => return Err(Error::Value { key, operator, due }),
    };
    Ok(Filter::Property(PropertyCondition { key, condition, negated, missing }))
}

/// Returns an error for a field that looks like one of those that may be absent: without it the condition
/// would mean something else. Other unknown fields are ignored, as PostHog's clients send some (`label`,
/// `group_type_index`, …).
fn refuse_misspelt(fields: &Map<String, Tree>) -> Result<(), Error> {
    let absent = ["operator", "value", "type"].into_iter().filter(|it| !fields.contains_key(*it));
    for meant in absent {
        let is_like = |name: &str| {
            let name = name.to_lowercase();
            name.len() > 1 && meant.starts_with(&name)
                || osa_distance(&name, meant) * 4 <= meant.len()
        };
        if let Some(name) = fields.keys().find(|name| is_like(name)) {
            return Err(Error::Field { name: name.clone(), meant });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
