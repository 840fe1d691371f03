//! `arbiter status`: how the server is doing.

use crate::cli::client::request::Request;
use crate::cli::client::session::Session;
use crate::cli::ui::failure::Failure;
use crate::cli::ui::output::OutputFormat;
use crate::cli::ui::table::{one_line, word};
use serde_json::{Map, Value, json};

/// Prints health and, where the token allows it, the system's state.
pub async fn run(session: &Session) -> Result<(), Failure> {
    let health = session.client.json(&Request::get(&["health"])).await?;
    let system = session.client.json(&Request::get(&["system", "status"])).await?;
    if session.output.format() == OutputFormat::Json {
        return session.output.json(&json!({"health": health, "system": system}));
    }
    let mut fields = Map::new();
    flatten("", &health, &mut fields);
    flatten("", &system, &mut fields);
    session.output.record(&Value::Object(fields))
}

/// The fields of `value` with dotted names, so that each gets a line of its own.
fn flatten(prefix: &str, value: &Value, fields: &mut Map<String, Value>) {
    match value {
        Value::Object(inner) => {
            for (name, value) in inner {
                let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&name, value, fields);
            }
        }
        Value::Null => {}
        Value::Array(entries) if entries.is_empty() => {}
        other => {
            fields.insert(prefix.to_owned(), Value::String(one_line(&word(other))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_fields_get_dotted_names() {
        let mut fields = Map::new();
        flatten(
            "",
            &json!({"status": "ok", "missing": [], "workers": {"busy": 2, "limit": null}}),
            &mut fields,
        );
        assert_eq!(Value::Object(fields), json!({"status": "ok", "workers.busy": "2"}));
    }
}
