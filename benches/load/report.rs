//! Prints what was measured beside its target.

use std::sync::Mutex;

use serde_json::json;

/// On which side of its target a ratio should be.
#[derive(Clone, Copy)]
pub enum Aim {
    AtLeast(f64),
    AtMost(f64),
}

impl Aim {
    fn met(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(target) => ratio >= target,
            Self::AtMost(target) => ratio <= target,
        }
    }
}

impl std::fmt::Display for Aim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(target) => write!(f, "≥ {target}"),
            Self::AtMost(target) => write!(f, "≤ {target}"),
        }
    }
}

/// Prints rows as they are measured.
pub struct Report {
    json: bool,
    met: Mutex<(usize, usize)>,
}

impl Report {
    pub fn new(json: bool) -> Self {
        if !json {
            println!(
                "{:46}{:>14}{:>14}  {:9}{:>8}  {:8}",
                "work", "measured", "against", "unit", "ratio", "target"
            );
        }
        Self { json, met: Mutex::default() }
    }

    /// Prints a row: what was measured, what it is compared with in the same run, and the target of the
    /// ratio.
    pub fn row(&self, work: &str, unit: &str, measured: f64, against: f64, aim: Aim) {
        let ratio = measured / against;
        let met = aim.met(ratio);
        let mut count = self.met.lock().expect("no panic holds it");
        count.0 += usize::from(met);
        count.1 += 1;
        if self.json {
            println!(
                "{}",
                json!({
                    "work": work, "unit": unit, "measured": measured, "against": against, "ratio": ratio,
                    "target": aim.to_string(), "met": met,
                })
            );
        } else {
            let verdict = if met { "met" } else { "not met" };
            println!(
                "{work:46}{measured:>14.2}{against:>14.2}  {unit:9}{ratio:>8.3}  {:8}{verdict}",
                aim.to_string()
            );
        }
    }

    /// Prints how many rows met their targets.
    pub fn end(&self) {
        let (met, all) = *self.met.lock().expect("no panic holds it");
        say(&format!("{met} of {all} targets met"));
    }
}

/// Prints what is going on to standard error.
pub fn say(text: &str) {
    eprintln!("# {text}");
}
