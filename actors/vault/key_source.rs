//! The interface through which a provider worker gets its keys.

use arbiter_core::kernel::ids::KeyId;
use futures_util::future::BoxFuture;
use secrecy::SecretString;

/// A source of keys.
pub trait KeySource: Send + Sync + 'static {
    /// Returns the value of a key for use at this host.
    fn key(
        &self,
        id: KeyId,
        host: String,
        purpose: &'static str,
    ) -> BoxFuture<'static, Result<SecretString, String>>;
}
