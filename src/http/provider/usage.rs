//! Usage: tokens and costs of provider calls, summed by group and by time.

use crate::http::framework::project_scope::ProjectScope;
use crate::http::wire::query::{QueryField, text, word as word_field};
use crate::http::wire::schema::EnumValues;
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_core::kernel::call::Kind;
use arbiter_core::kernel::time::Timestamp;
use arbiter_store::{Granularity, GroupBy, Usage, UsageFilter};
use schemars::JsonSchema;
use serde::Serialize;

const PERIOD_PARAMS: &[QueryField] = &[
    word_field(
        "per",
        <Granularity as EnumValues>::VALUES,
        "For each day, each month, or all of the time: the default",
    ),
    text("from", "Only calls that began then or later, as 2026-11-01T00:00:00Z"),
    text("to", "Only calls that began before"),
    text("model", "Only of this model"),
    text("agent_id", "Only for this agent"),
    text("project_id", "Only for this project"),
    text("bead_id", "Only for this bead"),
    text("token_id", "Only of this token"),
    word_field("kind", <Kind as EnumValues>::VALUES, "Only calls of this kind"),
];
const USAGE_PARAMS: &[QueryField] = &[
    word_field(
        "group_by",
        <GroupBy as EnumValues>::VALUES,
        "One line for each of these; provider by default",
    ),
    text("provider_id", "Only of this provider"),
];

/// Total usage of a group of calls.
#[derive(Debug, Serialize, JsonSchema)]
struct UsageView {
    /// Group key; null for calls without one.
    key: Option<String>,
    /// In which day or month, of UTC; null for all of the time.
    period: Option<String>,
    /// Calls.
    calls: u64,
    /// Calls that failed.
    failed: u64,
    /// Number of calls to the provider, retries included.
    attempts: u64,
    /// Tokens sent.
    input_tokens: u64,
    /// Tokens received.
    output_tokens: u64,
    /// Cost, in US dollars.
    cost_usd: f64,
    /// Time spent waiting for them, in milliseconds.
    latency_ms: u64,
}

impl From<Usage> for UsageView {
    fn from(usage: Usage) -> Self {
        Self {
            key: usage.key,
            period: usage.period,
            calls: usage.calls,
            failed: usage.failed,
            attempts: usage.attempts,
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cost_usd: usage.cost_usd,
            latency_ms: usage.latency_ms,
        }
    }
}

/// Sums over the ledger.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/usage", usage)
            .scope(ProjectScope::CheckedByHandler)
            .query(USAGE_PARAMS)
            .query(PERIOD_PARAMS)
            .summary("What calls to providers took and cost")
            .answers::<Vec<UsageView>>(200),
        Endpoint::get("/api/v1/providers/{id}/usage", of_provider)
            .scope(ProjectScope::CheckedByHandler)
            .query(PERIOD_PARAMS)
            .summary("What calls to one provider took and cost, by model")
            .answers::<Vec<UsageView>>(200),
    ]
}

async fn usage(call: ApiRequest) -> Result<Reply, ApiError> {
    let group = call.query.word("group_by", GroupBy::parse)?.unwrap_or(GroupBy::Provider);
    let provider_id = call.query.owned("provider_id")?;
    answer(&call, provider_id, group).await
}

async fn of_provider(call: ApiRequest) -> Result<Reply, ApiError> {
    let id = call.param("id");
    if call.handles().store.provider(id.to_owned()).await?.is_none() {
        return Err(ApiError::not_found("provider", id));
    }
    answer(&call, Some(id.to_owned()), GroupBy::Model).await
}

async fn answer(call: &ApiRequest, provider_id: Option<String>, group: GroupBy) -> Result<Reply, ApiError> {
    let query = &call.query;
    let filter = UsageFilter {
        from: query.parsed::<Timestamp>("from")?,
        to: query.parsed::<Timestamp>("to")?,
        provider_id,
        model: query.owned("model")?,
        agent_id: query.owned("agent_id")?,
        project_id: query.owned("project_id")?,
        bead_id: query.owned("bead_id")?,
        token_id: query.owned("token_id")?,
        kind: query.word("kind", Kind::parse)?,
        within: call.within(),
    };
    let per = query.word("per", Granularity::parse)?.unwrap_or(Granularity::Total);
    let lines = call.handles().store.usage(filter, group, per).await?;
    Reply::json(&lines.into_iter().map(UsageView::from).collect::<Vec<_>>())
}
