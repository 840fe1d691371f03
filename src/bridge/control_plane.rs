//! What workflows wish for, brought to the actors: the way back.
//!
//! Everything that changes something carries the id of its command into the same commit, so that a command that comes a
//! second time, after a crash in the wrong moment, is answered and not done again.

use crate::bridge::Inner;
use crate::bridge::commands::{Wrong, fulfil};
use crate::bridge::entities::{record, word};
use crate::bridge::keys::CallKeys;
use crate::bridge::log_reader::BASE;
use arbiter_actors::{Caller, Fault, LogLine};
use arbiter_core::kernel::event::Origin;
use arbiter_core::kernel::ids::{DecisionId, ProviderId};
use arbiter_core::kernel::refusal::Refusal;
use arbiter_store::{IdempotencyKey, KeptAnswer};
use arbiter_temporal::codec::names::Kind;
use arbiter_temporal::codec::payload::{encoded, raw};
use arbiter_temporal::codec::seal_with;
use arbiter_temporal::control_plane::{
    Answer, Beaten, Command, Due, Grant, Port, ProviderCall, Reply, Snapshot, Unavailable,
};
use serde_json::{Value, json};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Whose name events show that came from there.
const CALLER: &str = "temporal";
/// The largest event that somebody publishes, in bytes of JSON.
const MAX_SAID: usize = 16 * 1024;

/// The port of the process that holds the data directory.
pub struct ControlPort {
    inner: Arc<Inner>,
    keys: Arc<CallKeys>,
}

impl ControlPort {
    /// A port that encrypts calls with these keys.
    pub fn new(inner: Arc<Inner>, keys: Arc<CallKeys>) -> Self {
        Self { inner, keys }
    }

    fn answer<T: Send + 'static>(
        &self,
        work: impl FnOnce(Arc<Inner>) -> futures_util::future::BoxFuture<'static, Result<T, Fault>>,
    ) -> Answer<T> {
        let work = work(Arc::clone(&self.inner));
        Box::pin(async move { work.await.map_err(|fault| Unavailable(fault.to_string())) })
    }
}

impl Port for ControlPort {
    fn apply(&self, command: Command) -> Answer<Reply> {
        self.answer(|inner| Box::pin(async move { apply(&inner, command).await }))
    }

    fn look(&self, kind: Kind, id: String) -> Answer<Reply> {
        self.answer(|inner| Box::pin(async move { look(&inner, kind, &id).await }))
    }

    fn due(&self, decision_id: String) -> Answer<Due> {
        self.answer(|inner| {
            Box::pin(async move {
                let id = DecisionId::known(decision_id);
                let was_pending = inner
                    .handles
                    .store
                    .decision(id.to_string())
                    .await?
                    .is_some_and(|decision| decision.status == arbiter_core::decision::Status::Pending);
                match inner.handles.decisions.expire(&id).await {
                    Ok((_, Some(left))) => Ok(Due::NotYet { remaining_ms: millis(left) }),
                    Ok((_, None)) if was_pending => {
                        Ok(Due::TimedOut(snapshot(&inner, Kind::Decision, id.as_str()).await?))
                    }
                    // Deleted, or decided otherwise.
                    Ok((_, None)) | Err(Fault::Refused(_)) => {
                        Ok(Due::Already(snapshot(&inner, Kind::Decision, id.as_str()).await?))
                    }
                    Err(fault) => Err(fault),
                }
            })
        })
    }

    fn beat(&self, provider_id: String) -> Answer<Beaten> {
        self.answer(|inner| {
            Box::pin(async move {
                let id = ProviderId::known(provider_id);
                match inner.handles.providers.heartbeat_scheduled(&id).await {
                    Err(Fault::Refused(Refusal::NotFound { .. })) => return Ok(Beaten::Gone),
                    // Disabled, or its key cannot be read: there will be another time.
                    Ok(_) | Err(Fault::Refused(_) | Fault::Vault(_)) => {}
                    Err(fault) => return Err(fault),
                }
                let snapshot = snapshot(&inner, Kind::Provider, id.as_str()).await?;
                Ok(Beaten::Next { snapshot, interval_ms: inner.heartbeat_ms })
            })
        })
    }

    fn publish(&self, project_id: Option<String>, id: String, events: Vec<Value>) -> Answer<()> {
        self.answer(|inner| {
            Box::pin(async move {
                for (at, event) in events.into_iter().enumerate() {
                    say(&inner, project_id.clone(), &format!("{id}/{at}"), event).await?;
                }
                Ok(())
            })
        })
    }

