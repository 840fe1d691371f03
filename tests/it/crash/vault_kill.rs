//! A server that is killed two hundred times while it stores keys, replaces them and changes the password,
//! and its key file opened after each. The seed it prints repeats a failure: `ARBITER_IT_SEED=… cargo test
//! --test it two_hundred_kills`, as far as the machine's own timing allows.

use crate::crash::vault_kill_ledger::{Ledger, PendingChange};
use crate::harness::Harness;
use crate::harness::rng::SeededRng;
use arbiter_testkit::{HttpError, ServerProcess, TEST_PASSWORD, send};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How often the server is killed.
const KILLS: u32 = 200;
/// The most keys at one time: each is derived anew by every change of the password.
const KEYS: usize = 3;
/// The latest time of a kill; by then a change of the password has begun, and often ended.
const LATEST_KILL_MS: u64 = 250;

type SharedLedger = Arc<Mutex<Ledger>>;

fn lock_ledger(ledger: &SharedLedger) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One client; it ends when the server does.
struct Client {
    url: String,
    bearer: String,
    ledger: SharedLedger,
    rng: SeededRng,
    name: String,
}

impl Client {
    fn new(server: &ServerProcess, ledger: &SharedLedger, name: String, rng: SeededRng) -> Self {
        let bearer = format!("Bearer {}", server.token().unwrap());
        Self { url: server.url().to_owned(), bearer, ledger: Arc::clone(ledger), rng, name }
    }

    /// The answer's status; an error when the server is gone.
    async fn ask(&self, method: &str, path: &str, json: Option<Value>) -> Result<(), HttpError> {
        let url = format!("{}/api/v1/{path}", self.url);
        let answer = send(method, &url, &[("authorization", &self.bearer)], json.as_ref()).await?;
        assert!(answer.status < 300, "{method} {path}: {}", answer.json());
        Ok(())
    }

    async fn change_keys(mut self) {
        for number in 0.. {
            let value = format!("sk-{}-{number}", self.name);
            if self.change_key(&format!("k{}-{number}", self.name), value).await.is_err() {
                return;
            }
        }
    }

    async fn change_key(&mut self, fresh: &str, value: String) -> Result<(), HttpError> {
        let known: Vec<String> = lock_ledger(&self.ledger).keys.keys().cloned().collect();
        let chosen = usize::try_from(self.rng.below(known.len().max(1) as u64)).unwrap();
        let id = known.get(chosen).cloned();
        let crowded = known.len() >= KEYS;
        let (method, path, pending_change, body) = match id {
            Some(id) if crowded && self.rng.below(3) == 0 => {
                ("DELETE", format!("keys/{id}"), PendingChange { id, value: None }, None)
            }
            Some(id) if crowded || self.rng.below(2) == 0 => {
                let body = json!({"value": value});
                ("PUT", format!("keys/{id}"), PendingChange { id, value: Some(value) }, Some(body))
            }
            _ => {
                let body = json!({"id": fresh, "name": fresh, "value": value});
                (
                    "POST",
                    "keys".to_owned(),
                    PendingChange { id: fresh.to_owned(), value: Some(value) },
                    Some(body),
                )
            }
        };
        lock_ledger(&self.ledger).pending_change = Some(pending_change);
        self.ask(method, &path, body).await?;
        lock_ledger(&self.ledger).done();
        Ok(())
    }

    async fn change_passwords(self) {
        for number in 0.. {
            let next = format!("password {} {number}", self.name);
            let old = {
                let mut ledger = lock_ledger(&self.ledger);
                ledger.next_password = Some(next.clone());
                ledger.password.clone()
            };
            let body = json!({"old_password": old, "new_password": next});
            if self.ask("POST", "vault/rotate", Some(body)).await.is_err() {
                return;
            }
            let mut ledger = lock_ledger(&self.ledger);
            ledger.next_password = None;
            ledger.password = next;
            ledger.answered += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_kills_leave_one_password_and_every_answered_key() {
    let mut rng = SeededRng::from_env_or_random();
    let mut harness = Harness::new().await;
    let ledger = SharedLedger::default();
    TEST_PASSWORD.clone_into(&mut lock_ledger(&ledger).password);
    let begun = Instant::now();
    for round in 0..KILLS {
        let mut clients = JoinSet::new();
        let kind = rng.below(4);
        // Keys alone, the password alone, or both at once.
        if kind != 1 {
            let client = Client::new(&harness.server, &ledger, format!("{round}"), rng.fork());
            clients.spawn(client.change_keys());
        }
        if kind != 0 {
            let client = Client::new(&harness.server, &ledger, format!("{round}"), rng.fork());
            clients.spawn(client.change_passwords());
        }
        tokio::time::sleep(Duration::from_millis(rng.below(LATEST_KILL_MS))).await;
        harness.server.kill9();
        while let Some(ended) = clients.join_next().await {
            ended.unwrap();
        }
        let file = harness.server.data_dir().join("keys.json");
        let password = lock_ledger(&ledger).settle_password(&file);
        harness.server.set_variable("ARBITER_PASSWORD", &password);
        harness.server.restart().await;
        lock_ledger(&ledger).check(&file);
        assert_eq!(
            harness.get("vault").await["rolled_back"],
            Value::Null,
            "what was written was seen, or newer"
        );
    }
    let ledger = lock_ledger(&ledger);
    eprintln!(
        "{KILLS} kills in {:?}: {} changes answered, {:?} cut",
        begun.elapsed(),
        ledger.answered,
        ledger.interrupted
    );
    assert!(
        ledger.answered > 5 && ledger.interrupted.iter().all(|interrupted| *interrupted > 20),
        "there was too little to lose"
    );
}
