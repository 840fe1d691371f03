//! A client that goes away in the middle of its request leaves no change half done, and one that asks about things
//! that do not exist leaves no actor behind.

use crate::notices::until;
use crate::stage::{ParseId, Stage, manual_clock, me};
use arbiter_actors::{AgentClone, Cascade, Error, Handles, NewToken, Settings};
use arbiter_core::agent::edit::{AgentPatch, NewAgent};
use arbiter_core::agent::{Kind, Status};
use arbiter_core::decision::edit::NewDecision;
use arbiter_core::kernel::call::CallOutcome;
use arbiter_core::kernel::event::{EventFilter, TypePattern};
use arbiter_core::kernel::ids::AgentId;
use arbiter_core::kernel::initial_status::InitialStatus;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::kernel::token::Role;
use arbiter_testkit::Script;
use futures_util::FutureExt;
use secrecy::ExposeSecret;
use std::sync::Arc;
use std::time::Duration;

/// Rounds of a test in which the client leaves at an event, which may come late.
const ROUNDS: u32 = 8;

fn external(id: &str, status: InitialStatus) -> NewAgent {
    NewAgent {
        id: Some(id.to_owned()),
        name: id.to_owned(),
        kind: Some(Kind::External),
        status,
        ..NewAgent::default()
    }
}

async fn status_of(h: &Handles, id: &str) -> Option<Status> {
    h.store.agent(id.to_owned()).await.unwrap().map(|agent| agent.status)
}

async fn until_idle(h: &Handles, id: &str) {
    let wait = async {
        while status_of(h, id).await != Some(Status::Idle) {
            tokio::task::yield_now().await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), wait).await;
    assert!(ended.is_ok(), "agent {id} is {:?}", status_of(h, id).await);
}

/// Lets a request go on until an event of this type about this subject, and drops it then.
async fn leave_at<T>(h: &Handles, kind: &str, subject: &str, request: impl Future<Output = T>) {
    let types = TypePattern::parse_list(kind).unwrap();
    let filter = EventFilter { types, subject: Some(subject.to_owned()), ..EventFilter::default() };
    let (_, last) = h.store.event_bounds().await.unwrap();
    let mut events = h.bus.subscribe(filter, Some(last)).await.unwrap();
    tokio::select! {
        biased;
        _ = events.next() => {}
        _ = request => {}
    }
}

