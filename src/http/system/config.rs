//! The settings in force, and where each came from. No setting is a secret.

use crate::http::framework::required_role::Access;
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// One setting.
#[derive(Debug, Serialize, JsonSchema)]
struct SettingView {
    /// Its dotted key.
    key: String,
    /// The value in force.
    value: Value,
    /// Source of the value: `default`, `FILE:LINE`, `env NAME` or `flag --NAME`.
    source: String,
}

/// The settings.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/config", list)
            .access(Access::Admin)
            .summary("Every setting with its value and where that came from")
            .answers::<Vec<SettingView>>(200),
    ]
}

async fn list(request: ApiRequest) -> Result<Reply, ApiError> {
    let entries = request.context.loaded().entries();
    let views = entries.into_iter().map(|entry| SettingView {
        key: entry.key,
        value: entry.value,
        source: entry.source.to_string(),
    });
    Reply::json(&views.collect::<Vec<_>>())
}
