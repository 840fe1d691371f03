//! Executes the activities of workflows as calls to the actors.
//!
//! Each change stores the id of its command in the same commit. A command that arrives a second time, for example after a
//! crash, is answered but not executed again.

use crate::bridge::BridgeInner;
use crate::bridge::commands::{CommandError, execute};
use crate::bridge::entities::{kind_name, record};
use crate::bridge::keys::CallKeys;
use crate::bridge::log_reader::SEQ_BASE_CURSOR;
use arbiter_actors::{Caller, Error, LogLine};
use arbiter_core::kernel::event::Origin;
use arbiter_core::kernel::ids::{DecisionId, ProviderId};
use arbiter_core::kernel::refusal::Refusal;
use arbiter_store::{IdempotencyKey, KeptAnswer};
use arbiter_temporal::codec::encrypt_with;
use arbiter_temporal::codec::names::Kind;
use arbiter_temporal::codec::payload::{encode_base64, raw};
use arbiter_temporal::control_plane::{
    Command, ControlPlane, DeadlineCheck, Grant, HeartbeatOutcome, ProviderCall, Reply, ReplyFuture,
    Snapshot, Unavailable,
};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The caller's name in events that come from Temporal.
const CALLER: &str = "temporal";
/// The largest event that a client may publish, in bytes of JSON.
const MAX_EVENT_BYTES: usize = 16 * 1024;

/// The control plane of the process that holds the data directory.
pub struct ActorControlPlane {
    inner: Arc<BridgeInner>,
    keys: Arc<CallKeys>,
}

impl ActorControlPlane {
    /// Creates a control plane that encrypts calls with these keys.
    pub fn new(inner: Arc<BridgeInner>, keys: Arc<CallKeys>) -> Self {
        Self { inner, keys }
    }

    fn answer<T: Send + 'static>(
        &self,
        work: impl FnOnce(Arc<BridgeInner>) -> futures_util::future::BoxFuture<'static, Result<T, Error>>,
    ) -> ReplyFuture<T> {
        let work = work(Arc::clone(&self.inner));
        Box::pin(async move { work.await.map_err(|error| Unavailable(error.to_string())) })
    }
}

impl ControlPlane for ActorControlPlane {
    fn apply(&self, command: Command) -> ReplyFuture<Reply> {
        self.answer(|inner| Box::pin(async move { apply(&inner, command).await }))
    }

    fn look_up(&self, kind: Kind, id: String) -> ReplyFuture<Reply> {
        self.answer(|inner| Box::pin(async move { look_up(&inner, kind, &id).await }))
    }

    fn check_deadline(&self, decision_id: String) -> ReplyFuture<DeadlineCheck> {
        self.answer(|inner| {
            Box::pin(async move {
                let id = DecisionId::from_trusted(decision_id);
                let was_pending = inner
                    .handles
                    .store
                    .decision(id.to_string())
                    .await?
                    .is_some_and(|decision| decision.status == arbiter_core::decision::Status::Pending);
                match inner.handles.decisions.expire(&id).await {
                    Ok((_, Some(left))) => Ok(DeadlineCheck::NotYet { remaining_ms: millis(left) }),
                    Ok((_, None)) if was_pending => {
                        Ok(DeadlineCheck::TimedOut(snapshot(&inner, Kind::Decision, id.as_str()).await?))
                    }
                    // Deleted, or decided by a person.
                    Ok((_, None)) | Err(Error::Refused(_)) => {
                        Ok(DeadlineCheck::Already(snapshot(&inner, Kind::Decision, id.as_str()).await?))
                    }
                    Err(error) => Err(error),
                }
            })
        })
    }

    fn heartbeat(&self, provider_id: String) -> ReplyFuture<HeartbeatOutcome> {
        self.answer(|inner| {
            Box::pin(async move {
                let id = ProviderId::from_trusted(provider_id);
                match inner.handles.providers.heartbeat_scheduled(&id).await {
                    Err(Error::Refused(Refusal::NotFound { .. })) => return Ok(HeartbeatOutcome::Gone),
                    // Disabled, or its key cannot be read; the next heartbeat tries again.
                    Ok(_) | Err(Error::Refused(_) | Error::Vault(_)) => {}
                    Err(error) => return Err(error),
                }
                let snapshot = snapshot(&inner, Kind::Provider, id.as_str()).await?;
                Ok(HeartbeatOutcome::Next { snapshot, interval_ms: inner.heartbeat_ms })
            })
        })
    }

    fn publish(&self, project_id: Option<String>, id: String, events: Vec<Value>) -> ReplyFuture<()> {
        self.answer(|inner| {
            Box::pin(async move {
                for (at, event) in events.into_iter().enumerate() {
                    publish_event(&inner, project_id.clone(), &format!("{id}/{at}"), event).await?;
                }
                Ok(())
            })
        })
    }

    fn notify(&self, seq: u64) -> ReplyFuture<()> {
        self.answer(|inner| {
            Box::pin(async move {
                // Events from before a rebuild were delivered by the earlier data directory.
                let base = inner.handles.store.cursor(SEQ_BASE_CURSOR).await?.unwrap_or(0);
                inner.handles.notifier.wait_delivered(seq.saturating_sub(base)).await
            })
        })
    }

    fn dispatch(&self, _project_id: String) -> ReplyFuture<()> {
        self.answer(|inner| {
            Box::pin(async move {
                inner.handles.dispatcher.dispatch_now();
                Ok(())
            })
        })
    }

