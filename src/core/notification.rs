//! Events that are sent to external channels because a person has to act: decisions, money, providers that are down.

use crate::kernel::event::Event;
use crate::kernel::event_type::EventType;
use crate::provider;
use std::time::Duration;

/// Age after which a notification is of no use.
pub const MAX_AGE: Duration = Duration::from_secs(86_400);
/// The longest pause between two tries to send one.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The types among which such events are.
pub const NOTIFIED_TYPES: [EventType; 8] = [
    EventType::DecisionCreated,
    EventType::DecisionReminder,
    EventType::DecisionUpdated,
    EventType::DecisionTimeout,
    EventType::DecisionResolved,
    EventType::BudgetWarning,
    EventType::BudgetExhausted,
    EventType::ProviderStatusChange,
];

/// Returns whether an event is told outside.
pub fn is_notifiable(event: &Event) -> bool {
    match event.kind {
        // Other changes of a decision need no notification.
        EventType::DecisionUpdated => event.data["changes"]["escalated_at"]["new"].is_string(),
        EventType::ProviderStatusChange => event.data["new"] == provider::Status::Unhealthy.as_str(),
        kind => NOTIFIED_TYPES.contains(&kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::time::Timestamp;
    use serde_json::{Value, json};

    fn event(kind: EventType, data: Value) -> Event {
        Event {
            id: "evt-1".into(),
            kind,
            timestamp: Timestamp::from_millis(0),
            source: "s".into(),
            project_id: None,
            subject: "x".into(),
            actor: "a".into(),
            origin: None,
            data,
            seq: 1,
        }
    }

    #[test]
    fn only_actionable_events_are_notifiable() {
        assert!(is_notifiable(&event(EventType::DecisionCreated, json!({}))));
        assert!(is_notifiable(&event(EventType::BudgetExhausted, json!({}))));
        assert!(!is_notifiable(&event(EventType::BeadCreated, json!({}))));
        assert!(is_notifiable(&event(EventType::ProviderStatusChange, json!({"new": "unhealthy"}))));
        assert!(!is_notifiable(&event(EventType::ProviderStatusChange, json!({"new": "active"}))));
        let escalated =
            json!({"changes": {"escalated_at": {"old": null, "new": "2026-01-01T00:00:00.000Z"}}});
        assert!(is_notifiable(&event(EventType::DecisionUpdated, escalated)));
        assert!(!is_notifiable(&event(EventType::DecisionUpdated, json!({"changes": {}}))));
    }
}
