//! Reservations side by side, settlements, windows that end, crashes; and any order of all of them.

use super::*;
use crate::budget::Period;
use crate::kernel::ids::{AgentId, ProjectId};
use proptest::prelude::*;

fn usd(dollars: f64) -> Usd {
    Usd::from_dollars(dollars)
}

fn at(hour: i64) -> Timestamp {
    "2026-11-23T00:00:00Z"
        .parse::<Timestamp>()
        .unwrap()
        .plus(std::time::Duration::from_secs(u64::try_from(hour).unwrap() * 3600))
}

fn key(scope: BudgetScope, period: Period) -> BudgetKey {
    BudgetKey { scope, period }
}

fn project() -> BudgetScope {
    BudgetScope::Project(ProjectId::from_trusted("p"))
}

fn agent() -> BudgetScope {
    BudgetScope::Agent(AgentId::from_trusted("a"))
}

fn seed(scope: BudgetScope, period: Period, cap: f64) -> BudgetSeed {
    BudgetSeed { budget: Budget::new(key(scope, period), usd(cap)), ledger: Usd::ZERO }
}

/// A meter with one budget of a dollar a day.
fn dollar() -> Meter {
    Meter::open(&[seed(BudgetScope::Total, Period::Day, 1.0)], at(1))
}

fn spend(meter: &mut Meter, amount: f64) -> Settled {
    let reservation = meter.reserve(&[BudgetScope::Total], usd(amount), at(1)).unwrap();
    meter.settle(reservation, usd(amount), at(1))
}

#[test]
fn concurrent_reservations_cannot_exceed_the_cap() {
    let mut meter = dollar();
    let first = meter.reserve(&[BudgetScope::Total], usd(0.6), at(1)).unwrap();
    let refused = meter.reserve(&[BudgetScope::Total], usd(0.6), at(1)).unwrap_err();
    assert_eq!(refused.budget_status.reserved, usd(0.6));
    assert_eq!(refused.threshold, None, "the first may still cost less");
    meter.settle(first, usd(0.1), at(1));
    let second = meter.reserve(&[BudgetScope::Total], usd(0.6), at(1)).unwrap();
    meter.cancel(second, at(1));
    assert_eq!(meter.budget_statuses(at(1))[0].reserved, Usd::ZERO);
    assert_eq!(meter.budget_statuses(at(1))[0].spent, usd(0.1));
}

#[test]
fn reservation_applies_to_all_scopes_or_none() {
    let seeds = [
        seed(BudgetScope::Total, Period::Month, 10.0),
        seed(project(), Period::Day, 5.0),
        seed(agent(), Period::Day, 1.0),
    ];
    let mut meter = Meter::open(&seeds, at(1));
    let scopes = [BudgetScope::Total, project(), agent()];
    let refused = meter.reserve(&scopes, usd(2.0), at(1)).unwrap_err();
    assert_eq!(refused.budget_status.key, key(agent(), Period::Day));
    assert!(meter.budget_statuses(at(1)).iter().all(|budget_status| budget_status.reserved == Usd::ZERO));
    let reservation = meter.reserve(&scopes, usd(0.5), at(1)).unwrap();
    assert!(meter.budget_statuses(at(1)).iter().all(|budget_status| budget_status.reserved == usd(0.5)));
    meter.settle(reservation, usd(0.4), at(1));
    assert!(meter.budget_statuses(at(1)).iter().all(|s| (s.spent, s.reserved) == (usd(0.4), Usd::ZERO)));
    let other = meter.reserve(&[BudgetScope::Total], usd(1.0), at(1)).unwrap();
    assert_eq!(other.shares.len(), 1);
    meter.cancel(other, at(1));
}

#[test]
fn each_threshold_is_reported_once() {
    let mut meter = dollar();
    let mut told = vec![];
    for _ in 0..20 {
        let settled = spend(&mut meter, 0.05);
        told.extend(settled.thresholds.iter().map(|c| (c.level, c.budget_status.spent.dollars())));
    }
    assert_eq!(told, [(50, 0.5), (80, 0.8), (95, 0.95), (100, 1.0)]);
    let refused = meter.reserve(&[BudgetScope::Total], Usd::ZERO, at(1)).unwrap_err();
    assert_eq!(refused.threshold, None, "its end was told");
    assert_eq!(refused.budget_status.window.end, at(24));
}

