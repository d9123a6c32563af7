//! What the write path reports to the read path: how far it has come, and what stops it.
//!
//! The two share nothing else but the store. This is the bell between them: a reader can wait for a position,
//! and readiness can be judged without asking Kafka.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// The first offset not yet applied of every partition, by topic and partition.
pub type Positions = BTreeMap<(String, u32), u64>;

/// A topic, or one of its partitions.
pub type TopicPart = (String, Option<u32>);

/// The state of ingestion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The positions applied to the store.
    pub positions: Positions,
    /// Records in Kafka that are not yet applied; `None` while that is unknown.
    pub lag_records: Option<u64>,
    /// Whether every owned partition is being read.
    pub assigned: bool,
    /// How many partitions are being read.
    pub partitions: usize,
    /// Whether the lag has been at most `ingest.ready_lag` at some time since the start.
    pub caught_up: bool,
    /// Why Kafka cannot be read at the moment; it is retried.
    pub kafka_trouble: Option<String>,
    /// The cause that librdkafka reported for that trouble, if any: a wrong password, an invalid certificate,
    /// a host name that does not resolve, a connection that was refused.
    pub kafka_cause: Option<String>,
    /// Why topics or partitions are not read although brokers answer; they are retried.
    pub not_read: BTreeMap<TopicPart, String>,
    /// Why dead letters cannot be written; ingestion waits until they can be.
    pub dead_letter_trouble: Option<String>,
    /// When Kafka received the newest applied record, in microseconds since 1970.
    pub last_record: Option<i64>,
    /// Why ingestion stopped for good; only a restart resumes it.
    pub stopped: Option<String>,
    /// Whether the process is shutting down.
    pub shutting_down: bool,
}

/// The current [`Status`]. Ingestion writes it; any task may read it or wait for a change.
#[derive(Debug, Default)]
pub struct Progress {
    status: watch::Sender<Status>,
    /// The Kafka problems logged since Kafka could last be read. Several brokers may report theirs in
    /// turn; each is logged once.
    logged: Mutex<BTreeSet<String>>,
}

impl Status {
    /// Returns how many topics are not read at all, or only in some of their partitions.
    #[must_use]
    pub fn topics_not_read(&self) -> usize {
        let topics = self.not_read.keys().map(|(topic, _)| topic);
        topics.collect::<BTreeSet<_>>().len()
    }
}

impl Progress {
    /// Returns a copy of the current status.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Returns whether Kafka cannot be read at the moment.
    #[must_use]
    pub fn is_in_trouble(&self) -> bool {
        self.status.borrow().kafka_trouble.is_some()
    }

    /// Notes why Kafka cannot be read at the moment, and logs the reason if it is new.
    pub fn note_trouble(&self, reason: &str) {
        if self.note(|status| &mut status.kafka_trouble, reason) && self.mark_logged(reason) {
            tracing::warn!(reason, "Kafka is unavailable; retrying");
        }
    }

    /// Notes the cause of trouble with Kafka, and logs it if it is new.
    pub fn note_cause(&self, cause: &str) {
        if self.note(|status| &mut status.kafka_cause, cause) && self.mark_logged(cause) {
            tracing::warn!(cause, "a connection to Kafka failed");
        }
    }

    /// Notes why dead letters cannot be written, or with `None` that they can be, and logs a change.
    pub fn note_dead_letters(&self, trouble: Option<&str>) {
        if let Some(reason) = trouble {
            if self.note(|status| &mut status.dead_letter_trouble, reason) {
                tracing::warn!(reason, "ingestion waits until dead letters can be written");
            }
            return;
        }
        if self.status.send_if_modified(|status| status.dead_letter_trouble.take().is_some()) {
            tracing::info!("dead letters can be written again");
        }
    }

    /// Notes why a topic or a partition is not read, and logs the reason if it is new.
    pub fn note_not_read(&self, part: TopicPart, reason: &str) {
        let is_new = self.status.send_if_modified(|status| {
            let is_new = status.not_read.get(&part).map(String::as_str) != Some(reason);
            if is_new {
                status.not_read.insert(part.clone(), reason.to_owned());
            }
            is_new
        });
        if is_new {
            let (topic, partition) = part;
            tracing::warn!(topic, partition, reason, "a topic cannot be read; retrying");
        }
    }

