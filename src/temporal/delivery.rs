//! The client's side: states and events on their way to workflows, questions to them, calls through them.

use crate::connection::Connected;
use crate::names::{Kind, PROJECT, STATUS, attribute};
use crate::port::Snapshot;
use crate::sealed::Sealed;
use crate::words;
use crate::workflows::{EventBatch, ProviderQueryWorkflow, QueryEnd};
use futures::StreamExt;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};
use temporalio_client::errors::{
    WorkflowGetResultError, WorkflowInteractionError, WorkflowQueryError, WorkflowStartError,
};
use temporalio_client::{
    NamespacedClient, RetryOptions, RpcOptions, UntypedQuery, UntypedSignal, UntypedWorkflow,
    WorkflowDescribeOptions, WorkflowExecutionInfo, WorkflowExecutionStatus, WorkflowGetResultOptions,
    WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowListOptions, WorkflowQueryOptions,
    WorkflowSignalOptions, WorkflowStartOptions,
};
use temporalio_common::MemoValues;
use temporalio_common::data_converters::RawValue;
use temporalio_common::protos::temporal::api::enums::v1::TaskQueueType;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::DescribeTaskQueueRequest;
use temporalio_common::search_attributes::SearchAttributes;
use tonic::Code;

/// How long one request to the server may take.
const RPC_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a question to a workflow may take: the server waits for a worker.
const QUERY_TIMEOUT: Duration = Duration::from_secs(20);

/// Why something did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The server is not there, or not well; the same may arrive later.
    #[error("the Temporal server does not take it: {0}")]
    Unavailable(String),
    /// The server will not take it however often it is sent.
    #[error("the Temporal server refuses it: {0}")]
    Refused(String),
    /// There is no such workflow.
    #[error("there is no such workflow")]
    NotFound,
}

/// A workflow as the server lists it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Its run.
    pub run_id: String,
    /// Its type.
    pub workflow_type: String,
    /// How it stands, in the server's word.
    pub status: String,
    /// When it began.
    pub started: Option<SystemTime>,
    /// When it ended.
    pub closed: Option<SystemTime>,
    /// Events in its history.
    pub history_length: i64,
}

/// Whether an entity's workflow is running, and which life of the entity it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs; the number of the life.
    Running(u64),
    /// None runs.
    Ended,
}

/// The name of the memo that says which life of the entity a run follows.
const RUN_NO: &str = "run_no";

/// The way to workflows. Clones share the connection.
#[derive(Clone)]
pub struct Delivery {
    connected: Connected,
    queues: BTreeMap<Kind, String>,
}

impl Delivery {
    /// Deliveries over this connection; workflows of a kind are started at its queue.
    pub fn new(connected: Connected, queues: BTreeMap<Kind, String>) -> Self {
        Self { connected, queues }
    }

    /// The connection.
    pub fn connected(&self) -> &Connected {
        &self.connected
    }

    fn queue(&self, kind: Kind) -> String {
        self.queues.get(&kind).cloned().unwrap_or_else(|| crate::names::CONTROL_QUEUE.to_owned())
    }

    /// Brings an entity's state to its workflow, which is started if it is not there. Returns the run that has it.
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub async fn mirror(
        &self,
        kind: Kind,
        id: &str,
        start: Value,
        mut state: Snapshot,
    ) -> Result<String, DeliveryError> {
        state.attributes = self.connected.attributes;
        let input = Sealed::new(&kind.workflow_id(id), &state);
        let status = state.status().map(str::to_owned);
        let project = state.project(kind).map(str::to_owned);
        let shown = Shown { status, project, run_no: state.run_no };
        self.send(kind, id, start, "mirror", &json!(input), shown).await
    }

    /// Brings an entity's last state to its workflow, if that is still there.
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub async fn mirror_end(&self, kind: Kind, id: &str, mut state: Snapshot) -> Result<(), DeliveryError> {
        state.attributes = self.connected.attributes;
        let workflow_id = kind.workflow_id(id);
        let input = words::raw(&json!(Sealed::new(&workflow_id, &state)));
        let handle = self.connected.client.get_workflow_handle::<UntypedWorkflow>(workflow_id);
        let options = WorkflowSignalOptions::builder().rpc_options(rpc()).build();
        match handle.signal(UntypedSignal::new("mirror"), input, options).await {
            Ok(()) | Err(WorkflowInteractionError::NotFound(_)) => Ok(()),
            Err(WorkflowInteractionError::Rpc(status)) => Err(judged(&status)),
            Err(error) => Err(DeliveryError::Unavailable(error.to_string())),
        }
    }

