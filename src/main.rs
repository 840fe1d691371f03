//! The `arbiter` program: a server, and the command line that talks to it.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Every TLS connection of the process, incoming clients and outgoing calls alike, uses this
    // provider; it fails only when one is installed already, which nothing before this line does.
    let _ = rustls::crypto::ring::default_provider().install_default();
    arbiter::cli::main()
}
