//! `arbiter status`: how the server is doing.

use crate::cli::client::request::Request;
use crate::cli::client::session::Session;
use crate::cli::ui::failure::Failure;
use crate::cli::ui::output::OutputFormat;
use crate::cli::ui::table::{at, one_line, word};
use arbiter_core::kernel::limits::count_of;
use serde_json::{Map, Value, json};

/// Prints what is wrong, then health and the system's state without its zeros. The living actors by kind are for
/// programs: `--json` has them.
pub async fn run(session: &Session) -> Result<(), Failure> {
    let health = session.client.json(&Request::get(&["health"])).await?;
    let mut system = session.client.json(&Request::get(&["system", "status"])).await?;
    if session.output.format() == OutputFormat::Json {
        return session.output.json(&json!({"health": health, "system": system}));
    }
    for line in attention(&health, &system) {
        session.output.text(&format!("! {}", one_line(&line)))?;
    }
    if let Some(fields) = system.as_object_mut() {
        fields.remove("actors");
    }
    let mut fields = Map::new();
    flatten("", &health, &mut fields);
    flatten("", &system, &mut fields);
    session.output.record(&Value::Object(fields))
}

/// Says what needs a person, one thing a line; empty while all is well.
fn attention(health: &Value, system: &Value) -> Vec<String> {
    let count = |path: &str| at(system, path).as_u64().unwrap_or(0);
    let mut lines = Vec::new();
    if at(health, "vault").as_str().is_some_and(|vault| vault != "unlocked") {
        lines.push(format!("the vault is {}: arbiter vault unlock", word(at(health, "vault"))));
    }
    if at(system, "state") == "parked" {
        lines.push(format!("dispatch is parked: {}", word(at(system, "reason"))));
    }
    for (project, message) in at(system, "bead_files").as_object().into_iter().flatten() {
        lines.push(format!("the bead file of {project}: {}", word(message)));
    }
    for missing in at(system, "missing").as_array().into_iter().flatten() {
        lines.push(format!("{} is missing from the data directory", word(missing)));
    }
    let groups = [
        ("counts.providers.unhealthy", "unhealthy provider", "arbiter provider list"),
        ("counts.providers.degraded", "degraded provider", "arbiter provider list"),
        ("counts.agents.blocked", "blocked agent", "arbiter agent list"),
        ("counts.beads.blocked", "blocked bead", "arbiter bead list --status blocked"),
        ("counts.pending_decisions", "decision", "arbiter decision list --status pending"),
    ];
    for (path, noun, command) in groups {
        if count(path) > 0 {
            let waits = if noun == "decision" { " to be answered" } else { "" };
            lines.push(format!("{}{waits}: {command}", count_of(count(path), noun)));
        }
    }
    if count("notices.failures") > 0 {
        let tries = count_of(count("notices.failures"), "failed attempt");
        lines.push(format!("the receiver of notifications does not accept them: {tries} in a row"));
    }
    if at(system, "temporal").as_str().is_some_and(|state| !matches!(state, "off" | "connected")) {
        lines.push(format!("the bridge to Temporal is {}", word(at(system, "temporal")).replace('_', " ")));
    }
    lines
}

/// The fields of `value` with dotted names, so that each gets a line of its own; zeros are left out.
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
        Value::Number(number) if number.as_f64() == Some(0.0) => {}
        other => {
            fields.insert(prefix.to_owned(), Value::String(one_line(&word(other))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_fields_get_dotted_names_without_zeros() {
        let mut fields = Map::new();
        let status = json!({"status": "ok", "missing": [], "workers": {"busy": 2, "idle": 0, "limit": null}});
        flatten("", &status, &mut fields);
        assert_eq!(Value::Object(fields), json!({"status": "ok", "workers.busy": "2"}));
    }

    #[test]
    fn status_names_what_needs_a_person() {
        let health = json!({"status": "ok", "vault": "unlocked"});
        let well = json!({"state": "active", "temporal": "off", "counts": {"beads": {"blocked": 0}}});
        assert!(attention(&health, &well).is_empty());
        let ill = json!({
            "state": "parked", "reason": "holiday", "temporal": "connecting",
            "counts": {"beads": {"blocked": 1}, "providers": {"unhealthy": 2}, "pending_decisions": 1},
        });
        let lines = attention(&json!({"vault": "locked"}), &ill);
        assert_eq!(lines.len(), 6, "{lines:#?}");
        assert!(
            lines.contains(&"1 blocked bead: arbiter bead list --status blocked".to_owned()),
            "{lines:#?}"
        );
    }
}
