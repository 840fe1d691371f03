//! The vault: where it stands, and its lock. No route returns a password or a key.

use crate::http::access::Access;
use crate::http::fields::Secret;
use crate::http::vocabulary::{maybe_time, word};
use crate::http::{ApiError, Call, Endpoint, Reply};
use arbiter_actors::Unlocked;
use arbiter_core::time::Timestamp;
use arbiter_core::vault;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use warp::http::{Method, StatusCode};

/// Where the vault stands.
#[derive(Debug, Serialize, JsonSchema)]
struct VaultStateView {
    /// `uninitialized`, `locked` or `unlocked`.
    #[schemars(schema_with = "word::<vault::Status>")]
    state: vault::Status,
    /// How many keys it holds.
    keys: usize,
    /// Since when it is unlocked.
    #[schemars(schema_with = "maybe_time")]
    unlocked_at: Option<Timestamp>,
    /// After how many idle seconds it locks itself; 0: never.
    auto_lock_sec: u64,
}

/// The vault's password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UnlockBody {
    /// The password.
    password: Secret,
}

/// The vault's state and its lock.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/vault", show).summary("Where the vault stands").answers::<VaultStateView>(200),
        Endpoint::with_body(Method::POST, "/api/v1/vault/unlock", unlock)
            .access(Access::Admin)
            .secret()
            .summary("Unlock the vault; the first password creates it")
            .answers::<VaultStateView>(200)
            .answers::<VaultStateView>(201),
        Endpoint::post("/api/v1/vault/lock", lock)
            .access(Access::Admin)
            .summary("Forget the password and every key")
            .answers::<VaultStateView>(200),
    ]
}

async fn show(call: Call) -> Result<Reply, ApiError> {
    let view = call.handles().vault.view();
    Reply::json(&VaultStateView {
        state: view.state,
        keys: view.keys,
        unlocked_at: view.unlocked_at,
        auto_lock_sec: view.auto_lock_sec,
    })
}

async fn unlock(call: Call, body: UnlockBody) -> Result<Reply, ApiError> {
    let unlocked = call.handles().vault.unlock(&call.caller()?, body.password.0).await?;
    let reply = show(call).await?;
    Ok(match unlocked {
        Unlocked::Created => reply.with_status(StatusCode::CREATED),
        Unlocked::Opened => reply,
    })
}

async fn lock(call: Call) -> Result<Reply, ApiError> {
    call.handles().vault.lock(&call.caller()?).await?;
    show(call).await
}
