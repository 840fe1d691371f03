//! An external agent of the swarm: it claims a bead, renews its lease and ends it; at times it dies and
//! returns.
//!
//! Owns the state of one agent: its claim, the tokens of its earlier lives, and the answers it received. A
//! death is silence: the connection is dropped, and the claim is left to its lease. A request without an
//! answer, because the agent died or the server was killed, is settled over the next connection. Must not judge
//! the whole run: `proof` does.

use crate::Outcome;
use arbiter_testkit::{HttpError, KeepAlive, SplitMix64, request_bytes};
use serde_json::{Value, json};
use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Shortest lease that the server accepts, in seconds.
pub const TTL_SEC: u64 = 10;
/// Longest wait of a claim for a bead, in seconds.
const WAIT_SEC: u64 = 20;
/// Odds of a death: one in this number, at three points of each bead (claim, hold, end).
const DEATH_ODDS: usize = 300;
/// Longest time from a request to the agent's death during it, in microseconds.
const MAX_DEATH_DELAY_US: usize = 3000;
/// Pause of a returned agent before it asks again whether its former lease has ended.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// State shared by all agents.
pub struct Shared {
    /// Address of the server; `None` while it is down.
    pub address: watch::Sender<Option<SocketAddr>>,
    /// Beads whose end was accepted.
    pub done: Cell<usize>,
    /// True if all beads are done.
    pub is_complete: watch::Sender<bool>,
    /// Number of beads.
    pub beads: usize,
    /// Number of finished beads after which no agent dies, so that the run does not end with the wait for the
    /// last lease.
    pub deaths_until: usize,
    /// Administrator's token.
    pub admin: String,
    /// Answered requests.
    pub answered: Cell<usize>,
}

/// A claim: the bead and the token of its lease.
#[derive(Clone, Debug)]
pub struct Grant {
    pub bead: String,
    pub token: String,
}

/// Counts and times of one agent.
#[derive(Debug, Default)]
pub struct Tally {
    /// Times of claims that found a bead at once.
    pub claims: Vec<Duration>,
    /// Number of claims that waited for a bead.
    pub waits: usize,
    /// Times of lease renewals.
    pub renewals: Vec<Duration>,
    /// Times of completions.
    pub ends: Vec<Duration>,
    /// Completed beads, each with the agent's summary.
    pub ended: Vec<(String, String)>,
    /// Deaths while a bead was claimed, held, and ended.
    pub deaths: [usize; 3],
    /// Connections lost to the server's kill.
    pub lost: usize,
    /// Claims of earlier lives, all of them refused.
    pub stale: Vec<Grant>,
}

/// Reason for the end of a connection.
enum SessionEnd {
    Died,
    AllDone,
}

/// Reason for the failure of a request.
enum SessionError {
    /// No answer: the server is down.
    ConnectionLost,
    /// A fault of the server.
    Server(HttpError),
}

impl From<HttpError> for SessionError {
    fn from(error: HttpError) -> Self {
        // A missing answer is a fault of the server; a broken connection is the sign of a killed server.
        if error.is::<tokio::time::error::Elapsed>() { Self::Server(error) } else { Self::ConnectionLost }
    }
}

fn server_error(text: String) -> SessionError {
    SessionError::Server(text.into())
}

/// An agent with its token.
pub struct Agent<'a> {
    shared: &'a Shared,
    id: String,
    token: String,
    rng: SplitMix64,
    tally: Tally,
    /// Current claim, and true if its end was requested.
    held: Option<(Grant, bool)>,
    /// Claims of earlier lives whose leases may still run.
    stale_grants: Vec<Grant>,
    /// True if the agent may hold a bead that it does not know of.
    has_unknown_claim: bool,
}

impl<'a> Agent<'a> {
    /// Creates an agent that has not started.
    pub fn new(shared: &'a Shared, id: String, token: String, rng: SplitMix64) -> Self {
        let (tally, stale_grants) = (Tally::default(), Vec::new());
        Self { shared, id, token, rng, tally, held: None, stale_grants, has_unknown_claim: false }
    }

