//! A port over entities in memory, that fails or is slow to decide when a test wants it.

use arbiter_temporal::codec::encrypt_with;
use arbiter_temporal::codec::names::{Kind, PROVIDERS_QUEUE};
use arbiter_temporal::codec::payload;
use arbiter_temporal::control_plane::{
    CallOutcome, Command, ControlPlane, DeadlineCheck, Grant, HeartbeatOutcome, ProviderCall, ProviderCaller,
    Reply, ReplyFuture, Snapshot, Unavailable,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

/// The state of the fake control plane.
#[derive(Default)]
pub struct State {
    /// The records of entities.
    pub records: BTreeMap<(Kind, String), Value>,
    /// The next position of an event log that is not stored.
    pub seq: u64,
    /// Every command, as often as it was asked for.
    pub asked: Vec<Command>,
    /// Outcomes of commands by id.
    done: BTreeMap<String, Reply>,
    /// How many of the next requests fail.
    pub failures: usize,
    /// Answers to the next queries for a decision's remaining time; after them it has timed out.
    pub deadline_checks: VecDeque<DeadlineCheck>,
    /// How often was asked whether a decision's time has come.
    pub deadline_check_count: usize,
    /// How often a provider was asked how it is.
    pub heartbeats: u64,
    /// Received messages, each with its id.
    pub published: Vec<(Option<String>, String, Vec<Value>)>,
    /// How often the receiver of notices was to be told, and how many of these it misses.
    pub notification_count: u64,
    pub failing_notifications: u64,
    /// How often was looked for work.
    pub dispatches: u64,
}

impl State {
    /// How an entity stands.
    pub fn snapshot(&self, kind: Kind, id: &str) -> Snapshot {
        let record = self.records.get(&(kind, id.to_owned())).cloned().unwrap_or_default();
        Snapshot { seq: self.seq, run_no: 1, record, attributes: true }
    }

    fn fails(&mut self) -> Result<(), Unavailable> {
        if self.failures == 0 {
            return Ok(());
        }
        self.failures -= 1;
        Err(Unavailable("the store is busy".to_owned()))
    }

    fn apply(&mut self, command: &Command) -> Reply {
        if let Some(reply) = self.done.get(&command.command_id) {
            return reply.clone();
        }
        let change = |field: &str, name: &str| {
            payload::text(&command.value, name).map(|text| (field.to_owned(), text))
        };
        let changes = match command.wish.as_str() {
            "statusChange" | "updateStatus" => change("status", "status").map(|one| vec![one]),
            "assignToAgent" => change("assigned_to", "agent_id").map(|one| vec![one]),
            "assignBead" => change("current_bead", "bead_id").map(|one| vec![one]),
            "complete" => {
                change("summary", "summary").map(|one| vec![one, ("status".into(), "closed".into())])
            }
            "resolve" => {
                change("decision", "decision").map(|one| vec![one, ("status".into(), "resolved".into())])
            }
            "shutdown" => Ok(vec![("status".into(), "shutdown".into())]),
            other => Err(format!("there is no command {other}")),
        };
        let record = self.records.get_mut(&(command.kind, command.id.clone()));
        let reply = match (changes, record) {
            (Err(words), _) => Reply::Refused(words),
            (Ok(_), None) => Reply::Refused(format!("there is no {} {}", command.kind.noun(), command.id)),
            (Ok(changes), Some(_)) if changes.iter().any(|(_, to)| to == "blocked") => {
                Reply::Refused("a reason is missing".to_owned())
            }
            (Ok(changes), Some(record)) => {
                changes.into_iter().for_each(|(field, to)| record[field] = json!(to));
                self.seq += 1;
                Reply::Done(self.snapshot(command.kind, &command.id))
            }
        };
        self.done.insert(command.command_id.clone(), reply.clone());
        reply
    }
}

/// The fake control plane.
#[derive(Default)]
pub struct FakeControlPlane(Mutex<State>);

impl FakeControlPlane {
    /// Returns the state, to be read and changed.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Adds an entity, or changes it.
    pub fn put(&self, kind: Kind, id: &str, record: Value) -> Snapshot {
        let mut state = self.state();
        state.seq += 1;
        state.records.insert((kind, id.to_owned()), record);
        state.snapshot(kind, id)
    }

    fn answer<T: Send + 'static>(&self, work: impl FnOnce(&mut State) -> T) -> ReplyFuture<T> {
        let mut state = self.state();
        let answer = state.fails().map(|()| work(&mut state));
        Box::pin(async { answer })
    }
}

impl ControlPlane for FakeControlPlane {
    fn apply(&self, command: Command) -> ReplyFuture<Reply> {
        self.state().asked.push(command.clone());
        self.answer(|state| state.apply(&command))
    }

    fn look_up(&self, kind: Kind, id: String) -> ReplyFuture<Reply> {
        self.answer(|state| match state.snapshot(kind, &id) {
            found if found.is_gone() => Reply::Refused(format!("there is no {} {id}", kind.noun())),
            found => Reply::Done(found),
        })
    }

    fn check_deadline(&self, decision_id: String) -> ReplyFuture<DeadlineCheck> {
        self.answer(|state| {
            state.deadline_check_count += 1;
            state.deadline_checks.pop_front().unwrap_or_else(|| {
                state.seq += 1;
                let record = state.records.entry((Kind::Decision, decision_id.clone())).or_default();
                record["status"] = json!("timeout");
                DeadlineCheck::TimedOut(state.snapshot(Kind::Decision, &decision_id))
            })
        })
    }

    fn heartbeat(&self, provider_id: String) -> ReplyFuture<HeartbeatOutcome> {
        self.answer(|state| {
            state.heartbeats += 1;
            state.seq += 1;
            match state.snapshot(Kind::Provider, &provider_id) {
                gone if gone.is_gone() => HeartbeatOutcome::Gone,
                snapshot => HeartbeatOutcome::Next { snapshot, interval_ms: 1 },
            }
        })
    }

    fn publish(&self, project_id: Option<String>, id: String, events: Vec<Value>) -> ReplyFuture<()> {
        self.answer(|state| state.published.push((project_id, id, events)))
    }

    fn notify(&self, seq: u64) -> ReplyFuture<()> {
        let mut state = self.state();
        state.notification_count += 1;
        let answer = match state.notification_count > state.failing_notifications {
            true => Ok(()),
            false => Err(Unavailable(format!("the receiver of {seq} is asleep"))),
        };
        Box::pin(async { answer })
    }

    fn dispatch(&self, _: String) -> ReplyFuture<()> {
        self.answer(|state| state.dispatches += 1)
    }

    fn grant(&self, query_id: String) -> ReplyFuture<Grant> {
        let call = json!({"provider": {"id": "p"}, "request": {"query": query_id}, "timeout_ms": 5_000});
        let payload = payload::raw(&call).payloads.remove(0);
        let call = payload::encode_base64(&encrypt_with(&super::harness::codec_key(), &payload).unwrap());
        self.answer(|_| Grant::Given { call, timeout_ms: 5_000, queue: PROVIDERS_QUEUE.to_owned() })
    }
}

impl ProviderCaller for FakeControlPlane {
    fn call(&self, call: ProviderCall) -> ReplyFuture<CallOutcome> {
        self.answer(|_| CallOutcome::Answered(json!({"echo": call.request})))
    }
}
