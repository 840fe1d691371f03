//! Read queries of the store: one method for each.

use crate::base::error::StoreError;
use crate::base::page::{Page, PageRequest};
use crate::base::rows::Comment;
use crate::base::rows::ConsoleTurn;
use crate::base::rows::Heartbeat;
use crate::base::rows::{IdempotencyKey, KeptAnswer};
use crate::base::table;
use crate::read::ready as read_ready;
use crate::read::ready::DueFilter;
use crate::read::verify::{Verified, VerifyError};
use crate::store::Store;
use crate::tables::agents::AgentFilter;
use crate::tables::bead_files::{self, FileBase};
use crate::tables::beads::{BeadDetail, BeadFilter};
use crate::tables::calls::{Granularity, GroupBy, Usage, UsageFilter};
use crate::tables::comments::CommentTarget;
use crate::tables::decisions::DecisionFilter;
use crate::tables::events::{EventPage, EventRange, TypeCount};
use crate::tables::file_locks;
use crate::tables::file_locks::FileLockFilter;
use crate::tables::runs::RunFilter;
use crate::tables::state::cursors;
use crate::tables::state::dispatch_state;
use crate::tables::state::mirror_state::{self, DueMirror, MirrorState};
use crate::tables::state::{readiness_rule, vault_generation};
use crate::tables::{
    agents, beads, budgets, calls, comments, console, decisions, dependencies, events, heartbeats,
    idempotency,
};
use crate::tables::{leases, offered_models};
use crate::tables::{projects, providers, runs, tokens};
use arbiter_core::agent::Agent;
use arbiter_core::bead::edit::Edge;
use arbiter_core::bead::readiness::ConditionalMode;
use arbiter_core::bead::{Bead, ClaimContext};
use arbiter_core::budget::Budget;
use arbiter_core::budget::meter::BudgetSeed;
use arbiter_core::decision::Decision;
use arbiter_core::decision::subject_digest::OpenWork;
use arbiter_core::dispatch::assign::DispatchState;
use arbiter_core::kernel::call::Call;
use arbiter_core::kernel::event::{Event, EventFilter};
use arbiter_core::kernel::ids::{BeadId, DecisionId, ProviderId};
use arbiter_core::kernel::lease::Lease;
use arbiter_core::kernel::run::Run;
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::kernel::token::{Session, Token};
use arbiter_core::model::catalog::OfferedModel;
use arbiter_core::project::file_lock::FileLock;
use arbiter_core::project::{self, Project};
use arbiter_core::provider::Provider;
use rusqlite::Connection;
use std::collections::HashSet;
use std::ops::ControlFlow;

/// Number of rows of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub beads: Vec<(String, u64)>,
    pub agents: Vec<(String, u64)>,
    pub providers: Vec<(String, u64)>,
    /// Open decisions.
    pub pending_decisions: u64,
    /// Beads that are ready (deferral left aside).
    pub ready_beads: u64,
}

