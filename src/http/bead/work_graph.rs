//! The work graph: beads and what they wait for, as JSON and as drawings.

use crate::http::bead::dto::BeadView;
use crate::http::bead::work_graph_text::{dot, mermaid};
use crate::http::framework::project_scope::ProjectScope;
use crate::http::wire::query::{QueryField, text, word as word_field};
use crate::http::wire::reply::to_json;
use crate::http::wire::schema::time;
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_core::bead::edit::Edge;
use arbiter_core::kernel::time::Timestamp;
use arbiter_store::{BeadFilter, PageRequest};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

const QUERY: &[QueryField] = &[
    text("project_id", "Only the beads of this project"),
    word_field("format", &["json", "dot", "mermaid"], "json by default"),
    text("cursor", "Where the answer before ended; comes with its Link header"),
];
/// Beads read at once.
const CHUNK: u32 = 1000;
/// Bytes of beads at which an answer ends; the next part follows its cursor.
const MAX_GRAPH_BYTES: usize = 33_554_432;
const JSON: &str = "application/json";
const PLAIN: &str = "text/plain; charset=utf-8";

/// Beads and their dependencies.
#[derive(Debug, Serialize, JsonSchema)]
pub struct GraphView {
    /// The beads by id.
    pub beads: BTreeMap<String, BeadView>,
    /// Their dependencies.
    pub edges: Vec<EdgeView>,
    /// Time of the newest change of a bead.
    #[schemars(schema_with = "time")]
    updated_at: Timestamp,
}

/// A dependency: `to` depends on `from`, so the work goes along the arrow.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EdgeView {
    /// Id of the blocking bead.
    pub from: String,
    /// Id of the dependent bead.
    pub to: String,
    /// The type of the dependency: `blocks`, `parent-child`, `related`, …
    pub relationship: String,
}

impl From<Edge> for EdgeView {
    fn from(edge: Edge) -> Self {
        Self { from: edge.depends_on.to_string(), to: edge.bead_id.to_string(), relationship: edge.kind }
    }
}

impl GraphView {
    /// A graph of these beads and edges.
    pub fn new(beads: Vec<BeadView>, edges: Vec<EdgeView>) -> Self {
        let updated_at = beads.iter().map(|bead| bead.updated_at).max().unwrap_or_default();
        Self { beads: beads.into_iter().map(|bead| (bead.id.clone(), bead)).collect(), edges, updated_at }
    }
}

/// The graph.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/work-graph", show)
            .scope(ProjectScope::CheckedByHandler)
            .query(QUERY)
            .unlimited()
            .summary("Beads and what they wait for, as JSON, Graphviz DOT or Mermaid")
            .answers::<GraphView>(200)
            .answers_as(200, PLAIN),
    ]
}

async fn show(request: ApiRequest) -> Result<Reply, ApiError> {
    let project = request.query.owned("project_id")?;
    let store = &request.handles().store;
    if let Some(id) = &project
        && (!request.can_access(id) || store.project(id.clone()).await?.is_none())
    {
        return Err(ApiError::not_found("project", id));
    }
    let filter =
        BeadFilter { project_id: project.clone(), within: request.within(), ..BeadFilter::default() };
    let guard = request.expensive()?;
    let (mut beads, mut bytes, now) = (Vec::new(), 0, request.now());
    let first = request.query.owned("cursor")?;
    let mut cursor = first.clone();
    loop {
        let mut page = store.beads(filter.clone(), PageRequest { limit: CHUNK, cursor }).await?;
        request.hide_foreign_links(&mut page.items).await?;
        bytes += page.bytes;
        beads.extend(page.items.into_iter().map(|detail| BeadView::new(detail, now)));
        cursor = page.next;
        if cursor.is_none() || bytes >= MAX_GRAPH_BYTES {
            break;
        }
    }
    let mut edges: Vec<EdgeView> = store.edges(project).await?.into_iter().map(EdgeView::from).collect();
    let is_part = first.is_some() || cursor.is_some();
    if request.within().is_some() || is_part {
        let shown: BTreeSet<&str> = beads.iter().map(|bead| bead.id.as_str()).collect();
        // The other end of an edge may be in another part.
        edges.retain(|edge| {
            shown.contains(edge.to.as_str()) && (is_part || shown.contains(edge.from.as_str()))
        });
    }
    let graph = GraphView::new(beads, edges);
    let (content_type, body) = match request.query.text("format")? {
        Some("dot") => (PLAIN, Bytes::from(dot(&graph))),
        Some("mermaid") => (PLAIN, Bytes::from(mermaid(&graph))),
        _ => (JSON, to_json(&graph)?),
    };
    let reply = Reply::guarded(content_type, body, guard);
    Ok(reply.with_next(request.page_link(), cursor.as_deref()))
}
