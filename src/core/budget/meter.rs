//! The meter of all budgets: money is reserved before a call and settled after it, so that calls at the same
//! time cannot overrun a cap together.
//!
//! The amount spent may run ahead of the amount marked in the store by a hundredth of the cap; when it is further,
//! the meter hands out marks that must be committed before the next call goes on. After a crash a meter is
//! opened from the ledger and the marks: reservations do not outlive the process. A call belongs to the
//! window it was reserved in. The time comes in as an argument.

use crate::budget::{Budget, BudgetKey, BudgetScope, BudgetWindow, SpendCheckpoint, THRESHOLDS};
use crate::kernel::money::Usd;
use crate::kernel::time::Timestamp;
use std::collections::BTreeMap;
use std::fmt;

/// A budget with what the ledger holds of its present window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetSeed {
    pub budget: Budget,
    pub ledger: Usd,
}

/// Current standing of a budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetStatus {
    pub key: BudgetKey,
    pub cap: Usd,
    pub spent: Usd,
    pub reserved: Usd,
    /// Highest announced share of the cap, in percent; 0: none.
    pub warned: u8,
    pub window: BudgetWindow,
}

/// A share of a cap that was reached just now: below 100 a warning, at 100 the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThresholdCrossed {
    /// In percent.
    pub level: u8,
    pub budget_status: BudgetStatus,
}

/// Refusal of a call: its estimate exceeds a budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// The budget as it stands; it begins anew at the end of its window.
    pub budget_status: BudgetStatus,
    pub estimate: Usd,
    /// Threshold to announce, if the end of this budget was not announced yet.
    pub threshold: Option<ThresholdCrossed>,
    pub checkpoints: Vec<SpendCheckpoint>,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BudgetStatus { key, cap, spent, reserved, window, .. } = &self.budget_status;
        let (scope, period, estimate, end) = (&key.scope, key.period, self.estimate, window.end);
        write!(
            f,
            "the budget of {scope} for this {period} is {cap}: {spent} are spent, {reserved} are reserved, and \
             the call may cost {estimate}; the budget begins anew at {end}"
        )
    }
}

/// Money set aside for one call, in every budget it falls under. It ends by [`Meter::settle`] or
/// [`Meter::cancel`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a reservation is to be settled or cancelled"]
pub struct Reservation {
    at: Timestamp,
    amount: Usd,
    scopes: Vec<BudgetScope>,
    /// The budgets it is counted in, each with the window and the life of its account.
    shares: Vec<(BudgetKey, Timestamp, u64)>,
    checkpoints: Vec<SpendCheckpoint>,
}

impl Reservation {
    /// Returns the time of the reservation, which the ledger entry of the call carries.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Returns the reserved amount.
    pub fn amount(&self) -> Usd {
        self.amount
    }

    /// Returns the checkpoints to commit, and to report to [`Meter::checkpoint_saved`], before the call is made.
    pub fn checkpoints(&self) -> &[SpendCheckpoint] {
        &self.checkpoints
    }
}

/// Result of settling a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Shares that were reached.
    pub thresholds: Vec<ThresholdCrossed>,
    /// Cost above the reserved amount; it is booked all the same.
    pub overrun: Option<Usd>,
    /// To be committed, best together with the ledger's line; the next reservation asks for them again.
    pub checkpoints: Vec<SpendCheckpoint>,
}

#[derive(Clone, Debug)]
struct BudgetState {
    /// Tells it from an earlier account of the same budget, which was taken away meanwhile.
    generation: u64,
    cap: Usd,
    window: BudgetWindow,
    spent: Usd,
    reserved: Usd,
    checkpointed: Usd,
    warned: u8,
    unsaved: UnsavedLevel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UnsavedLevel {
    Nothing,
    Level,
}

impl BudgetState {
    fn open(seed: &BudgetSeed, generation: u64, now: Timestamp) -> Self {
        let budget = &seed.budget;
        let window = budget.key.period.window(now);
        let checkpoint = budget.checkpoint_in(window);
        let checkpointed = checkpoint.map_or(Usd::ZERO, |checkpoint| checkpoint.spent);
        let spent = seed.ledger.max(checkpointed);
        // Of a cap that was raised, what it no longer reaches is told again when the time comes.
        let warned =
            checkpoint.map_or(0, |checkpoint| checkpoint.warned).min(threshold_of(spent, budget.cap));
        let (cap, reserved, unsaved) = (budget.cap, Usd::ZERO, UnsavedLevel::Nothing);
        Self { generation, cap, window, spent, reserved, checkpointed, warned, unsaved }
    }

