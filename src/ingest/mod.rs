//! The write path, and the only room that names rdkafka.
//!
//! ```text
//! source (one thread) ─► parse (all cores) ─► apply and commit (one thread)
//! ```
//!
//! The stages are joined by queues of one batch each, so a slow store slows fetching, and while
//! it works the next batch grows: batches are large under load and small when it is quiet.
//! [`apply`] is what happens to a batch; [`source`] is where it comes from.

pub mod apply;
mod dead_letter;
pub mod embedded;
pub mod kafka;
mod order;
mod partitions;
pub mod produce;
mod source;
mod stop;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use chrono::Utc;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Handle;

use self::apply::{Parsed, Tally};
use self::dead_letter::DeadLetters;
pub use self::kafka::Connection;
pub use self::partitions::Partitions;
use self::source::{Batch, Reader, Source};
pub use self::stop::Stop;
use crate::metrics::Metrics;
use crate::person::{Record, Rules};
use crate::progress::Progress;
use crate::store::{self, Store};

/// How often Kafka is told how far the store is.
const COMMIT_INTERVAL: Duration = Duration::from_secs(5);

/// How long the source rests where nothing came; a record that comes wakes it earlier.
const REST: Duration = Duration::from_millis(50);

/// What ingestion needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How Kafka is reached.
    pub kafka: Connection,
    /// Topics of capture events.
    pub topics: Vec<String>,
    /// Created where missing; carries the writes of the API.
    pub command_topic: String,
    /// Created where missing; takes what could not be used.
    pub dead_letter_topic: String,
    /// How records are understood.
    pub rules: Rules,
    /// How operations are recorded.
    pub apply: apply::Settings,
    /// The most records of one batch.
    pub batch_records: usize,
    /// Bytes of records in memory, from librdkafka's buffers to the batch at work.
    pub queue_bytes: u64,
    /// Records behind the end at which the view first counts as caught up.
    pub ready_lag: u64,
    /// The partitions that this instance owns.
    pub partitions: Partitions,
    /// Go on at the earliest record where those in between are gone.
    pub accept_gap: bool,
}

/// Why ingestion ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Kafka refused.
    #[error("Kafka refused: {0}")]
    Kafka(#[from] KafkaError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Going on would skip or repeat records.
    #[error("{0}")]
    Stopped(Stop),
    /// It was asked to end.
    #[error("interrupted")]
    Interrupted,
    /// An invariant broke.
    #[error("ingestion contradicts itself: {0}")]
    Internal(&'static str),
}

/// Ingestion at work on threads of its own.
pub struct Ingest {
    going: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// What every stage shares.
#[derive(Clone)]
struct Stage {
    settings: Arc<Settings>,
    store: Arc<Store>,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
    going: Arc<AtomicBool>,
    runtime: Handle,
}

impl Ingest {
    /// Starts to read. Where it cannot go on, reads of the store go on, and `progress` says why.
    #[must_use]
    pub fn start(
        settings: Settings,
        store: Arc<Store>,
        progress: Arc<Progress>,
        metrics: Arc<Metrics>,
        runtime: Handle,
    ) -> Self {
        let going = Arc::new(AtomicBool::new(true));
        let settings = Arc::new(settings);
        let stage = Stage { settings, store, progress, metrics, going: going.clone(), runtime };
        let thread = thread::spawn(move || {
            let progress = stage.progress.clone();
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stage.run()));
            let reason = match ended {
                Ok(Ok(()) | Err(Error::Interrupted)) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "a bug: ingestion panicked; the log has the place".to_owned(),
            };
            tracing::error!(reason, "ingestion has ended; reads go on with what is in the store");
            progress.update(|status| status.stopped = Some(reason));
        });
        Self { going, thread }
    }

    /// Stops fetching, commits the batch in hand and ends.
    pub fn stop(self) {
        self.going.store(false, Ordering::Release);
        // A panic was told when it happened.
        let _ = self.thread.join();
    }
}

impl Stage {
    fn is_going(&self) -> bool {
        self.going.load(Ordering::Acquire)
    }

