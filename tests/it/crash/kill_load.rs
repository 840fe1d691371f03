//! Writers during the kills of a server, and the ledger of sent and answered changes.
//!
//! A writer ends with its connection; a change without an answer stays marked as open, since either outcome
//! is right.

use crate::harness::rng::SeededRng;
use arbiter_testkit::{HttpError, HttpResponse, ServerProcess, send};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::JoinSet;

/// The agents that fetch their own work.
pub const EXTERNAL_AGENTS: [&str; 2] = ["ext-0", "ext-1"];
/// The tag of the writers' beads, which nothing else changes.
pub const EXTERNAL_TAG: &str = "role:ext";

/// Request of an agent that was open when the connection broke.
#[derive(Clone, Debug, PartialEq)]
pub enum PendingAction {
    Claim { bead: String },
    Heartbeat,
    Complete { summary: String },
    Release,
}

/// State of an agent: its bead and lease token, and its open request.
#[derive(Clone, Debug, Default)]
pub struct AgentState {
    pub held: Option<(String, String)>,
    pub pending_action: Option<PendingAction>,
}

/// Everything that was answered, and what is open.
#[derive(Default)]
pub struct Ledger {
    /// Beads that were created, as they were sent.
    pub beads: BTreeMap<String, Value>,
    /// Beads that were sent and not answered.
    pub unconfirmed_beads: BTreeMap<String, Value>,
    /// Beads that were completed, with their summaries.
    pub closed: BTreeMap<String, String>,
    /// Decisions that were asked for or answered, with the answer.
    pub decisions: BTreeMap<String, Option<String>>,
    /// Decisions whose creation or answer was sent and not answered.
    pub unconfirmed_decisions: BTreeMap<String, Option<String>>,
    /// The external agents.
    pub agent_states: BTreeMap<String, AgentState>,
    /// Beads and decisions that this round was about.
    pub touched: BTreeSet<String>,
    /// How many changes were answered in all.
    pub answered: usize,
}

/// A ledger that writers share.
pub type SharedLedger = Arc<Mutex<Ledger>>;

/// The ledger, also after a writer has panicked.
pub fn lock_ledger(ledger: &SharedLedger) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One writer with what it needs.
#[derive(Clone)]
struct Writer {
    url: String,
    bearer: String,
    ledger: SharedLedger,
    name: String,
}

/// Starts everybody; they end when the server does.
pub fn spawn_writers(
    server: &ServerProcess,
    ledger: &SharedLedger,
    round: u32,
    rng: &mut SeededRng,
) -> JoinSet<()> {
    let writer = |name: String| Writer {
        url: server.url().to_owned(),
        bearer: format!("Bearer {}", server.token().unwrap()),
        ledger: Arc::clone(ledger),
        name,
    };
    let mut writers = JoinSet::new();
    for number in 0..3 {
        writers.spawn(writer(format!("c{round}-{number}")).create_beads(rng.fork()));
    }
    for agent in EXTERNAL_AGENTS {
        writers.spawn(writer(agent.to_owned()).fetch_work(rng.fork()));
    }
    writers.spawn(writer(format!("d{round}")).decide());
    writers
}

impl Writer {
    async fn ask(&self, method: &str, path: &str, json: Option<&Value>) -> Result<HttpResponse, HttpError> {
        let url = format!("{}/api/v1/{path}", self.url);
        let answer = send(method, &url, &[("authorization", &self.bearer)], json).await?;
        if method == "POST" && answer.status < 300 {
            lock_ledger(&self.ledger).answered += 1;
        }
        assert!(answer.status < 300 || answer.status == 409, "{method} {path}: {}", answer.json());
        Ok(answer)
    }

    async fn create_beads(self, mut rng: SeededRng) {
        let mut previous: Option<String> = None;
        for number in 0.. {
            let id = format!("{}-{number}", self.name);
            // Most are for external agents; some are for the others, and some of those need a person.
            let kind = rng.below(12);
            let (tags, priority) = match kind {
                0 => (json!([]), 0),
                1 => (json!([]), 1),
                _ => (json!([EXTERNAL_TAG]), 2),
            };
            let needs: Vec<&String> = previous.iter().filter(|_| rng.below(3) == 0).collect();
            let bead = json!({
                "id": id, "title": format!("Bead {id}"), "project_id": "p", "blocked_by": needs,
                "tags": tags, "priority": priority, "description": "x".repeat(rng.below(2_000) as usize),
            });
            lock_ledger(&self.ledger).unconfirmed_beads.insert(id.clone(), bead.clone());
            let Ok(answer) = self.ask("POST", "beads", Some(&bead)).await else { return };
            assert_eq!(answer.status, 201, "{}", answer.json());
            let mut ledger = lock_ledger(&self.ledger);
            ledger.unconfirmed_beads.remove(&id);
            ledger.beads.insert(id.clone(), bead);
            ledger.touched.insert(id.clone());
            previous = Some(id);
        }
    }

