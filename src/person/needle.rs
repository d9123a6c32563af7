//! A text that is looked for in others, upper and lower case alike.

use std::borrow::Cow;

use memchr::memmem::Finder;

/// What is looked for.
#[derive(Clone, Debug)]
pub struct Needle(Box<Finder<'static>>);

impl Needle {
    /// Looks for a text, in whatever case it is written.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Box::new(Finder::new(lowercase(text).as_bytes()).into_owned()))
    }

    /// Whether a text has it somewhere.
    #[must_use]
    pub fn is_in(&self, text: &str) -> bool {
        self.find(lowercase(text).as_bytes()).is_some()
    }

    /// Where texts in lowercase first have it.
    #[must_use]
    pub fn find(&self, lowercase: &[u8]) -> Option<usize> {
        self.0.find(lowercase)
    }

    /// Whether a text in lowercase begins with it.
    #[must_use]
    pub fn begins(&self, lowercase: &str) -> bool {
        lowercase.as_bytes().starts_with(self.0.needle())
    }

    /// Whether it is made of these bytes only.
    #[must_use]
    pub fn is_of(&self, allowed: impl Fn(u8) -> bool) -> bool {
        self.0.needle().iter().all(|byte| allowed(*byte))
    }
}

/// A text in lowercase. Most are already, and a copy is expensive where very many are asked.
#[must_use]
pub fn lowercase(text: &str) -> Cow<'_, str> {
    let is_lowercase = !text.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii());
    if is_lowercase {
        return Cow::Borrowed(text);
    }
    // Letter by letter: of a whole word the last sigma would be another one than within a longer word.
    let letters = text.chars().flat_map(char::to_lowercase);
    Cow::Owned(letters.map(|letter| if letter == 'ς' { 'σ' } else { letter }).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_found_where_both_in_lowercase_say_so(
            part in "[aAkKİıß\u{212A}.]{0,3}",
            text in "[aAkKİıß\u{212A}.]{0,8}",
        ) {
            let expected = text.to_lowercase().contains(&part.to_lowercase());
            prop_assert_eq!(Needle::new(&part).is_in(&text), expected);
        }

        #[test]
        fn what_stands_there_as_it_is_is_found(
            text in "[aΑΣσςİß. ]{0,8}",
            (from, until) in (0..9_usize, 0..9_usize),
        ) {
            let letters: Vec<_> = text.chars().collect();
            let until = until.min(letters.len());
            let part: String = letters[from.min(until)..until].iter().collect();
            prop_assert!(Needle::new(&part).is_in(&text));
        }
    }
}
