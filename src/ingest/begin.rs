//! What ingestion needs before it reads: topics that exist, their numbers, and the store's positions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::context::ErrorContext;
use super::kafka::KEPT;
use super::source::{HEARSAY, Source};
use super::{Error, Pipeline, Stop};
use crate::store::Applied;

/// How long to wait before a failed attempt is repeated.
const REST: Duration = Duration::from_millis(500);

impl Pipeline {
    /// Creates the command and dead-letter topics if missing, and retries until they exist. Dead letters need
    /// a topic before the first record is read.
    ///
    /// A command topic of which something was applied is not created again: it would hide that its commands are lost.
    pub(super) fn create_topics(&self) -> Result<(), Error> {
        let commands = self.settings.command_topic.as_str();
        let topics = [(commands, KEPT), (&self.settings.dead_letter_topic, &[][..])];
        let context = ErrorContext(self.progress.clone());
        let has_commands = self.stored_positions()?.keys().any(|(topic, _)| topic == commands);
        let mut gone_since = None;
        while self.is_going() {
            let create = |missing: &str| !(has_commands && missing == commands);
            let creating = self.settings.kafka.create_missing_topics(&topics, create, &context);
            let error = match self.runtime.block_on(creating) {
                Ok(()) => return Ok(()),
                // The broker that answered may not know of it yet.
                Err(Error::NoTopic(topic))
                    if gone_since.get_or_insert_with(Instant::now).elapsed() >= HEARSAY =>
                {
                    return Err(Error::Stopped(Stop::CommandsGone(topic)));
                }
                Err(Error::NoTopic(_)) => {
                    thread::sleep(REST);
                    continue;
                }
                Err(error) => error,
            };
            let names = topics.map(|(name, _)| name);
            self.progress.note_trouble(&if error.is_out_of_reach() {
                self.settings.kafka.unreachable(&error.to_string())
            } else {
                format!("topics {names:?} cannot be created: {error}")
            });
            thread::sleep(REST);
        }
        Err(Error::Interrupted)
    }

    /// Connects to Kafka, with the topics to read and their numbers.
    pub(super) fn source(&self, counted: u32) -> Result<Source, Error> {
        let mut transaction = self.store.transaction();
        let topics = self.settings.topics.iter();
        let mut numbers: BTreeMap<Arc<str>, u16> =
            topics.map(|name| (name.as_str().into(), transaction.topic(name))).collect();
        let commands = self.settings.command_topic.as_str();
        numbers.insert(commands.into(), transaction.command_topic(commands));
        transaction.commit()?;
        let (settings, progress) = (self.settings.clone(), self.progress.clone());
        let (metrics, runtime) = (self.metrics.clone(), self.runtime.clone());
        let applied = self.stored_positions()?;
        Source::connect(settings, counted, runtime, progress, metrics, numbers, applied)
    }

    /// Returns the store's position in each partition.
    pub(super) fn stored_positions(&self) -> Result<BTreeMap<(String, u32), Applied>, Error> {
        let positions = self.store.snapshot().positions()?.into_iter();
        Ok(positions.map(|(topic, partition, applied)| ((topic, partition), applied)).collect())
    }
}
