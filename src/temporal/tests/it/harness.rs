//! The harness of these tests: a real server, a worker with workflows over a [`FakeControlPlane`], and a client.

use crate::memory::FakeControlPlane;
use arbiter_temporal::client::connection::{Address, TemporalConnection, converter};
use arbiter_temporal::client::{WorkflowClient, WorkflowClientError};
use arbiter_temporal::codec::names::{CONTROL_QUEUE, Kind, PROVIDERS_QUEUE};
use arbiter_temporal::codec::payload;
use arbiter_temporal::codec::signed::{SigningKey, SigningKeys};
use arbiter_temporal::codec::{Codec, CodecKey};
use arbiter_temporal::worker::{RunningWorker, WorkerRole};
use arbiter_testkit::TemporalServer;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use temporalio_client::errors::WorkflowUpdateError;
use temporalio_client::{
    UntypedSignal, UntypedUpdate, UntypedWorkflow, WorkflowExecuteUpdateOptions, WorkflowGetResultOptions,
    WorkflowSignalOptions, WorkflowStartOptions,
};
use temporalio_common::data_converters::{SerializationContextData, WorkflowSerializationContext};
use temporalio_common::payload_visitor::decode_payloads;
use temporalio_common::protos::temporal::api::failure::v1::Failure;

/// How long anything may take, on a machine with much else to do.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// The codec's key of all tests here, with which the recorded histories are encrypted.
pub fn codec_key() -> CodecKey {
    CodecKey { id: "test".to_owned(), key: Arc::new(SigningKey::new([7; 32])) }
}

/// The codec of all tests here.
pub fn codec() -> Codec {
    Codec::new(codec_key(), vec![])
}

/// The signing keys of all tests here, with which the recorded histories are signed.
pub fn signing_keys() -> SigningKeys {
    SigningKeys::new(vec![SigningKey::new([9; 32])])
}

/// A server with a worker.
pub struct Harness {
    /// The server.
    pub server: TemporalServer,
    /// The connection.
    pub connected: TemporalConnection,
    /// The way that the mirror takes.
    pub client: WorkflowClient,
    /// The fake control plane.
    pub control_plane: Arc<FakeControlPlane>,
    /// The codec of client and workers.
    pub codec: Codec,
    workers: Vec<RunningWorker>,
}

impl Harness {
    /// A server and a worker that serves both queues.
    pub async fn start() -> Self {
        let mut harness = Self::at(TemporalServer::start().await).await;
        harness.start_workers().await;
        harness
    }

    /// A server without a worker.
    pub async fn at(server: TemporalServer) -> Self {
        Self::with_keys(server, signing_keys()).await
    }

    /// Creates a harness without workers that signs with these keys.
    pub async fn with_keys(server: TemporalServer, keys: SigningKeys) -> Self {
        let codec = codec();
        let connected = connect(&server, &codec, &keys).await;
        let client = WorkflowClient::new(connected.clone(), BTreeMap::new());
        Self { server, connected, client, codec, control_plane: Arc::default(), workers: vec![] }
    }

    /// Starts workers over a connection of their own.
    pub async fn start_workers(&mut self) {
        let connection = connect(&self.server, &self.codec, &self.connected.signing_keys).await;
        let control = WorkerRole {
            control: Some(self.control_plane.clone()),
            providers: None,
            ..WorkerRole::default()
        };
        let providers = WorkerRole {
            control: None,
            providers: Some(self.control_plane.clone()),
            ..WorkerRole::default()
        };
        for (queue, role) in [(CONTROL_QUEUE, control), (PROVIDERS_QUEUE, providers)] {
            self.workers.push(RunningWorker::start(&connection, queue, role).unwrap());
        }
    }

    /// Ends the workers.
    pub async fn stop_workers(&mut self) {
        for worker in self.workers.drain(..) {
            worker.stop().await;
        }
    }

    /// The end of a test: workers must not outlive its runtime.
    pub async fn shutdown(mut self) {
        self.stop_workers().await;
    }

    /// Starts a workflow as any client might.
    pub async fn start_workflow(&self, kind: Kind, id: &str, input: &Value) {
        let options = WorkflowStartOptions::new(CONTROL_QUEUE, kind.workflow_id(id)).build();
        let workflow = UntypedWorkflow::new(kind.workflow_type());
        self.connected.client.start_workflow(workflow, payload::raw(input), options).await.unwrap();
    }

    /// Adds an entity and mirrors it.
    pub async fn mirror(&self, kind: Kind, id: &str, record: Value) {
        let state = self.control_plane.put(kind, id, record);
        self.client.mirror(kind, id, json!({kind.id_field(): id}), state).await.unwrap();
    }

