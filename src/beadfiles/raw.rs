//! Fields of a JSON object as written: numbers keep their form, texts their escapes.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Fields of an object, each with its raw JSON.
#[derive(Clone, Debug, Default)]
pub struct RawFields(BTreeMap<String, Box<RawValue>>);

impl RawFields {
    /// Parses an object.
    ///
    /// # Errors
    /// When the text is not a JSON object.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text).map(Self)
    }

    /// Serializes the object as JSON.
    pub fn to_json(&self) -> String {
        // A map of texts to valid JSON always serializes.
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns a field's raw JSON.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|raw| raw.get())
    }

    /// Removes a field and returns it.
    pub fn take(&mut self, name: &str) -> Option<Box<RawValue>> {
        self.0.remove(name)
    }

    /// Sets a field; invalid JSON is ignored.
    pub fn put(&mut self, name: &str, json: String) {
        if let Ok(raw) = RawValue::from_string(json) {
            self.0.insert(name.to_owned(), raw);
        }
    }

    /// Iterates over the fields with their raw JSON, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, raw)| (name.as_str(), raw.get()))
    }

    /// Keeps the fields for which `keep` returns true.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        self.0.retain(|name, raw| keep(name, raw.get()));
    }
}

/// Compares the raw texts of the objects.
impl PartialEq for RawFields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Serialize for RawFields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RawFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(deserializer).map(Self)
    }
}