macro_rules! queries {
    ($( $(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) -> $out:ty = |$c:ident| $body:expr; )*) => {
        impl Store {
            $(
                $(#[$doc])*
                pub async fn $name(&self, $($arg: $ty),*) -> Result<$out, StoreError> {
                    tracing::trace!(query = stringify!($name), "read queued");
                    self.readers.read(move |$c: &Connection| $body).await
                }
            )*
        }
    };
}

queries! {
    /// A bead's row.
    bead(id: String) -> Option<Bead> = |c| table::get(c, &id);
    /// A bead with its surroundings.
    bead_detail(id: String) -> Option<BeadDetail> = |c| snapshot(c, |c| beads::detail(c, &id));
    /// A page of beads.
    beads(filter: BeadFilter, page: PageRequest) -> Page<BeadDetail> =
        |c| snapshot(c, |c| beads::list(c, &filter, &page));
    /// A bead's row, what a claim has to know, and its live lease: read in one moment.
    bead_state(id: String) -> Option<(Bead, ClaimContext, Option<Lease>)> = |c| snapshot(c, |c| {
        let Some(bead) = table::get::<Bead>(c, &id)? else { return Ok(None) };
        let (claim_context, lease) = (beads::claim_context(c, &bead.id)?, leases::get(c, &id)?);
        Ok(Some((bead, claim_context, lease)))
    });
    /// The facts that a claim of a bead depends on once dependencies of it are added and removed.
    claim_context_after(id: BeadId, add: Vec<Edge>, remove: Vec<Edge>) -> ClaimContext =
        |c| snapshot(c, |c| beads::claim_context_after(c, &id, &add, &remove));
    /// Ready beads, most urgent first, that may be handed out now and want no approval.
    due_beads(filter: DueFilter, now: Timestamp, limit: u32) -> Vec<Bead> = |c| read_ready::due(c, &filter, now, limit);
    /// Critical beads that wait for nothing but an approval, in each project as many as may be asked for.
    unapproved_beads(now: Timestamp, most: u64) -> Vec<Bead> =
        |c| snapshot(c, |c| read_ready::unapproved(c, now, most));
    /// The next time at which a ready bead's deferral or pause ends.
    next_due(now: Timestamp) -> Option<Timestamp> = |c| read_ready::next_due(c, now);
    /// Every live lease.
    leases() -> Vec<Lease> = |c| leases::all(c);
    /// Returns the beads among these that are in one of these projects.
    beads_within(ids: Vec<String>, projects: Vec<String>) -> HashSet<String> =
        |c| beads::within(c, &ids, &projects);
    /// The dependencies of one bead, outward.
    edges_of(id: String) -> Vec<(BeadId, String)> = |c| dependencies::depends_on(c, &id);
    /// Every dependency of a project, or of all.
    edges(project: Option<String>) -> Vec<Edge> = |c| dependencies::of_project(c, project.as_deref());
    /// Comments on a bead.
    bead_comments(id: String, page: PageRequest) -> Page<Comment> = |c| comments::list(c, CommentTarget::Bead, &id, &page);
    /// Comments on a project.
    project_comments(id: String, page: PageRequest) -> Page<Comment> =
        |c| comments::list(c, CommentTarget::Project, &id, &page);
    /// Returns the meaning of `conditional-blocks` in this database.
    conditional() -> ConditionalMode = |c| readiness_rule::conditional(c);
    /// The projects that have files of beads.
    projects_with_files() -> Vec<String> = |c| bead_files::projects(c);
    /// The digest of a project's file as it was last read or written.
    bead_file_digest(project: String) -> Option<String> = |c| bead_files::digest(c, &project);
    /// The bases of a project's file by id.
    bead_file_bases(project: String) -> Vec<(String, FileBase)> = |c| bead_files::bases(c, &project);
    /// The report on a project's file, as JSON.
    bead_file_report(project: String) -> Option<String> = |c| bead_files::report(c, &project);
    /// The reports on all projects' files, as JSON.
    bead_file_reports() -> Vec<(String, String)> = |c| bead_files::reports(c);
    /// Projects whose file is an older project's: the project, the path, the older project.
    shared_bead_paths() -> Vec<(String, String, String)> = |c| bead_files::shared_paths(c);
    /// An agent.
    agent(id: String) -> Option<Agent> = |c| table::get(c, &id);
    /// A page of agents.
    agents(filter: AgentFilter, page: PageRequest) -> Page<Agent> = |c| agents::list(c, &filter, &page);
    /// All agents that are started, or failed.
    started_agents() -> Vec<Agent> = |c| agents::started(c);
    /// The agents that use a provider.
    agents_of_provider(id: String) -> Vec<Agent> = |c| agents::of_provider(c, &id);
    /// A provider.
    provider(id: String) -> Option<Provider> = |c| providers::get(c, &id);
    /// A page of providers.
    providers(page: PageRequest) -> Page<Provider> = |c| providers::list(c, &page);
    /// Every provider.
    all_providers() -> Vec<Provider> = |c| providers::all(c);
    /// A page of a provider's heartbeats, newest first.
    heartbeats(id: String, page: PageRequest) -> Page<Heartbeat> =
        |c| snapshot(c, |c| heartbeats::list(c, &id, &page));
    /// Returns the models of every provider that has reported its offer.
    offers() -> Vec<(ProviderId, Vec<OfferedModel>)> = |c| offered_models::all(c);
    /// Returns the models that a provider offered at its last heartbeat.
    offered_models(id: String) -> Vec<OfferedModel> = |c| offered_models::of(c, &id);
    /// Returns the usage of calls by group and time slice.
    usage(filter: UsageFilter, group: GroupBy, granularity: Granularity) -> Vec<Usage> =
        |c| calls::usage(c, &filter, group, granularity);
    /// The calls of one run, oldest first.
    calls_of_run(id: String) -> Vec<Call> = |c| calls::of_run(c, &id);
    /// Every budget.
    budgets() -> Vec<Budget> = |c| budgets::all(c);
    /// Every budget with what the ledger holds of its present window.
    budget_seeds(now: Timestamp) -> Vec<BudgetSeed> = |c| snapshot(c, |c| budgets::seeds(c, now));
    /// The median latency of a provider's recent beats, in milliseconds.
    median_latency(id: String) -> Option<u64> = |c| heartbeats::median(c, &id);
    /// A project.
    project(id: String) -> Option<Project> = |c| table::get(c, &id);
    /// A page of projects.
    projects(status: Option<project::Status>, within: Option<Vec<String>>, page: PageRequest) -> Page<Project> =
        |c| projects::list(c, status, within.as_deref(), &page);
    /// Returns the number of a project's beads by status.
    bead_counts(project: String) -> Vec<(String, u64)> = |c| projects::bead_counts(c, &project);
    /// A decision.
    decision(id: String) -> Option<Decision> = |c| table::get(c, &id);
    /// A page of decisions.
    decisions(filter: DecisionFilter, page: PageRequest) -> Page<Decision> =
        |c| decisions::list(c, &filter, &page);
    /// The decisions about a bead.
    decisions_of(bead: String) -> Vec<Decision> = |c| decisions::of_bead(c, &bead);
    /// Returns the agent's decisions that ended since it last began to work, except those about this bead.
    ended_decisions_for(requester: String, project: String, bead: String) -> Vec<Decision> =
        |c| decisions::ended_for(c, &requester, &project, &bead);
    /// Returns the open decisions of a project.
    pending_decisions_in(project: String) -> Vec<Decision> = |c| decisions::pending_in(c, &project);
    /// The pending question whether a project is to be closed.
    pending_close_of(project: String) -> Option<Decision> = |c| decisions::pending_close(c, &project);
    /// Returns the identifying fields of a project's open beads.
    open_work(project: String) -> OpenWork = |c| projects::open_work(c, &project);
    /// A page of file locks.
    file_locks(filter: FileLockFilter, page: PageRequest) -> Page<FileLock> =
        |c| file_locks::list(c, &filter, &page);
    /// The file locks of a project, those that have run out as well.
    file_locks_in(project: String) -> Vec<FileLock> = |c| file_locks::of_project(c, &project);
    /// The file locks for a bead.
    file_locks_for(bead: String) -> Vec<FileLock> = |c| file_locks::of_bead(c, &bead);
    /// The projects that have file locks.
    projects_with_file_locks() -> Vec<String> = |c| file_locks::projects(c);
    /// Returns the log position of a reader outside of the process.
    cursor(name: &'static str) -> Option<u64> = |c| cursors::get(c, name);
    /// Returns the mirror's position.
    mirror_state() -> MirrorState = |c| snapshot(c, mirror_state::state);
    /// The entities whose newest state the mirror has not brought to its server, those first that have waited longest.
    due_mirrors(most: u32) -> Vec<DueMirror> = |c| mirror_state::due(c, most);
    /// Returns the mirror's run number of an entity.
    mirror_run_no(kind: &'static str, id: String) -> Option<u64> = |c| mirror_state::run_no(c, kind, &id);
    /// Returns the ids of open decisions.
    pending_decisions() -> Vec<DecisionId> = |c| decisions::pending(c);
    /// A page of a user's turns at the console, oldest first.
    console_turns(user: String, within: Option<Vec<String>>, page: PageRequest) -> Page<ConsoleTurn> =
        |c| console::list(c, &user, within.as_deref(), &page);
    /// The newest turns of a user at the console, oldest first.
    newest_console_turns(user: String, within: Option<Vec<String>>, most: u32) -> Vec<ConsoleTurn> =
        |c| console::newest(c, &user, within.as_deref(), most);
    /// A run.
    run(id: String) -> Option<Run> = |c| runs::get(c, &id);
    /// A page of runs.
    runs(filter: RunFilter, page: PageRequest) -> Page<Run> = |c| runs::list(c, &filter, &page);
    /// Every run that has not ended.
    running_runs() -> Vec<Run> = |c| runs::running(c);
    /// Every token.
    tokens() -> Vec<Token> = |c| tokens::all(c);
    /// Every browser session.
    sessions() -> Vec<Session> = |c| tokens::sessions(c);
    /// Returns the dispatch state, and the time since when it holds.
    dispatch_state() -> (DispatchState, Option<Timestamp>) = |c| dispatch_state::get(c);
    /// The newest generation of the key file that was seen.
    vault_generation() -> Option<u64> = |c| vault_generation::get(c);
    /// The answer given to a request with this key.
    kept_answer(key: IdempotencyKey) -> Option<KeptAnswer> = |c| idempotency::get(c, &key);
    /// A part of the event log.
    events(range: EventRange) -> EventPage = |c| snapshot(c, |c| events::range(c, &range));
    /// The numbers of the oldest and the newest event; zeros when there is none.
    event_bounds() -> (u64, u64) = |c| snapshot(c, |c| Ok((events::first_seq(c)?, events::last_seq(c)?)));
    /// Returns the number of events by type.
    event_counts(project: Option<String>, within: Option<Vec<String>>) -> Vec<TypeCount> =
        |c| events::counts(c, project.as_deref(), within.as_deref());
    /// The first event that retention keeps.
    first_kept_event(before: Timestamp, max: u64) -> u64 = |c| events::first_kept(c, &before.to_string(), max);
    /// Returns the number of rows of each kind.
    counts() -> Counts = |c| snapshot(c, count_all);
}

impl Store {
    /// All agents of a filter, page by page.
    pub async fn all_agents(&self, filter: AgentFilter) -> Result<Vec<Agent>, StoreError> {
        let (mut agents, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.agents(filter.clone(), PageRequest { limit: 1000, cursor }).await?;
            agents.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(agents);
            }
        }
    }

    /// Reads all events of a filter behind a number, page by page, until `visit` breaks.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn scan_events(
        &self,
        filter: EventFilter,
        mut after: u64,
        mut visit: impl FnMut(Event) -> ControlFlow<()> + Send,
    ) -> Result<(), StoreError> {
        loop {
            let range = EventRange {
                after: Some(after),
                filter: filter.clone(),
                limit: 1000,
                ..EventRange::default()
            };
            let page = self.events(range).await?;
            after = page.scanned_to;
            for event in page.events {
                if visit(event).is_break() {
                    return Ok(());
                }
            }
            if !page.is_cut {
                return Ok(());
            }
        }
    }

    /// Follows the hash chain through the whole log. Callers that come while a verification runs get its result.
    pub async fn verify_events(&self) -> Result<Verified, VerifyError> {
        self.verification.result(&self.readers).await
    }
}

/// Runs several reads against one state of the database.
pub(crate) fn snapshot<T>(
    connection: &Connection,
    read: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let transaction = connection.unchecked_transaction()?;
    read(&transaction)
}

fn count_all(c: &Connection) -> Result<Counts, StoreError> {
    let by_status = |table: &str| -> Result<Vec<(String, u64)>, StoreError> {
        let sql = format!("SELECT status, count(*) FROM {table} GROUP BY status ORDER BY 1");
        let mut statement = c.prepare_cached(&sql)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    };
    let number = |sql: &str| -> Result<u64, StoreError> {
        Ok(c.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
    };
    Ok(Counts {
        beads: by_status("beads")?,
        agents: by_status("agents")?,
        providers: by_status("providers")?,
        pending_decisions: number("SELECT count(*) FROM decisions WHERE status = 'pending'")?,
        ready_beads: number("SELECT count(*) FROM beads WHERE ready = 1")?,
    })
}
