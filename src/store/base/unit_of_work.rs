//! Units of work: everything that one command changes, with its events, committed together or not at all.

use crate::base::rows::Comment;
use crate::base::rows::ConsoleTurn;
use crate::base::rows::Heartbeat;
use crate::base::rows::KeptAnswer;
use crate::base::rows::{AdoptedMirror, ChangedEntity, SentMirror};
use arbiter_core::agent::Agent;
use arbiter_core::bead::Bead;
use arbiter_core::bead::edit::Edge;
use arbiter_core::bead::readiness::Conditional;
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
use arbiter_core::model::catalog::Offered;
use arbiter_core::project::Project;
use arbiter_core::project::file_lock::FileLock;
use arbiter_core::project::org_chart::OrgChart;
use arbiter_core::provider::Provider;

/// What becomes of a row with a revision.
#[derive(Clone, Debug)]
pub enum Write<T> {
    /// It is new.
    Insert(T),
    /// It changes, if it still has the revision it was decided on.
    Update {
        /// The whole row.
        row: T,
        /// The revision it was decided on.
        expected: u64,
    },
    /// It goes, if it still has the revision it was decided on.
    Delete {
        /// The row.
        row: T,
    },
}

/// One change of the store.
#[derive(Clone, Debug)]
pub enum Change {
    /// A bead's row.
    Bead(Write<Bead>),
    /// An agent's row.
    Agent(Write<Agent>),
    /// A provider's row.
    Provider(Write<Provider>),
    /// A project's row.
    Project(Write<Project>),
    /// A project's org chart in the place of the one with the revision before; refused when more agents fill one of
    /// its positions than may.
    PutOrgChart(OrgChart),
    /// No row, but a rule: the position that this agent fills now has no more agents than it may have.
    CheckSeat(AgentId),
    /// A decision's row.
    Decision(Write<Decision>),
    /// A new dependency; a cycle among those that affect readiness is refused with its path.
    AddEdge(Edge),
    /// A dependency that goes.
    RemoveEdge(Edge),
    /// A new lease.
    PutLease(Lease),
    /// A lease that lasts longer; refused when it is no longer the live one.
    RenewLease(Lease),
    /// The end of a lease.
    EndLease(BeadId),
    /// A lock on a file that nobody holds; refused when its bead is not its holder's.
    TakeFileLock(FileLock),
    /// A lock that lasts longer; refused when it is no longer the same one.
    RenewFileLock(FileLock),
    /// The end of a lock; refused when it is no longer the same one, or was renewed.
    ReleaseFileLock(FileLock),
    /// The end of all locks for a bead; refused when there are not as many as were told of.
    ReleaseFileLocks {
        /// For which bead.
        bead_id: BeadId,
        /// How many there are.
        expected: usize,
    },
    /// How far a reader of the log outside of the process has got.
    MoveCursor {
        /// Which reader.
        name: &'static str,
        /// The last event it was told of.
        seq: u64,
    },
    /// How far the mirror has read the log, and which entities changed up to there.
    MirrorRead {
        /// The last event it has read.
        seq: u64,
        /// The entities.
        noted: Vec<ChangedEntity>,
    },
    /// Workflows that a store before this one had.
    MirrorAdopt(Vec<AdoptedMirror>),
    /// States of entities that the mirror has brought to its server.
    MirrorSent(Vec<SentMirror>),
    /// A run that begins.
    StartRun(Run),
    /// A run that is told of when it has ended already.
    RecordRun(Run),
    /// A run that ends; refused when it has ended already.
    FinishRun(Run),
    /// A comment on a bead.
    BeadComment(Comment),
    /// A comment on a project.
    ProjectComment(Comment),
    /// A provider's measurements (telemetry).
    Beat {
        /// The provider with its measured fields.
        provider: Provider,
        /// The line of its history.
        beat: Heartbeat,
    },
    /// Failures of a provider in a row, as calls found them (telemetry).
    Strikes {
        /// Which provider.
        provider_id: ProviderId,
        /// How many there are now.
        failures: u32,
    },
    /// What a provider offers (telemetry).
    Offer {
        /// Which provider.
        provider_id: ProviderId,
        /// Its models.
        models: Vec<Offered>,
    },
    /// A line of the ledger.
    Call(Call),
    /// A budget, new or with another cap; the mark of one that is there stays.
    PutBudget(Budget),
    /// A budget that goes.
    RemoveBudget(budget::Key),
    /// What is spent of a budget for certain; an older mark changes nothing.
    MarkBudget(SpendCheckpoint),
    /// An agent did something (telemetry).
    Active {
        /// Which.
        agent_id: AgentId,
        /// When.
        at: Timestamp,
    },
    /// A question to the console and its answer.
    ConsoleTurn(ConsoleTurn),
    /// A new token.
    PutToken(Token),
    /// A token that no longer works.
    RevokeToken(TokenId),
    /// A token was used (telemetry).
    TokenUsed {
        /// Which.
        id: TokenId,
        /// When.
        at: Timestamp,
    },
    /// A browser that signed in; of the sessions of its token only the newest stay.
    BeginSession {
        /// The new one.
        session: Session,
        /// How many of its token stay.
        most: u32,
    },
    /// A browser that signed out: the digest of its session.
    EndSession(String),
    /// What `conditional-blocks` means from now on.
    Rule(Conditional),
    /// Whether work is handed out: `None` is yes, `Some` is why not.
    Operation(Option<String>),
    /// A request with an Idempotency-Key; a second one of the same key is refused.
    KeepAnswer(KeptAnswer),
    /// The answer that a request with an Idempotency-Key got.
    CompleteAnswer(KeptAnswer),
    /// This generation of the key file was seen; an older one than the newest changes nothing.
    SeeVault(u64),
    /// This generation of the key file is the newest from now on, whatever was seen before.
    AcceptVault(u64),
    /// Events before this number go; a checkpoint keeps the chain verifiable.
    PruneEvents {
        /// The first event that stays.
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

/// Everything that one command changes.
#[derive(Clone, Debug)]
pub struct Unit {
    /// When it was decided.
    pub at: Timestamp,
    /// Who wants it: a user, an agent, or `system`.
    pub actor: String,
    /// Which part of the server decided.
    pub source: &'static str,
    /// Where the request came from that wants it.
    pub origin: Option<Origin>,
    /// The rows, in order.
    pub changes: Vec<Change>,
    /// What is told of it, in order.
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

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.events.is_empty()
    }
}

/// What a commit did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The number of its last event; 0 when it had none.
    pub last_seq: u64,
    /// Beads that became ready by it.
    pub became_ready: Vec<BeadId>,
}
