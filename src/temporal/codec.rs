//! The payload codec: encrypts every payload on the Temporal server with AES-256-GCM.
//!
//! A whole payload becomes the content of another one, whose metadata name the encoding and the key. A plain payload
//! passes through, so that any client may send plain JSON. A payload that cannot be decrypted passes through as well: an
//! error here would block its workflow for good.

pub mod names;
pub mod payload;
pub mod remote_codec;
pub mod signed;

use aes_gcm::aead::{Aead, Payload as AeadPayload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use arc_swap::ArcSwap;
use futures::future::{BoxFuture, FutureExt};
use prost::Message;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use temporalio_common::data_converters::{PayloadCodec, PayloadConversionError, SerializationContextData};
use temporalio_common::protos::temporal::api::common::v1::Payload;
use zeroize::Zeroizing;

/// The metadata field of the encoding.
const ENCODING: &str = "encoding";
/// The encoding of an encrypted payload.
const ENCRYPTED: &[u8] = b"binary/encrypted";
/// The metadata field of the key's id.
const KEY_ID: &str = "encryption-key-id";
/// The length of a nonce, in bytes.
const NONCE_BYTES: usize = 12;

/// A key of the codec, wiped from memory when dropped.
#[derive(Clone)]
pub struct CodecKey {
    /// The id in the metadata.
    pub id: String,
    /// The key.
    pub key: Arc<Zeroizing<[u8; 32]>>,
}

impl std::fmt::Debug for CodecKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CodecKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Encrypts with its current key, decrypts with any of its keys. Clones share the keys and the count.
#[derive(Clone, Debug, Default)]
pub struct Codec(Arc<CodecInner>);

#[derive(Debug, Default)]
struct CodecInner {
    keys: ArcSwap<Keys>,
    unreadable: AtomicU64,
}

#[derive(Debug, Default)]
struct Keys {
    current: Option<CodecKey>,
    all: BTreeMap<String, CodecKey>,
}

/// A payload that could not be encrypted.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The codec has no key: the vault is locked.
    #[error("the codec has no key")]
    NoKey,
    /// The system has no randomness, or the payload is too large for the cipher.
    #[error("the payload cannot be encrypted")]
    Cipher,
}

impl Codec {
    /// Creates a codec that encrypts with `current` and decrypts with all keys.
    pub fn new(current: CodecKey, others: Vec<CodecKey>) -> Self {
        let codec = Self::default();
        codec.set_keys(current, others);
        codec
    }

    /// Replaces the keys, in all clones.
    pub fn set_keys(&self, current: CodecKey, others: Vec<CodecKey>) {
        let all = others.into_iter().chain([current.clone()]).map(|key| (key.id.clone(), key)).collect();
        self.0.keys.store(Arc::new(Keys { current: Some(current), all }));
    }

    /// Returns how many payloads could not be decrypted since the start.
    pub fn unreadable_count(&self) -> u64 {
        self.0.unreadable.load(Ordering::Relaxed)
    }

    /// Forgets every key.
    pub fn clear(&self) {
        self.0.keys.store(Arc::default());
    }

    /// Encrypts a payload. An encrypted one stays as it is.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn encrypt(&self, payload: Payload) -> Result<Payload, CodecError> {
        if is_encrypted(&payload) {
            return Ok(payload);
        }
        let keys = self.0.keys.load();
        let current = keys.current.as_ref().ok_or(CodecError::NoKey)?;
        encrypt_with(current, &payload)
    }

    /// Decrypts a payload. One that cannot be decrypted stays as it is and is counted.
    pub fn decrypt(&self, payload: Payload) -> Payload {
        if !is_encrypted(&payload) {
            return payload;
        }
        let id = payload.metadata.get(KEY_ID).map(|id| String::from_utf8_lossy(id).into_owned());
        let keys = self.0.keys.load();
        let decrypted =
            id.as_ref().and_then(|id| keys.all.get(id)).and_then(|key| decrypt_with(key, &payload));
        decrypted.unwrap_or_else(|| {
            self.0.unreadable.fetch_add(1, Ordering::Relaxed);
            // Not a warning: each warning becomes an event, and a replayed history would repeat it. The receiver warns.
            tracing::info!(target: "workflow", key = id, "could not decrypt a payload; it is ignored");
            payload
        })
    }
}

fn is_encrypted(payload: &Payload) -> bool {
    payload.metadata.get(ENCODING).is_some_and(|encoding| encoding == ENCRYPTED)
}

fn cipher(key: &CodecKey) -> Option<Aes256Gcm> {
    Aes256Gcm::new_from_slice(&key.key[..]).ok()
}

