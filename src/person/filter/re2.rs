//! Translates patterns from RE2's syntax to that of the crate `regex-syntax`.
//!
//! The crate has RE2's linear time and most of its syntax, but not all: there `\w`, `\d`, `\s` and `\b` cover
//! all of Unicode, `\<` is the start of a word, and a class has nested classes and the operators `&&`, `--`
//! and `~~`, while RE2 takes these characters literally. Read as they are, such patterns would match other
//! values or be refused. So a pattern is read here by RE2's grammar and written anew: groups, operators and
//! classes in the crate's notation, and every literal character escaped.
//!
//! The crate's own switch for ASCII, `(?-u)`, goes too far: with it `\W` and `.` match single bytes.
//! Everything that RE2 does not limit to ASCII stays Unicode: `.`, literal text, and case.
//!
//! `\C`, a single byte, is refused: a value is text.

use std::fmt::Write as _;

/// The most repetitions that a pattern may ask for, as in RE2.
const MAX_REPETITIONS: u32 = 1_000;

/// The maximum number of wide classes in a pattern: adding the other case of each letter to one of them takes the
/// crate some milliseconds, and nothing can interrupt it.
const MAX_WIDE: usize = 50;

/// The maximum number of characters in a range that is not wide.
const NARROW: u32 = 1_000;

/// The general categories of Unicode that RE2 knows, besides `C` and `Cs`.
const CATEGORIES: [&str; 35] = [
    "Cc", "Cf", "Co", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl",
    "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl",
    "Zp", "Zs", "Any",
];

/// The classes that are named within brackets, such as `[:alpha:]`.
const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// Translates a pattern. What both syntaxes refuse, such as unbalanced parentheses, is left to the crate.
///
/// # Errors
/// If it is not a pattern of RE2; the text says why.
pub fn translate(pattern: &str) -> Result<String, String> {
    let out = String::with_capacity(pattern.len());
    let mut translator = Translator { rest: pattern, out, repeated: false, wide: 0 };
    while let Some(first) = translator.rest.chars().next() {
        translator.token(first)?;
    }
    Ok(translator.out)
}

struct Translator<'p> {
    /// What is left of the pattern.
    rest: &'p str,
    out: String,
    /// Whether the last token was a repetition, which cannot be repeated itself.
    repeated: bool,
    /// The number of wide classes so far.
    wide: usize,
}

