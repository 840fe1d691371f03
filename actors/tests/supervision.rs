//! A panic anywhere is answered, the actor comes back from the store, the others do not notice.

use crate::notices::{self, subjects, telling};
use crate::stage::{ParseId, Stage, me};
use arbiter_actors::{Error, FileDialect, LockRequest, PullRequest, Settings, SystemClock};
use arbiter_core::agent;
use arbiter_core::agent::edit::AgentPatch;
use arbiter_core::bead::{Claimant, Status};
use arbiter_core::decision::edit::NewDecision;
use arbiter_core::kernel::event::EventFilter;
use arbiter_core::kernel::ids::{AgentId, BeadId, DecisionId, ProjectId};
use arbiter_core::project::edit::ProjectPatch;
use arbiter_core::provider::edit::ProviderPatch;
use arbiter_testkit::{ResponseMode, Script, WebhookReceiver};
use secrecy::SecretString;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Panics of one actor until a request meets one; more than five would use up the actor's restart budget.
const ROUNDS: u32 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panicked_actor_answers_crashed_and_restarts_with_its_state() {
    let mut stage = Stage::new().await;
    let _provider = stage.setup(Script::default(), &[]).await;
    let h = stage.h().clone();
    stage.bead("b", 2, &[]).await;
    let agent = arbiter_core::agent::edit::NewAgent {
        id: Some("a".into()),
        name: "A".into(),
        kind: Some(agent::Kind::External),
        ..Default::default()
    };
    h.agents.create(&me(), agent).await.unwrap();
    let asked = h.decisions.create(&me(), NewDecision::question("p", "Which?")).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join(".beads").to_str().unwrap().to_owned();
    let patch = ProjectPatch { beads_path: Some(Some(path)), ..ProjectPatch::default() };
    h.projects.update(&me(), &ProjectId::from_trusted("p"), patch).await.unwrap();
    let mut events = h.bus.subscribe(EventFilter::default(), None).await.unwrap();

    let (bead, agent, project) =
        (BeadId::from_trusted("b"), AgentId::from_trusted("a"), ProjectId::from_trusted("p"));
    let decision = DecisionId::from_trusted(asked.id.as_str());
    let provider = "scripted".parse_id();
    let kinds = [
        "bead",
        "agent",
        "project",
        "provider",
        "heartbeat",
        "vault",
        "pull",
        "file_locks",
        "bead_files",
        "decision",
    ];
    for kind in kinds {
        let id = match kind {
            "bead" => "b",
            "agent" => "a",
            "project" | "file_locks" | "bead_files" => "p",
            "decision" => decision.as_str(),
            "vault" | "pull" => "main",
            _ => "scripted",
        };
        let touch = async || -> Result<(), Error> {
            match kind {
                "bead" => drop(h.beads.comment(&me(), &bead, "hello".into()).await?),
                "agent" => {
                    let patch = AgentPatch { description: Some("new".into()), ..AgentPatch::default() };
                    drop(h.agents.edit(&me(), &agent, patch, None).await?);
                }
                "project" => drop(h.projects.update(&me(), &project, ProjectPatch::default()).await?),
                "provider" => {
                    drop(h.providers.update(&me(), &provider, ProviderPatch::default(), None, None).await?);
                }
                "pull" => {
                    let wish = PullRequest {
                        agent_id: agent.clone(),
                        project_id: None,
                        within: None,
                        tags: vec!["nobody's".into()],
                        ttl_sec: None,
                        wait: Duration::ZERO,
                    };
                    assert_eq!(h.pulls.next(&me(), wish).await?, None);
                }
                "file_locks" => {
                    let paths = Some(vec!["src/main.rs".into()]);
                    let wish = LockRequest { paths, agent_id: None, bead_id: None, ttl_sec: None };
                    assert_eq!(h.file_locks.acquire(&me(), &project, wish).await?.len(), 1);
                }
                "bead_files" => drop(h.bead_files.export_project_file(&project, FileDialect::Bd).await?),
                "heartbeat" => drop(h.providers.heartbeat(&provider).await?),
                "vault" => {
                    let wrong = SecretString::from("wrong");
                    match h.vault.unlock(&me(), wrong).await {
                        // Unlocked already: the refusal is the answer of a living actor.
                        Err(Error::Refused(_)) => {}
                        other => drop(other?),
                    }
                }
                _ => match h.decisions.decide(&me(), &decision, String::new(), None).await {
                    Ok(_) | Err(Error::Refused(_)) => {}
                    Err(error) => return Err(error),
                },
            }
            Ok(())
        };
        let mut has_crashed = false;
        for _ in 0..ROUNDS {
            // A message of its own timer may come first and take the panic.
            h.fault_injection().panic(kind, id, 1);
            match touch().await {
                Ok(()) => {
                    // The restart has set a timer, which would take the next panic as well: it goes first.
                    touch().await.unwrap_or_else(|error| panic!("{kind} is not back: {error}"));
                    continue;
                }
                Err(Error::Crashed { .. }) => {}
                Err(other) => panic!("{kind}: {other}"),
            }
            // The very next message is answered by the restarted actor.
            touch().await.unwrap_or_else(|error| panic!("{kind} is not back: {error}"));
            has_crashed = true;
            break;
        }
        assert!(has_crashed, "{kind} never panicked in the handler of a request");
        // Its siblings and the stream go on: the restart is told.
        loop {
            let arbiter_actors::Delivery::Event(event) = events.next().await else {
                panic!("the stream ended")
            };
            if event.kind.as_str() == "actor.restarted" && event.data["kind"] == kind {
                assert_eq!(event.subject, id);
                break;
            }
        }
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panicked_bus_and_dispatcher_lose_no_event_and_no_bead() {
    let mut stage = Stage::new().await;
    let _provider = stage.setup(Script::default(), &["one"]).await;
    let h = stage.h().clone();
    let mut events = h.bus.subscribe(EventFilter::default(), None).await.unwrap();
    let first = events.position() + 1;
    for round in 0..3 {
        h.fault_injection().panic("event_bus", "main", 1);
        h.fault_injection().panic("dispatcher", "main", 1);
        stage.bead(&format!("b{round}"), 2, &[]).await;
        stage.until(&format!("b{round}"), Status::Closed).await;
    }
    let (_, last) = h.store.event_bounds().await.unwrap();
    for expected in first..=last {
        let arbiter_actors::Delivery::Event(event) = events.next().await else { panic!("the stream ended") };
        assert_eq!(event.seq, expected);
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panicked_notifier_sends_each_remaining_notice_once() {
    let receiver = WebhookReceiver::start(ResponseMode::Status(204)).await;
    let mut stage = telling(&receiver, Arc::new(SystemClock)).await;
    let _provider = stage.setup(Script::default(), &[]).await;
    let h = stage.h().clone();
    let state = || h.notifier.state().unwrap();
    let mut events = h.bus.subscribe(EventFilter::default(), None).await.unwrap();
    let mut asked = vec![notices::ask(&stage).await.to_string()];
    notices::until("the first is not taken", || state().taken == 1).await;
    for round in 2..=4 {
        h.fault_injection().panic("notifier", "main", 1);
        asked.push(notices::ask(&stage).await.to_string());
        notices::until("what is left is not told", || state().taken == round).await;
        // Not the news of a decision brought it back, but its own beginning: no other one comes.
        loop {
            let arbiter_actors::Delivery::Event(event) = events.next().await else {
                panic!("the stream ended")
            };
            if event.kind.as_str() == "actor.restarted" && event.data["kind"] == "notifier" {
                assert_eq!(event.subject, "main");
                break;
            }
        }
    }
    // Nor does one that starts with the process.
    stage.stop().await;
    stage.start().await;
    asked.push(notices::ask(&stage).await.to_string());
    let h = stage.h().clone();
    notices::until("it is silent after a restart", || h.notifier.state().unwrap().taken == 1).await;
    assert_eq!(subjects(&receiver), asked);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_in_a_crash_loop_is_blocked_with_the_reason() {
    let mut stage = Stage::new().await;
    let _provider = stage.setup(Script::default(), &["one"]).await;
    let h = stage.h().clone();
    let mut events = h.bus.subscribe(EventFilter::default(), None).await.unwrap();
    h.fault_injection().panic("agent", "one", 6);
    let id = AgentId::from_trusted("one");
    for _ in 0..6 {
        let crashed = h.agents.edit(&me(), &id, AgentPatch::default(), None).await;
        assert!(matches!(crashed, Err(Error::Crashed { .. })), "{crashed:?}");
    }
    loop {
        let arbiter_actors::Delivery::Event(event) = events.next().await else { panic!("the stream ended") };
        if event.kind.as_str() == "agent.status_change" && event.data["new"] == "blocked" {
            break;
        }
    }
    let row = h.store.agent("one".into()).await.unwrap().unwrap();
    assert!(row.status_reason.unwrap().starts_with("crash-loop"));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_mailbox_answers_busy() {
    let settings = Settings { mailbox: 4, kdf_iterations: 100_000, ..Settings::default() };
    let mut stage = Stage::with(settings, Arc::new(SystemClock)).await;
    let _provider = stage.setup(Script::default(), &[]).await;
    stage.bead("b", 2, &[]).await;
    let h = stage.h().clone();
    let calls = (0..64).map(|_| {
        let h = h.clone();
        tokio::spawn(async move { h.beads.comment(&me(), &BeadId::from_trusted("b"), "x".into()).await })
    });
    let outcomes = futures_util::future::join_all(calls).await;
    let done = outcomes.iter().filter(|o| matches!(o, Ok(Ok(_)))).count();
    let busy = outcomes.iter().filter(|o| matches!(o, Ok(Err(Error::Busy(_))))).count();
    assert_eq!(done + busy, 64);
    assert!(done >= 4 && busy > 0, "{done} done, {busy} busy");
    let comments = h.store.bead_comments("b".into(), arbiter_store::PageRequest { limit: 100, cursor: None });
    assert_eq!(comments.await.unwrap().items.len(), done);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_actor_is_retired_but_not_that_of_a_claimed_bead() {
    let clock = crate::stage::manual_clock();
    let mut stage =
        Stage::with(Settings { kdf_iterations: 100_000, ..Settings::default() }, Arc::new(clock.clone()))
            .await;
    let _provider = stage.setup(Script::default(), &[]).await;
    let h = stage.h().clone();
    stage.bead("held", 2, &[]).await;
    stage.bead("idle", 2, &[]).await;
    let agent = arbiter_core::agent::edit::NewAgent {
        id: Some("outside".into()),
        name: "Outside".into(),
        kind: Some(agent::Kind::External),
        ..Default::default()
    };
    h.agents.create(&me(), agent).await.unwrap();
    let claimant = Claimant::Agent(AgentId::from_trusted("outside"));
    h.beads.claim(&me(), &BeadId::from_trusted("held"), claimant, Some(3600)).await.unwrap();
    h.beads.comment(&me(), &BeadId::from_trusted("idle"), "x".into()).await.unwrap();
    let beads = async || {
        let status = h.orchestrator.status().await.unwrap();
        status.actors.into_iter().find(|(kind, _)| kind == "bead").unwrap().1
    };
    assert_eq!(beads().await, 2);
    let deadline = Instant::now() + Duration::from_secs(60);
    while beads().await != 1 {
        clock.advance(Duration::from_secs(61));
        tokio::task::yield_now().await;
        assert!(Instant::now() < deadline, "the idle actor stays");
    }
    // Addressed again it is there again.
    h.beads.comment(&me(), &BeadId::from_trusted("idle"), "y".into()).await.unwrap();
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panicked_orchestrator_restarts_and_keeps_counting() {
    let mut stage = Stage::new().await;
    let _provider = stage.setup(Script::default(), &[]).await;
    stage.bead("b", 2, &[]).await;
    let h = stage.h().clone();
    let mut events = h.bus.subscribe(EventFilter::default(), None).await.unwrap();
    let mut restarted = async |kind: &str| loop {
        let arbiter_actors::Delivery::Event(event) = events.next().await else { panic!("the stream ended") };
        if event.kind.as_str() == "actor.restarted" && event.data["kind"] == kind {
            break;
        }
    };
    // The root fails when it is woken for the failure of the bead, which waits for it meanwhile.
    h.fault_injection().panic("orchestrator", "main", 1);
    h.fault_injection().panic("bead", "b", 1);
    let bead = BeadId::from_trusted("b");
    let crashed = h.beads.comment(&me(), &bead, "x".into()).await;
    assert!(matches!(crashed, Err(Error::Crashed { .. })), "{crashed:?}");
    restarted("bead").await;
    restarted("orchestrator").await;
    h.beads.comment(&me(), &bead, "y".into()).await.unwrap();
    h.fault_injection().panic("bead", "b", 1);
    assert!(h.beads.comment(&me(), &bead, "z".into()).await.is_err());
    restarted("bead").await;
    stage.stop().await;
}
