//! AES-256-GCM under keys derived by PBKDF2-HMAC-SHA256.
//!
//! Owns the sizes, fresh salts and nonces, and the only places that expose a secret. Must not know entries,
//! JSON or paths.

use crate::{Iterations, VaultError, scrub::on_scrubbed_stack};
use aes_gcm::{Aes256Gcm, KeyInit, aead::AeadInOut};
use base64::{Engine, engine::general_purpose::STANDARD};
use pbkdf2::hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub(crate) const SALT_LEN: usize = 32;
pub(crate) const NONCE_LEN: usize = 12;
pub(crate) const TAG_LEN: usize = 16;
/// Length of a key, a seal and a v1 password check, in bytes.
pub(crate) const KEY_LEN: usize = 32;

/// Salt of one key derivation.
pub(crate) type Salt = [u8; SALT_LEN];

/// A key, wiped on drop. It is boxed before it is filled, so that a move leaves no copy.
pub(crate) struct DerivedKey(Box<Zeroizing<[u8; KEY_LEN]>>);

impl DerivedKey {
    fn new_with(fill: impl FnOnce(&mut [u8; KEY_LEN])) -> Self {
        let mut key = Self(Box::new(Zeroizing::new([0; KEY_LEN])));
        fill(&mut key.0);
        key
    }

    /// Generates a random key that no password derives.
    pub(crate) fn random() -> Result<Self, VaultError> {
        let mut answer = Ok(());
        let key = Self::new_with(|bytes| answer = fill_random(bytes));
        answer.map(|()| key)
    }

    /// Reads a key from decrypted bytes; returns `None` if the length is wrong.
    pub(crate) fn from_plaintext(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == KEY_LEN).then(|| Self::new_with(|key| key.copy_from_slice(bytes)))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// Returns whether `other` equals the key, in constant time.
    pub(crate) fn is_equal_to(&self, other: &[u8]) -> bool {
        self.as_bytes().ct_eq(other).into()
    }

    /// Returns whether `tag` authenticates `message` under this key, in constant time.
    pub(crate) fn is_tag_valid(&self, message: &[u8], tag: &[u8; KEY_LEN]) -> bool {
        self.authenticate(message).ct_eq(tag).into()
    }

    /// Computes HMAC-SHA256 of `message` under this key.
    pub(crate) fn authenticate(&self, message: &[u8]) -> [u8; KEY_LEN] {
        on_scrubbed_stack(|| {
            // HMAC accepts a key of any length, so the zeros are never returned. They match no seal.
            let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(self.as_bytes()) else {
                return [0; KEY_LEN];
            };
            mac.update(message);
            mac.finalize().into_bytes().into()
        })
    }
}

/// Salt, nonce, ciphertext and tag of one encryption, as stored in `encrypted_data`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Ciphertext {
    pub(crate) salt: Salt,
    nonce: [u8; NONCE_LEN],
    body: Vec<u8>,
}

impl Ciphertext {
    /// Decodes standard, padded base64 of salt ‖ nonce ‖ ciphertext+tag.
    pub(crate) fn from_base64(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok()?;
        let (salt, rest) = bytes.split_first_chunk::<SALT_LEN>()?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>()?;
        (body.len() >= TAG_LEN).then(|| Self { salt: *salt, nonce: *nonce, body: body.to_vec() })
    }

    pub(crate) fn to_base64(&self) -> String {
        STANDARD.encode([&self.salt[..], &self.nonce[..], &self.body[..]].concat())
    }
}

/// Derives a key from a password in `iterations` rounds; the default takes 84 ms on the reference machine.
pub(crate) fn derive(password: &SecretString, salt: &[u8], iterations: Iterations) -> DerivedKey {
    on_scrubbed_stack(|| {
        DerivedKey::new_with(|key| {
            pbkdf2::pbkdf2_hmac::<Sha256>(password.expose_secret().as_bytes(), salt, iterations.get(), key);
        })
    })
}

/// Encrypts under a fresh salt and a fresh nonce. Also returns the derived key so that the caller can cache it.
pub(crate) fn encrypt(
    password: &SecretString,
    iterations: Iterations,
    plaintext: &[u8],
    associated_data: &[u8],
) -> Result<(Ciphertext, DerivedKey), VaultError> {
    let (mut salt, mut nonce) = ([0; SALT_LEN], [0; NONCE_LEN]);
    fill_random(&mut salt)?;
    fill_random(&mut nonce)?;
    let key = derive(password, &salt, iterations);
    // Reserve the full capacity: a vector that grows leaves its plaintext behind.
    let mut body = Zeroizing::new(Vec::with_capacity(plaintext.len() + TAG_LEN));
    body.extend_from_slice(plaintext);
    let tag = on_scrubbed_stack(|| {
        let cipher = Aes256Gcm::new_from_slice(key.as_bytes()).map_err(|_| TOO_LONG)?;
        cipher
            .encrypt_inout_detached(&nonce.into(), associated_data, body.as_mut_slice().into())
            .map_err(|_| TOO_LONG)
    })?;
    body.extend_from_slice(&tag);
    Ok((Ciphertext { salt, nonce, body: std::mem::take(&mut *body) }, key))
}

