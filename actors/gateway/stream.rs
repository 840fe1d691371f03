//! An answer that a client of the gateway gets in pieces.
//!
//! Owns the connection to the provider, the line of the ledger and the provider's good name until the answer
//! ends. Dropped before that, it ends the call: the provider stops, and what came is booked as cancelled.

use crate::call::attempt::{Given, failed};
use crate::call::chat::total;
use crate::call::execute::Served;
use crate::call::failover::Leave;
use crate::call::in_flight::Ending;
use crate::call::ledger_entry::Account;
use crate::call::rate_limiter::Place;
use crate::context::Shared;
use crate::error::{Fault, VaultFault};
use crate::provider::authorized_client::{CallFailure, grace_after};
use arbiter_core::kernel::call::{CallOutcome, ErrorKind};
use arbiter_core::kernel::ids::{ProviderId, RunId};
use arbiter_core::kernel::refusal::Refusal;
use arbiter_providers::{CallError, ChatStream, Piece, Usage};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::sync::Arc;

/// An answer that comes in pieces.
pub struct GatewayStream {
    shared: Arc<Shared>,
    /// Who gives it.
    pub provider_id: ProviderId,
    /// The run that it is.
    pub run_id: Option<RunId>,
    first: Option<Piece>,
    /// Somebody may want it to end.
    ending: BoxFuture<'static, Refusal>,
    underway: Option<Underway>,
    /// Whether the client wants to be told what was used.
    wants_usage: bool,
    usage: Option<Usage>,
    chars: u64,
}

/// What ends with the answer.
struct Underway {
    stream: ChatStream,
    account: Account,
    leave: Leave,
    place: Place,
    /// Ends when the key that went along has to be forgotten; none: none went along.
    locked: Option<BoxFuture<'static, ()>>,
}

impl GatewayStream {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        served: Served<(ChatStream, Option<Piece>)>,
        run_id: Option<RunId>,
        ending: Ending,
        wants_usage: bool,
    ) -> Self {
        let Served { given, account } = served;
        let Given { given: (stream, first), leave, place, is_keyed, lock } = given;
        let locked = is_keyed.then(|| grace_after(lock).boxed());
        Self {
            shared: Arc::clone(shared),
            provider_id: account.provider_id().clone(),
            run_id,
            first,
            ending: async move {
                ending.wanted().await;
                ending.refusal()
            }
            .boxed(),
            underway: Some(Underway { stream, account, leave, place, locked }),
            wants_usage,
            usage: None,
            chars: 0,
        }
    }

    /// The next piece, an OpenAI `chat.completion.chunk` as JSON; `None` at the end and after an error.
    ///
    /// # Errors
    /// What broke the answer off.
    pub async fn next(&mut self) -> Option<Result<Bytes, Fault>> {
        loop {
            if let Some(piece) = self.first.take() {
                if let Some(data) = self.note(piece) {
                    return Some(Ok(data));
                }
                continue;
            }
            let underway = self.underway.as_mut()?;
            let locked = async {
                match &mut underway.locked {
                    Some(locked) => locked.await,
                    None => std::future::pending().await,
                }
            };
            let next = tokio::select! {
                next = underway.stream.next() => next,
                () = locked => return self.lock(),
                refusal = &mut self.ending => {
                    drop(self.counted());
                    return Some(Err(refusal.into()));
                }
            };
            match next {
                Some(Ok(piece)) => self.first = Some(piece),
                Some(Err(error)) => return self.fail(error),
                None => {
                    self.finish();
                    return None;
                }
            }
        }
    }

    /// Takes note of what a piece says; its data, unless nobody asked for it.
    fn note(&mut self, piece: Piece) -> Option<Bytes> {
        self.usage = piece.usage.or(self.usage.take());
        self.chars += piece.content.as_ref().map_or(0, |text| text.len() as u64);
        let is_wanted = self.wants_usage || !piece.is_account;
        is_wanted.then_some(piece.data)
    }

    fn counted(&mut self) -> Option<(Account, Leave)> {
        let Underway { mut account, leave, mut place, .. } = self.underway.take()?;
        place.settle(total(account.count(self.usage, self.chars)));
        Some((account, leave))
    }

    fn finish(&mut self) {
        if let Some((account, leave)) = self.counted() {
            leave.end(CallOutcome::Answered);
            self.shared.later(account.answered());
        }
    }

    fn fail(&mut self, error: CallError) -> Option<Result<Bytes, Fault>> {
        let (account, leave) = self.counted()?;
        let told = failed(&error);
        let fault = Fault::from(CallFailure::Call(error));
        let kind = match &fault {
            Fault::Call(call) => call.kind,
            _ => ErrorKind::Broken,
        };
        leave.end(told);
        self.shared.later(account.failed(kind, fault.to_string()));
        Some(Err(fault))
    }

    /// The vault was locked: the call is given up, and the key with it.
    fn lock(&mut self) -> Option<Result<Bytes, Fault>> {
        let (mut account, _) = self.counted()?;
        account.ends_by("the vault was locked");
        Some(Err(VaultFault::Locked.into()))
    }
}

impl Drop for GatewayStream {
    fn drop(&mut self) {
        // Its line says cancelled, and what it cost so far.
        drop(self.counted());
    }
}
