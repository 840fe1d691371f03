//! `arbiter budget …`: spending limits per day or month.

use crate::cli::client::request::Request;
use crate::cli::client::session::Session;
use crate::cli::ui::failure::Failure;
use crate::cli::ui::table::Column;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

const COLUMNS: &[Column] = &[
    ("scope", "scope"),
    ("period", "period"),
    ("cap", "cap_usd"),
    ("spent", "spent_usd"),
    ("reserved", "reserved_usd"),
    ("left", "left_usd"),
    ("warned %", "warned"),
    ("renews", "renews_at"),
];

/// Subcommands of `arbiter budget`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the budgets and the amounts spent
    List,
    /// Set one limit; the other budgets stay as they are
    Set {
        #[command(flatten)]
        which: BudgetKey,
        /// The limit in US dollars; 0 forbids spending
        #[arg(value_name = "USD")]
        cap_usd: f64,
    },
    /// Remove a budget
    Remove {
        #[command(flatten)]
        which: BudgetKey,
    },
}

/// Which budget.
#[derive(Debug, Args)]
pub struct BudgetKey {
    /// total, project:ID or agent:ID
    scope: String,
    /// The period
    #[arg(value_parser = ["day", "month"])]
    period: String,
}

impl Command {
    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List => {
                let budgets = session.client.json(&Request::get(&["budgets"])).await?;
                session.output.list(budgets.as_array().map_or(&[][..], Vec::as_slice), COLUMNS)
            }
            Self::Set { which, cap_usd } => {
                let BudgetKey { scope, period } = which;
                let replacement = json!({"scope": scope, "period": period, "cap_usd": cap_usd});
                replace(session, &scope, &period, Some(replacement)).await
            }
            Self::Remove { which } => replace(session, &which.scope, &which.period, None).await,
        }
    }
}

/// Puts `replacement` in the place of the budget of this scope and period. The server takes the list as a whole.
async fn replace(
    session: &Session,
    scope: &str,
    period: &str,
    replacement: Option<Value>,
) -> Result<(), Failure> {
    let now = session.client.json(&Request::get(&["budgets"])).await?;
    let all = now.as_array().cloned().unwrap_or_default();
    let others = all.iter().filter(|budget| budget["scope"] != scope || budget["period"] != period);
    let remaining = others.map(
        |budget| json!({"scope": budget["scope"], "period": budget["period"], "cap_usd": budget["cap_usd"]}),
    );
    let remaining: Vec<Value> = remaining.collect();
    if replacement.is_none() && remaining.len() == all.len() {
        return Err(Failure::Failed(format!("there is no budget of {scope} for a {period}")));
    }
    let budgets: Vec<Value> = remaining.into_iter().chain(replacement).collect();
    let request = Request::put(&["budgets"]).exact_body(json!({"budgets": budgets}));
    let after = session.client.json(&request).await?;
    session.output.list(after.as_array().map_or(&[][..], Vec::as_slice), COLUMNS)
}
