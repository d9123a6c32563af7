//! Writes JSON straight into bytes: a person's values are JSON text already and need not be parsed again.

use std::fmt::Display;

use axum::http::HeaderValue;
use serde::Serialize;

/// The content type of an answer in JSON.
pub const CONTENT: HeaderValue = HeaderValue::from_static("application/json");

/// Writes a string with its quotes and escapes.
pub fn string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("memory takes every text");
}

/// Returns a value as JSON.
pub fn of(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("memory takes every answer")
}

/// Writes an array; `each` writes one item.
pub fn array<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut each: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        each(out, item);
    }
    out.push(b']');
}

/// An object being written, its fields in the order of the calls.
pub struct Object<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl<'o> Object<'o> {
    /// Opens the object.
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// Writes a name; the caller writes the value.
    pub fn field(&mut self, name: &str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        string(self.out, name);
        self.out.push(b':');
        self.out
    }

    /// Writes a field whose value is JSON text.
    pub fn raw(&mut self, name: &str, json: &str) {
        self.field(name).extend(json.as_bytes());
    }

    /// Writes a string field.
    pub fn string(&mut self, name: &str, text: &str) {
        string(self.field(name), text);
    }

    /// Writes a field that is a string or null.
    pub fn optional_string(&mut self, name: &str, text: Option<&str>) {
        match text {
            Some(text) => self.string(name, text),
            None => self.raw(name, "null"),
        }
    }

    /// Writes a field with the `Display` text of a value as a string, or null.
    pub fn optional(&mut self, name: &str, value: Option<impl Display>) {
        self.optional_string(name, value.map(|value| value.to_string()).as_deref());
    }

    /// Writes a field that is a whole number.
    pub fn number(&mut self, name: &str, number: u64) {
        self.raw(name, &number.to_string());
    }

    /// Writes a boolean field.
    pub fn flag(&mut self, name: &str, flag: bool) {
        self.raw(name, if flag { "true" } else { "false" });
    }

    /// Writes a field that is an array of strings.
    pub fn strings(&mut self, name: &str, texts: &[String]) {
        array(self.field(name), texts, |out, text| string(out, text));
    }

    /// Closes the object.
    pub fn end(self) {
        self.out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_texts_are_escaped_and_values_are_kept() {
        let mut out = Vec::new();
        let mut object = Object::new(&mut out);
        object.raw("a\"\n", "1.0");
        object.strings("b", &["ü".to_owned(), "\u{0}".to_owned()]);
        object.optional("c", None::<u8>);
        object.flag("d", true);
        object.number("e", 7);
        object.end();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"a\"\n":1.0,"b":["ü","\u0000"],"c":null,"d":true,"e":7}"#
        );
    }
}
