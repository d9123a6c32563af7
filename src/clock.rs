//! The wall clock. No other module reads the time of day.
//!
//! The model (`person`) has no clock: times are passed to it as values.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Returns the time since the Unix epoch; zero if the system clock is set to before it.
#[must_use]
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
