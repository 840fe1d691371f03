//! Runs Arbiter inside a program: a provider, an agent, a bead, its events and a decision.
//!
//! The model is any server that speaks OpenAI's protocol, for example Ollama. A key is read from the
//! variable `PROVIDER_API_KEY` if that is set.
//!
//! ```sh
//! cargo run --example embedding -- http://127.0.0.1:11434/v1
//! ```

#![allow(clippy::print_stdout)]

use arbiter::core::decision::Purpose;
use arbiter::prelude::*;
use std::error::Error as StdError;
use std::path::Path;
use std::process::ExitCode;

type BoxError = Box<dyn StdError + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let Some(endpoint) = std::env::args().nth(1) else {
        eprintln!("error: no endpoint given; usage: embedding http://HOST:PORT/v1");
        return ExitCode::from(2);
    };
    let key = std::env::var("PROVIDER_API_KEY").ok().map(SecretString::from);
    let done = async {
        let home = tempfile::tempdir()?;
        run(&home.path().join("data"), &endpoint, key).await
    };
    match done.await {
        Ok(summary) => {
            println!("done: {summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Has one bead done by an agent of the model at `endpoint` and returns the agent's summary.
pub async fn run(data_dir: &Path, endpoint: &str, key: Option<SecretString>) -> Result<String, BoxError> {
    let arbiter = Arbiter::open(data_dir, SecretString::from("a long password")).await?;
    let outcome = work(&arbiter, endpoint, key).await;
    arbiter.close().await;
    outcome
}

async fn work(arbiter: &Arbiter, endpoint: &str, key: Option<SecretString>) -> Result<String, BoxError> {
    let (handles, caller) = (arbiter.handles(), Caller::named("embedding"));
    let mut events = arbiter.subscribe(|event| event.project_id.as_deref() == Some("shop")).await?;

    let mut provider = NewProvider::named("Model", ProviderType::Custom, endpoint);
    provider.id = Some("model".into());
    provider.requires_key = Some(key.is_some());
    arbiter.create_provider(provider, key).await?;

    let project = NewProject { id: Some("shop".into()), name: "Shop".into(), ..Default::default() };
    handles.projects.create(&caller, project).await?;
    let agent = NewAgent {
        id: Some("painter".into()),
        name: "Painter".into(),
        provider_id: Some("model".into()),
        project_id: Some("shop".into()),
        ..Default::default()
    };
    arbiter.create_agent(agent).await?;

    // The dispatcher gives the bead to the agent as soon as the provider has passed its health check.
    let bead = NewBead {
        project_id: "shop".into(),
        title: "Paint the door".into(),
        description: "Ask for the colour first.".into(),
        ..Default::default()
    };
    let bead = handles.beads.create(&caller, bead).await?.bead;

    while let Some(item) = events.next().await {
        let EventItem::Event(event) = item else { continue };
        println!("{} {} {}", event.seq, event.kind.as_str(), event.subject);
        match event.kind.as_str() {
            "decision.created" => decide(handles, &caller, &event.subject).await?,
            "bead.completed" if event.subject == bead.id.as_str() => {
                let closed = handles.store.bead(event.subject.clone()).await?;
                let summary = closed.and_then(|closed| closed.close_reason);
                return summary.ok_or_else(|| "the closed bead has no summary".into());
            }
            _ => {}
        }
    }
    Err("the server stopped before the bead was done".into())
}

/// Answers the question of an agent with its first option; any other decision is left to a person.
async fn decide(handles: &Handles, caller: &Caller, id: &str) -> Result<(), BoxError> {
    let decision = handles.store.decision(id.to_owned()).await?.ok_or("the decision was deleted")?;
    if decision.purpose != Purpose::Question {
        return Err(format!("a person has to decide: {}", decision.question).into());
    }
    let answer = decision.options.first().cloned().unwrap_or_else(|| "yes".to_owned());
    println!("{} -> {answer}", decision.question);
    handles.decisions.decide(caller, &decision.id, answer, None).await?;
    Ok(())
}
