//! Connections to Kafka: how every client is set up, and the topics it needs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::Error;
use super::context::ErrorContext;
use crate::progress::Progress;

/// How to connect to Kafka.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Brokers as `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// The consumer group that lag monitors see.
    pub group: String,
    /// Settings handed to librdkafka.
    pub client: BTreeMap<String, String>,
}

/// Settings of a topic, by name.
pub type TopicConfig = &'static [(&'static str, &'static str)];

/// The settings of a topic whose records are kept forever: a rebuilt store reads all of them again, and
/// without the oldest commands, deleted persons would come back.
pub const KEPT: TopicConfig =
    &[("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")];

/// How long a producer waits for a topic that Kafka does not know, instead of failing with the time being up: less than
/// its messages may take. In librdkafka this also applies to a topic that was just created.
pub const UNKNOWN_FOR: (&str, &str) = ("topic.metadata.propagation.max.ms", "2000");

/// How long to wait for an answer from Kafka before the request is given up.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Checks whether librdkafka accepts one of its settings by itself.
///
/// # Errors
/// [`Error::Setting`] if there is no such setting, or it does not take this value.
pub fn check_setting(name: &str, value: &str) -> Result<(), Error> {
    let checked = ClientConfig::new().set(name, value).create_native_config();
    checked.map(drop).map_err(Error::from)
}

/// How long a client may fail before it is replaced. librdkafka forgets all brokers when Kafka names none, as
/// it does while its only broker or all of them restart, and then never asks again
/// (<https://github.com/confluentinc/librdkafka/issues/5301>). A new client asks the bootstrap servers.
const LOST: Duration = Duration::from_secs(15);

/// Whether an error says that Kafka does not know the topic.
#[must_use]
pub fn is_unknown_topic(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition)
}

/// Whether an error says that no broker answers, whatever the cause is.
#[must_use]
pub fn nobody_answers(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::OperationTimedOut
    )
}

/// Whether a client should be replaced: it has been failing for at least `LOST` without a success in between.
/// `since` keeps when that began.
pub fn is_lost(since: &mut Option<Instant>, is_failing: bool) -> bool {
    if !is_failing {
        *since = None;
    }
    is_failing && since.get_or_insert_with(Instant::now).elapsed() >= LOST
}

