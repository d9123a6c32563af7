//! Reads JSON text without building trees of it: an event has some forty properties, of
//! which a person keeps a few.

mod tree;

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

pub use self::tree::tree;
#[cfg(test)]
pub use self::tree::wrapped;

/// The maximum number of nested levels of objects and arrays in one JSON text.
pub const MAX_DEPTH: usize = 128;

/// Why a text could not be read as an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not JSON.
    #[error("not JSON")]
    Syntax,
    /// It is JSON, but not an object.
    #[error("JSON, but not an object")]
    NoObject,
}

/// Calls `each` with every key of a JSON object and the text of its value, in order. If a key occurs twice,
/// the last one wins if the caller overwrites.
///
/// # Errors
/// [`Fault`] if the text is not one JSON object.
pub fn fields<'a>(text: &'a str, each: impl FnMut(Cow<'a, str>, &'a str)) -> Result<(), Fault> {
    fill(text, &mut Each(each)).map_err(|_| match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Fault::NoObject,
        Err(_) => Fault::Syntax,
    })
}

/// Returns the text of every element of a JSON array, in order.
///
/// # Errors
/// If the text is not one JSON array.
pub fn elements(text: &str) -> serde_json::Result<Vec<&str>> {
    let elements: Vec<&RawValue> = serde_json::from_str(text)?;
    Ok(elements.into_iter().map(RawValue::get).collect())
}

struct Each<F>(F);

impl<'a, F: FnMut(Cow<'a, str>, &'a str)> Fill<'a> for Each<F> {
    fn field<V: MapAccess<'a>>(
        &mut self,
        key: Cow<'a, str>,
        values: &mut V,
    ) -> Result<(), V::Error> {
        (self.0)(key, next_raw(values)?);
        Ok(())
    }
}

/// A value that is filled from a JSON object while that is parsed. Objects nested in it are filled in the
/// same pass, whereas [`fields`] takes two: one to find the end of a nested object, one over its fields.
pub trait Fill<'a> {
    /// Reads the value of a field from `values`.
    ///
    /// # Errors
    /// If the value does not fit the field.
    fn field<V: MapAccess<'a>>(
        &mut self,
        key: Cow<'a, str>,
        values: &mut V,
    ) -> Result<(), V::Error>;
}

/// Fills a value from a JSON object, field by field in order.
///
/// # Errors
/// If the text is not a JSON object, or the value of a field does not fit.
pub fn fill<'a>(text: &'a str, filled: &mut impl Fill<'a>) -> serde_json::Result<()> {
    let mut json = serde_json::Deserializer::from_str(text);
    json.deserialize_map(Filling(filled))?;
    json.end()
}

/// Returns the JSON text of a value; `None` for `null`, which counts as absent.
#[must_use]
pub fn given(raw: &str) -> Option<&str> {
    (raw != "null").then_some(raw)
}

/// Reads the JSON text of the next value.
///
/// # Errors
/// If it is not JSON.
pub fn next_raw<'a, V: MapAccess<'a>>(values: &mut V) -> Result<&'a str, V::Error> {
    Ok(values.next_value::<&RawValue>()?.get())
}

/// Reads the next value as a string; `None` for `null`.
///
/// # Errors
/// If it is of another type.
pub fn next_string<'a, V: MapAccess<'a>>(values: &mut V) -> Result<Option<Cow<'a, str>>, V::Error> {
    Ok(values.next_value::<Option<Text<'a>>>()?.map(|Text(text)| text))
}

/// Reads the next value as an object that fills an `F`; `None` for `null`.
///
/// # Errors
/// If it is of another type.
pub fn next_object<'a, F: Fill<'a> + Default, V: MapAccess<'a>>(
    values: &mut V,
) -> Result<Option<F>, V::Error> {
    Ok(values.next_value::<Option<Filled<F>>>()?.map(|Filled(filled)| filled))
}

struct Filled<F>(F);

