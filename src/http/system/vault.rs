//! The vault: where it stands, its lock, its password, and whole key files. No route returns a password or
//! a key in the clear.

use crate::http::framework::project_scope::ProjectScope;
use crate::http::framework::required_role::Access;
use crate::http::wire::schema::{maybe_time, word};
use crate::http::wire::serde_fields::Secret;
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_actors::{ImportedKeys, RolledBack, Unlocked};
use arbiter_core::kernel::ids::KeyId;
use arbiter_core::kernel::limits::MIN_PASSWORD_CHARS;
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::kernel::vault;
use arbiter_vault::OnConflict;
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use warp::http::{Method, StatusCode};

/// State of the vault.
#[derive(Debug, Serialize, JsonSchema)]
struct VaultStateView {
    /// `uninitialized`, `locked` or `unlocked`.
    #[schemars(schema_with = "word::<vault::Status>")]
    state: vault::Status,
    /// Why it is locked and stays so: `key-file-missing` when the key file has been there and is gone; else null.
    reason: Option<&'static str>,
    /// Number of keys.
    keys: usize,
    /// Since when it is unlocked.
    #[schemars(schema_with = "maybe_time")]
    unlocked_at: Option<Timestamp>,
    /// After how many idle seconds it locks itself; 0: never.
    auto_lock_sec: u64,
    /// Ids of keys that were made for providers which do not exist.
    orphans: Vec<String>,
    /// Set when the key file is older than the newest one seen: no key is used until that is accepted.
    rolled_back: Option<RolledBackView>,
}

/// An older key file in the place of a newer one.
#[derive(Debug, Serialize, JsonSchema)]
struct RolledBackView {
    /// The newest generation that was seen.
    seen: u64,
    /// The generation of the file.
    found: u64,
}

impl From<RolledBack> for RolledBackView {
    fn from(RolledBack { seen, found }: RolledBack) -> Self {
        Self { seen, found }
    }
}

/// The vault's password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UnlockBody {
    /// The password.
    password: Secret,
}

/// Another password for the vault.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RotateBody {
    /// The password of now.
    old_password: Secret,
    /// The password from then on.
    new_password: Secret,
    /// Rounds of key derivation, 100000 to 10000000; as configured when it is not given.
    #[serde(default)]
    iterations: Option<u32>,
}

/// Keys to export.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExportBody {
    /// The vault's password.
    password: Secret,
    /// The password of the file; else the vault's.
    #[serde(default)]
    new_password: Option<Secret>,
    /// The ids of the keys; else all.
    #[serde(default)]
    keys: Option<Vec<String>>,
}

/// A key file, complete as it would lie in a data directory.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
struct KeyFileView(Map<String, Value>);

/// Handling of an imported key whose id is taken.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum ConflictWord {
    /// Nothing is imported at all.
    #[default]
    Refuse,
    /// The key that is here stays.
    Skip,
    /// The imported key takes its place.
    Replace,
}

impl From<ConflictWord> for OnConflict {
    fn from(word: ConflictWord) -> Self {
        match word {
            ConflictWord::Refuse => Self::Refuse,
            ConflictWord::Skip => Self::Skip,
            ConflictWord::Replace => Self::Replace,
        }
    }
}

/// Keys from another file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ImportBody {
    /// The password of the file.
    password: Secret,
    /// The file: version 2, or version 1 in either of its forms.
    file: KeyFileView,
    /// Handling of a key whose id is taken; `refuse` by default.
    #[serde(default)]
    on_conflict: ConflictWord,
}

/// Result of an import, by ids.
#[derive(Debug, Serialize, JsonSchema)]
struct ImportedView {
    /// Taken over, encrypted under this vault's password.
    imported: Vec<String>,
    /// Left out, because the id was taken.
    skipped: Vec<String>,
    /// Left out, because the file's password does not open them.
    unreadable: Vec<String>,
}

impl From<ImportedKeys> for ImportedView {
    fn from(ImportedKeys { imported, skipped, unreadable }: ImportedKeys) -> Self {
        Self { imported, skipped, unreadable }
    }
}

