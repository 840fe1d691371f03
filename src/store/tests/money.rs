//! The ledger, what it sums up to, and the budgets beside it.

use crate::home::Home;
use crate::rows::{at, bead, project, provider, run, unit};
use arbiter_core::budget::meter::Meter;
use arbiter_core::budget::{Budget, BudgetKey, BudgetScope, Period, SpendCheckpoint};
use arbiter_core::kernel::call::{Call, Kind, Outcome};
use arbiter_core::kernel::ids::{AgentId, CallId, ProjectId, ProviderId, RunId, TokenId};
use arbiter_core::kernel::money::Usd;
use arbiter_core::kernel::run;
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::model::catalog::OfferedModel;
use arbiter_store::{Change, Granularity, GroupBy, Heartbeat, PageRequest, Store, Usage, UsageFilter};

fn day(text: &str) -> Timestamp {
    format!("{text}T12:00:00Z").parse().unwrap()
}

fn call(id: &str, when: &str, cost_usd: f64) -> Call {
    Call {
        id: CallId::from_trusted(id),
        at: day(when),
        provider_id: ProviderId::from_trusted("v"),
        model: "m".into(),
        agent_id: None,
        project_id: None,
        bead_id: None,
        run_id: None,
        token_id: None,
        kind: Kind::Gateway,
        outcome: Outcome::Answered,
        error_kind: None,
        input_tokens: 10,
        output_tokens: 5,
        cost_usd,
        latency_ms: 100,
        attempts: 1,
        failover_from: None,
        failover_reason: None,
    }
}

async fn put(store: &Store, calls: impl IntoIterator<Item = Call>) {
    let mut unit = unit();
    for call in calls {
        unit.change(Change::Call(call));
    }
    store.commit(unit).await.unwrap();
}

/// Group, time, calls and cost of each line.
async fn sums(
    store: &Store,
    filter: UsageFilter,
    group: GroupBy,
    granularity: Granularity,
) -> Vec<(String, String, u64, f64)> {
    let lines = store.usage(filter, group, granularity).await.unwrap();
    let text = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    lines.into_iter().map(|line| (text(line.key), text(line.period), line.calls, line.cost_usd)).collect()
}

fn line(key: &str, period: &str, calls: u64, cost: f64) -> (String, String, u64, f64) {
    (key.into(), period.into(), calls, cost)
}

fn three_calls() -> [Call; 3] {
    let of_project = |id: &str| Some(ProjectId::from_trusted(id));
    [
        Call { project_id: of_project("p"), ..call("1", "2026-10-31", 0.25) },
        Call {
            project_id: of_project("q"),
            token_id: Some(TokenId::from_trusted("t")),
            ..call("2", "2026-11-01", 0.5)
        },
        Call { outcome: Outcome::Failed, model: "n".into(), ..call("3", "2026-11-01", 2.0) },
    ]
}

#[tokio::test]
async fn usage_is_summed_by_group_and_period() {
    let home = Home::new();
    let store = home.open();
    put(&store, three_calls()).await;
    let all = UsageFilter::default;
    assert_eq!(sums(&store, all(), GroupBy::Provider, Granularity::Total).await, [line("v", "-", 3, 2.75)]);
    assert_eq!(
        sums(&store, all(), GroupBy::Model, Granularity::Month).await,
        [line("m", "2026-10", 1, 0.25), line("n", "2026-11", 1, 2.0), line("m", "2026-11", 1, 0.5)]
    );
    assert_eq!(
        sums(&store, all(), GroupBy::Project, Granularity::Day).await,
        [line("p", "2026-10-31", 1, 0.25), line("-", "2026-11-01", 1, 2.0), line("q", "2026-11-01", 1, 0.5)]
    );
    assert_eq!(
        sums(&store, all(), GroupBy::Token, Granularity::Total).await,
        [line("-", "-", 2, 2.25), line("t", "-", 1, 0.5)]
    );
    let since = UsageFilter { from: Some(day("2026-11-01")), ..all() };
    assert_eq!(sums(&store, since, GroupBy::Provider, Granularity::Total).await, [line("v", "-", 2, 2.5)]);
    let until = UsageFilter { to: Some(day("2026-11-01")), ..all() };
    assert_eq!(sums(&store, until, GroupBy::Provider, Granularity::Total).await, [line("v", "-", 1, 0.25)]);
    let ours = UsageFilter { within: Some(vec!["p".into()]), ..all() };
    assert_eq!(sums(&store, ours, GroupBy::Provider, Granularity::Total).await, [line("v", "-", 1, 0.25)]);
    let none = UsageFilter { provider_id: Some("w".into()), ..all() };
    assert_eq!(sums(&store, none, GroupBy::Agent, Granularity::Total).await, []);
    let whole = store.usage(all(), GroupBy::Provider, Granularity::Total).await.unwrap();
    let wanted = Usage {
        key: Some("v".into()),
        period: None,
        calls: 3,
        failed: 1,
        attempts: 3,
        input_tokens: 30,
        output_tokens: 15,
        cost_usd: 2.75,
        latency_ms: 300,
    };
    assert_eq!(whole, [wanted]);
}

