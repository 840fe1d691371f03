//! Applies one unit of work inside the writer's transaction.

use crate::base::error::StoreError;
use crate::base::table;
use crate::base::unit_of_work::{Change, Unit, Write};
use crate::tables::bead_files;
use crate::tables::comments::{self, CommentTarget};
use crate::tables::file_locks;
use crate::tables::state::{cursors, mirror_state};
use crate::tables::state::{dispatch_state, readiness_rule, vault_generation};
use crate::tables::{
    agents, beads, budgets, calls, checkpoints, console, decisions, dependencies, heartbeats, idempotency,
    leases, offered_models, org_charts,
};
use crate::tables::{providers, runs, tokens};
use crate::write::readiness::{self, BecameReady};
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::project::Project;
use rusqlite::Connection;
use std::collections::BTreeSet;

/// Applies all changes; returns the beads that became ready by them.
pub(crate) fn apply(connection: &Connection, unit: &Unit) -> Result<Vec<BecameReady>, StoreError> {
    let mut seeds = BTreeSet::new();
    for one in &unit.changes {
        // A dependency that goes is seen only before the change, one that comes only after it.
        if matches!(one, Change::RemoveEdge(_) | Change::Bead(Write::Delete { .. })) {
            readiness::collect_affected(connection, one, &mut seeds)?;
        }
        change(connection, unit, one)?;
        readiness::collect_affected(connection, one, &mut seeds)?;
    }
    if seeds.is_empty() { Ok(vec![]) } else { readiness::refresh(connection, seeds, unit.at) }
}

/// Refuses the file of another project, and forgets what was known of the file that a project had before.
fn own_file(connection: &Connection, project: &Project) -> Result<(), StoreError> {
    let id = project.id.as_str();
    let before = table::get::<Project>(connection, id)?.and_then(|row| row.beads_path);
    if before == project.beads_path {
        return Ok(());
    }
    if let Some(path) = &project.beads_path
        && let Some(owner) = bead_files::path_owner(connection, path, id)?
    {
        let detail =
            format!("{path} is the bead directory of the project {owner}; a file belongs to one project");
        return Err(Refusal::conflict(ProblemCode::Conflict, detail).into());
    }
    bead_files::forget_bases(connection, id)
}

fn change(connection: &Connection, unit: &Unit, change: &Change) -> Result<(), StoreError> {
    match change {
        Change::Bead(write) => beads::write(connection, write),
        Change::Agent(write) => table::write(connection, write),
        Change::Provider(write) => table::write(connection, write),
        Change::Project(write) => {
            if let Write::Delete { row } = write {
                decisions::check_no_pending_in(connection, &row.id)?;
            }
            if let Write::Insert(row) | Write::Update { row, .. } = write {
                own_file(connection, row)?;
            }
            table::write(connection, write)
        }
        Change::PutOrgChart(chart) => org_charts::put(connection, chart),
        Change::CheckInstanceLimit(agent) => org_charts::check_instance_limit(connection, agent),
        Change::Decision(write) => decisions::write(connection, write),
        Change::AddEdge(edge) => dependencies::add(connection, edge, &unit.actor, unit.at),
        Change::RemoveEdge(edge) => dependencies::remove(connection, edge),
        Change::PutLease(lease) => leases::put(connection, lease),
        Change::RenewLease(lease) => leases::renew(connection, lease),
        Change::EndLease(bead) => leases::end(connection, bead),
        Change::TakeFileLock(lock) => file_locks::take(connection, lock),
        Change::RenewFileLock(lock) => file_locks::renew(connection, lock),
        Change::ReleaseFileLock(lock) => file_locks::release(connection, lock),
        Change::ReleaseFileLocks { bead_id, expected } => {
            file_locks::release_of(connection, bead_id, *expected)
        }
        Change::MoveCursor { name, seq } => cursors::put(connection, name, *seq),
        Change::MirrorRead { seq, changed } => mirror_state::read(connection, *seq, changed),
        Change::MirrorAdopt(adopted) => mirror_state::adopt(connection, adopted),
        Change::MirrorSent(sent) => mirror_state::sent(connection, sent),
        Change::StartRun(run) | Change::RecordRun(run) => runs::start(connection, run),
        Change::FinishRun(run) => runs::finish(connection, run),
        Change::BeadComment(comment) => comments::add(connection, CommentTarget::Bead, comment),
        Change::ProjectComment(comment) => comments::add(connection, CommentTarget::Project, comment),
        Change::Heartbeat { provider, heartbeat } => {
            providers::set_telemetry(connection, provider)?;
            heartbeats::add(connection, provider.id.as_str(), heartbeat)
        }
        Change::ProviderFailures { provider_id, failures } => {
            providers::set_failures(connection, provider_id, *failures)
        }
        Change::OfferedModels { provider_id, models } => offered_models::put(connection, provider_id, models),
        Change::Call(call) => calls::add(connection, call),
        Change::PutBudget(budget) => budgets::put(connection, budget),
        Change::RemoveBudget(key) => budgets::remove(connection, key),
        Change::SaveBudgetCheckpoint(checkpoint) => budgets::checkpoint(connection, checkpoint),
        Change::AgentActive { agent_id, at } => agents::set_last_active(connection, agent_id, *at),
        Change::ConsoleTurn(turn) => console::add(connection, turn),
        Change::PutToken(token) => tokens::put(connection, token),
        Change::RevokeToken(id) => tokens::revoke(connection, id),
        Change::TokenUsed { id, at } => tokens::used(connection, id, *at),
        Change::BeginSession { session, most } => tokens::begin_session(connection, session, *most),
        Change::EndSession(digest) => tokens::end_session(connection, digest),
        Change::BlockingRule(conditional) => readiness_rule::put(connection, *conditional),
        Change::DispatchState(parked) => dispatch_state::put(connection, parked.as_deref(), unit.at),
        Change::KeepAnswer(kept) => idempotency::put(connection, kept),
        Change::CompleteAnswer(kept) => idempotency::complete(connection, kept),
        Change::RecordVaultGeneration(generation) => vault_generation::record(connection, *generation),
        Change::AcceptVaultGeneration(generation) => vault_generation::accept(connection, *generation),
        Change::PruneEvents { first_kept } => checkpoints::cut(connection, *first_kept, unit.at),
        Change::PruneHistory {
            heartbeats_before,
            answers_before,
            runs_before,
            calls_before,
            sessions_before,
        } => {
            heartbeats::prune(connection, *heartbeats_before)?;
            idempotency::prune(connection, *answers_before)?;
            runs::prune(connection, *runs_before)?;
            console::prune(connection, *runs_before)?;
            calls::prune(connection, *calls_before)?;
            tokens::prune_sessions(connection, *sessions_before)
        }
    }
}
