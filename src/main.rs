//! The `arbiter` program: a server, and the command line that talks to it.

use std::alloc::System;
use std::process::ExitCode;
use zeroizing_alloc::ZeroAlloc;

/// Overwrites all memory that is given back, a growing buffer's old place included: libraries copy passwords
/// and keys into buffers that no destructor here reaches.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    // Every TLS connection of the process, incoming clients and outgoing calls alike, uses this
    // provider; it fails only when one is installed already, which nothing before this line does.
    let _ = rustls::crypto::ring::default_provider().install_default();
    arbiter::cli::main()
}
