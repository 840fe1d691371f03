//! The one loop in which a call is made: who is asked, in which order, after which pause, for how long.
//!
//! What follows a failure is `core::retry`; this makes it so. Nothing below it tries anything again, and
//! nothing above it.

use crate::account::{Account, Payer};
use crate::entropy;
use crate::fault::Fault;
use crate::heartbeat::HeartbeatsHandle;
use crate::pool::Leave;
use crate::provider::ProvidersHandle;
use crate::provider_link::{CallFailure, Link};
use crate::shared::Shared;
use arbiter_core::budget::Scope;
use arbiter_core::call::{CallOutcome, ErrorKind};
use arbiter_core::ids::CallId;
use arbiter_core::money::Usd;
use arbiter_core::provider::Provider;
use arbiter_core::retry::{Failure, Model, Next, Others, Progress};
use arbiter_core::run::cost_usd;
use arbiter_providers::{CallError, CallErrorKind, Client};
use futures_util::future::BoxFuture;
use secrecy::SecretString;
use std::sync::Arc;
use std::time::Duration;

/// Tokens that an answer may have when the request does not say.
const ANSWER_TOKENS: u64 = 4_096;
/// Characters of a prompt that are at least a token.
const CHARS_PER_TOKEN: u64 = 3;

/// How much a call may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Characters that are asked.
    pub(crate) prompt_chars: u64,
    /// The most tokens of the answer, if the request says.
    pub(crate) answer_tokens: Option<u64>,
}

/// What is asked of a provider.
pub(crate) trait Errand: Send + Sync {
    /// What it gives.
    type Given: Send;

    /// Asks once.
    fn run(
        &self,
        client: &Client,
        key: Option<&SecretString>,
        model: &str,
    ) -> impl Future<Output = Result<Self::Given, CallError>> + Send;

    /// How much it may take.
    fn size(&self) -> Size;

    /// How many characters of an answer are with the caller already.
    fn heard_chars(&self) -> u64 {
        0
    }
}

/// Who may serve a call.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// The provider as it was when it was chosen.
    pub(crate) provider: Provider,
    /// The model that the caller named; none: the provider's own.
    pub(crate) model: Option<String>,
}

/// A call that is wanted.
pub(crate) struct Order<'a> {
    /// Who uses the key.
    pub(crate) holder: &'a str,
    /// For whom it is made.
    pub(crate) payer: Payer,
    /// Who may serve it, in the order in which they are asked.
    pub(crate) candidates: Vec<Candidate>,
}

/// A call that was served, and what remains to be ended with it.
pub(crate) struct Served<T> {
    /// What it gave.
    pub(crate) given: T,
    /// Its line of the ledger.
    pub(crate) account: Account,
    /// What its provider is told of its end.
    pub(crate) leave: Leave,
    /// Whether a key went along.
    pub(crate) is_keyed: bool,
    /// Ends when the vault its key came from was locked.
    pub(crate) lock: BoxFuture<'static, ()>,
}

/// Makes a call. A caller that goes away ends it.
///
/// # Errors
/// [`CallFailure::Call`] with the last provider's error; [`CallFailure::Fault`] when none could be asked.
pub(crate) async fn serve<E: Errand>(
    shared: &Arc<Shared>,
    order: Order<'_>,
    errand: &E,
) -> Result<Served<E::Given>, CallFailure> {
    let size = errand.size();
    let scopes = Scope::of(order.payer.project_id.as_ref(), order.payer.agent_id.as_ref());
    let held = shared.purse.reserve(shared, &scopes, estimate(&order.candidates, size)).await?;
    let id = CallId::from_random(entropy::bytes16());
    let mut account = Account::open(shared, held, order.payer.clone(), id, size.prompt_chars);
    let deadline = shared.settings.call_deadline;
    let (mut at, mut round, mut model) = (0, 1, Model::Open);
    let mut anew: Option<String> = None;
    loop {
        let Some(candidate) = order.candidates.get(at) else {
            return Err(Fault::Provider("no provider can be called now".to_owned()).into());
        };
        let others = if at + 1 < order.candidates.len() { Others::Left } else { Others::None };
        let named = anew.as_deref().or(candidate.model.as_deref());
        if named.is_some() {
            model = Model::Settled;
        }
        let asking = Asking {
            shared,
            holder: order.holder,
            errand,
            candidate,
            named,
            is_alone: order.candidates.len() == 1,
        };
        let left = deadline.saturating_sub(account.elapsed());
        let error = match asking.once(&mut account, left).await {
            Ok((given, leave, is_keyed, lock)) => {
                return Ok(Served { given, account, leave, is_keyed, lock });
            }
            Err(CallFailure::Fault(fault)) if others == Others::Left && is_its_own(&fault) => {
                tracing::warn!(target: "integration", provider = %candidate.provider.id, %fault, "another provider is asked");
                (at, anew) = (at + 1, None);
                continue;
            }
            Err(CallFailure::Fault(fault)) => return Err(fault.into()),
            Err(CallFailure::Call(error)) => error,
        };
        let heard = errand.heard_chars();
        account.failed_after(heard);
        let failure = Failure {
            kind: kind_of(&error),
            retry_after: error.rate_hints().retry_after,
            progress: if heard > 0 { Progress::Begun } else { Progress::NoByte },
            round,
            elapsed: account.elapsed(),
            model,
            others,
            rest: shared.breakers.rest(&candidate.provider.id),
        };
        let mut next = shared.settings.retry.next(&failure, entropy::number());
        if next == Next::Negotiate {
            model = Model::Settled;
            anew = negotiate(shared, candidate).await;
            if anew.is_some() {
                continue;
            }
            next = shared.settings.retry.next(&Failure { model, ..failure }, entropy::number());
        }
        let (provider, reason) = (&candidate.provider.id, error.to_string());
        match next {
            Next::Elsewhere => {
                tracing::warn!(target: "integration", %provider, reason, "another provider is asked");
                (at, anew, model) = (at + 1, None, Model::Open);
            }
            Next::Again(pause) => {
                tracing::debug!(target: "integration", %provider, reason, ?pause, "the call is made again");
                tokio::time::sleep(pause).await;
                (at, round, anew, model) = (0, round + 1, None, Model::Open);
            }
            Next::Fail | Next::Negotiate => {
                account.failed(kind_of(&error)).await;
                return Err(error.into());
            }
        }
    }
}