    /// Begins anew when its window is over; a clock that was set back changes nothing.
    fn roll(&mut self, key: &BudgetKey, now: Timestamp) {
        if now >= self.window.end {
            let window = key.period.window(now);
            let (spent, reserved, checkpointed) = (Usd::ZERO, Usd::ZERO, Usd::ZERO);
            let (warned, unsaved) = (0, UnsavedLevel::Nothing);
            *self = Self { window, spent, reserved, checkpointed, warned, unsaved, ..*self };
        }
    }

    fn fit(&self, estimate: Usd) -> BudgetFit {
        let left = self.cap.minus(self.spent).minus(self.reserved);
        if estimate <= left && self.spent < self.cap {
            BudgetFit::Yes
        } else if self.spent < self.cap && self.spent.plus(estimate) <= self.cap {
            BudgetFit::NotNow
        } else {
            BudgetFit::Never
        }
    }

    fn budget_status(&self, key: &BudgetKey) -> BudgetStatus {
        let Self { cap, spent, reserved, warned, window, .. } = *self;
        BudgetStatus { key: key.clone(), cap, spent, reserved, warned, window }
    }

    /// The mark that is wanted, if one is.
    fn checkpoint_due(&self, key: &BudgetKey) -> Option<SpendCheckpoint> {
        let ahead = self.spent.minus(self.checkpointed);
        (ahead > self.cap.hundredth() || self.unsaved == UnsavedLevel::Level).then(|| self.checkpoint(key))
    }

    fn checkpoint(&self, key: &BudgetKey) -> SpendCheckpoint {
        SpendCheckpoint {
            key: key.clone(),
            window: self.window.start,
            spent: self.spent,
            warned: self.warned,
        }
    }

    fn cross_threshold(&mut self, key: &BudgetKey, level: u8) -> Option<ThresholdCrossed> {
        if level <= self.warned {
            return None;
        }
        self.warned = level;
        self.unsaved = UnsavedLevel::Level;
        Some(ThresholdCrossed { level, budget_status: self.budget_status(key) })
    }
}

/// Result of checking an estimate against a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BudgetFit {
    Yes,
    /// Calls on their way may still take too much.
    NotNow,
    Never,
}

/// The highest level that this much of the cap reaches.
fn threshold_of(spent: Usd, cap: Usd) -> u8 {
    THRESHOLDS.into_iter().filter(|level| spent.has_reached(*level, cap)).max().unwrap_or(0)
}

/// The meter of all budgets.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    states: BTreeMap<BudgetKey, BudgetState>,
    generations: u64,
}

impl Meter {
    /// A meter over these budgets, nothing reserved: at the start, and after a crash.
    pub fn open(seeds: &[BudgetSeed], now: Timestamp) -> Self {
        Self::in_generation(0, seeds, now)
    }

    fn in_generation(generation: u64, seeds: &[BudgetSeed], now: Timestamp) -> Self {
        let open = |one: &BudgetSeed| (one.budget.key.clone(), BudgetState::open(one, generation, now));
        Self { states: seeds.iter().map(open).collect(), generations: generation }
    }

    /// Other budgets from now on. What stays keeps what is spent and reserved in it.
    pub fn replace(&mut self, seeds: &[BudgetSeed], now: Timestamp) {
        let mut fresh = Self::in_generation(self.generations + 1, seeds, now);
        for (key, state) in &mut fresh.states {
            let Some(old) = self.states.get_mut(key) else { continue };
            old.roll(key, now);
            (state.generation, state.window) = (old.generation, old.window);
            state.spent = state.spent.max(old.spent);
            state.reserved = old.reserved;
            state.checkpointed = state.checkpointed.max(old.checkpointed);
            state.warned = old.warned.min(threshold_of(state.spent, state.cap));
            state.unsaved = old.unsaved;
        }
        *self = fresh;
    }

