//! The workflow client: sends states and events to workflows. Queries and signals are in `query`.

pub mod connection;
pub mod query;

use crate::client::connection::TemporalConnection;
use crate::codec::names::{Kind, PROJECT, STATUS, search_attribute_value};
use crate::codec::payload;
use crate::codec::signed::Signed;
use crate::control_plane::Snapshot;
use crate::workflows::EventBatch;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use temporalio_client::errors::{WorkflowInteractionError, WorkflowStartError};
use temporalio_client::{
    RetryOptions, RpcOptions, UntypedSignal, UntypedWorkflow, WorkflowDescribeOptions,
    WorkflowExecutionStatus, WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowSignalOptions,
    WorkflowStartOptions,
};
use temporalio_common::MemoValues;
use temporalio_common::search_attributes::SearchAttributes;
use tonic::Code;

/// The time limit of one request to the server.
pub(crate) const RPC_TIMEOUT: Duration = Duration::from_secs(10);

/// An error of a request to the Temporal server.
#[derive(Debug, thiserror::Error)]
pub enum WorkflowClientError {
    /// The server is unreachable or overloaded; a retry may succeed.
    #[error("the Temporal server does not take it: {0}")]
    Unavailable(String),
    /// The server refuses the request; a retry does not help.
    #[error("the Temporal server refuses it: {0}")]
    Refused(String),
    /// The workflow does not exist.
    #[error("there is no such workflow")]
    NotFound,
}

/// The state of an entity's workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkflowRun {
    /// Running, with the run number of the entity.
    Running(u64),
    /// No run is open.
    Ended,
}

/// The memo field with the run number of the entity.
const RUN_NO: &str = "run_no";

/// A client of workflows. Clones share the connection.
#[derive(Clone)]
pub struct WorkflowClient {
    pub(crate) connected: TemporalConnection,
    queues: BTreeMap<Kind, String>,
}

impl WorkflowClient {
    /// Creates a client over this connection; each kind of workflow starts on its queue.
    pub fn new(connected: TemporalConnection, queues: BTreeMap<Kind, String>) -> Self {
        Self { connected, queues }
    }

    /// Returns the connection.
    pub fn connected(&self) -> &TemporalConnection {
        &self.connected
    }

    pub(crate) fn queue(&self, kind: Kind) -> String {
        self.queues.get(&kind).cloned().unwrap_or_else(|| crate::codec::names::CONTROL_QUEUE.to_owned())
    }

    /// Sends an entity's state to its workflow, starting it if needed. Returns the run id.
    ///
    /// # Errors
    /// [`WorkflowClientError`].
    pub async fn mirror(
        &self,
        kind: Kind,
        id: &str,
        start: Value,
        mut state: Snapshot,
    ) -> Result<String, WorkflowClientError> {
        state.attributes = self.connected.attributes;
        let input = Signed::new(&self.connected.signing_keys, &kind.workflow_id(id), &state);
        let status = state.status().map(str::to_owned);
        let project = state.project(kind).map(str::to_owned);
        let search_fields = SearchFields { status, project, run_no: state.run_no };
        self.send(kind, id, start, "mirror", &json!(input), search_fields).await
    }

    /// Sends an entity's last state to its workflow, if that is still running.
    ///
    /// # Errors
    /// [`WorkflowClientError`].
    pub async fn mirror_end(
        &self,
        kind: Kind,
        id: &str,
        mut state: Snapshot,
    ) -> Result<(), WorkflowClientError> {
        state.attributes = self.connected.attributes;
        let workflow_id = kind.workflow_id(id);
        let input = payload::raw(&json!(Signed::new(&self.connected.signing_keys, &workflow_id, &state)));
        let handle = self.connected.client.get_workflow_handle::<UntypedWorkflow>(workflow_id);
        let options = WorkflowSignalOptions::builder().rpc_options(rpc_options()).build();
        match handle.signal(UntypedSignal::new("mirror"), input, options).await {
            Ok(()) | Err(WorkflowInteractionError::NotFound(_)) => Ok(()),
            Err(WorkflowInteractionError::Rpc(status)) => Err(classify_status(&status)),
            Err(error) => Err(WorkflowClientError::Unavailable(error.to_string())),
        }
    }