impl Translator<'_> {
    /// Translates one token outside of classes.
    fn token(&mut self, first: char) -> Result<(), String> {
        let repeated = std::mem::take(&mut self.repeated);
        match first {
            '\\' => self.escape()?,
            '[' => self.class()?,
            '(' => self.group()?,
            '*' | '+' | '?' => self.repetition(1, repeated)?,
            '{' => match bounds(self.rest)? {
                Some(length) => self.repetition(length, repeated)?,
                None => self.literal(first),
            },
            '|' | ')' | '^' | '$' | '.' => {
                self.out.push(first);
                self.skip(1);
            }
            _ => self.literal(first),
        }
        Ok(())
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.skip(next.len_utf8());
        Some(next)
    }

    /// Counts a class or a range if it is wide.
    fn count(&mut self, is_wide: bool) -> Result<(), String> {
        self.wide += usize::from(is_wide);
        if self.wide > MAX_WIDE {
            let which = r"such as \p{L} and \W, or ranges of more than";
            return Err(format!("it has more than {MAX_WIDE} classes {which} {NARROW} characters"));
        }
        Ok(())
    }

    fn literal(&mut self, c: char) {
        self.skip(c.len_utf8());
        self.write_literal(c);
    }

    fn write_literal(&mut self, c: char) {
        regex_syntax::escape_into(c.encode_utf8(&mut [0; 4]), &mut self.out);
    }

    fn repetition(&mut self, length: usize, repeated: bool) -> Result<(), String> {
        let operator = &self.rest[..length];
        if repeated {
            return Err(format!("{operator} repeats a repetition"));
        }
        self.out.push_str(operator);
        self.skip(length);
        if self.rest.starts_with('?') {
            self.out.push('?');
            self.skip(1);
        }
        self.repeated = true;
        Ok(())
    }

    /// Translates the start of a group: of `(`, `(?P<name>`, `(?<name>`, `(?flags:` and `(?flags)`. What a
    /// group matched is never asked for, so none keeps it.
    fn group(&mut self) -> Result<(), String> {
        let Some(special) = self.rest.strip_prefix("(?") else {
            self.out.push_str("(?:");
            self.skip(1);
            return Ok(());
        };
        let named = special.strip_prefix("P<").or_else(|| special.strip_prefix('<'));
        if let Some(named) = named {
            let is_name = |name: &str| {
                !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_')
            };
            let (_, rest) = named
                .split_once('>')
                .filter(|(name, _)| is_name(name))
                .ok_or("it has a group that RE2 does not know, or with an invalid name")?;
            self.out.push_str("(?:");
            self.rest = rest;
            return Ok(());
        }
        let end = special.find([':', ')']).ok_or("it has an unclosed group")?;
        let (flags, rest) = special.split_at(end);
        let (on, off) =
            flags_of(flags).ok_or_else(|| format!("(?{flags} is not a group of RE2"))?;
        let (close, rest) = rest.split_at(1);
        self.rest = rest;
        if close == ":" || !on.is_empty() || !off.is_empty() {
            let minus = if off.is_empty() { "" } else { "-" };
            let _ = write!(self.out, "(?{on}{minus}{off}{close}");
        }
        Ok(())
    }

    /// Translates what begins with a backslash outside of classes.
    fn escape(&mut self) -> Result<(), String> {
        let after = &self.rest[1..];
        match after.chars().next() {
            Some(boundary @ ('b' | 'B')) => {
                let _ = write!(self.out, r"(?-u:\{boundary})");
                self.skip(2);
            }
            Some('A' | 'z') => {
                self.out.push_str(&self.rest[..2]);
                self.skip(2);
            }
            Some('Q') => {
                let quoted = &after[1..];
                let (literal, rest) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
                regex_syntax::escape_into(literal, &mut self.out);
                self.rest = rest;
            }
            _ if self.named_class()? => {}
            _ => {
                let c = self.character()?;
                self.write_literal(c);
            }
        }
        Ok(())
    }

    /// Translates a class in brackets. In it only ranges, escapes and named classes have a meaning.
    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        self.skip(1);
        if self.rest.starts_with('^') {
            self.out.push('^');
            self.skip(1);
        }
        let mut is_first = true;
        while is_first || !self.rest.starts_with(']') {
            is_first = false;
            if self.posix_class()? || self.named_class()? {
                continue;
            }
            let low = self.character()?;
            let mut high = low;
            if let Some(after) = self.rest.strip_prefix('-')
                && !after.is_empty()
                && !after.starts_with(']')
            {
                self.rest = after;
                high = self.character()?;
            }
            if high < low {
                return Err(format!("{low}-{high} is a range in the wrong order"));
            }
            let (low, high) = (u32::from(low), u32::from(high));
            self.count(high - low >= NARROW)?;
            let _ = write!(self.out, r"\x{{{low:x}}}-\x{{{high:x}}}");
        }
        self.out.push(']');
        self.skip(1);
        Ok(())
    }

    /// Translates `[:name:]`; `false` if it is not one.
    fn posix_class(&mut self) -> Result<bool, String> {
        let after = self.rest.strip_prefix("[:");
        let Some((name, rest)) = after.and_then(|after| after.split_once(":]")) else {
            return Ok(false);
        };
        if !POSIX_CLASSES.contains(&name.trim_start_matches('^')) || name.starts_with("^^") {
            return Err(format!("[:{name}:] is not a class"));
        }
        self.count(name.starts_with('^'))?;
        let _ = write!(self.out, "[:{name}:]");
        self.rest = rest;
        Ok(true)
    }

    /// Translates `\w` and the like, `\pL` and `\p{Greek}`; `false` if it is none of these. They
    /// become classes in brackets, which also work within others.
    fn named_class(&mut self) -> Result<bool, String> {
        let Some(after) = self.rest.strip_prefix('\\') else { return Ok(false) };
        // RE2's `\s` excludes the vertical tab.
        let class = match after.chars().next() {
            Some('d') => "[0-9]",
            Some('D') => "[^0-9]",
            Some('s') => r"[\t\n\f\r\x20]",
            Some('S') => r"[^\t\n\f\r\x20]",
            Some('w') => "[0-9A-Za-z_]",
            Some('W') => "[^0-9A-Za-z_]",
            Some(kind @ ('p' | 'P')) => {
                self.skip(2);
                self.unicode_class(kind == 'P')?;
                return Ok(true);
            }
            _ => return Ok(false),
        };
        self.count(class.starts_with("[^"))?;
        self.out.push_str(class);
        self.skip(2);
        Ok(true)
    }

    /// Translates the name of a Unicode class, after its `\p`.
    fn unicode_class(&mut self, mut negated: bool) -> Result<(), String> {
        self.count(true)?;
        let unclosed = "it has an unclosed name of a class";
        let mut name = if let Some(after) = self.rest.strip_prefix('{') {
            let (name, rest) = after.split_once('}').ok_or(unclosed)?;
            self.rest = rest;
            name
        } else {
            let whole = self.rest;
            let letter = self.next().ok_or(unclosed)?;
            &whole[..letter.len_utf8()]
        };
        if let Some(without) = name.strip_prefix('^') {
            name = without;
            negated = !negated;
        }
        let is_script =
            name.starts_with(|c: char| c.is_ascii_uppercase()) && !name.contains(['=', ':', ' ']);
        let class = match name {
            // The crate counts what is not assigned among them, RE2 does not.
            "C" => r"\p{Cc}\p{Cf}\p{Co}".to_owned(),
            // No text has surrogates.
            "Cs" => r"[^\x{0}-\x{10ffff}]".to_owned(),
            name if CATEGORIES.contains(&name) => format!(r"\p{{{name}}}"),
            name if is_script => format!(r"\p{{Script={name}}}"),
            _ => return Err(format!("{name} is not a class of Unicode")),
        };
        let _ = write!(self.out, "[{}{class}]", if negated { "^" } else { "" });
        Ok(())
    }

    /// Reads one literal character, which may be escaped.
    fn character(&mut self) -> Result<char, String> {
        let first = self.next().ok_or("it has an unclosed class")?;
        if first != '\\' {
            return Ok(first);
        }
        let escaped = self.next().ok_or("it ends with a backslash")?;
        let code = match escaped {
            'a' => 0x07,
            'f' => 0x0c,
            'n' => 0x0a,
            'r' => 0x0d,
            't' => 0x09,
            'v' => 0x0b,
            '0' => self.octal(0),
            // A single digit would be a reference back.
            '1'..='7' if self.rest.starts_with(|next: char| next.is_digit(8)) => {
                self.octal(escaped.to_digit(8).unwrap_or_default())
            }
            'x' => self.hexadecimal().ok_or(r"it has an invalid escape \x")?,
            other if other.is_ascii() && !other.is_ascii_alphanumeric() => other.into(),
            other => return Err(format!(r"it has an unknown escape \{other}")),
        };
        char::from_u32(code).ok_or_else(|| format!("U+{code:X} is not a character"))
    }

    /// Reads at most two octal digits more.
    fn octal(&mut self, first: u32) -> u32 {
        let digits = self.rest.chars().map_while(|next| next.to_digit(8)).take(2);
        let (mut code, mut length) = (first, 0);
        for digit in digits {
            code = code * 8 + digit;
            length += 1;
        }
        self.skip(length);
        code
    }

    /// Reads the digits after `\x`: two of them, or any number in braces.
    fn hexadecimal(&mut self) -> Option<u32> {
        let (digits, rest) = match self.rest.strip_prefix('{') {
            Some(after) => after.split_once('}')?,
            None => self.rest.split_at_checked(2)?,
        };
        self.rest = rest;
        let is_number = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_number.then(|| u32::from_str_radix(digits, 16).ok())?
    }
}