#[test]
fn exhaustion_is_reported_when_no_estimate_fits() {
    let mut meter = dollar();
    spend(&mut meter, 0.97);
    let refused = meter.reserve(&[BudgetScope::Total], usd(0.05), at(1)).unwrap_err();
    assert_eq!(refused.threshold.map(|threshold| threshold.level), Some(100));
    assert_eq!(refused.checkpoints[0].warned, 100);
    assert_eq!(meter.reserve(&[BudgetScope::Total], usd(0.05), at(1)).unwrap_err().threshold, None);
}

#[test]
fn settle_above_the_estimate_reports_the_overrun() {
    let mut meter = dollar();
    let reservation = meter.reserve(&[BudgetScope::Total], usd(0.9), at(1)).unwrap();
    let settled = meter.settle(reservation, usd(1.2), at(1));
    assert_eq!(settled.overrun, Some(usd(0.3)));
    assert_eq!(settled.thresholds[0].level, 100);
    assert_eq!(meter.budget_statuses(at(1))[0].spent, usd(1.2));
    assert!(meter.reserve(&[BudgetScope::Total], Usd::ZERO, at(1)).is_err());
}

#[test]
fn settle_after_rollover_counts_in_the_old_window() {
    let seeds = [seed(BudgetScope::Total, Period::Day, 1.0), seed(BudgetScope::Total, Period::Month, 10.0)];
    let mut meter = Meter::open(&seeds, at(1));
    let late = meter.reserve(&[BudgetScope::Total], usd(0.9), at(23)).unwrap();
    let next = meter.reserve(&[BudgetScope::Total], usd(0.9), at(24)).unwrap();
    meter.settle(late, usd(0.9), at(25));
    let [day, month] = <[BudgetStatus; 2]>::try_from(meter.budget_statuses(at(25))).unwrap();
    assert_eq!((day.spent, day.reserved), (Usd::ZERO, usd(0.9)));
    assert_eq!((month.spent, month.reserved), (usd(0.9), usd(0.9)));
    meter.settle(next, usd(0.2), at(26));
    assert_eq!(meter.budget_statuses(at(26))[0].spent, usd(0.2));
    assert_eq!(meter.budget_statuses(at(1))[0].spent, usd(0.2), "a clock that was set back changes nothing");
}

#[test]
fn checkpoints_are_repeated_until_saved() {
    let mut meter = dollar();
    assert!(spend(&mut meter, 0.01).checkpoints.is_empty(), "a hundredth of the cap may be ahead");
    let settled = spend(&mut meter, 0.005);
    assert_eq!(settled.checkpoints[0].spent, usd(0.015));
    let again = meter.reserve(&[BudgetScope::Total], usd(0.001), at(1)).unwrap();
    assert_eq!(again.checkpoints(), settled.checkpoints);
    meter.checkpoint_saved(&settled.checkpoints[0]);
    meter.cancel(again, at(1));
    let quiet = meter.reserve(&[BudgetScope::Total], usd(0.001), at(1)).unwrap();
    assert!(quiet.checkpoints().is_empty());
}

#[test]
fn restart_takes_the_larger_of_ledger_and_checkpoint() {
    let window = Period::Day.window(at(1));
    let checkpoint = |start| SpendCheckpoint {
        key: key(BudgetScope::Total, Period::Day),
        window: start,
        spent: usd(0.6),
        warned: 50,
    };
    let open = |checkpoint: SpendCheckpoint, ledger| {
        let mut seed = seed(BudgetScope::Total, Period::Day, 1.0);
        (seed.budget.checkpoint, seed.ledger) = (Some(checkpoint), usd(ledger));
        let budget_status = Meter::open(&[seed], at(1)).budget_statuses(at(1)).remove(0);
        (budget_status.spent, budget_status.reserved, budget_status.warned)
    };
    assert_eq!(open(checkpoint(window.start), 0.55), (usd(0.6), Usd::ZERO, 50));
    assert_eq!(open(checkpoint(window.start), 0.7), (usd(0.7), Usd::ZERO, 50));
    let yesterday = Timestamp::from_millis(window.start.as_millis() - 86_400_000);
    assert_eq!(open(checkpoint(yesterday), 0.1), (usd(0.1), Usd::ZERO, 0));
}

