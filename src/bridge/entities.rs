//! The mirrored form of entities: their records, their events, and the start and end of their workflows.

use arbiter_actors::{Error, Handles};
use arbiter_core::kernel::event::Event;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::lease::digest;
use arbiter_store::ChangedEntity;
use arbiter_temporal::codec::names::{Kind, NO_PROJECT};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The largest `data` of an event that is mirrored, in bytes; a larger one is replaced by its digest.
const MAX_DATA: usize = 16 * 1024;
/// The largest record that is mirrored, in bytes as it is carried; Temporal takes 2 MB, and an aggregator carries its
/// project's record together with 900 kB of events.
const MAX_RECORD: usize = 1024 * 1024;
/// The longest text of a larger record that stays whole, in bytes.
const MAX_TEXT: usize = 4 * 1024;

/// Returns the name of a kind in the table of mirrored entities.
pub const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Agent => "agent",
        Kind::Bead => "bead",
        Kind::Decision => "decision",
        Kind::Events => "events",
        Kind::Provider => "provider",
        Kind::Query => "query",
        Kind::Dispatcher => "dispatcher",
    }
}

/// Returns the kind of this name.
pub fn kind(text: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind_name(*kind) == text)
}

/// Collects the entities whose state an event changes.
pub fn changed_entities(event: &Event) -> Vec<ChangedEntity> {
    use EventType as E;
    let kinds: &[Kind] = match event.kind {
        E::BeadReady | E::BeadCommented | E::ProjectCommented | E::DecisionReminder => &[],
        // A bead that is created closed gets no workflow.
        E::BeadCreated if event.data["status"] == "closed" => &[],
        E::ProjectCreated => &[Kind::Events, Kind::Dispatcher],
        kind => match kind.as_str().split_once('.').map(|(entity, _)| entity) {
            Some("agent") => &[Kind::Agent],
            Some("bead") => &[Kind::Bead],
            Some("decision") => &[Kind::Decision],
            Some("provider") => &[Kind::Provider],
            Some("project") => &[Kind::Events],
            _ => &[],
        },
    };
    let old = event.data["old"].as_str();
    let begins = matches!((kinds, old), ([Kind::Bead], Some("closed")) | ([Kind::Agent], Some("shutdown")));
    let note = |kind: &Kind| ChangedEntity {
        kind: kind_name(*kind),
        id: event.subject.clone(),
        seq: event.seq,
        begins,
        rank: 0,
    };
    kinds.iter().map(note).collect()
}

/// Returns the id of an event's aggregator: its project, or [`NO_PROJECT`].
pub fn project_of(event: &Event) -> &str {
    event.project_id.as_deref().unwrap_or(NO_PROJECT)
}

/// Converts an event to its mirrored form. After a rebuild, `base` continues the sequence numbers.
pub fn mirror_event(event: &Event, base: u64) -> Value {
    let mut value = json!(event);
    value["seq"] = json!(event.seq.saturating_add(base));
    let text = event.data.to_string();
    if text.len() > MAX_DATA {
        value["data"] = json!({"sha256": digest(&text), "bytes": text.len()});
    }
    value
}

/// Reads an entity's record; null when there is no such entity.
///
/// # Errors
/// [`Error::Store`] when the store cannot be read.
pub async fn record(handles: &Handles, kind: Kind, id: &str) -> Result<Value, Error> {
    let (store, key) = (&handles.store, id.to_owned());
    let found = match kind {
        Kind::Agent => row(store.agent(key).await?),
        Kind::Decision => row(store.decision(key).await?),
        Kind::Provider => row(store.provider(key).await?),
        Kind::Events if id == NO_PROJECT => json!({"id": NO_PROJECT}),
        Kind::Events | Kind::Dispatcher => row(store.project(key).await?),
        Kind::Bead => match store.bead(key.clone()).await? {
            None => Value::Null,
            Some(bead) => {
                let mut record = json!(bead);
                let edges = store.edges_of(key).await?;
                record["dependencies"] =
                    edges.into_iter().map(|(to, kind)| json!({"depends_on": to, "type": kind})).collect();
                record
            }
        },
        Kind::Query => Value::Null,
    };
    Ok(fit_record(found))
}

fn row(found: Option<impl Serialize>) -> Value {
    found.map_or(Value::Null, |found| json!(found))
}