    fn run(&self) -> Result<(), Error> {
        self.create_topics()?;
        let source = self.source()?;
        let reader = source.reader();
        let letters = DeadLetters::connect(&self.settings.kafka, &self.settings.dead_letter_topic)?;
        let (fetched, to_parse) = sync_channel(1);
        let (parsed, to_apply) = sync_channel(1);
        thread::scope(|scope| {
            let fetching = scope.spawn(move || self.fetch(source, &fetched));
            scope.spawn(move || self.parse(&to_parse, &parsed));
            let applied = self.apply(to_apply, &letters, &reader);
            self.going.store(false, Ordering::Release);
            let fetched = fetching.join().map_err(|_| Error::Internal("the source panicked"))?;
            applied.and(fetched)
        })
    }

    /// Dead letters must have a place to go before the first record is read.
    fn create_topics(&self) -> Result<(), Error> {
        let names = [self.settings.command_topic.clone(), self.settings.dead_letter_topic.clone()];
        while self.is_going() {
            let created = self.runtime.block_on(self.settings.kafka.create_missing_topics(&names));
            let Err(error) = created else { return Ok(()) };
            let text = format!("topics {names:?} cannot be created: {error}");
            tracing::warn!("{text}; trying again");
            self.progress.update(|status| status.kafka_trouble = Some(text));
            thread::sleep(Duration::from_millis(500));
        }
        Err(Error::Interrupted)
    }

    fn source(&self) -> Result<Source, Error> {
        let mut transaction = self.store.transaction();
        let topics = self.settings.topics.iter();
        let numbers = topics.map(|name| (name.as_str().into(), transaction.topic(name))).collect();
        transaction.commit()?;
        let positions = self.store.snapshot().positions()?;
        self.progress.update(|status| {
            let next = positions.iter().map(|(topic, partition, applied)| {
                ((topic.clone(), *partition), applied.next_offset)
            });
            status.positions = next.collect();
        });
        let applied = positions.into_iter();
        let applied =
            applied.map(|(topic, partition, applied)| ((topic, partition), applied)).collect();
        let (settings, progress) = (self.settings.clone(), self.progress.clone());
        Source::connect(settings, progress, self.metrics.clone(), numbers, applied)
    }

    fn fetch(&self, mut source: Source, batches: &SyncSender<Batch>) -> Result<(), Error> {
        let mut batch = Batch::default();
        let mut told_drained = false;
        while self.is_going() {
            let before = batch.records.len();
            source.fill(&mut batch)?;
            batch.drained = source.is_drained();
            let due = !batch.records.is_empty() || (batch.drained && !told_drained);
            if due {
                let (full, drained) = (batch.is_full(&self.settings), batch.drained);
                match batches.try_send(std::mem::take(&mut batch)) {
                    Ok(()) => {
                        told_drained = drained;
                        continue;
                    }
                    // The stages behind are at work: the batch grows meanwhile.
                    Err(TrySendError::Full(unsent)) if !full => batch = unsent,
                    Err(TrySendError::Full(unsent)) => {
                        if batches.send(unsent).is_err() {
                            return Ok(());
                        }
                        told_drained = drained;
                        continue;
                    }
                    Err(TrySendError::Disconnected(_)) => return Ok(()),
                }
            }
            if batch.records.len() == before {
                thread::park_timeout(if due { REST / 25 } else { REST });
            }
        }
        Ok(())
    }

    fn parse(&self, batches: &Receiver<Batch>, parsed: &SyncSender<(Batch, Vec<Parsed>)>) {
        for batch in batches {
            let began = Instant::now();
            let events = apply::parse(&batch.records, &self.settings.rules);
            self.metrics.ingest_batch_stage("parse", began.elapsed().as_secs_f64());
            if parsed.send((batch, events)).is_err() {
                return;
            }
        }
    }