    fn notify(&self, seq: u64) -> Answer<()> {
        self.answer(|inner| {
            Box::pin(async move {
                // What a rebuilt directory did not write itself was told by the one before.
                let base = inner.handles.store.cursor(BASE).await?.unwrap_or(0);
                inner.handles.notifier.told(seq.saturating_sub(base)).await
            })
        })
    }

    fn dispatch(&self, _project_id: String) -> Answer<()> {
        self.answer(|inner| {
            Box::pin(async move {
                inner.handles.dispatcher.look();
                Ok(())
            })
        })
    }

    fn grant(&self, query_id: String) -> Answer<Grant> {
        let keys = Arc::clone(&self.keys);
        self.answer(|inner| {
            Box::pin(async move {
                let pending = inner.pending.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(call) = pending.get(&query_id) else {
                    let words = "nobody waits for this call any more; it was not made".to_owned();
                    return Ok(Grant::Refused(words));
                };
                let timeout_ms = millis(call.timeout);
                let call =
                    ProviderCall { provider: json!(call.provider), request: json!(call.request), timeout_ms };
                let sealed = keys.newest().and_then(|key| {
                    let payload = raw(&json!(call)).payloads.into_iter().next()?;
                    seal_with(key, &payload).ok()
                });
                Ok(match sealed {
                    Some(sealed) => Grant::Given {
                        call: encoded(&sealed),
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

/// How an entity stands now.
pub(super) async fn snapshot(inner: &Inner, kind: Kind, id: &str) -> Result<Snapshot, Fault> {
    let store = &inner.handles.store;
    let base = store.cursor(BASE).await?.unwrap_or(0);
    let run_no = store.mirror_run_no(word(kind), id.to_owned()).await?.unwrap_or(1);
    // What is read after this number holds at least everything up to it.
    let (_, seq) = store.event_bounds().await?;
    let record = record(&inner.handles, kind, id).await?;
    // The mirror says whether the server knows our search attributes, which changes nothing about the entity.
    let attributes = inner.delivery().is_some_and(|delivery| delivery.connected().attributes);
    Ok(Snapshot { seq: seq.saturating_add(base), run_no, record, attributes })
}

async fn look(inner: &Inner, kind: Kind, id: &str) -> Result<Reply, Fault> {
    let found = snapshot(inner, kind, id).await?;
    Ok(match found.is_gone() {
        true => Reply::Refused(format!("there is no {} {id}: it is made over the API", kind.noun())),
        false => Reply::Done(found),
    })
}

/// Whoever asks through a workflow; the command's id goes into the commit of what it changes.
fn caller(inner: &Inner, name: Option<String>, route: &str, command_id: &str) -> (Caller, IdempotencyKey) {
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

async fn apply(inner: &Inner, command: Command) -> Result<Reply, Fault> {
    let Command { kind, id, wish, value, command_id } = command;
    let route = format!("{} {wish}", kind.workflow_type());
    let decider = value.get("decider_id").and_then(Value::as_str).map(|name| name.chars().take(64).collect());
    let (caller, key) = caller(inner, decider, &route, &command_id);
    if inner.handles.store.kept_answer(key.clone()).await?.is_none() {
        let outcome = fulfil(inner, &caller, kind, &id, &wish, &value).await;
        match outcome {
            Ok(()) => {}
            // It may have been done in the moment in which it came a second time.
            Err(Wrong::Words(words)) => return Ok(Reply::Refused(words)),
            Err(Wrong::Fault(Fault::Refused(refusal))) => {
                if inner.handles.store.kept_answer(key).await?.is_none() {
                    return Ok(Reply::Refused(refusal.to_string()));
                }
            }
            Err(Wrong::Fault(fault)) => return Err(fault),
        }
    }
    Ok(Reply::Done(snapshot(inner, kind, &id).await?))
}

/// Publishes what somebody says; whatever type it claims, it is a line of the log.
async fn say(inner: &Inner, project_id: Option<String>, id: &str, event: Value) -> Result<(), Fault> {
    let (caller, key) = caller(inner, None, "event", id);
    if inner.handles.store.kept_answer(key).await?.is_some() {
        return Ok(());
    }
    let size = event.to_string().len();
    let data = match event {
        _ if size > MAX_SAID => {
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
        Err(Fault::Refused(refusal)) => {
            tracing::info!(target: "activity", %refusal, "an event was refused");
            Ok(())
        }
        Err(fault) => Err(fault),
    }
}