/// Returns the flags that a group turns on, and those that it turns off. `None` if RE2 does not know them.
fn flags_of(text: &str) -> Option<(String, String)> {
    let (on, off) = match text.split_once('-') {
        Some((_, "")) => return None,
        Some((on, off)) => (on, off),
        None => (text, ""),
    };
    // The crate refuses a flag that is given twice, while in RE2 the last one counts.
    let kept = |flags: &str| {
        let known = flags.chars().all(|flag| "imsU".contains(flag));
        known.then(|| "imsU".chars().filter(|flag| flags.contains(*flag)).collect::<String>())
    };
    let off = kept(off)?;
    let mut on = kept(on)?;
    on.retain(|flag| !off.contains(flag));
    Some((on, off))
}

/// Returns the length of the bounds of a repetition, `{n}`, `{n,}` or `{n,m}`, with which a text begins.
/// `None` if it begins with anything else, whose brace RE2 takes literally.
fn bounds(text: &str) -> Result<Option<usize>, String> {
    let number = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit());
        let is_short = digits == "0" || !digits.starts_with('0') && digits.len() <= 9;
        (is_number && is_short).then(|| digits.parse::<u32>().ok())?
    };
    let Some(inside) = text[1..].split_once('}').map(|(inside, _)| inside) else {
        return Ok(None);
    };
    let (least, most) = inside.split_once(',').unwrap_or((inside, inside));
    let Some(least) = number(least) else { return Ok(None) };
    let most = match most {
        "" => least,
        most => match number(most) {
            Some(most) => most,
            None => return Ok(None),
        },
    };
    if most < least || most > MAX_REPETITIONS {
        return Err(format!(
            "{{{inside}}} repeats more than {MAX_REPETITIONS} times, or in the wrong order"
        ));
    }
    Ok(Some(inside.len() + 2))
}

#[cfg(test)]
mod tests;
