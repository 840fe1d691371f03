//! The health of a provider: beats that ask how it is, and calls that find out in passing.
//!
//! One rule of three strikes for both, one success clears. A beat also chooses the model.

use crate::kernel::call::{CallOutcome, HealthSignal};
use crate::kernel::state_machine::StateMachine;
use crate::kernel::time::Timestamp;
use crate::model::catalog::{Catalog, OfferedModel, SelectionReason, negotiate};
use crate::provider::{Provider, Status, Trigger};

/// Failures in a row that make a provider unhealthy.
pub const UNHEALTHY_AFTER: u32 = 3;
/// Multiple of the median latency from which a heartbeat is late.
pub const LATE_FACTOR: u64 = 5;
/// Latency in milliseconds below which a heartbeat is never late, regardless of the median.
pub const LATE_FLOOR_MS: u64 = 500;
/// Weight of the newest latency in the moving average.
const EWMA_WEIGHT: f64 = 0.2;
/// Reason of a provider that is degraded because it answers late.
const SLOW_REASON: &str = "slow to answer";

/// Result of one heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeartbeatResult {
    Answered {
        /// Latency in milliseconds.
        latency_ms: u64,
        median_ms: Option<u64>,
        models: Vec<OfferedModel>,
    },
    Failed {
        error: String,
        health_signal: HealthSignal,
        /// Latency in milliseconds.
        latency_ms: u64,
    },
}

impl Provider {
    /// Returns the trigger of a heartbeat result, by the rule of three strikes.
    pub fn heartbeat_trigger(&self, heartbeat: &HeartbeatResult) -> Trigger {
        match heartbeat {
            HeartbeatResult::Answered { latency_ms, median_ms, .. } => {
                let late = median_ms.is_some_and(|median| {
                    *latency_ms > (median.saturating_mul(LATE_FACTOR)).max(LATE_FLOOR_MS)
                });
                if late { Trigger::Degraded } else { Trigger::Healthy }
            }
            HeartbeatResult::Failed { health_signal: HealthSignal::Down, .. } => Trigger::Unhealthy,
            HeartbeatResult::Failed { .. } => self.failure_trigger(),
        }
    }

    /// Returns the trigger of one more failure, of a heartbeat or of a call.
    fn failure_trigger(&self) -> Trigger {
        let first = self.status == Status::Pending;
        let down = self.status == Status::Unhealthy;
        if first || down || self.failures + 1 >= UNHEALTHY_AFTER {
            Trigger::Unhealthy
        } else {
            Trigger::Degraded
        }
    }

    /// Returns whether a beat failed for a reason that says nothing of the provider, as that it limits the rate. Of one
    /// that never answered nothing else is known.
    fn is_inconclusive(&self, heartbeat: &HeartbeatResult) -> bool {
        matches!(heartbeat, HeartbeatResult::Failed { health_signal: HealthSignal::Neutral, .. })
            && self.status != Status::Pending
    }

    /// Returns the row with the measurements of a heartbeat; they cause no event.
    #[must_use]
    pub fn with_heartbeat(&self, heartbeat: &HeartbeatResult, now: Timestamp) -> Self {
        let mut after = self.clone();
        after.last_heartbeat_at = Some(now);
        match heartbeat {
            HeartbeatResult::Answered { latency_ms, .. } => {
                after.last_heartbeat_latency_ms = Some(*latency_ms);
                after.last_heartbeat_error = None;
                after.latency_ewma_ms = Some(ewma(self.latency_ewma_ms, *latency_ms));
                after.failures = 0;
            }
            HeartbeatResult::Failed { error, latency_ms, .. } => {
                after.last_heartbeat_latency_ms = Some(*latency_ms);
                after.last_heartbeat_error = Some(error.clone());
                if !self.is_inconclusive(heartbeat) {
                    after.failures = self.failures.saturating_add(1);
                }
            }
        }
        after
    }

    /// Returns the row with the strikes of a call; they cause no event.
    #[must_use]
    pub fn with_call_outcome(&self, outcome: &CallOutcome) -> Self {
        let failures = match outcome.health_signal() {
            HealthSignal::Healthy => 0,
            HealthSignal::Failure | HealthSignal::Down => self.failures.saturating_add(1),
            HealthSignal::Neutral => self.failures,
        };
        Self { failures, ..self.clone() }
    }

    pub(crate) fn after_heartbeat(&self, heartbeat: &HeartbeatResult, catalog: &Catalog) -> Self {
        if self.status == Status::Disabled || self.is_inconclusive(heartbeat) {
            return self.clone();
        }
        let reason = |status| match heartbeat {
            HeartbeatResult::Failed { error, .. } => Some(error.clone()),
            HeartbeatResult::Answered { .. } if status == Status::Degraded => Some(SLOW_REASON.into()),
            HeartbeatResult::Answered { .. } => None,
        };
        let mut after = self.with_trigger(self.heartbeat_trigger(heartbeat), reason);
        if let HeartbeatResult::Answered { models, .. } = heartbeat {
            after.select_model(models, catalog);
        }
        after
    }

    pub(crate) fn after_call(&self, outcome: &CallOutcome) -> Self {
        if matches!(self.status, Status::Disabled | Status::Pending) {
            return self.clone();
        }
        let trigger = match outcome.health_signal() {
            HealthSignal::Neutral => return self.clone(),
            // That it answers does not make it any faster.
            HealthSignal::Healthy if self.status_reason.as_deref() == Some(SLOW_REASON) => {
                return self.clone();
            }
            HealthSignal::Healthy => Trigger::Healthy,
            HealthSignal::Failure => self.failure_trigger(),
            HealthSignal::Down => Trigger::Unhealthy,
        };
        self.with_trigger(trigger, |_| match outcome {
            CallOutcome::Failed { error, .. } => Some(error.clone()),
            CallOutcome::Answered => None,
        })
    }

    /// The provider after a verdict. A verdict without an arrow is a provider that stays as it is.
    fn with_trigger(
        &self,
        heartbeat_trigger: Trigger,
        reason: impl FnOnce(Status) -> Option<String>,
    ) -> Self {
        let mut after = self.clone();
        after.status = self.status.after(heartbeat_trigger).unwrap_or(self.status);
        if after.status != self.status {
            after.status_reason = reason(after.status);
        }
        after
    }

    /// Chooses the model by what is offered. One that nothing speaks for but its place stays as long as it is
    /// offered, so that the order of a list does not change what calls use.
    fn select_model(&mut self, offered: &[OfferedModel], catalog: &Catalog) {
        let configured = self.configured_model.as_deref();
        let Some(mut choice) = negotiate(configured, offered, catalog) else { return };
        let stays = |one: &&OfferedModel| Some(&one.id) == self.selected_model.as_ref();
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
fn ewma(before: Option<f64>, latency_ms: u64) -> f64 {
    let newest = latency_ms as f64;
    before.map_or(newest, |before| before + EWMA_WEIGHT * (newest - before))
}

#[cfg(test)]
mod tests;
