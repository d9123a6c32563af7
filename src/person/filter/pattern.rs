//! Patterns of the operator `regex`, with the semantics of RE2.
//!
//! The crate `regex` has RE2's syntax and linear time, but its `\w`, `\d`, `\s` and `\b` cover all of
//! Unicode, while RE2's cover ASCII only. Left as they are, they would match other values, and make short
//! patterns exceed the size limit. The crate's own switch for that, `(?-u)`, goes too far: with it `\W` and
//! `.` match single bytes. So only these parts are rewritten, where the crate's parser finds them. Everything
//! else stays Unicode, as in RE2: `.`, literal text, and case.

use regex::{Regex, RegexBuilder};
use regex_syntax::ast::parse::Parser;
use regex_syntax::ast::{
    AssertionKind, Ast, ClassPerl, ClassPerlKind, ClassSetItem, Span, Visitor, visit,
};

/// The maximum memory of a compiled pattern, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// Why a pattern cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not a regular expression.
    #[error("it is not a regular expression ({0})")]
    Syntax(String),
    /// It compiles to more than the memory allowed.
    #[error("it is too large")]
    TooLarge,
}

/// Compiles a pattern.
///
/// # Errors
/// [`Error`].
pub fn parse(text: &str) -> Result<Regex, Error> {
    let ast = Parser::new().parse(text).map_err(|error| Error::Syntax(error.to_string()))?;
    let Ok(rewritten) = visit(&ast, Rewriter { text, kept: 0, out: String::new() });
    let pattern = RegexBuilder::new(&rewritten).size_limit(MAX_BYTES).build();
    pattern.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => Error::TooLarge,
        other => Error::Syntax(other.to_string()),
    })
}

/// Rewrites a pattern, replacing the parts that RE2 restricts to ASCII.
struct Rewriter<'t> {
    text: &'t str,
    /// The part of `text` already copied to `out` or replaced there, in bytes.
    kept: usize,
    out: String,
}

impl Rewriter<'_> {
    fn replace(&mut self, span: &Span, by: &str) {
        self.out.push_str(&self.text[self.kept..span.start.offset]);
        self.out.push_str(by);
        self.kept = span.end.offset;
    }

    fn class(&mut self, class: &ClassPerl) {
        // RE2's `\s` excludes the vertical tab. Bracketed classes may be nested, so
        // these also work in a class.
        let by = match (&class.kind, class.negated) {
            (ClassPerlKind::Digit, false) => "[0-9]",
            (ClassPerlKind::Digit, true) => "[^0-9]",
            (ClassPerlKind::Space, false) => r"[\t\n\f\r\x20]",
            (ClassPerlKind::Space, true) => r"[^\t\n\f\r\x20]",
            (ClassPerlKind::Word, false) => "[0-9A-Za-z_]",
            (ClassPerlKind::Word, true) => "[^0-9A-Za-z_]",
        };
        self.replace(&class.span, by);
    }
}

impl Visitor for Rewriter<'_> {
    type Output = String;
    type Err = std::convert::Infallible;

    fn finish(mut self) -> Result<String, Self::Err> {
        self.out.push_str(&self.text[self.kept..]);
        Ok(self.out)
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), Self::Err> {
        match ast {
            Ast::ClassPerl(class) => self.class(class),
            Ast::Assertion(assertion) => match assertion.kind {
                AssertionKind::StartLine
                | AssertionKind::EndLine
                | AssertionKind::StartText
                | AssertionKind::EndText => {}
                _ => {
                    let Span { start, end } = assertion.span;
                    let boundary = &self.text[start.offset..end.offset];
                    self.replace(&assertion.span, &format!("(?-u:{boundary})"));
                }
            },
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), Self::Err> {
        if let ClassSetItem::Perl(class) = item {
            self.class(class);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_boundaries_are_ascii_and_the_rest_is_not() {
        for (pattern, yes, no) in [
            (r"^\d$", vec!["7"], vec!["\u{663}", "a"]),
            (r"^\w$", vec!["a", "_"], vec!["ä", "\u{663}", "-"]),
            (r"^\s$", vec![" ", "\t", "\r"], vec!["\u{a0}", "\u{b}"]),
            (r"^\D\W\S$", vec!["äää", "\u{663}\u{a0}\u{a0}"], vec!["1ää", "äaä", "ää "]),
            (r"^[\w.-]+$", vec!["a.b-c"], vec!["ä"]),
            (r"^[^\w.]$", vec!["ä", "-"], vec!["a", "."]),
            (r"^[\W\d]$", vec!["ä", "1"], vec!["a"]),
            (r"^[\w&&[^\d]]$", vec!["a"], vec!["1", "ä"]),
            (r"\bb\b", vec!["b", "a b", "äb"], vec!["ab"]),
            (r"a\Bä", vec![], vec!["aä"]),
            (r"ä\Bö", vec!["äö"], vec![]),
            (r"\B", vec!["ä", "-"], vec![]),
            (r"(?x) ^ \s \d $ # a \w", vec![" 1"], vec!["\u{a0}1"]),
            // As in RE2, the other case of an ASCII letter may be outside ASCII.
            (r"(?i)^\w$", vec!["a", "\u{212a}"], vec!["ä"]),
            (r"(?i)^É.$", vec!["éü"], vec!["e"]),
            (r"^.$", vec!["ü", "\u{1f600}"], vec!["ab", "\n"]),
            (r"^\\w\.[[:alpha:]]\pL$", vec![r"\w.aä"], vec!["a.aä"]),
            ("^ü\\wü$", vec!["üaü"], vec!["üüü"]),
        ] {
            let regex = parse(pattern).unwrap();
            for text in yes {
                assert!(regex.is_match(text), "{pattern} {text}");
            }
            for text in no {
                assert!(!regex.is_match(text), "not: {pattern} {text}");
            }
        }
    }

    #[test]
    fn short_patterns_are_not_too_large() {
        let email = parse(r"^[\w.+-]+@[\w-]+\.[\w.-]{2,63}$").unwrap();
        assert!(email.is_match("ann@x.org") && !email.is_match("ann"));
        assert!(parse(r"^\w{1,64}$").unwrap().is_match("ann_7"));
        let error = parse("((a{1000}){1000}){1000}").unwrap_err().to_string();
        assert_eq!(error, "it is too large");
        for pattern in ["(", r"(?=a)", r"\p{Nobody}", r"(\w"] {
            let error = parse(pattern).unwrap_err().to_string();
            assert!(error.starts_with("it is not a regular expression ("), "{pattern}: {error}");
        }
    }
}
