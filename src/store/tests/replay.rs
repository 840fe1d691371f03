//! The rows are the sum of their events: any history, replayed from the log, gives the stored row.

use crate::home::Home;
use crate::rows::{agent, at, bead, decision, project, provider, unit};
use arbiter_core::agent::{self, Agent};
use arbiter_core::bead::{self, Attempt, Bead, ClaimContext, Claimant};
use arbiter_core::decision::{self, Decision};
use arbiter_core::kernel::call::{CallOutcome, ErrorKind, HealthSignal};
use arbiter_core::kernel::ids::{AgentId, BeadId};
use arbiter_core::kernel::record::{FieldChanges, Record, replay};
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::model::catalog::{Catalog, CatalogEntry, Interactivity, OfferedModel};
use arbiter_core::project::{self, Project};
use arbiter_core::provider::{self, HeartbeatResult, Provider};
use arbiter_store::{Change, EventRange, Heartbeat, Store, Write};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Random step: a command and its arguments.
#[derive(Clone, Debug)]
struct Step {
    entity: usize,
    command: usize,
    text: String,
    number: f64,
    count: u32,
}

fn step() -> impl Strategy<Value = Step> {
    let number = prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO;
    (0..5_usize, 0..16_usize, any::<String>(), number, any::<u32>())
        .prop_map(|(entity, command, text, number, count)| Step { entity, command, text, number, count })
}

fn beads(row: &Bead, step: &Step) -> Result<Vec<FieldChanges>, Refusal> {
    use bead::Command;
    let (now, retry_at) = (at(i64::from(step.count)), at(i64::from(step.count) + 7));
    let reason = || step.text.clone();
    let mut wanted = row.clone();
    wanted.title = reason();
    wanted.tags = vec![reason(), "t".into()];
    wanted.context.insert(reason(), json!({"n": step.number, "deep": [step.text, null, {"u": step.count}]}));
    wanted.priority = u8::try_from(step.count % 5).unwrap();
    wanted.due_at = Some(now).filter(|_| step.count.is_multiple_of(2));
    wanted.defer_until = Some(now).filter(|_| step.count.is_multiple_of(3));
    let commands = [
        Command::Claim(Claimant::Agent(AgentId::from_trusted("a"))),
        Command::Release { reason: reason(), attempt: Attempt::NotCounted },
        Command::Release { reason: reason(), attempt: Attempt::Failed { retry_at, answer: None } },
        Command::ExpireLease { retry_at },
        Command::Block { reason: reason() },
        Command::Unblock { reason: reason() },
        Command::Complete { summary: reason() },
        Command::Close { reason: reason() },
        Command::Reopen,
        Command::Redispatch { reason: Some(reason()) },
        Command::Approve,
        Command::ResetAttempts,
        Command::Update(Box::new(wanted)),
    ];
    row.decide(&commands[step.command % commands.len()], &ClaimContext::default(), now)
}

fn agents(row: &Agent, step: &Step) -> Result<Vec<FieldChanges>, Refusal> {
    use agent::Command;
    let reason = || step.text.clone();
    let mut wanted = row.clone();
    wanted.role = Some(reason());
    wanted.config.temperature = Some(step.number);
    wanted.config.max_tokens = Some(step.count);
    wanted.config.other.insert("mine".into(), json!([step.number, step.text]));
    let commands = [
        Command::Activate,
        Command::BecomeReady,
        Command::Assign(BeadId::from_trusted(reason())),
        Command::Finish { outcome: reason() },
        Command::Release { reason: reason() },
        Command::Wait { reason: reason() },
        Command::Resume,
        Command::Fail { reason: reason() },
        Command::Shutdown { reason: Some(reason()) },
        Command::Restart,
        Command::Update(Box::new(wanted)),
    ];
    row.decide(&commands[step.command % commands.len()])
}

fn projects(row: &Project, step: &Step) -> Result<Vec<FieldChanges>, Refusal> {
    use project::Command;
    let mut wanted = row.clone();
    wanted.branch = Some(step.text.clone());
    wanted.context.insert("n".into(), json!(step.number));
    wanted.is_sticky = !row.is_sticky;
    let commands = [Command::Close { open_beads: 0 }, Command::Reopen, Command::Update(Box::new(wanted))];
    row.decide(&commands[step.command % commands.len()], at(i64::from(step.count)))
}

fn decisions(row: &Decision, step: &Step) -> Result<Vec<FieldChanges>, Refusal> {
    use decision::Command;
    let answer = Command::Resolve {
        decision: step.text.clone(),
        rationale: Some(step.text.clone()),
        decider_id: "ann".into(),
        context: decision::AnswerContext::default(),
    };
    let expire = Command::Expire { subject: None };
    let commands = [answer, expire, Command::Remind, Command::Cancel { reason: step.text.clone() }];
    row.decide(&commands[step.command % commands.len()], at(i64::from(step.count)))
}

fn providers(row: &Provider, step: &Step) -> Result<Vec<FieldChanges>, Refusal> {
    use provider::Command;
    let mut wanted = row.clone();
    wanted.model_score = Some(step.number);
    wanted.price_input_per_mtok = Some(step.number.abs());
    wanted.configured_model = Some(step.text.clone());
    wanted.context_window = Some(u64::from(step.count) << 20);
    wanted.max_concurrency = Some(step.count);
    wanted.tokens_per_minute = Some(u64::from(step.count));
    wanted.pool = Some(step.text.clone());
    wanted.priority = step.count;
    wanted.tags = vec![step.text.clone()];
    let outcome = CallOutcome::Failed { kind: ErrorKind::Overloaded, error: step.text.clone() };
    let commands = [
        Command::Heartbeat(heartbeat(step)),
        Command::Observe(if step.count.is_multiple_of(3) { CallOutcome::Answered } else { outcome }),
        Command::Disable,
        Command::Enable,
        Command::Update(Box::new(wanted)),
    ];
    row.decide(&commands[step.command % commands.len()], &catalog(step))
}

