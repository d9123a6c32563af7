//! Shows the progress of long-running work: a bar on a terminal, log lines elsewhere.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a line is logged if there is no terminal.
const EVERY: Duration = Duration::from_secs(10);

/// The progress of one piece of work.
pub struct Pulse {
    doing: &'static str,
    bar: Option<ProgressBar>,
    last: Instant,
}

impl Pulse {
    /// Starts the display for work that the log calls `doing`; `template` is the layout of the bar.
    pub fn new(doing: &'static str, template: &str) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(template);
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(0).with_style(style)
        });
        Self { doing, bar, last: Instant::now() }
    }

    /// Reports that `done` units of work are done, of `about` this many in total if that is known.
    pub fn tick(&mut self, done: u64, about: Option<u64>) {
        if let Some(bar) = &self.bar {
            match about {
                Some(about) => bar.set_length(about.max(done)),
                None => bar.unset_length(),
            }
            bar.set_position(done);
        } else if self.last.elapsed() >= EVERY {
            tracing::info!(done, about, "{}", self.doing);
            self.last = Instant::now();
        }
    }

    /// Removes the bar once the work has ended.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
