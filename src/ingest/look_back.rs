//! Looks back at records that were read before. If a topic is deleted and created again under its name, librdkafka
//! may go on at the old position as if nothing had happened; but what was read before is no longer there.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Message as _, TopicPartitionList};

use super::apply::fingerprint;
use super::handed::Part;
use super::kafka::{self, Connection};
use super::message;
use super::partition::Partition;
use super::source::is_out_of_range;
use super::stop::Replaced;
use super::{Error, Stop};
use crate::person::{Position, Record};
use crate::store::Applied;

/// How often it looks back, at one record of each topic.
const INTERVAL: Duration = Duration::from_secs(5);

/// How much of a partition is fetched for the one record, in bytes.
const FETCHED: u64 = 64 << 10;

/// Two records of a partition that were read, to be found again.
#[derive(Default)]
pub struct Marks {
    /// The one that is looked for.
    old: Option<Applied>,
    /// A later one. As long as the old one is there, this one is of the same topic, too.
    new: Option<Applied>,
}

impl Marks {
    /// Begins with a record that was found in its place.
    pub fn begin(&mut self, found: Applied) {
        *self = Self { old: Some(found), new: None };
    }

    /// Takes a record that is read as a mark, if one is missing.
    pub fn note(&mut self, record: &Record) {
        if let Some(missing) =
            [&mut self.old, &mut self.new].into_iter().find(|mark| mark.is_none())
        {
            *missing = Some(fingerprint(record));
        }
    }

    /// Looks for the later record from now on, and takes the next one that is read as the later one.
    fn advance(&mut self) {
        if let Some(new) = self.new.take() {
            self.old = Some(new);
        }
    }

    /// Compares the first record that was found at or after the old one's offset. Returns the old one if another
    /// record is in its place.
    fn compare(&mut self, found: &Record) -> Option<Applied> {
        let old = self.old.filter(|old| old.last_offset == found.position.offset);
        let replaced = old.filter(|old| *old != fingerprint(found));
        if replaced.is_some() {
            return replaced;
        }
        // If the record expired, nothing can be said about it.
        self.advance();
        None
    }
}

/// A consumer that only looks back.
pub struct LookBack {
    consumer: BaseConsumer<Silent>,
    begun: Instant,
    /// The partitions of which it still waits for the record.
    awaited: BTreeSet<Part>,
}

/// Reports nothing: the consumer that reads the topics reports the same.
struct Silent;

impl ClientContext for Silent {
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _message: &str) {}

    fn error(&self, _error: KafkaError, _reason: &str) {}
}

impl ConsumerContext for Silent {}

impl LookBack {
    /// Creates the consumer, without contacting a broker.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Kafka`] if librdkafka refuses the settings.
    pub fn new(kafka: &Connection) -> Result<Self, Error> {
        let consumer = Self::config(kafka).create_with_context(Silent)?;
        Ok(Self { consumer, begun: Instant::now(), awaited: BTreeSet::new() })
    }

    fn config(kafka: &Connection) -> ClientConfig {
        let mut config = kafka.consumer_config(FETCHED);
        // Nobody takes them, and by default they are logged.
        config.set("statistics.interval.ms", "0");
        config
    }

    /// Asks for a record that was read before, and compares those that have come. To be called often.
    ///
    /// # Errors
    /// [`Error::Stopped`] if there is another record in its place.
    pub fn look(&mut self, partitions: &mut [Partition]) -> Result<(), Error> {
        if self.begun.elapsed() >= INTERVAL {
            self.begun = Instant::now();
            self.ask(partitions);
        }
        while !self.awaited.is_empty() {
            let polled = self.consumer.poll(Duration::ZERO);
            match polled.map(|found| found.map(|found| record_of(&found, partitions))) {
                None => return Ok(()),
                Some(Ok(found)) => {
                    found.map_or(Ok(()), |found| self.compare(&found, partitions))?;
                }
                Some(Err(error)) if is_out_of_range(&error) => {
                    // The record expired. If the topic is another one and ends before it, the consumer that reads the
                    // topic is told so, too.
                    for partition in &mut *partitions {
                        partition.marks.advance();
                    }
                    self.awaited.clear();
                    note_failure(self.consumer.unassign());
                }
                Some(Err(_)) => {}
            }
        }
        Ok(())
    }

