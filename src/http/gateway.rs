//! The gateway: OpenAI's chat completions and list of models, for any client of theirs.
//!
//! Speaks OpenAI's protocol, errors included (`openai_error`). Everything else about a chat is the handle's.

pub(crate) mod repl;

use crate::http::framework::project_scope::ProjectScope;
use crate::http::framework::required_role::Access;
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_actors::{GatewayCall, GatewayModel, GatewayStream};
use arbiter_core::kernel::ids::{ProviderId, RunId};
use arbiter_core::kernel::problem_code::ProblemCode;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use warp::http::Method;
use warp::http::header::HeaderName;

/// The header in which OpenAI's clients name a project.
const PROJECT: HeaderName = HeaderName::from_static("openai-project");
/// Header with the provider that answered.
const PROVIDER: HeaderName = HeaderName::from_static("x-arbiter-provider");
/// The run that the chat is.
const RUN: HeaderName = HeaderName::from_static("x-arbiter-run");
/// The last event of a stream that came to its end.
const DONE: &[u8] = b"data: [DONE]\n\n";

/// A chat as OpenAI defines it. Every field is passed on to the provider.
#[derive(Debug, Deserialize, JsonSchema)]
struct ChatCompletion {
    /// `auto`, `PROVIDER/MODEL` or the name of a model that a provider offers.
    model: String,
    /// Conversation so far.
    messages: Vec<Value>,
    /// True if the answer comes in pieces, as server-sent events.
    #[serde(default)]
    stream: Option<bool>,
    /// Everything else.
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// A model that a request may name.
#[derive(Debug, Serialize, JsonSchema)]
struct ModelView {
    /// Name used in requests.
    id: String,
    /// `model`.
    object: &'static str,
    /// Always 0; the field is required by the protocol.
    created: u64,
    /// The provider that serves it, or the first of those that do.
    owned_by: String,
}

/// Models that a request may name.
#[derive(Debug, Serialize, JsonSchema)]
struct ModelsView {
    /// `list`.
    object: &'static str,
    /// The models.
    data: Vec<ModelView>,
}

impl From<GatewayModel> for ModelView {
    fn from(model: GatewayModel) -> Self {
        let owner = model.providers.first().map(ToString::to_string).unwrap_or_default();
        Self { id: model.id, object: "model", created: 0, owned_by: owner }
    }
}

/// Chats and models.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::with_body(Method::POST, "/v1/chat/completions", chat)
            .openai()
            .scope(ProjectScope::CheckedByHandler)
            .access(Access::Agent)
            .unlimited()
            .conversation()
            .summary("OpenAI's chat completions, over the registered providers")
            .answers::<Value>(200)
            .answers_as(200, "text/event-stream"),
        Endpoint::get("/v1/models", models)
            .openai()
            .scope(ProjectScope::Unscoped)
            .summary("The models that can be asked for now, as OpenAI lists them")
            .answers::<ModelsView>(200),
        Endpoint::get("/v1/models/{*id}", model)
            .openai()
            .scope(ProjectScope::Unscoped)
            .summary("One model, as OpenAI describes it")
            .answers::<ModelView>(200),
    ]
}

async fn models(request: ApiRequest) -> Result<Reply, ApiError> {
    let models = request.handles().gateway.models().await?;
    Reply::json(&ModelsView { object: "list", data: models.into_iter().map(ModelView::from).collect() })
}

async fn model(request: ApiRequest) -> Result<Reply, ApiError> {
    let id = request.param("id");
    let found = request.handles().gateway.models().await?.into_iter().find(|model| model.id == id);
    let none = || ApiError::new(ProblemCode::ModelNotFound, format!("the model {id:?} cannot be asked for"));
    Reply::json(&ModelView::from(found.ok_or_else(none)?))
}

