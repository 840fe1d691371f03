//! Decisions: questions to people, and their answers.

use crate::http::framework::project_scope::{EntityKind, ProjectScope};
use crate::http::framework::required_role::Access;
use crate::http::wire::page::PAGE;
use crate::http::wire::query::{QueryField, number, text, word as word_field};
use crate::http::wire::schema::{EnumValues, maybe_time, time, word};
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_actors::DecisionAnswer;
use arbiter_core::bead;
use arbiter_core::decision::deadline::OnTimeout;
use arbiter_core::decision::edit::{DecisionWait, NewDecision};
use arbiter_core::decision::{Decision, Purpose, Status};
use arbiter_core::kernel::ids::{AgentId, BeadId, DecisionId};
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::kernel::token::Role;
use arbiter_store::DecisionFilter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use warp::http::Method;

const COLLECTION: &str = "/api/v1/decisions";
const FILTERS: &[QueryField] = &[
    word_field("status", <Status as EnumValues>::VALUES, "Only those with this status"),
    text("project_id", "Only those of this project"),
    text("bead_id", "Only those about this bead"),
    number("priority", "Only those of this priority"),
];

/// A decision.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DecisionView {
    /// Its id.
    pub id: String,
    /// The project it belongs to.
    project_id: String,
    /// The bead it is about.
    bead_id: Option<String>,
    /// Purpose of the decision.
    #[schemars(schema_with = "word::<Purpose>")]
    purpose: Purpose,
    /// Question.
    question: String,
    /// The answers that may be given; empty: any text.
    options: Vec<String>,
    /// Answer that the requester recommends.
    recommendation: Option<String>,
    /// Requester.
    requester_id: Option<String>,
    /// Decider.
    decider_id: Option<String>,
    /// The answer.
    decision: Option<String>,
    /// Rationale of the answer.
    rationale: Option<String>,
    /// 0 (critical) to 4 (backlog).
    priority: u8,
    /// Current status.
    #[schemars(schema_with = "word::<Status>")]
    status: Status,
    /// Deadline for the answer; null: none.
    #[schemars(schema_with = "maybe_time")]
    deadline: Option<Timestamp>,
    /// Effect of the deadline: `expire`, `escalate`, or `choose:` and an option.
    #[schemars(with = "String")]
    on_timeout: OnTimeout,
    /// Time of the escalation, if the first deadline was followed by another.
    #[schemars(schema_with = "maybe_time")]
    escalated_at: Option<Timestamp>,
    /// Elapsed part of the time limit at the last reminder, in percent.
    reminded: u8,
    /// Digest of the subject at the time of the request, or of the answer.
    subject_digest: Option<String>,
    /// Time of the request.
    #[schemars(schema_with = "time")]
    created_at: Timestamp,
    /// Time of the last change.
    #[schemars(schema_with = "time")]
    updated_at: Timestamp,
    /// End time.
    #[schemars(schema_with = "maybe_time")]
    decided_at: Option<Timestamp>,
    /// Its revision.
    revision: u64,
}

impl From<Decision> for DecisionView {
    fn from(decision: Decision) -> Self {
        Self {
            id: decision.id.as_str().to_owned(),
            project_id: decision.project_id.as_str().to_owned(),
            bead_id: decision.bead_id.as_ref().map(BeadId::to_string),
            purpose: decision.purpose,
            question: decision.question,
            options: decision.options,
            recommendation: decision.recommendation,
            requester_id: decision.requester_id,
            decider_id: decision.decider_id,
            decision: decision.decision,
            rationale: decision.rationale,
            priority: decision.priority,
            status: decision.status,
            deadline: decision.deadline,
            on_timeout: decision.on_timeout,
            escalated_at: decision.escalated_at,
            reminded: decision.reminded,
            subject_digest: decision.subject_digest,
            created_at: decision.created_at,
            updated_at: decision.updated_at,
            decided_at: decision.decided_at,
            revision: decision.revision,
        }
    }
}

