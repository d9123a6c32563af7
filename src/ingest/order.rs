//! One order for the records of several partitions.
//!
//! Kafka orders records within a partition only. Here the buffered record with the least Kafka
//! timestamp comes first, and a partition that has more to give is waited for, so that a rebuild
//! from the same log reads it in the same order. A partition that stays silent is waited for a
//! bounded time only.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::person::Record;

/// How long a partition that should have records is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Records of one partition, fetched and not yet handed on.
#[derive(Debug)]
pub struct Lane {
    buffered: VecDeque<Record>,
    /// Length of what is buffered.
    bytes: u64,
    /// Kafka said that there is nothing more for now.
    at_end: bool,
    empty_since: Instant,
}

impl Lane {
    /// A partition of which nothing was fetched yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { buffered: VecDeque::new(), bytes: 0, at_end: false, empty_since: now }
    }

    /// Takes a fetched record.
    pub fn push(&mut self, record: Record) {
        self.at_end = false;
        self.bytes += record.bytes();
        self.buffered.push_back(record);
    }

    /// Notes that there is nothing more for now.
    pub fn reached_end(&mut self) {
        self.at_end = true;
    }

    /// Whether everything there is was fetched and handed on.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.at_end && self.buffered.is_empty()
    }

    /// How much waits here.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn must_be_waited_for(&self, now: Instant) -> bool {
        self.buffered.is_empty() && !self.at_end && now - self.empty_since < PATIENCE
    }
}

/// The next record, or `None` while a partition must be waited for or nothing is buffered.
pub fn next(lanes: &mut [&mut Lane], now: Instant) -> Option<Record> {
    if lanes.iter().any(|lane| lane.must_be_waited_for(now)) {
        return None;
    }
    let waiting = lanes.iter_mut().filter(|lane| !lane.buffered.is_empty());
    let lane = waiting.min_by_key(|lane| {
        let first = &lane.buffered[0];
        (first.timestamp, first.position)
    })?;
    let record = lane.buffered.pop_front()?;
    lane.bytes -= record.bytes();
    if lane.buffered.is_empty() {
        lane.empty_since = now;
    }
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::person::{Position, Time};

    fn record(partition: u32, offset: u64, timestamp: i64) -> Record {
        let position = Position { topic: 0, partition, offset };
        Record { position, timestamp: Time(timestamp), ..Record::default() }
    }

    fn drain(lanes: &mut [Lane], now: Instant) -> Vec<(u32, u64)> {
        let mut lanes: Vec<_> = lanes.iter_mut().collect();
        let records = std::iter::from_fn(|| next(&mut lanes, now));
        records.map(|record| (record.position.partition, record.position.offset)).collect()
    }

    #[test]
    fn the_least_timestamp_comes_first_and_ties_go_by_partition() {
        let now = Instant::now();
        let mut lanes = [Lane::new(now), Lane::new(now)];
        for (partition, offset, timestamp) in
            [(0, 0, 5), (0, 1, 5), (1, 0, 3), (1, 1, 5), (1, 2, 4)]
        {
            lanes[partition].push(record(u32::try_from(partition).unwrap(), offset, timestamp));
        }
        lanes.iter_mut().for_each(Lane::reached_end);
        assert_eq!(drain(&mut lanes, now), [(1, 0), (0, 0), (0, 1), (1, 1), (1, 2)]);
        assert!(lanes.iter().all(Lane::is_drained));
    }

    #[test]
    fn a_partition_that_has_more_is_waited_for_but_not_for_ever() {
        let now = Instant::now();
        let mut lanes = [Lane::new(now), Lane::new(now)];
        lanes[0].push(record(0, 0, 5));
        assert_eq!(drain(&mut lanes, now), []);
        assert_eq!(drain(&mut lanes, now + PATIENCE), [(0, 0)]);
        lanes[0].push(record(0, 1, 6));
        lanes[1].reached_end();
        assert_eq!(drain(&mut lanes, now), [(0, 1)]);
    }
}
