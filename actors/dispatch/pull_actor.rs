//! The queue of those who fetch their work: each request a line in it, served in the order of asking.
//!
//! Owns the requests that wait; everything else is read anew when something may have changed. Hears events, asks the
//! store for what is ready, asks beads to be claimed. No tick: it sleeps until an event, the end of the shortest wait or
//! the next retry. Restart: at once; requests that waited are answered as failed.

use crate::bead::{BeadAction, BeadsHandle, Claimed};
use crate::caller::Caller;
use crate::dispatch::pull::{Answer, Command, PullWish, PullsHandle, Request};
use crate::dispatch::ready_beads::{Search, ready_beads};
use crate::error::Fault;
use crate::runtime::cell::{Role, Scope};
use arbiter_core::agent::{Agent, Trigger};
use arbiter_core::bead::{Bead, Claimant};
use arbiter_core::dispatch::assign::{Operation, roles};
use arbiter_core::dispatch::pull::{self, Seeker};
use arbiter_core::kernel::ids::{BeadId, ProjectId};
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::kernel::state_machine::Machine;
use arbiter_core::kernel::time::Timestamp;
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The name of the timer of what happens next without an event.
const NEXT: &str = "next";

/// A request in the queue.
struct Waiting {
    caller: Caller,
    wish: PullWish,
    until: Timestamp,
    answer: Answer,
    /// Beads that others were faster to take.
    refused: BTreeSet<BeadId>,
}

/// The queue.
pub(crate) struct PullActor {
    scope: Scope<Self>,
    waiting: Vec<Waiting>,
}

impl Role for PullActor {
    type Command = Command;
    const KIND: &'static str = "pull";

    fn new(scope: Scope<Self>) -> Self {
        Self { scope, waiting: Vec::new() }
    }

    async fn start(&mut self) {}

    async fn handle(&mut self, command: Command) {
        let shared = Arc::clone(&self.scope.shared);
        match command {
            Command::Seek(request) => {
                let Request { caller, wish, answer } = *request;
                let until = shared.clock.now().plus(wish.wait);
                self.waiting.push(Waiting { caller, wish, until, answer, refused: BTreeSet::new() });
                // Those that came at the same time are looked at together.
                PullsHandle(shared).look_now();
            }
            Command::Look => {
                // Cleared before the look: what happens from here on is a new reason.
                shared.queue.look_wanted.store(false, Ordering::Release);
                if let Err(fault) = self.pass().await {
                    tracing::warn!(%fault, "those who wait for beads could not be served");
                }
            }
        }
    }
}

impl PullActor {
    /// Serves whom it can, answers whose time is over, and plans the next look.
    async fn pass(&mut self) -> Result<(), Fault> {
        let served = self.serve().await;
        let now = self.scope.shared.clock.now();
        // A store that fails is no reason to keep anybody waiting for longer than was asked.
        for late in self.waiting.extract_if(.., |one| one.until <= now) {
            let _ = late.answer.send(Ok(None));
        }
        let first = self.waiting.iter().map(|one| one.until).min();
        match first {
            None => self.scope.timers.cancel(NEXT),
            Some(first) => {
                let due = self.scope.shared.store.next_due(now).await.unwrap_or_default();
                let at = due.map_or(first, |due| due.min(first));
                self.scope.timers.set(NEXT, at, Command::Look);
            }
        }
        served
    }

    async fn serve(&mut self) -> Result<(), Fault> {
        loop {
            let agents = self.agents().await?;
            if self.waiting.is_empty() {
                return Ok(());
            }
            let store = &self.scope.shared.store;
            if let (Operation::Parked(_), _) = store.operation().await? {
                return Ok(());
            }
            let shares = self.shares(&agents).await?;
            if shares.is_empty() || !self.claim(shares).await {
                return Ok(());
            }
            // Somebody else was faster with one of them: there may be another.
        }
    }

    /// The agents of those who wait. Who has gone, or may not be served, leaves the queue.
    async fn agents(&mut self) -> Result<Vec<Agent>, Fault> {
        self.waiting.retain(|one| !one.answer.is_closed());
        let store = self.scope.shared.store.clone();
        let known = store.employed_agents().await?;
        let known: BTreeMap<&str, &Agent> = known.iter().map(|agent| (agent.id.as_str(), agent)).collect();
        let (mut agents, mut kept) = (Vec::new(), Vec::new());
        for one in std::mem::take(&mut self.waiting) {
            let id = one.wish.agent_id.as_str();
            let agent = match known.get(id) {
                Some(agent) => Some((*agent).clone()),
                None => store.agent(id.to_owned()).await.unwrap_or_default(),
            };
            match check(agent, id) {
                Ok(agent) => {
                    agents.push(agent);
                    kept.push(one);
                }
                Err(refusal) => drop(one.answer.send(Err(refusal.into()))),
            }
        }
        self.waiting = kept;
        Ok(agents)
    }

