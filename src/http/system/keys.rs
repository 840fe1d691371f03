//! The entries of the vault: what they are called and what they are for, never what they hold.

use crate::http::framework::project_scope::ProjectScope;
use crate::http::framework::required_role::Access;
use crate::http::wire::page::{PAGE, paginate};
use crate::http::wire::schema::time;
use crate::http::wire::serde_fields::{Secret, present};
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_core::kernel::ids::KeyId;
use arbiter_core::kernel::time::Timestamp;
use arbiter_vault::{EntryInfo, NewEntry};
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use warp::http::Method;

const COLLECTION: &str = "/api/v1/keys";
/// Default purpose of a key.
const DEFAULT_PURPOSE: &str = "provider";

/// An entry of the vault.
#[derive(Debug, Serialize, JsonSchema)]
struct KeyView {
    /// Its id.
    id: String,
    /// Its name.
    name: String,
    /// Description.
    description: String,
    /// Purpose: `provider`, `tls`, `codec`.
    purpose: String,
    /// The hosts it may be sent to; empty: any.
    allowed_hosts: Vec<String>,
    /// The format of the entry.
    version: u32,
    /// Rounds of its key derivation.
    iterations: u32,
    /// Time of creation.
    #[schemars(schema_with = "time")]
    created_at: Timestamp,
    /// Time of the last write of the value.
    #[schemars(schema_with = "time")]
    updated_at: Timestamp,
}

impl From<EntryInfo> for KeyView {
    fn from(entry: EntryInfo) -> Self {
        Self {
            id: entry.id.as_str().to_owned(),
            name: entry.name,
            description: entry.description,
            purpose: entry.purpose,
            allowed_hosts: entry.allowed_hosts,
            version: entry.version,
            iterations: entry.iterations,
            created_at: entry.created_at,
            updated_at: entry.updated_at,
        }
    }
}

/// A key to be stored.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewKeyBody {
    /// Its id; else one is made.
    #[serde(default)]
    id: Option<String>,
    /// Its name.
    name: String,
    /// Description.
    #[serde(default)]
    description: String,
    /// Purpose; `provider` by default.
    #[serde(default)]
    purpose: Option<String>,
    /// The hosts it may be sent to; empty: any.
    #[serde(default)]
    allowed_hosts: Vec<String>,
    /// The key itself.
    value: Secret,
}

/// A key's new value.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct KeyValueBody {
    /// The key itself.
    value: Secret,
    /// The hosts it may be sent to from then on, empty: any; as before when it is not given.
    #[serde(default, deserialize_with = "present")]
    allowed_hosts: Option<Vec<String>>,
}

/// Listing, storing, replacing and deleting keys.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(COLLECTION, list)
            .scope(ProjectScope::Unscoped)
            .query(PAGE)
            .summary("The entries of the vault, locked or not, without their keys")
            .answers::<Vec<KeyView>>(200),
        Endpoint::with_body(Method::POST, COLLECTION, create)
            .without_kept_answers()
            .access(Access::Admin)
            .secret()
            .summary("Store a key")
            .answers::<KeyView>(201),
        Endpoint::with_body(Method::PUT, "/api/v1/keys/{id}", replace)
            .access(Access::Admin)
            .secret()
            .summary("Replace a key's value, and the hosts it may be sent to if some are given")
            .answers::<KeyView>(200),
        Endpoint::delete("/api/v1/keys/{id}", remove)
            .access(Access::Admin)
            .summary("Delete a key")
            .answers_without_json(204),
    ]
}

async fn list(request: ApiRequest) -> Result<Reply, ApiError> {
    let entries = request.handles().vault.entries();
    let page = paginate(entries, &request.page()?, |entry| entry.id.as_str().to_owned());
    Reply::page::<_, KeyView>(request.page_link(), page)
}

async fn create(request: ApiRequest, body: NewKeyBody) -> Result<Reply, ApiError> {
    let id = match &body.id {
        Some(text) => KeyId::parse(text).map_err(|error| ApiError::field("id", error.to_string()))?,
        None => KeyId::from_random(random()?),
    };
    check_value(&body.value)?;
    if !(1..=200).contains(&body.name.chars().count()) {
        return Err(ApiError::field("name", "has 1 to 200 characters"));
    }
    let entry = NewEntry {
        id,
        name: body.name,
        description: body.description,
        purpose: body.purpose.unwrap_or_else(|| DEFAULT_PURPOSE.to_owned()),
        allowed_hosts: body.allowed_hosts,
    };
    let stored = request.handles().vault.store(&request.caller()?, entry, body.value.0).await?;
    let view = KeyView::from(stored);
    Reply::created(&view, COLLECTION, &view.id)
}

async fn replace(request: ApiRequest, body: KeyValueBody) -> Result<Reply, ApiError> {
    check_value(&body.value)?;
    let id = KeyId::from_trusted(request.param("id"));
    let (caller, hosts) = (request.caller()?, body.allowed_hosts);
    let entry = request.handles().vault.replace(&caller, &id, body.value.0, hosts).await?;
    Reply::json(&KeyView::from(entry))
}

async fn remove(request: ApiRequest) -> Result<Reply, ApiError> {
    request.handles().vault.delete(&request.caller()?, &KeyId::from_trusted(request.param("id"))).await?;
    Ok(Reply::no_content())
}

fn check_value(value: &Secret) -> Result<(), ApiError> {
    match value.0.expose_secret().is_empty() {
        true => Err(ApiError::field("value", "is empty")),
        false => Ok(()),
    }
}

fn random() -> Result<[u8; 16], ApiError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| crate::http::wire::error_mapping::internal(&error))?;
    Ok(bytes)
}