#[test]
fn replace_keeps_spend_and_reservations_of_kept_budgets() {
    let mut meter = dollar();
    spend(&mut meter, 0.9);
    let in_flight = meter.reserve(&[BudgetScope::Total, agent()], usd(0.1), at(1)).unwrap();
    let seeds = [seed(BudgetScope::Total, Period::Day, 2.0), seed(agent(), Period::Day, 1.0)];
    meter.replace(&seeds, at(1));
    let total = meter.budget_statuses(at(1)).remove(0);
    assert_eq!((total.spent, total.reserved), (usd(0.9), usd(0.1)));
    assert_eq!(total.warned, 0, "of the larger cap less than half is spent");
    meter.settle(in_flight, usd(0.1), at(1));
    let spent: Vec<Usd> =
        meter.budget_statuses(at(1)).iter().map(|budget_status| budget_status.spent).collect();
    assert_eq!(spent, [usd(1.0), usd(0.1)], "a budget that came meanwhile counts it as the ledger does");
    // Taken away and given again, a budget knows nothing of what was set aside before.
    let old = meter.reserve(&[BudgetScope::Total], usd(0.5), at(1)).unwrap();
    meter.replace(&[], at(1));
    meter.replace(&seeds, at(1));
    let new = meter.reserve(&[BudgetScope::Total], usd(0.7), at(1)).unwrap();
    meter.cancel(old, at(1));
    assert_eq!(meter.budget_statuses(at(1))[0].reserved, usd(0.7));
    meter.cancel(new, at(1));
}

/// One thing that happens to the meter.
#[derive(Clone, Debug)]
enum MeterOp {
    Reserve { scopes: usize, amount: u64 },
    Settle { which: usize, percent: u64 },
    Cancel { which: usize },
    Wait { hours: i64 },
    Crash,
}

fn meter_op() -> impl Strategy<Value = MeterOp> {
    prop_oneof![
        6 => (0..3_usize, 0..400_000_000_u64).prop_map(|(scopes, amount)| MeterOp::Reserve { scopes, amount }),
        4 => (any::<usize>(), 0..150_u64).prop_map(|(which, percent)| MeterOp::Settle { which, percent }),
        2 => any::<usize>().prop_map(|which| MeterOp::Cancel { which }),
        1 => (1..15_i64).prop_map(|hours| MeterOp::Wait { hours }),
        1 => Just(MeterOp::Crash),
    ]
}

/// A meter with the store beside it, and what must be true of both.
struct MeterModel {
    meter: Meter,
    budgets: Vec<Budget>,
    /// Start, scopes and cost of each booked call; a crash may lose the last entry.
    ledger: Vec<(Timestamp, Vec<BudgetScope>, Usd)>,
    open: Vec<Reservation>,
    overrun: Usd,
    hour: i64,
}

impl MeterModel {
    fn new() -> Self {
        let budgets = vec![
            Budget::new(key(BudgetScope::Total, Period::Day), usd(1.0)),
            Budget::new(key(BudgetScope::Total, Period::Month), usd(2.0)),
            Budget::new(key(project(), Period::Day), usd(0.7)),
            Budget::new(key(agent(), Period::Month), usd(1.1)),
        ];
        let (ledger, open) = (vec![], vec![]);
        let mut model = Self { meter: Meter::default(), budgets, ledger, open, overrun: Usd::ZERO, hour: 0 };
        model.meter = Meter::open(&model.seeds(), at(0));
        model
    }

    fn booked_spend(&self, budget: &Budget) -> Usd {
        let window = budget.key.period.window(at(self.hour));
        let lines = self
            .ledger
            .iter()
            .filter(|(begun, scopes, _)| *begun >= window.start && scopes.contains(&budget.key.scope));
        lines.map(|(.., cost)| *cost).sum()
    }

    fn seeds(&self) -> Vec<BudgetSeed> {
        let open = |budget: &Budget| BudgetSeed { budget: budget.clone(), ledger: self.booked_spend(budget) };
        self.budgets.iter().map(open).collect()
    }

