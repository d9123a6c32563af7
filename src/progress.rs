//! What the write path tells the read path: how far it is, and what keeps it from going on.
//!
//! The two meet in the store only; this is the bell between them, so that a reader can wait for
//! a position and readiness can be judged without asking Kafka.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::watch;

/// How far every partition is applied: the first offset not yet applied, by topic and partition.
pub type Positions = BTreeMap<(String, u32), u64>;

/// A topic, or a partition of one.
pub type Part = (String, Option<u32>);

/// What is known of ingestion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// How far the store is.
    pub positions: Positions,
    /// Records that are in Kafka and not yet applied; `None` before Kafka was asked.
    pub lag_records: Option<u64>,
    /// Every owned partition is being read.
    pub assigned: bool,
    /// How many partitions are being read.
    pub partitions: usize,
    /// The lag was small enough once since start.
    pub caught_up: bool,
    /// Why Kafka cannot be read just now; it is tried again.
    pub kafka_trouble: Option<String>,
    /// What librdkafka gave as the cause of that trouble, where it knows: a password, a certificate,
    /// a name that is no host's.
    pub kafka_cause: Option<String>,
    /// Why topics, or partitions of them, are not read though brokers answer; they are tried again.
    pub not_read: BTreeMap<Part, String>,
    /// Why dead letters cannot be written; ingestion waits until they can.
    pub dead_letter_trouble: Option<String>,
    /// When Kafka received the newest record that is applied, in microseconds since 1970.
    pub last_record: Option<i64>,
    /// Why ingestion ended for good; only a restart goes on.
    pub stopped: Option<String>,
    /// The process is about to end.
    pub shutting_down: bool,
}

/// The newest [`Status`], written by ingestion and read by everyone.
#[derive(Debug)]
pub struct Progress(watch::Sender<Status>);

impl Default for Progress {
    fn default() -> Self {
        Self(watch::Sender::new(Status::default()))
    }
}

impl Status {
    /// How many topics are not read, or not every partition of them.
    #[must_use]
    pub fn topics_not_read(&self) -> usize {
        let topics = self.not_read.keys().map(|(topic, _)| topic);
        topics.collect::<BTreeSet<_>>().len()
    }
}

impl Progress {
    /// The newest status.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.borrow().clone()
    }

    /// Whether Kafka cannot be read just now.
    #[must_use]
    pub fn is_in_trouble(&self) -> bool {
        self.0.borrow().kafka_trouble.is_some()
    }

    /// Notes why Kafka cannot be read just now, and logs it where that is new.
    pub fn trouble(&self, reason: &str) {
        if self.note(|status| &mut status.kafka_trouble, reason) {
            tracing::warn!(reason, "Kafka cannot be read just now; it is tried again");
        }
    }

    /// Notes the cause of trouble with Kafka, and logs it where that is new.
    pub fn cause(&self, cause: &str) {
        if self.note(|status| &mut status.kafka_cause, cause) {
            tracing::warn!(cause, "Kafka cannot be spoken to");
        }
    }

    /// Notes why dead letters cannot be written, or that they are, and logs it where that is new.
    pub fn letters(&self, trouble: Option<&str>) {
        self.0.send_if_modified(|status| {
            let is_new = status.dead_letter_trouble.is_some() != trouble.is_some();
            match trouble {
                Some(reason) if is_new => {
                    tracing::warn!(reason, "ingestion waits for dead letters");
                }
                None if is_new => tracing::info!("dead letters can be written again"),
                _ => {}
            }
            status.dead_letter_trouble = trouble.map(str::to_owned);
            is_new
        });
    }

    /// Notes why a topic or a partition is not read, and logs it where that is new.
    pub fn not_read(&self, part: Part, reason: String) {
        self.0.send_if_modified(|status| {
            let is_new = status.not_read.get(&part) != Some(&reason);
            if is_new {
                let (topic, partition) = &part;
                tracing::warn!(topic, partition, reason, "it is not read, and tried again");
                status.not_read.insert(part, reason);
            }
            is_new
        });
    }

    /// Notes that a topic or a partition is read.
    pub fn is_read(&self, part: &Part) {
        self.0.send_if_modified(|status| {
            let was_not = status.not_read.remove(part).is_some();
            if was_not {
                let (topic, partition) = part;
                tracing::info!(topic, partition, "it is read now");
            }
            was_not
        });
    }

    /// Keeps a text where there is none yet; answers whether it was kept.
    fn note(&self, place: impl FnOnce(&mut Status) -> &mut Option<String>, text: &str) -> bool {
        self.0.send_if_modified(|status| {
            let place = place(status);
            let new = place.is_none();
            place.get_or_insert_with(|| text.to_owned());
            new
        })
    }

    /// Notes that Kafka can be read.
    pub fn no_trouble(&self) {
        self.0.send_if_modified(|status| {
            status.kafka_cause = None;
            let mended = status.kafka_trouble.take().is_some();
            if mended {
                tracing::info!("Kafka can be read again");
            }
            mended
        });
    }

    /// Changes the status and wakes whoever waits for it.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        self.0.send_modify(change);
    }

    /// Waits until every partition named is applied at least that far; `false` where that did
    /// not happen in time.
    pub async fn reached(&self, wanted: &Positions, within: Duration) -> bool {
        let mut status = self.0.subscribe();
        let reached = status.wait_for(|status| {
            wanted.iter().all(|(partition, next)| status.positions.get(partition) >= Some(next))
        });
        matches!(tokio::time::timeout(within, reached).await, Ok(Ok(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_waits_for_its_position_and_no_longer() {
        let progress = Progress::default();
        let wanted = Positions::from([(("events".to_owned(), 0), 5)]);
        assert!(!progress.reached(&wanted, Duration::from_millis(1)).await);
        let (reached, ()) =
            tokio::join!(progress.reached(&wanted, Duration::from_secs(60)), async {
                progress.update(|status| status.positions = wanted.clone());
            });
        assert!(reached);
    }
}
