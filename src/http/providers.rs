//! Providers: LLM endpoints. A key comes in with them and never goes out again.

use crate::http::access::Access;
use crate::http::endpoint::{QueryField, flag, word as word_field};
use crate::http::fields::{Secret, nullable, present};
use crate::http::page::{PAGE, cut};
use crate::http::provider_views::ProviderView;
use crate::http::vocabulary::{Vocabulary, word};
use crate::http::{ApiError, Call, Endpoint, Reply};
use arbiter_core::ids::ProviderId;
use arbiter_core::provider::{ProviderType, Status};
use arbiter_core::provider_change::{Enabled, NewProvider, ProviderPatch};
use schemars::JsonSchema;
use serde::Deserialize;
use warp::http::Method;

const COLLECTION: &str = "/api/v1/providers";
const ENTITY: &str = "/api/v1/providers/{id}";
const FILTERS: &[QueryField] =
    &[word_field("status", <Status as Vocabulary>::WORDS, "Only those with this status")];
/// The query parameter of a deletion.
pub const CASCADE: &[QueryField] = &[flag("cascade", "Also what depends on it")];

/// A switch in the seed's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum SwitchWord {
    /// In use; the next beat decides how it stands.
    Active,
    /// Switched off.
    Inactive,
}

/// A provider to be registered.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewProviderBody {
    /// Its id; else one is made.
    #[serde(default)]
    id: Option<String>,
    /// Its name.
    name: String,
    /// Whose protocol it speaks.
    #[serde(rename = "type")]
    #[schemars(schema_with = "word::<ProviderType>")]
    provider_type: ProviderType,
    /// Its URL; `/v1` is added when it has no path.
    endpoint: String,
    /// The model to use; else the best it offers.
    #[serde(default)]
    model: Option<String>,
    /// What it is for.
    #[serde(default)]
    description: String,
    /// Its key; it goes to the vault and is never shown.
    #[serde(default)]
    api_key: Option<Secret>,
    /// Whether calls carry a key; by default, whether there is one.
    #[serde(default)]
    requires_key: Option<bool>,
    /// An entry of the vault that holds its key.
    #[serde(default)]
    key_id: Option<String>,
    /// Our certificate for it with its chain, in PEM; needs `client_key_id`.
    #[serde(default)]
    client_cert: Option<String>,
    /// The entry of the vault, of purpose `tls`, that holds the private key of that certificate.
    #[serde(default)]
    client_key_id: Option<String>,
    /// The CA of the provider's own certificate, in PEM; no other is trusted for it then.
    #[serde(default)]
    ca_cert: Option<String>,
    /// The most calls at one time.
    #[serde(default)]
    max_concurrency: Option<u32>,
    /// Tokens that fit into one call.
    #[serde(default)]
    context_window: Option<u64>,
    /// Price of a million tokens in, in US dollars.
    #[serde(default)]
    price_input_per_mtok: Option<f64>,
    /// Price of a million tokens out, in US dollars.
    #[serde(default)]
    price_output_per_mtok: Option<f64>,
    /// Words to find it by.
    #[serde(default)]
    tags: Vec<String>,
    /// Whether it is used at once; `active` by default.
    #[serde(default)]
    status: Option<SwitchWord>,
}

