//! The event log's rows, their hash chain, and filters over them.

use crate::kernel::event_type::EventType;
use crate::kernel::ids::ProjectId;
use crate::kernel::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// An event before the writer has given it a place in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    pub kind: EventType,
    pub project_id: Option<String>,
    pub subject: String,
    pub data: Value,
}

impl NewEvent {
    /// An event about `subject` that belongs to no project.
    pub fn of(kind: EventType, subject: impl Into<String>, data: Value) -> Self {
        Self { kind, project_id: None, subject: subject.into(), data }
    }

    /// An event about `subject` that belongs to a project.
    pub fn in_project(kind: EventType, project: &ProjectId, subject: impl Into<String>, data: Value) -> Self {
        Self { kind, project_id: Some(project.to_string()), subject: subject.into(), data }
    }
}

/// Origin of a request that caused a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub address: String,
    /// The token it came with; none on a server that asks for none.
    pub token_id: Option<String>,
}

/// An event as the log holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// `evt-…`.
    pub id: String,
    /// Its type, such as `bead.created`.
    #[serde(rename = "type")]
    pub kind: EventType,
    pub timestamp: Timestamp,
    pub source: String,
    pub project_id: Option<String>,
    pub subject: String,
    /// Actor that caused it: a user, an agent, or `system`.
    pub actor: String,
    /// Origin of the request; null for changes by the server itself.
    pub origin: Option<Origin>,
    pub data: Value,
    /// Its place in the log; without gaps.
    pub seq: u64,
}

impl Event {
    /// Returns the approximate size of its data, in bytes.
    pub fn data_bytes(&self) -> usize {
        value_bytes(&self.data)
    }

    /// A copy without its data.
    #[must_use]
    pub fn without_data(&self) -> Self {
        Self {
            id: self.id.clone(),
            kind: self.kind,
            timestamp: self.timestamp,
            source: self.source.clone(),
            project_id: self.project_id.clone(),
            subject: self.subject.clone(),
            actor: self.actor.clone(),
            origin: self.origin.clone(),
            data: Value::Null,
            seq: self.seq,
        }
    }
}

fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(value_bytes).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + value_bytes(value)).sum(),
    }
}

/// The hash that the first event of a log follows.
pub const GENESIS: [u8; 32] = [0; 32];

/// The columns of an event that its hash covers, as they are stored. Reading them needs no parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredEvent<'a> {
    pub seq: u64,
    pub id: &'a str,
    pub kind: &'a str,
    pub timestamp: &'a str,
    pub source: &'a str,
    pub project_id: Option<&'a str>,
    pub subject: &'a str,
    pub actor: &'a str,
    /// The JSON of its data.
    pub data: &'a str,
    /// Address of the client, and the token of its request.
    pub origin: Option<(&'a str, Option<&'a str>)>,
}

/// SHA-256 over the hash before and every column of the row, each with its length in front, so that no
/// two rows share a text.
pub fn chain_hash(previous: &[u8; 32], event: &StoredEvent<'_>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(event.seq.to_be_bytes());
    let optional = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), |text| format!("+{text}"));
    let project = optional(event.project_id);
    // Rows without an origin are hashed as they were before there were origins.
    let token = event.origin.and_then(|(_, token)| token);
    let token = optional(token);
    let origin = event.origin.map(|(address, _)| [address, &token]);
    let row = [
        event.id,
        event.kind,
        event.timestamp,
        event.source,
        &project,
        event.subject,
        event.actor,
        event.data,
    ];
    for part in row.into_iter().chain(origin.into_iter().flatten()) {
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().into()
}

/// Filter of a subscriber: every given condition must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only this project's events.
    pub project_id: Option<String>,
    /// Only events of these projects.
    pub within: Option<Vec<String>>,
    /// Only these types; `bead.*` stands for all that begin with `bead.`. Empty: all.
    pub types: Vec<TypePattern>,
    /// Only events about this entity.
    pub subject: Option<String>,
}

/// One event type, or a whole family of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypePattern {
    Exactly(EventType),
    /// Event types with this prefix, dot included. Empty: every type.
    Family(String),
}

/// Invalid event type or prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no event type is called {0:?}; write a type such as bead.created or a family such as bead.*")]
pub struct UnknownType(pub String);

