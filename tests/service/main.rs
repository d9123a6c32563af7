//! The program as its users see it: a process, a real Kafka, HTTP, signals and kill -9.
//!
//! `scripts/test` starts a Kafka and names it in `KAFKA_BOOTSTRAP_SERVERS`. Without one these tests fail, and
//! are not skipped.

mod acknowledged;
mod broker;
mod command_line;
mod confined;
mod crash;
mod dead_letters;
mod disk;
mod docs;
mod flood;
mod harness;
#[path = "../../src/ingest/apply/tests/histories.rs"]
mod histories;
mod instances;
mod log;
mod operator;
mod oracle;
mod secure;
mod system_calls;
mod write;
