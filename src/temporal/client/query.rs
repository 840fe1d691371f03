//! Requests of the workflow client: queries, signals, results, lists, provider calls.

use crate::client::{RPC_TIMEOUT, WorkflowClient, WorkflowClientError, classify_status, rpc_options};
use crate::codec::names::Kind;
use crate::codec::payload;
use crate::codec::signed::Signed;
use crate::workflows::{ProviderQueryWorkflow, QueryOutcome};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};
use temporalio_client::errors::{
    WorkflowGetResultError, WorkflowInteractionError, WorkflowQueryError, WorkflowUpdateError,
};
use temporalio_client::{
    NamespacedClient, RetryOptions, RpcOptions, UntypedQuery, UntypedSignal, UntypedUpdate, UntypedWorkflow,
    WorkflowCancelOptions, WorkflowDescribeOptions, WorkflowExecuteUpdateOptions, WorkflowExecutionInfo,
    WorkflowExecutionStatus, WorkflowGetResultOptions, WorkflowIdReusePolicy, WorkflowListOptions,
    WorkflowQueryOptions, WorkflowSignalOptions, WorkflowStartOptions,
};
use temporalio_common::data_converters::RawValue;
use temporalio_common::protos::temporal::api::enums::v1::TaskQueueType;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::DescribeTaskQueueRequest;

/// The time limit of a query, during which the server waits for a worker.
const QUERY_TIMEOUT: Duration = Duration::from_secs(20);

/// The time limit of an update, during which the server waits for a worker and the worker for the entity.
const UPDATE_TIMEOUT: Duration = Duration::from_secs(60);
/// The descriptions of running workflows that are read at one time.
const CONCURRENT_DESCRIPTIONS: usize = 16;

/// A workflow as the server lists it.
#[derive(Clone, Debug)]
pub struct WorkflowSummary {
    /// Its id.
    pub id: String,
    /// Its run.
    pub run_id: String,
    /// Its type.
    pub workflow_type: String,
    /// The status on the server.
    pub status: WorkflowExecutionStatus,
    /// The start time.
    pub started: Option<SystemTime>,
    /// The end time.
    pub closed: Option<SystemTime>,
    /// Events in its history; 0 of a running one whose description could not be read.
    pub history_length: i64,
}

impl WorkflowSummary {
    /// Returns whether another run of the same workflow followed this one.
    pub fn is_continued_as_new(&self) -> bool {
        matches!(self.status, WorkflowExecutionStatus::ContinuedAsNew)
    }

    /// Returns the name of the status, as the API shows it.
    pub fn status_name(&self) -> &'static str {
        status_name(self.status)
    }
}

fn status_name(status: WorkflowExecutionStatus) -> &'static str {
    match status {
        WorkflowExecutionStatus::Unspecified => "Unspecified",
        WorkflowExecutionStatus::Running => "Running",
        WorkflowExecutionStatus::Completed => "Completed",
        WorkflowExecutionStatus::Failed => "Failed",
        WorkflowExecutionStatus::Canceled => "Canceled",
        WorkflowExecutionStatus::Terminated => "Terminated",
        WorkflowExecutionStatus::ContinuedAsNew => "ContinuedAsNew",
        WorkflowExecutionStatus::TimedOut => "TimedOut",
        WorkflowExecutionStatus::Paused => "Paused",
        // Also a status that a later version of the SDK adds.
        _ => "Unknown",
    }
}

impl WorkflowClient {
    /// Queries a workflow.
    ///
    /// # Errors
    /// [`WorkflowClientError`].
    pub async fn query(
        &self,
        workflow_id: &str,
        run_id: Option<&str>,
        query: &str,
    ) -> Result<Value, WorkflowClientError> {
        let client = &self.connected.client;
        let info = WorkflowExecutionInfo::builder()
            .namespace(client.namespace())
            .workflow_id(workflow_id)
            .maybe_run_id(run_id)
            .build();
        let handle = info.bind_untyped(client.clone());
        let rpc_options = RpcOptions::builder().timeout(QUERY_TIMEOUT).build();
        let options = WorkflowQueryOptions::builder().rpc_options(rpc_options).build();
        let answer = handle.query(UntypedQuery::new(query), RawValue::new(vec![]), options).await;
        match answer {
            Ok(answer) => payload::value(&answer).map_err(WorkflowClientError::Refused),
            Err(WorkflowQueryError::NotFound(_)) => Err(WorkflowClientError::NotFound),
            Err(WorkflowQueryError::Rpc(status)) => Err(classify_status(&status)),
            Err(error) => Err(WorkflowClientError::Refused(error.to_string())),
        }
    }

