//! What a client asks of workflows and of the server: queries, signals, results, lists, calls to providers.

use crate::client::{Delivery, DeliveryError, RPC_TIMEOUT, judged, rpc};
use crate::codec::names::Kind;
use crate::codec::payload;
use crate::codec::signed::Sealed;
use crate::workflows::{ProviderQueryWorkflow, QueryEnd};
use futures::StreamExt;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};
use temporalio_client::errors::{WorkflowGetResultError, WorkflowInteractionError, WorkflowQueryError};
use temporalio_client::{
    NamespacedClient, RetryOptions, RpcOptions, UntypedQuery, UntypedSignal, UntypedWorkflow,
    WorkflowCancelOptions, WorkflowExecutionInfo, WorkflowGetResultOptions, WorkflowIdReusePolicy,
    WorkflowListOptions, WorkflowQueryOptions, WorkflowSignalOptions, WorkflowStartOptions,
};
use temporalio_common::data_converters::RawValue;
use temporalio_common::protos::temporal::api::enums::v1::TaskQueueType;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::DescribeTaskQueueRequest;

/// How long a question to a workflow may take: the server waits for a worker.
const QUERY_TIMEOUT: Duration = Duration::from_secs(20);

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

impl Delivery {
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
            Ok(answer) => payload::value(&answer).map_err(DeliveryError::Refused),
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
        match handle.signal(UntypedSignal::new(signal), payload::raw(value), options).await {
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
            Ok(end) => payload::value(&end).map_err(DeliveryError::Refused),
            Err(WorkflowGetResultError::NotFound(_)) => Err(DeliveryError::NotFound),
            Err(error) => Err(DeliveryError::Unavailable(crate::workflows::entity_workflow::deepest(&error))),
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
        let started = self.connected.client.start_workflow(workflow, payload::raw(&input), options);
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
            // Somebody ended it over there.
            Err(
                error @ (WorkflowGetResultError::Failed(_)
                | WorkflowGetResultError::Cancelled { .. }
                | WorkflowGetResultError::Terminated { .. }
                | WorkflowGetResultError::TimedOut),
            ) => Err(DeliveryError::Refused(crate::workflows::entity_workflow::deepest(&error))),
            Err(error) => Err(DeliveryError::Unavailable(crate::workflows::entity_workflow::deepest(&error))),
        }
    }

    /// Says that nobody waits any more for a call to a provider: one in progress is given up, one in a queue is not made.
    ///
    /// # Errors
    /// [`DeliveryError`]; that it has ended, or never began, is none.
    pub async fn abandon(&self, query_id: &str) -> Result<(), DeliveryError> {
        let handle =
            self.connected.client.get_workflow_handle::<UntypedWorkflow>(Kind::Query.workflow_id(query_id));
        let options =
            WorkflowCancelOptions::builder().reason("nobody waits for it").rpc_options(rpc()).build();
        match handle.cancel(options).await {
            Ok(()) | Err(WorkflowInteractionError::NotFound(_)) => Ok(()),
            Err(WorkflowInteractionError::Rpc(status)) => Err(judged(&status)),
            Err(error) => Err(DeliveryError::Unavailable(error.to_string())),
        }
    }
}
