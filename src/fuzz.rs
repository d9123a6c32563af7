//! Inputs that nobody would think of: what is kept in `tests/corpus`, as it is, and changed by chance.
//!
//! A test hands each to a parser, which may refuse it and must do nothing worse. `FUZZ_INPUTS` says how many
//! (20,000 of each kind otherwise) and `FUZZ_SEED` which ones. An input that did harm is printed; a line of
//! it in the corpus keeps it from coming back.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// What breaks parsers: the ends of numbers, strings and nesting.
const PIECES: [&[u8]; 23] = [
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"null",
    b"true",
    b"-9223372036854775809",
    b"1e999",
    b"0.1e-400",
    b"\0",
    b"\xff\xfe",
    b"\xf0\x9f",
    b"%00",
    b"=&",
    b"{\"$serde_json::private::RawValue\":\"[",
    b"{\"$serde_json::private::Number\":\"",
    "\u{212a}\u{130}".as_bytes(),
];

/// The longest input, in bytes.
const MAX_INPUT: usize = 16 << 10;

/// The lines of a file of the corpus.
pub fn corpus(file: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(file);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(<[u8]>::to_vec).collect()
}

/// Hands over every seed, and seeds changed by chance; of these one in so many, where each takes its time.
pub fn run(seeds: &[Vec<u8>], one_in: u64, take: impl Fn(&[u8])) {
    assert!(seeds.len() > 5, "a corpus of {} is none", seeds.len());
    let asked = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let (inputs, seed) = (asked("FUZZ_INPUTS").unwrap_or(20_000), asked("FUZZ_SEED").unwrap_or(7));
    let mut random = StdRng::seed_from_u64(seed);
    let changed = (0..inputs / one_in).map(|_| changed(seeds, &mut random));
    for input in seeds.iter().cloned().chain(changed) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| take(&input))) {
            eprintln!("this did harm: {}", input.escape_ascii());
            resume_unwind(panic);
        }
    }
}

fn changed(seeds: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let any = |random: &mut StdRng| seeds.choose(random).cloned().unwrap_or_default();
    let mut input = any(random);
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..=input.len());
        let until = (at + random.random_range(0..=16)).min(input.len());
        match random.random_range(0..8) {
            0 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
            1 if at < input.len() => input[at] = random.random(),
            2 => _ = input.drain(at..until),
            3 => {
                let again = input[at..until].repeat(random.random_range(1..40));
                input.splice(at..at, again);
            }
            4 => input.truncate(at),
            5 => {
                let other = any(random);
                let from = random.random_range(0..=other.len());
                input.truncate(at);
                input.extend(&other[from..]);
            }
            _ => {
                let piece = PIECES.choose(random).copied().unwrap_or_default();
                input.splice(at..until, piece.iter().copied());
            }
        }
    }
    input.truncate(MAX_INPUT);
    input
}

#[test]
fn chance_reaches_every_byte_and_says_what_did_harm() {
    let seeds: Vec<_> = (0..6).map(|number| vec![number; 8]).collect();
    let met = std::cell::RefCell::new([false; 256]);
    run(&seeds, 1, |input| {
        for byte in input {
            met.borrow_mut()[usize::from(*byte)] = true;
        }
    });
    assert!(met.borrow().iter().all(|met| *met));
    let harmed = catch_unwind(|| run(&seeds, 1, |input| assert!(!input.contains(&0xff))));
    assert!(harmed.is_err());
}
