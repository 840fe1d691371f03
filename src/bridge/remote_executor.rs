//! Chats with providers, handed to whichever worker is free.

use crate::bridge::Inner;
use arbiter_actors::{Carried, CarriedCall, Carrier, Freight};
use arbiter_core::kernel::lease::hex;
use arbiter_providers::CallError;
use arbiter_temporal::client::{Delivery, DeliveryError};
use arbiter_temporal::codec::names::Kind;
use arbiter_temporal::control_plane::{CallEnd, WAY};
use arbiter_temporal::workflows::QueryEnd;
use futures_util::future::BoxFuture;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// How long the start of a workflow may take before the call is made directly.
const START: Duration = Duration::from_secs(2);

/// Carries chats through workflows.
pub struct TemporalCarrier {
    inner: Arc<Inner>,
    delivery: Delivery,
}

impl TemporalCarrier {
    /// A carrier over this connection.
    pub fn new(inner: Arc<Inner>, delivery: Delivery) -> Self {
        Self { inner, delivery }
    }

    async fn carry(&self, call: CarriedCall) -> Carried {
        let mut bytes = [0_u8; 16];
        if getrandom::fill(&mut bytes).is_err() {
            return Carried::NotTaken;
        }
        let id = hex(&bytes);
        let place = Kind::Query.workflow_id(&id);
        let limit = call.timeout + WAY;
        let mut waiting = Waiting::new(self, &id, call);
        if let Err(error) = self.delivery.start_query(&id, START).await {
            tracing::warn!(target: "integration", %error, "a call does not go through Temporal; it is made directly");
            // The grant goes with this: should the start have arrived after all, nobody makes the call.
            return Carried::NotTaken;
        }
        self.inner.counters.calls.fetch_add(1, Ordering::Relaxed);
        let end = tokio::time::timeout(limit, self.end(&id)).await;
        waiting.has_ended = matches!(end, Ok(Ok(_)));
        let outcome = match end {
            Ok(Ok(QueryEnd::Called(CallEnd::Answered(answer)))) => {
                serde_json::from_value(answer).map_err(|_| CallError::lost(&place))
            }
            Ok(Ok(QueryEnd::Called(CallEnd::Failed(error)))) => {
                Err(serde_json::from_value(error).unwrap_or_else(|_| CallError::lost(&place)))
            }
            // It was not made, and will not be.
            Ok(Ok(QueryEnd::NotGranted(why))) => {
                tracing::warn!(target: "integration", why, "a call was not granted; it is made directly");
                return Carried::NotTaken;
            }
            Ok(Ok(QueryEnd::Lost(why))) => {
                tracing::warn!(target: "integration", workflow = place, why, "no worker brought a call to its end");
                Err(CallError::lost(&place))
            }
            Ok(Err(_)) | Err(_) => Err(CallError::lost(&place)),
        };
        Carried::Made(outcome, place)
    }

    /// Waits for the end, through outages of the server.
    async fn end(&self, id: &str) -> Result<QueryEnd, DeliveryError> {
        loop {
            match self.delivery.query_end(id).await {
                Err(DeliveryError::Unavailable(why)) => {
                    tracing::debug!(target: "integration", why, "a call is waited for");
                    tokio::time::sleep(START).await;
                }
                other => return other,
            }
        }
    }
}

impl Carrier for TemporalCarrier {
    fn carry(&self, call: CarriedCall) -> BoxFuture<'_, Carried> {
        Box::pin(self.carry(call))
    }

    fn freight(&self) -> Freight {
        if self.inner.settings.run_beads { Freight::Runs } else { Freight::Console }
    }
}

/// A call that waits for its grant and its end; whoever stops waiting takes the grant away and calls it off.
struct Waiting<'a> {
    carrier: &'a TemporalCarrier,
    id: &'a str,
    has_ended: bool,
}

impl<'a> Waiting<'a> {
    fn new(carrier: &'a TemporalCarrier, id: &'a str, call: CarriedCall) -> Self {
        let pending = &carrier.inner.pending;
        pending.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), call);
        Self { carrier, id, has_ended: false }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.carrier.inner.pending.lock().unwrap_or_else(PoisonError::into_inner).remove(self.id);
        if self.has_ended {
            return;
        }
        // At the end of the process there is nobody left to say it: then the call's own limits end it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (delivery, id) = (self.carrier.delivery.clone(), self.id.to_owned());
        runtime.spawn(async move {
            if let Err(error) = delivery.abandon(&id).await {
                tracing::debug!(target: "integration", %error, "a call that nobody waits for was not called off");
            }
        });
    }
}
