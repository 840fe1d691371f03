//! The names of all events: what a subscriber can hear of.

string_enum! {
    /// The type of an event, `noun.what_happened`.
    pub enum EventType {
        AgentSpawned = "agent.spawned",
        AgentStatusChange = "agent.status_change",
        AgentCompleted = "agent.completed",
        /// Fields of an agent changed.
        AgentUpdated = "agent.updated",
        AgentShutdown = "agent.shutdown",
        AgentRestarted = "agent.restarted",
        AgentDeleted = "agent.deleted",
        BeadCreated = "bead.created",
        BeadAssigned = "bead.assigned",
        BeadStatusChange = "bead.status_change",
        /// A bead reached `closed`.
        BeadCompleted = "bead.completed",
        /// Fields of a bead changed.
        BeadUpdated = "bead.updated",
        /// Nothing stands between a bead and its work any more.
        BeadReady = "bead.ready",
        BeadCommented = "bead.commented",
        BeadDependencyAdded = "bead.dependency_added",
        BeadDependencyRemoved = "bead.dependency_removed",
        BeadDeleted = "bead.deleted",
        DecisionCreated = "decision.created",
        DecisionResolved = "decision.resolved",
        DecisionReminder = "decision.reminder",
        DecisionTimeout = "decision.timeout",
        DecisionCancelled = "decision.cancelled",
        /// Fields of a decision changed.
        DecisionUpdated = "decision.updated",
        RunStarted = "run.started",
        RunFinished = "run.finished",
        ProviderRegistered = "provider.registered",
        /// Fields of a provider changed.
        ProviderUpdated = "provider.updated",
        ProviderStatusChange = "provider.status_change",
        ProviderDeleted = "provider.deleted",
        ProjectCreated = "project.created",
        /// Fields of a project changed.
        ProjectUpdated = "project.updated",
        ProjectClosed = "project.closed",
        ProjectReopened = "project.reopened",
        ProjectDeleted = "project.deleted",
        ProjectCommented = "project.commented",
        FileLockAcquired = "file_lock.acquired",
        FileLockReleased = "file_lock.released",
        VaultUnlocked = "vault.unlocked",
        VaultLocked = "vault.locked",
        VaultPasswordChanged = "vault.password_changed",
        VaultRollbackAccepted = "vault.rollback_accepted",
        KeyStored = "key.stored",
        KeyUpdated = "key.updated",
        KeyDeleted = "key.deleted",
        /// Use of a key was granted.
        KeyUsed = "key.used",
        TokenCreated = "token.created",
        TokenRevoked = "token.revoked",
        ConfigUpdated = "config.updated",
        WorkflowStarted = "workflow.started",
        WorkflowCompleted = "workflow.completed",
        ActorRestarted = "actor.restarted",
        PersonaUpdated = "persona.updated",
        PersonaDeleted = "persona.deleted",
        OrgChartUpdated = "org_chart.updated",
        BudgetUpdated = "budget.updated",
        BudgetWarning = "budget.warning",
        BudgetExhausted = "budget.exhausted",
        BackupCreated = "backup.created",
        SystemParked = "system.parked",
        SystemResumed = "system.resumed",
        LogMessage = "log.message",
    }
}
