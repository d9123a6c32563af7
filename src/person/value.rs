//! A property's value: JSON that keeps the notation in which it came, but compares by meaning.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde_json::Value as Tree;

use super::json;

/// The longest text that is kept in memory for any part of it, in bytes. Most events are far shorter.
const MAX_SHARED: usize = 16 << 10;

/// JSON text without white space between tokens. Large integers and decimals keep every digit.
///
/// Equality is structural: `1` equals `1.0`, and the order of an object's keys does not matter.
#[derive(Clone)]
pub struct Value {
    /// The text that contains the value. All values of a head share one text, so that reading a head does not
    /// allocate for each of them.
    whole: Arc<str>,
    begin: u32,
    end: u32,
}

impl Value {
    /// Creates a value from a text that is known to be JSON.
    #[must_use]
    pub fn from_json(json: &str) -> Self {
        Self::whole(&json::compact(json))
    }

    /// Creates a JSON string with this content.
    #[must_use]
    pub fn string(text: &str) -> Self {
        Self::whole(&Tree::from(text).to_string())
    }

    fn whole(json: &str) -> Self {
        let end = u32::try_from(json.len()).expect("Kafka takes no record of 4 GiB");
        Self { whole: json.into(), begin: 0, end }
    }

    /// Creates a value from a part of a text, known to be JSON without white space between tokens. `None` if
    /// the range is not within the text.
    #[must_use]
    pub fn part(whole: &Arc<str>, part: Range<u32>) -> Option<Self> {
        let (begin, end) = (usize::try_from(part.start).ok()?, usize::try_from(part.end).ok()?);
        whole.get(begin..end)?;
        Some(Self { whole: whole.clone(), begin: part.start, end: part.end })
    }

    /// Creates the value of `json`, a slice of `text`, sharing `whole`, which has the same content as `text`.
    /// If that is not possible the value gets its own text, and also if a large text would be kept in memory
    /// for a small part of it.
    #[must_use]
    pub fn within(whole: &Arc<str>, text: &str, json: &str) -> Self {
        let Cow::Borrowed(json) = json::compact(json) else {
            return Self::from_json(json);
        };
        if text.len() > MAX_SHARED && json.len() < text.len() / 2 {
            return Self::from_json(json);
        }
        let begin = json.as_ptr().addr().wrapping_sub(text.as_ptr().addr());
        let range =
            u32::try_from(begin).ok().zip(u32::try_from(begin.wrapping_add(json.len())).ok());
        let part = range.and_then(|(begin, end)| Self::part(whole, begin..end));
        part.filter(|part| part.as_json() == json).unwrap_or_else(|| Self::from_json(json))
    }

    /// Returns the JSON text.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.whole[self.begin as usize..self.end as usize]
    }

    /// Returns whether both are the same part of the same text, and so equal without a comparison.
    #[must_use]
    pub fn is_same_part(&self, other: &Self) -> bool {
        (self.begin, self.end) == (other.begin, other.end) && Arc::ptr_eq(&self.whole, &other.whole)
    }

    /// Returns whether the value is JSON's `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.as_json() == "null"
    }

    /// Returns the content of a string, or the JSON text of any other value, which does not depend on the
    /// escapes that were used in it.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        let json = self.as_json();
        json::string(json).unwrap_or_else(|| json::plain(json))
    }

    /// Returns whether the value can serve as a display name: it is not null, false, zero or empty.
    #[must_use]
    pub fn is_truthy(&self) -> bool {
        match self.as_json() {
            "null" | "false" | "\"\"" | "[]" | "{}" => false,
            json if is_number(json) => !Decimal::of(json).digits.is_empty(),
            _ => true,
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        if self.is_same_part(other) {
            return true;
        }
        let (a, b) = (self.as_json(), other.as_json());
        if a == b {
            return true;
        }
        if is_number(a) && is_number(b) {
            return Decimal::of(a) == Decimal::of(b);
        }
        // Different texts are different values unless one of them can be written in several ways: an object,
        // an array, or a string with escapes.
        let may_vary = |text: &str| text.starts_with(['{', '[']) || text.contains('\\');
        if a.as_bytes().first() != b.as_bytes().first() || !(may_vary(a) || may_vary(b)) {
            return false;
        }
        match (json::tree(a), json::tree(b)) {
            (Some(a), Some(b)) => same(&a, &b),
            _ => false,
        }
    }
}

impl Eq for Value {}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_json())
    }
}

fn same(a: &Tree, b: &Tree) -> bool {
    match (a, b) {
        (Tree::Number(a), Tree::Number(b)) => Decimal::of(a.as_str()) == Decimal::of(b.as_str()),
        (Tree::Array(a), Tree::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Tree::Object(a), Tree::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

fn is_number(json: &str) -> bool {
    json.starts_with(|c: char| c == '-' || c.is_ascii_digit())
}

/// A number in normal form: its significant digits, and the power of ten of the last one.
#[derive(PartialEq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    fn of(number: &str) -> Self {
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{}{fraction}", whole.trim_start_matches('-'));
        let digits = all.trim_start_matches('0').trim_end_matches('0');
        if digits.is_empty() {
            return Self { negative: false, digits: String::new(), exponent: 0 };
        }
        let dropped = all.len() - all.trim_end_matches('0').len();
        let shift = i64::try_from(dropped).unwrap_or(i64::MAX)
            - i64::try_from(fraction.len()).unwrap_or(i64::MAX);
        // An exponent outside i64 is clamped to the limit, so numbers with such exponents may compare
        // equal if their digits are.
        let limit = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
        let exponent: i64 = exponent.trim_start_matches('+').parse().unwrap_or(limit);
        Self {
            negative: number.starts_with('-'),
            digits: digits.to_owned(),
            exponent: exponent.saturating_add(shift),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_is_of_meaning() {
        for (a, b, expected) in [
            ("1", "1.0", true),
            ("1", "10e-1", true),
            ("100", "1E+2", true),
            ("0", "-0.0", true),
            ("1", "-1", false),
            ("1", "true", false),
            ("12345678901234567890123", "12345678901234567890124", false),
            ("0.1", "0.10000000000000000000000001", false),
            (r#"{"a":1,"b":[2]}"#, r#"{"b":[2.0],"a":1}"#, true),
            (r#"{"a":1}"#, r#"{"a":1,"b":null}"#, false),
            (r#""\u0041""#, r#""A""#, true),
            (r#""1""#, "1", false),
            ("null", "false", false),
            (
                r#"{"$serde_json::private::Number":"12"}"#,
                r#"{"$serde_json::private::Number":"12.0"}"#,
                false,
            ),
        ] {
            assert_eq!(Value::from_json(a) == Value::from_json(b), expected, "{a} {b}");
        }
    }

    #[test]
    fn the_form_in_which_it_came_is_kept() {
        for json in ["1.0", "12345678901234567890.10", r#"{"b":1,"a":2}"#, "1E5"] {
            assert_eq!(Value::from_json(json).as_json(), json);
        }
    }

    #[test]
    fn names_are_made_of_truthy_values_only() {
        for falsy in ["null", "false", "0", "0.0", "-0", "\"\"", "[]", "{}"] {
            assert!(!Value::from_json(falsy).is_truthy(), "{falsy}");
        }
        for truthy in ["true", "0.1", "\"0\"", "[0]"] {
            assert!(Value::from_json(truthy).is_truthy(), "{truthy}");
        }
    }
}
