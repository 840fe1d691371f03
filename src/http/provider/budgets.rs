//! Budgets: spending limits for a day or a month.

use crate::http::framework::project_scope::ProjectScope;
use crate::http::framework::required_role::Access;
use crate::http::wire::schema::{time, word};
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_core::budget::meter::BudgetStatus;
use arbiter_core::budget::{BudgetScope, NewBudget, Period};
use arbiter_core::kernel::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use warp::http::Method;

const COLLECTION: &str = "/api/v1/budgets";

/// Current state of a budget.
#[derive(Debug, Serialize, JsonSchema)]
struct BudgetView {
    /// `total`, `project:<id>` or `agent:<id>`.
    scope: String,
    /// For how long.
    #[schemars(schema_with = "word::<Period>")]
    period: Period,
    /// Spending limit, in US dollars.
    cap_usd: f64,
    /// Amount spent, in US dollars.
    spent_usd: f64,
    /// Amount reserved for calls in flight, in US dollars.
    reserved_usd: f64,
    /// Amount left for further calls, in US dollars.
    left_usd: f64,
    /// Last announced threshold, in percent: 50, 80, 95 or 100; 0 if none.
    warned: u8,
    /// Start of the current day or month.
    #[schemars(schema_with = "time")]
    since: Timestamp,
    /// Time at which the budget renews.
    #[schemars(schema_with = "time")]
    renews_at: Timestamp,
}

impl From<BudgetStatus> for BudgetView {
    fn from(budget_status: BudgetStatus) -> Self {
        Self {
            scope: budget_status.key.scope.to_string(),
            period: budget_status.key.period,
            cap_usd: budget_status.cap.dollars(),
            spent_usd: budget_status.spent.dollars(),
            reserved_usd: budget_status.reserved.dollars(),
            left_usd: budget_status.cap.minus(budget_status.spent).minus(budget_status.reserved).dollars(),
            warned: budget_status.warned,
            since: budget_status.window.start,
            renews_at: budget_status.window.end,
        }
    }
}

/// A budget that is wanted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BudgetBody {
    /// `total`, `project:<id>` or `agent:<id>`.
    scope: String,
    /// For how long.
    #[schemars(schema_with = "word::<Period>")]
    period: Period,
    /// Spending limit, in US dollars; 0 blocks all calls.
    cap_usd: f64,
}

/// All budgets that are wanted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BudgetsBody {
    /// Budgets that replace all existing ones.
    budgets: Vec<BudgetBody>,
}

/// Showing and replacing budgets.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(COLLECTION, list)
            .scope(ProjectScope::CheckedByHandler)
            .summary("Every budget and what is spent of it")
            .answers::<Vec<BudgetView>>(200),
        Endpoint::with_body(Method::PUT, COLLECTION, replace)
            .access(Access::Operator)
            .summary("Put a list of budgets in the place of all there are")
            .answers::<Vec<BudgetView>>(200),
    ]
}

async fn list(request: ApiRequest) -> Result<Reply, ApiError> {
    answer(&request, request.handles().budgets.budget_statuses()).await
}

async fn replace(request: ApiRequest, body: BudgetsBody) -> Result<Reply, ApiError> {
    let wanted = |budget: BudgetBody| {
        let BudgetBody { scope, period, cap_usd } = budget;
        NewBudget { scope, period, cap_usd }
    };
    let wanted: Vec<NewBudget> = body.budgets.into_iter().map(wanted).collect();
    let budget_statuses = request.handles().budgets.replace(&request.caller()?, &wanted).await?;
    answer(&request, budget_statuses).await
}

/// The budgets that the token reaches.
async fn answer(request: &ApiRequest, budget_statuses: Vec<BudgetStatus>) -> Result<Reply, ApiError> {
    let mut views = Vec::new();
    for budget_status in budget_statuses {
        if can_access(request, &budget_status.key.scope).await? {
            views.push(BudgetView::from(budget_status));
        }
    }
    Reply::json(&views)
}

async fn can_access(request: &ApiRequest, scope: &BudgetScope) -> Result<bool, ApiError> {
    if request.within().is_none() {
        return Ok(true);
    }
    Ok(match scope {
        BudgetScope::Total => false,
        BudgetScope::Project(id) => request.can_access(id.as_str()),
        BudgetScope::Agent(id) => {
            let agent = request.handles().store.agent(id.to_string()).await?;
            agent
                .and_then(|agent| agent.project_id)
                .is_some_and(|project| request.can_access(project.as_str()))
        }
    })
}
