//! Budgets: spending caps per scope and period, and the calls that they apply to.

pub mod meter;

use crate::kernel::ids::{AgentId, ProjectId};
use crate::kernel::limits;
use crate::kernel::money::Usd;
use crate::kernel::refusal::{Problems, Refusal};
use crate::kernel::time::Timestamp;
use std::collections::BTreeSet;
use std::fmt;

/// The most budgets there may be.
pub const MAX_BUDGETS: usize = 1_000;
/// The largest cap, in US dollars.
pub const MAX_CAP_USD: f64 = 1_000_000_000.0;
/// Shares of a cap, in percent, at which a notification is sent; the last one is the cap itself.
pub const THRESHOLDS: [u8; 4] = [50, 80, 95, 100];

string_enum! {
    /// Length of a budget window; days and months are those of UTC.
    pub enum Period {
        Day = "day",
        Month = "month",
    }
}

/// From when to when money is counted together: `start` is within, `end` no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetWindow {
    pub start: Timestamp,
    pub end: Timestamp,
}

impl Period {
    /// The window that holds this moment.
    pub fn window(self, at: Timestamp) -> BudgetWindow {
        use jiff::tz::TimeZone;
        let moment = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let today = moment.to_zoned(TimeZone::UTC).date();
        let first = match self {
            Self::Day => today,
            Self::Month => today.first_of_month(),
        };
        let next = match self {
            Self::Day => first.tomorrow(),
            Self::Month => first.last_of_month().tomorrow(),
        };
        let midnight = |date: jiff::civil::Date| {
            let zoned = date.to_zoned(TimeZone::UTC).ok()?;
            Some(Timestamp::from_millis(zoned.timestamp().as_millisecond()))
        };
        // Nothing comes after the last day of the calendar.
        let end = next.ok().and_then(midnight).unwrap_or_else(|| Timestamp::from_millis(i64::MAX));
        BudgetWindow { start: midnight(first).unwrap_or(at), end }
    }
}

/// Whose spending a budget holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BudgetScope {
    Total,
    Project(ProjectId),
    Agent(AgentId),
}

impl BudgetScope {
    /// Reads `total`, `project:<id>` or `agent:<id>`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None if text == "total" => Some(Self::Total),
            Some(("project", id)) if !id.is_empty() => Some(Self::Project(ProjectId::from_trusted(id))),
            Some(("agent", id)) if !id.is_empty() => Some(Self::Agent(AgentId::from_trusted(id))),
            _ => None,
        }
    }

    /// The scopes that a call for this project and this agent falls under.
    pub fn of(project: Option<&ProjectId>, agent: Option<&AgentId>) -> Vec<Self> {
        let project = project.cloned().map(Self::Project);
        [Self::Total].into_iter().chain(project).chain(agent.cloned().map(Self::Agent)).collect()
    }

    /// The project, if it is one's.
    pub fn project(&self) -> Option<&ProjectId> {
        match self {
            Self::Project(id) => Some(id),
            Self::Total | Self::Agent(_) => None,
        }
    }
}

impl fmt::Display for BudgetScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Total => f.write_str("total"),
            Self::Project(id) => write!(f, "project:{id}"),
            Self::Agent(id) => write!(f, "agent:{id}"),
        }
    }
}

/// Identity of a budget.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BudgetKey {
    pub scope: BudgetScope,
    pub period: Period,
}

impl fmt::Display for BudgetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.scope, self.period)
    }
}

/// Durable lower bound of a budget's spending in one window; it survives a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpendCheckpoint {
    pub key: BudgetKey,
    pub window: Timestamp,
    /// Lower bound of the spending in the window.
    pub spent: Usd,
    /// Highest announced share of the cap, in percent; 0: none.
    pub warned: u8,
}

/// A budget as the store holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    pub key: BudgetKey,
    pub cap: Usd,
    pub checkpoint: Option<SpendCheckpoint>,
}

impl Budget {
    /// A budget of which nothing is spent.
    pub fn new(key: BudgetKey, cap: Usd) -> Self {
        Self { key, cap, checkpoint: None }
    }

    /// Its mark, if it is of this window.
    pub fn checkpoint_in(&self, window: BudgetWindow) -> Option<&SpendCheckpoint> {
        self.checkpoint.as_ref().filter(|checkpoint| checkpoint.window == window.start)
    }
}

