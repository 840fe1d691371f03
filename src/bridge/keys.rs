//! The keys of the bridge: kept in the vault, and removed from memory when the vault is locked.

use super::BridgeInner;
use arbiter_actors::{Caller, Error, Handles};
use arbiter_core::kernel::ids::KeyId;
use arbiter_temporal::codec::CodecKey;
use arbiter_temporal::codec::signed::SigningKey;
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The family of keys that encrypt payloads only this process reads.
pub const PAYLOAD_KEYS: &str = "temporal-payloads";
/// The family of keys that encrypt calls to providers; the only one that remote workers have.
pub const CALL_KEYS: &str = "temporal-calls";
/// The family of keys that sign the server's messages to workflows.
pub const SIGNING_KEYS: &str = "temporal-seals";
/// The holder that the audit log names for the use of these keys.
const HOLDER: &str = "temporal";

/// The keys of the providers' queue, the newest first.
pub struct CallKeys(Vec<CodecKey>);

impl CallKeys {
    /// Returns the key that encrypts.
    pub fn newest(&self) -> Option<&CodecKey> {
        self.0.first()
    }
}

/// Reads the keys, creating them at first use, and hands them to codec and signatures.
///
/// # Errors
/// [`Error::Vault`] while the vault is locked.
pub async fn install_keys(inner: &BridgeInner) -> Result<CallKeys, Error> {
    let handles = &inner.handles;
    let mut payloads = family(handles, PAYLOAD_KEYS).await?;
    let calls = family(handles, CALL_KEYS).await?;
    let signing_keys = handles.vault.codec_keys(SIGNING_KEYS, HOLDER).await?;
    let signing_keys: Vec<SigningKey> = signing_keys.iter().filter_map(|(_, value)| bytes(value)).collect();
    inner.signing_keys.set(signing_keys);
    if !payloads.is_empty() {
        let current = payloads.remove(0);
        payloads.extend(calls.iter().cloned());
        inner.codec.set_keys(current, payloads);
    }
    Ok(CallKeys(calls))
}

/// Removes all keys from memory.
pub fn clear_keys(inner: &BridgeInner) {
    inner.codec.clear();
    inner.signing_keys.clear();
}

/// Creates new keys of all three families and uses them from now on.
///
/// # Errors
/// [`Error::Vault`] while the vault is locked.
pub async fn rotate(inner: &BridgeInner, caller: &Caller) -> Result<Vec<KeyId>, Error> {
    let mut made = Vec::new();
    for name in [PAYLOAD_KEYS, CALL_KEYS, SIGNING_KEYS] {
        made.push(inner.handles.vault.add_codec_key(caller, name).await?);
    }
    install_keys(inner).await?;
    Ok(made)
}

async fn family(handles: &Handles, name: &str) -> Result<Vec<CodecKey>, Error> {
    let keys = handles.vault.codec_keys(name, HOLDER).await?;
    Ok(keys.iter().filter_map(|(id, value)| codec_key(id, value)).collect())
}

/// Converts a key of the vault to one of the codec.
pub fn codec_key(id: &KeyId, value: &SecretString) -> Option<CodecKey> {
    Some(CodecKey { id: id.to_string(), key: Arc::new(bytes(value)?) })
}

/// Decodes 64 hexadecimal digits; `None` for any other text.
fn bytes(value: &SecretString) -> Option<Zeroizing<[u8; 32]>> {
    let text = value.expose_secret().as_bytes();
    let mut key = Zeroizing::new([0_u8; 32]);
    if text.len() != 2 * key.len() {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |c: u8| (c as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codec_key_is_64_hexadecimal_digits() {
        let read = |text: &str| bytes(&SecretString::from(text.to_owned()));
        assert_eq!(read(&"0f".repeat(32)).as_deref(), Some(&[15_u8; 32]));
        for bad in ["", "0f", &"0g".repeat(32), &"0f".repeat(33)] {
            assert!(read(bad).is_none(), "{bad}");
        }
    }
}
