//! An event as one line of text.

use crate::cli::ui::table::{at, one_line, word};
use serde_json::Value;

/// The longest detail, in characters.
const DETAIL_MAX: usize = 160;

/// `seq time type subject …`: what happened, to what, and what changed.
pub fn event_line(event: &Value) -> String {
    let text = |field| word(at(event, field));
    let line = format!(
        "{:>6}  {}  {:<22}  {}  {}",
        text("seq"),
        text("timestamp"),
        text("type"),
        one_line(&text("subject")),
        one_line(&detail(at(event, "data"))).chars().take(DETAIL_MAX).collect::<String>(),
    );
    crate::cli::ui::table::printable(&line).replace('\n', " ").trim_end().to_owned()
}

/// Summarizes the data of an event from the fields that it has.
fn detail(data: &Value) -> String {
    let mut parts = Vec::new();
    if let (Some(old), Some(new)) = (data.get("old"), data.get("new")) {
        parts.push(format!("{} → {}", word(old), word(new)));
    }
    for (field, change) in data.get("changes").and_then(Value::as_object).into_iter().flatten() {
        parts.push(format!("{field}: {} → {}", word(at(change, "old")), word(at(change, "new"))));
    }
    for field in ["title", "question", "name", "message", "text", "decision", "outcome", "summary"] {
        match data.get(field) {
            Some(Value::String(text)) if !text.is_empty() => {
                parts.push(text.clone());
                break;
            }
            _ => {}
        }
    }
    for field in ["agent_id", "assigned_to", "bead_id"] {
        if let Some(Value::String(id)) = data.get(field) {
            parts.push(format!("{field}={id}"));
        }
    }
    if let Some(Value::String(reason)) = data.get("reason") {
        parts.push(format!("({reason})"));
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(kind: &str, data: Value) -> String {
        event_line(&json!({
            "seq": 12, "timestamp": "2026-11-23T00:00:00.007Z", "type": kind,
            "subject": "bd-1", "data": data,
        }))
    }

    #[test]
    fn change_event_shows_both_values_and_the_reason() {
        assert_eq!(
            line("bead.status_change", json!({"old": "open", "new": "blocked", "reason": "no paint"})),
            "    12  2026-11-23T00:00:00.007Z  bead.status_change      bd-1  open → blocked (no paint)"
        );
        let updated = json!({"changes": {"priority": {"old": 2, "new": 0}}});
        assert!(line("bead.updated", updated).ends_with("priority: 2 → 0"));
    }

    #[test]
    fn event_with_control_characters_stays_on_one_line() {
        let text = line("bead.created", json!({"title": "a\nb\x1b[31m", "description": "long"}));
        assert!(text.ends_with("a b[31m"), "{text}");
    }
}
