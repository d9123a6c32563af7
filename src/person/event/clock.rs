//! Computes when an event happened and when it was learned, from several clocks, none of which is trusted.

use crate::person::Time;
use crate::person::time::DAY;

/// The times that a record carries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// When capture received it.
    pub now: Option<Time>,
    /// Kafka's timestamp of the record; the Unix epoch if it has none.
    pub kafka: Time,
    /// When the client sent it, by the client's clock.
    pub sent_at: Option<Time>,
    /// When it happened, as capture computed it.
    pub normalised: Option<Time>,
    /// When the event happened, by the client's clock.
    pub timestamp: Timestamp,
    /// How long before it was received the event happened, in milliseconds.
    pub offset_ms: Option<f64>,
    /// Whether the client asks not to correct its clock.
    pub ignore_sent_at: bool,
}

/// When the event happened, by the client's clock.
#[derive(Clone, Copy, Debug, Default)]
pub enum Timestamp {
    /// The client gives none.
    #[default]
    Absent,
    /// The client gives one that is not a time.
    Unreadable,
    /// The client gives this time.
    At(Time),
}

/// Parses epoch milliseconds, the format of the header `timestamp`.
pub fn milliseconds(text: &str) -> Option<Time> {
    let milliseconds: i64 = text.trim().parse().ok()?;
    milliseconds.checked_mul(1000).map(Time).filter(|time| time.is_writable())
}

impl Clock {
    /// Returns the known time: capture's `now`, or Kafka's timestamp if `now` is missing or over a day ahead
    /// of it. If Kafka has no timestamp, `now` has no such limit.
    pub fn known_time(&self) -> Time {
        let timeless = self.kafka == Time::EPOCH;
        let near = |now: &Time| timeless || *now <= self.kafka.plus(DAY);
        self.now.filter(near).unwrap_or(self.kafka)
    }

    /// Returns the event time, not yet limited to the known time, and whether the client's
    /// timestamp could not be read.
    pub fn event_time(&self) -> (Time, bool) {
        if let Some(time) = self.normalised {
            return (time, false);
        }
        let now = self.now.unwrap_or(self.kafka);
        if let Some(offset_ms) = self.offset_ms {
            return (writable(now.plus(microseconds(offset_ms).saturating_neg())), false);
        }
        match self.timestamp {
            Timestamp::Absent => (now, false),
            Timestamp::Unreadable => (now, true),
            Timestamp::At(timestamp) => {
                let sent_at = self.sent_at.filter(|_| !self.ignore_sent_at);
                let skew = sent_at.map_or(0, |sent_at| sent_at.0.saturating_sub(now.0));
                (writable(timestamp.plus(skew.saturating_neg())), false)
            }
        }
    }
}

fn writable(time: Time) -> Time {
    if time.is_writable() { time } else { Time::EPOCH }
}

#[expect(clippy::cast_possible_truncation, reason = "a float cast saturates, which is what is due")]
fn microseconds(milliseconds: f64) -> i64 {
    (milliseconds * 1000.0) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> Timestamp {
        Timestamp::At(at(text))
    }

    fn at(text: &str) -> Time {
        Time::parse(&format!("2026-03-01T{text}Z")).unwrap()
    }

    #[test]
    fn a_client_clock_is_corrected_by_when_it_sent() {
        for (sent_at, expected) in [("12:00:10", "10:59:50"), ("11:59:50", "11:00:10")] {
            let clock = Clock {
                now: Some(at("12:00:00")),
                sent_at: Some(at(sent_at)),
                timestamp: client("11:00:00"),
                ..Clock::default()
            };
            assert_eq!(clock.event_time().0, at(expected));
            let ignoring = Clock { ignore_sent_at: true, ..clock };
            assert_eq!(ignoring.event_time().0, at("11:00:00"));
        }
    }

    #[test]
    fn an_offset_overrides_and_a_normalised_time_wins() {
        let clock = Clock {
            now: Some(at("12:00:00")),
            timestamp: client("11:00:00"),
            offset_ms: Some(1500.0),
            ..Clock::default()
        };
        assert_eq!(clock.event_time().0, at("11:59:58.5"));
        let normalised = Clock { normalised: Some(at("10:00:00")), ..clock };
        assert_eq!(normalised.event_time().0, at("10:00:00"));
    }

    #[test]
    fn an_unreadable_time_is_now_and_an_unwritable_one_the_epoch() {
        let clock = Clock {
            now: Some(at("12:00:00")),
            timestamp: Timestamp::Unreadable,
            ..Clock::default()
        };
        assert_eq!(clock.event_time(), (at("12:00:00"), true));
        for offset in [1e300, f64::MAX, -1e300, f64::MIN] {
            let clock =
                Clock { now: Some(at("12:00:00")), offset_ms: Some(offset), ..Clock::default() };
            assert_eq!(clock.event_time(), (Time::EPOCH, false));
        }
    }

    #[test]
    fn a_capture_clock_a_day_ahead_of_kafka_is_not_believed() {
        let kafka = at("12:00:00");
        let known =
            |ahead| Clock { now: Some(kafka.plus(ahead)), kafka, ..Clock::default() }.known_time();
        assert_eq!(known(DAY), kafka.plus(DAY));
        assert_eq!(known(DAY + 1), kafka);
        assert_eq!(Clock { kafka, ..Clock::default() }.known_time(), kafka);
        let timeless = Clock { now: Some(kafka), ..Clock::default() };
        assert_eq!(timeless.known_time(), kafka, "Kafka has no time of it");
    }
}