    /// Owns the queue's end, so that the stages before end with this one.
    fn apply(
        &self,
        batches: Receiver<(Batch, Vec<Parsed>)>,
        letters: &DeadLetters,
        reader: &Reader,
    ) -> Result<(), Error> {
        let mut told = Instant::now();
        for (batch, parsed) in batches {
            if !batch.records.is_empty() {
                self.commit(&batch.records, &parsed, letters)?;
            }
            self.progress.update(|status| {
                status.drained = batch.drained;
                if batch.drained {
                    status.lag_records = Some(0);
                }
                let lag =
                    status.lag_records.filter(|_| !status.positions.is_empty() || batch.drained);
                status.caught_up |= lag.is_some_and(|lag| lag <= self.settings.ready_lag);
            });
            if told.elapsed() >= COMMIT_INTERVAL {
                self.tell_kafka(reader, CommitMode::Async);
                told = Instant::now();
            }
        }
        // A Kafka that is away would keep the end waiting, for what is a courtesy.
        if !self.progress.is_in_trouble() {
            self.tell_kafka(reader, CommitMode::Sync);
        }
        Ok(())
    }

    fn commit(
        &self,
        records: &[Record],
        parsed: &[Parsed],
        letters: &DeadLetters,
    ) -> Result<(), Error> {
        let began = Instant::now();
        let (transaction, tally) = apply::batch(&self.store, records, parsed, self.settings.apply)?;
        self.metrics.ingest_batch_stage("apply", began.elapsed().as_secs_f64());
        let rejected = tally.rejections.iter().filter(|(_, rejection)| rejection.is_dead_letter());
        let rejected: Vec<_> =
            rejected.map(|&(index, rejection)| (&records[index], rejection)).collect();
        if !rejected.is_empty() {
            self.runtime.block_on(letters.send(&rejected, || self.is_going()))?;
        }
        let began = Instant::now();
        transaction.commit()?;
        self.metrics.ingest_batch_stage("commit", began.elapsed().as_secs_f64());
        self.count(records, &tally);
        self.progress.update(|status| {
            for record in records {
                let Record { topic, position, .. } = record;
                // Records of a partition come in order: the last one decides.
                let next = position.offset + 1;
                if let Some(known) =
                    status.positions.get_mut(&(topic.to_string(), position.partition))
                {
                    *known = next;
                } else {
                    status.positions.insert((topic.to_string(), position.partition), next);
                }
            }
        });
        Ok(())
    }

    fn count(&self, records: &[Record], tally: &Tally) {
        let metrics = &self.metrics;
        metrics.ingest_batch(records.len() as u64);
        for (&(topic, outcome), &count) in &tally.records {
            let name = self.store.dictionary().topic_name(topic).unwrap_or_default();
            metrics.ingest_records(&name, outcome.name(), count);
        }
        for (kind, count) in &tally.operations {
            metrics.ingest_operations(kind, *count);
        }
        for (warning, count) in &tally.warnings {
            metrics.ingest_warnings(warning.kind(), *count);
        }
        for (_, rejection) in &tally.rejections {
            if rejection.is_dead_letter() {
                metrics.ingest_dead_letters(rejection.reason(), 1);
            }
        }
        metrics.ingest_late_operations(tally.late);
        let now = Duration::from_micros(Utc::now().timestamp_micros().unsigned_abs());
        for record in records {
            let received = Duration::from_micros(record.timestamp.0.unsigned_abs());
            metrics.ingest_freshness(now.saturating_sub(received).as_secs_f64());
        }
    }

    /// Lag monitors read the group's offsets; nothing here depends on them.
    fn tell_kafka(&self, reader: &Reader, mode: CommitMode) {
        let mut list = TopicPartitionList::new();
        for ((topic, partition), next) in &self.progress.status().positions {
            let partition = i32::try_from(*partition).unwrap_or(i32::MAX);
            let offset = Offset::Offset(i64::try_from(*next).unwrap_or(i64::MAX));
            if list.add_partition_offset(topic, partition, offset).is_err() {
                return;
            }
        }
        if let Err(error) = reader.commit(&list, mode) {
            tracing::debug!(%error, "the group's offsets were not committed");
        }
    }
}