/// One attempt.
struct Asking<'a, E> {
    shared: &'a Arc<Shared>,
    holder: &'a str,
    errand: &'a E,
    candidate: &'a Candidate,
    named: Option<&'a str>,
    is_alone: bool,
}

type Given<T> = (T, Leave, bool, BoxFuture<'static, ()>);

impl<E: Errand> Asking<'_, E> {
    async fn once(&self, account: &mut Account, left: Duration) -> Result<Given<E::Given>, CallFailure> {
        let (shared, id) = (self.shared, &self.candidate.provider.id);
        let link = ProvidersHandle(Arc::clone(shared)).link(id, self.holder.to_owned()).await?;
        let model = self.model(&link)?;
        let leave = Leave::of(shared, id);
        // An open breaker spares a provider with substitutes; one without them is asked all the same.
        if leave.is_refused() && !self.is_alone {
            return Err(CallError::resting().into());
        }
        account.asks(&link, &model);
        let lock = Box::pin(shared.vault_place.next_lock());
        let errand = self.errand;
        let lent = link.lend(shared, self.holder, async |client: &Client, key: Option<&SecretString>| {
            errand.run(client, key, &model).await
        });
        let outcome = match tokio::time::timeout(left, lent).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CallError::late(shared.settings.call_deadline).into()),
        };
        match outcome {
            Ok((given, is_keyed)) => Ok((given, leave, is_keyed, lock)),
            Err(CallFailure::Call(error)) => {
                leave.end(failed(&error));
                Err(error.into())
            }
            Err(fault) => Err(fault),
        }
    }

    fn model(&self, link: &Link) -> Result<String, Fault> {
        let model = self.named.or(link.provider.model());
        let none = || Fault::Provider(format!("provider {} offers no model", link.provider.id));
        Ok(model.ok_or_else(none)?.to_owned())
    }
}

/// Chooses the model of a provider anew; none when it stays as it was.
async fn negotiate(shared: &Arc<Shared>, candidate: &Candidate) -> Option<String> {
    let id = &candidate.provider.id;
    let after = HeartbeatsHandle(Arc::clone(shared)).beat(id).await;
    let chosen = after.ok()?.model()?.to_owned();
    if candidate.provider.model() == Some(chosen.as_str()) {
        return None;
    }
    tracing::warn!(target: "integration", provider = %id, model = chosen, "the model is gone; another one was chosen");
    Some(chosen)
}

/// Whether a fault concerns this provider alone.
fn is_its_own(fault: &Fault) -> bool {
    matches!(fault, Fault::Refused(_) | Fault::Provider(_))
}

/// How a failed call is told to its provider.
pub(crate) fn failed(error: &CallError) -> CallOutcome {
    CallOutcome::Failed { kind: kind_of(error), error: error.to_string() }
}

/// What a call may cost at most: every third character a token, the longest answer, the dearest provider.
fn estimate(candidates: &[Candidate], size: Size) -> Usd {
    let input = size.prompt_chars / CHARS_PER_TOKEN + 1;
    let output = size.answer_tokens.unwrap_or(ANSWER_TOKENS);
    let costs = candidates.iter().map(|candidate| {
        let provider = &candidate.provider;
        cost_usd(input, output, provider.price_input(), provider.price_output())
    });
    Usd::from_dollars(costs.fold(0.0, f64::max))
}

/// The kind of an error in the words of the ledger.
pub(crate) fn kind_of(error: &CallError) -> ErrorKind {
    match error.kind() {
        CallErrorKind::Auth => ErrorKind::Auth,
        CallErrorKind::NotFound { .. } => ErrorKind::NotFound,
        CallErrorKind::RateLimited { .. } => ErrorKind::RateLimited,
        CallErrorKind::ContextTooLong => ErrorKind::ContextTooLong,
        CallErrorKind::Refused | CallErrorKind::Unsupported { .. } => ErrorKind::Refused,
        CallErrorKind::Overloaded => ErrorKind::Overloaded,
        CallErrorKind::Broken => ErrorKind::Broken,
        CallErrorKind::TimedOut => ErrorKind::TimedOut,
        CallErrorKind::Unreachable => ErrorKind::Unreachable,
        CallErrorKind::Cancelled => ErrorKind::Cancelled,
        CallErrorKind::TooLarge => ErrorKind::TooLarge,
    }
}