/// Encrypts a payload with the given key.
///
/// # Errors
/// [`CodecError::Cipher`].
pub fn encrypt_with(key: &CodecKey, payload: &Payload) -> Result<Payload, CodecError> {
    let mut nonce = [0_u8; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|_| CodecError::Cipher)?;
    let plain = Zeroizing::new(payload.encode_to_vec());
    let aead_payload = AeadPayload { msg: &plain, aad: key.id.as_bytes() };
    let cipher = cipher(key).ok_or(CodecError::Cipher)?;
    let encrypted = cipher.encrypt(&Nonce::from(nonce), aead_payload).map_err(|_| CodecError::Cipher)?;
    let mut data = nonce.to_vec();
    data.extend(encrypted);
    let metadata = [(ENCODING, ENCRYPTED.to_vec()), (KEY_ID, key.id.clone().into_bytes())];
    let metadata = metadata.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(Payload { metadata, data, ..Payload::default() })
}

fn decrypt_with(key: &CodecKey, payload: &Payload) -> Option<Payload> {
    let (nonce, encrypted) = payload.data.split_first_chunk::<NONCE_BYTES>()?;
    let aead_payload = AeadPayload { msg: encrypted, aad: key.id.as_bytes() };
    let plain = Zeroizing::new(cipher(key)?.decrypt(&Nonce::from(*nonce), aead_payload).ok()?);
    Payload::decode(plain.as_slice()).ok()
}

impl PayloadCodec for Codec {
    fn encode(
        &self,
        _: &SerializationContextData,
        payloads: Vec<Payload>,
    ) -> BoxFuture<'static, Result<Vec<Payload>, PayloadConversionError>> {
        let encrypted: Result<Vec<_>, _> =
            payloads.into_iter().map(|payload| self.encrypt(payload)).collect();
        let encrypted = encrypted.map_err(|error| PayloadConversionError::EncodingError(Box::new(error)));
        async move { encrypted }.boxed()
    }

    fn decode(
        &self,
        _: &SerializationContextData,
        payloads: Vec<Payload>,
    ) -> BoxFuture<'static, Result<Vec<Payload>, PayloadConversionError>> {
        let decrypted: Vec<_> = payloads.into_iter().map(|payload| self.decrypt(payload)).collect();
        async move { Ok(decrypted) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, byte: u8) -> CodecKey {
        CodecKey { id: id.to_owned(), key: Arc::new(Zeroizing::new([byte; 32])) }
    }

    fn plain(text: &str) -> Payload {
        let metadata = [(ENCODING.to_owned(), b"json/plain".to_vec())].into();
        Payload { metadata, data: text.as_bytes().to_vec(), ..Payload::default() }
    }

    #[test]
    fn encrypted_payload_round_trips_and_hides_its_text() {
        let codec = Codec::new(key("one", 1), vec![]);
        let encrypted = codec.encrypt(plain("\"a canary\"")).unwrap();
        assert!(!encrypted.encode_to_vec().windows(6).any(|bytes| bytes == b"canary"));
        assert_eq!(encrypted.metadata[KEY_ID], b"one");
        assert_ne!(encrypted.data, codec.encrypt(plain("\"a canary\"")).unwrap().data, "nonces differ");
        assert_eq!(codec.decrypt(encrypted.clone()), plain("\"a canary\""));
        // Twice encrypted would be once readable.
        assert_eq!(codec.encrypt(encrypted.clone()).unwrap(), encrypted);
    }

    #[test]
    fn rotated_codec_decrypts_old_and_encrypts_with_new_key() {
        let codec = Codec::new(key("one", 1), vec![]);
        let old = codec.encrypt(plain("1")).unwrap();
        codec.set_keys(key("two", 2), vec![key("one", 1)]);
        assert_eq!(codec.decrypt(old), plain("1"));
        assert_eq!(codec.encrypt(plain("2")).unwrap().metadata[KEY_ID], b"two");
    }

    #[test]
    fn undecryptable_payload_passes_through_and_is_counted() {
        let codec = Codec::new(key("one", 1), vec![]);
        let encrypted = codec.encrypt(plain("1")).unwrap();
        let other = Codec::new(key("one", 9), vec![]);
        let mut cut = encrypted.clone();
        cut.data.truncate(5);
        let mut renamed = encrypted.clone();
        renamed.metadata.insert(KEY_ID.to_owned(), b"nobody".to_vec());
        for (codec, payload) in [(&other, encrypted.clone()), (&codec, cut), (&codec, renamed)] {
            assert_eq!(codec.decrypt(payload.clone()), payload);
        }
        assert_eq!((codec.unreadable_count(), other.unreadable_count()), (2, 1));
        assert_eq!(codec.clone().unreadable_count(), 2, "clones share the count");
        assert_eq!(codec.decrypt(plain("1")), plain("1"));
    }

    #[test]
    fn encryption_without_key_fails() {
        let codec = Codec::new(key("one", 1), vec![]);
        codec.clear();
        assert!(matches!(codec.encrypt(plain("1")), Err(CodecError::NoKey)));
        assert!(!format!("{:?}", key("one", 7)).contains('7'));
    }
}
