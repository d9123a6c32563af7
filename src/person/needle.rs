//! Case-insensitive search for a text in other texts.

use std::borrow::Cow;

use memchr::memmem::Finder;

/// The text that is searched for, in lowercase.
#[derive(Clone, Debug)]
pub struct Needle(Box<Finder<'static>>);

impl Needle {
    /// Creates a search for a text, ignoring case.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Box::new(Finder::new(lowercase(text).as_bytes()).into_owned()))
    }

    /// Returns whether a text contains it, ignoring case.
    #[must_use]
    pub fn is_in(&self, text: &str) -> bool {
        self.find(lowercase(text).as_bytes()).is_some()
    }

    /// Returns the byte offset of its first occurrence in text that is already lowercase.
    #[must_use]
    pub fn find(&self, lowercase: &[u8]) -> Option<usize> {
        self.0.find(lowercase)
    }

    /// Returns whether a lowercase text begins with it.
    #[must_use]
    pub fn begins(&self, lowercase: &str) -> bool {
        lowercase.as_bytes().starts_with(self.0.needle())
    }

    /// Returns whether it consists of allowed bytes only.
    #[must_use]
    pub fn is_of(&self, allowed: impl Fn(u8) -> bool) -> bool {
        self.0.needle().iter().all(|byte| allowed(*byte))
    }
}

/// Converts a text to lowercase. Most texts already are; those are not copied, since copies are expensive
/// when very many texts are searched.
#[must_use]
pub fn lowercase(text: &str) -> Cow<'_, str> {
    let is_lowercase = !text.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii());
    if is_lowercase {
        return Cow::Borrowed(text);
    }
    // Converted letter by letter: `str::to_lowercase` maps a sigma at the end of a word differently, so a
    // part of a word would not be found in the whole.
    let letters = text.chars().flat_map(char::to_lowercase);
    Cow::Owned(letters.map(|letter| if letter == 'ς' { 'σ' } else { letter }).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_needle_is_found_as_it_would_be_in_lowercase(
            part in "[aAkKİıß\u{212A}.]{0,3}",
            text in "[aAkKİıß\u{212A}.]{0,8}",
        ) {
            let expected = text.to_lowercase().contains(&part.to_lowercase());
            prop_assert_eq!(Needle::new(&part).is_in(&text), expected);
        }

        #[test]
        fn a_part_of_the_text_itself_is_found(
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
