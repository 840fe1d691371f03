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

fn key(scope: Scope, period: Period) -> Key {
    Key { scope, period }
}

fn project() -> Scope {
    Scope::Project(ProjectId::from_trusted("p"))
}

fn agent() -> Scope {
    Scope::Agent(AgentId::from_trusted("a"))
}

fn opening(scope: Scope, period: Period, cap: f64) -> BudgetSeed {
    BudgetSeed { budget: Budget::new(key(scope, period), usd(cap)), ledger: Usd::ZERO }
}

/// A meter with one budget of a dollar a day.
fn dollar() -> Meter {
    Meter::open(&[opening(Scope::Total, Period::Day, 1.0)], at(1))
}

fn spend(meter: &mut Meter, amount: f64) -> Settled {
    let reservation = meter.reserve(&[Scope::Total], usd(amount), at(1)).unwrap();
    meter.settle(reservation, usd(amount), at(1))
}

#[test]
fn calls_at_the_same_time_cannot_overrun_a_cap_together() {
    let mut meter = dollar();
    let first = meter.reserve(&[Scope::Total], usd(0.6), at(1)).unwrap();
    let refused = meter.reserve(&[Scope::Total], usd(0.6), at(1)).unwrap_err();
    assert_eq!(refused.standing.reserved, usd(0.6));
    assert_eq!(refused.crossing, None, "the first may still cost less");
    meter.settle(first, usd(0.1), at(1));
    let second = meter.reserve(&[Scope::Total], usd(0.6), at(1)).unwrap();
    meter.cancel(second, at(1));
    assert_eq!(meter.standings(at(1))[0].reserved, Usd::ZERO);
    assert_eq!(meter.standings(at(1))[0].spent, usd(0.1));
}

#[test]
fn a_call_is_counted_in_every_budget_it_falls_under_or_in_none() {
    let openings = [
        opening(Scope::Total, Period::Month, 10.0),
        opening(project(), Period::Day, 5.0),
        opening(agent(), Period::Day, 1.0),
    ];
    let mut meter = Meter::open(&openings, at(1));
    let scopes = [Scope::Total, project(), agent()];
    let refused = meter.reserve(&scopes, usd(2.0), at(1)).unwrap_err();
    assert_eq!(refused.standing.key, key(agent(), Period::Day));
    assert!(meter.standings(at(1)).iter().all(|standing| standing.reserved == Usd::ZERO));
    let reservation = meter.reserve(&scopes, usd(0.5), at(1)).unwrap();
    assert!(meter.standings(at(1)).iter().all(|standing| standing.reserved == usd(0.5)));
    meter.settle(reservation, usd(0.4), at(1));
    assert!(meter.standings(at(1)).iter().all(|s| (s.spent, s.reserved) == (usd(0.4), Usd::ZERO)));
    let other = meter.reserve(&[Scope::Total], usd(1.0), at(1)).unwrap();
    assert_eq!(other.shares.len(), 1);
    meter.cancel(other, at(1));
}

#[test]
fn each_share_of_the_cap_is_told_once() {
    let mut meter = dollar();
    let mut told = vec![];
    for _ in 0..20 {
        let settled = spend(&mut meter, 0.05);
        told.extend(settled.crossings.iter().map(|c| (c.level, c.standing.spent.dollars())));
    }
    assert_eq!(told, [(50, 0.5), (80, 0.8), (95, 0.95), (100, 1.0)]);
    let refused = meter.reserve(&[Scope::Total], Usd::ZERO, at(1)).unwrap_err();
    assert_eq!(refused.crossing, None, "its end was told");
    assert_eq!(refused.standing.window.end, at(24));
}

#[test]
fn an_end_that_no_call_reaches_to_the_cent_is_told_as_well() {
    let mut meter = dollar();
    spend(&mut meter, 0.97);
    let refused = meter.reserve(&[Scope::Total], usd(0.05), at(1)).unwrap_err();
    assert_eq!(refused.crossing.map(|crossing| crossing.level), Some(100));
    assert_eq!(refused.marks[0].warned, 100);
    assert_eq!(meter.reserve(&[Scope::Total], usd(0.05), at(1)).unwrap_err().crossing, None);
}

#[test]
fn what_costs_more_than_was_set_aside_is_booked_and_said() {
    let mut meter = dollar();
    let reservation = meter.reserve(&[Scope::Total], usd(0.9), at(1)).unwrap();
    let settled = meter.settle(reservation, usd(1.2), at(1));
    assert_eq!(settled.over, Some(usd(0.3)));
    assert_eq!(settled.crossings[0].level, 100);
    assert_eq!(meter.standings(at(1))[0].spent, usd(1.2));
    assert!(meter.reserve(&[Scope::Total], Usd::ZERO, at(1)).is_err());
}

