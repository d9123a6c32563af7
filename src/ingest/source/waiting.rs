//! Commands that wait until what their authors had seen was handed on.

use std::time::Instant;

use super::{DISCOVERY, RETRY, Source};
use crate::ingest::kafka;
use crate::person::Record;
use crate::person::command::Seen;

impl Source {
    /// Returns the waiting commands, each with the first position that it waits for.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (&Record, &Seen)> {
        let lanes = self.partitions.iter().map(|partition| &partition.lane);
        let coming = |of| self.partitions.iter().find_map(|partition| partition.lane.comes(of));
        lanes.filter_map(move |lane| lane.waits_for(&self.handed, coming))
    }

    /// Releases commands from offsets that Kafka does not have: the topic was re-created or cut since their authors had
    /// seen it, and they would wait for records that these authors knew nothing of. Only commands that were fetched
    /// before Kafka was asked are released, as the authors of later ones may have seen what is appended meanwhile.
    pub(super) fn release_commands(&mut self) {
        if Instant::now() < self.ask_end_at {
            return;
        }
        let is_read = |seen: &&Seen| self.handed.read_of(seen).is_some();
        let awaited = self.waiting().map(|(_, seen)| seen).find(is_read).cloned();
        let Some(Seen { topic, partition, next_offset }) = awaited else { return };
        let found = kafka::watermarks(&self.consumer, &topic, partition);
        // Nothing is fetched while a partition without a leader is asked about.
        self.ask_end_at = Instant::now() + if found.is_ok() { RETRY } else { DISCOVERY };
        let Some((_, end)) = found.ok().filter(|(_, end)| *end < next_offset) else { return };
        tracing::warn!(
            topic,
            partition,
            end,
            "commands do not wait for offset {}, which their authors had seen but Kafka does not have",
            next_offset - 1
        );
        for waiting in &mut self.partitions {
            waiting.lane.release(&topic, partition, end);
        }
    }
}
