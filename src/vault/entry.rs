//! One entry of the key file: its two written forms, and what may be shown of it.
//!
//! Owns the fields, the associated data and the reading of a v1 entry. Must not know passwords, other
//! entries or the disk.

use crate::{
    Iterations,
    cipher::{Ciphertext, length_prefixed},
};
use arbiter_core::kernel::ids::KeyId;
use arbiter_core::kernel::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The version a new entry is written in.
const ENTRY_VERSION: u32 = 2;
/// Separates an entry's ciphertext from everything else encrypted under the same password.
const ENTRY_DOMAIN: &[u8] = b"arbiter-vault/v2/entry";
/// What a v1 entry is for: the Go program kept provider credentials only.
const V1_PURPOSE: &str = "provider";

/// What may be told of an entry, locked or not. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EntryInfo {
    pub id: KeyId,
    pub name: String,
    pub description: String,
    /// What it is for: `provider`, `tls`, `codec`.
    pub purpose: String,
    /// The hosts it may be sent to, sorted, lower case; empty means any.
    pub allowed_hosts: Vec<String>,
    /// 2, or 1 for an entry of the Go program that was not written since.
    pub version: u32,
    /// Rounds of its key derivation.
    pub iterations: u32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// An entry to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    pub id: KeyId,
    pub name: String,
    pub description: String,
    /// What it is for: `provider`, `tls`, `codec`.
    pub purpose: String,
    /// The hosts it may be sent to, compared without case; empty means any.
    pub allowed_hosts: Vec<String>,
}

/// The public fields of an entry that is to be encrypted, together with its rounds.
pub(crate) type Label = EntryInfo;

/// An entry as the file has it.
#[derive(Clone, PartialEq)]
pub(crate) enum Entry {
    /// Of the Go program: 100,000 rounds, no associated data. Kept field by field, known or not.
    V1 { fields: BTreeMap<String, Value>, ciphertext: Option<Ciphertext> },
    /// Of this program.
    V2 { label: Label, iterations: Iterations, ciphertext: Ciphertext },
}

/// The JSON of a v2 entry.
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

/// The JSON of a key derivation's cost.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KdfJson {
    pub(crate) iterations: u32,
}

/// Either form, as it is written.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum AnyEntryJson<'a> {
    V1(&'a BTreeMap<String, Value>),
    V2(EntryJson),
}

impl NewEntry {
    /// The label of this entry, created now.
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

/// A host as an entry has it: a name in lower case, the path of a Unix socket as it is.
fn normalize_host(host: &str) -> String {
    if host.starts_with('/') { host.to_owned() } else { host.to_lowercase() }
}

/// Hosts as an entry has them: lower case, sorted, each once.
pub(crate) fn normalize_hosts(hosts: &[String]) -> Vec<String> {
    let mut hosts: Vec<String> = hosts.iter().map(|host| normalize_host(host)).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

impl EntryInfo {
    /// The same entry with the same secret, about to be encrypted for another file.
    pub(crate) fn for_export(mut self, iterations: Iterations) -> Label {
        self.version = ENTRY_VERSION;
        self.iterations = iterations.get();
        self
    }

    /// The same entry, about to be encrypted again.
    pub(crate) fn for_rewrite(mut self, iterations: Iterations, now: Timestamp) -> Label {
        self.version = ENTRY_VERSION;
        self.iterations = iterations.get();
        self.updated_at = now;
        self
    }

    /// What binds a ciphertext to its place: domain, id, purpose, rounds and hosts.
    pub(crate) fn associated_data(&self) -> Vec<u8> {
        let rounds = self.iterations.to_be_bytes();
        let head = [ENTRY_DOMAIN, self.id.as_str().as_bytes(), self.purpose.as_bytes(), &rounds];
        length_prefixed(head.into_iter().chain(self.allowed_hosts.iter().map(|host| host.as_bytes())))
    }

    /// Returns whether the key may be sent to this host. A bound key goes nowhere when no host is named.
    pub fn allows(&self, host: Option<&str>) -> bool {
        self.allowed_hosts.is_empty()
            || host
                .is_some_and(|host| self.allowed_hosts.iter().any(|allowed| *allowed == normalize_host(host)))
    }
}

impl Entry {
    /// What may be shown. The id is the one the entry is filed under.
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

    /// Rounds of its key derivation.
    pub(crate) fn iterations(&self) -> Iterations {
        match self {
            Self::V1 { .. } => Iterations::MIN,
            Self::V2 { iterations, .. } => *iterations,
        }
    }

    /// What is encrypted; nothing for a v1 entry whose `encrypted_data` is no ciphertext at all.
    pub(crate) fn ciphertext(&self) -> Option<&Ciphertext> {
        match self {
            Self::V1 { ciphertext, .. } => ciphertext.as_ref(),
            Self::V2 { ciphertext, .. } => Some(ciphertext),
        }
    }

    /// What the ciphertext is bound to.
    pub(crate) fn associated_data(&self) -> Vec<u8> {
        match self {
            Self::V1 { .. } => Vec::new(),
            Self::V2 { label, .. } => label.associated_data(),
        }
    }

    /// Returns whether the entry came from the Go program and was not written since.
    pub(crate) fn is_v1(&self) -> bool {
        matches!(self, Self::V1 { .. })
    }

    /// From the JSON filed under `id`; a reason without contents otherwise.
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
        // Serde's message would quote the file; the id says enough.
        let json: EntryJson = serde_json::from_value(json)
            .map_err(|_| format!("entry {id:?} has missing, unknown or malformed fields"))?;
        if json.version != ENTRY_VERSION {
            return Err(format!("entry {id:?} has the unknown version {}", json.version));
        }
        if json.id != *id {
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

    /// As it is written.
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
