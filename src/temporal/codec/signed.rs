//! Signatures on the messages that the server itself sends to workflows.
//!
//! Any Temporal client may signal a workflow, so a workflow accepts a state or a batch of events only with a valid
//! signature. A signature is an HMAC-SHA256 over the workflow's id and the text. Its key differs from the codec's and
//! stays in the process that holds the data directory. Verifying is pure, so that workflows stay deterministic.
//!
//! The keys belong to a connection, not to the process: several servers in one program keep theirs apart. The SDK hands
//! a workflow nothing of its worker, but runs every workflow on its worker's own thread. The worker therefore leaves the
//! keys of its connection with that thread ([`SigningKeys::use_on_this_thread`]).

use arc_swap::ArcSwap;
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::Sha256;
use std::cell::RefCell;
use std::sync::Arc;
use zeroize::Zeroizing;

/// A signing key.
pub type SigningKey = Zeroizing<[u8; 32]>;

/// The signing keys of a connection: the first one signs, all of them verify. Clones share the keys.
#[derive(Clone, Default)]
pub struct SigningKeys(Arc<ArcSwap<Vec<SigningKey>>>);

thread_local! {
    /// The keys of the worker that runs on this thread.
    static WORKER_KEYS: RefCell<SigningKeys> = RefCell::default();
}

impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKeys").field("count", &self.0.load().len()).finish_non_exhaustive()
    }
}

impl SigningKeys {
    /// Creates a set of keys; the first one signs.
    pub fn new(keys: Vec<SigningKey>) -> Self {
        let signing_keys = Self::default();
        signing_keys.set(keys);
        signing_keys
    }

    /// Replaces the keys, in all clones. With no key, no signature is valid any more.
    pub fn set(&self, keys: Vec<SigningKey>) {
        self.0.store(Arc::new(keys));
    }

    /// Forgets every key.
    pub fn clear(&self) {
        self.0.store(Arc::default());
    }

    /// Makes these the keys of all workflows that run on the current thread.
    pub fn use_on_this_thread(&self) {
        WORKER_KEYS.replace(self.clone());
    }

    /// Returns the keys of the worker on the current thread; an empty set outside of a worker.
    pub(crate) fn of_this_thread() -> Self {
        WORKER_KEYS.with_borrow(Self::clone)
    }
}

/// A message with its signature.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Signed {
    /// The message as JSON.
    pub body: String,
    /// The signature over the workflow's id and the body, in base64.
    pub seal: String,
}

impl Signed {
    /// Signs a message for a workflow. Without a key the signature is empty, and valid nowhere.
    pub fn new(keys: &SigningKeys, workflow_id: &str, body: &impl Serialize) -> Self {
        let body = serde_json::to_string(body).unwrap_or_default();
        let seal = keys.0.load().first().map(|key| STANDARD.encode(mac(key, workflow_id, &body)));
        Self { body, seal: seal.unwrap_or_default() }
    }

    /// Returns the message, if one of the keys made the signature.
    pub fn verify<T: DeserializeOwned>(&self, keys: &SigningKeys, workflow_id: &str) -> Option<T> {
        let seal = STANDARD.decode(&self.seal).ok()?;
        let keys = keys.0.load();
        let is_ours = keys.iter().any(|key| is_valid_signature(key, workflow_id, &self.body, &seal));
        if is_ours { serde_json::from_str(&self.body).ok() } else { None }
    }

    /// Reads a JSON value as a signed message and verifies it.
    pub fn verify_value<T: DeserializeOwned>(
        keys: &SigningKeys,
        workflow_id: &str,
        value: &Value,
    ) -> Option<T> {
        Self::deserialize(value).ok()?.verify(keys, workflow_id)
    }
}

fn hmac_of(key: &SigningKey, workflow_id: &str, body: &str) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&key[..]).ok()?;
    mac.update(&u64::try_from(workflow_id.len()).unwrap_or(u64::MAX).to_be_bytes());
    mac.update(workflow_id.as_bytes());
    mac.update(body.as_bytes());
    Some(mac)
}

fn mac(key: &SigningKey, workflow_id: &str, body: &str) -> Vec<u8> {
    hmac_of(key, workflow_id, body).map(|mac| mac.finalize().into_bytes().to_vec()).unwrap_or_default()
}

fn is_valid_signature(key: &SigningKey, workflow_id: &str, body: &str, seal: &[u8]) -> bool {
    hmac_of(key, workflow_id, body).is_some_and(|mac| mac.verify_slice(seal).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> SigningKeys {
        SigningKeys::new(bytes.iter().map(|byte| Zeroizing::new([*byte; 32])).collect())
    }

    #[test]
    fn signature_verifies_only_for_its_workflow() {
        let keys = keys(&[1, 2]);
        let signed = Signed::new(&keys, "bead-1", &7_u64);
        assert_eq!(signed.verify::<u64>(&keys, "bead-1"), Some(7));
        assert_eq!(signed.verify::<u64>(&keys, "bead-2"), None);
        let forged = Signed { body: "8".to_owned(), ..signed.clone() };
        assert_eq!(forged.verify::<u64>(&keys, "bead-1"), None);
        let unsigned = Signed { seal: String::new(), ..signed.clone() };
        assert_eq!(unsigned.verify::<u64>(&keys, "bead-1"), None);
        // After a rotation the older key still verifies.
        keys.set(vec![Zeroizing::new([3; 32]), Zeroizing::new([1; 32])]);
        assert_eq!(signed.verify::<u64>(&keys, "bead-1"), Some(7));
        keys.set(vec![Zeroizing::new([3; 32])]);
        assert_eq!(signed.verify::<u64>(&keys, "bead-1"), None);
    }

    #[test]
    fn two_sets_of_keys_in_one_process_stay_apart() {
        let (one, two) = (keys(&[1]), keys(&[2]));
        let (of_one, of_two) = (Signed::new(&one, "bead-1", &1_u64), Signed::new(&two, "bead-1", &2_u64));
        assert_eq!(of_one.verify::<u64>(&one, "bead-1"), Some(1));
        assert_eq!(of_two.verify::<u64>(&two, "bead-1"), Some(2));
        assert_eq!(of_one.verify::<u64>(&two, "bead-1"), None);
        one.clear();
        assert_eq!(of_one.verify::<u64>(&one, "bead-1"), None);
        assert_eq!(
            of_two.verify::<u64>(&two, "bead-1"),
            Some(2),
            "one server's lock leaves the other's keys"
        );
    }

    #[test]
    fn each_worker_thread_has_its_own_keys() {
        let (one, two) = (keys(&[1]), keys(&[2]));
        let sign_on_a_thread = |keys: &SigningKeys| {
            let keys = keys.clone();
            let sign = move || {
                keys.use_on_this_thread();
                Signed::new(&SigningKeys::of_this_thread(), "bead-1", &7_u64)
            };
            std::thread::spawn(sign).join().unwrap()
        };
        let (of_one, of_two) = (sign_on_a_thread(&one), sign_on_a_thread(&two));
        assert_eq!(of_one.verify::<u64>(&one, "bead-1"), Some(7));
        assert_eq!(of_one.verify::<u64>(&two, "bead-1"), None);
        assert_eq!(of_two.verify::<u64>(&two, "bead-1"), Some(7));
        let unsigned = Signed::new(&SigningKeys::of_this_thread(), "bead-1", &7_u64);
        assert!(unsigned.seal.is_empty(), "this thread runs no worker");
    }
}