/// Returns a catalogue that contains the step's model, if it has one.
fn catalog(step: &Step) -> Catalog {
    let entry = CatalogEntry {
        name: step.text.clone(),
        aliases: vec![],
        interactivity: Interactivity::Fast,
        min_vram_gb: None,
        gpu_class: Some(step.text.clone()),
        context_window: Some(u64::from(step.count)),
        price_input_per_mtok: Some(step.number.abs()),
        price_output_per_mtok: None,
        score: 0.1,
    };
    Catalog::new([entry]).unwrap_or_default()
}

fn heartbeat(step: &Step) -> HeartbeatResult {
    let latency_ms = u64::from(step.count);
    if step.count.is_multiple_of(2) {
        HeartbeatResult::Failed { error: step.text.clone(), health_signal: HealthSignal::Failure, latency_ms }
    } else {
        HeartbeatResult::Answered {
            latency_ms,
            median_ms: Some(9),
            models: vec![OfferedModel::named(step.text.clone())],
        }
    }
}

/// Commits what a step decides for one record, if anything.
async fn advance<R: Record>(
    store: &Store,
    row: &mut R,
    decide: fn(&R, &Step) -> Result<Vec<FieldChanges>, Refusal>,
    step: &Step,
    change: fn(Write<R>) -> Change,
) {
    if let Ok(happenings) = decide(row, step) {
        let mut unit = unit();
        unit.at = at(i64::from(step.count));
        *row = unit.apply(row, &happenings, change);
        store.commit(unit).await.unwrap();
    }
}

/// Measurements, which have no events and no part in replay.
async fn measure(store: &Store, row: &Provider, step: &Step) {
    let now = at(i64::from(step.count));
    let beat_line = Heartbeat { at: now, latency_ms: 1, error: None };
    let mut unit = unit();
    unit.change(Change::Heartbeat {
        provider: row.with_heartbeat(&heartbeat(step), now),
        heartbeat: beat_line,
    });
    unit.change(Change::AgentActive { agent_id: AgentId::from_trusted("a"), at: now });
    store.commit(unit).await.unwrap();
}

async fn replayed<R: Record>(store: &Store, id: &str) -> Option<R> {
    let mut range = EventRange { limit: 100_000, ..EventRange::default() };
    range.filter.subject = Some(id.to_owned());
    let events = store.events(range).await.unwrap().events;
    let told: Vec<(_, &Value, _)> = events.iter().map(|e| (e.kind, &e.data, e.timestamp)).collect();
    replay(told)
}

async fn run_steps(steps: &[Step]) {
    let home = Home::new();
    let store = home.open();
    let (mut a, mut b, mut d) = (agent("a"), bead("b"), decision("d", Some("b")));
    let (mut p, mut v) = (project("p"), provider("v"));
    let mut unit = unit();
    unit.create(&p, Change::Project).create(&v, Change::Provider).create(&a, Change::Agent);
    unit.create(&b, Change::Bead).create(&d, Change::Decision);
    store.commit(unit).await.unwrap();
    for step in steps {
        match step.entity {
            0 => advance(&store, &mut b, beads, step, Change::Bead).await,
            1 => advance(&store, &mut a, agents, step, Change::Agent).await,
            2 => advance(&store, &mut p, projects, step, Change::Project).await,
            3 => advance(&store, &mut d, decisions, step, Change::Decision).await,
            _ => advance(&store, &mut v, providers, step, Change::Provider).await,
        }
        measure(&store, &v, step).await;
    }
    let mut stored_agent = store.agent("a".into()).await.unwrap().unwrap();
    stored_agent.last_active = None;
    let mut stored_provider = store.provider("v".into()).await.unwrap().unwrap();
    let plain = provider("v");
    stored_provider.last_heartbeat_at = plain.last_heartbeat_at;
    stored_provider.last_heartbeat_latency_ms = plain.last_heartbeat_latency_ms;
    stored_provider.last_heartbeat_error = plain.last_heartbeat_error;
    stored_provider.failures = plain.failures;
    stored_provider.latency_ewma_ms = plain.latency_ewma_ms;
    assert_eq!((&stored_agent, &stored_provider), (&a, &v), "as decided");
    assert_eq!(replayed(&store, "a").await, Some(stored_agent));
    assert_eq!(replayed(&store, "v").await, Some(stored_provider));
    assert_eq!(store.bead("b".into()).await.unwrap().as_ref(), Some(&b), "as decided");
    assert_eq!(replayed(&store, "b").await, Some(b));
    assert_eq!(store.project("p".into()).await.unwrap().as_ref(), Some(&p), "as decided");
    assert_eq!(replayed(&store, "p").await, Some(p));
    assert_eq!(store.decision("d".into()).await.unwrap().as_ref(), Some(&d), "as decided");
    assert_eq!(replayed(&store, "d").await, Some(d));
    store.verify_events().await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn replay_of_the_log_yields_every_stored_row(steps in prop::collection::vec(step(), 0..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run_steps(&steps));
    }
}
