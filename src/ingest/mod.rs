//! The write path, from Kafka to the store, and the only module that uses rdkafka.
//!
//! ```text
//! source (one thread) ─► parse (all cores) ─► apply (one thread) ─► commit (one thread)
//! ```
//!
//! A stage hands its batch over when the next stage is free, so a slow store slows down fetching. While the
//! later stages work, the next batch grows: batches are large under load and small when it is quiet. Batches
//! come from [`source`], [`apply`] applies them to the store, and [`commit`] commits them.

pub mod apply;
mod batch;
mod begin;
mod commands;
mod commit;
mod context;
mod count;
pub mod dead_letters;
pub mod embedded;
mod handed;
pub mod kafka;
mod look_back;
mod message;
mod order;
mod outlet;
mod partition;
mod priority;
pub mod produce;
mod rules;
mod share;
mod source;
mod stop;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use self::apply::Parsed;
use self::batch::Batch;
pub use self::commands::{Commands, NotAppended};
use self::commit::Work;
use self::dead_letters::DeadLetters;
pub use self::kafka::Connection;
pub use self::rules::SharedRules;
pub use self::share::Partitions;
use self::source::{Consumer, Source};
use self::stop::Replaced;
pub use self::stop::{Error, Stop};
use crate::metrics::Metrics;
use crate::progress::Progress;
use crate::store::{Applied, Store, Transaction};

/// How often the store's positions are committed to Kafka as the group's offsets.
const COMMIT_INTERVAL: Duration = Duration::from_secs(5);

/// How long the source sleeps when nothing came. A new record wakes it earlier.
const REST: Duration = Duration::from_millis(50);

/// How long the source sleeps while the later stages are busy, even if records arrive: taking up records one
/// by one would use CPU time that those stages need.
const SHORT_REST: Duration = Duration::from_millis(2);

/// The settings of ingestion.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How to connect to Kafka.
    pub kafka: Connection,
    /// Topics of capture events.
    pub topics: Vec<String>,
    /// The topic of API writes. Created if missing.
    pub command_topic: String,
    /// The topic of records that could not be used. Created if missing.
    pub dead_letter_topic: String,
    /// How records are parsed.
    pub rules: SharedRules,
    /// How operations are recorded.
    pub apply: apply::Settings,
    /// Maximum number of records in a batch.
    pub batch_records: usize,
    /// Maximum bytes of records in memory, from librdkafka's buffers to the batch being applied.
    pub queue_bytes: u64,
    /// The view counts as caught up once it is at most this many records behind the end.
    pub ready_lag: u64,
    /// The partitions that this instance owns.
    pub partitions: Partitions,
    /// Whether to continue at the earliest record if the records before it expired unapplied.
    pub accept_gap: bool,
    /// Whether to refuse compacted topics, if Kafka tells which are.
    pub refuse_compacted: bool,
}

/// Running ingestion, on its own threads.
pub struct Ingest {
    going: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// What all stages share.
#[derive(Clone)]
struct Pipeline {
    settings: Arc<Settings>,
    store: Arc<Store>,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
    going: Arc<AtomicBool>,
    runtime: Handle,
}

impl Ingest {
    /// Starts ingestion. If it cannot continue, reads of the store still work, and `progress` holds the
    /// reason.
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
        count::begin(&metrics, &settings);
        let pipeline =
            Pipeline { settings, store, progress, metrics, going: going.clone(), runtime };
        let thread = thread::spawn(move || {
            let (progress, metrics) = (pipeline.progress.clone(), pipeline.metrics.clone());
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pipeline.run()));
            let reason = match ended {
                Ok(Ok(()) | Err(Error::Interrupted)) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "a bug: ingestion panicked; the log has the place".to_owned(),
            };
            progress.update(|status| {
                (status.stopped, status.lag_records) = (Some(reason.clone()), None);
                // Nothing is waited for any more.
                status.not_read.clear();
                status.dead_letter_trouble = None;
            });
            // They are no longer measured.
            metrics.ingest_lag(&[]);
            metrics.kafka_brokers(&[]);
            // Logged last: when this line appears, readiness already shows the reason.
            tracing::error!(
                reason,
                "ingestion has ended; reads continue with what is in the store"
            );
        });
        Self { going, thread }
    }

    /// Stops fetching, finishes the work under way and waits for the threads to end.
    pub fn stop(self) {
        self.going.store(false, Ordering::Release);
        // A panic was reported when it happened.
        let _ = self.thread.join();
    }
}

