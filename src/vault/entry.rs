//! One entry of the key file: its two stored formats and its public fields.
//!
//! Owns the fields, the associated data and the parsing of v1 entries. Must not know passwords, other entries
//! or the disk.

use crate::{
    Iterations,
    cipher::{Ciphertext, length_prefixed},
    drafts::is_draft,
};
use arbiter_core::kernel::ids::KeyId;
use arbiter_core::kernel::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Format version of new entries.
const ENTRY_VERSION: u32 = 2;
/// Domain separator between entries and other ciphertexts under the same password.
const ENTRY_DOMAIN: &[u8] = b"arbiter-vault/v2/entry";
/// Purpose of every v1 entry: the Go program stored provider credentials only.
const V1_PURPOSE: &str = "provider";

/// Public fields of an entry, available while the vault is locked. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EntryInfo {
    pub id: KeyId,
    pub name: String,
    pub description: String,
    /// Purpose: `provider`, `tls` or `codec`.
    pub purpose: String,
    /// Hosts the key may be sent to, sorted, lower case; empty allows any host.
    pub allowed_hosts: Vec<String>,
    /// Format version: 2, or 1 for an entry of the Go program that has not been rewritten.
    pub version: u32,
    /// Rounds of the key derivation.
    pub iterations: u32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Fields of an entry to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    pub id: KeyId,
    pub name: String,
    pub description: String,
    /// Purpose: `provider`, `tls` or `codec`.
    pub purpose: String,
    /// Hosts the key may be sent to, case-insensitive; empty allows any host.
    pub allowed_hosts: Vec<String>,
}

/// Public fields of an entry to encrypt, with its derivation rounds.
pub(crate) type Label = EntryInfo;

/// An entry as stored in the file.
#[derive(Clone, PartialEq)]
pub(crate) enum Entry {
    /// Entry of the Go program: 100,000 rounds, no associated data. All fields are kept, known or not.
    V1 { fields: BTreeMap<String, Value>, ciphertext: Option<Ciphertext> },
    /// Entry in this program's format.
    V2 { label: Label, iterations: Iterations, ciphertext: Ciphertext },
}

/// JSON of a v2 entry.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EntryJson {
    id: KeyId,
    name: String,
    description: String,
    encrypted_data: String,
    created_at: Timestamp,
    updated_at: Timestamp,
    version: u32,
    kdf: KdfJson,
    purpose: String,
    allowed_hosts: Vec<String>,
}

/// JSON of the key derivation's cost.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KdfJson {
    pub(crate) iterations: u32,
}

/// JSON of an entry in either format.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum AnyEntryJson<'a> {
    V1(&'a BTreeMap<String, Value>),
    V2(EntryJson),
}

impl NewEntry {
    /// Builds the label of this entry with `now` as its creation time.
    pub(crate) fn into_label(self, iterations: Iterations, now: Timestamp) -> Label {
        Label {
            allowed_hosts: normalize_hosts(&self.allowed_hosts),
            id: self.id,
            name: self.name,
            description: self.description,
            purpose: self.purpose,
            version: ENTRY_VERSION,
            iterations: iterations.get(),
            created_at: now,
            updated_at: now,
        }
    }
}

/// Normalizes a host: lower-cases a name and keeps the path of a Unix socket.
fn normalize_host(host: &str) -> String {
    if host.starts_with('/') { host.to_owned() } else { host.to_lowercase() }
}

