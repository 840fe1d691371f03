//! Reads payloads from outside: one JSON value is expected, anything may arrive.
//!
//! An invalid payload must not block a workflow, so inputs are accepted raw and parsed here.

use serde_json::Value;
use temporalio_common::data_converters::RawValue;
use temporalio_common::protos::temporal::api::common::v1::Payload;

/// The longest text taken from outside, in bytes.
pub const MAX_TEXT: usize = 64 * 1024;

/// Reads the single JSON value of an input.
///
/// # Errors
/// A text for the sender, when the input is anything else.
pub fn value(raw: &RawValue) -> Result<Value, String> {
    match raw.payloads.as_slice() {
        [] => Ok(Value::Null),
        [payload] => read(payload),
        _ => Err("takes one value".to_owned()),
    }
}

fn read(payload: &Payload) -> Result<Value, String> {
    let encoding = payload.metadata.get("encoding").map(Vec::as_slice);
    match encoding {
        Some(b"json/plain") => {
            serde_json::from_slice(&payload.data).map_err(|_| "takes a JSON value".to_owned())
        }
        Some(b"binary/null") => Ok(Value::Null),
        None if payload.data.is_empty() => Ok(Value::Null),
        _ => {
            Err("takes a JSON value that is not encrypted, or encrypted with a key of this server".to_owned())
        }
    }
}

/// Converts a JSON value to an input.
pub fn raw(value: &Value) -> RawValue {
    let metadata = [("encoding".to_owned(), b"json/plain".to_vec())].into();
    RawValue::new(vec![Payload { metadata, data: value.to_string().into_bytes(), ..Payload::default() }])
}

/// Encodes a payload as protobuf in base64.
pub fn encode_base64(payload: &Payload) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use prost::Message;
    STANDARD.encode(payload.encode_to_vec())
}

/// Reads a text: the value itself, or its field of this name.
///
/// # Errors
/// A text for the sender, when the input is anything else.
pub fn text(value: &Value, field: &str) -> Result<String, String> {
    let found = match value {
        Value::String(text) => Some(text.as_str()),
        Value::Object(fields) => fields.get(field).and_then(Value::as_str),
        _ => None,
    };
    match found.map(str::trim) {
        Some("") | None => {
            Err(format!("{field} must not be empty: give a text, or an object with {field:?}"))
        }
        Some(text) if text.len() > MAX_TEXT => Err(format!("{field} has more than {MAX_TEXT} bytes")),
        Some(text) => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn payload_is_one_json_value_or_is_refused() {
        assert_eq!(value(&raw(&json!({"a": 1}))), Ok(json!({"a": 1})));
        assert_eq!(value(&RawValue::new(vec![])), Ok(Value::Null));
        assert_eq!(value(&RawValue::new(vec![Payload::default()])), Ok(Value::Null));
        let two = RawValue::new([raw(&json!(1)).payloads, raw(&json!(2)).payloads].concat());
        assert!(value(&two).is_err());
        let mut bytes = raw(&json!(1));
        bytes.payloads[0].metadata.insert("encoding".into(), b"binary/plain".to_vec());
        assert!(value(&bytes).is_err());
        let mut broken = raw(&json!(1));
        broken.payloads[0].data = b"{".to_vec();
        assert!(value(&broken).is_err());
    }

    #[test]
    fn text_is_read_bare_or_from_its_field() {
        assert_eq!(text(&json!("ada"), "agent_id"), Ok("ada".into()));
        assert_eq!(text(&json!({"agent_id": " ada "}), "agent_id"), Ok("ada".into()));
        for bad in [json!(""), json!({}), json!(7), json!(null), json!({"agent_id": 7}), json!(["ada"])] {
            assert!(text(&bad, "agent_id").unwrap_err().contains("agent_id must not be empty"), "{bad}");
        }
    }
}
