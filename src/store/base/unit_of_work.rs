//! Units of work: everything that one command changes, with its events, committed together or not at all.

use crate::base::rows::Comment;
use crate::base::rows::ConsoleTurn;
use crate::base::rows::Heartbeat;
use crate::base::rows::KeptAnswer;
use crate::base::rows::{AdoptedMirror, ChangedEntity, SentMirror};
use arbiter_core::agent::Agent;
use arbiter_core::bead::Bead;
use arbiter_core::bead::edit::Edge;
use arbiter_core::bead::readiness::ConditionalMode;
use arbiter_core::budget::{self, Budget, SpendCheckpoint};
use arbiter_core::decision::Decision;
use arbiter_core::kernel::call::Call;
use arbiter_core::kernel::event::{NewEvent, Origin};
use arbiter_core::kernel::ids::{AgentId, BeadId, ProviderId, TokenId};
use arbiter_core::kernel::lease::Lease;
use arbiter_core::kernel::record::{self, FieldChanges, Record};
use arbiter_core::kernel::run::Run;
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::kernel::token::{Session, Token};
use arbiter_core::model::catalog::OfferedModel;
use arbiter_core::project::Project;
use arbiter_core::project::file_lock::FileLock;
use arbiter_core::project::org_chart::OrgChart;
use arbiter_core::provider::Provider;

/// Write of a row with a revision.
#[derive(Clone, Debug)]
pub enum Write<T> {
    Insert(T),
    Update { row: T, expected: u64 },
    Delete { row: T },
}

/// One change of the store.
#[derive(Clone, Debug)]
pub enum Change {
    Bead(Write<Bead>),
    Agent(Write<Agent>),
    Provider(Write<Provider>),
    Project(Write<Project>),
    /// A project's org chart in the place of the one with the revision before; refused when more agents fill one of
    /// its positions than may.
    PutOrgChart(OrgChart),
    /// Rule without a row: the position that this agent fills has no more agents than its maximum.
    CheckInstanceLimit(AgentId),
    Decision(Write<Decision>),
    /// A new dependency; a cycle among those that affect readiness is refused with its path.
    AddEdge(Edge),
    RemoveEdge(Edge),
    PutLease(Lease),
    /// Renews a lease; refused when it is no longer the live one.
    RenewLease(Lease),
    EndLease(BeadId),
    /// Takes a free lock on a file; refused unless the lock's holder also holds its bead.
    TakeFileLock(FileLock),
    /// Renews a lock; refused when it is no longer the same one.
    RenewFileLock(FileLock),
    /// The end of a lock; refused when it is no longer the same one, or was renewed.
    ReleaseFileLock(FileLock),
    /// Ends all locks for a bead; refused when their number differs from the announced one.
    ReleaseFileLocks {
        bead_id: BeadId,
        expected: usize,
    },
    MoveCursor {
        name: &'static str,
        seq: u64,
    },
    /// Stores the mirror's position in the log, and the entities that changed up to there.
    MirrorRead {
        seq: u64,
        changed: Vec<ChangedEntity>,
    },
    /// Workflows that a store before this one had.
    MirrorAdopt(Vec<AdoptedMirror>),
    /// States of entities that the mirror has brought to its server.
    MirrorSent(Vec<SentMirror>),
    StartRun(Run),
    RecordRun(Run),
    /// Ends a run; refused when it has ended already.
    FinishRun(Run),
    BeadComment(Comment),
    ProjectComment(Comment),
    /// A provider's measurements (telemetry).
    Heartbeat {
        provider: Provider,
        heartbeat: Heartbeat,
    },
    /// Failures of a provider in a row, as calls found them (telemetry).
    ProviderFailures {
        provider_id: ProviderId,
        failures: u32,
    },
    /// Models that a provider offers (telemetry).
    OfferedModels {
        provider_id: ProviderId,
        models: Vec<OfferedModel>,
    },
    Call(Call),
    /// A budget, new or with another cap; the mark of one that is there stays.
    PutBudget(Budget),
    RemoveBudget(budget::BudgetKey),
    /// Stores a durable lower bound of a budget's spending; an older one changes nothing.
    SaveBudgetCheckpoint(SpendCheckpoint),
    /// An agent did something (telemetry).
    AgentActive {
        agent_id: AgentId,
        at: Timestamp,
    },
    ConsoleTurn(ConsoleTurn),
    PutToken(Token),
    RevokeToken(TokenId),
    /// A token was used (telemetry).
    TokenUsed {
        id: TokenId,
        at: Timestamp,
    },
    /// Creates a browser session; only the newest sessions of its token stay.
    BeginSession {
        session: Session,
        most: u32,
    },
    /// Ends a browser session, by its digest.
    EndSession(String),
    /// Sets the meaning of `conditional-blocks`.
    BlockingRule(ConditionalMode),
    /// Pauses dispatch with a reason, or resumes it with `None`.
    DispatchState(Option<String>),
    /// A request with an Idempotency-Key; a second one of the same key is refused.
    KeepAnswer(KeptAnswer),
    CompleteAnswer(KeptAnswer),
    /// This generation of the key file was seen; an older one than the newest changes nothing.
    RecordVaultGeneration(u64),
    /// Accepts this generation of the key file as the newest, even if a newer one was seen.
    AcceptVaultGeneration(u64),
    /// Events before this number go; a checkpoint keeps the chain verifiable.
    PruneEvents {
        first_kept: u64,
    },
    /// History older than this goes: heartbeats, kept answers, runs, calls and ended sessions.
    PruneHistory {
        /// The oldest heartbeat that stays.
        heartbeats_before: Timestamp,
        /// The oldest kept answer that stays.
        answers_before: Timestamp,
        /// The oldest run that stays.
        runs_before: Timestamp,
        /// The oldest line of the ledger that stays.
        calls_before: Timestamp,
        /// Sessions that ended before this go.
        sessions_before: Timestamp,
    },
}

