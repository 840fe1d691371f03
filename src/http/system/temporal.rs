//! The bridge to Temporal: how it stands, its workflows, and the codec by which Temporal's own tools read ours.

use crate::bridge::{Bridge, Status, WorkflowView};
use crate::http::framework::endpoint::{QueryField, number, text};
use crate::http::framework::required_role::Access;
use crate::http::{ApiError, Call, Endpoint, Reply};
use arbiter_actors::{Fault, VaultFault};
use arbiter_temporal::client::DeliveryError;
use arbiter_temporal::codec::Codec;
use arbiter_temporal::codec::names::Kind;
use arbiter_temporal::codec::remote_codec::{Payloads, WireError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use warp::http::Method;

/// The most workflows of one answer.
const MOST: usize = 1_000;
/// How many there are when nobody says.
const SOME: usize = 50;

const FILTER: &[QueryField] = &[
    text("query", "A query of Temporal's, as ArbiterStatus = 'blocked' AND ExecutionStatus = 'Running'"),
    text("type", "Only workflows of this type"),
    number("limit", "How many at most: 1 to 1000, 50 by default"),
];

/// Keys that were made.
#[derive(Debug, Serialize, JsonSchema)]
struct RotatedView {
    /// Their ids in the vault.
    keys: Vec<String>,
}

/// Payloads as Temporal's remote codec protocol has them.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PayloadsBody {
    /// Each with its metadata and data in base64.
    #[serde(default)]
    payloads: Vec<PayloadJson>,
}

/// A payload.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct PayloadJson {
    /// Metadata by name, in base64.
    #[serde(default)]
    metadata: std::collections::BTreeMap<String, String>,
    /// The data, in base64.
    #[serde(default)]
    data: String,
}

/// The bridge's endpoints.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/temporal/status", status)
            .summary("How the bridge to the Temporal server stands")
            .answers::<Status>(200),
        Endpoint::get("/api/v1/temporal/workflows", workflows)
            .query(FILTER)
            .summary("The workflows at the Temporal server, newest first; none when no server is configured")
            .answers::<Vec<WorkflowView>>(200),
        Endpoint::with_body(Method::POST, "/api/v1/temporal/codec/decode", decode)
            .access(Access::Operator)
            .summary("Payloads decrypted, by Temporal's remote codec protocol")
            .answers::<PayloadsBody>(200),
        Endpoint::with_body(Method::POST, "/api/v1/temporal/codec/encode", encode)
            .access(Access::Operator)
            .summary("Payloads encrypted, by Temporal's remote codec protocol")
            .answers::<PayloadsBody>(200),
        Endpoint::post("/api/v1/temporal/codec/rotate", rotate)
            .access(Access::Admin)
            .summary("New keys for payloads and seals; what is there stays readable")
            .answers::<RotatedView>(200),
    ]
}

fn bridge(call: &Call) -> Result<&Bridge, ApiError> {
    let none = || ApiError::new("temporal-off", "no Temporal server is configured: set temporal.address");
    call.context.bridge().ok_or_else(none)
}

async fn status(call: Call) -> Result<Reply, ApiError> {
    match call.context.bridge() {
        Some(bridge) => Reply::json(&bridge.status().await?),
        None => Reply::json(&Status::off()),
    }
}

async fn workflows(call: Call) -> Result<Reply, ApiError> {
    if call.within().is_some() {
        return Err(ApiError::forbidden("workflows are of all projects, and the token is limited to some"));
    }
    let limit = call.query.parsed("limit")?.unwrap_or(SOME);
    if !(1..=MOST).contains(&limit) {
        return Err(ApiError::field("limit", "is 1 to 1000"));
    }
    let mut conditions = Vec::new();
    if let Some(name) = call.query.text("type")? {
        let kind = Kind::of_workflow_type(name);
        let kind =
            kind.ok_or_else(|| ApiError::field("type", format!("no workflow has the type {name:?}")))?;
        conditions.push(format!("WorkflowType = '{}'", kind.workflow_type()));
    }
    if let Some(query) = call.query.text("query")? {
        conditions.push(format!("({query})"));
    }
    let Some(bridge) = call.context.bridge() else { return Reply::json(&Vec::<WorkflowView>::new()) };
    match bridge.workflows(&conditions.join(" AND "), limit).await {
        Ok(found) => Reply::json(&found),
        Err(DeliveryError::Refused(words)) => Err(ApiError::field("query", words)),
        Err(error) => Err(ApiError::new("temporal-unavailable", error.to_string())),
    }
}

fn codec(call: &Call) -> Result<Codec, ApiError> {
    let locked = || ApiError::from(Fault::Vault(VaultFault::Locked));
    bridge(call)?.codec().ok_or_else(locked)
}

async fn decode(call: Call, body: PayloadsBody) -> Result<Reply, ApiError> {
    Reply::json(&turned(body, |payloads| Ok(payloads.opened(&codec(&call)?)))?)
}

async fn encode(call: Call, body: PayloadsBody) -> Result<Reply, ApiError> {
    let codec = codec(&call)?;
    let sealed = |payloads: Payloads| {
        payloads.sealed(&codec).map_err(|error| ApiError::new("temporal-unavailable", error.to_string()))
    };
    Reply::json(&turned(body, sealed)?)
}

fn turned(
    body: PayloadsBody,
    turn: impl FnOnce(Payloads) -> Result<Payloads, ApiError>,
) -> Result<PayloadsBody, ApiError> {
    let given = body.payloads.into_iter().map(|payload| (payload.metadata, payload.data));
    let read = Payloads::read(given).map_err(|WireError(words)| ApiError::field("payloads", words))?;
    let payloads = turn(read)?.written();
    let payloads = payloads.into_iter().map(|(metadata, data)| PayloadJson { metadata, data }).collect();
    Ok(PayloadsBody { payloads })
}

async fn rotate(call: Call) -> Result<Reply, ApiError> {
    let made = bridge(&call)?.rotate(&call.caller()?).await?;
    Reply::json(&RotatedView { keys: made.iter().map(ToString::to_string).collect() })
}
