//! Tracks how much of the log was handed on, which commands wait for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Partitions;
use crate::person::command::Seen;
use crate::person::time::DAY;
use crate::person::{Position, Record, Time};
use crate::store::Applied;

/// The author of a command cannot have seen records this much later, in microseconds, save single ones of a
/// producer with a wrong clock.
const LATER: i64 = DAY;

/// A partition: the number of its topic, and its own.
pub type Part = (u16, u32);

/// How much of the log was handed on.
#[derive(Debug)]
pub struct Handed {
    topics: BTreeMap<Arc<str>, u16>,
    owned: Partitions,
    /// The next offset of every partition, and the least Kafka timestamp that is known of the records before it.
    next: BTreeMap<Part, (u64, Option<Time>)>,
    /// The partitions that are read.
    read: BTreeSet<Part>,
    /// Partitions that commands waited for and Kafka does not have.
    absent: BTreeSet<Part>,
    /// Whether every partition that this instance owns is read.
    pub is_complete: bool,
}

impl Handed {
    /// Starts from the positions in the store, for these topics and their numbers.
    pub fn new(
        topics: BTreeMap<Arc<str>, u16>,
        owned: Partitions,
        stored: &BTreeMap<(String, u32), Applied>,
    ) -> Self {
        let stored = stored.iter().filter_map(|((topic, partition), applied)| {
            let next = (applied.next_offset, Some(applied.last_timestamp));
            Some(((*topics.get(topic.as_str())?, *partition), next))
        });
        let (read, absent) = (BTreeSet::new(), BTreeSet::new());
        Self { next: stored.collect(), topics, owned, read, absent, is_complete: false }
    }

    /// Notes that a partition is read from an offset on. Records before it were handed on or have expired.
    pub fn reads(&mut self, topic: u16, partition: u32, from: u64) {
        let of = (topic, partition);
        self.read.insert(of);
        let (next, _) = self.next.entry(of).or_default();
        *next = from.max(*next);
    }

    /// Notes that a record was handed on.
    pub fn hand_on(&mut self, record: &Record) {
        let Position { topic, partition, offset } = record.position;
        let (next, least) = self.next.entry((topic, partition)).or_default();
        *next = offset + 1;
        *least = Some(least.map_or(record.timestamp, |least| least.min(record.timestamp)));
    }

    /// Whether a position that a command's author had seen was handed on. `written` is when the command was
    /// written; `coming` returns the Kafka timestamp of a partition's next record. Not waited for: partitions
    /// that another instance owns, partitions that Kafka does not have, and a topic that was re-created
    /// since, because its offsets say nothing about the one that the author had seen: all of its records are later
    /// than the command. One alone may be of a producer with a wrong clock.
    pub fn has(&self, seen: &Seen, written: Time, coming: impl Fn(Part) -> Option<Time>) -> bool {
        match self.read_of(seen) {
            Some(of) => self.next.get(&of).is_some_and(|(next, least)| {
                let least = least.or_else(|| coming(of));
                *next >= seen.next_offset || least > Some(written.plus(LATER))
            }),
            None => self.is_complete && self.unread(seen).is_none(),
        }
    }

    /// Returns the partition of a position if it is read.
    pub fn read_of(&self, seen: &Seen) -> Option<Part> {
        self.of(seen).filter(|of| self.read.contains(of))
    }

    /// Returns the partition if this instance has to read it but does not yet: it may have been added since
    /// Kafka was last asked.
    pub fn unread(&self, seen: &Seen) -> Option<Part> {
        let is_unread = |of: &Part| !self.read.contains(of) && !self.absent.contains(of);
        self.of(seen).filter(|of| self.owned.reads(of.0, of.1)).filter(is_unread)
    }

    /// Notes that Kafka was asked for these partitions: those that are still not read do not exist.
    pub fn asked_for(&mut self, partitions: Vec<Part>) {
        self.absent.extend(partitions);
    }

