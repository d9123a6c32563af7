//! How much of the log was handed on: what a command waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Partitions;
use crate::person::Position;
use crate::person::command::Seen;
use crate::store::Applied;

/// How much of the log was handed on.
#[derive(Debug)]
pub struct Handed {
    topics: BTreeMap<Arc<str>, u16>,
    owned: Partitions,
    /// The next offset of every partition.
    next: BTreeMap<(u16, u32), u64>,
    /// The partitions that are read.
    read: BTreeSet<(u16, u32)>,
    /// Partitions that commands waited for and Kafka does not have.
    absent: BTreeSet<(u16, u32)>,
    /// Every partition that this instance owns is read.
    pub is_complete: bool,
}

impl Handed {
    /// Of these topics, by their numbers, of which so much is in the store.
    pub fn new(
        topics: BTreeMap<Arc<str>, u16>,
        owned: Partitions,
        stored: &BTreeMap<(String, u32), Applied>,
    ) -> Self {
        let stored = stored.iter().filter_map(|((topic, partition), applied)| {
            Some(((*topics.get(topic.as_str())?, *partition), applied.next_offset))
        });
        let (read, absent) = (BTreeSet::new(), BTreeSet::new());
        Self { next: stored.collect(), topics, owned, read, absent, is_complete: false }
    }

    /// Notes that a partition is read from an offset on. What was before that is over, handed on or expired.
    pub fn reads(&mut self, topic: u16, partition: u32, from: u64) {
        let of = (topic, partition);
        self.read.insert(of);
        let next = self.next.entry(of).or_default();
        *next = from.max(*next);
    }

    /// Notes that a record was handed on.
    pub fn hand_on(&mut self, Position { topic, partition, offset }: Position) {
        self.next.insert((topic, partition), offset + 1);
    }

    /// Whether so much was handed on. What another instance owns is not waited for, nor what Kafka does not
    /// have.
    pub fn has(&self, seen: &Seen) -> bool {
        match self.of(seen).filter(|of| self.read.contains(of)) {
            Some(of) => self.next.get(&of).is_some_and(|next| *next >= seen.next_offset),
            None => self.is_complete && self.unread(seen).is_none(),
        }
    }

    /// The partition, where it is this instance's to read and not read yet: it may have been added since
    /// Kafka was asked last.
    pub fn unread(&self, seen: &Seen) -> Option<(u16, u32)> {
        let is_unread = |of: &(u16, u32)| !self.read.contains(of) && !self.absent.contains(of);
        self.of(seen).filter(|of| self.owned.reads(of.0, of.1)).filter(is_unread)
    }

    /// Notes that Kafka was asked for partitions, and what of them is not read now it does not have.
    pub fn asked_for(&mut self, partitions: Vec<(u16, u32)>) {
        self.absent.extend(partitions);
    }

    fn of(&self, seen: &Seen) -> Option<(u16, u32)> {
        self.topics.get(seen.topic.as_str()).map(|topic| (*topic, seen.partition))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_read_here_is_not_waited_for() {
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
        assert!(handed.has(&seen("events", 0, 5)));
        assert!(!handed.has(&seen("events", 0, 7)));
        handed.hand_on(Position { topic: 3, partition: 0, offset: 6 });
        assert!(handed.has(&seen("events", 0, 7)));
        assert!(!handed.has(&seen("events", 1, 1)), "it may be read soon");
        handed.is_complete = true;
        assert!(handed.has(&seen("events", 1, 1)) && handed.has(&seen("others", 0, 1)));
        let added = seen("events", 2, 1);
        assert!(!handed.has(&added), "it may have been added since Kafka was asked");
        let unread = handed.unread(&added);
        assert_eq!(unread, Some((3, 2)));
        handed.asked_for(unread.into_iter().collect());
        assert!(handed.has(&added), "Kafka does not have it");
        handed.reads(3, 2, 0);
        assert!(!handed.has(&added));
    }

    #[test]
    fn what_has_expired_is_not_waited_for() {
        let topics = [("events".into(), 3)].into();
        let mut handed = Handed::new(topics, Partitions::All, &BTreeMap::new());
        handed.reads(3, 0, 8);
        let seen = |next_offset| Seen { topic: "events".to_owned(), partition: 0, next_offset };
        assert!(handed.has(&seen(8)));
        assert!(!handed.has(&seen(9)));
    }
}