    /// How many tasks wait in a queue, about: those of workflows and those of activities together.
    ///
    /// # Errors
    /// [`WorkflowClientError`].
    pub async fn queue_depth(&self, queue: &str) -> Result<u64, WorkflowClientError> {
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
            let stats = found.map_err(|status| classify_status(&status))?.into_inner().stats;
            waiting += stats.map_or(0, |stats| u64::try_from(stats.approximate_backlog_count).unwrap_or(0));
        }
        Ok(waiting)
    }

    /// Signals a workflow.
    ///
    /// # Errors
    /// [`WorkflowClientError`].
    pub async fn signal(
        &self,
        workflow_id: &str,
        signal: &str,
        value: &Value,
    ) -> Result<(), WorkflowClientError> {
        let handle = self.connected.client.get_workflow_handle::<UntypedWorkflow>(workflow_id);
        let options = WorkflowSignalOptions::builder().rpc_options(rpc_options()).build();
        match handle.signal(UntypedSignal::new(signal), payload::raw(value), options).await {
            Ok(()) => Ok(()),
            Err(WorkflowInteractionError::NotFound(_)) => Err(WorkflowClientError::NotFound),
            Err(WorkflowInteractionError::Rpc(status)) => Err(classify_status(&status)),
            Err(error) => Err(WorkflowClientError::Unavailable(error.to_string())),
        }
    }

    /// Sends an update to a workflow and waits for its answer.
    ///
    /// # Errors
    /// [`WorkflowClientError`]; [`WorkflowClientError::Refused`] with the workflow's words.
    pub async fn update(
        &self,
        workflow_id: &str,
        update: &str,
        value: &Value,
    ) -> Result<Value, WorkflowClientError> {
        let handle = self.connected.client.get_workflow_handle::<UntypedWorkflow>(workflow_id);
        let rpc_options = RpcOptions::builder().timeout(UPDATE_TIMEOUT).build();
        let options = WorkflowExecuteUpdateOptions::builder().rpc_options(rpc_options).build();
        match handle.execute_update(UntypedUpdate::new(update), payload::raw(value), options).await {
            Ok(answer) => payload::value(&answer).map_err(WorkflowClientError::Refused),
            Err(WorkflowUpdateError::NotFound(_)) => Err(WorkflowClientError::NotFound),
            Err(WorkflowUpdateError::Rpc(status)) => Err(classify_status(&status)),
            Err(WorkflowUpdateError::Failed(failure)) => {
                let root = std::iter::successors(Some(&*failure), |at| at.cause.as_deref()).last();
                Err(WorkflowClientError::Refused(root.map(|at| at.message.clone()).unwrap_or_default()))
            }
            Err(error) => Err(WorkflowClientError::Refused(error.to_string())),
        }
    }

    /// Waits for the end of a workflow, without a time limit.
    ///
    /// # Errors
    /// [`WorkflowClientError`].
    pub async fn result(&self, workflow_id: &str) -> Result<Value, WorkflowClientError> {
        let handle = self.connected.client.get_workflow_handle::<UntypedWorkflow>(workflow_id);
        match handle.get_result(WorkflowGetResultOptions::default()).await {
            Ok(end) => payload::value(&end).map_err(WorkflowClientError::Refused),
            Err(WorkflowGetResultError::NotFound(_)) => Err(WorkflowClientError::NotFound),
            Err(error) => {
                Err(WorkflowClientError::Unavailable(crate::workflows::entity_workflow::root_cause(&error)))
            }
        }
    }

    /// Lists at most `limit` workflows that match a Temporal list filter, newest first.
    ///
    /// # Errors
    /// [`WorkflowClientError`].
    pub async fn list(&self, query: &str, limit: usize) -> Result<Vec<WorkflowSummary>, WorkflowClientError> {
        let options = WorkflowListOptions::builder().limit(limit).rpc_options(rpc_options()).build();
        let mut found = self.connected.client.list_workflows(query, options);
        let mut listed = Vec::new();
        while let Some(one) = found.next().await {
            let one = one.map_err(|error| WorkflowClientError::Unavailable(error.to_string()))?;
            listed.push(WorkflowSummary {
                id: one.id().to_owned(),
                run_id: one.run_id().to_owned(),
                workflow_type: one.workflow_type().to_owned(),
                status: one.status(),
                started: one.start_time(),
                closed: one.close_time(),
                history_length: one.history_length(),
            });
        }
        Ok(listed)
    }

    /// Completes a list: the server's index has the length of a history only when the workflow has ended.
    pub async fn with_history_lengths(&self, listed: Vec<WorkflowSummary>) -> Vec<WorkflowSummary> {
        let complete = |mut one: WorkflowSummary| async move {
            if one.history_length == 0 && matches!(one.status, WorkflowExecutionStatus::Running) {
                one.history_length = self.history_length(&one).await.unwrap_or(0);
            }
            one
        };
        let pending: Vec<BoxFuture<'_, WorkflowSummary>> =
            listed.into_iter().map(|one| complete(one).boxed()).collect();
        stream::iter(pending).buffered(CONCURRENT_DESCRIPTIONS).collect().await
    }

    async fn history_length(&self, workflow: &WorkflowSummary) -> Option<i64> {
        let client = &self.connected.client;
        let info = WorkflowExecutionInfo::builder()
            .namespace(client.namespace())
            .workflow_id(workflow.id.clone())
            .run_id(workflow.run_id.clone())
            .build();
        let options = WorkflowDescribeOptions::builder().rpc_options(rpc_options()).build();
        let found = info.bind_untyped(client.clone()).describe(options).await.ok()?;
        i64::try_from(found.history_length()).ok()
    }

    /// Starts a call to a provider, within `limit`.
    ///
    /// # Errors
    /// [`WorkflowClientError`], also when it is not sure whether the server has it: see [`WorkflowClient::cancel_query`].
    pub async fn start_query(&self, query_id: &str, limit: Duration) -> Result<(), WorkflowClientError> {
        let workflow_id = Kind::Query.workflow_id(query_id);
        let input = json!({"query_id": query_id, "mirror": Signed::new(&self.connected.signing_keys, &workflow_id, &query_id)});
        let rpc_options =
            RpcOptions::builder().timeout(limit).retry_options(RetryOptions::no_retries()).build();
        let options = WorkflowStartOptions::new(self.queue(Kind::Query), workflow_id)
            .id_reuse_policy(WorkflowIdReusePolicy::RejectDuplicate)
            .execution_timeout(Duration::from_secs(3600))
            .rpc_options(rpc_options)
            .build();
        let workflow = UntypedWorkflow::new(Kind::Query.workflow_type());
        let started = self.connected.client.start_workflow(workflow, payload::raw(&input), options);
        match tokio::time::timeout(limit, started).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(WorkflowClientError::Unavailable(error.to_string())),
            Err(_) => Err(WorkflowClientError::Unavailable("no answer in time".to_owned())),
        }
    }

    /// Waits for the end of a call to a provider.
    ///
    /// # Errors
    /// [`WorkflowClientError`].
    pub async fn query_outcome(&self, query_id: &str) -> Result<QueryOutcome, WorkflowClientError> {
        let workflow_id = Kind::Query.workflow_id(query_id);
        let handle = self.connected.client.get_workflow_handle::<ProviderQueryWorkflow>(workflow_id);
        match handle.get_result(WorkflowGetResultOptions::default()).await {
            Ok(end) => serde_json::from_value(end)
                .map_err(|_| WorkflowClientError::Refused("the answer cannot be read".to_owned())),
            Err(WorkflowGetResultError::NotFound(_)) => Err(WorkflowClientError::NotFound),
            // Ended by a client of the Temporal server.
            Err(
                error @ (WorkflowGetResultError::Failed(_)
                | WorkflowGetResultError::Cancelled { .. }
                | WorkflowGetResultError::Terminated { .. }
                | WorkflowGetResultError::TimedOut),
            ) => Err(WorkflowClientError::Refused(crate::workflows::entity_workflow::root_cause(&error))),
            Err(error) => {
                Err(WorkflowClientError::Unavailable(crate::workflows::entity_workflow::root_cause(&error)))
            }
        }
    }

    /// Cancels a provider call: a running one is aborted, a queued one is not made.
    ///
    /// # Errors
    /// [`WorkflowClientError`]; that it has ended, or never began, is none.
    pub async fn cancel_query(&self, query_id: &str) -> Result<(), WorkflowClientError> {
        let handle =
            self.connected.client.get_workflow_handle::<UntypedWorkflow>(Kind::Query.workflow_id(query_id));
        let options = WorkflowCancelOptions::builder()
            .reason("it is no longer awaited")
            .rpc_options(rpc_options())
            .build();
        match handle.cancel(options).await {
            Ok(()) | Err(WorkflowInteractionError::NotFound(_)) => Ok(()),
            Err(WorkflowInteractionError::Rpc(status)) => Err(classify_status(&status)),
            Err(error) => Err(WorkflowClientError::Unavailable(error.to_string())),
        }
    }
}
