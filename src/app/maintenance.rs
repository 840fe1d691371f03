//! Work on a data directory that no server holds: a new admin token, and the check of the event log.

use crate::app::admin_token;
use crate::app::error::StartError;
use crate::app::server_file::write_private;
use arbiter_actors::{Clock, NewToken, SystemClock};
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::TokenId;
use arbiter_core::kernel::lease;
use arbiter_core::kernel::token::{Proof, Role, Token};
use arbiter_store::{Change, DirectoryLock, Options, Store, StoreError, Unit, Verified, VerifyError};
use serde_json::json;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A store without actors, in a directory that this process has locked.
struct OfflineStore {
    store: Store,
    _lock: DirectoryLock,
}

impl OfflineStore {
    fn with(directory: &Path) -> Result<Self, StartError> {
        let lock = DirectoryLock::take(directory)?;
        let store = Store::open(Options {
            directory: lock.directory().to_owned(),
            readers: 1,
            group_max: 1,
            queue_max: 16,
            now: SystemClock.now(),
            publish: Box::new(drop),
            // The commit returns the same failure to its caller, the only one here.
            on_failure: Box::new(|_| {}),
        })
        .map_err(store_failed)?;
        Ok(Self { store, _lock: lock })
    }
}

impl Drop for OfflineStore {
    fn drop(&mut self) {
        self.store.close();
    }
}

fn store_failed(error: StoreError) -> StartError {
    StartError::ActorSystem(error.into())
}

/// The result of a reset of the admin token.
pub struct AdminTokenReset {
    /// The file with the new one.
    pub path: PathBuf,
    /// The number of revoked tokens.
    pub revoked: usize,
}

/// Makes a new admin token and writes it where the first start wrote one; all earlier ones of that role no
/// longer work. The file comes first: killed in between, the command is given again.
///
/// # Errors
/// [`StartError`] when a server holds the directory, or something cannot be written.
pub async fn reset_admin_token(directory: &Path) -> Result<AdminTokenReset, StartError> {
    let offline = OfflineStore::with(directory)?;
    let (mut random, mut id) = (Zeroizing::new([0; 32]), [0; 16]);
    getrandom::fill(random.as_mut_slice()).and_then(|()| getrandom::fill(&mut id)).map_err(|error| {
        StartError::Process { operation: "draw a token", source: std::io::Error::other(error.to_string()) }
    })?;
    let text = Zeroizing::new(format!("arb_{}", lease::hex(&random[..])));
    let now = SystemClock.now();
    let new = NewToken::of_person("admin", Role::Admin);
    let token = Token {
        id: TokenId::from_random(id),
        name: new.name,
        role: new.role,
        user: new.user,
        agent_id: None,
        projects: None,
        proof: Proof::Text,
        digest: lease::digest(&text),
        created_at: now,
        expires_at: None,
        last_used_at: None,
    };
    let path = directory.join(admin_token::FILE);
    write_private(&path, text.as_bytes())?;
    let mut unit = Unit::new(now, "system", "token reset");
    let tokens = offline.store.tokens().await.map_err(store_failed)?;
    let old: Vec<Token> = tokens.into_iter().filter(|token| token.role == Role::Admin).collect();
    for token in &old {
        let told = NewEvent::of(EventType::TokenRevoked, token.id.as_str(), json!({"reason": "token reset"}));
        unit.emit(told);
        unit.change(Change::RevokeToken(token.id.clone()));
    }
    let data = json!({"name": token.name, "role": token.role, "reason": "token reset"});
    unit.emit(NewEvent::of(EventType::TokenCreated, token.id.as_str(), data));
    unit.change(Change::PutToken(token));
    offline.store.commit(unit).await.map_err(store_failed)?;
    Ok(AdminTokenReset { path, revoked: old.len() })
}

/// Follows the hash chain through the event log.
///
/// # Errors
/// [`StartError`] when a server holds the directory or the database cannot be opened; within it, what is
/// wrong with the log.
pub async fn verify_audit(directory: &Path) -> Result<Result<Verified, VerifyError>, StartError> {
    let offline = OfflineStore::with(directory)?;
    Ok(offline.store.verify_events().await)
}