/// Normalizes hosts: lower case, sorted, without duplicates.
pub(crate) fn normalize_hosts(hosts: &[String]) -> Vec<String> {
    let mut hosts: Vec<String> = hosts.iter().map(|host| normalize_host(host)).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

impl EntryInfo {
    /// Prepares the label for encryption into an exported file.
    pub(crate) fn for_export(mut self, iterations: Iterations) -> Label {
        self.version = ENTRY_VERSION;
        self.iterations = iterations.get();
        self
    }

    /// Prepares the label for a new encryption of the same secret.
    pub(crate) fn for_rewrite(mut self, iterations: Iterations, now: Timestamp) -> Label {
        self.version = ENTRY_VERSION;
        self.iterations = iterations.get();
        self.updated_at = now;
        self
    }

    /// Builds the associated data that binds a ciphertext to its domain, id, purpose, rounds and hosts.
    pub(crate) fn associated_data(&self) -> Vec<u8> {
        let rounds = self.iterations.to_be_bytes();
        let head = [ENTRY_DOMAIN, self.id.as_str().as_bytes(), self.purpose.as_bytes(), &rounds];
        length_prefixed(head.into_iter().chain(self.allowed_hosts.iter().map(|host| host.as_bytes())))
    }

    /// Returns whether the key may be sent to `host`. A bound key is refused when no host is given.
    pub fn allows(&self, host: Option<&str>) -> bool {
        self.allowed_hosts.is_empty()
            || host
                .is_some_and(|host| self.allowed_hosts.iter().any(|allowed| *allowed == normalize_host(host)))
    }
}

impl Entry {
    /// Returns the public fields; `id` is the key under which the entry is stored.
    pub(crate) fn info(&self, id: &KeyId) -> EntryInfo {
        let fields = match self {
            Self::V2 { label, .. } => return label.clone(),
            Self::V1 { fields, .. } => fields,
        };
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        EntryInfo {
            id: id.clone(),
            name: text("name").to_owned(),
            description: text("description").to_owned(),
            purpose: V1_PURPOSE.to_owned(),
            allowed_hosts: Vec::new(),
            version: 1,
            iterations: Iterations::MIN.get(),
            created_at: text("created_at").parse().unwrap_or_default(),
            updated_at: text("updated_at").parse().unwrap_or_default(),
        }
    }

    /// Returns the rounds of the key derivation.
    pub(crate) fn iterations(&self) -> Iterations {
        match self {
            Self::V1 { .. } => Iterations::MIN,
            Self::V2 { iterations, .. } => *iterations,
        }
    }

    /// Returns the ciphertext, or `None` for a v1 entry whose `encrypted_data` is not a ciphertext.
    pub(crate) fn ciphertext(&self) -> Option<&Ciphertext> {
        match self {
            Self::V1 { ciphertext, .. } => ciphertext.as_ref(),
            Self::V2 { ciphertext, .. } => Some(ciphertext),
        }
    }

    /// Builds the associated data of the ciphertext.
    pub(crate) fn associated_data(&self) -> Vec<u8> {
        match self {
            Self::V1 { .. } => Vec::new(),
            Self::V2 { label, .. } => label.associated_data(),
        }
    }

    /// Returns whether the entry is in the Go program's format.
    pub(crate) fn is_v1(&self) -> bool {
        matches!(self, Self::V1 { .. })
    }

    /// Parses the JSON stored under `id`. The error is a reason that quotes no contents.
    pub(crate) fn from_json(id: &KeyId, json: Value) -> Result<Self, String> {
        match json {
            Value::Object(fields) if !fields.contains_key("version") => {
                let fields: BTreeMap<String, Value> = fields.into_iter().collect();
                let ciphertext =
                    fields.get("encrypted_data").and_then(Value::as_str).and_then(Ciphertext::from_base64);
                Ok(Self::V1 { fields, ciphertext })
            }
            json => Self::v2_from_json(id, json),
        }
    }

    fn v2_from_json(id: &KeyId, json: Value) -> Result<Self, String> {
        // Serde's message would quote the file; the id is enough.
        let json: EntryJson = serde_json::from_value(json)
            .map_err(|_| format!("entry {id:?} has missing, unknown or malformed fields"))?;
        if json.version != ENTRY_VERSION {
            return Err(format!("entry {id:?} has the unknown version {}", json.version));
        }
        if json.id != *id && !is_draft(id) {
            return Err(format!("entry {id:?} is filed under an id that is not its own"));
        }
        let iterations =
            Iterations::try_from(json.kdf.iterations).map_err(|error| format!("entry {id:?}: {error}"))?;
        let ciphertext = Ciphertext::from_base64(&json.encrypted_data)
            .ok_or_else(|| format!("entry {id:?} holds no ciphertext"))?;
        let label = Label {
            id: json.id,
            name: json.name,
            description: json.description,
            purpose: json.purpose,
            allowed_hosts: json.allowed_hosts,
            version: json.version,
            iterations: iterations.get(),
            created_at: json.created_at,
            updated_at: json.updated_at,
        };
        Ok(Self::V2 { label, iterations, ciphertext })
    }

    /// Returns the entry in its stored format.
    pub(crate) fn to_json(&self) -> AnyEntryJson<'_> {
        match self {
            Self::V1 { fields, .. } => AnyEntryJson::V1(fields),
            Self::V2 { label, iterations, ciphertext } => AnyEntryJson::V2(EntryJson {
                id: label.id.clone(),
                name: label.name.clone(),
                description: label.description.clone(),
                encrypted_data: ciphertext.to_base64(),
                created_at: label.created_at,
                updated_at: label.updated_at,
                version: ENTRY_VERSION,
                kdf: KdfJson { iterations: iterations.get() },
                purpose: label.purpose.clone(),
                allowed_hosts: label.allowed_hosts.clone(),
            }),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn label(id: &str, purpose: &str, hosts: &[&str]) -> Label {
        NewEntry {
            id: KeyId::from_trusted(id),
            name: String::new(),
            description: String::new(),
            purpose: purpose.to_owned(),
            allowed_hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        }
        .into_label(Iterations::MIN, Timestamp::default())
    }

    #[test]
    fn entry_is_bound_to_id_purpose_rounds_and_hosts() {
        let base = label("a", "provider", &["x"]);
        let others = [
            label("b", "provider", &["x"]),
            label("a", "tls", &["x"]),
            label("a", "provider", &["y"]),
            label("a", "provider", &["x", "y"]),
            base.clone().for_rewrite(Iterations::DEFAULT, Timestamp::default()),
        ];
        for other in others {
            assert_ne!(base.associated_data(), other.associated_data());
        }
    }

    #[test]
    fn host_match_ignores_case_and_needs_a_host() {
        let bound = label("a", "provider", &["API.OpenAI.com"]);
        assert!(bound.allows(Some("api.openai.COM")));
        assert!(!bound.allows(Some("api.openai.com.evil.example")));
        assert!(!bound.allows(None));
        assert!(label("a", "codec", &[]).allows(None));
    }
}
