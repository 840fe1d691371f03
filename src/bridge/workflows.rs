//! Workflow operations for programs that embed the bridge: mirror, query, signal, wait.

use super::Bridge;
use super::entities::start_input;
use super::status::not_connected;
use crate::bridge::control_plane::snapshot;
use arbiter_actors::Error;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_store::StoreError;
use arbiter_temporal::client::{WorkflowClient, WorkflowClientError};
use arbiter_temporal::codec::names::Kind;
use serde_json::Value;

/// An error of a workflow operation.
#[derive(Debug, thiserror::Error)]
pub enum WorkflowError {
    /// An actor or the store failed or refused.
    #[error(transparent)]
    Error(#[from] Error),
    /// The Temporal server failed or refused.
    #[error(transparent)]
    WorkflowClient(#[from] WorkflowClientError),
}

impl From<Refusal> for WorkflowError {
    fn from(refusal: Refusal) -> Self {
        Self::Error(refusal.into())
    }
}

impl From<StoreError> for WorkflowError {
    fn from(error: StoreError) -> Self {
        Self::Error(error.into())
    }
}

impl Bridge {
    fn connected(&self) -> Result<WorkflowClient, WorkflowClientError> {
        self.0.client().ok_or_else(not_connected)
    }

    /// Sends an entity's state to its workflow, starting it if needed. Returns the run id.
    ///
    /// # Errors
    /// [`WorkflowError`].
    pub async fn mirror_entity(&self, kind: Kind, id: &str) -> Result<String, WorkflowError> {
        let client = self.connected()?;
        let state = snapshot(&self.0, kind, id).await?;
        if state.is_gone() {
            return Err(Refusal::not_found(kind.noun(), id).into());
        }
        let input = start_input(kind, id, &state.record);
        Ok(client.mirror(kind, id, input, state).await?)
    }

    /// Queries the workflow of an entity.
    ///
    /// # Errors
    /// [`WorkflowError`].
    pub async fn query(&self, kind: Kind, id: &str, query: &str) -> Result<Value, WorkflowError> {
        Ok(self.connected()?.query(&kind.workflow_id(id), None, query).await?)
    }

    /// Signals the workflow of an entity.
    ///
    /// # Errors
    /// [`WorkflowError`].
    pub async fn signal(
        &self,
        kind: Kind,
        id: &str,
        signal: &str,
        value: &Value,
    ) -> Result<(), WorkflowError> {
        Ok(self.connected()?.signal(&kind.workflow_id(id), signal, value).await?)
    }

    /// Sends an update to the workflow of an entity and waits for its answer.
    ///
    /// # Errors
    /// [`WorkflowError`].
    pub async fn update(
        &self,
        kind: Kind,
        id: &str,
        update: &str,
        value: &Value,
    ) -> Result<Value, WorkflowError> {
        Ok(self.connected()?.update(&kind.workflow_id(id), update, value).await?)
    }

    /// Waits for the end of an entity's workflow and returns its result as text.
    ///
    /// # Errors
    /// [`WorkflowError`].
    pub async fn result(&self, kind: Kind, id: &str) -> Result<String, WorkflowError> {
        let end = self.connected()?.result(&kind.workflow_id(id)).await?;
        Ok(end.as_str().map_or_else(|| end.to_string(), str::to_owned))
    }
}
