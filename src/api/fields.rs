//! The fields of a request with a body: those of the body, JSON or a form, and those of the query.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use serde::de::IgnoredAny;

use super::error::Error;
use super::parameters::Parameters;
use crate::person::Value;
use crate::person::json;

/// The fields of a request, by name.
#[derive(Debug, Default)]
pub struct Fields {
    body: BTreeMap<String, Field>,
    query: BTreeMap<String, Field>,
}

#[derive(Clone, Debug, PartialEq)]
enum Field {
    /// A value of a JSON body, as written there.
    Json(Value),
    /// A value of a form or a query, where everything is text; it is read as JSON if it parses as such. A
    /// field that is given several times is a list. If a single value is expected, the last one counts.
    Text { last: String, before: Vec<String> },
}

impl Fields {
    /// Parses a body and the query.
    pub fn of(headers: &HeaderMap, body: &[u8], query: &Parameters) -> Result<Self, Error> {
        let mut fields = Self { query: texts(query), ..Self::default() };
        if body.is_empty() {
            return Ok(fields);
        }
        let text = std::str::from_utf8(body).map_err(|_| Error::unreadable("it is not UTF-8"))?;
        match media_type(headers).as_deref() {
            Some("application/x-www-form-urlencoded") => {
                // curl sends every body as a form unless told otherwise. Read as a form, JSON would be one
                // field with an odd name, and ignored.
                if text.trim_start().starts_with(['{', '[']) {
                    return Err(Error::json_as_form());
                }
                fields.body = texts(&Parameters::parse(text)?);
            }
            Some(of) if of == "application/json" || of.ends_with("+json") => {
                let (text, _) = json::repaired(text);
                if json::is_too_deep(&text) {
                    return Err(Error::unreadable("it is nested too deeply"));
                }
                let read = json::fields(&text, |name, value| {
                    fields.body.insert(name.into_owned(), Field::Json(Value::from_json(value)));
                });
                read.map_err(|fault| Error::unreadable(&format!("it is {fault}")))?;
            }
            of => return Err(Error::unsupported_media_type(of)),
        }
        Ok(fields)
    }

    /// Yields the names of the fields of the body.
    pub fn names_of_body(&self) -> impl Iterator<Item = &str> {
        self.body.keys().map(String::as_str)
    }

    /// Yields the field of the body, then that of the query.
    fn both(&self, name: &str) -> impl Iterator<Item = &Field> {
        [self.body.get(name), self.query.get(name)].into_iter().flatten()
    }

    /// Reads the field of the body, or that of the query if the former is missing, empty or null.
    fn first<T>(
        &self,
        name: &str,
        read: impl Fn(&Field) -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        self.both(name).map(read).find_map(Result::transpose).transpose()
    }

    /// Returns a field as JSON; null and an empty text are values. A text that is not JSON is a string.
    pub fn json(&self, name: &str) -> Option<Value> {
        self.both(name).next().map(Field::json)
    }

    /// Returns a field as JSON; null and an empty text count as absent.
    pub fn filled(&self, name: &str) -> Option<Value> {
        self.both(name).find_map(Field::filled)
    }

    /// Returns a field that is a string, or a number as its text. Null and an empty text count as absent.
    pub fn text(&self, name: &str) -> Result<Option<String>, Error> {
        self.first(name, |field| field.text(name))
    }

    /// Returns the entries of a field that is an object.
    pub fn object(&self, name: &str) -> Result<Option<Vec<(String, Value)>>, Error> {
        let Some(value) = self.filled(name) else {
            return Ok(None);
        };
        let mut entries = BTreeMap::new();
        let read = json::fields(value.as_json(), |name, value| {
            entries.insert(name.into_owned(), Value::from_json(value));
        });
        let entries = read.map(|()| Some(entries.into_iter().collect()));
        entries.map_err(|_| Error::invalid(name, format!("{name} must be a JSON object")))
    }

    /// Returns a field that is an array of strings, or a single string. Numbers count as their text.
    pub fn texts(&self, name: &str) -> Result<Option<Vec<String>>, Error> {
        self.first(name, |field| field.texts(name))
    }
}

impl Field {
    fn of_form(text: String) -> Self {
        Self::Text { last: text, before: Vec::new() }
    }

