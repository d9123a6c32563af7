//! What time it is: the one place that asks, for whatever is written down or measured against it.
//!
//! The model has no clock: times come to it as values.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, since 1970; nothing by a clock that stands before.
#[must_use]
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
