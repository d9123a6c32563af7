//! How each type of series is built from one line of the table in `metrics.rs`.

use prometheus::core::Collector;
use prometheus::{
    Counter, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts,
};

/// A type of series that can be built from one line of the table.
pub trait Build: Collector + Sized {
    /// Builds the series `personview_<name>`.
    ///
    /// # Errors
    /// If Prometheus does not allow the name, a label or a bucket.
    fn build(
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[&[f64]],
    ) -> prometheus::Result<Self>;
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("personview")
}

fn histogram_opts(name: &str, help: &str, buckets: &[&[f64]]) -> HistogramOpts {
    let opts = HistogramOpts::new(name, help).namespace("personview");
    opts.buckets(buckets.concat())
}

macro_rules! build {
    ($($type:ident($name:ident, $help:ident, $labels:pat, $buckets:pat) => $make:expr;)*) => {$(
        impl Build for $type {
            fn build($name: &str, $help: &str, $labels: &[&str], $buckets: &[&[f64]]) -> prometheus::Result<Self> {
                $make
            }
        }
    )*};
}

build! {
    Counter(name, help, _, _) => Self::with_opts(opts(name, help));
    IntCounter(name, help, _, _) => Self::with_opts(opts(name, help));
    GaugeVec(name, help, labels, _) => Self::new(opts(name, help), labels);
    IntGauge(name, help, _, _) => Self::with_opts(opts(name, help));
    IntCounterVec(name, help, labels, _) => Self::new(opts(name, help), labels);
    IntGaugeVec(name, help, labels, _) => Self::new(opts(name, help), labels);
    Histogram(name, help, _, buckets) => Self::with_opts(histogram_opts(name, help, buckets));
    HistogramVec(name, help, labels, buckets) => Self::new(histogram_opts(name, help, buckets), labels);
}