#[test]
fn a_window_that_ends_begins_anew_and_what_began_in_the_old_one_stays_there() {
    let openings = [opening(Scope::Total, Period::Day, 1.0), opening(Scope::Total, Period::Month, 10.0)];
    let mut meter = Meter::open(&openings, at(1));
    let late = meter.reserve(&[Scope::Total], usd(0.9), at(23)).unwrap();
    let next = meter.reserve(&[Scope::Total], usd(0.9), at(24)).unwrap();
    meter.settle(late, usd(0.9), at(25));
    let [day, month] = <[Standing; 2]>::try_from(meter.standings(at(25))).unwrap();
    assert_eq!((day.spent, day.reserved), (Usd::ZERO, usd(0.9)));
    assert_eq!((month.spent, month.reserved), (usd(0.9), usd(0.9)));
    meter.settle(next, usd(0.2), at(26));
    assert_eq!(meter.standings(at(26))[0].spent, usd(0.2));
    assert_eq!(meter.standings(at(1))[0].spent, usd(0.2), "a clock that was set back changes nothing");
}

#[test]
fn marks_are_asked_for_until_they_are_committed() {
    let mut meter = dollar();
    assert!(spend(&mut meter, 0.01).marks.is_empty(), "a hundredth of the cap may be ahead");
    let settled = spend(&mut meter, 0.005);
    assert_eq!(settled.marks[0].spent, usd(0.015));
    let again = meter.reserve(&[Scope::Total], usd(0.001), at(1)).unwrap();
    assert_eq!(again.marks(), settled.marks);
    meter.committed(&settled.marks[0]);
    meter.cancel(again, at(1));
    let quiet = meter.reserve(&[Scope::Total], usd(0.001), at(1)).unwrap();
    assert!(quiet.marks().is_empty());
    assert_eq!(meter.last_marks(), []);
}

#[test]
fn after_a_crash_the_ledger_and_the_mark_are_what_is_spent() {
    let window = Period::Day.window(at(1));
    let mark = |start| SpendCheckpoint {
        key: key(Scope::Total, Period::Day),
        window: start,
        spent: usd(0.6),
        warned: 50,
    };
    let open = |mark: SpendCheckpoint, ledger| {
        let mut opening = opening(Scope::Total, Period::Day, 1.0);
        (opening.budget.mark, opening.ledger) = (Some(mark), usd(ledger));
        let standing = Meter::open(&[opening], at(1)).standings(at(1)).remove(0);
        (standing.spent, standing.reserved, standing.warned)
    };
    assert_eq!(open(mark(window.start), 0.55), (usd(0.6), Usd::ZERO, 50));
    assert_eq!(open(mark(window.start), 0.7), (usd(0.7), Usd::ZERO, 50));
    let yesterday = Timestamp::from_millis(window.start.as_millis() - 86_400_000);
    assert_eq!(open(mark(yesterday), 0.1), (usd(0.1), Usd::ZERO, 0));
}

#[test]
fn other_budgets_keep_what_is_spent_and_reserved_in_those_that_stay() {
    let mut meter = dollar();
    spend(&mut meter, 0.9);
    let on_its_way = meter.reserve(&[Scope::Total, agent()], usd(0.1), at(1)).unwrap();
    let openings = [opening(Scope::Total, Period::Day, 2.0), opening(agent(), Period::Day, 1.0)];
    meter.replace(&openings, at(1));
    let total = meter.standings(at(1)).remove(0);
    assert_eq!((total.spent, total.reserved), (usd(0.9), usd(0.1)));
    assert_eq!(total.warned, 0, "of the larger cap less than half is spent");
    meter.settle(on_its_way, usd(0.1), at(1));
    let spent: Vec<Usd> = meter.standings(at(1)).iter().map(|standing| standing.spent).collect();
    assert_eq!(spent, [usd(1.0), usd(0.1)], "a budget that came meanwhile counts it as the ledger does");
    // Taken away and given again, a budget knows nothing of what was set aside before.
    let old = meter.reserve(&[Scope::Total], usd(0.5), at(1)).unwrap();
    meter.replace(&[], at(1));
    meter.replace(&openings, at(1));
    let new = meter.reserve(&[Scope::Total], usd(0.7), at(1)).unwrap();
    meter.cancel(old, at(1));
    assert_eq!(meter.standings(at(1))[0].reserved, usd(0.7));
    meter.cancel(new, at(1));
}

/// One thing that happens to the meter.
#[derive(Clone, Debug)]
enum Deed {
    Reserve { scopes: usize, amount: u64 },
    Settle { which: usize, percent: u64 },
    Cancel { which: usize },
    Wait { hours: i64 },
    Crash,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        6 => (0..3_usize, 0..400_000_000_u64).prop_map(|(scopes, amount)| Deed::Reserve { scopes, amount }),
        4 => (any::<usize>(), 0..150_u64).prop_map(|(which, percent)| Deed::Settle { which, percent }),
        2 => any::<usize>().prop_map(|which| Deed::Cancel { which }),
        1 => (1..15_i64).prop_map(|hours| Deed::Wait { hours }),
        1 => Just(Deed::Crash),
    ]
}