    /// Compares the first record that comes of a partition; a busy one has others behind it.
    fn compare(&mut self, found: &Record, partitions: &mut [Partition]) -> Result<(), Error> {
        let Position { topic, partition: number, .. } = found.position;
        let is_of = |of: &&mut Partition| of.topic.number == topic && of.number == number;
        let Some(partition) = partitions.iter_mut().find(is_of) else { return Ok(()) };
        if !self.awaited.remove(&(topic, number)) {
            return Ok(());
        }
        let mut one = TopicPartitionList::new();
        one.add_partition(&partition.topic.name, kafka::to_partition(number));
        note_failure(self.consumer.incremental_unassign(&one));
        match partition.marks.compare(found) {
            None => Ok(()),
            Some(read) => {
                let topic = partition.topic.clone();
                let replaced = Replaced { topic, partition: number, read };
                Err(Error::Stopped(Stop::Replaced(replaced)))
            }
        }
    }

    /// Asks for one record of each topic. An answer that has not come by then is not awaited any longer.
    fn ask(&mut self, partitions: &[Partition]) {
        let mut asked = TopicPartitionList::new();
        self.awaited.clear();
        for Partition { topic, number, marks, .. } in partitions {
            let Some(old) = marks.old else { continue };
            if self.awaited.iter().any(|(awaited, _)| *awaited == topic.number) {
                continue;
            }
            let offset = kafka::to_offset(old.last_offset);
            if asked.add_partition_offset(&topic.name, kafka::to_partition(*number), offset).is_ok()
            {
                self.awaited.insert((topic.number, *number));
            }
        }
        if let Err(error) = self.consumer.assign(&asked) {
            tracing::debug!(%error, "records that were read before cannot be asked for");
            self.awaited.clear();
        }
    }
}

/// Fetching goes on if it cannot be ended, but what comes is ignored.
fn note_failure(result: KafkaResult<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "more is fetched than is compared");
    }
}

/// Returns the record of a message, if its topic is one of those that are read.
fn record_of(found: &BorrowedMessage<'_>, partitions: &[Partition]) -> Option<Record> {
    let mut topics = partitions.iter().map(|partition| &partition.topic);
    let topic = topics.find(|topic| *topic.name == *found.topic())?;
    Some(message::record(found, topic.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::kafka::tests::connection;
    use crate::ingest::partition::tests::partition;
    use crate::person::Time;

    #[test]
    fn its_consumer_has_no_statistics_even_if_the_operator_asks_for_them() {
        let client = [("statistics.interval.ms".to_owned(), "5".to_owned())].into();
        let asking = Connection { client, ..connection(String::new()) };
        assert_eq!(LookBack::config(&asking).get("statistics.interval.ms"), Some("0"));
    }

    #[test]
    fn a_busy_topic_does_not_take_the_turn_of_another() {
        let of = |topic, offset, value| {
            let record = record(offset, value);
            Record { position: Position { topic, ..record.position }, ..record }
        };
        let mut partitions = [partition("busy", 0), partition("quiet", 1)];
        for (topic, partition) in (0..).zip(&mut partitions) {
            partition.marks.note(&of(topic, 3, "first"));
        }
        let mut look_back = LookBack::new(&connection(String::new())).unwrap();
        look_back.ask(&partitions);
        for offset in 3..6 {
            look_back.compare(&of(0, offset, "first"), &mut partitions).unwrap();
        }
        assert_eq!(look_back.awaited, [(1, 0)].into());
        let found = look_back.compare(&of(1, 3, "another"), &mut partitions);
        assert!(matches!(found, Err(Error::Stopped(Stop::Replaced(_)))), "{found:?}");
    }

    fn record(offset: u64, value: &str) -> Record {
        Record {
            position: Position { offset, ..Position::default() },
            timestamp: Time(5),
            value: Some(value.into()),
            ..Record::default()
        }
    }

    #[test]
    fn a_mark_moves_on_only_while_the_older_one_is_there() {
        let mut marks = Marks::default();
        for offset in [3, 7, 8] {
            marks.note(&record(offset, "first"));
        }
        let mut found = |offset, value| {
            marks.note(&record(9, "late"));
            marks.compare(&record(offset, value)).map(|read| read.last_offset)
        };
        assert_eq!(found(3, "first"), None);
        assert_eq!(found(7, "another"), Some(7));
        assert_eq!(found(7, "another"), Some(7), "and goes on looking for it");
        assert_eq!(found(8, "first"), None, "it expired");
        assert_eq!(found(9, "late"), None);
        assert_eq!(found(9, "another"), Some(9));
    }
}
