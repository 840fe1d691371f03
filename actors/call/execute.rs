//! The one loop in which a call is made: who is asked, in which order, after which pause, for how long.
//!
//! What follows a failure is `core::retry`; this makes it so. Nothing below it tries anything again, and
//! nothing above it.

use crate::call::attempt::{Attempt, Given, Missed, kind_of};
use crate::call::estimate::Size;
use crate::call::in_flight::Ticket;
use crate::call::ledger_entry::{Account, Payer};
use crate::context::Shared;
use crate::error::Fault;
use crate::provider::authorized_client::CallFailure;
use crate::provider::heartbeat::HeartbeatsHandle;
use crate::runtime::random;
use arbiter_core::budget::Scope;
use arbiter_core::kernel::ids::CallId;
use arbiter_core::provider::Provider;
use arbiter_core::provider::retry::{Failure, Model, Next, Others, Progress, Rest};
use arbiter_providers::{CallError, Client, RateHints};
use secrecy::SecretString;
use std::sync::Arc;

/// What is asked of a provider.
pub(crate) trait Errand: Send + Sync {
    /// What it gives.
    type Given: Send;

    /// Asks once.
    fn run(
        &self,
        provider: &Provider,
        client: &Client,
        key: Option<&SecretString>,
        model: &str,
    ) -> impl Future<Output = Result<Self::Given, CallError>> + Send;

    /// What the provider said of its limits with what it gave.
    fn hints(given: &Self::Given) -> RateHints;

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
    /// By which it can be ended, when nobody else sees to that.
    pub(crate) ticket: Option<Ticket>,
}

/// A call that was served, and what remains to be ended with it.
pub(crate) struct Served<T> {
    /// What it gave.
    pub(crate) given: Given<T>,
    /// Its line of the ledger.
    pub(crate) account: Account,
}

/// Where a call stands in its rounds.
struct Standing {
    /// Which of the candidates is asked.
    at: usize,
    /// From 1.
    round: u32,
    model: Model,
    /// The model that was chosen anew.
    anew: Option<String>,
}

impl Standing {
    fn pass_over(&mut self) {
        (self.at, self.model, self.anew) = (self.at + 1, Model::Open, None);
    }

    fn begin_anew(&mut self) {
        *self = Self { at: 0, round: self.round + 1, model: Model::Open, anew: None };
    }
}

/// Makes a call. A caller that goes away ends it.
///
/// # Errors
/// [`CallFailure::Call`] with the last provider's error; [`CallFailure::Fault`] when none could be asked.
pub(crate) async fn serve<E: Errand>(
    shared: &Arc<Shared>,
    mut order: Order<'_>,
    errand: &E,
) -> Result<Served<E::Given>, CallFailure> {
    let size = errand.size();
    let scopes = Scope::of(order.payer.project_id.as_ref(), order.payer.agent_id.as_ref());
    let held = shared.purse.reserve(shared, &scopes, size.cost(&order.candidates)).await?;
    let id = CallId::from_random(random::bytes16());
    let mut account = Account::open(shared, held, order.payer.clone(), id, size.prompt_chars);
    account.admit(order.ticket.take());
    let (deadline, budget) = (shared.settings.call_deadline, shared.settings.retry.budget);
    let mut standing = Standing { at: 0, round: 1, model: Model::Open, anew: None };
    loop {
        let Some(candidate) = order.candidates.get(standing.at) else {
            return Err(Fault::Provider("no provider can be called now".to_owned()).into());
        };
        let others = if standing.at + 1 < order.candidates.len() { Others::Left } else { Others::None };
        let named = standing.anew.as_deref().or(candidate.model.as_deref());
        if named.is_some() {
            standing.model = Model::Settled;
        }
        let attempt = Attempt { shared, order: &order, errand, candidate, named, others };
        let (left, turn) =
            (deadline.saturating_sub(account.elapsed()), budget.saturating_sub(account.elapsed()));
        let provider = &candidate.provider.id;
        let (error, rest) = match attempt.make(&mut account, left, turn).await {
            Ok(given) => return Ok(Served { given, account }),
            Err(Missed::Fault(fault)) if others == Others::Left && is_its_own(&fault) => {
                tracing::warn!(target: "integration", %provider, %fault, "another provider is asked");
                account.passes_over(provider, &fault.to_string());
                standing.pass_over();
                continue;
            }
            Err(Missed::Fault(fault)) => {
                account.ends_by(fault.to_string());
                return Err(fault.into());
            }
            // It was waited for already.
            Err(Missed::NoRoom(error)) => (error, Rest::Needed),
            Err(Missed::Failed(error)) => (error, shared.breakers.rest(provider)),
        };
        let heard = errand.heard_chars();
        account.failed_after(heard);
        let failure = Failure {
            kind: kind_of(&error),
            retry_after: error.rate_hints().retry_after,
            progress: if heard > 0 { Progress::Begun } else { Progress::NoByte },
            round: standing.round,
            elapsed: account.elapsed(),
            model: standing.model,
            others,
            rest,
        };
        let policy = &shared.settings.retry;
        let mut next = policy.next(&failure, random::number());
        if next == Next::Negotiate {
            standing.model = Model::Settled;
            standing.anew = negotiate(shared, candidate).await;
            if standing.anew.is_some() {
                continue;
            }
            next = policy.next(&Failure { model: Model::Settled, ..failure }, random::number());
        }
        let reason = error.to_string();
        match next {
            Next::Elsewhere => {
                tracing::warn!(target: "integration", %provider, reason, "another provider is asked");
                account.passes_over(provider, &reason);
                standing.pass_over();
            }
            Next::Again(pause) => {
                tracing::debug!(target: "integration", %provider, reason, ?pause, "the call is made again");
                tokio::time::sleep(pause).await;
                standing.begin_anew();
            }
            Next::Fail | Next::Negotiate => {
                account.failed(kind_of(&error), reason).await;
                return Err(error.into());
            }
        }
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
