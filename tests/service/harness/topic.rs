//! Topics in the Kafka of the tests.

use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value as Json;

use super::{PATIENCE, wait_for};

/// Returns the address of Kafka.
pub fn kafka() -> String {
    std::env::var("KAFKA_BOOTSTRAP_SERVERS").expect(
        "KAFKA_BOOTSTRAP_SERVERS names no Kafka: run scripts/test, which starts one, or \
         tests/kafka/broker start",
    )
}

/// A topic of its own for one test, and everything that is named after it.
pub struct Topic {
    pub name: String,
    /// The address of its Kafka.
    pub(super) address: String,
    admin: AdminClient<DefaultClientContext>,
    producer: BaseProducer,
}

impl Topic {
    /// Names a topic without creating it.
    pub fn named(about: &str) -> Self {
        Self::at(&kafka(), format!("{about}-{}", uuid::Uuid::new_v4().simple()))
    }

    /// Names a topic in another Kafka, which may exist already.
    pub fn at(address: &str, name: String) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", address);
        let (admin, producer) = (config.create().unwrap(), config.create().unwrap());
        Self { name, address: address.to_owned(), admin, producer }
    }

    /// Creates a topic in another Kafka than that of all tests.
    pub fn create_at(address: &str, name: &str, partitions: i32) -> Self {
        let topic = Self::at(address, name.to_owned());
        topic.make(partitions);
        topic
    }

    pub fn create(about: &str, partitions: i32) -> Self {
        let topic = Self::named(about);
        topic.make(partitions);
        topic
    }

    /// Returns the dead-letter topic that belongs to this one.
    pub fn letters(&self) -> Self {
        Self::at(&self.address, format!("{}_dlq", self.name))
    }

    /// Returns the query of a read that waits until a record of this topic is applied.
    pub fn position(&self, partition: i32, offset: usize) -> String {
        format!("?min_position={}:{partition}:{offset}", self.name)
    }

    /// Creates the command topic that belongs to this one.
    pub fn commands(&self) -> Self {
        let commands = Self::at(&self.address, format!("{}-commands", self.name));
        commands.make(1);
        commands
    }

    pub fn make(&self, partitions: i32) {
        self.make_as(&NewTopic::new(&self.name, partitions, TopicReplication::Fixed(1)));
    }

    /// Creates it with one setting.
    pub fn make_with(&self, partitions: i32, setting: &str, value: &str) {
        let new = NewTopic::new(&self.name, partitions, TopicReplication::Fixed(1));
        self.make_as(&new.set(setting, value));
    }

    /// Creates it as soon as the broker can: a busy one may not be registered for a moment, or answer too late.
    fn make_as(&self, new: &NewTopic<'_>) {
        let mut timed_out = false;
        wait_for(|| match self.try_make_as(new) {
            Err(RDKafkaErrorCode::TopicAlreadyExists) if timed_out => Ok(()),
            made => {
                timed_out |= made == Err(RDKafkaErrorCode::OperationTimedOut);
                made
            }
        });
    }

    /// Creates it; fails while the name of a deleted topic is not free yet.
    pub fn try_make(&self, partitions: i32) -> Result<(), RDKafkaErrorCode> {
        self.try_make_as(&NewTopic::new(&self.name, partitions, TopicReplication::Fixed(1)))
    }

    fn try_make_as(&self, new: &NewTopic<'_>) -> Result<(), RDKafkaErrorCode> {
        let made = wait(self.admin.create_topics([new], &AdminOptions::new()));
        match made {
            Ok(mut made) => made.remove(0).map(|_| ()).map_err(|(_, code)| code),
            Err(error) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)),
        }
    }

    /// Changes a setting of the topic.
    pub fn alter(&self, setting: &str, value: &str) {
        let change = AlterConfig::new(ResourceSpecifier::Topic(&self.name)).set(setting, value);
        let altered = wait(self.admin.alter_configs([&change], &AdminOptions::new()));
        altered.unwrap().remove(0).unwrap();
    }

    /// Returns a setting of the topic.
    pub fn setting(&self, name: &str) -> String {
        let of = [ResourceSpecifier::Topic(&self.name)];
        let all = wait(self.admin.describe_configs(&of, &AdminOptions::new()));
        let all = all.unwrap().remove(0).unwrap();
        all.get(name).and_then(|setting| setting.value.clone()).unwrap_or_default()
    }

    pub fn delete(&self) {
        let deleted = wait(self.admin.delete_topics(&[&self.name], &AdminOptions::new()));
        deleted.unwrap()[0].as_ref().unwrap();
    }

    /// Makes the records of a partition below an offset expire.
    pub fn expire(&self, partition: i32, below: i64) {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(&self.name, partition, Offset::Offset(below)).unwrap();
        wait(self.admin.delete_records(&offsets, &AdminOptions::new())).unwrap();
    }

    /// Sends one record.
    pub fn send(&self, partition: i32, value: Option<&[u8]>, headers: &[(&str, &str)]) {
        let mut all = OwnedHeaders::new();
        for &(key, value) in headers {
            all = all.insert(Header { key, value: Some(value) });
        }
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&self.name);
        record = record.partition(partition).headers(all).key(b"key");
        record.payload = value;
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.producer.poll(Duration::ZERO);
    }

    /// Sends flat events and waits until Kafka has them.
    pub fn events<'e>(&self, partition: i32, events: impl IntoIterator<Item = &'e Json>) {
        for event in events {
            self.send(partition, Some(event.to_string().as_bytes()), &[]);
        }
        self.flush();
    }

    pub fn flush(&self) {
        self.producer.flush(PATIENCE).unwrap();
    }
}

/// Creates a producer with these settings.
pub fn producer(settings: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka());
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config.create().unwrap()
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
