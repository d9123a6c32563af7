//! How often a key may ask.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// The requests of one key: so many a minute, and as many at once where none came before.
#[derive(Debug)]
pub struct Rate(DefaultDirectRateLimiter);

impl Rate {
    /// At most so many requests a minute.
    pub fn per_minute(requests: NonZeroU32) -> Self {
        Self(RateLimiter::direct(Quota::per_minute(requests)))
    }

    /// Takes one request; of one too many it answers how long to wait.
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
