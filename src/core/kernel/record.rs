//! Records and what happens to them: the one way in which a row changes and is replayed.
//!
//! An entity decides a command by looking at itself and saying what it would be afterwards; the
//! difference becomes the event. `evolve` applies that difference and never refuses, so replaying an
//! entity's events gives its row (all but the columns of telemetry, which have no events).

use crate::kernel::event::NewEvent;
use crate::kernel::event_type::EventType;
use crate::kernel::time::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The old and the new value of one field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    pub old: Value,
    pub new: Value,
}

/// Changed fields by name.
pub type Changes = BTreeMap<String, FieldChange>;

/// A stored entity with a status and a revision.
pub trait Record: Clone + Serialize + DeserializeOwned {
    /// The entity's name in messages.
    const ENTITY: &'static str;
    /// The event that creates it; its data is the whole record.
    const CREATED: EventType;
    /// The events of a changed status.
    const STATUS_CHANGED: &'static [EventType];
    /// The event of other changed fields.
    const UPDATED: EventType;
    /// Events of their own that tell of some of these changed fields in its place.
    const ALSO_UPDATED: &'static [EventType] = &[];
    /// Fields without events: measurements that replay does not restore.
    const TELEMETRY: &'static [&'static str];

    /// The entity's id.
    fn id(&self) -> &str;
    /// The project it belongs to.
    fn project(&self) -> Option<&str>;
    /// Returns the number of events applied to it.
    fn revision(&self) -> u64;
    /// Returns the event type of its current status.
    fn status_event(&self) -> EventType;
    /// Sets what every event sets: the next revision and the time of the change.
    fn touch(&mut self, at: Timestamp);
}

/// Change of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldChanges {
    /// Fields changed; `status` among them makes it a change of status.
    Changed {
        changes: Changes,
        reason: Option<String>,
        /// Extra data of its event that does not change the row.
        detail: Map<String, Value>,
        /// Event type, where it is neither of the usual two.
        event_override: Option<EventType>,
    },
    /// Event that leaves the row unchanged.
    EventOnly { kind: EventType, data: Value },
}

impl FieldChanges {
    /// The difference between a record and what it becomes.
    pub fn between<R: Record>(before: &R, after: &R, reason: Option<&str>) -> Self {
        let reason = reason.map(str::to_owned);
        Self::Changed { changes: diff(before, after), reason, detail: Map::new(), event_override: None }
    }

    /// Replaces the event type by one of the record's [`Record::ALSO_UPDATED`].
    #[must_use]
    pub fn event_override(mut self, kind: EventType) -> Self {
        if let Self::Changed { event_override, .. } = &mut self {
            *event_override = Some(kind);
        }
        self
    }

    /// Adds data to its event.
    #[must_use]
    pub fn with_detail(mut self, more: Map<String, Value>) -> Self {
        if let Self::Changed { detail, .. } = &mut self {
            detail.extend(more);
        }
        self
    }

    /// Returns whether a record is left as it is.
    pub fn is_noop(&self) -> bool {
        matches!(self, Self::Changed { changes, .. } if changes.is_empty())
    }

    /// Creates an event that changes no row.
    pub fn event_only(kind: EventType, data: Value) -> Self {
        Self::EventOnly { kind, data }
    }
}

const DERIVED: [&str; 2] = ["revision", "updated_at"];

fn fields<R: Record>(record: &R) -> Map<String, Value> {
    match serde_json::to_value(record) {
        Ok(Value::Object(map)) => map,
        // A record is a struct of plain fields, which always serializes to an object.
        _ => Map::new(),
    }
}

/// The fields in which two states of one record differ, derived fields and telemetry left out.
pub fn diff<R: Record>(before: &R, after: &R) -> Changes {
    let (old, mut new) = (fields(before), fields(after));
    let mut changes = Changes::new();
    for (name, old) in old {
        let new = new.remove(&name).unwrap_or(Value::Null);
        if new != old && !DERIVED.contains(&name.as_str()) && !R::TELEMETRY.contains(&name.as_str()) {
            changes.insert(name, FieldChange { old, new });
        }
    }
    changes
}