    /// Returns whether an entity's workflow is running, and its run number.
    ///
    /// # Errors
    /// [`WorkflowClientError`].
    pub async fn current_run(&self, kind: Kind, id: &str) -> Result<WorkflowRun, WorkflowClientError> {
        let handle = self.connected.client.get_workflow_handle::<UntypedWorkflow>(kind.workflow_id(id));
        let options = WorkflowDescribeOptions::builder().rpc_options(rpc_options()).build();
        match handle.describe(options).await {
            Ok(found) if matches!(found.status(), WorkflowExecutionStatus::Running) => {
                // A workflow that another client started has no run number.
                Ok(WorkflowRun::Running(found.memo().get::<u64>(RUN_NO).ok().flatten().unwrap_or(0)))
            }
            Ok(_) | Err(WorkflowInteractionError::NotFound(_)) => Ok(WorkflowRun::Ended),
            Err(WorkflowInteractionError::Rpc(status)) => Err(classify_status(&status)),
            Err(error) => Err(WorkflowClientError::Unavailable(error.to_string())),
        }
    }

    /// Sends events to a project's aggregator, starting it if needed.
    ///
    /// # Errors
    /// [`WorkflowClientError`].
    pub async fn events(&self, project: &str, batch: &EventBatch) -> Result<(), WorkflowClientError> {
        let sealed = Signed::new(&self.connected.signing_keys, &Kind::Events.workflow_id(project), batch);
        let start = json!({"project_id": project});
        let search_fields = SearchFields { status: None, project: Some(project.to_owned()), run_no: 1 };
        self.send(Kind::Events, project, start, "event", &json!(sealed), search_fields).await.map(drop)
    }

    async fn send(
        &self,
        kind: Kind,
        id: &str,
        start: Value,
        signal: &str,
        input: &Value,
        SearchFields { status, project, run_no }: SearchFields,
    ) -> Result<String, WorkflowClientError> {
        let mut memo = MemoValues::new();
        memo.insert(RUN_NO, run_no);
        let mut search_fields = SearchAttributes::default();
        if self.connected.attributes {
            let status = status.map(|status| STATUS.value_set(search_attribute_value(&status)));
            let project = project.map(|project| PROJECT.value_set(search_attribute_value(&project)));
            search_fields = SearchAttributes::new(status.into_iter().chain(project));
        }
        let options = WorkflowStartOptions::new(self.queue(kind), kind.workflow_id(id))
            .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
            .id_conflict_policy(WorkflowIdConflictPolicy::UseExisting)
            .search_attributes(search_fields)
            .memo(memo)
            .rpc_options(rpc_options())
            .build();
        let workflow = UntypedWorkflow::new(kind.workflow_type());
        let sent = self.connected.client.signal_with_start_workflow(
            workflow,
            payload::raw(&start),
            UntypedSignal::new(signal),
            payload::raw(input),
            options,
        );
        match sent.await {
            Ok(handle) => Ok(handle.info().run_id.clone().unwrap_or_default()),
            Err(WorkflowStartError::Rpc(status)) => Err(classify_status(&status)),
            Err(error) => Err(WorkflowClientError::Unavailable(error.to_string())),
        }
    }
}

/// The memo and search attributes of a start.
struct SearchFields {
    status: Option<String>,
    project: Option<String>,
    run_no: u64,
}

pub(crate) fn rpc_options() -> RpcOptions {
    // Who sends has a queue and a pace of its own.
    RpcOptions::builder().timeout(RPC_TIMEOUT).retry_options(RetryOptions::no_retries()).build()
}

pub(crate) fn classify_status(status: &tonic::Status) -> WorkflowClientError {
    match status.code() {
        Code::NotFound => WorkflowClientError::NotFound,
        // A run that is about to continue as new, or search attributes that the server has just taken: it passes.
        Code::InvalidArgument
            if ["limit for signal", "search attribute"]
                .iter()
                .any(|text| status.message().contains(text)) =>
        {
            WorkflowClientError::Unavailable(status.message().to_owned())
        }
        Code::InvalidArgument => WorkflowClientError::Refused(status.message().to_owned()),
        _ => WorkflowClientError::Unavailable(status.message().to_owned()),
    }
}
