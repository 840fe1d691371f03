//! Budget guard: the remaining budgets for every call in this process.
//!
//! Owns the meter of the budgets. What it says must be written down first is committed here before the call
//! goes on; after a crash it begins anew from the ledger and the marks.

use crate::call::CallContext;
use crate::error::Error;
use crate::services::Services;
use arbiter_core::budget::meter::{BudgetStatus, Meter, Reservation, ThresholdCrossed};
use arbiter_core::budget::{BudgetScope, SpendCheckpoint};
use arbiter_core::dispatch::assign::ExhaustedBudgets;
use arbiter_core::kernel::call::Call;
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::money::Usd;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::kernel::run::Run;
use arbiter_core::kernel::time::Timestamp;
use arbiter_store::{Change, Unit};
use parking_lot::{Mutex, MutexGuard};
use serde_json::json;
use std::sync::Arc;

/// The share of a budget at which it is at its end, in percent.
const ALL: u8 = 100;

/// The meter of the budgets.
pub(crate) struct BudgetGuard(Mutex<Meter>);

impl Default for BudgetGuard {
    fn default() -> Self {
        Self(Mutex::new(Meter::open(&[], Timestamp::default())))
    }
}

/// Money that is set aside for one call. Dropping it gives the money back: the call came to nothing.
pub(crate) struct ReservationGuard {
    shared: Arc<CallContext>,
    reservation: Option<Reservation>,
    pub(crate) at: Timestamp,
}

impl Drop for ReservationGuard {
    fn drop(&mut self) {
        if let Some(reservation) = self.reservation.take() {
            self.shared.budget_guard.meter().cancel(reservation, self.shared.clock.now());
        }
    }
}

impl BudgetGuard {
    fn meter(&self) -> MutexGuard<'_, Meter> {
        self.0.lock()
    }

    /// Reads the budgets and what was spent of them from the store.
    pub(crate) async fn load(&self, shared: &Services) -> Result<(), Error> {
        let now = shared.clock.now();
        let seeds = shared.store.budget_seeds(now).await?;
        self.meter().replace(&seeds, now);
        Ok(())
    }

    /// Sets money aside in every budget that the call falls under, or in none.
    ///
    /// # Errors
    /// [`Error::Refused`] with `budget-exhausted`.
    pub(crate) async fn reserve(
        &self,
        shared: &Arc<CallContext>,
        scopes: &[BudgetScope],
        estimate: Usd,
    ) -> Result<ReservationGuard, Error> {
        let taken = self.meter().reserve(scopes, estimate, shared.clock.now());
        match taken {
            Ok(reservation) => {
                let (checkpoints, at) = (reservation.checkpoints().to_vec(), reservation.at());
                // From here on it goes back by itself when the marks cannot be written.
                let guard =
                    ReservationGuard { shared: Arc::clone(shared), reservation: Some(reservation), at };
                self.write(shared, vec![], &[], &checkpoints).await?;
                Ok(guard)
            }
            Err(exhausted) => {
                if let Some(threshold) = &exhausted.threshold {
                    self.write(shared, vec![], std::slice::from_ref(threshold), &exhausted.checkpoints)
                        .await?;
                }
                Err(Refusal::conflict(ProblemCode::BudgetExhausted, exhausted.to_string()).into())
            }
        }
    }

    /// Books the cost of a call, and writes its ledger entry and its events.
    pub(crate) async fn settle(
        &self,
        mut guard: ReservationGuard,
        call: Call,
        run: Option<Run>,
    ) -> Result<(), Error> {
        let Some(reservation) = guard.reservation.take() else { return Ok(()) };
        let shared = Arc::clone(&guard.shared);
        let settled = self.meter().settle(reservation, Usd::from_dollars(call.cost_usd), shared.clock.now());
        let lines = [Some(Change::Call(call)), run.map(Change::RecordRun)];
        self.write(&shared, lines.into_iter().flatten().collect(), &settled.thresholds, &settled.checkpoints)
            .await
    }

    /// Returns whether a call of these scopes falls under a budget.
    pub(crate) fn has_budget(&self, scopes: &[BudgetScope]) -> bool {
        self.meter().has_budget(scopes)
    }

    /// Every budget as it stands, with what calls on their way may still spend.
    pub(crate) fn budget_statuses(&self, now: Timestamp) -> Vec<BudgetStatus> {
        self.meter().budget_statuses(now)
    }

    /// The budgets that are at their end.
    pub(crate) fn spent(&self, now: Timestamp) -> ExhaustedBudgets {
        ExhaustedBudgets::of(&self.budget_statuses(now))
    }

    async fn write(
        &self,
        shared: &Services,
        lines: Vec<Change>,
        thresholds: &[ThresholdCrossed],
        checkpoints: &[SpendCheckpoint],
    ) -> Result<(), Error> {
        let mut unit = Unit::new(shared.clock.now(), "system", "budgets");
        for line in lines {
            unit.change(line);
        }
        for threshold in thresholds {
            unit.emit(event_for(threshold));
        }
        for checkpoint in checkpoints {
            unit.change(Change::SaveBudgetCheckpoint(checkpoint.clone()));
        }
        if unit.is_empty() {
            return Ok(());
        }
        shared.store.commit(unit).await?;
        let mut meter = self.meter();
        checkpoints.iter().for_each(|checkpoint| meter.checkpoint_saved(checkpoint));
        Ok(())
    }
}

fn event_for(threshold: &ThresholdCrossed) -> NewEvent {
    let budget_status = &threshold.budget_status;
    let kind = if threshold.level >= ALL { EventType::BudgetExhausted } else { EventType::BudgetWarning };
    let data = json!({
        "scope": budget_status.key.scope.to_string(), "period": budget_status.key.period, "level": threshold.level,
        "cap_usd": budget_status.cap.dollars(), "spent_usd": budget_status.spent.dollars(),
        "reserved_usd": budget_status.reserved.dollars(), "until": budget_status.window.end,
    });
    let project_id = budget_status.key.scope.project().map(ToString::to_string);
    NewEvent { project_id, ..NewEvent::of(kind, budget_status.key.to_string(), data) }
}
