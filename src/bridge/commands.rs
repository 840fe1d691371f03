//! Executes workflow signals and updates as actor commands.
//!
//! Owns the names of these commands. The actor decides whether a command is allowed.

use crate::bridge::BridgeInner;
use arbiter_actors::{BeadAction, Caller, DecisionAnswer, Error, StatusChange};
use arbiter_core::bead::{Bead, Claimant};
use arbiter_core::kernel::ids::{AgentId, BeadId, DecisionId};
use arbiter_core::kernel::refusal::Refusal;
use arbiter_temporal::codec::names::Kind;
use arbiter_temporal::codec::payload::text;
use serde_json::Value;

/// A reason why a command was not executed.
pub enum CommandError {
    /// The command is invalid; the text says why.
    Invalid(String),
    /// The actor or the store failed or refused.
    Error(Error),
}

impl From<String> for CommandError {
    fn from(words: String) -> Self {
        Self::Invalid(words)
    }
}

impl From<Error> for CommandError {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Refusal> for CommandError {
    fn from(refusal: Refusal) -> Self {
        Self::Error(refusal.into())
    }
}

impl From<arbiter_store::StoreError> for CommandError {
    fn from(error: arbiter_store::StoreError) -> Self {
        Self::Error(error.into())
    }
}

/// Executes one command.
///
/// # Errors
/// [`CommandError`].
pub async fn execute(
    inner: &BridgeInner,
    caller: &Caller,
    kind: Kind,
    id: &str,
    wish: &str,
    value: &Value,
) -> Result<(), CommandError> {
    let handles = &inner.handles;
    let reason = || value.get("reason").and_then(Value::as_str).map(str::to_owned);
    match (kind, wish) {
        (Kind::Agent, "updateStatus") => {
            let status = text(value, "status")?;
            handles.agents.set_status(caller, &AgentId::from_trusted(id), &status, reason()).await?;
        }
        (Kind::Agent, "assignBead") => {
            let bead = BeadId::from_trusted(text(value, "bead_id")?);
            handles.agents.assign(caller, &AgentId::from_trusted(id), &bead).await?;
        }
        (Kind::Agent, "shutdown") => {
            let why = text(value, "reason").ok();
            handles.agents.shutdown(caller, &AgentId::from_trusted(id), why).await?;
        }
        (Kind::Bead, "assignToAgent") => {
            let agent = AgentId::from_trusted(text(value, "agent_id")?);
            handles.beads.claim(caller, &BeadId::from_trusted(id), Claimant::Agent(agent), None).await?;
        }
        (Kind::Bead, "complete") => {
            let summary = text(value, "summary")?;
            // Closed as an operator does it.
            handles
                .beads
                .act(caller, &BeadId::from_trusted(id), BeadAction::Close { reason: summary }, None)
                .await?;
        }
        (Kind::Bead, "statusChange" | "updateStatus") => bead_status(inner, caller, id, value).await?,
        (Kind::Decision, "resolve") => {
            let given = DecisionAnswer {
                decision: text(value, "decision")?,
                rationale: value.get("rationale").and_then(Value::as_str).map(str::to_owned),
                ..DecisionAnswer::default()
            };
            handles.decisions.answer(caller, &DecisionId::from_trusted(id), given).await?;
        }
        _ => return Err(CommandError::Invalid(format!("a {} knows no {wish:?}", kind.noun()))),
    }
    Ok(())
}

/// Brings a bead to a requested status by the action that leads there.
async fn bead_status(
    inner: &BridgeInner,
    caller: &Caller,
    id: &str,
    value: &Value,
) -> Result<(), CommandError> {
    let handles = &inner.handles;
    let wanted = text(value, "status")?;
    let wanted = arbiter_core::bead::Status::parse(&wanted)
        .ok_or_else(|| format!("no status of a bead is called {wanted:?}"))?;
    let bead = handles.store.bead(id.to_owned()).await?;
    let bead = bead.ok_or_else(|| Refusal::not_found("bead", id))?;
    let reason = value.get("reason").and_then(Value::as_str).map(str::to_owned);
    let reason = reason.unwrap_or_else(|| format!("set by {}", caller.name));
    let action = match StatusChange::to(&bead, wanted, reason)? {
        StatusChange::Act(action) => action,
        StatusChange::Claim => {
            let named = value.get("agent_id").and_then(Value::as_str).map(str::to_owned);
            let claimant = claimant(inner, caller, &bead, named).await?;
            handles.beads.claim(caller, &bead.id, claimant, None).await?;
            return Ok(());
        }
    };
    handles.beads.act(caller, &bead.id, action, None).await?;
    Ok(())
}

/// Picks the claimant of a bead: the named or the already assigned agent, else the caller.
async fn claimant(
    inner: &BridgeInner,
    caller: &Caller,
    bead: &Bead,
    named: Option<String>,
) -> Result<Claimant, CommandError> {
    let is_named = named.is_some();
    let Some(name) = named.or_else(|| bead.assigned_to.clone()) else {
        return Ok(Claimant::Person(caller.name.clone()));
    };
    match inner.handles.store.agent(name.clone()).await? {
        Some(agent) => Ok(Claimant::Agent(agent.id)),
        None if is_named => Err(Refusal::field("agent_id", format!("no agent has the id {name}")).into()),
        None => Ok(Claimant::Person(caller.name.clone())),
    }
}
