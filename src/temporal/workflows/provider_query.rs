//! One call to a provider, made by any free worker.
//!
//! First the control process grants the call, which is recorded before a key is used. Then a worker makes the call with a
//! key of its own vault. Payloads name keys but contain none.

use super::Refusal;
use crate::activities::{ControlActivities, ProviderActivities, control_options, provider_call_options};
use crate::codec::names::Kind;
use crate::codec::payload;
use crate::codec::signed::{Signed, SigningKeys};
use crate::control_plane::{CallOutcome, Grant};
use crate::workflows::entity_workflow::{RunEvent, count_run, root_cause};
use base64::{Engine, engine::general_purpose::STANDARD};
use prost::Message;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;
use temporalio_common::data_converters::RawValue;
use temporalio_common::protos::temporal::api::common::v1::Payload;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ApplicationFailure, WorkflowContext, WorkflowContextView, WorkflowResult, WorkflowTermination,
};

/// The outcome of a query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueryOutcome {
    /// The call was made, with this outcome.
    Called(CallOutcome),
    /// The call was not granted: the caller no longer waits.
    NotGranted(String),
    /// No worker completed the call.
    Lost(String),
}

/// Makes one call: `query-{uuid}`.
#[workflow]
pub struct ProviderQueryWorkflow {
    query: Result<String, String>,
}

#[workflow_methods]
impl ProviderQueryWorkflow {
    /// Takes `{query_id, mirror}`; only the server can sign `mirror`.
    #[init]
    fn new(context: &WorkflowContextView, input: RawValue) -> Self {
        Self { query: query(context.workflow_id(), &input).map_err(|error| error.to_string()) }
    }

    /// Ends with a [`QueryOutcome`].
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<Value> {
        count_run(ctx, Kind::Query, RunEvent::Started);
        let query = ctx.state(|s| s.query.clone());
        let query = query.map_err(|words| ApplicationFailure::non_retryable(anyhow::anyhow!("{words}")))?;
        let granted = ctx.execute_activity(ControlActivities::grant_call, query, control_options()).await;
        let end = match granted {
            // The caller no longer waits.
            Err(_) if ctx.cancellation_token().is_cancelled() => return Err(WorkflowTermination::cancelled()),
            Err(error) => QueryOutcome::NotGranted(root_cause(&error)),
            Ok(Grant::Refused(words)) => QueryOutcome::NotGranted(words),
            Ok(Grant::Given { call, timeout_ms, queue }) => {
                let payload = STANDARD.decode(&call).ok();
                let payload =
                    payload.and_then(|bytes| Payload::decode(bytes.as_slice()).ok()).unwrap_or_default();
                let options = provider_call_options(queue, Duration::from_millis(timeout_ms));
                let call = RawValue::new(vec![payload]);
                match ctx.execute_activity(ProviderActivities::provider_query, call, options).await {
                    Ok(end) => QueryOutcome::Called(end),
                    Err(_) if ctx.cancellation_token().is_cancelled() => {
                        return Err(WorkflowTermination::cancelled());
                    }
                    Err(error) => QueryOutcome::Lost(root_cause(&error)),
                }
            }
        };
        count_run(ctx, Kind::Query, RunEvent::Completed);
        Ok(json!(end))
    }
}

fn query(workflow_id: &str, input: &RawValue) -> Result<String, Refusal> {
    let value = payload::value(input)?;
    let id = payload::text(&value, Kind::Query.id_field())?;
    let ours: Option<String> =
        Signed::verify_value(&SigningKeys::of_this_thread(), workflow_id, &value["mirror"]);
    if ours.as_ref() != Some(&id) || Kind::Query.workflow_id(&id) != workflow_id {
        return Err(
            "a call to a provider costs money and uses a key: ask the server for it, over its API".into()
        );
    }
    Ok(id)
}