/// Fields of a provider that are to change.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct ProviderPatchBody {
    /// Its name.
    #[serde(deserialize_with = "present")]
    name: Option<String>,
    /// Whose protocol it speaks.
    #[serde(rename = "type", deserialize_with = "present")]
    #[schemars(schema_with = "word::<ProviderType>")]
    provider_type: Option<ProviderType>,
    /// Its URL.
    #[serde(deserialize_with = "present")]
    endpoint: Option<String>,
    /// The model to use; null: the best it offers.
    #[serde(deserialize_with = "nullable")]
    model: Option<Option<String>>,
    /// What it is for.
    #[serde(deserialize_with = "present")]
    description: Option<String>,
    /// Its new key.
    #[serde(deserialize_with = "present")]
    api_key: Option<Secret>,
    /// Whether calls carry a key.
    #[serde(deserialize_with = "present")]
    requires_key: Option<bool>,
    /// An entry of the vault that holds its key.
    #[serde(deserialize_with = "nullable")]
    key_id: Option<Option<String>>,
    /// Our certificate for it with its chain, in PEM; null: none.
    #[serde(deserialize_with = "nullable")]
    client_cert: Option<Option<String>>,
    /// The entry of the vault, of purpose `tls`, that holds the private key of that certificate.
    #[serde(deserialize_with = "nullable")]
    client_key_id: Option<Option<String>>,
    /// The CA of the provider's own certificate, in PEM; null: those of the web.
    #[serde(deserialize_with = "nullable")]
    ca_cert: Option<Option<String>>,
    /// The most calls at one time.
    #[serde(deserialize_with = "nullable")]
    max_concurrency: Option<Option<u32>>,
    /// Tokens that fit into one call.
    #[serde(deserialize_with = "nullable")]
    context_window: Option<Option<u64>>,
    /// Price of a million tokens in, in US dollars.
    #[serde(deserialize_with = "nullable")]
    price_input_per_mtok: Option<Option<f64>>,
    /// Price of a million tokens out, in US dollars.
    #[serde(deserialize_with = "nullable")]
    price_output_per_mtok: Option<Option<f64>>,
    /// Words to find it by.
    #[serde(deserialize_with = "present")]
    tags: Option<Vec<String>>,
    /// `active` enables it, `inactive` disables it.
    #[serde(deserialize_with = "present")]
    status: Option<SwitchWord>,
}

/// Registering, showing, changing and deleting providers.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(COLLECTION, list)
            .query(FILTERS)
            .query(PAGE)
            .summary("The providers, oldest first")
            .answers::<Vec<ProviderView>>(200),
        Endpoint::with_body(Method::POST, COLLECTION, create)
            .access(Access::Operator)
            .secret()
            .summary("Register a provider; its first beat comes at once")
            .answers::<ProviderView>(201),
        Endpoint::get(ENTITY, show).summary("One provider").answers::<ProviderView>(200),
        Endpoint::with_body(Method::PATCH, ENTITY, update)
            .access(Access::Operator)
            .secret()
            .summary("Change some of a provider's fields")
            .answers::<ProviderView>(200),
        Endpoint::with_body(Method::PUT, ENTITY, replace)
            .access(Access::Operator)
            .secret()
            .summary("Change all of a provider's fields; what is not given gets its default")
            .answers::<ProviderView>(200),
        Endpoint::delete(ENTITY, remove)
            .access(Access::Operator)
            .query(CASCADE)
            .summary("Delete a provider; with cascade also its agents")
            .answers_plainly(204),
        Endpoint::post("/api/v1/providers/{id}/enable", enable)
            .access(Access::Operator)
            .summary("Use it again; the next beat decides how it stands")
            .answers::<ProviderView>(200),
        Endpoint::post("/api/v1/providers/{id}/disable", disable)
            .access(Access::Operator)
            .summary("Stop using it")
            .answers::<ProviderView>(200),
        Endpoint::post("/api/v1/providers/{id}/heartbeat", heartbeat)
            .access(Access::Operator)
            .summary("Ask it now whether it is there")
            .answers::<ProviderView>(200),
    ]
}

fn id(call: &Call) -> ProviderId {
    ProviderId::known(call.param("id"))
}

fn answer(view: &ProviderView) -> Result<Reply, ApiError> {
    Reply::entity(view, view.revision)
}

async fn list(call: Call) -> Result<Reply, ApiError> {
    let status = call.query.word("status", Status::parse)?;
    let mut all = call.handles().store.all_providers().await?;
    all.retain(|provider| status.is_none_or(|status| provider.status == status));
    let page = cut(all, &call.page()?, |provider| format!("{}~{}", provider.created_at, provider.id));
    Reply::page::<_, ProviderView>(&call, page)
}