    /// Whether an entity's workflow is running, and which life it follows.
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub async fn life(&self, kind: Kind, id: &str) -> Result<Life, DeliveryError> {
        let handle = self.connected.client.get_workflow_handle::<UntypedWorkflow>(kind.workflow_id(id));
        let options = WorkflowDescribeOptions::builder().rpc_options(rpc()).build();
        match handle.describe(options).await {
            Ok(found) if matches!(found.status(), WorkflowExecutionStatus::Running) => {
                // One that somebody else started follows no life of ours.
                Ok(Life::Running(found.memo().get::<u64>(RUN_NO).ok().flatten().unwrap_or(0)))
            }
            Ok(_) | Err(WorkflowInteractionError::NotFound(_)) => Ok(Life::Ended),
            Err(WorkflowInteractionError::Rpc(status)) => Err(judged(&status)),
            Err(error) => Err(DeliveryError::Unavailable(error.to_string())),
        }
    }

    /// Brings events to a project's aggregator, which is started if it is not there.
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub async fn events(&self, project: &str, batch: &EventBatch) -> Result<(), DeliveryError> {
        let sealed = Sealed::new(&Kind::Events.workflow_id(project), batch);
        let start = json!({"project_id": project});
        let shown = Shown { status: None, project: Some(project.to_owned()), run_no: 1 };
        self.send(Kind::Events, project, start, "event", &json!(sealed), shown).await.map(drop)
    }

    async fn send(
        &self,
        kind: Kind,
        id: &str,
        start: Value,
        signal: &str,
        input: &Value,
        Shown { status, project, run_no }: Shown,
    ) -> Result<String, DeliveryError> {
        let mut memo = MemoValues::new();
        memo.insert(RUN_NO, run_no);
        let mut shown = SearchAttributes::default();
        if self.connected.attributes {
            let status = status.map(|status| STATUS.value_set(attribute(&status)));
            let project = project.map(|project| PROJECT.value_set(attribute(&project)));
            shown = SearchAttributes::new(status.into_iter().chain(project));
        }
        let options = WorkflowStartOptions::new(self.queue(kind), kind.workflow_id(id))
            .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
            .id_conflict_policy(WorkflowIdConflictPolicy::UseExisting)
            .search_attributes(shown)
            .memo(memo)
            .rpc_options(rpc())
            .build();
        let workflow = UntypedWorkflow::new(kind.workflow_type());
        let sent = self.connected.client.signal_with_start_workflow(
            workflow,
            words::raw(&start),
            UntypedSignal::new(signal),
            words::raw(input),
            options,
        );
        match sent.await {
            Ok(handle) => Ok(handle.info().run_id.clone().unwrap_or_default()),
            Err(WorkflowStartError::Rpc(status)) => Err(judged(&status)),
            Err(error) => Err(DeliveryError::Unavailable(error.to_string())),
        }
    }

    /// Asks a workflow something.
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub async fn ask(
        &self,
        workflow_id: &str,
        run_id: Option<&str>,
        query: &str,
    ) -> Result<Value, DeliveryError> {
        let client = &self.connected.client;
        let info = WorkflowExecutionInfo::builder()
            .namespace(client.namespace())
            .workflow_id(workflow_id)
            .maybe_run_id(run_id)
            .build();
        let handle = info.bind_untyped(client.clone());
        let rpc = RpcOptions::builder().timeout(QUERY_TIMEOUT).build();
        let options = WorkflowQueryOptions::builder().rpc_options(rpc).build();
        let answer = handle.query(UntypedQuery::new(query), RawValue::new(vec![]), options).await;
        match answer {
            Ok(answer) => words::value(&answer).map_err(DeliveryError::Refused),
            Err(WorkflowQueryError::NotFound(_)) => Err(DeliveryError::NotFound),
            Err(WorkflowQueryError::Rpc(status)) => Err(judged(&status)),
            Err(error) => Err(DeliveryError::Refused(error.to_string())),
        }
    }

    /// How many tasks wait in a queue, about: those of workflows and those of activities together.
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub async fn queue_depth(&self, queue: &str) -> Result<u64, DeliveryError> {
        let client = &self.connected.client;
        let mut waiting = 0;
        for of in [TaskQueueType::Workflow, TaskQueueType::Activity] {
            let request = DescribeTaskQueueRequest {
                namespace: client.namespace(),
                task_queue: Some(TaskQueue { name: queue.to_owned(), ..TaskQueue::default() }),
                task_queue_type: i32::from(of as i16),
                report_stats: true,
                ..DescribeTaskQueueRequest::default()
            };
            let mut request = tonic::Request::new(request);
            request.set_timeout(RPC_TIMEOUT);
            let found = client.connection().workflow_service().describe_task_queue(request).await;
            let stats = found.map_err(|status| judged(&status))?.into_inner().stats;
            waiting += stats.map_or(0, |stats| u64::try_from(stats.approximate_backlog_count).unwrap_or(0));
        }
        Ok(waiting)
    }

