//! Converts the configuration to the settings of each room (top-level module).

use super::{Config, Error as ConfigError, Problem, check};
use crate::api::key::Error;
use crate::{api, ingest, person, store};

impl Config {
    /// Returns the settings of the store. `ingest.queue` is deducted from the memory they share.
    #[must_use]
    pub fn store_config(&self) -> store::Config {
        store::Config {
            path: self.store.path.clone(),
            memory: self.store.memory.saturating_sub(self.ingest.queue),
            sync_writes: self.store.sync_writes,
        }
    }

    /// Returns how to connect to Kafka.
    #[must_use]
    pub fn kafka_connection(&self) -> ingest::Connection {
        let client = self.kafka.client.iter();
        ingest::Connection {
            bootstrap_servers: self.kafka.bootstrap_servers.clone(),
            group: self.kafka.group.clone(),
            client: client.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }
    }

    /// Checks whether the files that `kafka.client` names can be read, and whether librdkafka accepts its
    /// settings together, without contacting a broker.
    ///
    /// # Errors
    /// [`ConfigError`] that says why not.
    pub fn check_kafka(&self) -> Result<(), ConfigError> {
        let problems = check::check_files(&self.kafka.client);
        if !problems.is_empty() {
            return Err(ConfigError { problems });
        }
        self.kafka_connection().check().map_err(|error| {
            let text = format!("`kafka.client` is not accepted by librdkafka: {error}");
            ConfigError { problems: vec![Problem::new("kafka.client", text)] }
        })
    }

    /// Returns the settings of ingestion, for a start without special flags.
    #[must_use]
    pub fn ingest_settings(&self) -> ingest::Settings {
        ingest::Settings {
            kafka: self.kafka_connection(),
            topics: self.kafka.topics.clone(),
            command_topic: self.kafka.command_topic.clone(),
            dead_letter_topic: self.kafka.dead_letter_topic(),
            rules: ingest::SharedRules::new(self.rules()),
            apply: ingest::apply::Settings {
                record_volatile: self.ingest.record_volatile_properties,
                properties_limit: self.ingest.person_properties_limit,
            },
            batch_records: self.ingest.batch_records,
            queue_bytes: self.ingest.queue,
            ready_lag: self.ingest.ready_lag,
            partitions: self.ingest.partitions,
            accept_gap: false,
            refuse_compacted: true,
        }
    }

    /// Returns the rules for parsing records, including the project of each token.
    #[must_use]
    pub fn rules(&self) -> person::Rules {
        let projects = self.projects.iter();
        let tokens = projects
            .flat_map(|project| project.tokens.iter().map(|token| (token.clone(), project.id)));
        person::Rules { promote: self.ingest.promote_event_properties, projects: tokens.collect() }
    }

    /// Returns the settings of the API.
    #[must_use]
    pub fn api_settings(&self) -> api::Settings {
        api::Settings {
            display_name_properties: self.ingest.display_name_properties.clone(),
            connections: self.api.connections,
            request_timeout: self.api.request_timeout,
            snapshot_life: api::SNAPSHOT_LIFE,
            body_limit: self.api.body_limit,
            page_limit: self.api.page_limit,
            join_spool: self.api.join_spool,
            position_wait: self.api.position_wait,
            trust_forwarded: self.api.trust_forwarded,
            metrics_separate: self.api.metrics_listen.is_some(),
        }
    }

    /// Returns the projects and the API keys.
    ///
    /// # Errors
    /// [`Error`] for a hash or a scope that [`Config::load`] would have refused.
    pub fn access(&self) -> Result<api::Access, Error> {
        let projects = self.projects.iter();
        let projects =
            projects.map(|project| api::Project { id: project.id, name: project.name.clone() });
        Ok(api::Access { projects: projects.collect(), keys: self.keys()? })
    }
}
