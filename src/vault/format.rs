//! JSON of the key file: version 2 and the two forms of version 1.
//!
//! Owns the fields of the file. Refuses every file that is not fully understood. Must not know passwords or the
//! disk: it converts bytes to a [`KeyFile`] and back.
//!
//! A version 2 file is `{version, generation, verifier, seal, keys}`. The verifier is a random seal key
//! encrypted under the password. The seal is HMAC-SHA256 under that key over the file's compact JSON without
//! `seal`. A wrong password therefore fails at the verifier. Any other change of the file, names and generation
//! included, fails at the seal.

use crate::{
    Iterations,
    cipher::{Ciphertext, KEY_LEN, length_prefixed},
    entry::{AnyEntryJson, Entry, KdfJson},
};
use arbiter_core::kernel::ids::KeyId;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, error::Category};
use std::collections::BTreeMap;

/// Version written to new files.
const FILE_VERSION: u32 = 2;
/// Version string of the later v1 form.
const V1_VERSION: &str = "1.0";
/// Domain separator between the verifier and other ciphertexts under the same password.
const VERIFIER_DOMAIN: &[u8] = b"arbiter-vault/v2/verifier";

/// A well-formed key file. Only a password proves that it is authentic.
#[derive(Clone, PartialEq)]
pub(crate) struct KeyFile {
    pub(crate) header: Header,
    pub(crate) keys: BTreeMap<KeyId, Entry>,
}

/// Fields by which the file recognizes its password.
#[derive(Clone, PartialEq)]
pub(crate) enum Header {
    /// Header of the Go program. Without a check, the entries themselves verify the password.
    V1 { check: Option<PasswordCheck> },
    /// Header of this program.
    V2 { generation: u64, verifier: Verifier, seal: [u8; KEY_LEN] },
}

/// `password_salt` and `password_verify` of the later v1 form.
#[derive(Clone, PartialEq)]
pub(crate) struct PasswordCheck {
    pub(crate) salt: Vec<u8>,
    pub(crate) hash: [u8; KEY_LEN],
}

/// Seal key, encrypted under the password.
#[derive(Clone, PartialEq)]
pub(crate) struct Verifier {
    pub(crate) iterations: Iterations,
    pub(crate) ciphertext: Ciphertext,
}

impl Verifier {
    /// Builds the associated data that binds the verifier to its place.
    pub(crate) fn associated_data(iterations: Iterations) -> Vec<u8> {
        length_prefixed([VERIFIER_DOMAIN, &iterations.get().to_be_bytes()])
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifierJson {
    kdf: KdfJson,
    encrypted_data: String,
}

#[derive(Serialize)]
struct FileJson<'a> {
    version: u32,
    generation: u64,
    verifier: VerifierJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    seal: Option<String>,
    keys: BTreeMap<&'a KeyId, AnyEntryJson<'a>>,
}

#[derive(Deserialize)]
struct VersionJson {
    version: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct V2Json {
    #[serde(rename = "version")]
    _version: Value,
    generation: u64,
    verifier: VerifierJson,
    seal: String,
    keys: BTreeMap<KeyId, Value>,
}

#[derive(Deserialize)]
struct V1Json {
    password_salt: Option<String>,
    password_verify: Option<String>,
    #[serde(deserialize_with = "null_is_empty")]
    keys: BTreeMap<KeyId, Value>,
    // Fields of version 2: a file with them but without a version is damaged, not old.
    generation: Option<Value>,
    verifier: Option<Value>,
    seal: Option<Value>,
}

fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<KeyId, Value>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl KeyFile {
    /// Parses the bytes of the file. The error is a reason that quotes no contents.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        match serde_json::from_slice::<VersionJson>(bytes).map_err(|error| malformed(&error))?.version {
            None => Self::parse_v1(bytes),
            Some(Value::String(version)) if version == V1_VERSION => Self::parse_v1(bytes),
            Some(Value::Number(version)) if version.as_u64() == Some(u64::from(FILE_VERSION)) => {
                Self::parse_v2(bytes)
            }
            Some(_) => Err("its version is unknown".to_owned()),
        }
    }

    fn parse_v2(bytes: &[u8]) -> Result<Self, String> {
        let json: V2Json = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
        let verifier = Verifier {
            iterations: Iterations::try_from(json.verifier.kdf.iterations)
                .map_err(|error| error.to_string())?,
            ciphertext: Ciphertext::from_base64(&json.verifier.encrypted_data)
                .ok_or("its verifier is no ciphertext")?,
        };
        let seal = decode_key(&json.seal).ok_or("its seal is malformed")?;
        let keys = parse_entries(json.keys)?;
        Ok(Self { header: Header::V2 { generation: json.generation, verifier, seal }, keys })
    }