    fn grant(&self, query_id: String) -> ReplyFuture<Grant> {
        let keys = Arc::clone(&self.keys);
        self.answer(|inner| {
            Box::pin(async move {
                // Taken out of the lock: serializing and encrypting up to 1 MB takes a while.
                let pending = inner.pending.lock().get(&query_id).cloned();
                let Some(call) = pending else {
                    let words = "this call is no longer awaited; it was not made".to_owned();
                    return Ok(Grant::Refused(words));
                };
                let timeout_ms = millis(call.timeout);
                let call =
                    ProviderCall { provider: json!(call.provider), request: json!(call.request), timeout_ms };
                let sealed = keys.newest().and_then(|key| {
                    let payload = raw(&json!(call)).payloads.into_iter().next()?;
                    encrypt_with(key, &payload).ok()
                });
                Ok(match sealed {
                    Some(sealed) => Grant::Given {
                        call: encode_base64(&sealed),
                        timeout_ms,
                        queue: inner.settings.providers_queue.clone(),
                    },
                    None => Grant::Refused("the call cannot be encrypted".to_owned()),
                })
            })
        })
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Reads an entity's current state.
pub(super) async fn snapshot(inner: &BridgeInner, kind: Kind, id: &str) -> Result<Snapshot, Error> {
    let store = &inner.handles.store;
    let base = store.cursor(SEQ_BASE_CURSOR).await?.unwrap_or(0);
    let run_no = store.mirror_run_no(kind_name(kind), id.to_owned()).await?.unwrap_or(1);
    // A record that is read after this number includes everything up to it.
    let (_, seq) = store.event_bounds().await?;
    let record = record(&inner.handles, kind, id).await?;
    // Tells the workflow whether the server has the search attributes; not a part of the entity.
    let attributes = inner.client().is_some_and(|client| client.connected().attributes);
    Ok(Snapshot { seq: seq.saturating_add(base), run_no, record, attributes })
}

async fn look_up(inner: &BridgeInner, kind: Kind, id: &str) -> Result<Reply, Error> {
    let found = snapshot(inner, kind, id).await?;
    Ok(match found.is_gone() {
        true => Reply::Refused(format!("there is no {} {id}: it is made over the API", kind.noun())),
        false => Reply::Done(found),
    })
}

/// Builds the caller of a workflow's command. The command's id is stored in the commit of the change.
fn caller(
    inner: &BridgeInner,
    name: Option<String>,
    route: &str,
    command_id: &str,
) -> (Caller, IdempotencyKey) {
    let key =
        IdempotencyKey { token_id: CALLER.to_owned(), route: route.to_owned(), key: command_id.to_owned() };
    let kept = KeptAnswer {
        request: key.clone(),
        body_digest: String::new(),
        status: 200,
        location: None,
        answer: String::new(),
        created_at: inner.handles.clock.now(),
    };
    let name = name.map_or_else(|| CALLER.to_owned(), |name| format!("{CALLER}:{name}"));
    let mut caller = Caller::named(name);
    caller.origin = Some(Origin { address: CALLER.to_owned(), token_id: None });
    caller.keep = Some(Box::new(kept));
    (caller, key)
}

async fn apply(inner: &BridgeInner, command: Command) -> Result<Reply, Error> {
    let Command { kind, id, wish, value, command_id } = command;
    let route = format!("{} {wish}", kind.workflow_type());
    let decider = value.get("decider_id").and_then(Value::as_str).map(|name| name.chars().take(64).collect());
    let (caller, key) = caller(inner, decider, &route, &command_id);
    if inner.handles.store.kept_answer(key.clone()).await?.is_none() {
        let outcome = execute(inner, &caller, kind, &id, &wish, &value).await;
        match outcome {
            Ok(()) => {}
            Err(CommandError::Invalid(words)) => return Ok(Reply::Refused(words)),
            Err(CommandError::Error(Error::Refused(refusal))) => {
                // An earlier attempt may have been committed just now.
                if inner.handles.store.kept_answer(key).await?.is_none() {
                    return Ok(Reply::Refused(refusal.to_string()));
                }
            }
            Err(CommandError::Error(error)) => return Err(error),
        }
    }
    Ok(Reply::Done(snapshot(inner, kind, &id).await?))
}

/// Publishes a client's event as a log line, regardless of the type it claims.
async fn publish_event(
    inner: &BridgeInner,
    project_id: Option<String>,
    id: &str,
    event: Value,
) -> Result<(), Error> {
    let (caller, key) = caller(inner, None, "event", id);
    if inner.handles.store.kept_answer(key).await?.is_some() {
        return Ok(());
    }
    let size = event.to_string().len();
    let data = match event {
        _ if size > MAX_EVENT_BYTES => {
            json!({"level": "warn", "message": format!("an event of {size} bytes is left out")})
        }
        Value::String(message) => json!({"level": "info", "message": message}),
        event => {
            json!({"level": "info", "message": event["message"].as_str().unwrap_or("an event"), "event": event})
        }
    };
    let subject = project_id.clone().unwrap_or_else(|| CALLER.to_owned());
    let line = LogLine { source: CALLER, project_id, subject, data };
    match inner.handles.bus.log(&caller, line).await {
        Ok(_) => Ok(()),
        Err(Error::Refused(refusal)) => {
            tracing::info!(target: "activity", %refusal, "could not publish an event: it was refused");
            Ok(())
        }
        Err(error) => Err(error),
    }
}
