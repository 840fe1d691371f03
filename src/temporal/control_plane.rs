//! What workflows want of the server, as a trait: the way to the actors, who alone decide.

use crate::codec::names::Kind;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// How much longer than a call to a provider its way to a worker and back may take; after that nobody waits for it.
pub const TRANSIT_ALLOWANCE: Duration = Duration::from_secs(30);

/// The state of an entity at some moment of the event log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Everything up to this event is in it, perhaps more.
    pub seq: u64,
    /// Which life of the entity's workflow it belongs to; a reopened bead and a restarted agent begin another.
    #[serde(default)]
    pub run_no: u64,
    /// The entity's record; null when the entity is gone.
    pub record: Value,
    /// Whether the server knows our search attributes.
    #[serde(default)]
    pub attributes: bool,
}

impl Snapshot {
    /// The status word in the record.
    pub fn status(&self) -> Option<&str> {
        self.text("status")
    }

    /// A text of the record.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.record.get(field).and_then(Value::as_str)
    }

    /// The project it belongs to; of a project's own workflows that is the project.
    pub fn project(&self, kind: Kind) -> Option<&str> {
        self.text(if matches!(kind, Kind::Events | Kind::Dispatcher) { "id" } else { "project_id" })
    }

    /// Whether the entity is gone.
    pub fn is_gone(&self) -> bool {
        self.record.is_null()
    }
}

/// What somebody wants of an entity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// What kind of entity.
    pub kind: Kind,
    /// Which.
    pub id: String,
    /// What is wanted: the name of the signal or update.
    pub wish: String,
    /// With what.
    pub value: Value,
    /// What tells this command from every other; the same command twice is applied once.
    pub command_id: String,
}

/// The answer of the entity's actor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It was done, and this is how the entity stands.
    Done(Snapshot),
    /// It was refused, in these words.
    Refused(String),
}

/// What becomes of a decision whose time seems to have come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadlineCheck {
    /// It has timed out.
    TimedOut(Snapshot),
    /// Its time has not come.
    NotYet {
        /// How long it has still, in milliseconds.
        remaining_ms: u64,
    },
    /// It was decided otherwise.
    Already(Snapshot),
}

/// What a heartbeat found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeartbeatOutcome {
    /// The provider stands so, and wants the next beat then.
    Next {
        /// Its record.
        snapshot: Snapshot,
        /// Until the next beat, in milliseconds.
        interval_ms: u64,
    },
    /// There is no such provider any more.
    Gone,
}

/// A permission to call a provider, as the control process gives it to whoever makes the call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// The call, encrypted with the key of the providers' queue: a payload in base64.
    Given {
        /// The payload, as protobuf in base64.
        call: String,
        /// How long the call may take, in milliseconds.
        timeout_ms: u64,
        /// The queue of those who make calls.
        queue: String,
    },
    /// Nobody in the control process waits for this call.
    Refused(String),
}

/// A reason why something could not be done now; it is tried again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// What a port answers with, some time.
pub type ReplyFuture<T> = BoxFuture<'static, Result<T, Unavailable>>;

/// The server as workflows see it: the control process implements it, over the handles of the actors.
pub trait ControlPlane: Send + Sync + 'static {
    /// Does what is wanted, once.
    fn apply(&self, command: Command) -> ReplyFuture<Reply>;
    /// How an entity stands; a refusal when there is none.
    fn look_up(&self, kind: Kind, id: String) -> ReplyFuture<Reply>;
    /// Ends a decision whose time has come.
    fn check_deadline(&self, decision_id: String) -> ReplyFuture<DeadlineCheck>;
    /// Asks a provider how it is.
    fn heartbeat(&self, provider_id: String) -> ReplyFuture<HeartbeatOutcome>;
    /// Publishes what somebody says; `id` tells it from every other.
    fn publish(&self, project_id: Option<String>, id: String, events: Vec<Value>) -> ReplyFuture<()>;
    /// Tells whoever is to be told outside of everything up to this event; not before that has arrived.
    fn notify(&self, seq: u64) -> ReplyFuture<()>;
    /// Looks for work that can be handed out.
    fn dispatch(&self, project_id: String) -> ReplyFuture<()>;
    /// Grants a call to a provider: from here on its key may be used for it.
    fn grant(&self, query_id: String) -> ReplyFuture<Grant>;
}

/// A call to a provider, as it travels to whoever makes it. It names keys and holds none.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProviderCall {
    /// The provider's record: where it is, what it speaks, which key it wants.
    pub provider: Value,
    /// What is asked.
    pub request: Value,
    /// How long it may take, in milliseconds.
    pub timeout_ms: u64,
}

/// How a call to a provider ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallOutcome {
    /// With this answer.
    Answered(Value),
    /// With an error: its kind, its words, and what else is known of it.
    Failed(Value),
}

/// Whoever makes calls to providers.
pub trait ProviderCaller: Send + Sync + 'static {
    /// Makes a call. An error is tried again elsewhere; how the provider answered is none.
    fn call(&self, call: ProviderCall) -> ReplyFuture<CallOutcome>;
}