    fn parse_v1(bytes: &[u8]) -> Result<Self, String> {
        let json: V1Json = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
        if json.generation.is_some() || json.verifier.is_some() || json.seal.is_some() {
            return Err("it has fields of version 2 but not its version".to_owned());
        }
        let check = match (json.password_salt, json.password_verify) {
            (None, None) => None,
            (Some(salt), Some(hash)) => Some(PasswordCheck {
                salt: STANDARD.decode(salt).map_err(|_| "its password salt is malformed")?,
                hash: decode_key(&hash).ok_or("its password check is malformed")?,
            }),
            _ => return Err("it has half a password check".to_owned()),
        };
        let keys = parse_entries(json.keys)?;
        if keys.values().any(|entry| !entry.is_v1()) {
            return Err("it has entries of version 2 but not its version".to_owned());
        }
        Ok(Self { header: Header::V1 { check }, keys })
    }

    /// Serializes the file: indented, with a trailing newline. A v1 header is never written.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let Header::V2 { seal, .. } = &self.header else {
            return Err("a version 1 file is not written".to_owned());
        };
        let json = self.to_json(Some(STANDARD.encode(seal)))?;
        let mut bytes = serde_json::to_vec_pretty(&json).map_err(|error| error.to_string())?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Returns the bytes that the seal covers.
    pub(crate) fn sealed_bytes(&self) -> Result<Vec<u8>, String> {
        serde_json::to_vec(&self.to_json(None)?).map_err(|error| error.to_string())
    }

    fn to_json(&self, seal: Option<String>) -> Result<FileJson<'_>, String> {
        let Header::V2 { generation, verifier, .. } = &self.header else {
            return Err("a version 1 file has no seal".to_owned());
        };
        Ok(FileJson {
            version: FILE_VERSION,
            generation: *generation,
            verifier: VerifierJson {
                kdf: KdfJson { iterations: verifier.iterations.get() },
                encrypted_data: verifier.ciphertext.to_base64(),
            },
            seal,
            keys: self.keys.iter().map(|(id, entry)| (id, entry.to_json())).collect(),
        })
    }

    /// Returns the number of writes since the file became version 2; 0 before.
    pub(crate) fn generation(&self) -> u64 {
        match self.header {
            Header::V1 { .. } => 0,
            Header::V2 { generation, .. } => generation,
        }
    }

    /// Returns whether the file has no entries and no password check.
    pub(crate) fn is_blank(&self) -> bool {
        self.keys.is_empty() && matches!(self.header, Header::V1 { check: None })
    }
}

fn parse_entries(keys: BTreeMap<KeyId, Value>) -> Result<BTreeMap<KeyId, Entry>, String> {
    keys.into_iter()
        .map(|(id, json)| {
            let entry = Entry::from_json(&id, json)?;
            Ok((id, entry))
        })
        .collect()
}

fn decode_key(text: &str) -> Option<[u8; KEY_LEN]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// Describes the position of a syntax error. Serde's own message would quote the file, which may hold a secret.
fn malformed(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    match error.classify() {
        Category::Eof => format!("it ends too early, at line {line} column {column}"),
        Category::Data => {
            format!("a field is missing, unknown or of the wrong kind at line {line} column {column}")
        }
        Category::Syntax | Category::Io => format!("it is not JSON at line {line} column {column}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn reason(text: &str) -> String {
        KeyFile::parse(text.as_bytes()).err().expect("refused")
    }

    #[test]
    fn unknown_version_is_refused() {
        for version in ["3", "1", "\"2\"", "\"1.1\"", "2.0", "[]", "true"] {
            assert!(
                reason(&format!("{{\"version\": {version}, \"keys\": {{}}}}")).contains("version"),
                "{version}"
            );
        }
    }

    #[test]
    fn v1_file_may_have_empty_keys_but_not_lack_the_field() {
        assert!(KeyFile::parse(b"{\"keys\": null}").unwrap().is_blank());
        assert!(KeyFile::parse(b"{\"keys\": {}}").unwrap().is_blank());
        reason("{}");
        reason("");
        reason("null");
    }

    #[test]
    fn v2_file_without_version_is_not_read_as_v1() {
        for field in ["generation", "verifier", "seal"] {
            assert!(reason(&format!("{{\"keys\": {{}}, \"{field}\": 1}}")).contains("version 2"));
        }
        assert!(!reason("{\"keys\": {\"a\": {\"version\": 2}}}").is_empty());
    }

    #[test]
    fn parse_error_quotes_nothing_of_the_file() {
        for text in ["{\"keys\": \"sk-canary\"}", "sk-canary", "{\"keys\": {\"a\": \"sk-canary\"}}"] {
            assert!(!reason(text).contains("canary"), "{}", reason(text));
        }
    }
}
