//! Proof of the run: compares the replayed log and the list of beads with the answers to the agents.
//!
//! Must not trust the agents: the log alone tells which agent ended a bead, and how often.

use crate::Outcome;
use crate::agent::{Grant, STALE_SUMMARY, Tally};
use crate::plan::Planned;
use arbiter_testkit::ServerProcess;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Most entries of one answer.
const PAGE: usize = 1000;

/// Log entries of one bead.
#[derive(Default)]
struct BeadLog {
    holder: Option<String>,
    assigned: usize,
    completed: usize,
}

/// Totals of the log.
#[derive(Debug, Default)]
pub struct Proof {
    /// Number of events about beads.
    pub events: usize,
    /// Claims that ended before the bead's end: the lease expired, or was released at once.
    pub returned: usize,
}

/// Checks that each bead was completed once, after its blockers, by its holder, and that every old token was
/// refused.
pub async fn prove(server: &ServerProcess, plan: &[Planned], tallies: &[Tally]) -> Outcome<Proof> {
    let (_, audit) = server.get("/api/v1/audit/verify").await;
    if audit["ok"] != true {
        return Err(format!("the log is not what was written: {audit}").into());
    }
    let mut ended: HashMap<&str, Vec<&str>> = HashMap::new();
    for (bead, summary) in tallies.iter().flat_map(|tally| &tally.ended) {
        ended.entry(bead).or_default().push(summary);
    }
    let proof = replay(server, plan).await?;
    let mut seen = 0;
    let mut path = format!("/api/v1/beads?sort=age&limit={PAGE}");
    loop {
        let answer = server.ask("GET", &path, &[], None).await;
        for bead in answer.json().as_array().ok_or("no list")? {
            let id = bead["id"].as_str().unwrap_or_default();
            let summaries = ended.get(id).map(Vec::as_slice).unwrap_or_default();
            let [summary] = summaries else {
                return Err(format!("{id}: the agents were told {summaries:?}").into());
            };
            if bead["status"] != "closed" || bead["close_reason"] != json!(summary) {
                return Err(format!("{id} is not as its agent left it ({summary}): {bead}").into());
            }
            seen += 1;
        }
        match next(answer.header("link")) {
            Some(further) => path = further,
            None => break,
        }
    }
    if seen != plan.len() {
        return Err(format!("{seen} beads of {}", plan.len()).into());
    }
    for grant in tallies.iter().flat_map(|tally| &tally.stale) {
        check_stale(server, grant).await?;
    }
    let (_, agents) = server.get(&format!("/api/v1/agents?limit={PAGE}")).await;
    let is_idle = |agent: &&Value| agent["status"] == "idle";
    let idle = agents.as_array().ok_or("no agents")?.iter().filter(is_idle).count();
    if idle != tallies.len() {
        return Err(format!("{idle} agents are idle").into());
    }
    Ok(proof)
}

/// Replays the log: no bead has two holders, none begins before its blockers, each ends once.
async fn replay(server: &ServerProcess, plan: &[Planned]) -> Outcome<Proof> {
    let blockers: HashMap<&str, &[String]> =
        plan.iter().map(|bead| (bead.id.as_str(), bead.blocked_by.as_slice())).collect();
    let mut beads: HashMap<String, BeadLog> = HashMap::new();
    let (mut proof, mut after) = (Proof::default(), 0);
    loop {
        let path = format!("/api/v1/events?type=bead.*&limit={PAGE}&after={after}");
        let (_, events) = server.get(&path).await;
        let events = events.as_array().ok_or("no events")?;
        for event in events {
            after = event["seq"].as_u64().ok_or("no seq")?;
            proof.events += 1;
            let id = event["subject"].as_str().unwrap_or_default();
            let wrong = |why: &str| Err(format!("{why}: {event}").into());
            let open = |blocker: &&String| beads.get(*blocker).is_none_or(|told| told.completed == 0);
            let open = blockers.get(id).and_then(|blockers| blockers.iter().find(open)).cloned();
            let told = beads.entry(id.to_owned()).or_default();
            match event["type"].as_str().unwrap_or_default() {
                "bead.assigned" => {
                    if let Some(holder) = &told.holder {
                        return wrong(&format!("{holder} holds it"));
                    }
                    if told.completed > 0 || open.is_some() {
                        return wrong(&format!("done {} times, waits for {open:?}", told.completed));
                    }
                    told.holder = event["data"]["agent_id"].as_str().map(str::to_owned);
                    told.assigned += 1;
                }
                "bead.status_change" if event["data"]["new"] == "open" => {
                    if told.holder.take().is_none() || told.completed > 0 {
                        return wrong("it was not held");
                    }
                    proof.returned += 1;
                }
                "bead.status_change" if event["data"]["new"] == "blocked" => return wrong("it is stuck"),
                "bead.completed" => {
                    let Some(holder) = told.holder.take() else { return wrong("it was not held") };
                    if event["actor"] != json!(holder) {
                        return wrong(&format!("{holder} held it"));
                    }
                    told.completed += 1;
                }
                _ => {}
            }
        }
        if events.len() < PAGE {
            break;
        }
    }
    for bead in plan {
        let times = beads.get(&bead.id).map_or(0, |told| told.completed);
        if times != 1 {
            return Err(format!("{} was completed {times} times", bead.id).into());
        }
    }
    Ok(proof)
}

/// Returns the path of the next page from a `Link` header.
fn next(link: &str) -> Option<String> {
    let (path, rest) = link.strip_prefix('<')?.split_once('>')?;
    rest.contains("next").then(|| path.to_owned())
}

/// Checks that an old token is refused even after all beads are done.
async fn check_stale(server: &ServerProcess, grant: &Grant) -> Outcome<()> {
    let body = json!({"summary": STALE_SUMMARY, "lease_token": grant.token});
    let (status, told) = server.post(&format!("/api/v1/beads/{}/complete", grant.bead), &body).await;
    if (status, &told["type"]) == (409, &json!("stale-lease")) {
        return Ok(());
    }
    Err(format!("stale token of {}: {status} {told}", grant.bead).into())
}
