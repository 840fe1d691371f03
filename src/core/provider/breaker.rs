//! A circuit breaker: calls to a provider that fails stop for a while, then one is tried.
//!
//! Closed, it counts; open, it refuses; half open, it lets one call through and goes by how that one ends.
//! The time and a random number come in as arguments. Its memory is bounded: one counter per second.

use crate::kernel::call::{CallOutcome, ErrorKind, HealthSignal};
use crate::kernel::time::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

/// Length of the counting window, in seconds.
const WINDOW_SEC: i64 = 30;
/// Below this many calls within the window nothing is concluded from their share.
const MIN_CALLS: u32 = 10;
/// Consecutive connection errors that open it regardless of the failure share.
const CONNECTION_ERRORS: u32 = 3;
/// First open duration.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Longest open duration.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// A probe of which nothing was heard for so long is taken for lost.
const PROBE_LOST: Duration = Duration::from_secs(300);

string_enum! {
    /// State of a circuit breaker.
    pub enum CircuitState {
        Closed = "closed",
        Open = "open",
        /// One call goes through to see.
        HalfOpen = "half_open",
    }
}

/// Outcome of an admitted call, as the breaker counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitSignal {
    Served,
    Failed,
    NoConnection,
    Neutral,
}

impl From<&CallOutcome> for CircuitSignal {
    fn from(outcome: &CallOutcome) -> Self {
        match (outcome, outcome.health_signal()) {
            (_, HealthSignal::Healthy) => Self::Served,
            (CallOutcome::Failed { kind: ErrorKind::Unreachable, .. }, _) => Self::NoConnection,
            (_, HealthSignal::Failure) => Self::Failed,
            (_, HealthSignal::Down | HealthSignal::Neutral) => Self::Neutral,
        }
    }
}

/// Leave to make one call; its end is reported with it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the end of the call is to be reported"]
pub struct Permit {
    /// The state it was given in: what began before a change of state decides nothing after it.
    generation: u64,
}

/// Refusal of a call while the breaker is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitOpen {
    pub until: Timestamp,
}

/// The breaker of one provider.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    phase: Phase,
    generation: u64,
    /// Seconds with their served and failed calls.
    seconds: VecDeque<(i64, u32, u32)>,
    connection_errors: u32,
    openings: u32,
}

#[derive(Clone, Copy, Debug, Default)]
enum Phase {
    #[default]
    Closed,
    Open {
        from: Timestamp,
        pause: Duration,
    },
    HalfOpen {
        probe: Option<Timestamp>,
    },
}

impl Breaker {
    /// Returns its current state.
    pub fn state(&self) -> CircuitState {
        match self.phase {
            Phase::Closed => CircuitState::Closed,
            Phase::Open { .. } => CircuitState::Open,
            Phase::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }

    /// Asks for leave to make a call.
    ///
    /// # Errors
    /// [`CircuitOpen`] while it is open, and while a probe is on its way.
    pub fn admit(&mut self, now: Timestamp) -> Result<Permit, CircuitOpen> {
        if let Phase::Open { from, pause } = &mut self.phase {
            // A clock that was set back must not keep it open.
            *from = (*from).min(now);
            let until = from.plus(*pause);
            if now < until {
                return Err(CircuitOpen { until });
            }
            self.enter(Phase::HalfOpen { probe: None });
        }
        if let Phase::HalfOpen { probe } = &mut self.phase {
            match probe {
                Some(begun) if *begun <= now && now.since(*begun) < PROBE_LOST => {
                    return Err(CircuitOpen { until: now.plus(FIRST_PAUSE) });
                }
                _ => *probe = Some(now),
            }
        }
        Ok(Permit { generation: self.generation })
    }

    /// Takes note of how an admitted call ended; every admitted call ends here, a dropped one as
    /// [`CircuitSignal::Neutral`].
    #[allow(clippy::needless_pass_by_value)] // a pass is good for one report
    pub fn report(&mut self, permit: Permit, signal: CircuitSignal, now: Timestamp, random: u64) {
        if permit.generation != self.generation {
            return;
        }
        match (&mut self.phase, signal) {
            (Phase::HalfOpen { probe }, CircuitSignal::Neutral) => *probe = None,
            (Phase::HalfOpen { .. }, CircuitSignal::Served) => {
                self.openings = 0;
                self.enter(Phase::Closed);
            }
            (Phase::HalfOpen { .. }, CircuitSignal::Failed | CircuitSignal::NoConnection) => {
                self.open(now, random)
            }
            (Phase::Closed, CircuitSignal::Neutral) | (Phase::Open { .. }, _) => {}
            (Phase::Closed, CircuitSignal::Served) => {
                self.connection_errors = 0;
                self.count(now, (1, 0));
            }
            (Phase::Closed, CircuitSignal::Failed | CircuitSignal::NoConnection) => {
                self.connection_errors =
                    if signal == CircuitSignal::NoConnection { self.connection_errors + 1 } else { 0 };
                self.count(now, (0, 1));
                if self.connection_errors >= CONNECTION_ERRORS || self.fails_too_often() {
                    self.open(now, random);
                }
            }
        }
    }

    fn count(&mut self, now: Timestamp, (served, failed): (u32, u32)) {
        let second = now.as_millis().div_euclid(1_000);
        // Seconds ahead of a clock that was set back count no longer either.
        self.seconds.retain(|(at, ..)| (second - WINDOW_SEC + 1..=second).contains(at));
        match self.seconds.back_mut().filter(|(at, ..)| *at == second) {
            Some(last) => (last.1, last.2) = (last.1 + served, last.2 + failed),
            None => self.seconds.push_back((second, served, failed)),
        }
    }

    fn fails_too_often(&self) -> bool {
        let (served, failed) = self.seconds.iter().fold((0, 0), |sum, s| (sum.0 + s.1, sum.1 + s.2));
        served + failed >= MIN_CALLS && failed >= served
    }

    fn open(&mut self, now: Timestamp, random: u64) {
        let full = FIRST_PAUSE.saturating_mul(1 << self.openings.min(16)).min(MAX_PAUSE);
        // Up to a tenth less, so that many breakers do not try at the same moment.
        let less = full.as_nanos() / 10 * u128::from(random) / u128::from(u64::MAX);
        let pause = full.saturating_sub(Duration::from_nanos(u64::try_from(less).unwrap_or(0)));
        self.openings = self.openings.saturating_add(1);
        self.enter(Phase::Open { from: now, pause });
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.generation += 1;
        self.seconds.clear();
        self.connection_errors = 0;
    }
}

#[cfg(test)]
mod tests;