    /// Sends a signal as any client might.
    pub async fn signal(&self, kind: Kind, id: &str, signal: &str, input: &Value) {
        let handle = self.connected.client.get_workflow_handle::<UntypedWorkflow>(kind.workflow_id(id));
        let signal = UntypedSignal::new(signal);
        handle.signal(signal, payload::raw(input), WorkflowSignalOptions::default()).await.unwrap();
    }

    /// Sends an update as any client might; returns the answer or the text of the error.
    pub async fn update(&self, kind: Kind, id: &str, update: &str, input: &Value) -> Result<Value, String> {
        let handle = self.connected.client.get_workflow_handle::<UntypedWorkflow>(kind.workflow_id(id));
        let update = UntypedUpdate::new(update);
        let options = WorkflowExecuteUpdateOptions::default();
        match handle.execute_update(update, payload::raw(input), options).await {
            Ok(answer) => payload::value(&answer),
            Err(WorkflowUpdateError::Failed(failure)) => Err(self.read(*failure).await),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The words of a failure, which are encrypted like all else.
    async fn read(&self, mut failure: Failure) -> String {
        let converter = converter(codec());
        let context = SerializationContextData::Workflow(WorkflowSerializationContext::new());
        decode_payloads(&mut failure, converter.codec(), &context).await.unwrap();
        let error = converter.failure_converter().to_error(failure, converter.payload_converter(), &context);
        error.unwrap().to_string()
    }

    /// Asks a workflow something; again, while the machine is too busy for an answer in time.
    pub async fn query(&self, kind: Kind, id: &str, query: &str) -> Value {
        let began = Instant::now();
        loop {
            match self.client.query(&kind.workflow_id(id), None, query).await {
                Err(WorkflowClientError::Unavailable(_)) if began.elapsed() < TIMEOUT => {}
                answer => return answer.unwrap(),
            }
        }
    }

    /// How a workflow ends, through all its runs.
    pub async fn wait_for_result(&self, kind: Kind, id: &str) -> Value {
        let handle = self.connected.client.get_workflow_handle::<UntypedWorkflow>(kind.workflow_id(id));
        let wait_for_result =
            tokio::time::timeout(TIMEOUT, handle.get_result(WorkflowGetResultOptions::default())).await;
        payload::value(&wait_for_result.expect("the workflow ends").unwrap()).unwrap()
    }

    /// The runs of a workflow that the server lists, the newest first: their ids and how many events they have.
    pub async fn runs(&self, kind: Kind, id: &str) -> Vec<(String, i64)> {
        let query = format!("WorkflowId = '{}'", kind.workflow_id(id));
        let listed = self.client.list(&query, 100).await.unwrap();
        listed.into_iter().map(|run| (run.run_id, run.history_length)).collect()
    }

    /// The events of a run's history, or of the newest run's, with their payloads as they are kept.
    pub async fn history(&self, kind: Kind, id: &str, run: Option<&str>) -> Vec<Value> {
        let workflow_id = kind.workflow_id(id);
        let mut arguments = vec!["workflow", "show", "-w", &workflow_id, "-o", "json"];
        run.iter().for_each(|run| arguments.extend(["-r", run]));
        let said = self.server.cli(&arguments).await;
        assert!(said.ok, "{}", said.stderr);
        let history: Value = serde_json::from_str(&said.stdout).unwrap();
        history["events"].as_array().unwrap().clone()
    }
}

/// Connects to a server as the product does.
pub async fn connect(server: &TemporalServer, codec: &Codec, keys: &SigningKeys) -> TemporalConnection {
    let address = Address {
        server: server.address(),
        namespace: "default".to_owned(),
        retention: Duration::from_secs(86_400),
        api_key: None,
        tls: None,
    };
    address.connect(codec.clone(), keys.clone(), "test").await.unwrap()
}

/// Asks again and again until it is so.
pub async fn wait_until(what: &str, within: Duration, mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < within, "after {within:?} still not: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The type of an event of a history, without what all of them begin with.
pub fn event_type(event: &Value) -> &str {
    event["eventType"].as_str().unwrap().trim_start_matches("EVENT_TYPE_")
}

/// How many events of a type a history has.
pub fn count(history: &[Value], kind: &str) -> usize {
    history.iter().filter(|event| event_type(event) == kind).count()
}

/// The workflow tasks of a history that failed. One is not at fault for news that came while it was ending a run, nor
/// when the server calls it off since more news wait behind it than the server holds back.
pub fn failed_tasks(history: &[Value]) -> Vec<&Value> {
    let failed = history.iter().filter(|event| event_type(event) == "WORKFLOW_TASK_FAILED");
    let is_blameless = |event: &&Value| {
        let cause = &event["workflowTaskFailedEventAttributes"]["cause"];
        let cause = cause.as_str().unwrap_or_default();
        cause.ends_with("UNHANDLED_COMMAND") || cause.ends_with("FORCE_CLOSE_COMMAND")
    };
    failed.filter(|event| !is_blameless(event)).collect()
}