    fn json(&self) -> Value {
        match self {
            Self::Json(value) => value.clone(),
            Self::Text { last: text, .. } => {
                let (repaired, _) = json::repaired(text);
                let is_json = serde_json::from_str::<IgnoredAny>(&repaired).is_ok();
                if is_json && !json::is_too_deep(&repaired) {
                    Value::from_json(repaired.trim())
                } else {
                    Value::string(text)
                }
            }
        }
    }

    fn filled(&self) -> Option<Value> {
        Some(self.json()).filter(|value| !value.is_null() && !value.text().is_empty())
    }

    fn text(&self, name: &str) -> Result<Option<String>, Error> {
        let text = match self {
            // A form gives a field that may be an array as JSON, so a single string may come in quotes.
            Self::Text { last: text, .. } => match self.json() {
                value if value.as_json().starts_with('"') => value.text().into_owned(),
                _ => text.clone(),
            },
            Self::Json(value) if value.is_null() => return Ok(None),
            Self::Json(value) if value.as_json().starts_with(['{', '[', 't', 'f']) => {
                return Err(Error::invalid(name, format!("{name} must be a string")));
            }
            Self::Json(value) => value.text().into_owned(),
        };
        Ok((!text.is_empty()).then_some(text))
    }

    fn texts(&self, name: &str) -> Result<Option<Vec<String>>, Error> {
        if let Self::Text { last, before } = self
            && !before.is_empty()
        {
            let each = before.iter().chain([last]).map(|text| Self::of_form(text.clone()));
            let each = each.map(|one| one.texts(name)).collect::<Result<Vec<_>, _>>()?;
            return Ok(each.into_iter().flatten().reduce(|all, more| [all, more].concat()));
        }
        let Some(value) = self.filled() else {
            return Ok(None);
        };
        let wrong =
            || Error::invalid(name, format!("{name} must be an array of strings or numbers"));
        if !value.as_json().starts_with('[') {
            return Ok(self.text(name).map_err(|_| wrong())?.map(|text| vec![text]));
        }
        let items = json::elements(value.as_json()).unwrap_or_default();
        let texts = items.into_iter().map(|item| match item {
            other if other.starts_with(['{', '[', 't', 'f']) => None,
            text => json::text(text).map(Cow::into_owned),
        });
        let texts: Option<_> = texts.collect();
        Ok(Some(texts.ok_or_else(wrong)?))
    }
}

/// The fields of a form or a query.
fn texts(parameters: &Parameters) -> BTreeMap<String, Field> {
    let mut fields = BTreeMap::new();
    for (name, text) in parameters.all() {
        match fields.entry(name.to_owned()) {
            Entry::Vacant(entry) => _ = entry.insert(Field::of_form(text.to_owned())),
            Entry::Occupied(mut entry) => {
                if let Field::Text { last, before } = entry.get_mut()
                    && !text.is_empty()
                {
                    before.push(std::mem::replace(last, text.to_owned()));
                }
            }
        }
    }
    fields
}