/// Fits a record into Temporal's limit: in a larger one, long texts are cut and nested objects are dropped.
fn fit_record(record: Value) -> Value {
    // Carried as JSON within JSON, every quote takes two bytes.
    let text = record.to_string();
    if text.len() + text.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count() <= MAX_RECORD {
        return record;
    }
    let Value::Object(fields) = record else { return record };
    let cut = |value: Value| match value {
        Value::String(text) if text.len() > MAX_TEXT => {
            let end = text.floor_char_boundary(MAX_TEXT);
            Value::String(format!("{}… (sha256 {})", &text[..end], digest(&text)))
        }
        Value::Object(_) => json!({}),
        Value::Array(items) if items.len() > 1_000 => json!(items[..1_000]),
        other => other,
    };
    Value::Object(fields.into_iter().map(|(name, value)| (name, cut(value))).collect::<Map<_, _>>())
}

/// Builds the start input of a workflow, with the field names that any client uses.
pub fn start_input(kind: Kind, id: &str, record: &Value) -> Value {
    let field = |name: &str| record.get(name).cloned().unwrap_or(Value::Null);
    let mut input = json!({kind.id_field(): id});
    let more: &[(&str, &str)] = match kind {
        Kind::Agent => {
            &[("project_id", "project_id"), ("persona_name", "persona_name"), ("agent_name", "name")]
        }
        Kind::Bead => &[
            ("project_id", "project_id"),
            ("title", "title"),
            ("priority", "priority"),
            ("bead_type", "type"),
        ],
        Kind::Decision => &[
            ("project_id", "project_id"),
            ("question", "question"),
            ("requester_id", "requester_id"),
            ("options", "options"),
        ],
        _ => &[],
    };
    for (name, of) in more {
        input[*name] = field(of);
    }
    input
}

/// Returns whether the workflow of an entity with this record ends.
pub fn has_ended(kind: Kind, record: &Value) -> bool {
    let status = record["status"].as_str();
    record.is_null()
        || match kind {
            Kind::Agent => status == Some("shutdown"),
            Kind::Bead => status == Some("closed"),
            Kind::Decision => status != Some("pending"),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arbiter_core::kernel::time::Timestamp;

    fn event(kind: EventType, data: Value) -> Event {
        Event {
            id: "evt-1".into(),
            kind,
            timestamp: Timestamp::from_millis(0),
            source: "test".into(),
            project_id: None,
            subject: "x".into(),
            actor: "system".into(),
            origin: None,
            data,
            seq: 3,
        }
    }

    #[test]
    fn event_marks_changed_entities_and_reopening_starts_new_run() {
        let kinds =
            |kind, data| changed_entities(&event(kind, data)).iter().map(|n| n.kind).collect::<Vec<_>>();
        assert_eq!(kinds(EventType::BeadCreated, json!({"status": "open"})), ["bead"]);
        assert!(kinds(EventType::BeadCreated, json!({"status": "closed"})).is_empty());
        assert!(kinds(EventType::BeadReady, json!({})).is_empty());
        assert_eq!(kinds(EventType::ProjectCreated, json!({})), ["events", "dispatcher"]);
        assert_eq!(kinds(EventType::DecisionTimeout, json!({})), ["decision"]);
        assert!(kinds(EventType::KeyUsed, json!({})).is_empty());
        let begins = |kind, old: &str| changed_entities(&event(kind, json!({"old": old})))[0].begins;
        assert!(begins(EventType::BeadStatusChange, "closed"));
        assert!(!begins(EventType::BeadStatusChange, "open"));
        assert!(begins(EventType::AgentSpawned, "shutdown"));
    }

    #[test]
    fn oversized_event_data_is_mirrored_as_digest() {
        let large = event(EventType::LogMessage, json!({"text": "x".repeat(MAX_DATA)}));
        let mirror_event = mirror_event(&large, 10);
        assert_eq!(
            (mirror_event["seq"].as_u64(), mirror_event["data"]["bytes"].as_u64()),
            (Some(13), Some(16_395))
        );
        let record = json!({"id": "a", "description": "ä".repeat(MAX_RECORD), "context": {"a": 1}});
        let fitted = fit_record(record);
        assert!(fitted.to_string().len() < 2 * MAX_TEXT && fitted["id"] == "a");
        // Its quotes take four bytes each on their way.
        let quoted = fit_record(json!({"id": "a", "description": "\"".repeat(MAX_RECORD / 3)}));
        assert!(quoted.to_string().len() < 3 * MAX_TEXT && quoted["id"] == "a");
    }
}
