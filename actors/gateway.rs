//! The gateway: chats of other programs, forwarded to the providers with Arbiter's keys.
//!
//! Selects the providers that may serve a chat by the name of its model. Must not read the chat beyond that: it is
//! forwarded as it came. Not an actor: chats are independent. `stream` is a streamed answer, `console` the console.

pub(crate) mod console;
pub(crate) mod stream;

use crate::call::CallContext;
use crate::call::attempt::Response;
use crate::call::chat::total;
use crate::call::estimate::{CallEstimate, own_limit};
use crate::call::execute::{self, CallCandidate, CallPlan, ProviderCall, ServedCall};
use crate::call::failover::{self, FirstCandidate};
use crate::call::in_flight::{Cancellation, InFlightGuard};
use crate::call::ledger_entry::Attribution;
use crate::caller::Caller;
use crate::error::{Error, FailedCall};
use crate::gateway::stream::{BegunStream, GatewayStream};
use crate::provider::ProvidersHandle;
use crate::provider::cache::CachedProvider;
use crate::runtime::random;
use crate::services::{Services, deref_to_services};
use arbiter_core::kernel::call::{CallOutcome, ErrorKind, Kind};
use arbiter_core::kernel::ids::{AgentId, ProjectId, ProviderId, RunId, TokenId};
use arbiter_core::kernel::run::Run;
use arbiter_core::model::selector::{self, ModelSelector};
use arbiter_core::provider::{Provider, ProviderType};
use arbiter_providers::{CallError, ChatBody, Client, CompletedChat, RateHints};
use bytes::Bytes;
use secrecy::SecretString;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The parts that the gateway and the console use.
pub(crate) struct GatewayContext {
    pub(crate) services: Arc<Services>,
    pub(crate) calls: Arc<CallContext>,
    pub(crate) providers: ProvidersHandle,
}

deref_to_services!(GatewayContext);

/// Handle of the gateway.
#[derive(Clone)]
pub struct GatewayHandle(pub(crate) Arc<GatewayContext>);

/// A chat to be passed on.
#[derive(Clone, Debug)]
pub struct GatewayCall {
    /// The request as it came: OpenAI's chat completion, field by field.
    pub body: Map<String, Value>,
    pub agent_id: Option<String>,
    pub project_id: Option<String>,
}

/// A model that can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayModel {
    pub id: String,
    /// Providers that serve the model; the best one is used.
    pub providers: Vec<ProviderId>,
}

/// A whole answer.
#[derive(Debug)]
pub struct GatewayAnswer {
    /// OpenAI's chat completion, as it came from the provider where that speaks OpenAI's protocol.
    pub body: Bytes,
    pub provider_id: ProviderId,
    pub run_id: Option<RunId>,
}

