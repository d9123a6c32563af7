//! A producer that is replaced when it no longer reaches Kafka.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::producer::FutureProducer;

use super::Error;
use super::kafka::is_lost;

/// How often to check whether a lost producer is still in use.
const REST: Duration = Duration::from_millis(500);

/// Hands out a producer. Callers report what became of each attempt, so it knows when the producer is lost.
pub struct Outlet {
    config: ClientConfig,
    state: Mutex<State>,
}

struct State {
    producer: Arc<FutureProducer>,
    /// Since when every attempt has failed.
    failing: Option<Instant>,
}

impl Outlet {
    /// Connects to Kafka; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Kafka`] if librdkafka refuses the settings.
    pub fn connect(config: ClientConfig) -> Result<Self, Error> {
        let state = Mutex::new(State { producer: Arc::new(config.create()?), failing: None });
        Ok(Self { config, state })
    }

    /// Returns the producer, for one attempt.
    pub fn producer(&self) -> Arc<FutureProducer> {
        self.state().producer.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whether an attempt succeeded, and replaces a lost producer.
    pub fn note(&self, came_through: bool) {
        let is_lost = {
            let mut state = self.state();
            let is_lost = is_lost(&mut state.failing, !came_through);
            if is_lost {
                // Attempts that fail meanwhile must not create another producer.
                state.failing = None;
            }
            is_lost
        };
        if !is_lost {
            return;
        }
        // The settings worked once; if no new producer can be created, the old one keeps trying.
        let Ok(producer) = self.config.create().map(Arc::new) else { return };
        tracing::debug!("nothing reaches Kafka; connecting again");
        let lost = std::mem::replace(&mut self.state().producer, producer);
        // Dropping the last reference waits for librdkafka's threads. Neither this caller nor those that
        // still wait for an answer should do that.
        std::thread::spawn(move || {
            while Arc::strong_count(&lost) > 1 {
                std::thread::sleep(REST);
            }
        });
    }
}
