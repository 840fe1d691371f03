//! One external agent of the swarm: it fetches a bead, renews its lease, ends it; now and then it dies and comes back.
//!
//! Owns what one agent knows: what it holds, with whose tokens it died, what it was answered. A death is silence: the
//! connection is dropped, the claim is left to its lease. What no answer was seen to, because the agent died or the server was killed, is
//! settled over the next connection. Must not judge the whole: that is `proof`.

use crate::Outcome;
use arbiter_testkit::{HttpError, KeepAlive, SplitMix64, request_bytes};
use serde_json::{Value, json};
use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The shortest lease there is.
pub const TTL_SEC: u64 = 10;
/// How long a claim waits for a bead when there is none.
const WAIT_SEC: u64 = 20;
/// Of so many chances to die, one is taken; each bead has three: while it is claimed, held, and ended.
const DEATH_ODDS: usize = 300;
/// Somebody who dies in the middle of a request does so within this time.
const MAX_DEATH_DELAY_US: usize = 3000;
/// How long a returned agent waits before it asks again whether its former life has ended.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// What all agents share.
pub struct Shared {
    /// Where the server listens; none while it is down.
    pub address: watch::Sender<Option<SocketAddr>>,
    /// Beads whose end was accepted.
    pub done: Cell<usize>,
    /// Whether these are all.
    pub is_complete: watch::Sender<bool>,
    /// How many there are.
    pub beads: usize,
    /// When so many are done, nobody dies any more, so that the end is not the wait for the last lease.
    pub deaths_until: usize,
    /// The administrator's token.
    pub admin: String,
    /// Requests answered.
    pub answered: Cell<usize>,
}

/// A claim: bead and token of its lease.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The bead.
    pub bead: String,
    /// The token.
    pub token: String,
}

/// What an agent has lived through.
#[derive(Debug, Default)]
pub struct Tally {
    /// Claims that found a bead at once.
    pub claims: Vec<Duration>,
    /// Claims that had to wait for one.
    pub waits: usize,
    /// Renewals of leases.
    pub renewals: Vec<Duration>,
    /// Ends of beads.
    pub ends: Vec<Duration>,
    /// Beads it has ended, each with the summary that it gave.
    pub ended: Vec<(String, String)>,
    /// Deaths while a bead was claimed, held, and ended.
    pub deaths: [usize; 3],
    /// Connections that the server's end took away.
    pub lost: usize,
    /// Tokens of earlier lives, all refused.
    pub stale: Vec<Grant>,
}

/// Why a connection is over.
enum SessionEnd {
    Died,
    AllDone,
}

/// Why it went wrong.
enum SessionError {
    /// There is no answer: the server has gone.
    ConnectionLost,
    /// The server is at fault.
    Server(HttpError),
}

impl From<HttpError> for SessionError {
    fn from(error: HttpError) -> Self {
        // An answer that does not come is a fault; a connection that breaks is how a killed server looks.
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
    /// What it holds, and whether it has asked for its end.
    held: Option<(Grant, bool)>,
    /// Claims of its earlier lives whose leases may still run.
    stale_grants: Vec<Grant>,
    /// True if it may hold a bead that it does not know of.
    has_unknown_claim: bool,
}

impl<'a> Agent<'a> {
    /// An agent that has not begun.
    pub fn new(shared: &'a Shared, id: String, token: String, rng: SplitMix64) -> Self {
        let (tally, stale_grants) = (Tally::default(), Vec::new());
        Self { shared, id, token, rng, tally, held: None, stale_grants, has_unknown_claim: false }
    }

    /// Works until all beads are done.
    pub async fn run(mut self) -> Outcome<Tally> {
        let mut address = self.shared.address.subscribe();
        loop {
            let at = *address.wait_for(Option::is_some).await?;
            // A server that has just been killed accepts nobody, and is soon known to be down.
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
                // Whoever still waits for a bead goes away.
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

    /// Sends a request and reads the answer; with `is_dying` it dies in the middle of that, and there is none.
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

    /// Fetches a bead, at first without waiting. It is over when the agent has died.
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
            // It was idle, so nothing that it held before is its own any more.
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
            // Held from here on, so that a server that is killed now does not make the agent forget it.
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

    /// Ends the bead it holds; tells whether it died of that.
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
            // Whether it was done is seen in the next life.
            self.tally.deaths[2] += 1;
            return Ok(true);
        }
        match answer {
            Some((200, told)) if told["status"] == "closed" => self.tally.ends.push(sent.elapsed()),
            // Asked for before, without an answer, and done then: nobody else gives this summary.
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

    /// Tries to end and to renew with the tokens of its earlier lives: by itself, and as the administrator, whom nothing but the
    /// fence keeps from it.
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
            // Its own token may be refused before the fence: the bead is somebody else's.
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

/// The summary that no bead may have in the end.
pub const STALE_SUMMARY: &str = "from the dead";

/// The bead and token of an answer to a claim.
pub fn grant(claimed: &Value) -> Result<Grant, HttpError> {
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or("a claim without bead or token");
    Ok(Grant { bead: text(&claimed["bead"]["id"])?, token: text(&claimed["lease"]["token"])? })
}
