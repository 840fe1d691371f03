//! Fields of request bodies that need more care than a derive gives.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;

/// A field of a patch that may be cleared: absent, null, or a value.
pub fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

/// A field of a patch that cannot be cleared: absent or a value, and null is wrong.
pub fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A password or a key in a body. Cannot be written or shown.
pub struct Secret(pub SecretString);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Secret;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Secret, E> {
                // Exactly as long as the text, so that nothing is moved and left behind.
                Ok(Secret(SecretString::from(text)))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "writeOnly": true, "minLength": 1})
    }
}

/// A body in which nothing can be said.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmptyBody {}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[derive(Deserialize)]
    struct Patch {
        #[serde(default, deserialize_with = "nullable")]
        role: Option<Option<String>>,
        #[serde(default, deserialize_with = "present")]
        name: Option<String>,
    }

    fn patch(text: &str) -> Result<Patch, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn patch_field_distinguishes_absent_null_and_value() {
        assert_eq!(patch("{}").unwrap().role, None);
        assert_eq!(patch(r#"{"role": null}"#).unwrap().role, Some(None));
        assert_eq!(patch(r#"{"role": "x"}"#).unwrap().role, Some(Some("x".into())));
        assert_eq!(patch("{}").unwrap().name, None);
        assert_eq!(patch(r#"{"name": "x"}"#).unwrap().name, Some("x".into()));
        assert!(patch(r#"{"name": null}"#).is_err());
    }

    #[test]
    fn secret_takes_text_and_error_does_not_quote_it() {
        let secret: Secret = serde_json::from_str(r#""s\u0065cret""#).unwrap();
        assert_eq!(secret.0.expose_secret(), "secret");
        assert!(serde_json::from_str::<Secret>("7").is_err());
        assert!(!Secret::json_schema(&mut SchemaGenerator::default()).as_value().is_null());
    }
}
