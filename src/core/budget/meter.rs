//! The meter of all budgets: money is reserved before a call and settled after it, so that calls at the same
//! time cannot overrun a cap together.
//!
//! What is spent may run ahead of what is marked in the store by a hundredth of the cap; when it is further,
//! the meter hands out marks that must be committed before the next call goes on. After a crash a meter is
//! opened from the ledger and the marks: reservations do not outlive the process. A call belongs to the
//! window it was reserved in. The time comes in as an argument.

use crate::budget::{Budget, Key, LEVELS, Scope, SpendCheckpoint, Window};
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

/// How a budget stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub key: Key,
    pub cap: Usd,
    pub spent: Usd,
    pub reserved: Usd,
    /// The share of the cap, in percent, that was told of; 0: none.
    pub warned: u8,
    pub window: Window,
}

/// A share of a cap that was reached just now: below 100 a warning, at 100 the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThresholdCrossed {
    /// In percent.
    pub level: u8,
    pub standing: Standing,
}

/// Why a call is not made: a budget does not hold its estimate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// The budget as it stands; it begins anew at the end of its window.
    pub standing: Standing,
    pub estimate: Usd,
    /// To be told, when nobody was told yet that this budget is at its end.
    pub crossing: Option<ThresholdCrossed>,
    pub marks: Vec<SpendCheckpoint>,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Standing { key, cap, spent, reserved, window, .. } = &self.standing;
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
    scopes: Vec<Scope>,
    /// The budgets it is counted in, each with the window and the life of its account.
    shares: Vec<(Key, Timestamp, u64)>,
    marks: Vec<SpendCheckpoint>,
}

impl Reservation {
    /// When it was made: the time that the ledger's line of the call bears.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// What is set aside.
    pub fn amount(&self) -> Usd {
        self.amount
    }

    /// What has to be committed, and told to [`Meter::committed`], before the call is made.
    pub fn marks(&self) -> &[SpendCheckpoint] {
        &self.marks
    }
}

/// What the settlement of a call brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Shares that were reached.
    pub crossings: Vec<ThresholdCrossed>,
    /// How much more the call cost than was set aside; it is booked all the same.
    pub over: Option<Usd>,
    /// To be committed, best together with the ledger's line; the next reservation asks for them again.
    pub marks: Vec<SpendCheckpoint>,
}

#[derive(Clone, Debug)]
struct BudgetState {
    /// Tells it from an earlier account of the same budget, which was taken away meanwhile.
    life: u64,
    cap: Usd,
    window: Window,
    spent: Usd,
    reserved: Usd,
    marked: Usd,
    warned: u8,
    untold: Untold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Untold {
    Nothing,
    Level,
}

impl BudgetState {
    fn open(opening: &BudgetSeed, life: u64, now: Timestamp) -> Self {
        let budget = &opening.budget;
        let window = budget.key.period.window(now);
        let mark = budget.mark_in(window);
        let marked = mark.map_or(Usd::ZERO, |mark| mark.spent);
        let spent = opening.ledger.max(marked);
        // Of a cap that was raised, what it no longer reaches is told again when the time comes.
        let warned = mark.map_or(0, |mark| mark.warned).min(level_of(spent, budget.cap));
        let (cap, reserved, untold) = (budget.cap, Usd::ZERO, Untold::Nothing);
        Self { life, cap, window, spent, reserved, marked, warned, untold }
    }

    /// Begins anew when its window is over; a clock that was set back changes nothing.
    fn roll(&mut self, key: &Key, now: Timestamp) {
        if now >= self.window.end {
            let window = key.period.window(now);
            let (spent, reserved, marked) = (Usd::ZERO, Usd::ZERO, Usd::ZERO);
            let (warned, untold) = (0, Untold::Nothing);
            *self = Self { window, spent, reserved, marked, warned, untold, ..*self };
        }
    }

    fn holds(&self, estimate: Usd) -> BudgetFit {
        let left = self.cap.minus(self.spent).minus(self.reserved);
        if estimate <= left && self.spent < self.cap {
            BudgetFit::Yes
        } else if self.spent < self.cap && self.spent.plus(estimate) <= self.cap {
            BudgetFit::NotNow
        } else {
            BudgetFit::Never
        }
    }

    fn standing(&self, key: &Key) -> Standing {
        let Self { cap, spent, reserved, warned, window, .. } = *self;
        Standing { key: key.clone(), cap, spent, reserved, warned, window }
    }

    /// The mark that is wanted, if one is.
    fn mark_due(&self, key: &Key) -> Option<SpendCheckpoint> {
        let ahead = self.spent.minus(self.marked);
        (ahead > self.cap.hundredth() || self.untold == Untold::Level).then(|| self.mark(key))
    }

    fn mark(&self, key: &Key) -> SpendCheckpoint {
        SpendCheckpoint {
            key: key.clone(),
            window: self.window.start,
            spent: self.spent,
            warned: self.warned,
        }
    }

    fn told(&mut self, key: &Key, level: u8) -> Option<ThresholdCrossed> {
        if level <= self.warned {
            return None;
        }
        self.warned = level;
        self.untold = Untold::Level;
        Some(ThresholdCrossed { level, standing: self.standing(key) })
    }
}

/// Whether a budget holds an estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BudgetFit {
    Yes,
    /// Calls on their way may still take too much.
    NotNow,
    Never,
}