impl<'a, F: Fill<'a> + Default> Deserialize<'a> for Filled<F> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        let mut filled = F::default();
        deserializer.deserialize_map(Filling(&mut filled))?;
        Ok(Self(filled))
    }
}

struct Filling<'f, F>(&'f mut F);

impl<'a, F: Fill<'a>> Visitor<'a> for Filling<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(Text(key)) = map.next_key()? {
            self.0.field(key, &mut map)?;
        }
        Ok(())
    }
}

/// A string, borrowed if it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Returns the string that a JSON text encodes; `None` if it is of another type.
#[must_use]
pub fn string(text: &str) -> Option<Cow<'_, str>> {
    if !text.starts_with('"') {
        return None;
    }
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        return text.get(1..text.len() - 1).map(Cow::Borrowed);
    }
    serde_json::from_str(text).ok().map(Cow::Owned)
}

/// Returns the JSON text with each of its strings written in one way, whatever escapes were used for it.
#[must_use]
pub fn plain(json: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', json.as_bytes()).is_none() {
        return Cow::Borrowed(json);
    }
    let (mut out, mut rest) = (String::with_capacity(json.len()), json);
    while let Some(start) = memchr::memchr(b'"', rest.as_bytes()) {
        let (before, from_quote) = rest.split_at(start);
        let (quoted, after) = from_quote.split_at(string_length(from_quote));
        out.push_str(before);
        match string(quoted) {
            Some(Cow::Owned(text)) => out.push_str(&serde_json::Value::from(text).to_string()),
            _ => out.push_str(quoted),
        }
        rest = after;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Returns the length of the JSON string that a text begins with, quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

/// Converts a JSON text to text: a string to its content, anything else to its
/// compact JSON. `None` for `null`.
#[must_use]
pub fn text(json: &str) -> Option<Cow<'_, str>> {
    given(json).map(|json| string(json).unwrap_or_else(|| compact(json)))
}

/// Returns a value's [`text`]; `None` if it is null or blank.
#[must_use]
pub fn filled(json: &str) -> Option<Cow<'_, str>> {
    text(json).filter(|text| !text.trim().is_empty())
}

/// Returns the length of a text when it is escaped for a JSON string, in bytes, without the quotes.
#[must_use]
pub fn quoted_bytes(text: &str) -> usize {
    let bytes = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => "\\n".len(),
        0..0x20 => "\\u0001".len(),
        _ => 1,
    });
    bytes.sum()
}

/// Returns the JSON text without white space between its tokens.
#[must_use]
pub fn compact(json: &str) -> Cow<'_, str> {
    if !json.starts_with(['{', '[']) || !json.contains([' ', '\n', '\t', '\r']) {
        return Cow::Borrowed(json);
    }
    let (mut quoted, mut escaped) = (false, false);
    let kept = json.chars().filter(|&c| {
        if quoted {
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
            return true;
        }
        quoted = c == '"';
        !c.is_ascii_whitespace()
    });
    Cow::Owned(kept.collect())
}

