//! Vectors of RE2's syntax. What each pattern matches here is what RE2 itself (the package `google-re2`)
//! answers; only `\C` is refused although RE2 knows it.

use regex_automata::meta::Regex;

use super::*;

/// A pattern, texts that it matches, and texts that it does not match.
type Vector = (&'static str, &'static [&'static str], &'static [&'static str]);

#[rustfmt::skip]
const MATCHES: &[Vector] = &[
    (r"^[\w-\.]+@[\w-]+$", &["a.b-c@x-y", "_@1"], &["ä@x", "a@b.c"]),
    (r"^\<\>$", &["<>"], &["", "a"]),
    ("^[a&&b]+$", &["a&b&"], &["c"]),
    ("^[+--]+$", &["+,-"], &["."]),
    ("^[a~~b]+$", &["~a"], &["c"]),
    ("^[[]$", &["["], &["a"]),
    ("^[^[]$", &["a", "]"], &["["]),
    ("^[]a]+$", &["]a"], &["b"]),
    ("^[^]a]+$", &["b"], &["]", "a"]),
    ("^[a[b]+$", &["[ba"], &["c"]),
    ("^[[a-c]]$", &["[]", "a]"], &["a"]),
    (r"^[+-\]]$", &["]", ","], &["-a"]),
    ("^[a-]$", &["-", "a"], &["b"]),
    ("^[-a]$", &["-", "a"], &["b"]),
    (r"^[\d-z]+$", &["1-z"], &["b"]),
    (r"^[[:alpha:]\d_-]+$", &["a1_-"], &["ä", ":"]),
    ("^[[:^alpha:]]$", &["1", "ä"], &["a"]),
    ("^[:alpha:]+$", &["alph:"], &["b"]),
    ("^[[:alpha]+$", &["[alph:"], &["b"]),
    ("^[[:word:]]$", &["_"], &["ä"]),
    (r"^\101\60$", &["A0"], &["101"]),
    (r"^\0$", &["\u{0}"], &["0"]),
    (r"^\1234$", &["S4"], &["1234"]),
    (r"^[\101-\103]$", &["B"], &["1"]),
    (r"^\x41\x{1F600}$", &["A\u{1f600}"], &["x41"]),
    ("^a{,2}$", &["a{,2}"], &["a", "aa"]),
    ("^a{2$", &["a{2"], &["aa"]),
    ("^a{02}$", &["a{02}"], &["aa"]),
    ("^a{2}$", &["aa"], &["a{2}"]),
    ("^a{2,}?$", &["aaa"], &["a"]),
    ("^{a}$", &["{a}"], &["a"]),
    ("^}]$", &["}]"], &["a"]),
    ("^a{ 2}$", &["a{ 2}"], &["aa"]),
    (r"^\Qa.b*\E+$", &["a.b**"], &["axb*"]),
    (r"^\Qa\nb", &["a\\nb"], &["a\nb"]),
    (r"^\pL\p{Lu}\PN\p{^Greek}$", &["äÄxä"], &["äÄ1ä", "äÄxα"]),
    (r"^[\p{L} ]{2,5}$", &["é à"], &["é1"]),
    (r"^[^\pL\d]$", &["-"], &["é", "1"]),
    (r"^\p{Any}\p{Old_Italic}$", &["-𐌀"], &["--"]),
    (r"^\pC$", &["\u{1}", "\u{200b}"], &["a", "\u{378}"]),
    (r"^\PC$", &["a", "\u{378}"], &["\u{1}"]),
    ("(?i)^straße$", &["STRAßE"], &["strasse"]),
    ("^a(?i)b|c$", &["aB", "xC"], &["Ab"]),
    ("^(?i-i)a$", &["a"], &["A"]),
    ("^(?ii:a)(?:b)(?s-m:.)$", &["Ab\n"], &["AB\n"]),
    ("^(?U)a+?$", &["aa"], &["b"]),
    ("(?m)^b$", &["a\nb\nc"], &["a b"]),
    ("^b$", &["b"], &["a\nb", "b\n"]),
    ("^(?P<1st>a)(?<b>c)$", &["ac"], &["a"]),
    ("a||b", &["", "c"], &[]),
    ("^(|a)()$", &["", "a"], &["b"]),
    ("^*a$", &["a"], &["b"]),
    ("^a b#c$", &["a b#c"], &["ab"]),
    (r"^\-\_\@\ \#\&\~$", &["-_@ #&~"], &[""]),
    (r"\Aa\z", &["a"], &["ab"]),
    (r"^\d\D$", &["7ä"], &["\u{663}a"]),
    (r"^\w\W$", &["aä"], &["äa", "ab"]),
    (r"^\s\S$", &["\u{9}\u{a0}", " \u{b}"], &["\u{a0}a", "\u{b}a"]),
    (r"^\v\a\f$", &["\u{b}\u{7}\u{c}"], &["vaf"]),
    (r"\bb\b", &["b", "a b", "äb"], &["ab"]),
    (r"ä\Bö", &["äö"], &["ä ö"]),
    (r"a\Bä", &[], &["aä"]),
    (r"^[\W\d]$", &["ä", "1"], &["a"]),
    (r"^[^\w.]$", &["ä", "-"], &["a", "."]),
    (r"(?i)^\w$", &["a", "\u{212a}"], &["ä"]),
    ("(?i)^É.$", &["éü"], &["e"]),
    ("^.$", &["ü", "\u{1f600}"], &["ab", "\n"]),
    ("^[^a]$", &["\n", "ä"], &["a"]),
];

const REFUSED: &[&str] = &[
    "a**",
    "a+*",
    "a??+",
    "a{2}{3}",
    "*a",
    "(*a)",
    "a|*",
    "(a",
    "a)",
    "[a",
    "[]",
    "[z-a]",
    r"[a-\d]",
    r"[\b]",
    "[[:nobody:]]",
    "[[:^^alpha:]]",
    r"\1",
    r"\8",
    r"(a)\1",
    r"\y",
    r"\Z",
    r"\E",
    r"\u0041",
    r"\é",
    r"a\",
    r"\x4",
    r"\x{}",
    r"\x{110000}",
    r"\p{Letter}",
    r"\p{L",
    r"\p{l}",
    r"\pé",
    r"\p{Alphabetic}",
    r"\p{Script=Greek}",
    r"\p{Lu",
    "(?=a)",
    "(?!a)",
    "(?<=a)",
    "(?<!a)",
    "(?>a)",
    "(?#a)",
    "(?x)a",
    "(?u)a",
    "(?i-)a",
    "(?-)a",
    "(?i",
    "(?P<>a)",
    "(?P<a-b>c)",
    "(?P=a)",
    "a{1001}",
    "a{2,1}",
    r"\C",
    r"\p{Greek",
    "(?R)",
];

fn compiled(pattern: &str) -> Result<Regex, String> {
    Regex::new(&translate(pattern)?).map_err(|error| error.to_string())
}

#[test]
fn patterns_match_what_re2_matches() {
    for (pattern, yes, no) in MATCHES {
        let regex = compiled(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        for text in *yes {
            assert!(regex.is_match(text), "{pattern} {text:?}");
        }
        for text in *no {
            assert!(!regex.is_match(text), "not: {pattern} {text:?}");
        }
    }
}

#[test]
fn what_re2_refuses_is_refused() {
    for pattern in REFUSED {
        assert!(compiled(pattern).is_err(), "{pattern}");
    }
}