    /// Returns whether one of these scopes has a budget.
    pub fn has_budget(&self, scopes: &[BudgetScope]) -> bool {
        self.states.keys().any(|key| scopes.contains(&key.scope))
    }

    /// Sets money aside in every budget of these scopes, or in none.
    ///
    /// # Errors
    /// [`Exhausted`] names the first budget that does not hold the estimate; nothing is set aside then.
    pub fn reserve(
        &mut self,
        scopes: &[BudgetScope],
        estimate: Usd,
        now: Timestamp,
    ) -> Result<Reservation, Box<Exhausted>> {
        let mine = |key: &BudgetKey| scopes.contains(&key.scope);
        for (key, state) in self.states.iter_mut().filter(|(key, _)| mine(key)) {
            state.roll(key, now);
            let fit = state.fit(estimate);
            if fit != BudgetFit::Yes {
                let threshold = if fit == BudgetFit::Never { state.cross_threshold(key, 100) } else { None };
                let checkpoints = state.checkpoint_due(key).into_iter().collect();
                return Err(Box::new(Exhausted {
                    budget_status: state.budget_status(key),
                    estimate,
                    threshold,
                    checkpoints,
                }));
            }
        }
        let (mut shares, mut checkpoints) = (Vec::new(), Vec::new());
        for (key, state) in self.states.iter_mut().filter(|(key, _)| mine(key)) {
            state.reserved = state.reserved.plus(estimate);
            shares.push((key.clone(), state.window.start, state.generation));
            checkpoints.extend(state.checkpoint_due(key));
        }
        Ok(Reservation { at: now, amount: estimate, scopes: scopes.to_vec(), shares, checkpoints })
    }

    /// Books what a call cost, also when that is more than was set aside.
    #[allow(clippy::needless_pass_by_value)] // a reservation ends once
    pub fn settle(&mut self, reservation: Reservation, actual: Usd, now: Timestamp) -> Settled {
        self.release(&reservation, now);
        let overrun = actual.minus(reservation.amount);
        let overrun = (overrun > Usd::ZERO).then_some(overrun);
        let mut settled = Settled { overrun, ..Settled::default() };
        for (key, state) in &mut self.states {
            let share = reservation.shares.iter().find(|(shared, ..)| shared == key);
            // A budget that came meanwhile counts what began in its window.
            let begun = share.map_or(reservation.at, |(_, window, _)| *window);
            if !reservation.scopes.contains(&key.scope) || begun < state.window.start {
                continue;
            }
            state.spent = state.spent.plus(actual);
            let level = threshold_of(state.spent, state.cap);
            if actual > Usd::ZERO {
                settled.thresholds.extend(state.cross_threshold(key, level));
            }
            settled.checkpoints.extend(state.checkpoint_due(key));
        }
        settled
    }

    /// Releases the reservation of a call that cost nothing.
    #[allow(clippy::needless_pass_by_value)] // a reservation ends once
    pub fn cancel(&mut self, reservation: Reservation, now: Timestamp) {
        self.release(&reservation, now);
    }

    fn release(&mut self, reservation: &Reservation, now: Timestamp) {
        for (key, state) in &mut self.states {
            state.roll(key, now);
            if reservation.shares.contains(&(key.clone(), state.window.start, state.generation)) {
                state.reserved = state.reserved.minus(reservation.amount);
            }
        }
    }

    /// Records that the store has saved a checkpoint.
    pub fn checkpoint_saved(&mut self, checkpoint: &SpendCheckpoint) {
        if let Some(state) =
            self.states.get_mut(&checkpoint.key).filter(|a| a.window.start == checkpoint.window)
        {
            state.checkpointed = state.checkpointed.max(checkpoint.spent);
            if checkpoint.warned >= state.warned {
                state.unsaved = UnsavedLevel::Nothing;
            }
        }
    }

    /// Returns the standing of every budget.
    pub fn budget_statuses(&mut self, now: Timestamp) -> Vec<BudgetStatus> {
        self.states.iter_mut().for_each(|(key, state)| state.roll(key, now));
        self.states.iter().map(|(key, state)| state.budget_status(key)).collect()
    }
}

#[cfg(test)]
mod tests;