impl Pipeline {
    fn is_going(&self) -> bool {
        self.going.load(Ordering::Acquire)
    }

    fn run(&self) -> Result<(), Error> {
        // Readers may wait for positions that the store already has, whether Kafka is reachable or not.
        self.report_applied(self.stored_positions()?.into_iter());
        self.create_topics()?;
        let letters = DeadLetters::connect(&self.settings.kafka, &self.settings.dead_letter_topic)?;
        // librdkafka limits its buffer per partition, so the total is divided by their number. Counted now,
        // while Kafka is reachable: on a reconnect no broker may answer.
        let topics = self.settings.topics.iter().chain([&self.settings.command_topic]);
        let mut counted = self.settings.kafka.count_partitions(topics);
        let mut pipeline = self.clone();
        loop {
            match pipeline.run_once(&letters, counted) {
                // The trouble itself is logged when it begins.
                Err(Error::OutOfReach) => {
                    tracing::debug!("Kafka is out of reach; connecting again");
                }
                Err(Error::MorePartitions(found)) => {
                    tracing::info!(partitions = found, "many more partitions; connecting again");
                    counted = found;
                }
                Err(Error::Stopped(Stop::Replaced(replaced))) => {
                    // Records of another topic may be applied by now. From here, the next start finds it, too.
                    let mut transaction = self.store.transaction();
                    let Replaced { topic, partition, read } = &replaced;
                    transaction.set_applied(topic.number, *partition, read);
                    transaction.commit()?;
                    return Err(Error::Stopped(Stop::Replaced(replaced)));
                }
                ended => return ended,
            }
            if self.progress.status().assigned {
                // --accept-gap was for records that had expired at the start.
                pipeline.settings =
                    Arc::new(Settings { accept_gap: false, ..(*self.settings).clone() });
            }
            self.progress.update(|status| status.assigned = false);
        }
    }

    /// Runs all stages with one consumer, from the store's positions, until ingestion ends or a new consumer
    /// is needed.
    fn run_once(&self, letters: &DeadLetters, counted: u32) -> Result<(), Error> {
        let source = self.source(counted)?;
        let (consumer, kept) = (source.consumer(), source.consumer());
        let (fetched, to_parse) = sync_channel(0);
        let (parsed, to_apply) = sync_channel(0);
        let (works, to_commit) = sync_channel(0);
        let committing = &AtomicBool::new(true);
        // Each stage has its own pool: a shared one would parse the next batch first.
        let [parsers, appliers] = ["parse", "apply"].map(priority::threads);
        let no_threads = |_| Error::Internal("there are no threads");
        let (parsers, appliers) = (parsers.map_err(no_threads)?, appliers.map_err(no_threads)?);
        let ended = thread::scope(|scope| {
            let fetching = scope.spawn(move || self.fetch(source, fetched, committing));
            scope.spawn(move || parsers.install(move || self.parse(&to_parse, &parsed)));
            let apply = move || appliers.install(|| self.apply(to_apply, &works, &consumer));
            let applying = scope.spawn(apply);
            // The last stage ends when an earlier one does, and the first one when the last one does.
            let committed = scope.spawn(move || self.commit(to_commit, letters)).join();
            committing.store(false, Ordering::Release);
            let ended = |panicked| move |_| Error::Internal(panicked);
            let applied = applying.join().map_err(ended("applying panicked"))?;
            let committed = committed.map_err(ended("committing panicked"))?;
            let fetched = fetching.join().map_err(ended("the source panicked"))?;
            committed.and(applied).and(fetched)
        });
        if matches!(ended, Err(Error::OutOfReach)) || self.progress.is_in_trouble() {
            source::leave(kept);
        }
        ended
    }

    /// Fetches batches. Owns `batches`: dropping the sender at the end ends the later stages.
    #[expect(clippy::needless_pass_by_value, reason = "what is dropped at the end ends the others")]
    fn fetch(
        &self,
        mut source: Source,
        batches: SyncSender<Batch>,
        committing: &AtomicBool,
    ) -> Result<(), Error> {
        let mut batch = Batch::default();
        let mut reported_drained = false;
        while self.is_going() && committing.load(Ordering::Acquire) {
            source.fill(&mut batch)?;
            batch.drained = source.is_drained();
            let (drained, news) = (batch.drained, !batch.is_empty());
            if news || (drained && !reported_drained) {
                match batches.try_send(std::mem::take(&mut batch)) {
                    Ok(()) => reported_drained = drained,
                    // The later stages are busy; the batch keeps growing.
                    Err(TrySendError::Full(unsent)) => {
                        batch = unsent;
                        thread::sleep(SHORT_REST);
                    }
                    Err(TrySendError::Disconnected(_)) => return Ok(()),
                }
            } else {
                thread::park_timeout(REST);
            }
        }
        Ok(())
    }

