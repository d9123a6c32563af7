//! Log output: lines for people on a terminal, JSON for machines elsewhere, always on standard
//! error, so that standard output carries nothing but what a command was asked for.

use std::env;
use std::io::{self, IsTerminal};

use tracing_subscriber::filter::EnvFilter;

/// What is logged when `RUST_LOG` does not say: what matters. librdkafka writes a line for each try of
/// each of its clients; what is wrong with Kafka is told once, by `progress`.
const DEFAULT_FILTER: &str = "info,rdkafka=off,librdkafka=off";

/// Why logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `RUST_LOG` is no filter.
    #[error("RUST_LOG: {0}; write for example RUST_LOG=info or RUST_LOG=personview=debug,warn")]
    Filter(String),
    /// Something else in this process logs already.
    #[error("logging was begun twice")]
    Twice(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Begins logging for the whole process, by the filter in `RUST_LOG` or else
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

/// The filter that `text` describes; the default one for nothing or an empty text.
fn filter(text: Option<&str>) -> Result<EnvFilter, Error> {
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    EnvFilter::try_new(text.unwrap_or(DEFAULT_FILTER))
        .map_err(|error| Error::Filter(error.to_string()))
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
        assert!(filter(Some("personview=loud")).is_err());
        assert!(filter(Some("personview=debug,warn")).is_ok());
    }
}