impl GatewayHandle {
    /// Every model that can be asked for now: by its plain name, and by its provider's id and name.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn models(&self) -> Result<Vec<GatewayModel>, Error> {
        let usable = self.0.providers.usable().await?;
        let mut models: BTreeMap<String, Vec<ProviderId>> = BTreeMap::new();
        for known in &usable {
            let id = &known.provider.id;
            let own = known.provider.model().map(str::to_owned);
            models.insert(format!("{id}/{}", selector::AUTO), vec![id.clone()]);
            for model in known.models.iter().cloned().chain(own) {
                for name in [format!("{id}/{model}"), model] {
                    let providers = models.entry(name).or_default();
                    if !providers.contains(id) {
                        providers.push(id.clone());
                    }
                }
            }
        }
        if let Some(best) = usable.into_iter().next() {
            models.insert(selector::AUTO.to_owned(), vec![best.provider.id]);
        }
        Ok(models.into_iter().map(|(id, providers)| GatewayModel { id, providers }).collect())
    }

    /// Returns a run as the store has it, else the run of a chat that is in flight.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn run(&self, id: &RunId) -> Result<Option<Run>, Error> {
        if let Some(stored) = self.0.store.run(id.to_string()).await? {
            return Ok(Some(stored));
        }
        if let Some(running) = self.0.calls.in_flight.chat(id) {
            return Ok(Some(running));
        }
        // It may have ended between the two looks.
        Ok(self.0.store.run(id.to_string()).await?)
    }

    /// One whole answer. It is returned when its run and its line of the ledger are stored, or could not be.
    ///
    /// # Errors
    /// [`Error::Call`] when no provider serves the model or the last one that was asked failed; others as
    /// with every call.
    pub async fn complete(&self, caller: &Caller, call: GatewayCall) -> Result<GatewayAnswer, Error> {
        let (plan, body, cancellation) = self.prepare(caller, call).await?;
        let run_id = plan.attribution.run_id.clone();
        let whole = WholeChat(&body);
        let ServedCall { response, mut entry } = tokio::select! {
            served = execute::execute(&self.0.calls, plan, &whole) => served?,
            () = cancellation.requested() => return Err(cancellation.refusal().into()),
        };
        let Response { response, breaker_permit, mut permit, .. } = response;
        breaker_permit.end(CallOutcome::Answered);
        // Without an account of the provider's, what came is counted, its frame included.
        permit.settle(total(entry.count(response.usage, response.body.len() as u64)));
        let provider_id = entry.provider_id().clone();
        entry.written_when_answered(response.end, &self.0.services).await;
        Ok(GatewayAnswer { body: response.body, provider_id, run_id })
    }

    /// An answer in pieces, of which the first has come.
    ///
    /// # Errors
    /// As [`GatewayHandle::complete`].
    pub async fn stream(&self, caller: &Caller, call: GatewayCall) -> Result<GatewayStream, Error> {
        let (plan, body, cancellation) = self.prepare(caller, call).await?;
        let run_id = plan.attribution.run_id.clone();
        let streamed = StreamedChat(&body);
        let served = tokio::select! {
            served = execute::execute(&self.0.calls, plan, &streamed) => served?,
            () = cancellation.requested() => return Err(cancellation.refusal().into()),
        };
        Ok(GatewayStream::new(&self.0.services, served, run_id, cancellation, body.body.wants_usage()))
    }

    async fn prepare<'a>(
        &self,
        caller: &'a Caller,
        call: GatewayCall,
    ) -> Result<(CallPlan<'a>, LimitedBody, Cancellation), Error> {
        let body = ChatBody(call.body);
        let candidates = self.candidates(body.model()).await?;
        let token = caller.origin.as_ref().and_then(|origin| origin.token_id.clone());
        let run_id = RunId::from_random(random::bytes16());
        let attribution = Attribution {
            kind: Kind::Gateway,
            agent_id: call.agent_id.map(AgentId::from_trusted),
            project_id: call.project_id.map(ProjectId::from_trusted),
            bead_id: None,
            run_id: Some(run_id.clone()),
            token_id: token.map(TokenId::from_trusted),
        };
        let own_limit = match body.answer_tokens() {
            None => own_limit(&self.0.calls, &attribution),
            Some(_) => None,
        };
        let in_flight_guard = InFlightGuard::of_chat(
            &self.0.calls,
            Run {
                agent_id: attribution.agent_id.clone(),
                project_id: attribution.project_id.clone(),
                token_id: attribution.token_id.clone(),
                ..Run::new(run_id, Kind::Gateway, self.0.clock.now())
            },
        );
        let cancellation = in_flight_guard.cancellation();
        Ok((
            CallPlan {
                holder: &caller.name,
                attribution,
                candidates,
                in_flight_guard: Some(in_flight_guard),
            },
            LimitedBody { body, own_limit },
            cancellation,
        ))
    }

    /// Returns the candidates for a model, in calling order.
    async fn candidates(&self, name: &str) -> Result<Vec<CallCandidate>, Error> {
        let shared = &self.0;
        let all = shared.providers.cached().await?;
        let find = |id: &str| all.iter().find(|known| known.provider.id.as_str() == id);
        let usable = async || shared.providers.usable().await;
        match selector::parse(name, |id| find(id).is_some()) {
            ModelSelector::Best => {
                let usable = usable().await?;
                let own = |known: CachedProvider| CallCandidate { provider: known.provider, model: None };
                require_any(usable.into_iter().map(own).collect(), || {
                    no_provider("no provider can be called now")
                })
            }
            ModelSelector::FromProvider { provider, model } => {
                let usable = usable().await?;
                let found = usable.iter().find(|known| known.provider.id.as_str() == provider);
                let Some(found) = found else {
                    let text = find(provider).map(|known| known.provider.unusable_reason());
                    return Err(no_provider(&text.unwrap_or_default()));
                };
                let candidates =
                    failover::candidates(&shared.providers, &found.provider, model, FirstCandidate::Itself)
                        .await?;
                // A caller that names a model gets no other one.
                Ok(candidates.into_iter().filter(|other| other.model.as_deref() == model).collect())
            }
            ModelSelector::Named(model) => {
                let usable = usable().await?;
                let serving: Vec<CachedProvider> =
                    usable.into_iter().filter(|known| known.offers(model)).collect();
                let named = Some(model.to_owned());
                if let Some(pooled) = serving.first().filter(|known| known.provider.pool.is_some()) {
                    let drawn = failover::candidates(
                        &shared.providers,
                        &pooled.provider,
                        Some(model),
                        FirstCandidate::Weighted,
                    )
                    .await?;
                    let mut candidates: Vec<CallCandidate> =
                        drawn.into_iter().filter(|other| other.model == named).collect();
                    let others = serving.iter().filter(|known| known.provider.pool != pooled.provider.pool);
                    candidates.extend(others.map(|known| CallCandidate {
                        provider: known.provider.clone(),
                        model: named.clone(),
                    }));
                    return Ok(candidates);
                }
                let is_known = all.iter().any(|known| known.offers(model));
                let serving = serving
                    .into_iter()
                    .map(|known| CallCandidate { provider: known.provider, model: named.clone() })
                    .collect();
                require_any(serving, || match is_known {
                    true => no_provider(&format!("no provider of the model {model} can be called now")),
                    false => no_model(model),
                })
            }
        }
    }
}

