//! The `personview` binary. All of its code is in the library, where it can be tested.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// Events are parsed on one set of threads and freed on another, a pattern that glibc's allocator handles
/// slowly (docs/performance.md). jemalloc also serves the C++ code of RocksDB and librdkafka: with glibc, the
/// memory retained for them kept growing for half an hour under full load. How long jemalloc keeps freed
/// pages is set in `.cargo/config.toml`.
#[global_allocator]
static GLOBAL: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    personview::cli::run()
}