/// The highest level that this much of the cap reaches.
fn level_of(spent: Usd, cap: Usd) -> u8 {
    LEVELS.into_iter().filter(|level| spent.reaches(*level, cap)).max().unwrap_or(0)
}

/// The meter of all budgets.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    accounts: BTreeMap<Key, BudgetState>,
    lives: u64,
}

impl Meter {
    /// A meter over these budgets, nothing reserved: at the start, and after a crash.
    pub fn open(openings: &[BudgetSeed], now: Timestamp) -> Self {
        Self::in_life(0, openings, now)
    }

    fn in_life(life: u64, openings: &[BudgetSeed], now: Timestamp) -> Self {
        let open = |one: &BudgetSeed| (one.budget.key.clone(), BudgetState::open(one, life, now));
        Self { accounts: openings.iter().map(open).collect(), lives: life }
    }

    /// Other budgets from now on. What stays keeps what is spent and reserved in it.
    pub fn replace(&mut self, openings: &[BudgetSeed], now: Timestamp) {
        let mut fresh = Self::in_life(self.lives + 1, openings, now);
        for (key, account) in &mut fresh.accounts {
            let Some(old) = self.accounts.get_mut(key) else { continue };
            old.roll(key, now);
            (account.life, account.window) = (old.life, old.window);
            account.spent = account.spent.max(old.spent);
            account.reserved = old.reserved;
            account.marked = account.marked.max(old.marked);
            account.warned = old.warned.min(level_of(account.spent, account.cap));
            account.untold = old.untold;
        }
        *self = fresh;
    }

    /// Sets money aside in every budget of these scopes, or in none.
    ///
    /// # Errors
    /// [`Exhausted`] names the first budget that does not hold the estimate; nothing is set aside then.
    pub fn reserve(
        &mut self,
        scopes: &[Scope],
        estimate: Usd,
        now: Timestamp,
    ) -> Result<Reservation, Box<Exhausted>> {
        let mine = |key: &Key| scopes.contains(&key.scope);
        for (key, account) in self.accounts.iter_mut().filter(|(key, _)| mine(key)) {
            account.roll(key, now);
            let holds = account.holds(estimate);
            if holds != BudgetFit::Yes {
                let crossing = if holds == BudgetFit::Never { account.told(key, 100) } else { None };
                let marks = account.mark_due(key).into_iter().collect();
                return Err(Box::new(Exhausted {
                    standing: account.standing(key),
                    estimate,
                    crossing,
                    marks,
                }));
            }
        }
        let (mut shares, mut marks) = (Vec::new(), Vec::new());
        for (key, account) in self.accounts.iter_mut().filter(|(key, _)| mine(key)) {
            account.reserved = account.reserved.plus(estimate);
            shares.push((key.clone(), account.window.start, account.life));
            marks.extend(account.mark_due(key));
        }
        Ok(Reservation { at: now, amount: estimate, scopes: scopes.to_vec(), shares, marks })
    }

    /// Books what a call cost, also when that is more than was set aside.
    #[allow(clippy::needless_pass_by_value)] // a reservation ends once
    pub fn settle(&mut self, reservation: Reservation, actual: Usd, now: Timestamp) -> Settled {
        self.free(&reservation, now);
        let over = actual.minus(reservation.amount);
        let over = (over > Usd::ZERO).then_some(over);
        let mut settled = Settled { over, ..Settled::default() };
        for (key, account) in &mut self.accounts {
            let share = reservation.shares.iter().find(|(shared, ..)| shared == key);
            // A budget that came meanwhile counts what began in its window.
            let begun = share.map_or(reservation.at, |(_, window, _)| *window);
            if !reservation.scopes.contains(&key.scope) || begun < account.window.start {
                continue;
            }
            account.spent = account.spent.plus(actual);
            let level = level_of(account.spent, account.cap);
            if actual > Usd::ZERO {
                settled.crossings.extend(account.told(key, level));
            }
            settled.marks.extend(account.mark_due(key));
        }
        settled
    }

    /// Gives back what was set aside for a call that cost nothing.
    #[allow(clippy::needless_pass_by_value)] // a reservation ends once
    pub fn cancel(&mut self, reservation: Reservation, now: Timestamp) {
        self.free(&reservation, now);
    }

    fn free(&mut self, reservation: &Reservation, now: Timestamp) {
        for (key, account) in &mut self.accounts {
            account.roll(key, now);
            if reservation.shares.contains(&(key.clone(), account.window.start, account.life)) {
                account.reserved = account.reserved.minus(reservation.amount);
            }
        }
    }

    /// Takes note of a mark that is in the store.
    pub fn committed(&mut self, mark: &SpendCheckpoint) {
        if let Some(account) = self.accounts.get_mut(&mark.key).filter(|a| a.window.start == mark.window) {
            account.marked = account.marked.max(mark.spent);
            if mark.warned >= account.warned {
                account.untold = Untold::Nothing;
            }
        }
    }

    /// Marks of everything that is spent and not marked: for an orderly end.
    pub fn last_marks(&self) -> Vec<SpendCheckpoint> {
        let ahead = self.accounts.iter().filter(|(_, account)| account.spent > account.marked);
        ahead.map(|(key, account)| account.mark(key)).collect()
    }

    /// How every budget stands.
    pub fn standings(&mut self, now: Timestamp) -> Vec<Standing> {
        self.accounts.iter_mut().for_each(|(key, account)| account.roll(key, now));
        self.accounts.iter().map(|(key, account)| account.standing(key)).collect()
    }
}

#[cfg(test)]
mod tests;
