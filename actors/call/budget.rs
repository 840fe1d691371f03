//! Budgets as others reach them: the list as a whole.
//!
//! Owns nothing in memory. Talks to the store and the meter.

use crate::call::CallContext;
use crate::caller::Caller;
use crate::error::Error;
use arbiter_core::budget::meter::BudgetStatus;
use arbiter_core::budget::{Budget, BudgetKey, BudgetScope, NewBudget, parse_all};
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::money::Usd;
use arbiter_core::kernel::refusal::Problems;
use arbiter_store::Change;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Handle of the budgets.
#[derive(Clone)]
pub struct BudgetsHandle(pub(crate) Arc<CallContext>);

impl BudgetsHandle {
    /// Every budget as it stands.
    pub fn budget_statuses(&self) -> Vec<BudgetStatus> {
        self.0.budget_guard.budget_statuses(self.0.clock.now())
    }

    /// Puts a list of budgets in the place of all there are. One that stays keeps what is known of its spending.
    ///
    /// # Errors
    /// [`Error::Refused`] with a pointer for each wrong field; nothing changes then.
    pub async fn replace(&self, caller: &Caller, wanted: &[NewBudget]) -> Result<Vec<BudgetStatus>, Error> {
        let budgets = parse_all(wanted)?;
        self.check_known(&budgets).await?;
        let mut old: BTreeMap<BudgetKey, Usd> =
            self.0.store.budgets().await?.into_iter().map(|budget| (budget.key, budget.cap)).collect();
        let mut unit = caller.unit(self.0.clock.now(), "budgets");
        for budget in budgets {
            let before = old.remove(&budget.key);
            if before != Some(budget.cap) {
                unit.emit(changed(&budget.key, before, Some(budget.cap)));
                unit.change(Change::PutBudget(budget));
            }
        }
        for (key, cap) in old {
            unit.emit(changed(&key, Some(cap), None));
            unit.change(Change::RemoveBudget(key));
        }
        if !unit.is_empty() {
            let context = Arc::clone(&self.0);
            let work = async move {
                context.store.commit(unit).await?;
                context.budget_guard.load(&context).await?;
                // A dispatcher that saw the event may have run before the budget guard was updated.
                if let Some(observer) = context.budget_observer.upgrade() {
                    observer.budgets_changed();
                }
                Ok(())
            };
            self.0.run_to_completion("a change of the budgets", work).await?;
        }
        Ok(self.budget_statuses())
    }

    async fn check_known(&self, budgets: &[Budget]) -> Result<(), Error> {
        let mut problems = Problems::default();
        for (at, budget) in budgets.iter().enumerate() {
            let is_known = match &budget.key.scope {
                BudgetScope::Total => true,
                BudgetScope::Project(id) => self.0.store.project(id.to_string()).await?.is_some(),
                BudgetScope::Agent(id) => self.0.store.agent(id.to_string()).await?.is_some(),
            };
            let detail = format!("must name an existing scope: there is no {}", budget.key.scope);
            problems.require(is_known, &format!("budgets/{at}/scope"), detail);
        }
        Ok(problems.finish()?)
    }
}

/// The event of a budget that is new, has another cap, or is gone.
fn changed(key: &BudgetKey, old: Option<Usd>, new: Option<Usd>) -> NewEvent {
    let dollars = |cap: Option<Usd>| cap.map(Usd::dollars);
    let data = json!({
        "scope": key.scope.to_string(),
        "period": key.period,
        "changes": {"cap_usd": {"old": dollars(old), "new": dollars(new)}},
    });
    let project_id = key.scope.project().map(ToString::to_string);
    NewEvent { project_id, ..NewEvent::of(EventType::BudgetUpdated, key.to_string(), data) }
}
