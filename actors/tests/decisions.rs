//! People decide: critical beads, questions of agents, failed attempts, deadlines.

use crate::stage::{Stage, manual_clock, me};
use arbiter_actors::{Cascade, Delivery, Error, Handles, Settings};
use arbiter_core::agent;
use arbiter_core::agent::edit::NewAgent;
use arbiter_core::bead::{Claimant, Status};
use arbiter_core::decision::edit::{DecisionWait, NewDecision};
use arbiter_core::decision::{self, Decision, Purpose};
use arbiter_core::kernel::event::{EventFilter, TypePattern};
use arbiter_core::kernel::ids::{AgentId, BeadId, DecisionId, ProjectId};
use arbiter_store::EventRange;
use arbiter_testkit::{Reply, Script};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

async fn asked(h: &Handles, bead: &str) -> Decision {
    let filter =
        EventFilter { types: TypePattern::parse_list("decision.created").unwrap(), ..EventFilter::default() };
    let mut events = h.bus.subscribe(filter, Some(0)).await.unwrap();
    let wait = async {
        loop {
            let Delivery::Event(event) = events.next().await else { panic!("the stream ended") };
            if event.data["bead_id"] == bead {
                return h.store.decision(event.subject.clone()).await.unwrap().unwrap();
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("no question was asked")
}

fn quick() -> Settings {
    Settings { kdf_iterations: 100_000, backoff_base: Duration::from_millis(1), ..Settings::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn critical_bead_runs_only_after_approval() {
    let mut stage = Stage::new().await;
    let _provider = stage.setup(Script::default(), &["one"]).await;
    stage.bead("urgent", 0, &[]).await;
    let h = stage.h().clone();
    let decision = asked(&h, "urgent").await;
    assert_eq!(decision.purpose, Purpose::Approval);
    let why = h.dispatcher.why(&BeadId::from_trusted("urgent"), None).await.unwrap();
    assert!(why[0].contains("waits for the decision"), "{why:?}");
    let refused = h.decisions.decide(&me(), &decision.id, "maybe".into(), None).await;
    assert!(matches!(refused, Err(Error::Refused(_))));
    h.decisions.decide(&me(), &decision.id, "approve".into(), None).await.unwrap();
    stage.until("urgent", Status::Closed).await;
    let twice = h.decisions.decide(&me(), &decision.id, "deny".into(), None).await;
    assert!(matches!(twice, Err(Error::Refused(_))));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_question_blocks_bead_and_answer_is_in_next_prompt() {
    let mut stage = Stage::new().await;
    let script = Script::answering(|chat| {
        if chat.number == 1 {
            Reply::tool("ask_decision", json!({"question": "Which colour?", "options": ["red", "blue"]}))
        } else {
            Reply::tool("finish", json!({"summary": "painted"}))
        }
    });
    let provider = stage.setup(script, &["one"]).await;
    stage.bead("paint", 2, &[]).await;
    let h = stage.h().clone();
    let decision = asked(&h, "paint").await;
    stage.until("paint", Status::Blocked).await;
    h.decisions.decide(&me(), &decision.id, "blue".into(), Some("it suits".into())).await.unwrap();
    stage.until("paint", Status::Closed).await;
    let last = provider.requests().into_iter().rfind(|r| r.path.ends_with("completions")).unwrap();
    let prompt = last.body["messages"][1]["content"].as_str().unwrap().to_owned();
    assert!(prompt.contains("Which colour?: blue (it suits)"), "{prompt}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_failed_attempts_block_the_bead_and_file_a_decision() {
    let mut stage = Stage::with(quick(), Arc::new(arbiter_actors::SystemClock)).await;
    let script = Script::answering(|_| Reply::error(400, "the request makes no sense"));
    let provider = stage.setup(script, &["one"]).await;
    stage.bead("hopeless", 2, &[]).await;
    let h = stage.h().clone();
    let decision = asked(&h, "hopeless").await;
    assert_eq!((decision.purpose, provider.chat_count()), (Purpose::Attempts, 3));
    assert!(decision.question.contains("failed 3 times"), "{}", decision.question);
    stage.until("hopeless", Status::Blocked).await;
    h.decisions.decide(&me(), &decision.id, "close".into(), None).await.unwrap();
    stage.until("hopeless", Status::Closed).await;
    let agent = h.store.agent("one".into()).await.unwrap().unwrap();
    assert_eq!(agent.status, agent::Status::Idle);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decision_times_out_after_48_hours_across_a_restart() {
    let clock = manual_clock();
    let mut stage = Stage::with(quick(), Arc::new(clock.clone())).await;
    let _provider = stage.setup(Script::default(), &[]).await;
    let decision = stage.h().decisions.create(&me(), NewDecision::question("p", "Well?")).await.unwrap();
    clock.advance(Duration::from_secs(47 * 3600));
    stage.stop().await;
    stage.start().await;
    let h = stage.h().clone();
    let row = h.store.decision(decision.id.to_string()).await.unwrap().unwrap();
    assert_eq!(row.status, decision::Status::Pending);
    let filter =
        EventFilter { types: TypePattern::parse_list("decision.timeout").unwrap(), ..EventFilter::default() };
    let mut events = h.bus.subscribe(filter, None).await.unwrap();
    clock.advance(Duration::from_secs(3601));
    let told = tokio::time::timeout(Duration::from_secs(60), events.next()).await.expect("nothing happened");
    assert!(matches!(told, Delivery::Event(event) if event.subject == decision.id.as_str()));
    let late = h.decisions.decide(&me(), &decision.id, "yes".into(), None).await;
    assert!(matches!(late, Err(Error::Refused(_))));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_bead_or_project_cancels_its_decisions() {
    let clock = manual_clock();
    let mut stage = Stage::with(quick(), Arc::new(clock.clone())).await;
    let _provider = stage.setup(Script::default(), &[]).await;
    let h = stage.h().clone();
    stage.bead("b", 2, &[]).await;
    stage.bead("c", 2, &[]).await;
    let ask = async |bead: Option<&str>| {
        let bead_id = bead.map(str::to_owned);
        // No time comes by which their actors would look at their rows in any case.
        let wait = DecisionWait::For(Duration::from_secs(100 * 365 * 86_400));
        let new = NewDecision { bead_id, wait, ..NewDecision::question("p", "Which?") };
        h.decisions.create(&me(), new).await.unwrap().id
    };
    let (ended, first, second) = (ask(Some("b")).await, ask(Some("b")).await, ask(Some("b")).await);
    let (about_c, of_project) = (ask(Some("c")).await, ask(None).await);
    h.decisions.decide(&me(), &ended, "this".into(), None).await.unwrap();
    h.beads.delete(&me(), &BeadId::from_trusted("b")).await.unwrap();
    let row = async |id: &DecisionId| h.store.decision(id.to_string()).await.unwrap().unwrap();
    assert_eq!(row(&ended).await.status, decision::Status::Resolved);
    for id in [&first, &second] {
        let row = row(id).await;
        assert_eq!(row.status, decision::Status::Cancelled);
        assert_eq!(row.rationale.as_deref(), Some("bead b was deleted"));
    }
    assert_eq!(row(&about_c).await.status, decision::Status::Pending);
    h.projects.delete(&me(), &ProjectId::from_trusted("p"), Cascade::Yes).await.unwrap();
    let reason = async |id: &DecisionId| row(id).await.rationale.unwrap();
    assert_eq!(reason(&about_c).await, "bead c was deleted with its project");
    assert_eq!(reason(&of_project).await, "project p was deleted");

    // Each end is told, before what it was about goes.
    let range = EventRange { after: Some(0), limit: 1000, ..EventRange::default() };
    let events = h.store.events(range).await.unwrap().events;
    let mut found: Vec<(&str, &str)> = events
        .iter()
        .map(|event| (event.kind.as_str(), event.subject.as_str()))
        .filter(|(kind, _)| kind.ends_with(".cancelled") || kind.ends_with(".deleted"))
        .collect();
    let cancelled = |id| ("decision.cancelled", id);
    let mut of_b = [cancelled(first.as_str()), cancelled(second.as_str())];
    of_b.sort();
    let mut of_p = [cancelled(about_c.as_str()), cancelled(of_project.as_str())];
    of_p.sort();
    let mut expected = of_b.to_vec();
    expected.push(("bead.deleted", "b"));
    expected.extend(of_p);
    expected.extend([("bead.deleted", "c"), ("project.deleted", "p")]);
    found[..2].sort();
    found[3..5].sort();
    assert_eq!(found, expected);

    // Their deadlines are gone, so their actors stop.
    let waiting = async || {
        let status = h.orchestrator.status().await.unwrap();
        status.actors.into_iter().find(|(kind, _)| kind == "decision").unwrap().1
    };
    let wait = async {
        while waiting().await != 0 {
            clock.advance(Duration::from_secs(61));
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("an actor waits for nothing");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_lease_releases_the_bead_and_refuses_its_token() {
    let clock = manual_clock();
    let mut stage = Stage::with(quick(), Arc::new(clock.clone())).await;
    let _provider = stage.setup(Script::default(), &[]).await;
    stage.bead("b", 2, &[]).await;
    let h = stage.h().clone();
    let new = NewAgent {
        id: Some("outside".into()),
        name: "Outside".into(),
        kind: Some(agent::Kind::External),
        ..NewAgent::default()
    };
    h.agents.create(&me(), new).await.unwrap();
    let bead = BeadId::from_trusted("b");
    let claimant = Claimant::Agent(AgentId::from_trusted("outside"));
    let lease = h.beads.claim(&me(), &bead, claimant, Some(10)).await.unwrap().lease.unwrap();
    clock.advance(Duration::from_secs(9));
    let renewed = h.beads.heartbeat(&bead, lease.token.clone()).await.unwrap();
    assert!(renewed.expires_at > lease.expires_at);
    clock.advance(Duration::from_secs(11));
    stage.until("b", Status::Open).await;
    let stale = h.beads.heartbeat(&bead, lease.token.clone()).await;
    assert!(matches!(stale, Err(Error::Refused(_))), "{stale:?}");
    let agent = h.store.agent("outside".into()).await.unwrap().unwrap();
    assert_eq!((agent.status, agent.current_bead), (agent::Status::Idle, None));
    let row = h.store.bead("b".into()).await.unwrap().unwrap();
    assert_eq!(row.attempts, 1);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reminders_survive_restarts_and_answer_or_deadline_wins_once() {
    let clock = manual_clock();
    let mut stage = Stage::with(quick(), Arc::new(clock.clone())).await;
    let _provider = stage.setup(Script::default(), &[]).await;
    let asked = stage.h().decisions.create(&me(), NewDecision::question("p", "Which?")).await.unwrap();
    let reminded = async |stage: &Stage, level: u8| {
        let wait = async {
            loop {
                let row = stage.h().store.decision(asked.id.to_string()).await.unwrap().unwrap();
                if row.reminded >= level || row.status != decision::Status::Pending {
                    return row;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("no reminder came")
    };
    let hour = Duration::from_secs(3_600);
    clock.advance(hour * 25);
    assert_eq!(reminded(&stage, 50).await.reminded, 50);
    // While nothing runs, the clock goes on past two reminders: the later one counts.
    stage.stop().await;
    clock.advance(hour * 21);
    stage.start().await;
    let row = reminded(&stage, 95).await;
    assert_eq!((row.reminded, row.status), (95, decision::Status::Pending));
    clock.advance(hour * 3);
    let answer = stage.h().decisions.decide(&me(), &asked.id, "mine".into(), None).await;
    let wait = async {
        loop {
            let row = stage.h().store.decision(asked.id.to_string()).await.unwrap().unwrap();
            if row.status != decision::Status::Pending {
                return row;
            }
            tokio::task::yield_now().await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it never ended");
    let won = if answer.is_ok() { decision::Status::Resolved } else { decision::Status::Timeout };
    assert_eq!(ended.status, won, "{answer:?}");
    stage.stop().await;
}
