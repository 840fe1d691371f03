//! The configuration as the actors need it.

use crate::config::{ConditionalBlocks, Settings};
use arbiter_actors::PublicHttp;
use arbiter_core::bead::readiness::ConditionalMode;
use arbiter_core::provider::retry::RetryPolicy;
use std::sync::Arc;
use std::time::Duration;

/// The actors' part of the configuration; the catalogue of models is a file of its own.
pub fn actor_settings(settings: &Settings) -> arbiter_actors::Settings {
    let ms = Duration::from_millis;
    let (actors, dispatch) = (&settings.actors, &settings.dispatch);
    arbiter_actors::Settings {
        threads: actors.threads,
        mailbox: actors.mailbox,
        idle_retire: ms(actors.idle_retire_ms),
        restart_limit: usize::try_from(actors.restart_limit).unwrap_or(usize::MAX),
        restart_window: ms(actors.restart_window_ms),
        bus_buffer: settings.events.buffer,
        events_kept_for: Duration::from_secs(u64::from(settings.events.retention_days) * 86_400),
        events_kept: settings.events.retention_max,
        kdf_iterations: settings.vault.kdf_iterations,
        auto_lock: Duration::from_secs(settings.vault.auto_lock_sec),
        heartbeat_interval: ms(settings.providers.heartbeat_interval_ms),
        heartbeat_timeout: ms(settings.providers.heartbeat_timeout_ms),
        call_deadline: ms(settings.providers.call_deadline_ms),
        retry: RetryPolicy {
            base: ms(settings.providers.retry_base_ms),
            longest: ms(settings.providers.retry_longest_ms),
            budget: ms(settings.providers.retry_budget_ms),
        },
        idle_timeout: ms(settings.providers.idle_timeout_ms),
        answer_tokens: settings.providers.answer_tokens,
        public_http: match settings.providers.allow_public_http {
            true => PublicHttp::Allowed,
            false => PublicHttp::Refused,
        },
        socket_roots: settings.providers.socket_roots.clone(),
        catalogue: Arc::default(),
        calls_kept_for: Duration::from_secs(u64::from(settings.providers.usage_retention_days) * 86_400),
        max_parallel: dispatch.max_parallel,
        attempts_max: dispatch.attempts_max,
        backoff_base: ms(dispatch.backoff_base_ms),
        backoff_max: ms(dispatch.backoff_max_ms),
        lease_ttl: Duration::from_secs(dispatch.lease_ttl_sec),
        max_steps: dispatch.max_steps,
        approvals_per_project: u64::try_from(dispatch.p0_decisions_per_project).unwrap_or(u64::MAX),
        bead_file_pause: ms(settings.bead_files.pause_ms),
        bead_roots: settings.bead_files.roots.clone(),
        conditional: match dispatch.conditional_blocks {
            ConditionalBlocks::Blocks => ConditionalMode::Blocks,
            ConditionalBlocks::OnFailure => ConditionalMode::OnFailure,
        },
        decision_timeout: Duration::from_secs(settings.decisions.timeout_sec),
        // Its secret is read at the start.
        notify: None,
        store_readers: settings.store.readers,
        store_group_max: settings.store.group_commit_max,
        store_queue_max: settings.store.queue_max,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actor_settings_from_defaults_equal_the_actors_default() {
        let mapped = actor_settings(&Settings::default());
        assert_eq!(format!("{mapped:?}"), format!("{:?}", arbiter_actors::Settings::default()));
    }
}
