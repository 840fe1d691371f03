//! Seals on what the server itself sends to workflows: anybody with a Temporal client may signal, and only what
//! carries our seal is believed to be the store's word.
//!
//! A seal is an HMAC-SHA256 over the workflow's id and the text. Its key is another than the codec's and stays in the
//! process that holds the data directory. Opening is pure, so that workflows stay deterministic; the keys are the
//! process's, put in place before the worker polls.

use arc_swap::ArcSwap;
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::Sha256;
use std::sync::{Arc, LazyLock};
use zeroize::Zeroizing;

/// A key of seals.
pub type SigningKey = Zeroizing<[u8; 32]>;

/// The keys of seals: the first one seals, all of them open.
static SIGNING_KEYS: LazyLock<ArcSwap<Vec<SigningKey>>> = LazyLock::new(ArcSwap::default);

/// Something the server says, with its seal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Signed {
    /// What is said, as JSON.
    pub body: String,
    /// The seal over the workflow's id and the body, in base64.
    pub seal: String,
}

/// Puts the keys of seals in place, the one that seals first. None: nothing is believed any more.
pub fn set_signing_keys(keys: Vec<SigningKey>) {
    SIGNING_KEYS.store(Arc::new(keys));
}

impl Signed {
    /// Seals something for a workflow; without a key the seal is worth nothing.
    pub fn new(workflow_id: &str, body: &impl Serialize) -> Self {
        let body = serde_json::to_string(body).unwrap_or_default();
        let seal = SIGNING_KEYS.load().first().map(|key| STANDARD.encode(mac(key, workflow_id, &body)));
        Self { body, seal: seal.unwrap_or_default() }
    }

    /// What is said, if the seal is ours.
    pub fn verify<T: DeserializeOwned>(&self, workflow_id: &str) -> Option<T> {
        let seal = STANDARD.decode(&self.seal).ok()?;
        let keys = SIGNING_KEYS.load();
        let is_ours = keys.iter().any(|key| is_valid_signature(key, workflow_id, &self.body, &seal));
        if is_ours { serde_json::from_str(&self.body).ok() } else { None }
    }

    /// The same of a value that should be a sealed one.
    pub fn verify_value<T: DeserializeOwned>(workflow_id: &str, value: &Value) -> Option<T> {
        Self::deserialize(value).ok()?.verify(workflow_id)
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

    #[test]
    fn signature_verifies_only_for_its_workflow() {
        set_signing_keys(vec![Zeroizing::new([1; 32]), Zeroizing::new([2; 32])]);
        let signed = Signed::new("bead-1", &7_u64);
        assert_eq!(signed.verify::<u64>("bead-1"), Some(7));
        assert_eq!(signed.verify::<u64>("bead-2"), None);
        let forged = Signed { body: "8".to_owned(), ..signed.clone() };
        assert_eq!(forged.verify::<u64>("bead-1"), None);
        let unsigned = Signed { seal: String::new(), ..signed.clone() };
        assert_eq!(unsigned.verify::<u64>("bead-1"), None);
        // After a rotation the old ones still open.
        set_signing_keys(vec![Zeroizing::new([3; 32]), Zeroizing::new([1; 32])]);
        assert_eq!(signed.verify::<u64>("bead-1"), Some(7));
        set_signing_keys(vec![Zeroizing::new([3; 32])]);
        assert_eq!(signed.verify::<u64>("bead-1"), None);
    }
}
