//! Keys that the server makes for itself: those by which what leaves it for a Temporal server is encrypted and sealed.
//!
//! A family of keys is named `name-1`, `name-2` and so on; the newest one is used, the older ones still open what they
//! closed.

use crate::caller::Caller;
use crate::error::Error;
use crate::runtime::random;
use crate::vault::VaultHandle;
use crate::vault::actor::KeyUse;
use crate::vault::key_source::KeySource;
use arbiter_core::kernel::ids::KeyId;
use arbiter_vault::{EntryInfo, NewEntry};
use futures_util::future::BoxFuture;
use secrecy::SecretString;

/// Purpose of codec keys.
const CODEC: &str = "codec";

impl VaultHandle {
    /// Returns whether keys can be read now.
    pub fn is_open(&self) -> bool {
        self.0.open_vault.is_open()
    }

    /// Waits until keys can be read; returns at once when they can be read already.
    pub async fn wait_open(&self) {
        self.0.open_vault.wait_open().await;
    }

    /// Ends when the vault is locked the next time after this call.
    pub fn next_lock(&self) -> impl Future<Output = ()> + use<> {
        self.0.open_vault.next_lock()
    }

    /// The keys of a family, the newest first; a first one is made when there is none. Each is 32 random bytes in
    /// hexadecimal. Their use by `holder` is in the log before this returns.
    ///
    /// # Errors
    /// [`crate::VaultAccessError::Locked`].
    pub async fn codec_keys(&self, family: &str, holder: &str) -> Result<Vec<(KeyId, SecretString)>, Error> {
        if self.family(family).is_empty() {
            self.add_codec_key(&Caller::system(), family).await?;
        }
        let mut keys = Vec::new();
        for (_, key_id) in self.family(family) {
            let wanted = KeyUse {
                key_id: key_id.clone(),
                holder: holder.to_owned(),
                host: holder.to_owned(),
                purpose: CODEC,
            };
            keys.push((key_id, self.use_key(wanted).await?));
        }
        Ok(keys)
    }

    /// A new key of a family, which is used from now on.
    ///
    /// # Errors
    /// [`crate::VaultAccessError::Locked`].
    pub async fn add_codec_key(&self, caller: &Caller, family: &str) -> Result<KeyId, Error> {
        let number = self.family(family).first().map_or(1, |(number, _)| number + 1);
        let id = KeyId::from_trusted(format!("{family}-{number}"));
        let entry = NewEntry {
            id: id.clone(),
            name: format!("{family} {number}"),
            description: "What is sent to the Temporal server is encrypted or sealed with it.".to_owned(),
            purpose: CODEC.to_owned(),
            allowed_hosts: vec![],
        };
        self.store(caller, entry, SecretString::from(random::secret_text())).await?;
        Ok(id)
    }

    fn family(&self, name: &str) -> Vec<(u32, KeyId)> {
        family(self.entries(), name)
    }
}

/// The keys of a family with their numbers, the newest first.
pub(crate) fn family(entries: Vec<EntryInfo>, name: &str) -> Vec<(u32, KeyId)> {
    let of = |id: &KeyId| id.as_str().strip_prefix(name)?.strip_prefix('-')?.parse().ok();
    let mut found: Vec<(u32, KeyId)> = entries
        .into_iter()
        .filter(|entry| entry.purpose == CODEC)
        .filter_map(|entry| Some((of(&entry.id)?, entry.id)))
        .collect();
    found.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    found
}

/// User of the keys in calls that this process makes for a Temporal server.
const WORKER: &str = "temporal worker";

impl KeySource for VaultHandle {
    fn key(
        &self,
        key_id: KeyId,
        host: String,
        purpose: &'static str,
    ) -> BoxFuture<'static, Result<SecretString, String>> {
        let vault = self.clone();
        Box::pin(async move {
            let wanted = KeyUse { key_id, holder: WORKER.to_owned(), host, purpose };
            vault.use_key(wanted).await.map_err(|error| error.to_string())
        })
    }
}
