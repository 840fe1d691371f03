//! The queue of those who fetch their work: each request a line in it, served in the order of asking.
//!
//! Owns the requests that wait; everything else is read anew when something may have changed. Hears events, asks the
//! store for what is ready, asks beads to be claimed. No tick: it sleeps until an event, the end of the shortest wait or
//! the next retry. Restart: at once; requests that waited are answered as failed.

use crate::actor_kind::ActorKind;
use crate::bead::{BeadAction, BeadsHandle, ClaimedBead};
use crate::caller::Caller;
use crate::dispatch::DispatchContext;
use crate::dispatch::pull::{Command, PendingPull, PullRequest, PullsHandle};
use crate::dispatch::ready_beads::{ReadyFilter, ready_beads};
use crate::error::Error;
use crate::error::Reply;
use crate::runtime::cell::{Behavior, BehaviorContext};
use arbiter_core::agent::{Agent, Trigger};
use arbiter_core::bead::{Bead, Claimant};
use arbiter_core::dispatch::assign::{DispatchState, roles};
use arbiter_core::dispatch::pull::{self, Puller};
use arbiter_core::kernel::ids::{BeadId, ProjectId};
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::kernel::state_machine::StateMachine;
use arbiter_core::kernel::time::Timestamp;
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The name of the timer of what happens next without an event.
const NEXT: &str = "next";

/// A request in the queue.
struct WaitingPull {
    caller: Caller,
    request: PullRequest,
    until: Timestamp,
    answer: Reply<Option<ClaimedBead>>,
    /// Beads that others were faster to take.
    refused: BTreeSet<BeadId>,
}

/// The queue.
pub(crate) struct PullActor {
    context: BehaviorContext<Self>,
    waiting: Vec<WaitingPull>,
}

impl Behavior for PullActor {
    type Command = Command;
    type Host = DispatchContext;
    const KIND: ActorKind = ActorKind::Pull;

    fn new(context: BehaviorContext<Self>) -> Self {
        Self { context, waiting: Vec::new() }
    }

    async fn start(&mut self) {}

    async fn handle(&mut self, command: Command) {
        let shared = Arc::clone(&self.context.shared);
        match command {
            Command::Enqueue(pending) => {
                let PendingPull { caller, request, answer } = *pending;
                let until = shared.clock.now().plus(request.wait);
                self.waiting.push(WaitingPull { caller, request, until, answer, refused: BTreeSet::new() });
                // Simultaneous requests are served in one pass.
                PullsHandle(shared).wake();
            }
            Command::Recheck => {
                if let Err(error) = self.serve_pass().await {
                    tracing::warn!(%error, "those who wait for beads could not be served");
                    self.retry_if_waiting();
                }
            }
        }
    }
}

impl PullActor {
    /// Serves again a moment later, unless no request waits any more.
    fn retry_if_waiting(&self) {
        if !self.waiting.is_empty() {
            self.context.timers.set_retry(NEXT, Command::Recheck);
        }
    }

    /// Serves the waiting requests, answers the expired ones, and schedules the next pass.
    async fn serve_pass(&mut self) -> Result<(), Error> {
        let served = self.serve().await;
        let now = self.context.shared.clock.now();
        // A failing store must not delay a request beyond its requested wait.
        for late in self.waiting.extract_if(.., |one| one.until <= now) {
            late.answer.send(Ok(None));
        }
        let first = self.waiting.iter().map(|one| one.until).min();
        match first {
            None => self.context.timers.cancel(NEXT),
            Some(first) => {
                let due = self.context.shared.store.next_due(now).await.unwrap_or_default();
                let at = due.map_or(first, |due| due.min(first));
                self.context.timers.set(NEXT, at, Command::Recheck);
            }
        }
        served
    }

    async fn serve(&mut self) -> Result<(), Error> {
        loop {
            let agents = self.agents().await?;
            if self.waiting.is_empty() {
                return Ok(());
            }
            let store = &self.context.shared.store;
            if let (DispatchState::Parked(_), _) = store.dispatch_state().await? {
                return Ok(());
            }
            let shares = self.shares(&agents).await?;
            if shares.is_empty() || !self.claim(shares).await {
                return Ok(());
            }
            // Another claim took one of the beads: there may be another bead.
        }
    }

    /// The agents of those who wait. Who has gone, or may not be served, leaves the queue.
    async fn agents(&mut self) -> Result<Vec<Agent>, Error> {
        self.waiting.retain(|one| !one.answer.is_closed());
        let store = self.context.shared.store.clone();
        let known = store.started_agents().await?;
        let known: BTreeMap<&str, &Agent> = known.iter().map(|agent| (agent.id.as_str(), agent)).collect();
        let (mut agents, mut kept) = (Vec::new(), Vec::new());
        for one in std::mem::take(&mut self.waiting) {
            let id = one.request.agent_id.as_str();
            let agent = match known.get(id) {
                Some(agent) => Some((*agent).clone()),
                None => match store.agent(id.to_owned()).await {
                    Ok(agent) => agent,
                    Err(error) => {
                        one.answer.send(Err(error.into()));
                        continue;
                    }
                },
            };
            match check(agent, id) {
                Ok(agent) => {
                    agents.push(agent);
                    kept.push(one);
                }
                Err(refusal) => one.answer.send(Err(refusal.into())),
            }
        }
        self.waiting = kept;
        Ok(agents)
    }

