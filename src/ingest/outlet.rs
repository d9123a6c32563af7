//! A producer that is made anew where it does not reach Kafka any more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::producer::FutureProducer;

use super::Error;
use super::kafka::is_lost;

/// How often it is looked whether somebody still uses a lost producer.
const REST: Duration = Duration::from_millis(500);

/// Where records go out. It is told what became of them, and so knows when its producer is lost.
pub struct Outlet {
    config: ClientConfig,
    state: Mutex<State>,
}

struct State {
    producer: Arc<FutureProducer>,
    /// Since when nothing has come through.
    failing: Option<Instant>,
}

impl Outlet {
    /// Connects to Kafka; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Kafka`] where librdkafka refuses the settings.
    pub fn connect(config: ClientConfig) -> Result<Self, Error> {
        let state = Mutex::new(State { producer: Arc::new(config.create()?), failing: None });
        Ok(Self { config, state })
    }

    /// The producer, for one attempt.
    pub fn producer(&self) -> Arc<FutureProducer> {
        self.state().producer.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whether an attempt came through.
    pub fn note(&self, came_through: bool) {
        let is_lost = {
            let mut state = self.state();
            let is_lost = is_lost(&mut state.failing, !came_through);
            if is_lost {
                // Whoever fails meanwhile makes no other one.
                state.failing = None;
            }
            is_lost
        };
        if !is_lost {
            return;
        }
        // The settings were good once; where this one cannot be made, the old one tries on.
        let Ok(producer) = self.config.create().map(Arc::new) else { return };
        tracing::warn!("nothing reaches Kafka; connecting anew");
        let lost = std::mem::replace(&mut self.state().producer, producer);
        // Whoever lets go of it last waits for librdkafka's threads: nobody here should, and none of those
        // who still wait for an answer of it.
        std::thread::spawn(move || {
            while Arc::strong_count(&lost) > 1 {
                std::thread::sleep(REST);
            }
        });
    }
}
