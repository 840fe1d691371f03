//! Deletion of old rows: events, heartbeats, kept answers, runs, calls and ended sessions.

use crate::error::Error;
use crate::services::Services;
use arbiter_store::{Change, Unit};
use std::time::Duration;

/// Retention of heartbeats.
const HEARTBEATS: Duration = Duration::from_secs(7 * 86_400);
/// Retention of answers to requests with an Idempotency-Key.
const ANSWERS: Duration = Duration::from_secs(86_400);
/// Retention of the runs of closed beads.
const RUNS: Duration = Duration::from_secs(90 * 86_400);

/// Deletes rows beyond the age or the number that is kept.
pub(crate) async fn enforce(shared: &Services) -> Result<(), Error> {
    let now = shared.clock.now();
    let mut unit = Unit::new(now, "system", "retention");
    let proven = shared.store.proven_time(now);
    let oldest = proven.minus(shared.settings.events_kept_for);
    let first_kept = shared.store.first_kept_event(oldest, shared.settings.events_kept).await?;
    unit.change(Change::PruneEvents { first_kept });
    unit.change(Change::PruneHistory {
        heartbeats_before: proven.minus(HEARTBEATS),
        answers_before: proven.minus(ANSWERS),
        runs_before: proven.minus(RUNS),
        calls_before: proven.minus(shared.settings.calls_kept_for),
        sessions_before: now,
    });
    shared.store.commit(unit).await?;
    Ok(())
}
