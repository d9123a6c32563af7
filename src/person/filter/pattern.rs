//! Patterns of the operator `regex`: their syntax is RE2's, and the memory of all patterns of one filter
//! is limited.

use std::sync::OnceLock;

use regex_automata::meta::Regex;

use super::re2;

/// The memory that the compiled patterns of one filter may take together, in bytes.
const COMPILED_BYTES: usize = 8 << 20;

/// The memory for the states that the patterns of one filter met while they were matched, in bytes. Each thread
/// has so much, for each of the directions in which the crate matches (two or three). A pattern whose share is
/// not enough is matched without, several times slower; the share of three large ones is.
const STATES_BYTES: usize = 4 << 20;

/// The memory that is left for the patterns of one filter.
pub struct Memory {
    compiled: usize,
    states: usize,
}

impl Memory {
    /// Returns the memory for a number of patterns.
    #[must_use]
    pub fn of(patterns: usize) -> Self {
        Self { compiled: COMPILED_BYTES, states: STATES_BYTES / patterns.max(1) }
    }
}

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

    /// Compiles the pattern, unless it is compiled already, and takes its memory from what is left.
    ///
    /// # Errors
    /// [`Error`].
    pub fn compile(&self, left: &mut Memory) -> Result<(), Error> {
        if self.compiled.get().is_none() {
            let regex = compiled(&self.text, left)?;
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

fn compiled(text: &str, left: &mut Memory) -> Result<Regex, Error> {
    let translated = re2::translate(text).map_err(Error::Syntax)?;
    let parsed = regex_syntax::parse(&translated).map_err(|error| Error::Syntax(reason(&error)))?;
    let config =
        Regex::config().nfa_size_limit(Some(left.compiled)).hybrid_cache_capacity(left.states);
    let built = Regex::builder().configure(config).build_from_hir(&parsed);
    let regex = built.map_err(|error| match error.size_limit() {
        Some(_) => Error::TooLarge,
        None => Error::Syntax(error.to_string()),
    })?;
    // The limit is for each direction alone, and both are compiled.
    left.compiled = left.compiled.checked_sub(regex.memory_usage()).ok_or(Error::TooLarge)?;
    Ok(regex)
}

/// Returns what is wrong with a pattern, without the pattern itself, which differs from the one given.
fn reason(error: &regex_syntax::Error) -> String {
    match error {
        regex_syntax::Error::Parse(error) => error.kind().to_string(),
        regex_syntax::Error::Translate(error) => error.kind().to_string(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn error(text: &str) -> String {
        compiled(text, &mut Memory::of(1)).unwrap_err().to_string()
    }

    #[test]
    fn all_letters_are_not_too_large_and_repeated_repetitions_are() {
        for pattern in [r"^[\w.+-]+@[\w-]+\.[\w.-]{2,63}$", r"^\w{1,64}$", r"^[\p{L} ]{2,50}$"] {
            assert!(compiled(pattern, &mut Memory::of(1)).is_ok(), "{pattern}");
        }
        let too_large = "it is too large, alone or with the patterns before it";
        assert_eq!(error("((a{1000}){1000}){1000}"), too_large);
    }

    #[test]
    fn patterns_share_their_memory() {
        let fit = |pattern: &str| {
            let mut left = Memory::of(100);
            (0..100).filter(|_| compiled(pattern, &mut left).is_ok()).count()
        };
        assert_eq!(fit(r"^[\p{L} ]{2,50}$"), 3, "as docs/api.md says");
        assert_eq!(fit("^a+@example[.]com$"), 100);
        let mut left = Memory::of(2);
        compiled("^a+@example[.]com$", &mut left).unwrap();
        let large = compiled(r"^\p{L}{120}$", &mut left).unwrap();
        assert!(
            large.memory_usage() > COMPILED_BYTES / 2,
            "a small one takes little from the next"
        );
    }

    #[test]
    fn the_two_directions_of_a_pattern_share_their_memory() {
        // Each of them alone is small enough.
        assert_eq!(error(r"^\p{L}{200}$"), Error::TooLarge.to_string());
    }

    #[test]
    fn what_a_thread_keeps_for_many_patterns_is_no_more_than_for_one() {
        // Each run of twelve bits is a state.
        let texts =
            (0..5_000).map(|n: u64| format!("{:064b}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let texts: Vec<_> = texts.collect();
        let kept = |patterns| {
            let regex = compiled("[13][01]{12}[45]", &mut Memory::of(patterns)).unwrap();
            let mut cache = regex.create_cache();
            for text in &texts {
                regex.search_half_with(&mut cache, &text.into());
            }
            cache.memory_usage()
        };
        let (one, hundred) = (kept(1), kept(100));
        assert!(one > 500_000, "{one} for one");
        assert!(hundred < one / 10, "{one} for one, {hundred} for each of a hundred");
    }

    #[test]
    fn no_pattern_takes_long_to_compile() {
        let begun = Instant::now();
        for class in [r"\p{Any}", r"[\x00-\x{10ffff}]", r"[a\PC]", r"[a\W]", "[b[:^alpha:]]"] {
            assert!(compiled(&format!("(?i){}", class.repeat(50)), &mut Memory::of(1)).is_ok());
            let many = error(&format!("(?i){}", class.repeat(51)));
            assert!(many.contains("more than 50 classes"), "{many}");
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "they took {:?}", begun.elapsed());
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
        let mut left = Memory::of(1);
        pattern.compile(&mut left).unwrap();
        left.compiled = 0;
        pattern.compile(&mut left).unwrap();
        assert!(pattern.is_match("a") && !pattern.is_match("b"));
    }
}
