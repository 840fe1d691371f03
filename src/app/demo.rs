//! The demonstration: a server in a temporary directory, a simulated provider, three agents and a dozen
//! beads that depend on each other, reported as they are done.

use crate::app::demo_provider;
use crate::app::error::StartError;
use crate::app::serve::{Server, print_line, runtime};
use crate::app::{admin_token, logging, process};
use crate::config::Loaded;
use arbiter_actors::{Caller, Delivery, Error, Handles, Subscription};
use arbiter_core::agent::edit::NewAgent;
use arbiter_core::bead::edit::NewBead;
use arbiter_core::kernel::event::{Event, EventFilter};
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::project::edit::NewProject;
use arbiter_core::provider::ProviderType;
use arbiter_core::provider::edit::NewProvider;
use secrecy::SecretString;
use serde_json::Value;
use std::time::Instant;

/// Options of the demonstration.
pub struct DemoOptions {
    pub loaded: Loaded,
}

/// Title, role, priority, and which earlier ones it depends on.
const PLAN: &[(&str, &str, &str, u8, &[&str])] = &[
    ("brief", "Write down what the shop is to sell", "planner", 1, &[]),
    ("names", "Find three names for the shop", "planner", 2, &["brief"]),
    ("schema", "Design the tables for orders", "builder", 1, &["brief"]),
    ("prices", "Work out the price list", "planner", 2, &["brief"]),
    ("api", "Build the API for orders", "builder", 1, &["schema"]),
    ("page", "Build the page with the price list", "builder", 2, &["prices", "names"]),
    ("cart", "Build the cart", "builder", 2, &["api", "page"]),
    ("review-api", "Review the API", "reviewer", 2, &["api"]),
    ("review-page", "Review the page", "reviewer", 2, &["page"]),
    ("docs", "Write the manual", "planner", 3, &["api", "page"]),
    ("launch", "Launch the shop", "builder", 0, &["cart", "review-api", "review-page"]),
    ("party", "Plan the launch party", "planner", 4, &["docs"]),
];

/// Runs the demonstration until it is interrupted.
///
/// # Errors
/// [`StartError`] when it cannot be set up.
pub fn demo(options: DemoOptions) -> Result<(), StartError> {
    logging::start(&options.loaded.settings.log);
    process::raise_limits()?;
    let runtime = runtime()?;
    let outcome = runtime.block_on(run_demo(options.loaded));
    runtime.shutdown_background();
    outcome
}

async fn run_demo(loaded: Loaded) -> Result<(), StartError> {
    let temporary = |source| StartError::Process { operation: "make a temporary directory", source };
    let home = tempfile::Builder::new().prefix("arbiter-demo-").tempdir().map_err(temporary)?;
    let directory = home.path().join("data");
    let password = SecretString::from(format!("demo-{}", std::process::id()));
    let shutdown_signal = process::shutdown_signal()?;
    let server = Server::start(&directory, loaded, Some(password)).await?;
    let token = directory.join(admin_token::FILE);
    let text = std::fs::read_to_string(&token).map_err(|source| StartError::File { path: token, source })?;
    print_line(&format!("listening on {}", server.url));
    print_line(&format!("ARBITER_URL={}", server.url));
    print_line(&format!("ARBITER_TOKEN={text}"));
    let handles = server.handles.clone();
    let events = handles.bus.subscribe(EventFilter::default(), None).await.map_err(StartError::Demo)?;
    tokio::spawn(print_events(events, handles.clone()));
    let serving = tokio::spawn(server.run(shutdown_signal));
    create_entities(&handles).await.map_err(StartError::Demo)?;
    let ended = serving.await.unwrap_or(Err(StartError::StoreFailed));
    drop(home);
    ended
}

async fn create_entities(handles: &Handles) -> Result<(), Error> {
    let you = Caller::named("demo");
    let url = demo_provider::start()
        .await
        .map_err(|error| Error::Provider(format!("the simulated provider cannot start: {error}")))?;
    let project =
        NewProject { id: Some("shop".into()), name: "A small shop".into(), ..NewProject::default() };
    handles.projects.create(&you, project).await?;
    let mut provider = NewProvider::named("Simulated provider", ProviderType::Custom, url);
    provider.id = Some("simulated".into());
    handles.providers.register(&you, provider, Some(SecretString::from(demo_provider::KEY))).await?;
    for role in ["planner", "builder", "reviewer"] {
        let agent = NewAgent {
            id: Some(format!("{role}-1")),
            name: format!("The {role}"),
            role: Some(role.into()),
            provider_id: Some("simulated".into()),
            project_id: Some("shop".into()),
            ..NewAgent::default()
        };
        handles.agents.create(&you, agent).await?;
    }
    for (id, title, role, priority, needs) in PLAN {
        let bead = NewBead {
            id: Some((*id).into()),
            title: (*title).into(),
            project_id: "shop".into(),
            priority: Some(*priority),
            tags: vec![format!("role:{role}")],
            blocked_by: needs.iter().map(|need| (*need).to_owned()).collect(),
            ..NewBead::default()
        };
        handles.beads.create(&you, bead).await?;
    }
    Ok(())
}

async fn print_events(mut events: Subscription, handles: Handles) {
    let started = Instant::now();
    while let Delivery::Event(event) = events.next().await {
        if let Some(line) = describe_event(&event) {
            print_line(&format!("{:6.2} s  {line}", started.elapsed().as_secs_f64()));
        }
        let ends = matches!(event.kind, EventType::BeadCompleted | EventType::DecisionCreated);
        if ends && let Some(line) = summary(&handles).await {
            print_line(&line);
        }
    }
}

/// Describes an event in a line; `None` for events that the demonstration leaves out.
fn describe_event(event: &Event) -> Option<String> {
    let text = |name: &str| event.data.get(name).and_then(Value::as_str).unwrap_or_default();
    let subject = &event.subject;
    Some(match event.kind {
        EventType::ProviderStatusChange => format!("provider {subject} is {}", text("new")),
        EventType::BeadReady => format!("bead {subject} is ready"),
        EventType::BeadAssigned => format!("{} begins {subject}", text("agent_id")),
        EventType::BeadCompleted => format!("bead {subject} is closed: {}", text("summary")),
        EventType::BeadStatusChange if text("new") == "blocked" => {
            format!("bead {subject} is blocked: {}", text("reason"))
        }
        EventType::DecisionCreated => format!("a person is asked: {} ({subject})", text("question")),
        EventType::DecisionResolved => {
            format!("{} decided {subject}: {}", text("decider_id"), text("decision"))
        }
        _ => return None,
    })
}

/// Prints commands to try once all beads are done.
async fn summary(handles: &Handles) -> Option<String> {
    let counts = handles.store.counts().await.ok()?;
    let open: u64 = counts.beads.iter().filter(|(status, _)| status != "closed").map(|(_, n)| n).sum();
    if open == 0 {
        return Some("Every bead is closed. End the demonstration with Ctrl-C; nothing of it stays.".into());
    }
    let pending = handles.store.pending_decisions().await.ok()?;
    let only_the_person = counts.pending_decisions == open && counts.ready_beads == 0;
    let decision = pending.first().filter(|_| only_the_person)?;
    Some(format!(
        "All that is left waits for you. In another terminal, with the two variables above:\n    \
         arbiter decision decide {decision} approve"
    ))
}