    /// Assigns beads to the waiting requests; `agents` are theirs, in the same order.
    async fn shares(&self, agents: &[Agent]) -> Result<Vec<(usize, BeadId)>, Error> {
        let store = &self.context.shared.store;
        let load = store.load().await?;
        let pullers: Vec<Puller<'_>> = self
            .waiting
            .iter()
            .zip(agents)
            .map(|(one, agent)| Puller {
                agent,
                project: one.request.project_id.as_ref(),
                within: one.request.within.as_deref(),
                tags: &one.request.tags,
                refused: &one.refused,
            })
            .collect();
        let now = self.context.shared.clock.now();
        let searches = |project: &ProjectId| {
            // Requests with the same tags share one search.
            let mut wanted: BTreeMap<&[String], BTreeSet<String>> = BTreeMap::new();
            for puller in pullers.iter().filter(|puller| puller.can_pull_from(project)) {
                wanted.entry(puller.tags).or_default().extend(roles(puller.agent).map(str::to_owned));
            }
            let search = |(tags, roles): (&[String], BTreeSet<String>)| ReadyFilter {
                roles: roles.into_iter().collect(),
                tags: tags.to_vec(),
            };
            wanted.into_iter().map(search).collect()
        };
        let found = ready_beads(store, &load, now, searches).await?;
        let found: BTreeMap<BeadId, Bead> = found.into_iter().map(|bead| (bead.id.clone(), bead)).collect();
        Ok(pull::assign_pulls(&pullers, found.into_values().collect(), &load))
    }

    /// Claims the assigned beads concurrently. Returns true if a claim failed.
    async fn claim(&mut self, shares: Vec<(usize, BeadId)>) -> bool {
        let beads = self.context.shared.beads.clone();
        let mut shares: BTreeMap<usize, BeadId> = shares.into_iter().collect();
        let (mut kept, mut chosen) = (Vec::new(), Vec::new());
        for (place, one) in std::mem::take(&mut self.waiting).into_iter().enumerate() {
            match shares.remove(&place) {
                Some(bead) => chosen.push((one, bead)),
                None => kept.push(one),
            }
        }
        let claims = chosen.into_iter().map(|(mut one, bead)| {
            let beads = beads.clone();
            async move {
                // No bead is claimed for a caller that has gone.
                if one.answer.is_closed() {
                    return None;
                }
                let claimant = Claimant::Agent(one.request.agent_id.clone());
                match beads.claim(&one.caller, &bead, claimant, one.request.ttl_sec).await {
                    Ok(claimed) => {
                        if let Err(Ok(Some(claimed))) = one.answer.try_send(Ok(Some(claimed))) {
                            release_claim(&beads, &bead, claimed).await;
                        }
                        None
                    }
                    // Another claim was faster.
                    Err(Error::Refused(
                        Refusal::Transition { .. } | Refusal::Conflict { .. } | Refusal::NotFound { .. },
                    )) => {
                        one.refused.insert(bead);
                        Some(one)
                    }
                    Err(error) => {
                        one.answer.send(Err(error));
                        None
                    }
                }
            }
        });
        let unserved: Vec<WaitingPull> = join_all(claims).await.into_iter().flatten().collect();
        let is_any = !unserved.is_empty();
        // They asked before most of the others.
        self.waiting = unserved.into_iter().chain(kept).collect();
        is_any
    }
}

/// The agent, if it may be served.
fn check(agent: Option<Agent>, id: &str) -> Result<Agent, Refusal> {
    let agent = agent.ok_or_else(|| Refusal::field("agent_id", format!("no agent has the id {id}")))?;
    pull::check_kind(&agent)?;
    // As a claim refuses it.
    agent.status.step(id, Trigger::Assign)?;
    Ok(agent)
}

/// Releases the claim of a caller that has just gone: no other caller knows its token.
async fn release_claim(beads: &BeadsHandle, bead: &BeadId, claimed: ClaimedBead) {
    let reason = "the client that asked for it had gone".to_owned();
    let token = claimed.lease.map(|lease| lease.token);
    if let Err(error) = beads.act(&Caller::system(), bead, BeadAction::Release { reason }, token).await {
        tracing::warn!(%bead, %error, "a claimed bead that reached no client could not be given back; its lease will expire");
    }
}
