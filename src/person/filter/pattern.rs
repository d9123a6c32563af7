//! Patterns of the operator `regex`: their syntax is RE2's, and the memory of all patterns of one filter
//! is limited.

use std::sync::OnceLock;

use regex::{Regex, RegexBuilder};

use super::re2;

/// The memory of a compiled pattern that is tried first, in bytes.
const LEAST_BYTES: usize = 64 << 10;

/// Why a pattern cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not a regular expression.
    #[error("it is not a regular expression ({0})")]
    Syntax(String),
    /// It compiles to more than the memory that is left.
    #[error("it is too large, alone or with the patterns before it")]
    TooLarge,
}

/// A pattern, which has to be compiled before anything is matched: that may take long, so it is not done
/// while the pattern is read.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    compiled: OnceLock<Regex>,
}

impl Pattern {
    /// Creates a pattern that is not compiled yet.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self { text, compiled: OnceLock::new() }
    }

    /// Compiles the pattern, unless it is compiled already. `bytes_left` is how much memory it may take, and
    /// is reduced by what it takes.
    ///
    /// # Errors
    /// [`Error`].
    pub fn compile(&self, bytes_left: &mut usize) -> Result<(), Error> {
        if self.compiled.get().is_none() {
            let regex = compiled(&self.text, bytes_left)?;
            self.compiled.get_or_init(|| regex);
        }
        Ok(())
    }

    /// Returns whether a text has a match. Without [`Pattern::compile`] no text has one.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.compiled.get().is_some_and(|regex| regex.is_match(text))
    }
}

/// Compiles a pattern. The crate tells only whether a pattern takes more than a limit, so higher ones are
/// tried, and the one that was enough counts.
fn compiled(text: &str, bytes_left: &mut usize) -> Result<Regex, Error> {
    let translated = re2::translate(text).map_err(Error::Syntax)?;
    let mut limit = LEAST_BYTES;
    while limit <= *bytes_left {
        match RegexBuilder::new(&translated).size_limit(limit).build() {
            Ok(regex) => {
                *bytes_left -= limit;
                return Ok(regex);
            }
            Err(regex::Error::CompiledTooBig(_)) => limit *= 2,
            Err(error) => return Err(Error::Syntax(reason(&translated, &error))),
        }
    }
    Err(Error::TooLarge)
}

/// Returns what is wrong with a pattern, without the pattern itself, which differs from the one given.
fn reason(translated: &str, error: &regex::Error) -> String {
    match regex_syntax::parse(translated) {
        Err(regex_syntax::Error::Parse(error)) => error.kind().to_string(),
        Err(regex_syntax::Error::Translate(error)) => error.kind().to_string(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::person::filter::PATTERN_BYTES;

    fn error(text: &str) -> String {
        compiled(text, &mut { PATTERN_BYTES }).unwrap_err().to_string()
    }

    #[test]
    fn all_letters_are_not_too_large_and_repeated_repetitions_are() {
        for pattern in [r"^[\w.+-]+@[\w-]+\.[\w.-]{2,63}$", r"^\w{1,64}$", r"^[\p{L} ]{2,50}$"] {
            assert!(compiled(pattern, &mut { PATTERN_BYTES }).is_ok(), "{pattern}");
        }
        let too_large = "it is too large, alone or with the patterns before it";
        assert_eq!(error("((a{1000}){1000}){1000}"), too_large);
    }

    #[test]
    fn patterns_share_their_memory() {
        let mut left = PATTERN_BYTES;
        let compiled: Vec<_> = (0..93).map(|_| compiled(r"\pL{20}", &mut left)).collect();
        let fit = compiled.iter().filter(|compiled| compiled.is_ok()).count();
        assert!((4..40).contains(&fit), "{fit} fit, and {left} bytes are left");
        let mut left = PATTERN_BYTES;
        for _ in 0..100 {
            super::compiled("^a+@example[.]com$", &mut left).unwrap();
        }
    }

    #[test]
    fn an_invalid_pattern_says_why() {
        for (pattern, reason) in [
            ("(", "unclosed group"),
            (r"\p{Nobody}", "Unicode property value not found"),
            ("(?=a)", "(?=a is not a group of RE2"),
        ] {
            assert_eq!(error(pattern), format!("it is not a regular expression ({reason})"));
        }
    }

    #[test]
    fn nothing_matches_before_it_is_compiled() {
        let pattern = Pattern::new("a".to_owned());
        assert!(!pattern.is_match("a"));
        pattern.compile(&mut { PATTERN_BYTES }).unwrap();
        pattern.compile(&mut 0).unwrap();
        assert!(pattern.is_match("a") && !pattern.is_match("b"));
    }
}
