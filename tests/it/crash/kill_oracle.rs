//! Checks of a server after each kill: every answered change is there, none is half done.

use crate::crash::kill_load::{AgentState, Ledger, PendingAction, SharedLedger, lock_ledger};
use crate::harness::{Harness, TIMEOUT};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// State of one entity after the log.
#[derive(Default)]
pub struct EntityLog {
    created: usize,
    completed: usize,
    resolved: usize,
    status: String,
}

/// The log as far as it was read.
#[derive(Default)]
pub struct Oracle {
    seq: u64,
    logged: BTreeMap<String, EntityLog>,
}

impl Oracle {
    /// Checks everything that the last round was about.
    pub async fn check(&mut self, harness: &Harness, ledger: &SharedLedger) {
        let vault = harness.get("vault").await;
        assert_eq!((&vault["state"], &vault["keys"]), (&json!("unlocked"), &json!(1)), "{vault}");
        check_agents(harness).await;
        resolve_agent_states(harness, ledger).await;
        self.read_log(harness).await;
        let verified = harness.get("audit/verify").await;
        assert_eq!(verified["ok"], true, "{verified}");
        assert!(verified["last_seq"].as_u64().unwrap() >= self.seq, "{verified}");
        self.resolve_unconfirmed(harness, ledger).await;
        let touched = std::mem::take(&mut lock_ledger(ledger).touched);
        for id in touched {
            self.check_entity(harness, ledger, &id).await;
        }
    }

    /// Reads on in the log, which has no gaps.
    async fn read_log(&mut self, harness: &Harness) {
        for event in harness.events(self.seq).await {
            assert_eq!(event["seq"], self.seq + 1, "a gap in the log before {event}");
            self.seq += 1;
            let logged = self.logged.entry(event["subject"].as_str().unwrap().to_owned()).or_default();
            match event["type"].as_str().unwrap() {
                "bead.created" | "decision.created" => {
                    logged.created += 1;
                    logged.status = event["data"]["status"].as_str().unwrap().to_owned();
                }
                "bead.completed" => logged.completed += 1,
                "decision.resolved" => logged.resolved += 1,
                "bead.status_change" => {
                    assert_eq!(event["data"]["old"], logged.status, "{event}");
                    logged.status = event["data"]["new"].as_str().unwrap().to_owned();
                }
                _ => {}
            }
        }
    }

    /// Finds out what became of creations and answers that were not answered: all of it, or nothing.
    async fn resolve_unconfirmed(&self, harness: &Harness, ledger: &SharedLedger) {
        // Taken out first: the ledger stays locked for as long as its expression lives.
        let beads = std::mem::take(&mut lock_ledger(ledger).unconfirmed_beads);
        for (id, sent) in beads {
            let there = exists(harness, &format!("beads/{id}")).await;
            assert_eq!(
                there,
                self.logged.get(&id).is_some_and(|logged| logged.created == 1),
                "half of bead {id}"
            );
            if there {
                let mut ledger = lock_ledger(ledger);
                ledger.beads.insert(id.clone(), sent);
                ledger.touched.insert(id);
            }
        }
        let decisions = std::mem::take(&mut lock_ledger(ledger).unconfirmed_decisions);
        for (id, choice) in decisions {
            if exists(harness, &format!("decisions/{id}")).await {
                let decision = harness.get(&format!("decisions/{id}")).await;
                let answered = choice.filter(|choice| decision["decision"] == *choice);
                let mut ledger = lock_ledger(ledger);
                ledger.decisions.insert(id.clone(), answered);
                ledger.touched.insert(id);
            } else {
                assert!(choice.is_none() && !self.logged.contains_key(&id), "decision {id} is lost");
            }
        }
    }

    async fn check_entity(&self, harness: &Harness, ledger: &SharedLedger, id: &str) {
        let decision = lock_ledger(ledger).decisions.get(id).cloned();
        if let Some(choice) = decision {
            let row = harness.get(&format!("decisions/{id}")).await;
            let status = if choice.is_some() { "resolved" } else { "pending" };
            assert_eq!((&row["status"], &row["decision"]), (&json!(status), &json!(choice)), "{row}");
            assert_eq!(self.logged[id].resolved, usize::from(choice.is_some()), "{row}");
            return;
        }
        let row = harness.get(&format!("beads/{id}")).await;
        self.check_bead(&lock_ledger(ledger), &row);
    }

    /// A bead's row is as it was sent, and its parts agree with each other and with the log.
    pub fn check_bead(&self, ledger: &Ledger, row: &Value) {
        let id = row["id"].as_str().unwrap();
        let sent = ledger.beads.get(id).unwrap_or_else(|| panic!("no writer sent {row}"));
        for field in ["title", "priority", "tags", "blocked_by", "description", "project_id"] {
            assert_eq!(row[field], sent[field], "{field} of {row}");
        }
        assert_eq!(row["attempts"], 0, "a kill is no attempt: {row}");
        let logged = &self.logged[id];
        assert_eq!(logged.created, 1, "{row}");
        let is_closed = row["status"] == "closed";
        assert_eq!(row["closed_at"].is_string(), is_closed, "{row}");
        assert_eq!(row["close_reason"].is_string(), is_closed, "{row}");
        assert_eq!(row["assigned_to"].is_string(), is_closed || row["status"] == "in_progress", "{row}");
        if let Some(summary) = ledger.closed.get(id) {
            assert_eq!(row["close_reason"], *summary, "an answered completion is lost: {row}");
        }
        // Others work on beads without a tag while we look.
        if sent["tags"] != json!([]) {
            assert_eq!(row["status"], logged.status, "{row}");
            assert_eq!(logged.completed, usize::from(is_closed), "{row}");
        }
    }

