//! What strangers wish of an entity, as the one trigger of its actor that leads there.
//!
//! Owns the words of wishes. Whether one is allowed is the actor's to say.

use crate::bridge::Inner;
use arbiter_actors::{BeadAction, BeadWay, Caller, Fault, GivenAnswer};
use arbiter_core::bead::{Bead, Claimant};
use arbiter_core::kernel::ids::{AgentId, BeadId, DecisionId};
use arbiter_core::kernel::refusal::Refusal;
use arbiter_temporal::codec::names::Kind;
use arbiter_temporal::codec::payload::text;
use serde_json::Value;

/// Why a wish was not fulfilled.
pub enum Wrong {
    /// It makes no sense, in these words.
    Words(String),
    /// The actor did not do it.
    Fault(Fault),
}

impl From<String> for Wrong {
    fn from(words: String) -> Self {
        Self::Words(words)
    }
}

impl From<Fault> for Wrong {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Refusal> for Wrong {
    fn from(refusal: Refusal) -> Self {
        Self::Fault(refusal.into())
    }
}

impl From<arbiter_store::StoreError> for Wrong {
    fn from(error: arbiter_store::StoreError) -> Self {
        Self::Fault(error.into())
    }
}

/// Does what is wished for.
///
/// # Errors
/// [`Wrong`].
pub async fn fulfil(
    inner: &Inner,
    caller: &Caller,
    kind: Kind,
    id: &str,
    wish: &str,
    value: &Value,
) -> Result<(), Wrong> {
    let handles = &inner.handles;
    let reason = || value.get("reason").and_then(Value::as_str).map(str::to_owned);
    match (kind, wish) {
        (Kind::Agent, "updateStatus") => {
            let status = text(value, "status")?;
            handles.agents.set_status(caller, &AgentId::known(id), &status, reason()).await?;
        }
        (Kind::Agent, "assignBead") => {
            let bead = BeadId::known(text(value, "bead_id")?);
            handles.agents.assign(caller, &AgentId::known(id), &bead).await?;
        }
        (Kind::Agent, "shutdown") => {
            let why = text(value, "reason").ok();
            handles.agents.shutdown(caller, &AgentId::known(id), why).await?;
        }
        (Kind::Bead, "assignToAgent") => {
            let agent = AgentId::known(text(value, "agent_id")?);
            handles.beads.claim(caller, &BeadId::known(id), Claimant::Agent(agent), None).await?;
        }
        (Kind::Bead, "complete") => {
            let summary = text(value, "summary")?;
            // From outside, as an operator closes one.
            handles
                .beads
                .act(caller, &BeadId::known(id), BeadAction::Close { reason: summary }, None)
                .await?;
        }
        (Kind::Bead, "statusChange" | "updateStatus") => bead_status(inner, caller, id, value).await?,
        (Kind::Decision, "resolve") => {
            let given = GivenAnswer {
                decision: text(value, "decision")?,
                rationale: value.get("rationale").and_then(Value::as_str).map(str::to_owned),
                ..GivenAnswer::default()
            };
            handles.decisions.answer(caller, &DecisionId::known(id), given).await?;
        }
        _ => return Err(Wrong::Words(format!("a {} knows no {wish:?}", kind.noun()))),
    }
    Ok(())
}

/// The one trigger that leads to a status, with its rules.
async fn bead_status(inner: &Inner, caller: &Caller, id: &str, value: &Value) -> Result<(), Wrong> {
    let handles = &inner.handles;
    let wanted = text(value, "status")?;
    let wanted = arbiter_core::bead::Status::parse(&wanted)
        .ok_or_else(|| format!("no status of a bead is called {wanted:?}"))?;
    let bead = handles.store.bead(id.to_owned()).await?;
    let bead = bead.ok_or_else(|| Refusal::not_found("bead", id))?;
    let reason = value.get("reason").and_then(Value::as_str).map(str::to_owned);
    let reason = reason.unwrap_or_else(|| format!("set by {}", caller.name));
    let action = match BeadWay::to(&bead, wanted, reason)? {
        BeadWay::Act(action) => action,
        BeadWay::Claim => {
            let named = value.get("agent_id").and_then(Value::as_str).map(str::to_owned);
            let claimant = claimant(inner, caller, &bead, named).await?;
            handles.beads.claim(caller, &bead.id, claimant, None).await?;
            return Ok(());
        }
    };
    handles.beads.act(caller, &bead.id, action, None).await?;
    Ok(())
}

/// Who takes a bead: the named or the already assigned agent, else the person who says it.
async fn claimant(
    inner: &Inner,
    caller: &Caller,
    bead: &Bead,
    named: Option<String>,
) -> Result<Claimant, Wrong> {
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