    /// Who is to get what; `agents` are those of the waiting, in their order.
    async fn shares(&self, agents: &[Agent]) -> Result<Vec<(usize, BeadId)>, Fault> {
        let store = &self.scope.shared.store;
        let load = store.load().await?;
        let seekers: Vec<Seeker<'_>> = self
            .waiting
            .iter()
            .zip(agents)
            .map(|(one, agent)| Seeker {
                agent,
                project: one.wish.project_id.as_ref(),
                within: one.wish.within.as_deref(),
                tags: &one.wish.tags,
                refused: &one.refused,
            })
            .collect();
        let now = self.scope.shared.clock.now();
        let searches = |project: &ProjectId| {
            // Those who want the same tags look at the same beads.
            let mut wanted: BTreeMap<&[String], BTreeSet<String>> = BTreeMap::new();
            for seeker in seekers.iter().filter(|seeker| seeker.seeks_in(project)) {
                wanted.entry(seeker.tags).or_default().extend(roles(seeker.agent).map(str::to_owned));
            }
            let search = |(tags, roles): (&[String], BTreeSet<String>)| Search {
                roles: roles.into_iter().collect(),
                tags: tags.to_vec(),
            };
            wanted.into_iter().map(search).collect()
        };
        let found = ready_beads(store, &load, now, searches).await?;
        let found: BTreeMap<BeadId, Bead> = found.into_iter().map(|bead| (bead.id.clone(), bead)).collect();
        Ok(pull::share(&seekers, found.into_values().collect(), &load))
    }

    /// Claims beads for those who are to get them, all at once. Answers whether somebody was disappointed.
    async fn claim(&mut self, shares: Vec<(usize, BeadId)>) -> bool {
        let beads = BeadsHandle(Arc::clone(&self.scope.shared));
        let mut shares: BTreeMap<usize, BeadId> = shares.into_iter().collect();
        let (mut kept, mut lucky) = (Vec::new(), Vec::new());
        for (place, one) in std::mem::take(&mut self.waiting).into_iter().enumerate() {
            match shares.remove(&place) {
                Some(bead) => lucky.push((one, bead)),
                None => kept.push(one),
            }
        }
        let claims = lucky.into_iter().map(|(mut one, bead)| {
            let beads = beads.clone();
            async move {
                // Nothing is claimed for somebody who is not there any more.
                if one.answer.is_closed() {
                    return None;
                }
                let claimant = Claimant::Agent(one.wish.agent_id.clone());
                match beads.claim(&one.caller, &bead, claimant, one.wish.ttl_sec).await {
                    Ok(claimed) => {
                        if let Err(Ok(Some(claimed))) = one.answer.send(Ok(Some(claimed))) {
                            give_back(&beads, &bead, claimed).await;
                        }
                        None
                    }
                    // Somebody else was faster.
                    Err(Fault::Refused(
                        Refusal::Transition { .. } | Refusal::Conflict { .. } | Refusal::NotFound { .. },
                    )) => {
                        one.refused.insert(bead);
                        Some(one)
                    }
                    Err(fault) => {
                        let _ = one.answer.send(Err(fault));
                        None
                    }
                }
            }
        });
        let disappointed: Vec<Waiting> = join_all(claims).await.into_iter().flatten().collect();
        let is_any = !disappointed.is_empty();
        // They asked before most of the others.
        self.waiting = disappointed.into_iter().chain(kept).collect();
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

/// Gives back what was claimed for somebody who went away in that moment: nobody else knows its token.
async fn give_back(beads: &BeadsHandle, bead: &BeadId, claimed: Claimed) {
    let reason = "whoever asked for it had gone".to_owned();
    let token = claimed.lease.map(|lease| lease.token);
    if let Err(fault) = beads.act(&Caller::system(), bead, BeadAction::Release { reason }, token).await {
        tracing::warn!(%bead, %fault, "a bead that nobody received could not be given back; its lease runs out");
    }
}