    fn of(&self, seen: &Seen) -> Option<Part> {
        self.topics.get(seen.topic.as_str()).map(|topic| (*topic, seen.partition))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: u64, timestamp: i64) -> Record {
        let position = Position { topic: 3, partition: 0, offset };
        Record { position, timestamp: Time(timestamp), ..Record::default() }
    }

    /// Returns what was handed on of a topic `events`, whose partition 0 is read from an offset on.
    fn reading(from: u64) -> Handed {
        let topics = [("events".into(), 3)].into();
        let mut handed = Handed::new(topics, Partitions::All, &BTreeMap::new());
        handed.reads(3, 0, from);
        handed
    }

    #[test]
    fn partitions_that_are_not_read_here_are_not_waited_for() {
        let applied = Applied { next_offset: 5, ..Applied::default() };
        let stored = [(("events".to_owned(), 0), applied)].into();
        let even = Partitions::Share { ordinal: 0, of: 2 };
        let mut handed = Handed::new([("events".into(), 3)].into(), even, &stored);
        let seen = |topic: &str, partition, next_offset| Seen {
            topic: topic.to_owned(),
            partition,
            next_offset,
        };
        handed.reads(3, 0, 4);
        assert!(handed.has(&seen("events", 0, 5), Time(0), |_| None));
        assert!(!handed.has(&seen("events", 0, 7), Time(0), |_| None));
        handed.hand_on(&record(6, 0));
        assert!(handed.has(&seen("events", 0, 7), Time(0), |_| None));
        assert!(!handed.has(&seen("events", 1, 1), Time(0), |_| None), "it may be read soon");
        handed.is_complete = true;
        assert!(
            handed.has(&seen("events", 1, 1), Time(0), |_| None)
                && handed.has(&seen("others", 0, 1), Time(0), |_| None)
        );
        let added = seen("events", 2, 1);
        assert!(
            !handed.has(&added, Time(0), |_| None),
            "it may have been added since Kafka was asked"
        );
        let unread = handed.unread(&added);
        assert_eq!(unread, Some((3, 2)));
        handed.asked_for(unread.into_iter().collect());
        assert!(handed.has(&added, Time(0), |_| None), "Kafka does not have it");
        handed.reads(3, 2, 0);
        assert!(!handed.has(&added, Time(0), |_| None));
    }

    #[test]
    fn expired_records_are_not_waited_for() {
        let handed = reading(8);
        let seen = |next_offset| Seen { topic: "events".to_owned(), partition: 0, next_offset };
        assert!(handed.has(&seen(8), Time(0), |_| None));
        assert!(!handed.has(&seen(9), Time(0), |_| None));
    }

    #[test]
    fn a_topic_that_was_made_anew_is_not_waited_for() {
        let mut handed = reading(0);
        let seen = Seen { topic: "events".to_owned(), partition: 0, next_offset: 1_000 };
        let written = Time(5);
        let comes = |at| move |of| (of == (3, 0)).then_some(Time(at));
        assert!(!handed.has(&seen, written, |_| None));
        assert!(!handed.has(&seen, written, comes(5 + LATER)), "its author may have seen that");
        assert!(
            handed.has(&seen, written, comes(6 + LATER)),
            "nothing of that may be handed on before"
        );
        handed.hand_on(&record(0, 6 + LATER));
        assert!(handed.has(&seen, written, |_| None));
        assert!(!handed.has(&seen, Time(6), |_| None));
    }

    #[test]
    fn one_record_from_the_future_is_not_a_topic_made_anew() {
        let mut handed = reading(0);
        let seen = Seen { topic: "events".to_owned(), partition: 0, next_offset: 3 };
        handed.hand_on(&record(0, 4));
        assert!(!handed.has(&seen, Time(5), |_| Some(Time::MAX)), "where it comes next");
        handed.hand_on(&record(1, i64::MAX));
        assert!(!handed.has(&seen, Time(5), |_| Some(Time(4))), "nor after it");
        handed.hand_on(&record(2, 4));
        assert!(handed.has(&seen, Time(5), |_| None));
    }
}