    fn commit(&mut self, checkpoints: &[SpendCheckpoint]) {
        for checkpoint in checkpoints {
            let budget = self.budgets.iter_mut().find(|budget| budget.key == checkpoint.key).unwrap();
            budget.checkpoint = Some(checkpoint.clone());
            self.meter.checkpoint_saved(checkpoint);
        }
    }

    fn run_op(&mut self, meter_op: &MeterOp) {
        let now = at(self.hour);
        match meter_op {
            MeterOp::Reserve { scopes, amount } => {
                let scopes = [BudgetScope::Total, project(), agent()][..=*scopes].to_vec();
                match self.meter.reserve(&scopes, Usd::from_billionths(*amount), now) {
                    Ok(reservation) => {
                        self.commit(reservation.checkpoints());
                        self.open.push(reservation);
                        self.check_checkpoint_lag(&scopes);
                    }
                    Err(refused) => self.commit(&refused.checkpoints),
                }
            }
            MeterOp::Settle { which, percent } if !self.open.is_empty() => {
                let reservation = self.open.swap_remove(which % self.open.len());
                let cost =
                    Usd::from_billionths((f64::round(reservation.amount().dollars() * 1e7) as u64) * percent);
                self.ledger.push((reservation.at(), reservation.scopes.clone(), cost));
                let settled = self.meter.settle(reservation, cost, now);
                self.overrun = self.overrun.plus(settled.overrun.unwrap_or_default());
            }
            MeterOp::Cancel { which } if !self.open.is_empty() => {
                let reservation = self.open.swap_remove(which % self.open.len());
                self.meter.cancel(reservation, now);
            }
            MeterOp::Settle { .. } | MeterOp::Cancel { .. } => {}
            MeterOp::Wait { hours } => self.hour += hours,
            MeterOp::Crash => {
                // What is on its way is gone, and the ledger's last line with it.
                self.open.clear();
                self.ledger.pop();
                self.meter = Meter::open(&self.seeds(), now);
                for budget_status in self.meter.budget_statuses(now) {
                    assert_eq!(budget_status.reserved, Usd::ZERO);
                }
            }
        }
    }

    fn check_checkpoint_lag(&self, scopes: &[BudgetScope]) {
        for (key, state) in self.meter.states.iter().filter(|(key, _)| scopes.contains(&key.scope)) {
            assert!(state.spent.minus(state.checkpointed) <= state.cap.hundredth(), "{key}: {state:?}");
        }
    }

    fn check(&mut self) {
        let now = at(self.hour);
        let budget_statuses = self.meter.budget_statuses(now);
        for (budget, budget_status) in self.budgets.iter().zip(sorted(budget_statuses, &self.budgets)) {
            let taken = budget_status.spent.plus(budget_status.reserved);
            assert!(taken <= budget_status.cap.plus(self.overrun), "{budget_status:?}");
            assert!(
                budget_status.spent >= self.booked_spend(budget),
                "{budget_status:?} but {}",
                self.booked_spend(budget)
            );
            let checkpointed =
                budget.checkpoint_in(budget_status.window).map_or(Usd::ZERO, |checkpoint| checkpoint.spent);
            assert!(budget_status.spent >= checkpointed, "a mark is never more than what is spent");
            let counted: Usd = self
                .open
                .iter()
                .filter(|open| {
                    open.scopes.contains(&budget.key.scope) && open.at() >= budget_status.window.start
                })
                .map(Reservation::amount)
                .sum();
            assert_eq!(budget_status.reserved, counted, "{}", budget_status.key);
        }
    }
}

fn sorted(budget_statuses: Vec<BudgetStatus>, budgets: &[Budget]) -> Vec<BudgetStatus> {
    let of = |budget: &Budget| {
        budget_statuses.iter().find(|budget_status| budget_status.key == budget.key).unwrap().clone()
    };
    budgets.iter().map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_calls_and_crashes_keeps_invariants(ops in prop::collection::vec(meter_op(), 0..120)) {
        let mut model = MeterModel::new();
        for meter_op in &ops {
            model.run_op(meter_op);
            model.check();
        }
    }
}