    /// Works until all beads are done.
    pub async fn run(mut self) -> Outcome<Tally> {
        let mut address = self.shared.address.subscribe();
        loop {
            let at = *address.wait_for(Option::is_some).await?;
            // A server that was just killed accepts no connection and is soon marked as down.
            let Ok(mut connection) = KeepAlive::connect(at.ok_or("no address")?).await else {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            };
            match self.run_session(&mut connection).await {
                Ok(SessionEnd::AllDone) => {
                    self.tally.stale.append(&mut self.stale_grants);
                    return Ok(self.tally);
                }
                Ok(SessionEnd::Died) => self.has_unknown_claim = true,
                Err(SessionError::ConnectionLost) => {
                    self.tally.lost += 1;
                    self.has_unknown_claim = true;
                }
                Err(SessionError::Server(error)) => return Err(format!("{}: {error}", self.id).into()),
            }
        }
    }

    async fn run_session(&mut self, connection: &mut KeepAlive) -> Result<SessionEnd, SessionError> {
        loop {
            if let Some((grant, is_asked)) = self.held.clone() {
                if self.complete_bead(connection, grant, is_asked).await? {
                    return Ok(SessionEnd::Died);
                }
                continue;
            }
            let mut is_complete = self.shared.is_complete.subscribe();
            let claimed = tokio::select! {
                claimed = self.claim(connection) => claimed?,
                // An agent that still waits for a bead stops.
                _ = is_complete.wait_for(|is_complete| *is_complete) => Some(SessionEnd::AllDone),
            };
            if let Some(is_complete) = claimed {
                return Ok(is_complete);
            }
        }
    }

    fn should_die(&mut self) -> bool {
        self.shared.done.get() < self.shared.deaths_until && self.rng.below(DEATH_ODDS) == 0
    }

    /// Sends a request and reads the answer; with `is_dying` the agent dies during the request, without an
    /// answer.
    async fn ask(
        &mut self,
        connection: &mut KeepAlive,
        token: &str,
        path: &str,
        body: &Value,
        is_dying: bool,
    ) -> Result<Option<(u16, Value)>, SessionError> {
        let request = request_bytes("POST", &format!("/api/v1/beads/{path}"), token, Some(&body.to_string()));
        let status = if is_dying {
            let moment = Duration::from_micros(self.rng.below(MAX_DEATH_DELAY_US) as u64);
            match tokio::time::timeout(moment, connection.ask(&request)).await {
                Ok(status) => status?,
                Err(_) => return Ok(None),
            }
        } else {
            connection.ask(&request).await?
        };
        self.shared.answered.set(self.shared.answered.get() + 1);
        Ok(Some((status, serde_json::from_slice(connection.body()).unwrap_or_default())))
    }