/// The vault's state, its lock, its password, and whole key files.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/vault", show)
            .scope(ProjectScope::Unscoped)
            .summary("Where the vault stands")
            .answers::<VaultStateView>(200),
        Endpoint::with_body(Method::POST, "/api/v1/vault/unlock", unlock)
            .without_kept_answers()
            .access(Access::Admin)
            .secret()
            .summary("Unlock the vault; the first password creates it")
            .answers::<VaultStateView>(200)
            .answers::<VaultStateView>(201),
        Endpoint::post("/api/v1/vault/lock", lock)
            .without_kept_answers()
            .access(Access::Admin)
            .summary("Forget the password and every key")
            .answers::<VaultStateView>(200),
        Endpoint::with_body(Method::POST, "/api/v1/vault/rotate", rotate)
            .without_kept_answers()
            .access(Access::Admin)
            .secret()
            .unlimited()
            .summary("Change the password: every key is encrypted anew, all or none")
            .answers::<VaultStateView>(200),
        Endpoint::post("/api/v1/vault/accept-rollback", accept_rollback)
            .without_kept_answers()
            .access(Access::Admin)
            .summary("Use a key file that is older than the newest one seen")
            .answers::<VaultStateView>(200),
        Endpoint::with_body(Method::POST, "/api/v1/vault/export", export)
            .without_kept_answers()
            .access(Access::Admin)
            .secret()
            .unlimited()
            .summary("Keys as an encrypted file for another data directory")
            .answers::<KeyFileView>(200),
        Endpoint::with_body(Method::POST, "/api/v1/vault/import", import)
            .without_kept_answers()
            .access(Access::Admin)
            .secret_document()
            .unlimited()
            .summary("Take over the keys of an encrypted file")
            .answers::<ImportedView>(200),
    ]
}

async fn show(request: ApiRequest) -> Result<Reply, ApiError> {
    let vault = &request.handles().vault;
    let view = vault.view();
    Reply::json(&VaultStateView {
        state: view.state,
        reason: view.is_missing.then_some("key-file-missing"),
        keys: view.keys,
        unlocked_at: view.unlocked_at,
        auto_lock_sec: view.auto_lock_sec,
        orphans: vault.orphans().await?,
        rolled_back: view.rolled_back.map(RolledBackView::from),
    })
}

async fn unlock(request: ApiRequest, body: UnlockBody) -> Result<Reply, ApiError> {
    let unlocked = request.handles().vault.unlock(&request.caller()?, body.password.0).await?;
    let reply = show(request).await?;
    Ok(match unlocked {
        Unlocked::Created => reply.with_status(StatusCode::CREATED),
        Unlocked::Opened => reply,
    })
}

async fn lock(request: ApiRequest) -> Result<Reply, ApiError> {
    request.handles().vault.lock(&request.caller()?).await?;
    show(request).await
}

async fn rotate(request: ApiRequest, body: RotateBody) -> Result<Reply, ApiError> {
    check_new(&body.new_password)?;
    let (old, new) = (body.old_password.0, body.new_password.0);
    request.handles().vault.change_password(&request.caller()?, old, new, body.iterations).await?;
    show(request).await
}

async fn accept_rollback(request: ApiRequest) -> Result<Reply, ApiError> {
    request.handles().vault.accept_rollback(&request.caller()?).await?;
    show(request).await
}

async fn export(request: ApiRequest, body: ExportBody) -> Result<Reply, ApiError> {
    if let Some(new) = &body.new_password {
        check_new(new)?;
    }
    let ids = body.keys.map(|ids| ids.into_iter().map(KeyId::from_trusted).collect());
    let new = body.new_password.map(|new| new.0);
    let file = request.handles().vault.export(&request.caller()?, body.password.0, new, ids).await?;
    Ok(Reply::rendered_json(file.into()))
}

async fn import(request: ApiRequest, body: ImportBody) -> Result<Reply, ApiError> {
    let file =
        serde_json::to_vec(&body.file).map_err(|error| crate::http::wire::error_mapping::internal(&error))?;
    let (caller, conflict) = (request.caller()?, body.on_conflict.into());
    let imported = request.handles().vault.import(&caller, file, body.password.0, conflict).await?;
    Reply::json(&ImportedView::from(imported))
}

fn check_new(password: &Secret) -> Result<(), ApiError> {
    if password.0.expose_secret().chars().count() < MIN_PASSWORD_CHARS {
        let detail = format!("must have at least {MIN_PASSWORD_CHARS} characters");
        return Err(ApiError::field("new_password", detail));
    }
    Ok(())
}