    /// Signals a workflow.
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub async fn signal(&self, workflow_id: &str, signal: &str, value: &Value) -> Result<(), DeliveryError> {
        let handle = self.connected.client.get_workflow_handle::<UntypedWorkflow>(workflow_id);
        let options = WorkflowSignalOptions::builder().rpc_options(rpc()).build();
        match handle.signal(UntypedSignal::new(signal), words::raw(value), options).await {
            Ok(()) => Ok(()),
            Err(WorkflowInteractionError::NotFound(_)) => Err(DeliveryError::NotFound),
            Err(WorkflowInteractionError::Rpc(status)) => Err(judged(&status)),
            Err(error) => Err(DeliveryError::Unavailable(error.to_string())),
        }
    }

    /// Waits for the end of a workflow, for as long as it takes.
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub async fn result(&self, workflow_id: &str) -> Result<Value, DeliveryError> {
        let handle = self.connected.client.get_workflow_handle::<UntypedWorkflow>(workflow_id);
        match handle.get_result(WorkflowGetResultOptions::default()).await {
            Ok(end) => words::value(&end).map_err(DeliveryError::Refused),
            Err(WorkflowGetResultError::NotFound(_)) => Err(DeliveryError::NotFound),
            Err(error) => Err(DeliveryError::Unavailable(crate::state::deepest(&error))),
        }
    }

    /// The workflows that a query of Temporal's finds, newest first, at most so many.
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub async fn list(&self, query: &str, limit: usize) -> Result<Vec<Listed>, DeliveryError> {
        let options = WorkflowListOptions::builder().limit(limit).rpc_options(rpc()).build();
        let mut found = self.connected.client.list_workflows(query, options);
        let mut listed = Vec::new();
        while let Some(one) = found.next().await {
            let one = one.map_err(|error| DeliveryError::Unavailable(error.to_string()))?;
            listed.push(Listed {
                id: one.id().to_owned(),
                run_id: one.run_id().to_owned(),
                workflow_type: one.workflow_type().to_owned(),
                status: format!("{:?}", one.status()),
                started: one.start_time(),
                closed: one.close_time(),
                history_length: one.history_length(),
            });
        }
        Ok(listed)
    }

    /// Starts a call to a provider, within `limit`.
    ///
    /// # Errors
    /// [`DeliveryError`], also when it is not sure whether the server has it: see [`Delivery::abandon`].
    pub async fn start_query(&self, query_id: &str, limit: Duration) -> Result<(), DeliveryError> {
        let workflow_id = Kind::Query.workflow_id(query_id);
        let input = json!({"query_id": query_id, "mirror": Sealed::new(&workflow_id, &query_id)});
        let rpc = RpcOptions::builder().timeout(limit).retry_options(RetryOptions::no_retries()).build();
        let options = WorkflowStartOptions::new(self.queue(Kind::Query), workflow_id)
            .id_reuse_policy(WorkflowIdReusePolicy::RejectDuplicate)
            .execution_timeout(Duration::from_secs(3600))
            .rpc_options(rpc)
            .build();
        let workflow = UntypedWorkflow::new(Kind::Query.workflow_type());
        let started = self.connected.client.start_workflow(workflow, words::raw(&input), options);
        match tokio::time::timeout(limit, started).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(DeliveryError::Unavailable(error.to_string())),
            Err(_) => Err(DeliveryError::Unavailable("no answer in time".to_owned())),
        }
    }

    /// Waits for the end of a call to a provider.
    ///
    /// # Errors
    /// [`DeliveryError`].
    pub async fn query_end(&self, query_id: &str) -> Result<QueryEnd, DeliveryError> {
        let workflow_id = Kind::Query.workflow_id(query_id);
        let handle = self.connected.client.get_workflow_handle::<ProviderQueryWorkflow>(workflow_id);
        match handle.get_result(WorkflowGetResultOptions::default()).await {
            Ok(end) => serde_json::from_value(end)
                .map_err(|_| DeliveryError::Refused("the answer cannot be read".to_owned())),
            Err(WorkflowGetResultError::NotFound(_)) => Err(DeliveryError::NotFound),
            Err(error) => Err(DeliveryError::Unavailable(crate::state::deepest(&error))),
        }
    }
}

/// What the server shows of a workflow from its start.
struct Shown {
    status: Option<String>,
    project: Option<String>,
    run_no: u64,
}

fn rpc() -> RpcOptions {
    // Who sends has a queue and a pace of its own.
    RpcOptions::builder().timeout(RPC_TIMEOUT).retry_options(RetryOptions::no_retries()).build()
}

fn judged(status: &tonic::Status) -> DeliveryError {
    match status.code() {
        Code::NotFound => DeliveryError::NotFound,
        // A run that is about to continue as new, or search attributes that the server has just taken: it passes.
        Code::InvalidArgument
            if ["limit for signal", "search attribute"]
                .iter()
                .any(|text| status.message().contains(text)) =>
        {
            DeliveryError::Unavailable(status.message().to_owned())
        }
        Code::InvalidArgument => DeliveryError::Refused(status.message().to_owned()),
        _ => DeliveryError::Unavailable(status.message().to_owned()),
    }
}
