//! The program `personview`: everything is in the library, where it can be tested.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// Events are taken apart on some threads and let go of on another, which glibc's allocator is slow at
/// (docs/performance.md). It serves C++ as well, RocksDB and librdkafka: what glibc keeps for itself grew for
/// half an hour under full load. How long it keeps what is free stands in `.cargo/config.toml`.
#[global_allocator]
static GLOBAL: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    personview::cli::run()
}