/// Changes of one command.
#[derive(Clone, Debug)]
pub struct Unit {
    pub at: Timestamp,
    /// Actor of the unit: a user, an agent, or `system`.
    pub actor: String,
    pub source: &'static str,
    pub origin: Option<Origin>,
    pub changes: Vec<Change>,
    pub events: Vec<NewEvent>,
}

impl Unit {
    /// An empty unit.
    pub fn new(at: Timestamp, actor: impl Into<String>, source: &'static str) -> Self {
        Self { at, actor: actor.into(), source, origin: None, changes: vec![], events: vec![] }
    }

    /// Adds a change without an event.
    pub fn change(&mut self, change: Change) -> &mut Self {
        self.changes.push(change);
        self
    }

    /// Adds an event.
    pub fn emit(&mut self, event: NewEvent) -> &mut Self {
        self.events.push(event);
        self
    }

    /// Adds a new record and the event of its creation.
    pub fn create<R: Record>(&mut self, row: &R, change: fn(Write<R>) -> Change) -> &mut Self {
        self.emit(record::created_event(row));
        self.change(change(Write::Insert(row.clone())))
    }

    /// Adds what happened to a record, with its events; returns the record as it will be.
    pub fn apply<R: Record>(
        &mut self,
        before: &R,
        happenings: &[FieldChanges],
        change: fn(Write<R>) -> Change,
    ) -> R {
        let after = record::apply_all(before, happenings, self.at);
        for happening in happenings {
            self.emit(record::event(&after, happening));
        }
        if after.revision() != before.revision() {
            self.change(change(Write::Update { row: after.clone(), expected: before.revision() }));
        }
        after
    }

    /// Returns whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.events.is_empty()
    }
}

/// Result of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The number of its last event; 0 when it had none.
    pub last_seq: u64,
    /// Beads that became ready by it.
    pub became_ready: Vec<BeadId>,
}