    async fn fetch_work(self, mut rng: SeededRng) {
        loop {
            let held = lock_ledger(&self.ledger).agent_states[&self.name].held.clone();
            let went_well = match held {
                Some((bead, token)) => self.work(&mut rng, &bead, &token).await,
                None => self.take(&mut rng).await,
            };
            if went_well.is_err() {
                return;
            }
        }
    }

    /// Says what is about to be asked; it stays so when there is no answer.
    fn set_pending_action(&self, bead: &str, pending_action: PendingAction) {
        let mut ledger = lock_ledger(&self.ledger);
        ledger.touched.insert(bead.to_owned());
        ledger.agent_states.get_mut(&self.name).unwrap().pending_action = Some(pending_action);
    }

    fn done(&self, held: Option<(String, String)>) {
        lock_ledger(&self.ledger)
            .agent_states
            .insert(self.name.clone(), AgentState { held, pending_action: None });
    }

    async fn take(&self, rng: &mut SeededRng) -> Result<(), HttpError> {
        let ready = self.ask("GET", &format!("beads/ready?tag={EXTERNAL_TAG}&limit=8"), None).await?.json();
        let ready = ready.as_array().unwrap();
        if ready.is_empty() {
            return Ok(());
        }
        let bead = ready[rng.below(ready.len() as u64) as usize]["id"].as_str().unwrap();
        self.set_pending_action(bead, PendingAction::Claim { bead: bead.to_owned() });
        let claim = json!({"agent_id": self.name});
        let answer = self.ask("POST", &format!("beads/{bead}/claim"), Some(&claim)).await?;
        // Refused when the other one was quicker.
        let token = answer.json()["lease"]["token"].as_str().map(str::to_owned);
        assert_eq!(answer.status == 200, token.is_some());
        self.done(token.map(|token| (bead.to_owned(), token)));
        Ok(())
    }

    async fn work(&self, rng: &mut SeededRng, bead: &str, token: &str) -> Result<(), HttpError> {
        let held = Some((bead.to_owned(), token.to_owned()));
        let (action, pending_action, body, held) = match rng.below(8) {
            0 => ("heartbeat", PendingAction::Heartbeat, json!({"lease_token": token}), held),
            1 => {
                ("release", PendingAction::Release, json!({"lease_token": token, "reason": "not mine"}), None)
            }
            _ => {
                let summary = format!("{bead} done by {}", self.name);
                let body = json!({"lease_token": token, "summary": summary});
                ("complete", PendingAction::Complete { summary }, body, None)
            }
        };
        self.set_pending_action(bead, pending_action.clone());
        let answer = self.ask("POST", &format!("beads/{bead}/{action}"), Some(&body)).await?;
        assert_eq!(answer.status, 200, "{action} {bead}: {}", answer.json());
        if let PendingAction::Complete { summary } = pending_action {
            lock_ledger(&self.ledger).closed.insert(bead.to_owned(), summary);
        }
        self.done(held);
        Ok(())
    }

    async fn decide(self) {
        for number in 0.. {
            let id = format!("{}-{number}", self.name);
            if self.question(&id).await.is_err() || self.approvals().await.is_err() {
                return;
            }
        }
    }

    async fn question(&self, id: &str) -> Result<(), HttpError> {
        let question = json!({"id": id, "project_id": "p", "question": "Yes?", "options": ["yes", "no"]});
        lock_ledger(&self.ledger).unconfirmed_decisions.insert(id.to_owned(), None);
        let answer = self.ask("POST", "decisions", Some(&question)).await?;
        assert_eq!(answer.status, 201, "{}", answer.json());
        self.record_decision(id, None);
        self.answer(id, "yes").await
    }

    async fn approvals(&self) -> Result<(), HttpError> {
        let pending = self.ask("GET", "decisions?status=pending&priority=0&limit=3", None).await?.json();
        for decision in pending.as_array().unwrap() {
            self.answer(decision["id"].as_str().unwrap(), "approve").await?;
        }
        Ok(())
    }

    async fn answer(&self, id: &str, choice: &str) -> Result<(), HttpError> {
        lock_ledger(&self.ledger).unconfirmed_decisions.insert(id.to_owned(), Some(choice.to_owned()));
        let decided = json!({"decision": choice, "rationale": "because"});
        let answer = self.ask("POST", &format!("decisions/{id}/decide"), Some(&decided)).await?;
        assert_eq!(answer.status, 200, "{}", answer.json());
        self.record_decision(id, Some(choice));
        Ok(())
    }

    /// A decision stands so: the server has said it.
    fn record_decision(&self, id: &str, choice: Option<&str>) {
        let mut ledger = lock_ledger(&self.ledger);
        ledger.unconfirmed_decisions.remove(id);
        ledger.decisions.insert(id.to_owned(), choice.map(str::to_owned));
        ledger.touched.insert(id.to_owned());
    }
}