#[tokio::test]
async fn run_is_counted_once_with_or_without_ledger_calls() {
    let home = Home::new();
    let store = home.open();
    let mut first = unit();
    first.create(&project("p"), Change::Project).create(&bead("b"), Change::Bead);
    let begun = run("r", "b");
    let mut ended = begun.clone();
    (ended.status, ended.cost_usd, ended.steps) = (run::Status::Succeeded, 0.75, 3);
    first.change(Change::StartRun(begun));
    store.commit(first).await.unwrap();
    let total = async || sums(&store, UsageFilter::default(), GroupBy::Bead, Granularity::Total).await;
    assert_eq!(total().await, [], "a run that goes on has no sum yet");
    let mut second = unit();
    second.change(Change::FinishRun(ended.clone()));
    store.commit(second).await.unwrap();
    assert_eq!(total().await, [line("b", "-", 1, 0.75)]);
    let of_run = |id: &str| Call {
        run_id: Some(RunId::from_trusted("r")),
        bead_id: ended.bead_id.clone(),
        kind: Kind::Run,
        ..call(id, "2026-11-01", 0.25)
    };
    put(&store, [of_run("1"), of_run("2"), of_run("3")]).await;
    assert_eq!(total().await, [line("b", "-", 3, 0.75)]);
}

#[tokio::test]
async fn prune_removes_only_old_calls() {
    let home = Home::new();
    let store = home.open();
    put(&store, three_calls()).await;
    let mut cut = unit();
    cut.change(Change::PruneHistory {
        heartbeats_before: at(0),
        answers_before: at(0),
        runs_before: at(0),
        calls_before: day("2026-11-01"),
        sessions_before: at(0),
    });
    store.commit(cut).await.unwrap();
    let left = sums(&store, UsageFilter::default(), GroupBy::Provider, Granularity::Total).await;
    assert_eq!(left, [line("v", "-", 2, 2.5)]);
}

#[tokio::test]
async fn budget_checkpoint_and_ledger_seed_the_meter() {
    let home = Home::new();
    let store = home.open();
    let key = |scope| BudgetKey { scope, period: Period::Month };
    let total = Budget::new(key(BudgetScope::Total), Usd::from_dollars(10.0));
    let agents = Budget::new(key(BudgetScope::Agent(AgentId::from_trusted("a"))), Usd::from_dollars(1.0));
    let window = Period::Month.window(day("2026-11-05")).start;
    let checkpoint = |dollars, warned| {
        let spent = Usd::from_dollars(dollars);
        Change::SaveBudgetCheckpoint(SpendCheckpoint { key: key(BudgetScope::Total), window, spent, warned })
    };
    let mut first = unit();
    first.change(Change::PutBudget(total.clone())).change(Change::PutBudget(agents.clone()));
    first.change(checkpoint(3.0, 0));
    first.change(checkpoint(1.0, 0));
    store.commit(first).await.unwrap();
    put(&store, three_calls()).await;
    put(&store, [Call { agent_id: Some(AgentId::from_trusted("a")), ..call("4", "2026-11-02", 0.125) }])
        .await;
    let mut raised = unit();
    raised.change(Change::PutBudget(Budget { cap: Usd::from_dollars(20.0), ..total }));
    store.commit(raised).await.unwrap();
    let seeds = store.budget_seeds(day("2026-11-05")).await.unwrap();
    let budget_statuses = Meter::open(&seeds, day("2026-11-05")).budget_statuses(day("2026-11-05"));
    let spent: Vec<(String, f64, f64)> =
        budget_statuses.iter().map(|s| (s.key.to_string(), s.cap.dollars(), s.spent.dollars())).collect();
    assert_eq!(spent, [("total/month".into(), 20.0, 3.0), ("agent:a/month".into(), 1.0, 0.125)]);
    let later = store.budget_seeds(day("2026-12-05")).await.unwrap();
    assert!(
        Meter::open(&later, day("2026-12-05"))
            .budget_statuses(day("2026-12-05"))
            .iter()
            .all(|s| s.spent == Usd::ZERO)
    );
    let mut gone = unit();
    gone.change(Change::RemoveBudget(agents.key));
    store.commit(gone).await.unwrap();
    assert_eq!(store.budgets().await.unwrap().len(), 1);
}

#[tokio::test]
async fn offered_models_and_heartbeat_pages_are_stored() {
    let home = Home::new();
    let store = home.open();
    let row = provider("v");
    let mut first = unit();
    first.create(&row, Change::Provider);
    let offered = |name: &str| Change::OfferedModels {
        provider_id: ProviderId::from_trusted("v"),
        models: vec![OfferedModel::named(name)],
    };
    first.change(offered("a")).change(offered("b"));
    for ms in 1..=5 {
        let heartbeat = Heartbeat { at: at(ms), latency_ms: 1, error: None };
        first.change(Change::Heartbeat { provider: row.clone(), heartbeat });
    }
    first.change(Change::ProviderFailures { provider_id: ProviderId::from_trusted("v"), failures: 2 });
    store.commit(first).await.unwrap();
    let offers = store.offers().await.unwrap();
    assert_eq!(offers, [(ProviderId::from_trusted("v"), vec![OfferedModel::named("b")])]);
    assert_eq!(store.provider("v".into()).await.unwrap().unwrap().failures, 2);
    let (mut seen, mut cursor) = (vec![], None);
    loop {
        let page = store.heartbeats("v".into(), PageRequest { limit: 2, cursor }).await.unwrap();
        assert_eq!(page.total, 5);
        seen.extend(page.items.iter().map(|heartbeat| heartbeat.at.as_millis()));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, [5, 4, 3, 2, 1]);
    let wrong = PageRequest { limit: 2, cursor: Some("x".into()) };
    assert!(store.heartbeats("v".into(), wrong).await.is_err());
}
