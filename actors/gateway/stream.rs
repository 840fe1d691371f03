//! An answer that a client of the gateway gets in pieces.
//!
//! Owns the connection to the provider, the line of the ledger and the provider's good name until the answer
//! ends. Dropped before that, it ends the call: the provider stops, and what came is booked as cancelled.

use crate::call::attempt::{Response, failed};
use crate::call::chat::total;
use crate::call::execute::ServedCall;
use crate::call::failover::BreakerPermit;
use crate::call::in_flight::Cancellation;
use crate::call::ledger_entry::LedgerEntry;
use crate::call::rate_limiter::CallPermit;
use crate::error::{Error, VaultAccessError};
use crate::provider::authorized_client::grace_after;
use crate::provider::call_failure::CallFailure;
use crate::services::Services;
use arbiter_core::kernel::call::{CallOutcome, ErrorKind};
use arbiter_core::kernel::ids::{ProviderId, RunId};
use arbiter_core::kernel::refusal::Refusal;
use arbiter_providers::{AnswerEnd, CallError, ChatChunk, ChatStream, Usage};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::VecDeque;
use std::sync::Arc;

/// An answer that comes in pieces.
pub struct GatewayStream {
    shared: Arc<Services>,
    pub provider_id: ProviderId,
    pub run_id: Option<RunId>,
    waiting: VecDeque<ChatChunk>,
    cancellation: BoxFuture<'static, Refusal>,
    open_answer: Option<OpenAnswer>,
    wants_usage: bool,
    usage: Option<Usage>,
    end: AnswerEnd,
    chars: u64,
}

/// A stream, and its chunks up to the first piece of the answer.
pub(crate) struct BegunStream {
    pub(crate) stream: ChatStream,
    pub(crate) first: VecDeque<ChatChunk>,
}

/// Reservations and records that end with the answer.
struct OpenAnswer {
    stream: ChatStream,
    entry: LedgerEntry,
    breaker_permit: BreakerPermit,
    permit: CallPermit,
    /// Ends when the key that went along has to be forgotten; none: none went along.
    locked: Option<BoxFuture<'static, ()>>,
}

impl GatewayStream {
    pub(crate) fn new(
        shared: &Arc<Services>,
        served: ServedCall<BegunStream>,
        run_id: Option<RunId>,
        cancellation: Cancellation,
        wants_usage: bool,
    ) -> Self {
        let ServedCall { response, entry } = served;
        let Response { response: BegunStream { stream, first }, breaker_permit, permit, is_keyed, lock } =
            response;
        let locked = is_keyed.then(|| grace_after(lock).boxed());
        Self {
            shared: Arc::clone(shared),
            provider_id: entry.provider_id().clone(),
            run_id,
            waiting: first,
            cancellation: async move {
                cancellation.requested().await;
                cancellation.refusal()
            }
            .boxed(),
            open_answer: Some(OpenAnswer { stream, entry, breaker_permit, permit, locked }),
            wants_usage,
            usage: None,
            end: AnswerEnd::Unknown,
            chars: 0,
        }
    }

    /// The next piece, an OpenAI `chat.completion.chunk` as JSON; `None` at the end and after an error.
    ///
    /// # Errors
    /// Cause of the broken answer.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        loop {
            if let Some(chunk) = self.waiting.pop_front() {
                if let Some(data) = self.note(chunk) {
                    return Some(Ok(data));
                }
                continue;
            }
            let open_answer = self.open_answer.as_mut()?;
            let locked = async {
                match &mut open_answer.locked {
                    Some(locked) => locked.await,
                    None => std::future::pending().await,
                }
            };
            let next = tokio::select! {
                next = open_answer.stream.next() => next,
                () = locked => return self.lock(),
                refusal = &mut self.cancellation => {
                    drop(self.close_answer());
                    return Some(Err(refusal.into()));
                }
            };
            match next {
                Some(Ok(chunk)) => self.waiting.push_back(chunk),
                Some(Err(error)) => return self.fail(error),
                None => {
                    self.finish().await;
                    return None;
                }
            }
        }
    }

    /// Records a chunk; returns its data, unless the caller did not request it.
    fn note(&mut self, chunk: ChatChunk) -> Option<Bytes> {
        let before = self.usage.unwrap_or_default();
        self.usage = chunk.usage.map(|usage| usage.at_least(before)).or(self.usage);
        self.end = self.end.followed_by(chunk.end);
        self.chars += chunk.content.as_ref().map_or(0, |text| text.len() as u64);
        let is_wanted = self.wants_usage || !chunk.is_usage_only;
        is_wanted.then_some(chunk.data)
    }

    fn close_answer(&mut self) -> Option<(LedgerEntry, BreakerPermit)> {
        let OpenAnswer { mut entry, breaker_permit, mut permit, .. } = self.open_answer.take()?;
        permit.settle(total(entry.count(self.usage, self.chars)));
        Some((entry, breaker_permit))
    }

    /// Ends the answer; returns when its run and its line of the ledger are stored.
    async fn finish(&mut self) {
        if let Some((entry, breaker_permit)) = self.close_answer() {
            breaker_permit.end(CallOutcome::Answered);
            entry.written_when_answered(self.end, &self.shared).await;
        }
    }

    fn fail(&mut self, error: CallError) -> Option<Result<Bytes, Error>> {
        let (entry, breaker_permit) = self.close_answer()?;
        let told = failed(&error);
        let error = Error::from(CallFailure::Call(error));
        let kind = match &error {
            Error::Call(call) => call.kind,
            _ => ErrorKind::Broken,
        };
        breaker_permit.end(told);
        self.shared.spawn_tracked(entry.failed(kind, error.to_string()));
        Some(Err(error))
    }

    /// The vault was locked: the call is given up, and the key with it.
    fn lock(&mut self) -> Option<Result<Bytes, Error>> {
        let (mut entry, _) = self.close_answer()?;
        entry.set_error("the vault was locked");
        Some(Err(VaultAccessError::Locked.into()))
    }
}

impl Drop for GatewayStream {
    fn drop(&mut self) {
        // Its line says cancelled, and what it cost so far.
        drop(self.close_answer());
    }
}
