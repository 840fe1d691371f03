//! Arbiter inside another program, with a Temporal server: workflows that mirror its entities.

use crate::WorkflowKind;
use crate::bridge::{Bridge, WorkflowError};
use crate::library::Arbiter;
use arbiter_core::agent;
use arbiter_core::agent::edit::NewAgent;
use arbiter_core::bead::edit::NewBead;
use arbiter_core::decision::edit::NewDecision;
use arbiter_core::decision::{Decision, Status};
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::model::selector::AUTO;
use arbiter_temporal::codec::names::Kind;
use serde_json::Value;

/// How a decision ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecisionOutcome {
    /// Answered with one of the decision's options or, if it has none, with any text.
    Decided(String),
    /// Its deadline passed without an answer.
    TimedOut,
    /// Cancelled, for example because the bead was closed.
    Cancelled,
}

impl DecisionOutcome {
    /// Takes the outcome from the stored decision, where an option `timeout` and a time-out differ. A decision
    /// that was deleted since leaves only the result of its workflow.
    fn of(stored: Option<Decision>, workflow_result: String) -> Self {
        match stored.map(|decision| (decision.status, decision.decision)) {
            Some((Status::Resolved, Some(answer))) => Self::Decided(answer),
            Some((Status::Timeout, _)) => Self::TimedOut,
            Some((Status::Cancelled, _)) => Self::Cancelled,
            Some(_) | None => match workflow_result.as_str() {
                "timeout" => Self::TimedOut,
                "cancelled" => Self::Cancelled,
                _ => Self::Decided(workflow_result),
            },
        }
    }
}

/// Workflows of a Temporal server, which is named by `temporal.address` of the settings.
///
/// Each of these methods fails with [`WorkflowError::Error`] if no server is configured or Arbiter cannot do its
/// part, and with [`WorkflowError::WorkflowClient`] while there is no connection or if Temporal refuses.
///
/// ```
/// use arbiter::prelude::*;
/// use serde_json::json;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let home = tempfile::tempdir()?;
/// # let data_dir = home.path().join("data");
/// # let server = arbiter_testkit::TemporalServer::start().await;
/// let mut settings = Settings::default();
/// settings.temporal.address = server.address();
/// let arbiter = Arbiter::open_with(&data_dir, SecretString::from("a long password"), &settings).await?;
/// # let project = NewProject { id: Some("my-project".into()), name: "Mine".into(), ..Default::default() };
/// # arbiter.handles().projects.create(&Caller::named("library"), project).await?;
/// # while arbiter.temporal_status().await?.status != "connected" { tokio::time::sleep(std::time::Duration::from_millis(20)).await }
///
/// // Start agent workflow
/// arbiter.start_agent_workflow("agent-1", "my-project", Some("default/qa-engineer"), "Tess").await?;
/// // Query agent status
/// assert_eq!(arbiter.query_agent_workflow("agent-1", "getStatus").await?, json!("idle"));
/// // Signal agent to shutdown
/// arbiter.signal_agent_workflow("agent-1", "shutdown", json!("maintenance")).await?;
///
/// // Start bead workflow
/// arbiter.start_bead_workflow("bead-1", "my-project", "Title", "Description", 2, "task").await?;
/// // Query and update bead
/// let query = arbiter.query_workflow(WorkflowKind::Bead, "bead-1", "getStatus").await?;
/// assert_eq!(query, json!("open"));
/// let change = json!({"status": "blocked", "reason": "no paint"});
/// let after = arbiter.update_workflow(WorkflowKind::Bead, "bead-1", "updateStatus", change).await?;
/// assert_eq!(after["status"], "blocked");
/// arbiter.update_workflow(WorkflowKind::Bead, "bead-1", "updateStatus", json!("open")).await?;
/// // Update bead status
/// arbiter.signal_bead_workflow("bead-1", "statusChange", json!("in_progress")).await?;
///
/// // Start decision workflow
/// let options = ["yes".to_owned(), "timeout".to_owned()];
/// arbiter.start_decision_workflow("dec-1", "my-project", "Go on?", Some("agent-1"), &options).await?;
/// # arbiter.handles().decisions.decide(&Caller::named("me"), &DecisionId::from_trusted("dec-1"), "timeout".into(), None).await?;
/// // Wait for decision (in separate task)
/// assert_eq!(arbiter.wait_decision("dec-1").await?, DecisionOutcome::Decided("timeout".into()));
/// arbiter.close().await;
/// # Ok(()) }
/// ```
impl Arbiter {
    /// Returns the state of the connection to the Temporal server and what was sent since the start. Without a
    /// configured server the status is `off`.
    ///
    /// # Errors
    /// [`WorkflowError::Error`]: the store cannot be read.
    pub async fn temporal_status(&self) -> Result<crate::bridge::Status, WorkflowError> {
        match &self.bridge {
            None => Ok(crate::bridge::Status::off()),
            Some((bridge, _)) => Ok(bridge.status().await?),
        }
    }