    fn parse(&self, batches: &Receiver<Batch>, parsed: &SyncSender<(Batch, Vec<Parsed>)>) {
        for batch in batches {
            let began = Instant::now();
            let events = apply::parse(
                &batch.records,
                &self.settings.rules.current(),
                self.store.dictionary(),
            );
            self.metrics.ingest_batch_stage("parse", began.elapsed().as_secs_f64());
            if parsed.send((batch, events)).is_err() {
                return;
            }
        }
    }

    /// Applies batches. Owns `batches`: dropping the receiver at the end ends the earlier stages.
    #[expect(clippy::needless_pass_by_value, reason = "what is dropped at the end ends the others")]
    fn apply<'s>(
        &'s self,
        batches: Receiver<(Batch, Vec<Parsed>)>,
        works: &SyncSender<Work<'s>>,
        consumer: &Consumer,
    ) -> Result<(), Error> {
        let mut offsets_committed_at = Instant::now();
        let mut next: Option<Transaction<'_>> = None;
        loop {
            let going = match batches.recv_timeout(COMMIT_INTERVAL) {
                Ok((batch, parsed)) => {
                    let going = self.apply_batch(Arc::new(batch), &parsed, &mut next, works)?;
                    // Freeing this many allocations takes a while, so another thread does it.
                    rayon::spawn(move || drop(parsed));
                    going
                }
                // The channel has no buffer: once this is taken, everything sent before is committed.
                Err(RecvTimeoutError::Timeout) => {
                    let is_committed = works.send(Work::Barrier).is_ok();
                    if let Some(next) = next.as_mut().filter(|_| is_committed) {
                        next.forget_predecessor();
                    }
                    is_committed
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            if !going {
                return Ok(());
            }
            if offsets_committed_at.elapsed() >= COMMIT_INTERVAL {
                kafka::commit_offsets(consumer, &self.progress);
                offsets_committed_at = Instant::now();
            }
        }
    }

    /// Applies a batch and hands it to the last stage, in several transactions if it is too large for one.
    /// Returns `false` if the last stage has ended.
    fn apply_batch<'s>(
        &'s self,
        batch: Arc<Batch>,
        parsed: &[Parsed],
        next: &mut Option<Transaction<'s>>,
        works: &SyncSender<Work<'s>>,
    ) -> Result<bool, Error> {
        let records = batch.records.as_slice();
        if !batch.gaps.is_empty() && works.send(Work::Gaps(batch.clone())).is_err() {
            return Ok(false);
        }
        let mut from = 0;
        while from < records.len() {
            let began = Instant::now();
            let transaction = next.take().unwrap_or_else(|| self.store.transaction());
            let (records, parsed) = (&records[from..], &parsed[from..]);
            let (transaction, tally, done) =
                apply::batch(transaction, records, parsed, self.settings.apply)?;
            let mut sealed = transaction.seal()?;
            *next = Some(sealed.successor());
            self.metrics.ingest_batch_stage("apply", began.elapsed().as_secs_f64());
            let records = from..from + done;
            let work =
                Work::Records { batch: batch.clone(), records, sealed: sealed.into(), tally };
            if works.send(work).is_err() {
                return Ok(false);
            }
            from += done;
            if from < batch.records.len() && !self.is_going() {
                return Err(Error::Interrupted);
            }
        }
        Ok(!records.is_empty() || works.send(Work::Drained(batch)).is_ok())
    }

    /// Reports the store's positions to waiting readers and to metrics.
    fn report_applied(&self, applied: impl Iterator<Item = ((String, u32), Applied)>) {
        self.progress.update(|status| {
            for (partition, applied) in applied {
                status.positions.insert(partition, applied.next_offset);
                // A position may be from before the first record of its partition.
                let last = Some(applied.last_timestamp.0).filter(|last| *last > 0);
                status.last_record = status.last_record.max(last);
            }
            self.metrics.ingest_last_record(status.last_record.unwrap_or(0));
        });
    }
}