/// A meter with the store beside it, and what must be true of both.
struct World {
    meter: Meter,
    budgets: Vec<Budget>,
    /// When each booked call began, what it falls under, what it cost; the last line may be lost in a crash.
    ledger: Vec<(Timestamp, Vec<Scope>, Usd)>,
    open: Vec<Reservation>,
    over: Usd,
    hour: i64,
}

impl World {
    fn new() -> Self {
        let budgets = vec![
            Budget::new(key(Scope::Total, Period::Day), usd(1.0)),
            Budget::new(key(Scope::Total, Period::Month), usd(2.0)),
            Budget::new(key(project(), Period::Day), usd(0.7)),
            Budget::new(key(agent(), Period::Month), usd(1.1)),
        ];
        let (ledger, open) = (vec![], vec![]);
        let mut world = Self { meter: Meter::default(), budgets, ledger, open, over: Usd::ZERO, hour: 0 };
        world.meter = Meter::open(&world.openings(), at(0));
        world
    }

    fn booked(&self, budget: &Budget) -> Usd {
        let window = budget.key.period.window(at(self.hour));
        let lines = self
            .ledger
            .iter()
            .filter(|(begun, scopes, _)| *begun >= window.start && scopes.contains(&budget.key.scope));
        lines.map(|(.., cost)| *cost).sum()
    }

    fn openings(&self) -> Vec<BudgetSeed> {
        let open = |budget: &Budget| BudgetSeed { budget: budget.clone(), ledger: self.booked(budget) };
        self.budgets.iter().map(open).collect()
    }

    fn commit(&mut self, marks: &[SpendCheckpoint]) {
        for mark in marks {
            let budget = self.budgets.iter_mut().find(|budget| budget.key == mark.key).unwrap();
            budget.mark = Some(mark.clone());
            self.meter.committed(mark);
        }
    }

    fn act(&mut self, deed: &Deed) {
        let now = at(self.hour);
        match deed {
            Deed::Reserve { scopes, amount } => {
                let scopes = [Scope::Total, project(), agent()][..=*scopes].to_vec();
                match self.meter.reserve(&scopes, Usd::from_billionths(*amount), now) {
                    Ok(reservation) => {
                        self.commit(reservation.marks());
                        self.open.push(reservation);
                        self.nothing_is_too_far_ahead(&scopes);
                    }
                    Err(refused) => self.commit(&refused.marks),
                }
            }
            Deed::Settle { which, percent } if !self.open.is_empty() => {
                let reservation = self.open.swap_remove(which % self.open.len());
                let cost =
                    Usd::from_billionths((f64::round(reservation.amount().dollars() * 1e7) as u64) * percent);
                self.ledger.push((reservation.at(), reservation.scopes.clone(), cost));
                let settled = self.meter.settle(reservation, cost, now);
                self.over = self.over.plus(settled.over.unwrap_or_default());
            }
            Deed::Cancel { which } if !self.open.is_empty() => {
                let reservation = self.open.swap_remove(which % self.open.len());
                self.meter.cancel(reservation, now);
            }
            Deed::Settle { .. } | Deed::Cancel { .. } => {}
            Deed::Wait { hours } => self.hour += hours,
            Deed::Crash => {
                // What is on its way is gone, and the ledger's last line with it.
                self.open.clear();
                self.ledger.pop();
                self.meter = Meter::open(&self.openings(), now);
                for standing in self.meter.standings(now) {
                    assert_eq!(standing.reserved, Usd::ZERO);
                }
            }
        }
    }

    fn nothing_is_too_far_ahead(&self, scopes: &[Scope]) {
        for (key, account) in self.meter.accounts.iter().filter(|(key, _)| scopes.contains(&key.scope)) {
            assert!(account.spent.minus(account.marked) <= account.cap.hundredth(), "{key}: {account:?}");
        }
    }

    fn check(&mut self) {
        let now = at(self.hour);
        let standings = self.meter.standings(now);
        for (budget, standing) in self.budgets.iter().zip(sorted(standings, &self.budgets)) {
            let taken = standing.spent.plus(standing.reserved);
            assert!(taken <= standing.cap.plus(self.over), "{standing:?}");
            assert!(standing.spent >= self.booked(budget), "{standing:?} but {}", self.booked(budget));
            let marked = budget.mark_in(standing.window).map_or(Usd::ZERO, |mark| mark.spent);
            assert!(standing.spent >= marked, "a mark is never more than what is spent");
            let counted: Usd = self
                .open
                .iter()
                .filter(|open| open.scopes.contains(&budget.key.scope) && open.at() >= standing.window.start)
                .map(Reservation::amount)
                .sum();
            assert_eq!(standing.reserved, counted, "{}", standing.key);
        }
    }
}

fn sorted(standings: Vec<Standing>, budgets: &[Budget]) -> Vec<Standing> {
    let of = |budget: &Budget| standings.iter().find(|standing| standing.key == budget.key).unwrap().clone();
    budgets.iter().map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_calls_and_crashes_breaks_a_budget(deeds in prop::collection::vec(deed(), 0..120)) {
        let mut world = World::new();
        for deed in &deeds {
            world.act(deed);
            world.check();
        }
    }
}
