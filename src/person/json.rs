//! Reading JSON text without building trees of it: an event has some forty properties, of which
//! a person keeps a few.

mod tree;

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

pub use self::tree::tree;
#[cfg(test)]
pub use self::tree::wrapped;

/// How many levels of objects and arrays one JSON text may have.
pub const MAX_DEPTH: usize = 128;

/// Why a text could not be read as an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is no JSON.
    #[error("not JSON")]
    Syntax,
    /// It is JSON, but no object.
    #[error("JSON, but no object")]
    NoObject,
}

/// Calls `each` with every key of a JSON object and the text of its value, in their order, so
/// that of a key given twice the last one wins where the caller overwrites.
///
/// # Errors
/// [`Fault`] where the text is not one JSON object.
pub fn fields<'a>(text: &'a str, each: impl FnMut(Cow<'a, str>, &'a str)) -> Result<(), Fault> {
    fill(text, &mut Each(each)).map_err(|_| match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Fault::NoObject,
        Err(_) => Fault::Syntax,
    })
}

/// The text of every element of a JSON array, in their order.
///
/// # Errors
/// Where the text is not one JSON array.
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

/// What is filled from a JSON object while that is read. An object within it is read on the way, which
/// by [`fields`] takes two passes: one that looks for its end, and one over its fields.
pub trait Fill<'a> {
    /// Takes the value of a field off `values`.
    ///
    /// # Errors
    /// Where it is not what the field is filled from.
    fn field<V: MapAccess<'a>>(
        &mut self,
        key: Cow<'a, str>,
        values: &mut V,
    ) -> Result<(), V::Error>;
}

/// Fills from a JSON object, field by field in their order.
///
/// # Errors
/// Where the text is no JSON object, or a field of it not what it should be.
pub fn fill<'a>(text: &'a str, filled: &mut impl Fill<'a>) -> serde_json::Result<()> {
    let mut json = serde_json::Deserializer::from_str(text);
    json.deserialize_map(Filling(filled))?;
    json.end()
}

/// The JSON text of a value; `None` for `null`, which is as absent.
#[must_use]
pub fn given(raw: &str) -> Option<&str> {
    (raw != "null").then_some(raw)
}

/// The JSON text of the next value.
///
/// # Errors
/// Where it is no JSON.
pub fn next_raw<'a, V: MapAccess<'a>>(values: &mut V) -> Result<&'a str, V::Error> {
    Ok(values.next_value::<&RawValue>()?.get())
}

/// The string that is the next value; `None` for `null`.
///
/// # Errors
/// Where it is something else.
pub fn next_string<'a, V: MapAccess<'a>>(values: &mut V) -> Result<Option<Cow<'a, str>>, V::Error> {
    Ok(values.next_value::<Option<Text<'a>>>()?.map(|Text(text)| text))
}

/// What is filled from the object that is the next value; `None` for `null`.
///
/// # Errors
/// Where it is something else.
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

/// A string, borrowed where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The string that a JSON text is; `None` where it is another type.
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

/// A JSON text as text: of a string its content, of anything else its compact JSON. `None` for
/// `null`.
#[must_use]
pub fn text(json: &str) -> Option<Cow<'_, str>> {
    given(json).map(|json| string(json).unwrap_or_else(|| compact(json)))
}

/// A value's text, where it is not null and not blank.
#[must_use]
pub fn filled(json: &str) -> Option<Cow<'_, str>> {
    text(json).filter(|text| !text.trim().is_empty())
}

/// How long a text is within the quotes of JSON, in bytes.
#[must_use]
pub fn quoted_bytes(text: &str) -> usize {
    let bytes = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => "\\n".len(),
        0..0x20 => "\\u0001".len(),
        _ => 1,
    });
    bytes.sum()
}

/// The JSON text without white space between its tokens.
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

/// Whether a JSON text nests objects and arrays deeper than [`MAX_DEPTH`].
#[must_use]
pub fn is_too_deep(json: &str) -> bool {
    // Nearly every text has fewer brackets than allowed levels: one pass, no state.
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

/// A JSON text in which every escape names a character that text may hold: NUL and halves of
/// surrogate pairs (emoji that an SDK cut in two) become U+FFFD. The flag says whether there
/// was a NUL. A byte order mark before it, as some editors write one, is left out.
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

/// The code unit of the escape `\uXXXX` that begins at `start`.
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
    fn compacting_spares_strings() {
        assert_eq!(compact("{ \"a b\" : [ 1,\n\"\\\" x\" ] }"), "{\"a b\":[1,\"\\\" x\"]}");
    }
}