impl TypePattern {
    /// Reads a comma-separated list of types and families.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, UnknownType> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Self::parse).collect()
    }

    fn parse(text: &str) -> Result<Self, UnknownType> {
        let unknown = || UnknownType(text.chars().take(64).collect());
        match text.strip_suffix('*') {
            Some(head) if head.is_empty() || head.ends_with('.') => {
                let known = EventType::ALL.iter().any(|kind| kind.as_str().starts_with(head));
                if known { Ok(Self::Family(head.to_owned())) } else { Err(unknown()) }
            }
            Some(_) => Err(unknown()),
            None => EventType::parse(text).map(Self::Exactly).ok_or_else(unknown),
        }
    }

    /// Returns whether a type is meant.
    pub fn matches(&self, kind: EventType) -> bool {
        match self {
            Self::Exactly(one) => *one == kind,
            Self::Family(head) => kind.as_str().starts_with(head.as_str()),
        }
    }
}

impl EventFilter {
    /// Returns whether the subscriber wants this event.
    pub fn matches(&self, event: &Event) -> bool {
        self.project_id.as_ref().is_none_or(|id| event.project_id.as_ref() == Some(id))
            && self
                .within
                .as_ref()
                .is_none_or(|list| event.project_id.as_ref().is_some_and(|id| list.contains(id)))
            && (self.types.is_empty() || self.types.iter().any(|pattern| pattern.matches(event.kind)))
            && self.subject.as_ref().is_none_or(|id| &event.subject == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventType, project: Option<&str>) -> Event {
        Event {
            id: "evt-1".into(),
            kind,
            timestamp: Timestamp::from_millis(0),
            source: "test".into(),
            project_id: project.map(str::to_owned),
            subject: "bd-1".into(),
            actor: "system".into(),
            origin: None,
            data: Value::Null,
            seq: 1,
        }
    }

    #[test]
    fn event_filter_conditions_are_anded() {
        let filter = EventFilter {
            project_id: Some("p".into()),
            within: None,
            types: TypePattern::parse_list("bead.*, agent.spawned").unwrap(),
            subject: None,
        };
        assert!(filter.matches(&event(EventType::BeadReady, Some("p"))));
        assert!(filter.matches(&event(EventType::AgentSpawned, Some("p"))));
        assert!(!filter.matches(&event(EventType::AgentUpdated, Some("p"))));
        assert!(!filter.matches(&event(EventType::BeadReady, Some("q"))));
        assert!(!filter.matches(&event(EventType::BeadReady, None)));
        let within = EventFilter { within: Some(vec!["p".into(), "q".into()]), ..EventFilter::default() };
        assert!(within.matches(&event(EventType::BeadReady, Some("q"))));
        assert!(!within.matches(&event(EventType::BeadReady, Some("r"))));
        assert!(!within.matches(&event(EventType::BeadReady, None)));
    }

    #[test]
    fn unknown_event_type_is_named_in_the_error() {
        for text in ["bead.nothing", "nothing.*", "bea*", "*.created"] {
            assert_eq!(TypePattern::parse_list(text), Err(UnknownType(text.into())));
        }
        assert_eq!(TypePattern::parse_list("*").unwrap(), [TypePattern::Family(String::new())]);
    }

    #[test]
    fn chain_hash_changes_with_every_column() {
        let base = StoredEvent {
            seq: 1,
            id: "evt-1",
            kind: "bead.ready",
            timestamp: "1970-01-01T00:00:00.000Z",
            source: "test",
            project_id: Some("p"),
            subject: "bd-1",
            actor: "system",
            data: "null",
            origin: None,
        };
        let hash = chain_hash(&GENESIS, &base);
        let mut others = vec![chain_hash(&[1; 32], &base)];
        for change in [
            (|e| e.seq = 2) as fn(&mut StoredEvent<'_>),
            |e| e.id = "evt-1x",
            |e| e.kind = "bead.created",
            |e| e.timestamp = "1970-01-01t00:00:00.000Z",
            |e| e.source = "testx",
            |e| e.project_id = None,
            |e| e.subject = "bd-1x",
            |e| e.actor = "systemx",
            |e| e.data = "{}",
            |e| e.origin = Some(("::1", None)),
            |e| e.origin = Some(("::1", Some(""))),
            |e| e.origin = Some(("::1+", None)),
        ] {
            let mut other = base;
            change(&mut other);
            others.push(chain_hash(&GENESIS, &other));
        }
        assert!(others.iter().all(|other| *other != hash));
    }
}
