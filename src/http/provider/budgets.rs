//! Budgets: what may be spent for whom in a day or a month.

use crate::http::framework::required_role::Access;
use crate::http::wire::schema::{time, word};
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_core::budget::meter::Standing;
use arbiter_core::budget::{Period, Scope, WantedBudget};
use arbiter_core::kernel::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use warp::http::Method;

const COLLECTION: &str = "/api/v1/budgets";

/// A budget as it stands.
#[derive(Debug, Serialize, JsonSchema)]
struct BudgetView {
    /// `total`, `project:<id>` or `agent:<id>`.
    scope: String,
    /// For how long.
    #[schemars(schema_with = "word::<Period>")]
    period: Period,
    /// What may be spent, in US dollars.
    cap_usd: f64,
    /// What is spent.
    spent_usd: f64,
    /// What calls on their way may still spend.
    reserved_usd: f64,
    /// What may still be spent by further calls.
    left_usd: f64,
    /// The share, in percent, that was told of: 50, 80, 95 or 100; 0: none.
    warned: u8,
    /// When the present day or month began.
    #[schemars(schema_with = "time")]
    since: Timestamp,
    /// When the budget begins anew.
    #[schemars(schema_with = "time")]
    renews_at: Timestamp,
}

impl From<Standing> for BudgetView {
    fn from(standing: Standing) -> Self {
        Self {
            scope: standing.key.scope.to_string(),
            period: standing.key.period,
            cap_usd: standing.cap.dollars(),
            spent_usd: standing.spent.dollars(),
            reserved_usd: standing.reserved.dollars(),
            left_usd: standing.cap.minus(standing.spent).minus(standing.reserved).dollars(),
            warned: standing.warned,
            since: standing.window.start,
            renews_at: standing.window.end,
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
    /// What may be spent, in US dollars; 0: nothing.
    cap_usd: f64,
}

/// All budgets that are wanted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BudgetsBody {
    /// They take the place of all there are.
    budgets: Vec<BudgetBody>,
}

/// Showing and replacing budgets.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(COLLECTION, list)
            .summary("Every budget and what is spent of it")
            .answers::<Vec<BudgetView>>(200),
        Endpoint::with_body(Method::PUT, COLLECTION, replace)
            .access(Access::Operator)
            .summary("Put a list of budgets in the place of all there are")
            .answers::<Vec<BudgetView>>(200),
    ]
}

async fn list(request: ApiRequest) -> Result<Reply, ApiError> {
    answer(&request, request.handles().budgets.standings()).await
}

async fn replace(request: ApiRequest, body: BudgetsBody) -> Result<Reply, ApiError> {
    let wanted = |budget: BudgetBody| {
        let BudgetBody { scope, period, cap_usd } = budget;
        WantedBudget { scope, period, cap_usd }
    };
    let wanted: Vec<WantedBudget> = body.budgets.into_iter().map(wanted).collect();
    let standings = request.handles().budgets.replace(&request.caller()?, &wanted).await?;
    answer(&request, standings).await
}

/// The budgets that the token reaches.
async fn answer(request: &ApiRequest, standings: Vec<Standing>) -> Result<Reply, ApiError> {
    let mut views = Vec::new();
    for standing in standings {
        if can_access(request, &standing.key.scope).await? {
            views.push(BudgetView::from(standing));
        }
    }
    Reply::json(&views)
}

async fn can_access(request: &ApiRequest, scope: &Scope) -> Result<bool, ApiError> {
    if request.within().is_none() {
        return Ok(true);
    }
    Ok(match scope {
        Scope::Total => false,
        Scope::Project(id) => request.can_access(id.as_str()),
        Scope::Agent(id) => {
            let agent = request.handles().store.agent(id.to_string()).await?;
            agent
                .and_then(|agent| agent.project_id)
                .is_some_and(|project| request.can_access(project.as_str()))
        }
    })
}
