//! Parses untrusted JSON text to trees, whatever its keys are.

use std::borrow::Cow;

use serde_json::{Map, Value as Tree};

use super::{elements, fields, is_too_deep};

/// Parses a JSON text; `None` if it is not JSON, or nested deeper than [`MAX_DEPTH`](super::MAX_DEPTH).
///
/// The tree is built level by level, because `serde_json` gives objects with certain keys
/// (`$serde_json::private::…`) a special meaning and parses the text in them as JSON again, to any depth.
#[must_use]
pub fn tree(json: &str) -> Option<Tree> {
    (!is_too_deep(json)).then(|| branch(json))?
}

fn branch(json: &str) -> Option<Tree> {
    let mut is_whole = true;
    let mut below = |json: &str| {
        branch(json).unwrap_or_else(|| {
            is_whole = false;
            Tree::Null
        })
    };
    let tree = match json.trim_ascii_start().as_bytes().first()? {
        b'{' => {
            let mut object = Map::new();
            let put =
                |key: Cow<'_, str>, json: &str| _ = object.insert(key.into_owned(), below(json));
            fields(json, put).ok()?;
            Tree::Object(object)
        }
        b'[' => Tree::Array(elements(json).ok()?.into_iter().map(below).collect()),
        _ => serde_json::from_str(json).ok()?,
    };
    is_whole.then_some(tree)
}

/// Nests this many objects that `serde_json` would unwrap, each around a text of many levels.
#[cfg(test)]
#[must_use]
pub fn wrapped(times: usize) -> String {
    (0..times).fold("1".to_owned(), |inner, _| {
        let text = Tree::from(format!("{}{inner}{}", "[".repeat(100), "]".repeat(100)));
        let text = text.to_string().replace("\\\"", "\\u0022").replace("\\\\", "\\u005c");
        format!(r#"{{"$serde_json::private::RawValue":{text}}}"#)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_a_tree_stays_text_whatever_stands_around_it() {
        for json in [
            r#"{"$serde_json::private::RawValue":"[1,2]"}"#,
            r#"{"\u0024serde_json::private::RawValue":"[1"}"#,
            r#"[{"$serde_json::private::Number":"12"}]"#,
            r#" {"a":[1.50,"b",null,true,{}],"c":{"d":-0}}"#,
        ] {
            let written = tree(json).map(|tree| tree.to_string());
            let expected = json.trim().replace("\\u0024", "$");
            assert_eq!(written, Some(expected), "{json}");
        }
        for json in ["", "[", "{\"a\":}", "[1]]", "nul", "{\"a\":[1}]"] {
            assert_eq!(tree(json), None, "{json}");
        }
        assert!(tree(&wrapped(5)).is_some_and(|tree| tree.is_object()));
        assert_eq!(tree(&format!("{}{}", "[".repeat(129), "]".repeat(129))), None);
    }
}
