//! A Kafka broker inside this process: librdkafka's own mock cluster, which keeps everything in memory. For
//! the demo, which needs no installation.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::Error;

/// A broker that lives as long as this value.
pub struct Broker(MockCluster<'static, DefaultProducerContext>);

impl Broker {
    /// Starts a broker with these topics, each with a number of partitions.
    ///
    /// # Errors
    /// [`Error::Kafka`] if librdkafka refuses.
    pub fn start(topics: &[(&str, i32)]) -> Result<Self, Error> {
        let cluster = MockCluster::new(1)?;
        for &(topic, partitions) in topics {
            cluster.create_topic(topic, partitions, 1)?;
        }
        Ok(Self(cluster))
    }

    /// Returns the address for clients.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        self.0.bootstrap_servers()
    }
}