async fn create(call: Call, body: NewProviderBody) -> Result<Reply, ApiError> {
    let new = NewProvider {
        id: body.id,
        name: body.name,
        provider_type: body.provider_type,
        endpoint: body.endpoint,
        configured_model: body.model,
        description: body.description,
        requires_key: body.requires_key,
        key_id: body.key_id,
        client_cert: body.client_cert,
        client_key_id: body.client_key_id,
        ca_cert: body.ca_cert,
        max_concurrency: body.max_concurrency,
        context_window: body.context_window,
        price_input_per_mtok: body.price_input_per_mtok,
        price_output_per_mtok: body.price_output_per_mtok,
        tags: body.tags,
        enabled: if body.status == Some(SwitchWord::Inactive) { Enabled::No } else { Enabled::Yes },
    };
    let key = body.api_key.map(|secret| secret.0);
    let view = ProviderView::from(call.handles().providers.register(&call.caller()?, new, key).await?);
    Ok(Reply::created(&view, COLLECTION, &view.id)?.with_revision(view.revision))
}

async fn show(call: Call) -> Result<Reply, ApiError> {
    let found = call.handles().store.provider(call.param("id").to_owned()).await?;
    let provider = found.ok_or_else(|| ApiError::not_found("provider", call.param("id")))?;
    answer(&provider.into())
}

/// A whole provider as a patch of all its fields.
async fn replace(call: Call, body: NewProviderBody) -> Result<Reply, ApiError> {
    if body.id.as_deref().is_some_and(|id| id != call.param("id")) {
        return Err(ApiError::field("id", "cannot be changed"));
    }
    let patch = ProviderPatchBody {
        name: Some(body.name),
        provider_type: Some(body.provider_type),
        endpoint: Some(body.endpoint),
        model: Some(body.model),
        description: Some(body.description),
        requires_key: body.requires_key,
        // A key is not part of what a client reads back, so its absence does not take it away.
        key_id: body.key_id.map(Some),
        api_key: body.api_key,
        client_cert: Some(body.client_cert),
        client_key_id: Some(body.client_key_id),
        ca_cert: Some(body.ca_cert),
        max_concurrency: Some(body.max_concurrency),
        context_window: Some(body.context_window),
        price_input_per_mtok: Some(body.price_input_per_mtok),
        price_output_per_mtok: Some(body.price_output_per_mtok),
        tags: Some(body.tags),
        status: body.status,
    };
    update(call, patch).await
}

async fn update(call: Call, body: ProviderPatchBody) -> Result<Reply, ApiError> {
    let mut caller = call.caller()?;
    let (id, providers) = (id(&call), &call.handles().providers);
    let (switch, key) = (body.status, body.api_key.map(|secret| secret.0));
    let patch = ProviderPatch {
        name: body.name,
        provider_type: body.provider_type,
        endpoint: body.endpoint,
        configured_model: body.model,
        description: body.description,
        requires_key: body.requires_key,
        key_id: body.key_id,
        client_cert: body.client_cert,
        client_key_id: body.client_key_id,
        ca_cert: body.ca_cert,
        max_concurrency: body.max_concurrency,
        context_window: body.context_window,
        price_input_per_mtok: body.price_input_per_mtok,
        price_output_per_mtok: body.price_output_per_mtok,
        tags: body.tags,
    };
    if switch.is_none() || key.is_some() || patch != ProviderPatch::default() {
        let changed = providers.update(&caller, &id, patch, key).await?;
        if switch.is_none() {
            return answer(&changed.into());
        }
        caller.if_match = None;
    }
    let switched = match switch {
        Some(SwitchWord::Inactive) => providers.disable(&caller, &id).await?,
        _ => providers.enable(&caller, &id).await?,
    };
    answer(&switched.into())
}

async fn remove(call: Call) -> Result<Reply, ApiError> {
    call.handles().providers.delete(&call.caller()?, &id(&call), call.cascade()?).await?;
    Ok(Reply::no_content())
}

async fn enable(call: Call) -> Result<Reply, ApiError> {
    answer(&call.handles().providers.enable(&call.caller()?, &id(&call)).await?.into())
}

async fn disable(call: Call) -> Result<Reply, ApiError> {
    answer(&call.handles().providers.disable(&call.caller()?, &id(&call)).await?.into())
}

async fn heartbeat(call: Call) -> Result<Reply, ApiError> {
    answer(&call.handles().providers.heartbeat(&id(&call)).await?.into())
}