/// The content type without its parameters, in lowercase.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next().unwrap_or_default();
    Some(essence.trim().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(kind: &'static str, body: &str, query: &str) -> Result<Fields, Error> {
        let headers = [(CONTENT_TYPE, kind.parse().unwrap())].into_iter().collect();
        Fields::of(&headers, body.as_bytes(), &Parameters::parse(query).unwrap())
    }

    #[test]
    fn the_body_wins_over_the_query() {
        let fields =
            fields("application/json", r#"{"a": "b", "n": 1.0}"#, "a=q&c=%7B%22x%22%3A1%7D");
        let fields = fields.unwrap();
        assert_eq!(fields.text("a").unwrap().as_deref(), Some("b"));
        assert_eq!(fields.text("n").unwrap().as_deref(), Some("1.0"));
        assert_eq!(fields.text("x").unwrap(), None);
        assert_eq!(fields.object("c").unwrap().unwrap()[0].1.as_json(), "1");
        assert!(fields.object("a").is_err());
    }

    #[test]
    fn empty_fields_of_the_body_do_not_hide_those_of_the_query() {
        let query = "t=q&l=%5B%22q%22%5D&o=%7B%22q%22%3A1%7D&v=7";
        for (kind, body) in [
            ("application/json", r#"{"t": "", "l": null, "o": null, "v": null}"#),
            ("application/json", r#"{"t": null, "l": "", "o": "", "v": null}"#),
            ("application/x-www-form-urlencoded", "t=&l=&o=&v=null"),
            ("application/x-www-form-urlencoded", "t=%22%22&l=null&o=null&v=null"),
        ] {
            let fields = fields(kind, body, query).unwrap();
            assert_eq!(fields.text("t").unwrap().as_deref(), Some("q"), "{body}");
            assert_eq!(fields.texts("l").unwrap().unwrap(), ["q"], "{body}");
            assert_eq!(fields.object("o").unwrap().unwrap()[0].0, "q", "{body}");
            assert_eq!(fields.filled("v").unwrap().as_json(), "7", "{body}");
            assert!(fields.json("v").unwrap().is_null(), "{body}: of a property it is a value");
        }
        let fields = fields("application/json", r#"{"l": [], "o": {}}"#, query).unwrap();
        assert_eq!(fields.texts("l").unwrap().unwrap(), [""; 0], "no ids are something else");
        assert!(fields.object("o").unwrap().unwrap().is_empty());
    }

    #[test]
    fn a_form_is_json_where_it_reads_as_such() {
        let form = "p=%7B%22a%22%3A+%5B1%5D%7D&s=true+north&n=007&l=%5B%22x%22%2C7%5D&e=&q=%22a+%5C%22b%5C%22%22&h=%22half";
        let fields = fields("application/x-www-form-urlencoded; charset=utf-8", form, "").unwrap();
        assert_eq!(fields.object("p").unwrap().unwrap()[0].1.as_json(), "[1]");
        assert_eq!(fields.json("s").unwrap(), Value::string("true north"));
        assert_eq!(fields.text("n").unwrap().as_deref(), Some("007"));
        assert_eq!(fields.texts("l").unwrap().unwrap(), ["x", "7"]);
        assert_eq!(fields.texts("s").unwrap().unwrap(), ["true north"]);
        assert_eq!(fields.text("e").unwrap(), None);
        assert_eq!(fields.text("q").unwrap().as_deref(), Some("a \"b\""));
        assert_eq!(fields.texts("q").unwrap().unwrap(), ["a \"b\""]);
        assert_eq!(fields.text("h").unwrap().as_deref(), Some("\"half"));
    }

    #[test]
    fn a_field_given_several_times_is_a_list() {
        let form = "application/x-www-form-urlencoded";
        for (kind, body, query) in
            [(form, "l=a&l=%5B%22b%22%2C7%5D&l=c&l=", ""), (form, "", "l=a&l=b&l=7&l=c")]
        {
            let fields = fields(kind, body, query).unwrap();
            assert_eq!(fields.texts("l").unwrap().unwrap(), ["a", "b", "7", "c"]);
        }
        let once = fields(form, "t=a&t=b&e=&e=", "").unwrap();
        assert_eq!(once.text("t").unwrap().as_deref(), Some("b"));
        assert_eq!(once.texts("e").unwrap(), None);
        let empty = fields(form, "t=a&t=", "").unwrap();
        assert_eq!(empty.text("t").unwrap().as_deref(), Some("a"), "an empty one is absent");
        assert!(fields(form, "l=a&l=%5B%7B%7D%5D", "").unwrap().texts("l").is_err());
    }

    #[test]
    fn bodies_and_fields_that_make_no_sense_are_refused() {
        for (kind, body) in [
            ("application/json", "{"),
            ("application/json", "[1]"),
            ("application/json", "{\"a\": 1} x"),
            ("application/x-www-form-urlencoded", "{\"a\": 1}"),
            ("application/x-www-form-urlencoded; charset=utf-8", " [1]"),
            ("text/plain", "{}"),
            ("", "{}"),
        ] {
            assert!(fields(kind, body, "").is_err(), "{kind} {body}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        assert!(fields("application/json", &deep, "").is_err());
        let fields = fields("application/json", r#"{"o": {}, "l": [{}], "t": true}"#, "").unwrap();
        assert!(fields.text("o").is_err() && fields.text("t").is_err());
        assert!(fields.texts("l").is_err() && fields.texts("o").is_err());
    }
}
