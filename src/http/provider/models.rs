//! Models: what the catalogue knows, and the choice of a provider's model.

use crate::http::framework::project_scope::ProjectScope;
use crate::http::framework::required_role::Access;
use crate::http::provider::insight::ProviderView;
use crate::http::wire::schema::word;
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_core::kernel::ids::ProviderId;
use arbiter_core::model::catalog::{CatalogEntry, Interactivity};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// A model that the catalogue knows.
#[derive(Debug, Serialize, JsonSchema)]
struct KnownModelView {
    /// Its name, as its makers write it.
    name: String,
    /// Score, 0 to 1.
    score: f64,
    /// Interactivity class: speed of the answers.
    #[schemars(schema_with = "word::<Interactivity>")]
    interactivity: Interactivity,
    /// The memory of GPUs it takes at least, in GB; null: it is not for one's own machines.
    min_vram_gb: Option<u32>,
    /// The class of GPU it wants.
    gpu_class: Option<String>,
    /// Tokens that fit into one call.
    context_window: Option<u64>,
    /// Price of a million tokens in, in US dollars.
    price_input_per_mtok: Option<f64>,
    /// Price of a million tokens out, in US dollars.
    price_output_per_mtok: Option<f64>,
    /// Providers that offered it at the last heartbeat, with their names for it.
    offered_by: Vec<OfferView>,
}

/// A provider that offers a model.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct OfferView {
    /// Provider.
    provider_id: String,
    /// Its name of the model.
    model: String,
}

/// The catalogue, and negotiation.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/models/recommended", recommended)
            .scope(ProjectScope::Unscoped)
            .summary("The known models, the best first, and who offers them")
            .answers::<Vec<KnownModelView>>(200),
        Endpoint::post("/api/v1/providers/{id}/negotiate", negotiate)
            .access(Access::Operator)
            .summary("Choose its model anew, by what it offers now")
            .answers::<ProviderView>(200),
    ]
}

async fn recommended(request: ApiRequest) -> Result<Reply, ApiError> {
    let catalogue = request.handles().providers.catalogue();
    let mut offers: BTreeMap<&str, Vec<OfferView>> = BTreeMap::new();
    for (provider, models) in request.handles().store.offers().await? {
        for model in models {
            if let Some(entry) = catalogue.find(&model.id) {
                let offer = OfferView { provider_id: provider.to_string(), model: model.id };
                offers.entry(&entry.name).or_default().push(offer);
            }
        }
    }
    let view = |entry: &CatalogEntry| KnownModelView {
        name: entry.name.clone(),
        score: entry.score,
        interactivity: entry.interactivity,
        min_vram_gb: entry.min_vram_gb,
        gpu_class: entry.gpu_class.clone(),
        context_window: entry.context_window,
        price_input_per_mtok: entry.price_input_per_mtok,
        price_output_per_mtok: entry.price_output_per_mtok,
        offered_by: offers.get(entry.name.as_str()).cloned().unwrap_or_default(),
    };
    Reply::json(&catalogue.entries().map(view).collect::<Vec<_>>())
}

async fn negotiate(request: ApiRequest) -> Result<Reply, ApiError> {
    let id = ProviderId::from_trusted(request.param("id"));
    let view = ProviderView::from(request.handles().providers.negotiate(&id).await?);
    Reply::entity(&view, view.revision)
}
