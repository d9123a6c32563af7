//! What the write path tells the read path: how far it is, and what keeps it from going on.
//!
//! The two meet in the store only; this is the bell between them, so that a reader can wait for
//! a position and readiness can be judged without asking Kafka.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// How far every partition is applied: the first offset not yet applied, by topic and partition.
pub type Positions = BTreeMap<(String, u32), u64>;

/// A topic, or a partition of one.
pub type TopicPart = (String, Option<u32>);

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
    pub not_read: BTreeMap<TopicPart, String>,
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
#[derive(Debug, Default)]
pub struct Progress {
    status: watch::Sender<Status>,
    /// What was logged of trouble with Kafka since it could last be read. Several brokers take
    /// turns in telling theirs, and each is logged once.
    logged: Mutex<BTreeSet<String>>,
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
        self.status.borrow().clone()
    }

    /// Whether Kafka cannot be read just now.
    #[must_use]
    pub fn is_in_trouble(&self) -> bool {
        self.status.borrow().kafka_trouble.is_some()
    }

    /// Notes why Kafka cannot be read just now, and logs it where that is new.
    pub fn note_trouble(&self, reason: &str) {
        if self.note(|status| &mut status.kafka_trouble, reason) && self.mark_logged(reason) {
            tracing::warn!(reason, "Kafka cannot be used just now; it is tried again");
        }
    }

    /// Notes the cause of trouble with Kafka, and logs it where that is new.
    pub fn note_cause(&self, cause: &str) {
        if self.note(|status| &mut status.kafka_cause, cause) && self.mark_logged(cause) {
            tracing::warn!(cause, "Kafka cannot be spoken to");
        }
    }

    /// Notes why dead letters cannot be written, or that they are, and logs it where that is new.
    pub fn note_dead_letters(&self, trouble: Option<&str>) {
        if let Some(reason) = trouble {
            if self.note(|status| &mut status.dead_letter_trouble, reason) {
                tracing::warn!(reason, "ingestion waits for dead letters");
            }
            return;
        }
        if self.status.send_if_modified(|status| status.dead_letter_trouble.take().is_some()) {
            tracing::info!("dead letters can be written again");
        }
    }

    /// Notes why a topic or a partition is not read, and logs it where that is new.
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
            tracing::warn!(topic, partition, reason, "a topic is not read; it is tried again");
        }
    }

    /// Notes that a topic or a partition is read.
    pub fn note_read(&self, part: &TopicPart) {
        if self.status.send_if_modified(|status| status.not_read.remove(part).is_some()) {
            let (topic, partition) = part;
            tracing::info!(topic, partition, "a topic is read now");
        }
    }

    /// Keeps a text where it says something else than the one before; answers whether it does.
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

    /// Whether a text was not logged yet; from now on it was.
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

    /// Changes the status and wakes whoever waits for it.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_modify(change);
    }

    /// Waits until every partition named is applied at least that far; `false` where that did
    /// not happen in time.
    pub async fn reached(&self, wanted: &Positions, within: Duration) -> bool {
        let mut status = self.status.subscribe();
        let reached = status.wait_for(|status| {
            wanted.iter().all(|(partition, next)| status.positions.get(partition) >= Some(next))
        });
        matches!(tokio::time::timeout(within, reached).await, Ok(Ok(_)))
    }
}

/// What of librdkafka's words stays the same from try to try: how long one took and how many it
/// leaves unsaid stand at the end, and numbers tell brokers apart and count them.
fn lasting(text: &str) -> String {
    let said = text.split(" (after ").next().unwrap_or_default();
    said.chars().filter(|character| !character.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
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

    /// What is logged meanwhile, a line for each message.
    fn logged(act: impl FnOnce()) -> Vec<String> {
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
            // Another broker, which still has the old certificate: shown, and logged already.
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
