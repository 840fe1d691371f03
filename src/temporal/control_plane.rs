//! The control plane: the operations that workflows request of the server, as traits. The actors decide.

use crate::codec::names::Kind;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// The time beyond a provider call's own limit for its way to a worker and back.
pub const TRANSIT_ALLOWANCE: Duration = Duration::from_secs(30);

/// The state of an entity at a position in the event log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The event up to which all changes are included; later ones may be, too.
    pub seq: u64,
    /// The run number of the entity's workflow; a reopened bead or a restarted agent begins another run.
    #[serde(default)]
    pub run_no: u64,
    /// The entity's record; null when the entity is gone.
    pub record: Value,
    /// True when the server knows our search attributes.
    #[serde(default)]
    pub attributes: bool,
}

impl Snapshot {
    /// Returns the status in the record.
    pub fn status(&self) -> Option<&str> {
        self.text("status")
    }

    /// Returns a text field of the record.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.record.get(field).and_then(Value::as_str)
    }

    /// Returns the entity's project; for a project's own workflows, the project itself.
    pub fn project(&self, kind: Kind) -> Option<&str> {
        self.text(if matches!(kind, Kind::Events | Kind::Dispatcher) { "id" } else { "project_id" })
    }

    /// Returns whether the entity is deleted.
    pub fn is_gone(&self) -> bool {
        self.record.is_null()
    }
}

/// A command for an entity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// The kind of entity.
    pub kind: Kind,
    /// The entity's id.
    pub id: String,
    /// The name of the signal or update.
    pub wish: String,
    /// Its argument.
    pub value: Value,
    /// The unique id of the command; a repeated command is applied once.
    pub command_id: String,
}

/// The answer of the entity's actor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Done, with the entity's state afterwards.
    Done(Snapshot),
    /// Refused, with the reason.
    Refused(String),
}

/// The result of a check of a decision's deadline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadlineCheck {
    /// The decision has timed out.
    TimedOut(Snapshot),
    /// The deadline has not passed.
    NotYet {
        /// The remaining time, in milliseconds.
        remaining_ms: u64,
    },
    /// The decision was already ended.
    Already(Snapshot),
}

/// The result of a provider heartbeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeartbeatOutcome {
    /// The provider's state and the time of the next heartbeat.
    Next {
        /// Its record.
        snapshot: Snapshot,
        /// The time until the next heartbeat, in milliseconds.
        interval_ms: u64,
    },
    /// The provider is deleted.
    Gone,
}

/// A permission of the control process to call a provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// The call, encrypted with the key of the providers' queue: a payload in base64.
    Given {
        /// The payload, as protobuf in base64.
        call: String,
        /// How long the call may take, in milliseconds.
        timeout_ms: u64,
        /// The queue of the workers that make calls.
        queue: String,
    },
    /// Refused: the caller no longer waits for this call.
    Refused(String),
}

/// A reason why an operation could not be done now; it is tried again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// A future with the answer of the control plane.
pub type ReplyFuture<T> = BoxFuture<'static, Result<T, Unavailable>>;

/// The server as workflows see it; the control process implements it over the actors' handles.
pub trait ControlPlane: Send + Sync + 'static {
    /// Executes a command, once.
    fn apply(&self, command: Command) -> ReplyFuture<Reply>;
    /// Reads an entity's state; refuses when there is none.
    fn look_up(&self, kind: Kind, id: String) -> ReplyFuture<Reply>;
    /// Ends a decision whose deadline has passed.
    fn check_deadline(&self, decision_id: String) -> ReplyFuture<DeadlineCheck>;
    /// Sends a heartbeat to a provider.
    fn heartbeat(&self, provider_id: String) -> ReplyFuture<HeartbeatOutcome>;
    /// Publishes a client's events; `id` makes the request idempotent.
    fn publish(&self, project_id: Option<String>, id: String, events: Vec<Value>) -> ReplyFuture<()>;
    /// Waits until the webhook has received every notice up to this event.
    fn notify(&self, seq: u64) -> ReplyFuture<()>;
    /// Starts a dispatch of ready work.
    fn dispatch(&self, project_id: String) -> ReplyFuture<()>;
    /// Grants a provider call; from then on its key may be used for it.
    fn grant(&self, query_id: String) -> ReplyFuture<Grant>;
}

/// A provider call on its way to a worker. It names keys but contains none.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProviderCall {
    /// The provider's record: endpoint, protocol and key id.
    pub provider: Value,
    /// The chat request.
    pub request: Value,
    /// The time limit, in milliseconds.
    pub timeout_ms: u64,
}

/// How a call to a provider ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallOutcome {
    /// The provider's answer.
    Answered(Value),
    /// The provider's error, with its kind and message.
    Failed(Value),
}

/// Makes calls to providers.
pub trait ProviderCaller: Send + Sync + 'static {
    /// Makes a call. An `Err` is retried on another worker; an error of the provider is an `Ok` outcome.
    fn call(&self, call: ProviderCall) -> ReplyFuture<CallOutcome>;
}
