//! Tokens: who may use the API. A token's text is shown once.

use crate::http::access::Access;
use crate::http::page::{PAGE, cut};
use crate::http::vocabulary::{maybe_time, time, word};
use crate::http::{ApiError, Call, Endpoint, Reply};
use arbiter_actors::NewToken;
use arbiter_core::ids::TokenId;
use arbiter_core::time::Timestamp;
use arbiter_core::token::{Role, Token};
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use warp::http::Method;

const COLLECTION: &str = "/api/v1/tokens";

/// A token without its text.
#[derive(Debug, Serialize, JsonSchema)]
struct TokenView {
    /// Its id.
    id: String,
    /// What it is for.
    name: String,
    /// What its holder may do.
    #[schemars(schema_with = "word::<Role>")]
    role: Role,
    /// The person who holds it.
    user: Option<String>,
    /// The agent that holds it.
    agent_id: Option<String>,
    /// When it was made.
    #[schemars(schema_with = "time")]
    created_at: Timestamp,
    /// When it stops to work.
    #[schemars(schema_with = "maybe_time")]
    expires_at: Option<Timestamp>,
}

impl From<Token> for TokenView {
    fn from(token: Token) -> Self {
        Self {
            id: token.id.as_str().to_owned(),
            name: token.name,
            role: token.role,
            user: token.user,
            agent_id: token.agent_id,
            created_at: token.created_at,
            expires_at: token.expires_at,
        }
    }
}

/// A new token with its text.
#[derive(Serialize, JsonSchema)]
struct NewTokenView {
    /// Its id.
    id: String,
    /// Its text; this is the only time it is shown.
    token: String,
    /// What it is for.
    name: String,
    /// What its holder may do.
    #[schemars(schema_with = "word::<Role>")]
    role: Role,
    /// The person who holds it.
    user: Option<String>,
    /// The agent that holds it.
    agent_id: Option<String>,
    /// When it was made.
    #[schemars(schema_with = "time")]
    created_at: Timestamp,
    /// When it stops to work.
    #[schemars(schema_with = "maybe_time")]
    expires_at: Option<Timestamp>,
}

/// A token to be made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewTokenBody {
    /// What it is for.
    name: String,
    /// What its holder may do.
    #[schemars(schema_with = "word::<Role>")]
    role: Role,
    /// The person who holds it; its name by default.
    #[serde(default)]
    user: Option<String>,
    /// The agent that holds it; required of the role `agent`.
    #[serde(default)]
    agent_id: Option<String>,
    /// When it stops to work; else never.
    #[serde(default)]
    #[schemars(schema_with = "maybe_time")]
    expires_at: Option<Timestamp>,
}

/// Who the caller is.
#[derive(Debug, Serialize, JsonSchema)]
struct WhoView {
    /// The name that events show.
    name: String,
    /// What the caller may do.
    #[schemars(schema_with = "word::<Role>")]
    role: Role,
    /// The person.
    user: Option<String>,
    /// The agent.
    agent_id: Option<String>,
    /// The token; null on a server that asks for none.
    token_id: Option<String>,
}

/// Listing, making and revoking tokens, and who one is.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(COLLECTION, list)
            .access(Access::Admin)
            .query(PAGE)
            .summary("The tokens without their texts")
            .answers::<Vec<TokenView>>(200),
        Endpoint::with_body(Method::POST, COLLECTION, create)
            .access(Access::Admin)
            .summary("Make a token; its text is shown once")
            .answers::<NewTokenView>(201),
        Endpoint::delete("/api/v1/tokens/{id}", revoke)
            .access(Access::Admin)
            .summary("Make a token useless at once")
            .answers_plainly(204),
        Endpoint::get("/api/v1/whoami", who).summary("Who the caller is").answers::<WhoView>(200),
    ]
}

async fn list(call: Call) -> Result<Reply, ApiError> {
    let tokens = call.handles().store.tokens().await?;
    let page = cut(tokens, &call.page()?, |token| format!("{}~{}", token.created_at, token.id));
    Reply::page::<_, TokenView>(&call, page)
}

async fn create(call: Call, body: NewTokenBody) -> Result<Reply, ApiError> {
    let new = NewToken {
        name: body.name,
        role: body.role,
        user: body.user,
        agent_id: body.agent_id,
        expires_at: body.expires_at,
    };
    let (token, text) = call.handles().tokens.create(&call.caller()?, new).await?;
    let view = NewTokenView {
        id: token.id.as_str().to_owned(),
        token: text.expose_secret().to_owned(),
        name: token.name,
        role: token.role,
        user: token.user,
        agent_id: token.agent_id,
        created_at: token.created_at,
        expires_at: token.expires_at,
    };
    Reply::created(&view, COLLECTION, &view.id)
}

async fn revoke(call: Call) -> Result<Reply, ApiError> {
    call.handles().tokens.revoke(&call.caller()?, &TokenId::known(call.param("id"))).await?;
    Ok(Reply::no_content())
}

async fn who(call: Call) -> Result<Reply, ApiError> {
    let identity = call.identity;
    Reply::json(&WhoView {
        name: identity.name,
        role: identity.role,
        user: identity.user,
        agent_id: identity.agent_id,
        token_id: identity.token_id,
    })
}