    /// Claims a bead, at first without waiting. Ends the session if the agent dies.
    async fn claim(&mut self, connection: &mut KeepAlive) -> Result<Option<SessionEnd>, SessionError> {
        let token = self.token.clone();
        for wait_sec in [0, WAIT_SEC] {
            let is_dying = self.should_die();
            let sent = Instant::now();
            let body = json!({"wait_sec": wait_sec, "ttl_sec": TTL_SEC});
            let answer = self.ask(connection, &token, "claim", &body, is_dying).await?;
            let took = sent.elapsed();
            let grant = match &answer {
                Some((200, claimed)) => Some(grant(claimed)?),
                Some((204, _)) | None => None,
                Some((409, told)) if self.has_unknown_claim && told["type"] == "transition" => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                    return Ok(None);
                }
                Some((status, told)) => return Err(server_error(format!("claim: {status} {told}"))),
            };
            if is_dying {
                self.tally.deaths[0] += 1;
                self.stale_grants.extend(grant);
                return Ok(Some(SessionEnd::Died));
            }
            // The agent was idle, so it holds none of its earlier beads.
            self.has_unknown_claim = false;
            self.check_stale_leases(connection).await?;
            let Some(grant) = grant else { continue };
            if wait_sec == 0 {
                self.tally.claims.push(took);
            } else {
                self.tally.waits += 1;
            }
            if self.should_die() {
                self.tally.deaths[1] += 1;
                self.stale_grants.push(grant);
                return Ok(Some(SessionEnd::Died));
            }
            let body = json!({"lease_token": grant.token});
            // Set now, so that the agent remembers the claim if the server is killed.
            self.held = Some((grant.clone(), false));
            let path = format!("{}/heartbeat", grant.bead);
            let sent = Instant::now();
            match self.ask(connection, &token, &path, &body, false).await? {
                Some((200, _)) => {
                    self.tally.renewals.push(sent.elapsed());
                    return Ok(None);
                }
                other => return Err(server_error(format!("heartbeat of {}: {other:?}", grant.bead))),
            }
        }
        Ok(None)
    }

    /// Completes the held bead; returns whether the agent died during it.
    async fn complete_bead(
        &mut self,
        connection: &mut KeepAlive,
        grant: Grant,
        is_asked: bool,
    ) -> Result<bool, SessionError> {
        let token = self.token.clone();
        let Grant { bead, token: lease } = &grant;
        let summary = format!("{bead}, number {} of {}", self.tally.ended.len(), self.id);
        let body = json!({"summary": summary, "lease_token": lease});
        let is_dying = self.should_die();
        self.held = Some((grant.clone(), true));
        let sent = Instant::now();
        let answer = self.ask(connection, &token, &format!("{bead}/complete"), &body, is_dying).await?;
        if is_dying {
            // The next life finds out whether the bead was completed.
            self.tally.deaths[2] += 1;
            return Ok(true);
        }
        match answer {
            Some((200, told)) if told["status"] == "closed" => self.tally.ends.push(sent.elapsed()),
            // The earlier request had no answer but took effect: only this agent gives this summary.
            Some((403 | 409, told)) if is_asked => {
                let admin = self.shared.admin.clone();
                let request = request_bytes("GET", &format!("/api/v1/beads/{bead}"), &admin, None);
                let status = connection.ask(&request).await?;
                let shown: Value = serde_json::from_slice(connection.body()).unwrap_or_default();
                if status != 200 || shown["close_reason"] != json!(summary) {
                    return Err(server_error(format!("complete again: {told}; {status} {shown}")));
                }
            }
            other => return Err(server_error(format!("complete {bead}: {other:?}"))),
        }
        self.held = None;
        self.tally.ended.push((grant.bead, summary));
        self.shared.done.set(self.shared.done.get() + 1);
        if self.shared.done.get() == self.shared.beads {
            self.shared.is_complete.send_replace(true);
        }
        Ok(false)
    }

    /// Tries to complete and to renew with the tokens of earlier lives: as the agent, and as the administrator.
    /// Only the fence stops the administrator.
    async fn check_stale_leases(&mut self, connection: &mut KeepAlive) -> Result<(), SessionError> {
        while let Some(stale_grant) = self.stale_grants.last().cloned() {
            self.check_refused(connection, &stale_grant).await?;
            self.tally.stale.extend(self.stale_grants.pop());
        }
        Ok(())
    }

    async fn check_refused(
        &mut self,
        connection: &mut KeepAlive,
        stale_grant: &Grant,
    ) -> Result<(), SessionError> {
        let complete_bead = json!({"summary": STALE_SUMMARY, "lease_token": stale_grant.token});
        let renew = json!({"lease_token": stale_grant.token});
        let (own, admin) = (self.token.clone(), self.shared.admin.clone());
        for (action, body) in [("complete", complete_bead), ("heartbeat", renew)] {
            let path = format!("{}/{action}", stale_grant.bead);
            // The agent's own token may be refused before the fence, because another agent holds the bead.
            match self.ask(connection, &own, &path, &body, false).await? {
                Some((403, _)) => {}
                Some((409, told)) if told["type"] == "stale-lease" => {}
                other => return Err(server_error(format!("stale {path}: {other:?}"))),
            }
            match self.ask(connection, &admin, &path, &body, false).await? {
                Some((409, told)) if told["type"] == "stale-lease" => {}
                other => return Err(server_error(format!("stale {path} as admin: {other:?}"))),
            }
        }
        Ok(())
    }
}

/// Summary that no bead may have at the end.
pub const STALE_SUMMARY: &str = "from the dead";

/// Reads bead and lease token from the answer to a claim.
pub fn grant(claimed: &Value) -> Result<Grant, HttpError> {
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or("a claim without bead or token");
    Ok(Grant { bead: text(&claimed["bead"]["id"])?, token: text(&claimed["lease"]["token"])? })
}