/// Applies one happening. Never refuses: what was decided has happened.
pub fn evolve<R: Record>(record: &mut R, happening: &FieldChanges, at: Timestamp) {
    if let FieldChanges::Changed { changes, .. } = happening {
        let mut map = fields(record);
        for (name, change) in changes {
            map.insert(name.clone(), change.new.clone());
        }
        if let Ok(changed) = serde_json::from_value::<R>(Value::Object(map)) {
            *record = changed;
        }
        record.touch(at);
    }
}

/// Applies happenings in order and returns what the record becomes.
pub fn apply_all<R: Record>(record: &R, happenings: &[FieldChanges], at: Timestamp) -> R {
    let mut after = record.clone();
    for happening in happenings {
        evolve(&mut after, happening, at);
    }
    after
}

/// Builds the event of a new record.
pub fn created_event<R: Record>(record: &R) -> NewEvent {
    NewEvent {
        kind: R::CREATED,
        project_id: record.project().map(str::to_owned),
        subject: record.id().to_owned(),
        data: Value::Object(fields(record)),
    }
}

/// Builds the event of one change, in the shape that streams and replays.
pub fn event<R: Record>(record: &R, happening: &FieldChanges) -> NewEvent {
    let (kind, data) = match happening {
        FieldChanges::EventOnly { kind, data } => (*kind, data.clone()),
        FieldChanges::Changed { changes, reason, detail, event_override } => {
            let mut data = detail.clone();
            let status = changes.get("status");
            if let Some(status) = status {
                data.insert("old".to_owned(), status.old.clone());
                data.insert("new".to_owned(), status.new.clone());
            }
            if let Some(reason) = reason {
                data.insert("reason".to_owned(), json!(reason));
            }
            let others: BTreeMap<_, _> = changes.iter().filter(|(name, _)| *name != "status").collect();
            if status.is_none() || !others.is_empty() {
                data.insert("changes".to_owned(), json!(others));
            }
            let usual = if status.is_some() { record.status_event() } else { R::UPDATED };
            let kind = event_override.unwrap_or(usual);
            (kind, Value::Object(data))
        }
    };
    NewEvent { kind, project_id: record.project().map(str::to_owned), subject: record.id().to_owned(), data }
}

/// Rebuilds a record from its events in order; `None` when its creation is not among them. What is told of
/// its deletion is not looked at: it gives the row as it was last.
pub fn replay<'a, R: Record>(
    events: impl IntoIterator<Item = (EventType, &'a Value, Timestamp)>,
) -> Option<R> {
    let mut record: Option<R> = None;
    for (kind, data, at) in events {
        if kind == R::CREATED {
            record = serde_json::from_value(data.clone()).ok();
        } else if let Some(record) = record.as_mut()
            && let Some(happening) = read_event::<R>(kind, data)
        {
            evolve(record, &happening, at);
        }
    }
    record
}

fn read_event<R: Record>(kind: EventType, data: &Value) -> Option<FieldChanges> {
    let of_status = R::STATUS_CHANGED.contains(&kind);
    if !of_status && kind != R::UPDATED && !R::ALSO_UPDATED.contains(&kind) {
        return None;
    }
    let mut changes: Changes =
        data.get("changes").and_then(|c| serde_json::from_value(c.clone()).ok()).unwrap_or_default();
    if of_status {
        let (old, new) = (data.get("old")?.clone(), data.get("new")?.clone());
        changes.insert("status".to_owned(), FieldChange { old, new });
    }
    Some(FieldChanges::Changed { changes, reason: None, detail: Map::new(), event_override: None })
}
/// Sets a field when a patch names it.
pub(crate) fn set_if_some<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}
