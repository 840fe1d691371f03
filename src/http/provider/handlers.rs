//! Providers: LLM endpoints. A key comes in with them and never goes out again.

use crate::http::framework::project_scope::ProjectScope;
use crate::http::framework::required_role::Access;
use crate::http::provider::dto::{NewProviderBody, ProviderPatchBody, SwitchWord};
use crate::http::provider::insight::ProviderView;
use crate::http::wire::page::{PAGE, paginate};
use crate::http::wire::query::{QueryField, flag, word as word_field};
use crate::http::wire::schema::EnumValues;
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_core::kernel::ids::ProviderId;
use arbiter_core::provider::Status;
use arbiter_core::provider::edit::Enabled;
use warp::http::Method;

const COLLECTION: &str = "/api/v1/providers";
const ENTITY: &str = "/api/v1/providers/{id}";
const FILTERS: &[QueryField] =
    &[word_field("status", <Status as EnumValues>::VALUES, "Only those with this status")];
/// The query parameter of a deletion.
pub const CASCADE: &[QueryField] = &[flag("cascade", "Also what depends on it")];

/// Registering, showing, changing and deleting providers.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(COLLECTION, list)
            .scope(ProjectScope::Unscoped)
            .query(FILTERS)
            .query(PAGE)
            .summary("The providers, oldest first")
            .answers::<Vec<ProviderView>>(200),
        Endpoint::with_body(Method::POST, COLLECTION, create)
            .access(Access::Operator)
            .secret()
            .summary("Register a provider; its first beat comes at once")
            .answers::<ProviderView>(201),
        Endpoint::get(ENTITY, show)
            .scope(ProjectScope::Unscoped)
            .summary("One provider")
            .answers::<ProviderView>(200),
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
            .answers_without_json(204),
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

fn id(request: &ApiRequest) -> ProviderId {
    ProviderId::from_trusted(request.param("id"))
}

fn answer(view: &ProviderView) -> Result<Reply, ApiError> {
    Reply::entity(view, view.revision)
}

async fn list(request: ApiRequest) -> Result<Reply, ApiError> {
    let status = request.query.word("status", Status::parse)?;
    let mut all = request.handles().store.all_providers().await?;
    all.retain(|provider| status.is_none_or(|status| provider.status == status));
    let page = paginate(all, &request.page()?, |provider| format!("{}~{}", provider.created_at, provider.id));
    Reply::page::<_, ProviderView>(request.page_link(), page)
}

async fn create(request: ApiRequest, body: NewProviderBody) -> Result<Reply, ApiError> {
    let (new, key) = body.into_new();
    let view = ProviderView::from(request.handles().providers.register(&request.caller()?, new, key).await?);
    Ok(Reply::created(&view, COLLECTION, &view.id)?.with_revision(view.revision))
}

async fn show(request: ApiRequest) -> Result<Reply, ApiError> {
    let found = request.handles().store.provider(request.param("id").to_owned()).await?;
    let provider = found.ok_or_else(|| ApiError::not_found("provider", request.param("id")))?;
    answer(&provider.into())
}

/// A whole provider as a patch of all its fields.
async fn replace(request: ApiRequest, body: NewProviderBody) -> Result<Reply, ApiError> {
    if body.id.as_deref().is_some_and(|id| id != request.param("id")) {
        return Err(ApiError::field("id", "cannot be changed"));
    }
    update(request, body.into_patch()).await
}

async fn update(request: ApiRequest, body: ProviderPatchBody) -> Result<Reply, ApiError> {
    let (id, providers) = (id(&request), &request.handles().providers);
    let (patch, switch, key) = body.into_parts();
    let enabled = switch.map(|word| match word {
        SwitchWord::Inactive => Enabled::No,
        SwitchWord::Active => Enabled::Yes,
    });
    answer(&providers.update(&request.caller()?, &id, patch, enabled, key).await?.into())
}

async fn remove(request: ApiRequest) -> Result<Reply, ApiError> {
    request.handles().projects.delete_provider(&request.caller()?, &id(&request), request.cascade()?).await?;
    Ok(Reply::no_content())
}

async fn enable(request: ApiRequest) -> Result<Reply, ApiError> {
    answer(&request.handles().providers.enable(&request.caller()?, &id(&request)).await?.into())
}

async fn disable(request: ApiRequest) -> Result<Reply, ApiError> {
    answer(&request.handles().providers.disable(&request.caller()?, &id(&request)).await?.into())
}

async fn heartbeat(request: ApiRequest) -> Result<Reply, ApiError> {
    answer(&request.handles().providers.heartbeat(&id(&request)).await?.into())
}
