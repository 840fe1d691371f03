//! The health of a provider: beats that ask how it is, and calls that find out in passing.
//!
//! One rule of three strikes for both, one success clears. A beat also chooses the model.

use crate::kernel::call::{CallOutcome, HealthSignal};
use crate::kernel::state_machine::StateMachine;
use crate::kernel::time::Timestamp;
use crate::model::catalog::{Catalog, Offered, SelectionReason, negotiate};
use crate::provider::{Provider, Status, Trigger};

/// Failures in a row that make a provider unhealthy.
pub const STRIKES: u32 = 3;
/// A beat that takes this many times the median of its history is late.
pub const LATE_FACTOR: u64 = 5;
/// A beat below this is never late, whatever the median, in milliseconds.
pub const LATE_FLOOR_MS: u64 = 500;
/// How much of the smoothed latency is the newest one.
const NEWEST: f64 = 0.2;
/// Why a provider is degraded that answers late.
const SLOW: &str = "slow to answer";

/// What one beat found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeartbeatResult {
    Answered {
        /// How long it took, in milliseconds.
        latency_ms: u64,
        median_ms: Option<u64>,
        models: Vec<Offered>,
    },
    Failed {
        error: String,
        judgement: HealthSignal,
        /// How long that took, in milliseconds.
        latency_ms: u64,
    },
}

impl Provider {
    /// What a beat says of the provider, by the rule of three strikes.
    pub fn verdict(&self, beat: &HeartbeatResult) -> Trigger {
        match beat {
            HeartbeatResult::Answered { latency_ms, median_ms, .. } => {
                let late = median_ms.is_some_and(|median| {
                    *latency_ms > (median.saturating_mul(LATE_FACTOR)).max(LATE_FLOOR_MS)
                });
                if late { Trigger::Weak } else { Trigger::Well }
            }
            HeartbeatResult::Failed { judgement: HealthSignal::Down, .. } => Trigger::Fail,
            HeartbeatResult::Failed { .. } => self.strike(),
        }
    }

    /// What one failure more says of the provider, be it of a beat or of a call.
    fn strike(&self) -> Trigger {
        let first = self.status == Status::Pending;
        let down = self.status == Status::Unhealthy;
        if first || down || self.failures + 1 >= STRIKES { Trigger::Fail } else { Trigger::Weak }
    }

    /// Returns whether a beat failed for a reason that says nothing of the provider, as that it limits the rate. Of one
    /// that never answered nothing else is known.
    fn learns_nothing(&self, beat: &HeartbeatResult) -> bool {
        matches!(beat, HeartbeatResult::Failed { judgement: HealthSignal::Neither, .. })
            && self.status != Status::Pending
    }

    /// The row with the measurements of a beat; no event tells of those.
    #[must_use]
    pub fn measured(&self, beat: &HeartbeatResult, now: Timestamp) -> Self {
        let mut after = self.clone();
        after.last_heartbeat_at = Some(now);
        match beat {
            HeartbeatResult::Answered { latency_ms, .. } => {
                after.last_heartbeat_latency_ms = Some(*latency_ms);
                after.last_heartbeat_error = None;
                after.latency_ewma_ms = Some(smoothed(self.latency_ewma_ms, *latency_ms));
                after.failures = 0;
            }
            HeartbeatResult::Failed { error, latency_ms, .. } => {
                after.last_heartbeat_latency_ms = Some(*latency_ms);
                after.last_heartbeat_error = Some(error.clone());
                if !self.learns_nothing(beat) {
                    after.failures = self.failures.saturating_add(1);
                }
            }
        }
        after
    }

    /// The row with what a call adds to the strikes; no event tells of those.
    #[must_use]
    pub fn struck(&self, outcome: &CallOutcome) -> Self {
        let failures = match outcome.judgement() {
            HealthSignal::Well => 0,
            HealthSignal::Strike | HealthSignal::Down => self.failures.saturating_add(1),
            HealthSignal::Neither => self.failures,
        };
        Self { failures, ..self.clone() }
    }

    pub(crate) fn after_beat(&self, beat: &HeartbeatResult, catalogue: &Catalog) -> Self {
        if self.status == Status::Disabled || self.learns_nothing(beat) {
            return self.clone();
        }
        let reason = |status| match beat {
            HeartbeatResult::Failed { error, .. } => Some(error.clone()),
            HeartbeatResult::Answered { .. } if status == Status::Degraded => Some(SLOW.into()),
            HeartbeatResult::Answered { .. } => None,
        };
        let mut after = self.moved(self.verdict(beat), reason);
        if let HeartbeatResult::Answered { models, .. } = beat {
            after.select_model(models, catalogue);
        }
        after
    }

    pub(crate) fn after_call(&self, outcome: &CallOutcome) -> Self {
        if matches!(self.status, Status::Disabled | Status::Pending) {
            return self.clone();
        }
        let trigger = match outcome.judgement() {
            HealthSignal::Neither => return self.clone(),
            // That it answers does not make it any faster.
            HealthSignal::Well if self.status_reason.as_deref() == Some(SLOW) => return self.clone(),
            HealthSignal::Well => Trigger::Well,
            HealthSignal::Strike => self.strike(),
            HealthSignal::Down => Trigger::Fail,
        };
        self.moved(trigger, |_| match outcome {
            CallOutcome::Failed { error, .. } => Some(error.clone()),
            CallOutcome::Answered => None,
        })
    }

    /// The provider after a verdict. A verdict without an arrow is a provider that stays as it is.
    fn moved(&self, verdict: Trigger, reason: impl FnOnce(Status) -> Option<String>) -> Self {
        let mut after = self.clone();
        after.status = self.status.after(verdict).unwrap_or(self.status);
        if after.status != self.status {
            after.status_reason = reason(after.status);
        }
        after
    }

    /// Chooses the model by what is offered. One that nothing speaks for but its place stays as long as it is
    /// offered, so that the order of a list does not change what calls use.
    fn select_model(&mut self, offered: &[Offered], catalogue: &Catalog) {
        let configured = self.configured_model.as_deref();
        let Some(mut choice) = negotiate(configured, offered, catalogue) else { return };
        let stays = |one: &&Offered| Some(&one.id) == self.selected_model.as_ref();
        if let (SelectionReason::First, Some(same)) = (choice.basis, offered.iter().find(stays)) {
            choice.model.clone_from(&same.id);
            choice.context_window = same.context_window;
        }
        self.selected_model = Some(choice.model);
        self.selection_reason = Some(choice.reason);
        self.model_score = choice.score;
        self.selected_gpu = choice.gpu;
        self.selected_context_window = choice.context_window;
        self.selected_price_input = choice.price_input_per_mtok;
        self.selected_price_output = choice.price_output_per_mtok;
    }
}

#[allow(clippy::cast_precision_loss)] // milliseconds
fn smoothed(before: Option<f64>, latency_ms: u64) -> f64 {
    let newest = latency_ms as f64;
    before.map_or(newest, |before| before + NEWEST * (newest - before))
}

#[cfg(test)]
mod tests;