/// Returns whether a JSON text nests objects and arrays deeper than [`MAX_DEPTH`].
#[must_use]
pub fn is_too_deep(json: &str) -> bool {
    // Nearly every text has fewer brackets than the levels allowed, which this fast pass detects.
    if memchr::memchr2_iter(b'{', b'[', json.as_bytes()).nth(MAX_DEPTH).is_none() {
        return false;
    }
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        if quoted {
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

/// Returns a JSON text in which every escape is a character that text may contain: NUL and unpaired
/// surrogates (emoji that an SDK cut in two) become U+FFFD. The flag says whether there was a NUL. A leading
/// byte order mark, which some editors write, is dropped.
#[must_use]
pub fn repaired(json: &str) -> (Cow<'_, str>, bool) {
    let json = json.strip_prefix('\u{feff}').unwrap_or(json);
    if memchr::memmem::find(json.as_bytes(), b"\\u").is_none() {
        return (Cow::Borrowed(json), false);
    }
    let (mut out, mut kept, mut had_nul) = (String::new(), 0, false);
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', &json.as_bytes()[at..]) {
        let start = at + found;
        at = (start + 2).min(json.len());
        let Some(unit) = escape(json, start) else {
            continue;
        };
        at = start + 6;
        let paired = match unit {
            0xD800..0xDC00 => escape(json, at).is_some_and(|low| (0xDC00..0xE000).contains(&low)),
            0xDC00..0xE000 | 0 => false,
            _ => continue,
        };
        if paired {
            at += 6;
            continue;
        }
        had_nul |= unit == 0;
        out.push_str(&json[kept..start]);
        out.push_str("\\ufffd");
        kept = at;
    }
    if kept == 0 {
        return (Cow::Borrowed(json), false);
    }
    out.push_str(&json[kept..]);
    (Cow::Owned(out), had_nul)
}

/// Returns the code unit of the escape `\uXXXX` that begins at `start`.
fn escape(json: &str, start: usize) -> Option<u32> {
    let digits = json.get(start..start + 6)?.strip_prefix("\\u")?;
    let hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    hexadecimal.then(|| u32::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_in_order_with_their_text() {
        let mut seen = Vec::new();
        fields(r#"{"a" : 1.0, "b\n":[ 1 ], "a":{}}"#, |key, value| seen.push((key, value)))
            .unwrap();
        assert_eq!(seen, [("a".into(), "1.0"), ("b\n".into(), "[ 1 ]"), ("a".into(), "{}")]);
    }

    #[test]
    fn broken_text_and_other_types_are_told_apart() {
        for (text, fault) in [
            ("", Fault::Syntax),
            ("[1", Fault::Syntax),
            ("[1]", Fault::NoObject),
            ("\"x\"", Fault::NoObject),
            ("{\"a\":1} x", Fault::Syntax),
        ] {
            assert_eq!(fields(text, |_, _| ()), Err(fault), "{text}");
        }
    }

    #[test]
    fn nul_and_half_surrogates_become_the_replacement_character() {
        for (text, expected, nul) in [
            (r#""a\u0000b""#, r#""a\ufffdb""#, true),
            (r#""\\u0000""#, r#""\\u0000""#, false),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#, false),
            (r#""\ud83d!""#, r#""\ufffd!""#, false),
            (r#""\ude00\u0041""#, r#""\ufffd\u0041""#, false),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#, false),
            (r#""\u00"#, r#""\u00"#, false),
        ] {
            assert_eq!(repaired(text), (expected.into(), nul), "{text}");
        }
    }

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(!is_too_deep(&nested(MAX_DEPTH)));
        assert!(is_too_deep(&nested(MAX_DEPTH + 1)));
        assert!(!is_too_deep(&format!("\"{}\"", "[".repeat(500))));
        assert!(!is_too_deep(&format!("[{}]", vec!["{}"; 500].join(","))));
    }

    #[test]
    fn strings_are_written_in_one_way() {
        for (json, expected) in [
            (r#"["caf\u00e9","a\/b"]"#, r#"["café","a/b"]"#),
            (r#"{"\u0061\"":"\\","b":[1,"\n"]}"#, r#"{"a\"":"\\","b":[1,"\n"]}"#),
            (r#"["é","\\\"","\u0022"]"#, r#"["é","\\\"","\""]"#),
            (r#"["é"]"#, r#"["é"]"#),
            (r#"["\ud83d\ude00"]"#, r#"["😀"]"#),
            (r#"["\u00"#, r#"["\u00"#),
        ] {
            assert_eq!(plain(json), expected);
        }
    }

    #[test]
    fn compacting_spares_strings() {
        assert_eq!(compact("{ \"a b\" : [ 1,\n\"\\\" x\" ] }"), "{\"a b\":[1,\"\\\" x\"]}");
    }
}