    /// Checks every bead, when nothing happens any more.
    pub async fn check_all(&mut self, harness: &Harness, ledger: &SharedLedger) {
        self.read_log(harness).await;
        let mut rows: BTreeMap<String, Value> = BTreeMap::new();
        for status in ["open", "in_progress", "blocked", "closed"] {
            let mut path = format!("beads?status={status}&limit=1000");
            loop {
                let answer = harness.ask("GET", &path, None).await;
                let page = answer.json();
                let page = page.as_array().unwrap();
                rows.extend(page.iter().map(|row| (row["id"].as_str().unwrap().to_owned(), row.clone())));
                let Some(next) = answer.header("link").split(['<', '>']).nth(1) else { break };
                path = next.trim_start_matches("/api/v1/").to_owned();
            }
        }
        let ledger = lock_ledger(ledger);
        let (found, sent): (BTreeSet<_>, BTreeSet<_>) =
            (rows.keys().collect(), ledger.beads.keys().collect());
        assert_eq!(found, sent);
        for row in rows.values() {
            self.check_bead(&ledger, row);
            let logged = &self.logged[row["id"].as_str().unwrap()];
            assert_eq!(
                (&row["status"], logged.completed),
                (&json!(logged.status), usize::from(row["status"] == "closed"))
            );
            let needs = row["blocked_by"].as_array().unwrap();
            let waits: Vec<&Value> =
                needs.iter().filter(|id| rows[id.as_str().unwrap()]["status"] != "closed").collect();
            assert_eq!(row["waiting_on"], json!(waits), "{row}");
            let asked = row["pending_decisions"] != json!([]);
            assert_eq!(row["ready"], row["status"] == "open" && waits.is_empty() && !asked, "{row}");
        }
    }
}

async fn exists(harness: &Harness, path: &str) -> bool {
    let answer = harness.ask("GET", path, None).await;
    assert!(matches!(answer.status, 200 | 404), "{path}: {}", answer.json());
    answer.status == 200
}

/// Finds out what became of what each agent had asked for last.
async fn resolve_agent_states(harness: &Harness, ledger: &SharedLedger) {
    let agent_states = lock_ledger(ledger).agent_states.clone();
    for (agent, AgentState { held, pending_action }) in agent_states {
        let id = match (&held, &pending_action) {
            (Some((bead, _)), _) | (None, Some(PendingAction::Claim { bead })) => bead.clone(),
            (None, _) => {
                assert_eq!(harness.get(&format!("agents/{agent}")).await["status"], "idle", "{agent}");
                continue;
            }
        };
        let bead = harness.get(&format!("beads/{id}")).await;
        let is_held = bead["status"] == "in_progress" && bead["assigned_to"] == agent;
        let mut now = None;
        match (&held, &pending_action) {
            // Without the answer the token is lost; the operator takes the bead back.
            (None, _) if is_held => {
                harness.act(&format!("beads/{id}/release"), json!({"reason": "killed"})).await;
            }
            (None, _) => {}
            (Some((_, token)), pending_action) if is_held => {
                let renew = json!({"lease_token": token});
                harness.act(&format!("beads/{id}/heartbeat"), renew).await;
                assert!(pending_action.is_some() || bead["attempts"] == 0, "{bead}");
                now.clone_from(&held);
            }
            (Some(_), Some(PendingAction::Complete { summary })) => {
                assert_eq!((&bead["status"], &bead["close_reason"]), (&json!("closed"), &json!(summary)));
                lock_ledger(ledger).closed.insert(id.clone(), summary.clone());
            }
            (Some(_), Some(PendingAction::Release)) => assert_eq!(bead["status"], "open", "{bead}"),
            (Some(_), _) => panic!("{agent} held {id} and lost it: {bead}"),
        }
        let current = harness.get(&format!("agents/{agent}")).await;
        let holds = now.as_ref().map(|(bead, _)| json!(bead)).unwrap_or_default();
        assert_eq!(current["current_bead"], holds, "{current}");
        lock_ledger(ledger).agent_states.insert(agent, AgentState { held: now, pending_action: None });
    }
}

/// Agents, the beads they hold and their runs fit together. Looks until no agent changed meanwhile, since
/// agents go on working.
async fn check_agents(harness: &Harness) {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let before = harness.get("agents").await;
        let beads = harness.get("beads?status=in_progress&limit=1000").await;
        let runs = harness.get("runs?status=running&limit=1000").await;
        if harness.get("agents").await != before {
            assert!(Instant::now() < deadline, "agents never stand still");
            continue;
        }
        let pairs = |rows: &Value, left: &str, right: &str| -> BTreeSet<(String, String)> {
            let text = |row: &Value, field: &str| row[field].as_str().map(str::to_owned);
            let rows = rows.as_array().unwrap().iter();
            rows.filter_map(|row| Some((text(row, left)?, text(row, right)?))).collect()
        };
        let by_agent = pairs(&before, "id", "current_bead");
        assert_eq!(by_agent, pairs(&beads, "assigned_to", "id"), "{before}\n{beads}");
        for agent in before.as_array().unwrap() {
            assert_eq!(agent["status"] == "working", agent["current_bead"].is_string(), "{agent}");
        }
        let runs = pairs(&runs, "agent_id", "bead_id");
        assert!(runs.is_subset(&by_agent), "a run without its agent: {runs:?} {by_agent:?}");
        return;
    }
}
