//! Arbiter inside another program, with a Temporal server: its workflows by the entities they follow.

use crate::bridge::{Bridge, WorkflowError};
use crate::library::Arbiter;
use arbiter_core::agent;
use arbiter_core::agent::edit::NewAgent;
use arbiter_core::bead::edit::NewBead;
use arbiter_core::decision::edit::NewDecision;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_temporal::codec::names::Kind;
use serde_json::Value;

/// With `temporal.address` in the settings it was opened with.
///
/// ```
/// use arbiter::config::Settings;
/// use arbiter::{Arbiter, SecretString};
/// use serde_json::json;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let home = tempfile::tempdir()?;
/// # let data_dir = home.path().join("data");
/// # let server = arbiter_testkit::TemporalServer::start().await;
/// let mut settings = Settings::default();
/// settings.temporal.address = server.address();
/// let arbiter = Arbiter::open_with(&data_dir, SecretString::from("a long password"), &settings).await?;
/// # let project = arbiter::core::project::edit::NewProject { id: Some("my-project".into()), name: "Mine".into(), ..Default::default() };
/// # arbiter.handles().projects.create(&arbiter_actors::Caller::named("library"), project).await?;
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
/// // Update bead status
/// arbiter.signal_bead_workflow("bead-1", "statusChange", json!("in_progress")).await?;
///
/// // Start decision workflow
/// let options = ["yes".to_owned(), "no".to_owned()];
/// arbiter.start_decision_workflow("dec-1", "my-project", "Go on?", Some("agent-1"), &options).await?;
/// # arbiter.handles().decisions.decide(&arbiter_actors::Caller::named("me"), &arbiter::core::kernel::ids::DecisionId::from_trusted("dec-1"), "yes".into(), None).await?;
/// // Wait for decision (in separate task)
/// assert_eq!(arbiter.wait_decision("dec-1").await?, "yes");
/// arbiter.close().await;
/// # Ok(()) }
/// ```
impl Arbiter {
    /// How the bridge to the Temporal server stands.
    ///
    /// # Errors
    /// [`WorkflowError`] when the store cannot be read.
    pub async fn temporal_status(&self) -> Result<crate::bridge::Status, WorkflowError> {
        match &self.bridge {
            None => Ok(crate::bridge::Status::off()),
            Some((bridge, _)) => Ok(bridge.status().await?),
        }
    }

    /// Begins to follow an agent; if there is none, one is created that fetches its work. Returns the workflow's run.
    ///
    /// # Errors
    /// [`WorkflowError`]: no Temporal server, or the agent cannot be created so.
    pub async fn start_agent_workflow(
        &self,
        agent_id: &str,
        project_id: &str,
        persona_name: Option<&str>,
        agent_name: &str,
    ) -> Result<String, WorkflowError> {
        let bridge = self.bridge()?;
        if self.handles().store.agent(agent_id.to_owned()).await?.is_none() {
            let new = NewAgent {
                id: Some(agent_id.to_owned()),
                name: agent_name.to_owned(),
                project_id: Some(project_id.to_owned()),
                persona_name: persona_name.map(str::to_owned),
                // No provider is named.
                kind: Some(agent::Kind::External),
                ..NewAgent::default()
            };
            self.create_agent(new).await?;
        }
        bridge.mirror_entity(Kind::Agent, agent_id).await
    }

    /// Asks the workflow of an agent: `getStatus`, `getCurrentBead`.
    ///
    /// # Errors
    /// [`WorkflowError`].
    pub async fn query_agent_workflow(&self, agent_id: &str, query: &str) -> Result<Value, WorkflowError> {
        self.bridge()?.query(Kind::Agent, agent_id, query).await
    }

    /// Signals the workflow of an agent: `updateStatus`, `assignBead`, `shutdown`.
    ///
    /// # Errors
    /// [`WorkflowError`].
    pub async fn signal_agent_workflow(
        &self,
        agent_id: &str,
        signal: &str,
        value: Value,
    ) -> Result<(), WorkflowError> {
        self.bridge()?.signal(Kind::Agent, agent_id, signal, &value).await
    }

    /// Begins to follow a bead, which is created if there is none. Returns the workflow's run.
    ///
    /// # Errors
    /// [`WorkflowError`]: no Temporal server, or the bead cannot be created so.
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

    /// Signals the workflow of a bead: `statusChange`.
    ///
    /// # Errors
    /// [`WorkflowError`].
    pub async fn signal_bead_workflow(
        &self,
        bead_id: &str,
        signal: &str,
        value: Value,
    ) -> Result<(), WorkflowError> {
        self.bridge()?.signal(Kind::Bead, bead_id, signal, &value).await
    }

    /// Begins to follow a decision, which is asked for if there is none. Returns the workflow's run.
    ///
    /// # Errors
    /// [`WorkflowError`]: no Temporal server, or the decision cannot be asked for so.
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

    /// Waits for the end of a decision: the choice, `timeout` or `cancelled`.
    ///
    /// # Errors
    /// [`WorkflowError`].
    pub async fn wait_decision(&self, decision_id: &str) -> Result<String, WorkflowError> {
        self.bridge()?.result(Kind::Decision, decision_id).await
    }

    fn bridge(&self) -> Result<&Bridge, WorkflowError> {
        let off =
            || Refusal::conflict("temporal-off", "no Temporal server is configured: set temporal.address");
        Ok(self.bridge.as_ref().map(|(bridge, _)| bridge).ok_or_else(off)?)
    }
}