/// GCM accepts up to 64 GiB per message; no value comes near.
const TOO_LONG: VaultError = VaultError::TooLarge { limit_bytes: u32::MAX as u64 };

/// Encrypts the text of a secret; see [`encrypt`].
pub(crate) fn encrypt_text(
    password: &SecretString,
    iterations: Iterations,
    text: &SecretString,
    associated_data: &[u8],
) -> Result<(Ciphertext, DerivedKey), VaultError> {
    encrypt(password, iterations, text.expose_secret().as_bytes(), associated_data)
}

/// Decrypts; returns `None` if the key, the associated data or any bit of the ciphertext is wrong.
pub(crate) fn decrypt(
    key: &DerivedKey,
    ciphertext: &Ciphertext,
    associated_data: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let (text, tag) = ciphertext.body.split_last_chunk::<TAG_LEN>()?;
    let mut plaintext = Zeroizing::new(text.to_vec());
    on_scrubbed_stack(|| {
        let cipher = Aes256Gcm::new_from_slice(key.as_bytes()).ok()?;
        let buffer = plaintext.as_mut_slice().into();
        cipher.decrypt_inout_detached(&ciphertext.nonce.into(), associated_data, buffer, &(*tag).into()).ok()
    })?;
    Some(plaintext)
}

/// Decrypts text; see [`decrypt`]. Also returns `None` if the plaintext is not UTF-8.
pub(crate) fn decrypt_text(
    key: &DerivedKey,
    ciphertext: &Ciphertext,
    associated_data: &[u8],
) -> Option<SecretString> {
    let plaintext = decrypt(key, ciphertext, associated_data)?;
    std::str::from_utf8(&plaintext).ok().map(SecretString::from)
}

/// Encodes associated data unambiguously: each part follows its length (8 bytes, big endian).
pub(crate) fn length_prefixed<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut data = Vec::new();
    for part in parts {
        data.extend_from_slice(&(part.len() as u64).to_be_bytes());
        data.extend_from_slice(part);
    }
    data
}

fn fill_random(bytes: &mut [u8]) -> Result<(), VaultError> {
    getrandom::fill(bytes).map_err(|error| VaultError::Random(std::io::Error::other(error.to_string())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn password() -> SecretString {
        SecretString::from("correct horse")
    }

    #[test]
    fn key_derivation_is_pbkdf2_hmac_sha256() {
        // Expected value from Python's hashlib.pbkdf2_hmac("sha256", b"correct horse", b"salt", 100000).
        let expected = "58fc8a16c3cfd768";
        let key = derive(&password(), b"salt", Iterations::MIN);
        let head: String = key.as_bytes()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(head, expected);
    }

    #[test]
    fn ciphertext_opens_only_with_its_associated_data() {
        let (ciphertext, key) = encrypt(&password(), Iterations::MIN, b"sk-1", b"here").unwrap();
        assert_eq!(decrypt(&key, &ciphertext, b"here").unwrap().as_slice(), b"sk-1");
        assert!(decrypt(&key, &ciphertext, b"there").is_none());
        assert!(decrypt(&DerivedKey::random().unwrap(), &ciphertext, b"here").is_none());
    }

    #[test]
    fn encryption_uses_fresh_salt_and_nonce() {
        let (one, _) = encrypt(&password(), Iterations::MIN, b"sk-1", b"").unwrap();
        let (two, _) = encrypt(&password(), Iterations::MIN, b"sk-1", b"").unwrap();
        assert_ne!(one.salt, two.salt);
        assert_ne!(one.nonce, two.nonce);
    }

    #[test]
    fn ciphertext_base64_round_trips_and_short_text_is_refused() {
        let (ciphertext, _) = encrypt(&password(), Iterations::MIN, b"", b"").unwrap();
        let text = ciphertext.to_base64();
        assert!(Ciphertext::from_base64(&text).unwrap() == ciphertext);
        assert!(Ciphertext::from_base64(text.trim_end_matches('=')).is_none() || !text.ends_with('='));
        assert!(Ciphertext::from_base64(&STANDARD.encode([0; SALT_LEN + NONCE_LEN + TAG_LEN - 1])).is_none());
        assert!(Ciphertext::from_base64("!").is_none());
    }

    #[test]
    fn length_prefixed_lists_are_unambiguous() {
        assert_ne!(length_prefixed([&b"ab"[..], b"c"]), length_prefixed([&b"a"[..], b"bc"]));
        assert_ne!(length_prefixed([&b"a"[..]]), length_prefixed([&b"a"[..], b""]));
    }
}