async fn chat(request: ApiRequest, body: ChatCompletion) -> Result<Reply, ApiError> {
    let mut fields = body.others;
    fields.insert("model".to_owned(), body.model.into());
    fields.insert("messages".to_owned(), Value::Array(body.messages));
    let (agent_id, project_id) = attribution(&request).await?;
    let wanted = GatewayCall { body: fields, agent_id, project_id };
    let (gateway, caller) = (request.handles().gateway.clone(), request.caller()?);
    if body.stream != Some(true) {
        let answer = gateway.complete(&caller, wanted).await?;
        let reply = Reply::rendered_json(answer.body);
        return Ok(with_gateway_headers(reply, &answer.provider_id, answer.run_id.as_ref()));
    }
    let stream = gateway.stream(&caller, wanted).await?;
    let (provider, run) = (stream.provider_id.clone(), stream.run_id.clone());
    let tokens = request.handles().tokens.clone();
    let admission = request.identity.admission().cloned();
    let ended = async move {
        match admission {
            Some(admission) => tokens.until_ended(&admission).await,
            None => std::future::pending().await,
        }
    };
    let request_id = request.request_id.as_str().to_owned();
    let chat_stream = ChatStream { stream, request_id, ended: ended.boxed() };
    let frames = futures_util::stream::unfold(Some(chat_stream), |chat_stream| async move {
        let mut chat_stream = chat_stream?;
        let (frame, goes_on) = chat_stream.next().await;
        Some((frame, goes_on.then_some(chat_stream)))
    });
    Ok(with_gateway_headers(Reply::stream("text/event-stream", frames), &provider, run.as_ref()))
}

fn with_gateway_headers(reply: Reply, provider: &ProviderId, run: Option<&RunId>) -> Reply {
    let reply = reply.with_header(PROVIDER, provider.as_str());
    run.into_iter().fold(reply, |reply, run| reply.with_header(RUN, run.as_str()))
}

/// An answer on its way. Dropping it ends the call.
struct ChatStream {
    stream: GatewayStream,
    request_id: String,
    /// Ends when the client's token does.
    ended: BoxFuture<'static, ()>,
}

impl ChatStream {
    /// The next event of the answer, and whether another one follows.
    async fn next(&mut self) -> (Bytes, bool) {
        let error = tokio::select! {
            piece = self.stream.next() => match piece {
                Some(Ok(data)) => return (event(&data), true),
                None => return (Bytes::from_static(DONE), false),
                Some(Err(fault)) => ApiError::from(fault),
            },
            () = &mut self.ended => ApiError::new(ProblemCode::Unauthorized, "the token no longer works"),
        };
        let (_, _, document) = error.render_for_openai(&self.request_id);
        (event(&document), false)
    }
}

fn event(data: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(data.len() + 8);
    frame.extend_from_slice(b"data: ");
    frame.extend_from_slice(data);
    frame.extend_from_slice(b"\n\n");
    frame.freeze()
}

/// The agent and the project that a chat is for. An agent's chat is for the agent's own project, also when
/// the request names another one, which is refused; another chat is for the project that the request names, or for the only one that its token reaches.
async fn attribution(request: &ApiRequest) -> Result<(Option<String>, Option<String>), ApiError> {
    let store = &request.handles().store;
    let agent_id = request.identity.agent_id().map(str::to_owned);
    let own = match &agent_id {
        Some(id) => store.agent(id.clone()).await?.and_then(|agent| agent.project_id),
        None => None,
    };
    if let Some(value) = request.headers.get(&PROJECT) {
        let named = value.to_str().unwrap_or_default();
        request.require_project(Some(named))?;
        if own.as_ref().is_some_and(|own| own.as_str() != named) {
            let detail = "OpenAI-Project: an agent's chats are for the agent's own project, which pays";
            return Err(ApiError::forbidden(detail));
        }
        if store.project(named.to_owned()).await?.is_none() {
            return Err(ApiError::new(
                ProblemCode::BadHeader,
                format!("OpenAI-Project: no project has the id {named:?}"),
            ));
        }
        return Ok((agent_id, Some(named.to_owned())));
    }
    if let Some(project) = own {
        return Ok((agent_id, Some(project.to_string())));
    }
    match request.identity.projects() {
        None => Ok((agent_id, None)),
        Some([only]) => Ok((agent_id, Some(only.clone()))),
        Some(_) => {
            let detail = "the token reaches several projects: the header OpenAI-Project has to name who pays";
            Err(ApiError::new(ProblemCode::BadHeader, detail))
        }
    }
}
