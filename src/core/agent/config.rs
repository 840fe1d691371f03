//! Model settings of an agent. Known settings are validated; unknown ones are kept unchanged.

use crate::agent::autonomy::Autonomy;
use crate::kernel::limits::{self, MAX_TAG, MAX_TAGS};
use crate::kernel::refusal::Problems;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The most steps that may be configured.
pub const MAX_STEPS: u32 = 1000;

/// The JSON of an agent's `config`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AgentConfig {
    /// The model to ask for; none: what the provider selected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Sampling temperature, 0 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Instructions that follow the persona's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u32>,
    /// Skills: the agent is preferred for beads with these tags, and it fills roles of these names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Decisions that it may make; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autonomy: Option<Autonomy>,
    /// Settings that Arbiter does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl AgentConfig {
    /// Reads a config that comes as an object or as a string that holds one.
    pub fn read(value: &Value) -> Result<Self, String> {
        let object = match value {
            Value::Null => return Ok(Self::default()),
            Value::String(text) if text.trim().is_empty() => return Ok(Self::default()),
            Value::String(text) => {
                serde_json::from_str(text).map_err(|e| format!("holds no JSON object: {e}"))?
            }
            other => other.clone(),
        };
        if !object.is_object() {
            return Err("must be an object, or a string that holds one".to_owned());
        }
        serde_json::from_value(object).map_err(|e| e.to_string())
    }

    /// Notes what is out of range.
    pub fn check(&self, problems: &mut Problems) {
        let warm = self.temperature.is_none_or(|t| (0.0..=2.0).contains(&t));
        problems.require(warm, "config/temperature", "must be between 0 and 2");
        problems.require(self.max_tokens != Some(0), "config/max_tokens", "must be at least 1");
        let steps = self.max_steps.is_none_or(|steps| (1..=MAX_STEPS).contains(&steps));
        problems.require(steps, "config/max_steps", limits::must_be_between(&(1..=MAX_STEPS)));
        let fits = |label: &String| (1..=MAX_TAG).contains(&label.len());
        let labels = self.labels.len() <= MAX_TAGS && self.labels.iter().all(fits);
        problems.require(
            labels,
            "config/labels",
            format!("must have at most {MAX_TAGS} entries of 1 to {MAX_TAG} bytes"),
        );
        limits::check_free_form(problems, "config", self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn agent_config_accepts_object_or_json_string() {
        let object = AgentConfig::read(&json!({"model": "gpt-4", "temperature": 0.7, "mine": [1]})).unwrap();
        let text =
            AgentConfig::read(&json!(r#"{"model": "gpt-4", "temperature": 0.7, "mine": [1]}"#)).unwrap();
        assert_eq!(object, text);
        assert_eq!(
            serde_json::to_value(&object).unwrap(),
            json!({"model": "gpt-4", "temperature": 0.7, "mine": [1]})
        );
        for wrong in [json!([]), json!("[]"), json!("{"), json!({"model": 3})] {
            assert!(AgentConfig::read(&wrong).is_err(), "{wrong}");
        }
    }
}
