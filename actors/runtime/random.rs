//! Random bytes from the operating system.

/// Sixteen random bytes. The system's source of randomness does not fail once the system is up; without
/// it no id or token may be made, so the actor that asks is stopped.
pub(crate) fn bytes16() -> [u8; 16] {
    bytes::<16>()
}

/// A secret of 256 random bits, as hex.
pub(crate) fn secret_text() -> String {
    arbiter_core::kernel::lease::hex(&bytes::<32>())
}

fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[allow(clippy::expect_used)] // see above: there is nothing sensible to go on with
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// A random number for jitter.
pub(crate) fn number() -> u64 {
    u64::from_le_bytes(bytes::<8>())
}
