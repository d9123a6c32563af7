//! Log output: readable lines on a terminal, JSON elsewhere. It always goes to standard error, so that
//! standard output carries only what a command was asked for.

use std::env;
use std::io::{self, IsTerminal};

use tracing_subscriber::filter::{EnvFilter, LevelFilter};

/// The filter used if `RUST_LOG` is not set. librdkafka is off because it writes a line for every retry of
/// each of its clients; `progress` logs every Kafka problem once.
const DEFAULT_FILTER: &str = "info,rdkafka=off,librdkafka=off";

/// The targets that may stand in a filter without a level: what this program and its client for Kafka log.
const TARGETS: [&str; 3] = ["personview", "rdkafka", "librdkafka"];

/// Why logging could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `RUST_LOG` is not a valid filter.
    #[error("RUST_LOG: {0}; write for example RUST_LOG=info or RUST_LOG=personview=debug,warn")]
    Filter(String),
    /// Another logger is already installed in this process.
    #[error("logging was started twice")]
    Twice(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Starts logging for the whole process, filtered by `RUST_LOG` if that is set, otherwise by
/// `info,rdkafka=off,librdkafka=off`.
///
/// # Errors
///
/// [`Error::Filter`] when `RUST_LOG` cannot be understood, [`Error::Twice`] on a second call.
pub fn start() -> Result<(), Error> {
    let filter = filter(env::var("RUST_LOG").ok().as_deref())?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = if io::stderr().is_terminal() {
        builder.with_target(false).try_init()
    } else {
        builder.json().flatten_event(true).with_current_span(false).try_init()
    };
    started.map_err(Error::Twice)
}

/// Parses a filter; a missing or blank `text` gives the default one.
fn filter(text: Option<&str>) -> Result<EnvFilter, Error> {
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    let text = text.unwrap_or(DEFAULT_FILTER);
    // Filters of spans, in brackets, have a grammar of their own, and nothing here has spans.
    if !text.contains('[') {
        text.split(',').filter(|part| !part.is_empty()).try_for_each(check_directive)?;
    }
    EnvFilter::try_new(text).map_err(|error| Error::Filter(error.to_string()))
}

/// Refuses what would silently match nothing: any word is a valid target for the filter.
fn check_directive(directive: &str) -> Result<(), Error> {
    let (target, level) = match directive.split_once('=') {
        Some((target, level)) => (target, Some(level)),
        None => (directive, None),
    };
    let is_path = target.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:-".contains(&byte));
    let is_known = TARGETS.contains(&target.split("::").next().unwrap_or(target));
    let is_level = |text: &str| text.parse::<LevelFilter>().is_ok();
    match level {
        Some(level) if is_path && is_level(level) => Ok(()),
        None if is_level(target) || (is_path && is_known) => Ok(()),
        Some(_) => Err(Error::Filter(format!("\"{directive}\" is not a target and its level"))),
        None => Err(Error::Filter(format!(
            "\"{directive}\" is neither a level (off, error, warn, info, debug, trace) nor a target with its \
             level"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_filter_the_default_one_counts() {
        for text in [None, Some(""), Some("  ")] {
            let filter = filter(text).expect("the default filter").to_string();
            assert!(filter.contains("info") && filter.contains("librdkafka=off"), "{filter}");
        }
    }

    #[test]
    fn a_filter_that_says_nothing_is_refused() {
        for text in [
            "personview=loud",
            "warning",
            "debgu",
            "info;librdkafka=warn",
            "info, rdkafka=off",
            "info=debug=x",
        ] {
            assert!(filter(Some(text)).is_err(), "{text}");
        }
        for text in [
            "personview=debug,warn",
            "INFO",
            "personview",
            "personview::store=trace,hyper=debug",
            "info,librdkafka=warn",
            "off,",
        ] {
            assert!(filter(Some(text)).is_ok(), "{text}");
        }
    }
}