/// Request to create a budget.
#[derive(Clone, Debug, PartialEq)]
pub struct NewBudget {
    /// `total`, `project:<id>` or `agent:<id>`.
    pub scope: String,
    pub period: Period,
    /// Cap in US dollars.
    pub cap_usd: f64,
}

/// Reads a whole list of budgets, and says all that is wrong with it.
///
/// # Errors
/// [`Refusal::Invalid`] with a pointer for each wrong field.
pub fn parse_all(wanted: &[NewBudget]) -> Result<Vec<Budget>, Refusal> {
    let mut problems = Problems::default();
    problems.require(wanted.len() <= MAX_BUDGETS, "budgets", limits::must_have_at_most(MAX_BUDGETS));
    let (mut seen, mut budgets) = (BTreeSet::new(), Vec::new());
    for (at, one) in wanted.iter().enumerate() {
        let cap_ok = one.cap_usd.is_finite() && (0.0..=MAX_CAP_USD).contains(&one.cap_usd);
        problems.require(
            cap_ok,
            &format!("budgets/{at}/cap_usd"),
            limits::must_be_between(&(0.0..=MAX_CAP_USD)),
        );
        let Some(scope) = BudgetScope::parse(&one.scope) else {
            problems.require(
                false,
                &format!("budgets/{at}/scope"),
                "must be total, project:<id> or agent:<id>",
            );
            continue;
        };
        let key = BudgetKey { scope, period: one.period };
        let name = format!("budgets/{at}/scope");
        problems.require(
            seen.insert(key.clone()),
            &name,
            format!("must be unique; {key} is in the list twice"),
        );
        budgets.push(Budget::new(key, Usd::from_dollars(one.cap_usd)));
    }
    problems.finish()?;
    Ok(budgets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn wanted(scope: &str, period: Period, cap_usd: f64) -> NewBudget {
        NewBudget { scope: scope.into(), period, cap_usd }
    }

    #[test]
    fn budget_windows_follow_utc() {
        for (period, moment, start, end) in [
            (Period::Day, "2026-11-23T23:59:59.999Z", "2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z"),
            (Period::Day, "2026-11-24T00:00:00Z", "2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"),
            (Period::Day, "2026-11-24T01:00:00+02:00", "2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z"),
            (Period::Month, "2026-12-31T12:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            (Period::Month, "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
        ] {
            assert_eq!(
                period.window(at(moment)),
                BudgetWindow { start: at(start), end: at(end) },
                "{moment}"
            );
        }
        let last = Period::Day.window(Timestamp::from_millis(i64::MAX));
        assert!(last.start < last.end, "{last:?}");
    }

    #[test]
    fn budget_scope_round_trips_as_text() {
        for text in ["total", "project:p", "agent:a.b"] {
            assert_eq!(BudgetScope::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "all", "project:", "agent", "bead:x", "Total"] {
            assert_eq!(BudgetScope::parse(text), None, "{text}");
        }
        let (project, agent) = (ProjectId::from_trusted("p"), AgentId::from_trusted("a"));
        let scopes: Vec<String> =
            BudgetScope::of(Some(&project), Some(&agent)).iter().map(BudgetScope::to_string).collect();
        assert_eq!(scopes, ["total", "project:p", "agent:a"]);
        assert_eq!(BudgetScope::of(None, None), [BudgetScope::Total]);
    }

    #[test]
    fn invalid_budget_list_reports_all_problems() {
        let list = [
            wanted("total", Period::Day, 5.0),
            wanted("total", Period::Month, 5.0),
            wanted("total", Period::Day, 6.0),
            wanted("everything", Period::Day, 1.0),
            wanted("agent:a", Period::Day, -1.0),
            wanted("agent:b", Period::Day, f64::NAN),
        ];
        let Refusal::Invalid(problems) = parse_all(&list).unwrap_err() else { panic!("fields are wrong") };
        let pointers: Vec<&str> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
        assert_eq!(
            pointers,
            ["/budgets/2/scope", "/budgets/3/scope", "/budgets/4/cap_usd", "/budgets/5/cap_usd"]
        );
        assert_eq!(parse_all(&list[..2]).unwrap().len(), 2);
        assert_eq!(parse_all(&[]).unwrap(), []);
    }
}
