//! Diagnosis of a bead: why it is stuck, its history, and its attempts.

use crate::http::agent::runs::RunSummaryView;
use crate::http::bead::handlers::id;
use crate::http::framework::project_scope::{EntityKind, ProjectScope};
use crate::http::system::events::{self, EventView, RANGE};
use crate::http::wire::page::PAGE;
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_core::kernel::event::EventFilter;
use arbiter_store::RunFilter;
use schemars::JsonSchema;
use serde::Serialize;

/// Reasons why a bead is stuck.
#[derive(Debug, Serialize, JsonSchema)]
struct WhyView {
    /// One reason a line.
    reasons: Vec<String>,
}

/// Reasons, history and runs of a bead.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/beads/{id}/why", why)
            .scope(ProjectScope::Entity(EntityKind::Bead))
            .summary("Why a bead does not move, in words")
            .answers::<WhyView>(200),
        Endpoint::get("/api/v1/beads/{id}/history", history)
            .scope(ProjectScope::Entity(EntityKind::Bead))
            .query(RANGE)
            .query(PAGE)
            .summary("What happened to a bead, oldest first")
            .answers::<Vec<EventView<'static>>>(200),
        Endpoint::get("/api/v1/beads/{id}/runs", runs)
            .scope(ProjectScope::Entity(EntityKind::Bead))
            .query(PAGE)
            .summary("What was tried on a bead, oldest first")
            .answers::<Vec<RunSummaryView>>(200),
    ]
}

async fn why(request: ApiRequest) -> Result<Reply, ApiError> {
    request.bead().await?;
    Reply::json(&WhyView {
        reasons: request.handles().dispatcher.why(&id(&request), request.within().as_deref()).await?,
    })
}

/// Also of a bead that was deleted: its events stay.
async fn history(request: ApiRequest) -> Result<Reply, ApiError> {
    let subject = request.param("id").to_owned();
    let filter =
        EventFilter { subject: Some(subject.clone()), within: request.within(), ..EventFilter::default() };
    let page = events::read(&request, filter).await?;
    if page.events.is_empty() {
        request.bead().await?;
    }
    events::answer(&request, &page)
}

async fn runs(request: ApiRequest) -> Result<Reply, ApiError> {
    let bead = request.bead().await?;
    let filter = RunFilter { bead_id: Some(bead.id.to_string()), ..RunFilter::default() };
    let page = request.handles().store.runs(filter, request.page()?).await?;
    Reply::page::<_, RunSummaryView>(request.page_link(), page)
}
