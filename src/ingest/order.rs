//! One order for the records of several partitions.
//!
//! Kafka orders records only within a partition. Here the buffered record with the least Kafka timestamp
//! comes first, and a partition that has more records is waited for, so that a rebuild from the same log
//! reads them in the same order. A silent partition is waited for only for a bounded time. A timestamp in the
//! future, which a producer with a wrong clock writes, counts as the time when the record was fetched: its
//! partition would otherwise stand still until then. A command waits until everything that its author had seen
//! was handed on.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::handed::{Handed, Part};
use crate::person::command::Seen;
use crate::person::{Record, Time};

/// How long to wait for a partition that should have records. Longer than a busy Kafka takes to answer, since
/// its delays would otherwise decide the order; a partition that is down blocks the others only this long.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Buffered {
    record: Record,
    /// Its Kafka timestamp, or when it was fetched if that is earlier.
    turn: Time,
    /// The positions that must be handed on before it.
    seen: Vec<Seen>,
}

/// Records of one partition, fetched and not yet handed on.
#[derive(Debug)]
pub struct Lane {
    buffered: VecDeque<Buffered>,
    /// Bytes of the buffered records.
    bytes: u64,
    /// Whether Kafka reported that there is nothing more for now.
    at_end: bool,
    empty_since: Instant,
}

impl Lane {
    /// Creates the lane of a partition from which nothing was fetched yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { buffered: VecDeque::new(), bytes: 0, at_end: false, empty_since: now }
    }

    /// Adds a record that was fetched at `now`, with the positions that must be handed on before it.
    pub fn push(&mut self, record: Record, now: Time, seen: Vec<Seen>) {
        self.at_end = false;
        self.bytes += record.bytes();
        let turn = record.timestamp.min(now);
        self.buffered.push_back(Buffered { record, turn, seen });
    }

    /// Notes that there is nothing more for now.
    pub fn reached_end(&mut self) {
        self.at_end = true;
    }

    /// Whether all available records were fetched and handed on.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.at_end && self.buffered.is_empty()
    }

    /// Returns the bytes of the buffered records.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the next record and the first position that it waits for; `None` if it waits for nothing. `coming`
    /// is as in [`Handed::has`].
    pub fn waits_for(
        &self,
        handed: &Handed,
        coming: impl Fn(Part) -> Option<Time>,
    ) -> Option<(&Record, &Seen)> {
        let Buffered { record, seen, .. } = self.buffered.front()?;
        let is_missing = |seen: &&Seen| !handed.has(seen, record.timestamp, &coming);
        Some((record, seen.iter().find(is_missing)?))
    }

    /// Hands on commands without waiting for offsets that their authors had seen from `end` on in this partition.
    pub fn release(&mut self, topic: &str, partition: u32, end: u64) {
        let is_missing = |seen: &Seen| {
            seen.topic == topic && seen.partition == partition && seen.next_offset > end
        };
        for buffered in &mut self.buffered {
            buffered.seen.retain(|seen| !is_missing(seen));
        }
    }

    /// Returns the Kafka timestamp of the next record if this is the lane of the given partition.
    pub fn comes(&self, (topic, partition): Part) -> Option<Time> {
        let Buffered { record, .. } = self.buffered.front()?;
        let of = record.position;
        (of.topic == topic && of.partition == partition).then_some(record.timestamp)
    }

    fn must_be_waited_for(&self, now: Instant) -> bool {
        self.buffered.is_empty() && !self.at_end && now - self.empty_since < PATIENCE
    }
}