async fn living(h: &Handles, kind: &str) -> usize {
    let status = h.orchestrator.status().await.unwrap();
    status.actors.into_iter().find(|(name, _)| name == kind).unwrap().1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_change_counts_when_its_client_leaves() {
    let mut stage = Stage::new().await;
    let h = stage.h().clone();
    let text = h.tokens.generate_text();
    let new = NewToken::of_person("bob", Role::Viewer);
    // Polled once: the unit is on its way to the writer, and the client is gone.
    assert!(h.tokens.create_with_text(&me(), new, &text).now_or_never().is_none());
    let shown = || h.tokens.authenticate(text.expose_secret());
    until("the new token does not count", || shown().is_some()).await;

    let token = shown().unwrap();
    assert!(h.tokens.begin_session(&token, Duration::from_secs(60)).now_or_never().is_none());
    let (session, _) = h.tokens.begin_session(&token, Duration::from_secs(60)).await.unwrap();
    let signed_in = h.tokens.authenticate_session(session.expose_secret()).unwrap();
    let digest = signed_in.session().unwrap();
    assert!(h.tokens.end_session(&me(), digest).now_or_never().is_none());
    until("the session goes on", || h.tokens.authenticate_session(session.expose_secret()).is_none()).await;

    assert!(h.tokens.revoke(&me(), &token.token.id).now_or_never().is_none());
    until("the revoked token still counts", || shown().is_none()).await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_becomes_idle_when_its_client_leaves() {
    let mut stage = Stage::new().await;
    let h = stage.h().clone();
    assert!(h.agents.create(&me(), external("made", InitialStatus::Active)).now_or_never().is_none());
    until_idle(&h, "made").await;
    for round in 0..ROUNDS {
        let id = AgentId::from_trusted(format!("a{round}"));
        h.agents.create(&me(), external(id.as_str(), InitialStatus::Inactive)).await.unwrap();
        leave_at(&h, "agent.spawned", id.as_str(), h.agents.activate(&me(), &id)).await;
        until_idle(&h, id.as_str()).await;
        h.agents.shutdown(&me(), &id, None).await.unwrap();
        leave_at(&h, "agent.*", id.as_str(), h.agents.restart(&me(), &id)).await;
        until_idle(&h, id.as_str()).await;
        h.agents.shutdown(&me(), &id, None).await.unwrap();
        let caller = me();
        let active = h.agents.edit(&caller, &id, AgentPatch::default(), Some("active".into()));
        leave_at(&h, "agent.*", id.as_str(), active).await;
        until_idle(&h, id.as_str()).await;
        let copy = format!("c{round}");
        let wanted = AgentClone { id: Some(copy.clone()), name: copy.clone(), ..AgentClone::default() };
        leave_at(&h, "agent.*", &copy, h.agents.clone_agent(&me(), &id, wanted)).await;
        until_idle(&h, &copy).await;
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletion_is_completed_when_its_client_leaves() {
    let mut stage = Stage::new().await;
    let _provider = stage.setup(Script::default(), &[]).await;
    let h = stage.h().clone();
    for round in 0..ROUNDS {
        let id = AgentId::from_trusted(format!("a{round}"));
        h.agents.create(&me(), external(id.as_str(), InitialStatus::Active)).await.unwrap();
        let new = NewToken {
            role: Role::Agent,
            user: None,
            agent_id: Some(id.to_string()),
            ..NewToken::of_person("agent", Role::Agent)
        };
        let (_, text) = h.tokens.create(&me(), new).await.unwrap();
        leave_at(&h, "agent.deleted", id.as_str(), h.agents.delete(&me(), &id, Cascade::No)).await;
        let shown = || h.tokens.authenticate(text.expose_secret());
        until("the token of a deleted agent still counts", || shown().is_none()).await;
    }
    // The key goes with the provider, or no provider of this id could have one again.
    let id = "scripted".parse_id();
    leave_at(&h, "provider.deleted", "scripted", h.projects.delete_provider(&me(), &id, Cascade::No)).await;
    until("the key of a deleted provider stays", || h.vault.entries().is_empty()).await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadline_is_watched_when_the_asking_client_leaves() {
    let mut stage = Stage::new().await;
    let _provider = stage.setup(Script::default(), &[]).await;
    let h = stage.h().clone();
    let before = living(&h, "decision").await;
    let new = NewDecision::question("p", "Which?");
    assert!(h.decisions.create(&me(), new).now_or_never().is_none());
    let wait = async {
        while living(&h, "decision").await == before {
            tokio::task::yield_now().await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(60), wait).await.is_ok(),
        "no actor watches the deadline"
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_id_starts_no_actor_that_stays() {
    let clock = manual_clock();
    let settings = Settings { kdf_iterations: 100_000, ..Settings::default() };
    let mut stage = Stage::with(settings, Arc::new(clock.clone())).await;
    let h = stage.h().clone();
    let not_found = |outcome: Result<(), Error>| {
        assert!(matches!(outcome, Err(Error::Refused(Refusal::NotFound { .. }))), "{outcome:?}");
    };
    let (provider, agent) = ("nope".parse_id(), AgentId::from_trusted("nope"));
    not_found(h.providers.models(&provider).await.map(drop));
    not_found(h.providers.key(&me(), &provider).await.map(drop));
    not_found(h.providers.enable(&me(), &provider).await.map(drop));
    not_found(h.providers.disable(&me(), &provider).await.map(drop));
    not_found(h.providers.heartbeat(&provider).await.map(drop));
    not_found(h.agents.shutdown(&me(), &agent, None).await.map(drop));
    not_found(h.agents.restart(&me(), &agent).await.map(drop));
    not_found(h.agents.edit(&me(), &agent, AgentPatch::default(), None).await.map(drop));
    for kind in ["provider", "heartbeat", "agent"] {
        assert_eq!(living(&h, kind).await, 0, "{kind}");
    }
    // A call may end after its provider was deleted.
    h.providers.observe(&provider, CallOutcome::Answered);
    let wait = async {
        while living(&h, "provider").await > 0 {
            clock.advance(Duration::from_secs(61));
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), wait).await.is_ok(), "the actor stays for ever");
    stage.stop().await;
}
