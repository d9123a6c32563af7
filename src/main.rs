//! The program `personview`: everything is in the library, where it can be tested.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Events are taken apart on some threads and let go of on another, which glibc's allocator is slow at:
/// it took a seventh of the time of ingestion (docs/performance.md).
#[global_allocator]
static GLOBAL: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    personview::cli::run()
}