/// Takes the next record. Returns `None` while a partition must be waited for, or if no buffered record may
/// be handed on.
pub fn next(lanes: &mut [&mut Lane], now: Instant, handed: &Handed) -> Option<Record> {
    if lanes.iter().any(|lane| lane.must_be_waited_for(now)) {
        return None;
    }
    let coming = |of| lanes.iter().find_map(|lane| lane.comes(of));
    let is_ready = |lane: &Lane| lane.waits_for(handed, coming).is_none();
    let ready = lanes.iter().enumerate().filter(|(_, lane)| is_ready(lane));
    let ready = ready.filter_map(|(index, lane)| {
        let Buffered { record, turn, .. } = lane.buffered.front()?;
        Some((*turn, record.position, index))
    });
    let (.., index) = ready.min()?;
    let lane = &mut *lanes[index];
    let Buffered { record, .. } = lane.buffered.pop_front()?;
    lane.bytes -= record.bytes();
    if lane.buffered.is_empty() {
        lane.empty_since = now;
    }
    Some(record)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ingest::Partitions;
    use crate::person::Position;

    /// When the records are fetched.
    const NOW: Time = Time(100);

    fn record(partition: u32, offset: u64, timestamp: i64) -> Record {
        let position = Position { topic: 0, partition, offset };
        Record { position, timestamp: Time(timestamp), ..Record::default() }
    }

    fn nothing() -> Handed {
        Handed::new([("events".into(), 0)].into(), Partitions::All, &BTreeMap::new())
    }

    fn drain(lanes: &mut [Lane], now: Instant) -> Vec<(u32, u64)> {
        let mut lanes: Vec<_> = lanes.iter_mut().collect();
        let records = std::iter::from_fn(|| next(&mut lanes, now, &nothing()));
        records.map(|record| (record.position.partition, record.position.offset)).collect()
    }

    #[test]
    fn the_least_timestamp_comes_first_and_ties_go_by_partition() {
        let now = Instant::now();
        let mut lanes = [Lane::new(now), Lane::new(now)];
        for (partition, offset, timestamp) in
            [(0, 0, 5), (0, 1, 5), (1, 0, 3), (1, 1, 5), (1, 2, 4)]
        {
            let record = record(u32::try_from(partition).unwrap(), offset, timestamp);
            lanes[partition].push(record, NOW, Vec::new());
        }
        lanes.iter_mut().for_each(Lane::reached_end);
        assert_eq!(drain(&mut lanes, now), [(1, 0), (0, 0), (0, 1), (1, 1), (1, 2)]);
        assert!(lanes.iter().all(Lane::is_drained));
    }

    #[test]
    fn a_record_from_the_future_waits_for_what_was_there_when_it_was_fetched() {
        let now = Instant::now();
        let mut lanes = [Lane::new(now), Lane::new(now)];
        for (partition, offset, timestamp, fetched) in
            [(0, 0, i64::MAX, 100), (0, 1, 101, 101), (1, 0, 99, 100), (1, 1, 102, 102)]
        {
            let record = record(u32::try_from(partition).unwrap(), offset, timestamp);
            lanes[partition].push(record, Time(fetched), Vec::new());
        }
        assert_eq!(
            drain(&mut lanes, now),
            [(1, 0), (0, 0), (0, 1)],
            "and the rest of its partition"
        );
    }

    #[test]
    fn a_partition_that_has_more_is_waited_for_but_not_for_ever() {
        let now = Instant::now();
        let mut lanes = [Lane::new(now), Lane::new(now)];
        lanes[0].push(record(0, 0, 5), NOW, Vec::new());
        assert_eq!(drain(&mut lanes, now), []);
        assert_eq!(drain(&mut lanes, now + PATIENCE), [(0, 0)]);
        lanes[0].push(record(0, 1, 6), NOW, Vec::new());
        lanes[1].reached_end();
        assert_eq!(drain(&mut lanes, now), [(0, 1)]);
    }

    #[test]
    fn a_command_waits_for_what_its_author_had_seen() {
        let now = Instant::now();
        let mut lanes = [Lane::new(now), Lane::new(now)];
        let seen = Seen { topic: "events".to_owned(), partition: 1, next_offset: 2 };
        lanes[0].push(record(0, 0, 1), NOW, vec![seen]);
        for offset in 0..3 {
            lanes[1].push(record(1, offset, 5), NOW, Vec::new());
        }
        lanes.iter_mut().for_each(Lane::reached_end);
        let mut lanes: Vec<_> = lanes.iter_mut().collect();
        let (mut handed, mut order) = (nothing(), Vec::new());
        handed.reads(0, 1, 0);
        while let Some(record) = next(&mut lanes, now, &handed) {
            handed.hand_on(&record);
            order.push((record.position.partition, record.position.offset));
        }
        assert_eq!(order, [(1, 0), (1, 1), (0, 0), (1, 2)]);
    }

    #[test]
    fn a_command_is_released_from_offsets_that_a_log_does_not_have() {
        let seen = |next_offset| Seen { topic: "events".to_owned(), partition: 1, next_offset };
        let mut lane = Lane::new(Instant::now());
        lane.push(record(0, 0, 1), NOW, vec![seen(8), seen(7)]);
        lane.push(record(0, 1, 1), NOW, vec![seen(9)]);
        lane.release("events", 0, 0);
        lane.release("others", 1, 0);
        lane.release("events", 1, 7);
        let left = lane.buffered.iter().map(|buffered| buffered.seen.clone()).collect::<Vec<_>>();
        assert_eq!(left, [vec![seen(7)], vec![]]);
    }
}