    /// Notes that a topic or a partition is being read.
    pub fn note_read(&self, part: &TopicPart) {
        if self.status.send_if_modified(|status| status.not_read.remove(part).is_some()) {
            let (topic, partition) = part;
            tracing::info!(topic, partition, "a topic can be read now");
        }
    }

    /// Stores a text if it differs from the stored one in its [`lasting`] part; returns whether it did.
    fn note(&self, place: impl FnOnce(&mut Status) -> &mut Option<String>, text: &str) -> bool {
        self.status.send_if_modified(|status| {
            let place = place(status);
            let is_new = place.as_deref().map(lasting) != Some(lasting(text));
            if is_new {
                *place = Some(text.to_owned());
            }
            is_new
        })
    }

    /// Marks a text as logged; returns whether it was not logged before.
    fn mark_logged(&self, text: &str) -> bool {
        self.logged().insert(lasting(text))
    }

    fn logged(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.logged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that Kafka can be read.
    pub fn clear_trouble(&self) {
        self.logged().clear();
        let mended = self.status.send_if_modified(|status| {
            status.kafka_cause = None;
            status.kafka_trouble.take().is_some()
        });
        if mended {
            tracing::info!("Kafka can be read again");
        }
    }

    /// Changes the status and wakes every task that waits for it.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_modify(change);
    }

    /// Waits until every partition in `wanted` is applied at least up to its position; returns `false` if
    /// that did not happen within `within`.
    pub async fn reached(&self, wanted: &Positions, within: Duration) -> bool {
        let mut status = self.status.subscribe();
        let reached = status.wait_for(|status| {
            wanted.iter().all(|(partition, next)| status.positions.get(partition) >= Some(next))
        });
        matches!(tokio::time::timeout(within, reached).await, Ok(Ok(_)))
    }
}

/// Returns the part of a librdkafka message that stays the same from retry to retry. Durations and counts of
/// suppressed errors follow ` (after `; digits only tell brokers apart or count.
fn lasting(text: &str) -> String {
    let said = text.split(" (after ").next().unwrap_or_default();
    said.chars().filter(|character| !character.is_ascii_digit()).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io;
    use std::sync::Arc;

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

    /// Returns the lines that are logged while `act` runs, one per message.
    pub fn logged(act: impl FnOnce()) -> Vec<String> {
        #[derive(Clone, Default)]
        struct Lines(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
        tracing::subscriber::with_default(log.finish(), act);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    const CERTIFICATE: &str = "ssl://kafka:9093/bootstrap: SSL handshake failed: verify failed";
    const PASSWORD: &str = "ssl://kafka:9093/bootstrap: SASL authentication error: failed";

    #[test]
    fn a_later_cause_takes_the_place_of_the_one_before() {
        let progress = Progress::default();
        let cause = || progress.status().kafka_cause.unwrap();
        let lines = logged(|| {
            progress.note_cause(&format!("{CERTIFICATE} (after 5ms in state SSL_HANDSHAKE)"));
            let suppressed = "(after 17ms in state SSL_HANDSHAKE, 4 identical error(s) suppressed)";
            progress.note_cause(&format!("{CERTIFICATE} {suppressed}"));
            assert!(cause().contains("after 5ms"), "{}", cause());
            progress.note_cause(&format!("{PASSWORD} (after 312ms in state AUTH_REQ)"));
            assert!(cause().starts_with(PASSWORD), "{}", cause());
            // Another broker still has the old certificate: its cause is shown, but was logged before.
            progress.note_cause(&CERTIFICATE.replace("9093", "9094"));
            assert!(cause().contains("9094"), "{}", cause());
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("verify failed") && lines[1].contains("SASL"), "{lines:?}");
        let lines = logged(|| {
            progress.note_trouble("no broker is connected");
            progress.clear_trouble();
            progress.note_trouble("no broker is connected");
        });
        assert_eq!(lines.len(), 3, "trouble that comes again is new: {lines:?}");
    }

    #[test]
    fn another_reason_of_dead_letters_is_logged_too() {
        let progress = Progress::default();
        let lines = logged(|| {
            for reason in ["timed out", "timed out", "not authorized"] {
                progress.note_dead_letters(Some(reason));
            }
            progress.note_dead_letters(None);
            progress.note_dead_letters(None);
        });
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(progress.status().dead_letter_trouble, None);
    }
}
