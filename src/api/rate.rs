//! The rate limit of a key.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// The rate limiter of one key: a number of requests per minute, all of which may come at once after a pause.
#[derive(Debug)]
pub struct Rate(DefaultDirectRateLimiter);

impl Rate {
    /// Creates a limiter of `requests` per minute.
    pub fn per_minute(requests: NonZeroU32) -> Self {
        Self(RateLimiter::direct(Quota::per_minute(requests)))
    }

    /// Counts one request. If it is one too many, the error is how long to wait.
    pub fn take(&self) -> Result<(), Duration> {
        self.0.check().map_err(|until| until.wait_time_from(self.0.clock().now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_too_many_waits_for_its_share_of_the_minute() {
        let rate = Rate::per_minute(NonZeroU32::new(3).unwrap());
        for _ in 0..3 {
            assert!(rate.take().is_ok());
        }
        let wait = rate.take().unwrap_err();
        assert!(wait > Duration::from_secs(10) && wait <= Duration::from_secs(20), "{wait:?}");
    }
}
