//! Persons from Kafka: who they are now, and who they were at any moment.

pub mod api;
pub mod config;
pub mod ingest;
pub mod metrics;
pub mod person;
pub mod progress;
pub mod store;