impl Connection {
    /// Returns the settings that every client shares.
    #[must_use]
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        self.shared(&mut config);
        config
    }

    fn shared(&self, config: &mut ClientConfig) {
        config.set("bootstrap.servers", &self.bootstrap_servers);
        config.set("client.id", "personview");
        config.extend(self.client.clone());
    }

    /// Returns the settings of a consumer whose positions are kept by the store. Each partition has a queue
    /// of its own, of at most `queue_bytes`.
    #[must_use]
    pub fn consumer_config(&self, queue_bytes: u64) -> ClientConfig {
        let mut config = ClientConfig::new();
        let kilobytes = (queue_bytes / 1024).clamp(16, 16_384);
        config.set("queued.max.messages.kbytes", kilobytes.to_string());
        // What one response adds to a queue that is not full yet.
        let added = (kilobytes * 1024).min(1 << 20);
        config.set("fetch.message.max.bytes", added.to_string());
        config.set("queued.min.messages", "10000");
        // Check a full queue again soon: the default of one second would starve the source.
        config.set("fetch.queue.backoff.ms", "5");
        // How long partitions without new records may delay those that have some.
        config.set("fetch.wait.max.ms", "100");
        // A later response will not come any more; with the default, nothing would be read for a minute.
        config.set("socket.timeout.ms", "10000");
        // Refuse a damaged record instead of applying it.
        config.set("check.crcs", "true");
        // The operator's settings override those above, but not those below.
        self.shared(&mut config);
        config.set("group.id", &self.group);
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        // Never silently skip a position that Kafka no longer has.
        config.set("auto.offset.reset", "error");
        config.set("isolation.level", "read_committed");
        config.set("enable.partition.eof", "true");
        config.set("statistics.interval.ms", "1000");
        config
    }

    /// Returns the text for an operator that no broker can be reached, and why.
    #[must_use]
    pub fn unreachable(&self, reason: &str) -> String {
        let address = &self.bootstrap_servers;
        format!("no broker of {address} (kafka.bootstrap_servers) can be reached: {reason}")
    }

    /// Returns how many partitions the topics have in total, counting those that Kafka answers for now; at
    /// least one.
    #[must_use]
    pub fn count_partitions<'t>(&self, topics: impl IntoIterator<Item = &'t String>) -> u32 {
        let probe = self.config().set("group.id", &self.group).create::<BaseConsumer>();
        let count = |probe: &BaseConsumer, topic: &String| {
            partitions(probe.client(), topic).ok().flatten().unwrap_or(0)
        };
        let all =
            probe.map_or(0, |probe| topics.into_iter().map(|topic| count(&probe, topic)).sum());
        all.max(1)
    }

    /// Checks whether librdkafka accepts the settings, without contacting a broker.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Kafka`] if it does not.
    pub fn check(&self) -> Result<(), Error> {
        self.consumer_config(0).create::<BaseConsumer>()?;
        super::DeadLetters::connect(self, "")?;
        super::Commands::connect(self, "")?;
        Ok(())
    }

    /// Whether a topic is compacted: Kafka deletes records that later ones of the same key supersede.
    ///
    /// # Errors
    /// [`Error::Kafka`] if Kafka does not answer or refuses.
    pub async fn is_compacted(&self, topic: &str) -> Result<bool, Error> {
        let admin: AdminClient<DefaultClientContext> = self.config().create()?;
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        let topic = [ResourceSpecifier::Topic(topic)];
        for described in admin.describe_configs(&topic, &options).await? {
            let described = described.map_err(KafkaError::AdminOp)?;
            let policy = described.get("cleanup.policy").and_then(|entry| entry.value.as_deref());
            if policy.is_some_and(|policy| policy.contains("compact")) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Creates the topics that are missing, with one partition and the given settings each.
    ///
    /// # Errors
    /// [`Error::NoTopic`] if one is missing that `may_create` does not allow, [`Error::Kafka`] if Kafka does not answer
    /// or refuses.
    pub async fn create_missing_topics(
        &self,
        topics: &[(&str, TopicConfig)],
        may_create: impl Fn(&str) -> bool,
        context: &ErrorContext,
    ) -> Result<(), Error> {
        // A consumer's metadata request does not make the broker create the topic.
        let mut config = self.config();
        config.set("group.id", &self.group);
        let probe: BaseConsumer<ErrorContext> = config.create_with_context(context.clone())?;
        let admin: AdminClient<DefaultClientContext> = self.config().create()?;
        let mut missing = Vec::new();
        for (name, settings) in topics {
            if partitions(probe.client(), name)?.is_none() {
                if !may_create(name) {
                    return Err(Error::NoTopic((*name).to_owned()));
                }
                let topic = NewTopic::new(name, 1, TopicReplication::Fixed(-1));
                missing
                    .push(settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value)));
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        for created in admin.create_topics(&missing, &options).await? {
            match created {
                Ok(name) => tracing::info!(topic = name, "created a missing topic"),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(KafkaError::AdminOp(code).into()),
            }
        }
        Ok(())
    }
}

/// Returns how many partitions a topic has; `None` if it does not exist.
///
/// # Errors
/// [`Error::Kafka`] if Kafka does not answer or refuses.
pub fn partitions<C: ClientContext>(
    client: &rdkafka::client::Client<C>,
    topic: &str,
) -> Result<Option<u32>, Error> {
    let metadata = client.fetch_metadata(Some(topic), PATIENCE)?;
    let Some(topic) = metadata.topics().iter().find(|found| found.name() == topic) else {
        return Ok(None);
    };
    match topic.error().map(RDKafkaErrorCode::from) {
        None => Ok(u32::try_from(topic.partitions().len()).ok().filter(|count| *count > 0)),
        Some(code) if is_unknown_topic(code) => Ok(None),
        Some(code) => Err(KafkaError::MetadataFetch(code).into()),
    }
}

/// Returns the earliest offset of a partition, and the offset of the next record to be written.
///
/// # Errors
/// [`Error::Kafka`] if Kafka does not answer or refuses.
pub fn watermarks<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: u32,
) -> Result<(u64, u64), Error> {
    let (low, high) = consumer.fetch_watermarks(topic, to_partition(partition), PATIENCE)?;
    Ok((u64::try_from(low).unwrap_or(0), u64::try_from(high).unwrap_or(0)))
}

/// Converts an offset to librdkafka's type.
#[must_use]
pub fn to_offset(offset: u64) -> Offset {
    Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX))
}

/// Converts a partition number to librdkafka's type.
#[must_use]
pub fn to_partition(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

/// Commits the store's positions as the group's offsets. Lag monitors read them; nothing here depends on
/// them, so the result is not awaited.
pub fn commit_offsets<C: ConsumerContext>(consumer: &BaseConsumer<C>, progress: &Progress) {
    if progress.is_in_trouble() {
        return;
    }
    let mut list = TopicPartitionList::new();
    for ((topic, partition), next) in &progress.status().positions {
        if list.add_partition_offset(topic, to_partition(*partition), to_offset(*next)).is_err() {
            return;
        }
    }
    if let Err(error) = consumer.commit(&list, CommitMode::Async) {
        tracing::debug!(%error, "the group's offsets were not committed");
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns how to connect to these brokers, or to none.
    pub fn connection(bootstrap_servers: String) -> Connection {
        Connection { bootstrap_servers, group: "g".to_owned(), client: [].into() }
    }

    #[test]
    fn a_client_is_lost_that_failed_for_long_without_a_success() {
        let mut since = None;
        assert!(!is_lost(&mut since, true), "it has only just begun");
        let long_ago = Instant::now().checked_sub(LOST);
        assert!(long_ago.is_some());
        since = long_ago;
        assert!(is_lost(&mut since, true));
        since = long_ago;
        assert!(!is_lost(&mut since, false));
        assert!(!is_lost(&mut since, true), "it begins anew after a success");
    }
}