/// A decision to request.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewDecisionBody {
    /// Its id; else one is made.
    #[serde(default)]
    id: Option<String>,
    /// The project it belongs to.
    project_id: String,
    /// The bead it is about; it waits for the answer.
    #[serde(default)]
    bead_id: Option<String>,
    /// Question.
    question: String,
    /// The answers that may be given; none: any text.
    #[serde(default)]
    options: Option<Vec<String>>,
    /// Answer that the requester recommends.
    #[serde(default)]
    recommendation: Option<String>,
    /// Requester; only an administrator may name another than the token's holder.
    #[serde(default)]
    requester_id: Option<String>,
    /// 0 (critical) to 4 (backlog); 2 by default.
    #[serde(default)]
    priority: Option<u8>,
    /// Time limit of the answer: `48h`, `90m`, `never`.
    #[serde(default)]
    timeout: Option<String>,
    /// Until when it waits for its answer.
    #[serde(default)]
    #[schemars(schema_with = "maybe_time")]
    deadline: Option<Timestamp>,
    /// Effect of the deadline: `expire` (the default), `escalate`, or `choose:` and an option.
    #[serde(default)]
    on_timeout: Option<String>,
}

/// An answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DecideBody {
    /// The answer; one of the options when there are any.
    decision: String,
    /// Reason.
    #[serde(default)]
    rationale: Option<String>,
    /// Decider; only an administrator may name another than the token's holder.
    #[serde(default)]
    decider_id: Option<String>,
    /// Digest of the subject as the decider has seen it; required if the subject changed after the request.
    #[serde(default)]
    subject_digest: Option<String>,
}

/// Reason for the withdrawal of a decision.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CancelBody {
    /// Reason.
    reason: String,
}

/// Asking, showing, answering and withdrawing.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(COLLECTION, list)
            .scope(ProjectScope::CheckedByHandler)
            .query(FILTERS)
            .query(PAGE)
            .summary("The decisions, oldest first")
            .answers::<Vec<DecisionView>>(200),
        Endpoint::with_body(Method::POST, COLLECTION, create)
            .scope(ProjectScope::CheckedByHandler)
            .access(Access::Agent)
            .summary("Ask a question")
            .answers::<DecisionView>(201),
        Endpoint::get("/api/v1/decisions/{id}", show)
            .scope(ProjectScope::Entity(EntityKind::Decision))
            .summary("One decision")
            .answers::<DecisionView>(200),
        Endpoint::with_body(Method::POST, "/api/v1/decisions/{id}/decide", decide)
            .scope(ProjectScope::Entity(EntityKind::Decision))
            .access(Access::Agent)
            .summary(
                "Answer; the beads that wait for it move at once. An agent answers what its autonomy allows",
            )
            .answers::<DecisionView>(200),
        Endpoint::with_body(Method::POST, "/api/v1/decisions/{id}/cancel", cancel)
            .scope(ProjectScope::Entity(EntityKind::Decision))
            .access(Access::Operator)
            .summary("Withdraw the question")
            .answers::<DecisionView>(200),
    ]
}

fn id(request: &ApiRequest) -> DecisionId {
    DecisionId::from_trusted(request.param("id"))
}

fn answer(decision: Decision) -> Result<Reply, ApiError> {
    let revision = decision.revision;
    Reply::entity(&DecisionView::from(decision), revision)
}

fn wait(timeout: Option<&str>, deadline: Option<Timestamp>) -> Result<DecisionWait, ApiError> {
    match (timeout, deadline) {
        (None, None) => Ok(DecisionWait::Default),
        (None, Some(deadline)) => Ok(DecisionWait::Until(deadline)),
        (Some(_), Some(_)) => Err(ApiError::field("deadline", "must not be given beside timeout")),
        (Some(text), None) => DecisionWait::parse(text).ok_or_else(|| {
            ApiError::field(
                "timeout",
                "must be never, or a whole number above 0 with ms, s, m, h or d, such as 48h",
            )
        }),
    }
}

fn on_timeout(text: Option<&str>) -> Result<OnTimeout, ApiError> {
    let unknown = || ApiError::field("on_timeout", "must be expire, escalate, or choose: and an option");
    text.map_or(Ok(OnTimeout::Expire), |text| OnTimeout::parse(text).ok_or_else(unknown))
}