    /// Starts the workflow of an agent and returns the id of its run. An agent that does not exist is created with
    /// the best provider that can be called now; without one as an external agent, which claims its beads itself.
    ///
    /// # Errors
    /// [`WorkflowError::Error`]: no server is configured, or the agent cannot be created (unknown project or
    /// persona, invalid id). [`WorkflowError::WorkflowClient`]: not connected, or refused by Temporal.
    pub async fn start_agent_workflow(
        &self,
        agent_id: &str,
        project_id: &str,
        persona_name: Option<&str>,
        agent_name: &str,
    ) -> Result<String, WorkflowError> {
        let bridge = self.bridge()?;
        if self.handles().store.agent(agent_id.to_owned()).await?.is_none() {
            let provider_id = self.best_provider().await?;
            let new = NewAgent {
                id: Some(agent_id.to_owned()),
                name: agent_name.to_owned(),
                project_id: Some(project_id.to_owned()),
                persona_name: persona_name.map(str::to_owned),
                kind: Some(if provider_id.is_some() { agent::Kind::Llm } else { agent::Kind::External }),
                provider_id,
                ..NewAgent::default()
            };
            self.create_agent(new).await?;
        }
        bridge.mirror_entity(Kind::Agent, agent_id).await
    }

    /// Returns the provider that a call of the model `auto` would go to.
    async fn best_provider(&self) -> Result<Option<String>, WorkflowError> {
        let models = self.handles().gateway.models().await?;
        let auto = models.into_iter().find(|model| model.id == AUTO);
        Ok(auto.and_then(|auto| auto.providers.first().map(ToString::to_string)))
    }

    /// Queries the workflow of any entity and returns the answer as JSON; null for nothing.
    ///
    /// Every workflow of an entity answers `getMirror`; agents also `getStatus` and `getCurrentBead`, beads
    /// `getStatus` and `getAssignedAgent`, decisions `getStatus` and `getDecision`. For [`WorkflowKind::Events`]
    /// and [`WorkflowKind::Dispatcher`] the id is the project's.
    ///
    /// # Errors
    /// [`WorkflowError::WorkflowClient`]: not connected, no such workflow, or an unknown query.
    pub async fn query_workflow(
        &self,
        kind: WorkflowKind,
        id: &str,
        query: &str,
    ) -> Result<Value, WorkflowError> {
        self.bridge()?.query(kind, id, query).await
    }

    /// Sends a signal to the workflow of any entity. Returns once Temporal has stored the signal.
    ///
    /// # Errors
    /// [`WorkflowError::WorkflowClient`]: not connected, or no such workflow.
    pub async fn signal_workflow(
        &self,
        kind: WorkflowKind,
        id: &str,
        signal: &str,
        value: Value,
    ) -> Result<(), WorkflowError> {
        self.bridge()?.signal(kind, id, signal, &value).await
    }

    /// Sends an update to the workflow of any entity, waits until the entity is changed and returns the answer of
    /// the workflow: the entity's status after it, and more.
    ///
    /// Beads take `assignToAgent` with the agent's id, `updateStatus` with a status or `{status, reason}`, and
    /// `complete` with a summary; decisions take `resolve` with an answer or `{decision, rationale, decider_id}`.
    ///
    /// Cancel safe: the update goes on without the waiting program.
    ///
    /// # Errors
    /// [`WorkflowError::WorkflowClient`]: not connected, no such workflow, an unknown update, or a change that is
    /// not allowed; nothing is changed then.
    pub async fn update_workflow(
        &self,
        kind: WorkflowKind,
        id: &str,
        update: &str,
        value: Value,
    ) -> Result<Value, WorkflowError> {
        self.bridge()?.update(kind, id, update, &value).await
    }

    /// Queries the workflow of an agent: `getStatus` or `getCurrentBead`. Returns the answer as JSON: a string,
    /// or null for no bead.
    ///
    /// # Errors
    /// [`WorkflowError::WorkflowClient`]: not connected, no such workflow, or an unknown query.
    pub async fn query_agent_workflow(&self, agent_id: &str, query: &str) -> Result<Value, WorkflowError> {
        self.bridge()?.query(Kind::Agent, agent_id, query).await
    }

    /// Sends a signal to the workflow of an agent: `updateStatus` with the status, `assignBead` with the bead's
    /// id, or `shutdown` with the reason, each a JSON string. Returns once Temporal has stored the signal.
    ///
    /// # Errors
    /// [`WorkflowError::WorkflowClient`]: not connected, or no such workflow.
    pub async fn signal_agent_workflow(
        &self,
        agent_id: &str,
        signal: &str,
        value: Value,
    ) -> Result<(), WorkflowError> {
        self.bridge()?.signal(Kind::Agent, agent_id, signal, &value).await
    }

