//! The names of all events: a subscriber filters by them.

string_enum! {
    /// The type of an event, `noun.what_happened`.
    pub enum EventType {
        /// An agent was created.
        AgentSpawned = "agent.spawned",
        /// An agent's status changed.
        AgentStatusChange = "agent.status_change",
        /// An agent ended a bead.
        AgentCompleted = "agent.completed",
        /// Fields of an agent changed.
        AgentUpdated = "agent.updated",
        /// An agent was shut down.
        AgentShutdown = "agent.shutdown",
        /// An agent was started again.
        AgentRestarted = "agent.restarted",
        /// An agent was deleted.
        AgentDeleted = "agent.deleted",
        /// A bead was created.
        BeadCreated = "bead.created",
        /// A bead was assigned to an agent or a person.
        BeadAssigned = "bead.assigned",
        /// A bead's status changed.
        BeadStatusChange = "bead.status_change",
        /// A bead reached `closed`.
        BeadCompleted = "bead.completed",
        /// Fields of a bead changed.
        BeadUpdated = "bead.updated",
        /// A bead became ready for work.
        BeadReady = "bead.ready",
        /// A comment was added to a bead.
        BeadCommented = "bead.commented",
        /// A dependency was added to a bead.
        BeadDependencyAdded = "bead.dependency_added",
        /// A dependency was removed from a bead.
        BeadDependencyRemoved = "bead.dependency_removed",
        /// A bead was deleted.
        BeadDeleted = "bead.deleted",
        /// A decision was requested.
        DecisionCreated = "decision.created",
        /// A decision was made.
        DecisionResolved = "decision.resolved",
        /// A pending decision passed half of its time.
        DecisionReminder = "decision.reminder",
        /// A decision's deadline passed without an answer.
        DecisionTimeout = "decision.timeout",
        /// A decision was cancelled.
        DecisionCancelled = "decision.cancelled",
        /// Fields of a decision changed.
        DecisionUpdated = "decision.updated",
        /// A run began.
        RunStarted = "run.started",
        /// A run ended.
        RunFinished = "run.finished",
        /// A provider was registered.
        ProviderRegistered = "provider.registered",
        /// Fields of a provider changed.
        ProviderUpdated = "provider.updated",
        /// A provider's status changed.
        ProviderStatusChange = "provider.status_change",
        /// A provider was deleted.
        ProviderDeleted = "provider.deleted",
        /// A project was created.
        ProjectCreated = "project.created",
        /// Fields of a project changed.
        ProjectUpdated = "project.updated",
        /// A project was closed.
        ProjectClosed = "project.closed",
        /// A project was opened again.
        ProjectReopened = "project.reopened",
        /// A project was deleted.
        ProjectDeleted = "project.deleted",
        /// A comment was added to a project.
        ProjectCommented = "project.commented",
        /// A file lock was taken.
        FileLockAcquired = "file_lock.acquired",
        /// A file lock was released or expired.
        FileLockReleased = "file_lock.released",
        /// The vault was unlocked.
        VaultUnlocked = "vault.unlocked",
        /// The vault was locked.
        VaultLocked = "vault.locked",
        /// The vault's password was changed.
        VaultPasswordChanged = "vault.password_changed",
        /// An operator accepted a key file that is older than the newest one seen.
        VaultRollbackAccepted = "vault.rollback_accepted",
        /// A key was stored.
        KeyStored = "key.stored",
        /// A key's value was replaced.
        KeyUpdated = "key.updated",
        /// A key was deleted.
        KeyDeleted = "key.deleted",
        /// Use of a key was granted.
        KeyUsed = "key.used",
        /// A token was created.
        TokenCreated = "token.created",
        /// A token was revoked.
        TokenRevoked = "token.revoked",
        /// Files of the configuration were read again, on SIGHUP.
        ConfigUpdated = "config.updated",
        /// A workflow of an entity was started at the Temporal server.
        WorkflowStarted = "workflow.started",
        /// A workflow of an entity got its last state and ends.
        WorkflowCompleted = "workflow.completed",
        /// An actor restarted after a failure.
        ActorRestarted = "actor.restarted",
        /// A persona was changed.
        PersonaUpdated = "persona.updated",
        /// A persona was deleted.
        PersonaDeleted = "persona.deleted",
        /// A project's org chart changed.
        OrgChartUpdated = "org_chart.updated",
        /// A budget changed.
        BudgetUpdated = "budget.updated",
        /// Spending crossed a warning threshold of a budget.
        BudgetWarning = "budget.warning",
        /// A budget is spent.
        BudgetExhausted = "budget.exhausted",
        /// Dispatch was parked for the system or a project.
        SystemParked = "system.parked",
        /// Dispatch was resumed for the system or a project.
        SystemResumed = "system.resumed",
        /// A log line of level WARN or ERROR, or a message from outside.
        LogMessage = "log.message",
        /// An event in the log cannot be read; shown in its place, never written.
        LogUnreadable = "log.unreadable",
    }
}