async fn list(request: ApiRequest) -> Result<Reply, ApiError> {
    let filter = DecisionFilter {
        project_id: request.query.owned("project_id")?,
        within: request.within(),
        status: request.query.word("status", Status::parse)?,
        bead_id: request.query.owned("bead_id")?,
        priority: request.query.parsed("priority")?,
    };
    let page = request.handles().store.decisions(filter, request.page()?).await?;
    Reply::page::<_, DecisionView>(request.page_link(), page)
}

async fn create(request: ApiRequest, body: NewDecisionBody) -> Result<Reply, ApiError> {
    request.require_project(Some(&body.project_id))?;
    check_bead(&request, body.bead_id.as_deref()).await?;
    let requester = request.caller_named("requester_id", body.requester_id)?.name;
    let new = NewDecision {
        id: body.id,
        bead_id: body.bead_id,
        options: body.options.unwrap_or_default(),
        recommendation: body.recommendation,
        requester_id: Some(requester),
        priority: body.priority,
        wait: wait(body.timeout.as_deref(), body.deadline)?,
        on_timeout: on_timeout(body.on_timeout.as_deref())?,
        ..NewDecision::question(body.project_id, body.question)
    };
    let decision = request.handles().decisions.create(&request.caller()?, new).await?;
    let (revision, view) = (decision.revision, DecisionView::from(decision));
    Ok(Reply::created(&view, COLLECTION, &view.id)?.with_revision(revision))
}

/// A question about a bead holds the bead up, so an agent asks only about its own.
async fn check_bead(request: &ApiRequest, named: Option<&str>) -> Result<(), ApiError> {
    let Some(bead) = named.map(BeadId::from_trusted) else { return Ok(()) };
    let authority = request.identity.authority();
    if authority.role != Role::Agent {
        return request.require_beads([&bead]).await;
    }
    let found = request.handles().store.bead(bead.to_string()).await?;
    Ok(bead::authorize::hold(&authority, &found.ok_or_else(|| ApiError::not_found("bead", bead.as_str()))?)?)
}

async fn show(request: ApiRequest) -> Result<Reply, ApiError> {
    answer(request.decision().await?.clone())
}

async fn decide(request: ApiRequest, body: DecideBody) -> Result<Reply, ApiError> {
    let caller = request.caller_named("decider_id", body.decider_id)?;
    let given = DecisionAnswer {
        decision: body.decision,
        rationale: body.rationale.filter(|text| !text.is_empty()),
        subject_digest: body.subject_digest,
        agent: deciding_agent(&request, &caller.name).await?,
    };
    answer(request.handles().decisions.answer(&caller, &id(&request), given).await?)
}

/// The agent in whose name an answer is given: the token's, or one that an administrator names.
async fn deciding_agent(request: &ApiRequest, decider: &str) -> Result<Option<AgentId>, ApiError> {
    if let Some(own) = request.identity.agent_id() {
        return Ok(Some(AgentId::from_trusted(own)));
    }
    if decider == request.identity.name() {
        return Ok(None);
    }
    Ok(request.handles().store.agent(decider.to_owned()).await?.map(|agent| agent.id))
}

async fn cancel(request: ApiRequest, body: CancelBody) -> Result<Reply, ApiError> {
    answer(request.handles().decisions.cancel(&request.caller()?, &id(&request), body.reason).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn decision_takes_timeout_or_deadline_but_not_both() {
        let at = Timestamp::from_millis(7);
        assert_eq!(wait(None, None).unwrap(), DecisionWait::Default);
        assert_eq!(wait(Some("2h"), None).unwrap(), DecisionWait::For(Duration::from_secs(7200)));
        assert_eq!(wait(Some("never"), None).unwrap(), DecisionWait::Never);
        assert_eq!(wait(None, Some(at)).unwrap(), DecisionWait::Until(at));
        assert!(wait(Some("2h"), Some(at)).is_err() && wait(Some("soon"), None).is_err());
    }
}