    /// Starts the workflow of a bead and returns the id of its run. A bead that does not exist is created;
    /// `priority` is 0 (critical) to 4 (backlog).
    ///
    /// # Errors
    /// [`WorkflowError::Error`]: no server is configured, or the bead cannot be created (unknown project or
    /// type, invalid id, priority above 4). [`WorkflowError::WorkflowClient`]: not connected, or refused by
    /// Temporal.
    pub async fn start_bead_workflow(
        &self,
        bead_id: &str,
        project_id: &str,
        title: &str,
        description: &str,
        priority: u8,
        bead_type: &str,
    ) -> Result<String, WorkflowError> {
        let bridge = self.bridge()?;
        if self.handles().store.bead(bead_id.to_owned()).await?.is_none() {
            let new = NewBead {
                id: Some(bead_id.to_owned()),
                project_id: project_id.to_owned(),
                title: title.to_owned(),
                description: description.to_owned(),
                priority: Some(priority),
                bead_type: Some(bead_type.to_owned()),
                ..NewBead::default()
            };
            self.handles().beads.create(&self.caller, new).await?;
        }
        bridge.mirror_entity(Kind::Bead, bead_id).await
    }

    /// Sends a signal to the workflow of a bead: `statusChange` with the wanted status, a JSON string. Returns
    /// once Temporal has stored the signal; a change that is not allowed has no effect.
    ///
    /// # Errors
    /// [`WorkflowError::WorkflowClient`]: not connected, or no such workflow.
    pub async fn signal_bead_workflow(
        &self,
        bead_id: &str,
        signal: &str,
        value: Value,
    ) -> Result<(), WorkflowError> {
        self.bridge()?.signal(Kind::Bead, bead_id, signal, &value).await
    }

    /// Starts the workflow of a decision and returns the id of its run. A decision that does not exist is
    /// created; an empty `options` allows any text as answer. Its deadline is `decisions.timeout_sec` of
    /// the settings away.
    ///
    /// # Errors
    /// [`WorkflowError::Error`]: no server is configured, or the decision cannot be created (unknown project,
    /// invalid id). [`WorkflowError::WorkflowClient`]: not connected, or refused by Temporal.
    pub async fn start_decision_workflow(
        &self,
        decision_id: &str,
        project_id: &str,
        question: &str,
        requester_id: Option<&str>,
        options: &[String],
    ) -> Result<String, WorkflowError> {
        let bridge = self.bridge()?;
        if self.handles().store.decision(decision_id.to_owned()).await?.is_none() {
            let new = NewDecision {
                id: Some(decision_id.to_owned()),
                requester_id: requester_id.map(str::to_owned),
                options: options.to_vec(),
                ..NewDecision::question(project_id, question)
            };
            self.handles().decisions.create(&self.caller, new).await?;
        }
        bridge.mirror_entity(Kind::Decision, decision_id).await
    }

    /// Waits until the workflow of a decision has ended and returns its outcome.
    ///
    /// Cancel safe: the decision and its workflow go on without the waiting program.
    ///
    /// # Errors
    /// [`WorkflowError::WorkflowClient`]: not connected, no such workflow, or it was terminated.
    /// [`WorkflowError::Error`]: no server is configured, or the store cannot be read.
    pub async fn wait_decision(&self, decision_id: &str) -> Result<DecisionOutcome, WorkflowError> {
        let workflow_result = self.bridge()?.result(Kind::Decision, decision_id).await?;
        let stored = self.handles().store.decision(decision_id.to_owned()).await?;
        Ok(DecisionOutcome::of(stored, workflow_result))
    }

    fn bridge(&self) -> Result<&Bridge, WorkflowError> {
        let off = || {
            Refusal::conflict(
                ProblemCode::TemporalOff,
                "no Temporal server is configured: set temporal.address",
            )
        };
        Ok(self.bridge.as_ref().map(|(bridge, _)| bridge).ok_or_else(off)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arbiter_core::kernel::ids::DecisionId;
    use arbiter_core::kernel::time::Timestamp;
    use std::time::Duration;

    #[test]
    fn decision_outcome_tells_an_option_from_a_time_out() {
        let new = NewDecision::question("p", "How did it end?");
        let now = Timestamp::from_millis(0);
        let pending = new.build(DecisionId::from_trusted("d"), now, Duration::from_secs(60)).unwrap();
        let ended = |status: Status, answer: Option<&str>| {
            let decision = answer.map(str::to_owned);
            let decision = Decision { status, decision, ..pending.clone() };
            let result = answer.unwrap_or(status.as_str()).to_owned();
            DecisionOutcome::of(Some(decision), result)
        };
        for option in ["yes", "timeout", "cancelled"] {
            let outcome = ended(Status::Resolved, Some(option));
            assert_eq!(outcome, DecisionOutcome::Decided(option.to_owned()));
        }
        assert_eq!(ended(Status::Timeout, None), DecisionOutcome::TimedOut);
        assert_eq!(ended(Status::Cancelled, None), DecisionOutcome::Cancelled);
        for (result, outcome) in [
            ("timeout", DecisionOutcome::TimedOut),
            ("cancelled", DecisionOutcome::Cancelled),
            ("yes", DecisionOutcome::Decided("yes".to_owned())),
        ] {
            assert_eq!(DecisionOutcome::of(None, result.to_owned()), outcome);
        }
    }
}
