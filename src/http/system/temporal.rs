//! The bridge to Temporal: how it stands, its workflows, and the codec by which Temporal's own tools read ours.

use crate::bridge::{Bridge, Status, WorkflowView};
use crate::http::framework::project_scope::ProjectScope;
use crate::http::framework::required_role::Access;
use crate::http::wire::query::{QueryField, number, text};
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_actors::{Error, VaultAccessError};
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_temporal::client::WorkflowClientError;
use arbiter_temporal::codec::Codec;
use arbiter_temporal::codec::names::Kind;
use arbiter_temporal::codec::remote_codec::{Payloads, RemoteCodecError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use warp::http::Method;

/// The most workflows of one answer.
const MAX_WORKFLOWS: usize = 1_000;
/// Default number of workflows.
const DEFAULT_WORKFLOWS: usize = 50;

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
            .scope(ProjectScope::Unscoped)
            .summary("How the bridge to the Temporal server stands")
            .answers::<Status>(200),
        Endpoint::get("/api/v1/temporal/workflows", workflows)
            .scope(ProjectScope::CheckedByHandler)
            .query(FILTER)
            .summary("The workflows at the Temporal server, newest first; none when no server is configured")
            .answers::<Vec<WorkflowView>>(200),
        Endpoint::with_body(Method::POST, "/api/v1/temporal/codec/decode", decode)
            .codec_page()
            .access(Access::Operator)
            .summary("Payloads decrypted, by Temporal's remote codec protocol")
            .answers::<PayloadsBody>(200),
        Endpoint::with_body(Method::POST, "/api/v1/temporal/codec/encode", encode)
            .codec_page()
            .access(Access::Operator)
            .summary("Payloads encrypted, by Temporal's remote codec protocol")
            .answers::<PayloadsBody>(200),
        Endpoint::post("/api/v1/temporal/codec/rotate", rotate)
            .access(Access::Admin)
            .summary("New keys for payloads and seals; what is there stays readable")
            .answers::<RotatedView>(200),
    ]
}

fn bridge(request: &ApiRequest) -> Result<&Bridge, ApiError> {
    let none =
        || ApiError::new(ProblemCode::TemporalOff, "no Temporal server is configured: set temporal.address");
    request.context.bridge().ok_or_else(none)
}

async fn status(request: ApiRequest) -> Result<Reply, ApiError> {
    match request.context.bridge() {
        Some(bridge) => Reply::json(&bridge.status().await?),
        None => Reply::json(&Status::off()),
    }
}

async fn workflows(request: ApiRequest) -> Result<Reply, ApiError> {
    if request.within().is_some() {
        return Err(ApiError::forbidden("workflows are of all projects, and the token is limited to some"));
    }
    let limit = request.query.parsed("limit")?.unwrap_or(DEFAULT_WORKFLOWS);
    if !(1..=MAX_WORKFLOWS).contains(&limit) {
        return Err(ApiError::field("limit", "is 1 to 1000"));
    }
    let mut conditions = Vec::new();
    if let Some(name) = request.query.text("type")? {
        let kind = Kind::from_workflow_type(name);
        let kind =
            kind.ok_or_else(|| ApiError::field("type", format!("no workflow has the type {name:?}")))?;
        conditions.push(format!("WorkflowType = '{}'", kind.workflow_type()));
    }
    if let Some(query) = request.query.text("query")? {
        conditions.push(format!("({query})"));
    }
    let Some(bridge) = request.context.bridge() else { return Reply::json(&Vec::<WorkflowView>::new()) };
    match bridge.workflows(&conditions.join(" AND "), limit).await {
        Ok(found) => Reply::json(&found),
        Err(WorkflowClientError::Refused(words)) => Err(ApiError::field("query", words)),
        Err(error) => Err(ApiError::new(ProblemCode::TemporalUnavailable, error.to_string())),
    }
}

fn codec(request: &ApiRequest) -> Result<Codec, ApiError> {
    let locked = || ApiError::from(Error::Vault(VaultAccessError::Locked));
    bridge(request)?.codec().ok_or_else(locked)
}

async fn decode(request: ApiRequest, body: PayloadsBody) -> Result<Reply, ApiError> {
    Reply::json(&convert_payloads(body, |payloads| Ok(payloads.decrypted(&codec(&request)?)))?)
}

async fn encode(request: ApiRequest, body: PayloadsBody) -> Result<Reply, ApiError> {
    let codec = codec(&request)?;
    let encrypted = |payloads: Payloads| {
        payloads
            .encrypted(&codec)
            .map_err(|error| ApiError::new(ProblemCode::TemporalUnavailable, error.to_string()))
    };
    Reply::json(&convert_payloads(body, encrypted)?)
}

fn convert_payloads(
    body: PayloadsBody,
    convert: impl FnOnce(Payloads) -> Result<Payloads, ApiError>,
) -> Result<PayloadsBody, ApiError> {
    let given = body.payloads.into_iter().map(|payload| (payload.metadata, payload.data));
    let read = Payloads::read(given).map_err(|RemoteCodecError(words)| ApiError::field("payloads", words))?;
    let payloads = convert(read)?.into_base64();
    let payloads = payloads.into_iter().map(|(metadata, data)| PayloadJson { metadata, data }).collect();
    Ok(PayloadsBody { payloads })
}

async fn rotate(request: ApiRequest) -> Result<Reply, ApiError> {
    let made = bridge(&request)?.rotate(&request.caller()?).await?;
    Reply::json(&RotatedView { keys: made.iter().map(ToString::to_string).collect() })
}