fn require_any(
    candidates: Vec<CallCandidate>,
    none: impl FnOnce() -> Error,
) -> Result<Vec<CallCandidate>, Error> {
    if candidates.is_empty() { Err(none()) } else { Ok(candidates) }
}

fn no_provider(text: &str) -> Error {
    failed(ErrorKind::Overloaded, text.to_owned(), None)
}

fn no_model(model: &str) -> Error {
    let shown: String = model.chars().take(100).collect();
    let text = format!("no provider offers the model {shown:?}; GET /v1/models lists what can be asked for");
    failed(ErrorKind::NotFound, text, Some("model"))
}

fn failed(kind: ErrorKind, text: String, field: Option<&str>) -> Error {
    Error::Call(Box::new(FailedCall { kind, text, retry_after: None, field: field.map(str::to_owned) }))
}

/// A request to be passed on, and the limit of answer tokens that is added where it names none.
struct LimitedBody {
    body: ChatBody,
    own_limit: Option<u32>,
}

impl LimitedBody {
    /// Returns the request for a provider: with the name of its model, and our limit in the field that it knows.
    fn for_provider(&self, provider: &Provider, model: &str) -> ChatBody {
        let mut body = self.body.clone();
        body.set_model(model);
        if let Some(limit) = self.own_limit {
            body.limit_answer(limit, provider.provider_type == ProviderType::OpenAi);
        }
        body
    }

    fn estimate(&self) -> CallEstimate {
        let own = || Some(u64::from(self.own_limit?).saturating_mul(self.body.choices()));
        CallEstimate {
            prompt_chars: self.body.prompt_chars(),
            answer_tokens: self.body.answer_tokens().or_else(own),
        }
    }
}

/// A chat that is answered as a whole.
struct WholeChat<'a>(&'a LimitedBody);

impl ProviderCall for WholeChat<'_> {
    type Response = CompletedChat;

    async fn run(
        &self,
        provider: &Provider,
        client: &Client,
        key: Option<&SecretString>,
        model: &str,
    ) -> Result<CompletedChat, CallError> {
        client.complete(key, &self.0.for_provider(provider, model)).await
    }

    fn hints(response: &CompletedChat) -> RateHints {
        response.rate_hints
    }

    fn estimate(&self) -> CallEstimate {
        self.0.estimate()
    }
}

/// Most chunks without a piece of the answer that are held back at the start of a stream.
const MOST_LEADING: usize = 64;

/// A chat that is answered in pieces.
struct StreamedChat<'a>(&'a LimitedBody);

impl ProviderCall for StreamedChat<'_> {
    type Response = BegunStream;

    async fn run(
        &self,
        provider: &Provider,
        client: &Client,
        key: Option<&SecretString>,
        model: &str,
    ) -> Result<BegunStream, CallError> {
        let mut stream = client.stream(key, &self.0.for_provider(provider, model)).await?;
        // Until a piece of the answer has come, another provider can take its place.
        let mut first = VecDeque::new();
        while let Some(chunk) = stream.next().await.transpose()? {
            let is_answer = chunk.has_answer;
            first.push_back(chunk);
            if is_answer || first.len() >= MOST_LEADING {
                break;
            }
        }
        Ok(BegunStream { stream, first })
    }

    fn hints(response: &BegunStream) -> RateHints {
        *response.stream.rate_hints()
    }

    fn estimate(&self) -> CallEstimate {
        self.0.estimate()
    }
}
