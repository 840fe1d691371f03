//! What may still be spent, as every call in this process sees it.
//!
//! Owns the meter of the budgets. What it says must be written down first is committed here before the call
//! goes on; after a crash it begins anew from the ledger and the marks.

use crate::context::SharedContext;
use crate::error::{BUDGET_EXHAUSTED, Error};
use arbiter_core::budget::meter::{Meter, Reservation, Standing, ThresholdCrossed};
use arbiter_core::budget::{Scope, SpendCheckpoint};
use arbiter_core::dispatch::assign::Spent;
use arbiter_core::kernel::call::Call;
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::money::Usd;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::kernel::run::Run;
use arbiter_core::kernel::time::Timestamp;
use arbiter_store::{Change, Unit};
use serde_json::json;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    shared: Arc<SharedContext>,
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the budgets and what was spent of them from the store.
    pub(crate) async fn load(&self, shared: &SharedContext) -> Result<(), Error> {
        let now = shared.clock.now();
        let openings = shared.store.budget_openings(now).await?;
        self.meter().replace(&openings, now);
        Ok(())
    }

    /// Sets money aside in every budget that the call falls under, or in none.
    ///
    /// # Errors
    /// [`Error::Refused`] with `budget-exhausted`.
    pub(crate) async fn reserve(
        &self,
        shared: &Arc<SharedContext>,
        scopes: &[Scope],
        estimate: Usd,
    ) -> Result<ReservationGuard, Error> {
        let taken = self.meter().reserve(scopes, estimate, shared.clock.now());
        match taken {
            Ok(reservation) => {
                let (marks, at) = (reservation.marks().to_vec(), reservation.at());
                // From here on it goes back by itself when the marks cannot be written.
                let guard =
                    ReservationGuard { shared: Arc::clone(shared), reservation: Some(reservation), at };
                self.write(shared, vec![], &[], &marks).await?;
                Ok(guard)
            }
            Err(exhausted) => {
                if let Some(crossing) = &exhausted.crossing {
                    self.write(shared, vec![], std::slice::from_ref(crossing), &exhausted.marks).await?;
                }
                Err(Refusal::conflict(BUDGET_EXHAUSTED, exhausted.to_string()).into())
            }
        }
    }

    /// Books what a call cost, and writes its line of the ledger with everything that has to be told.
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
        self.write(&shared, lines.into_iter().flatten().collect(), &settled.crossings, &settled.marks).await
    }

    /// Every budget as it stands, with what calls on their way may still spend.
    pub(crate) fn standings(&self, now: Timestamp) -> Vec<Standing> {
        self.meter().standings(now)
    }

    /// The budgets that are at their end.
    pub(crate) fn spent(&self, now: Timestamp) -> Spent {
        Spent::of(&self.standings(now))
    }

    async fn write(
        &self,
        shared: &SharedContext,
        lines: Vec<Change>,
        crossings: &[ThresholdCrossed],
        marks: &[SpendCheckpoint],
    ) -> Result<(), Error> {
        let mut unit = Unit::new(shared.clock.now(), "system", "budgets");
        for line in lines {
            unit.change(line);
        }
        for crossing in crossings {
            unit.emit(event_for(crossing));
        }
        for mark in marks {
            unit.change(Change::MarkBudget(mark.clone()));
        }
        if unit.is_empty() {
            return Ok(());
        }
        shared.store.commit(unit).await?;
        let mut meter = self.meter();
        marks.iter().for_each(|mark| meter.committed(mark));
        Ok(())
    }
}

fn event_for(crossing: &ThresholdCrossed) -> NewEvent {
    let standing = &crossing.standing;
    let kind = if crossing.level >= ALL { EventType::BudgetExhausted } else { EventType::BudgetWarning };
    let data = json!({
        "scope": standing.key.scope.to_string(), "period": standing.key.period, "level": crossing.level,
        "cap_usd": standing.cap.dollars(), "spent_usd": standing.spent.dollars(),
        "reserved_usd": standing.reserved.dollars(), "until": standing.window.end,
    });
    let project_id = standing.key.scope.project().map(ToString::to_string);
    NewEvent { project_id, ..NewEvent::of(kind, standing.key.to_string(), data) }
}
