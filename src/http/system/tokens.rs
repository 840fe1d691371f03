//! Tokens: who may use the API. A token's text is shown once.

use crate::http::framework::auth::Identity;
use crate::http::framework::project_scope::ProjectScope;
use crate::http::framework::required_role::Access;
use crate::http::wire::page::{PAGE, paginate};
use crate::http::wire::schema::{maybe_time, time, word};
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_actors::{AuthenticatedToken, NewToken};
use arbiter_core::kernel::ids::TokenId;
use arbiter_core::kernel::lease::hex;
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::kernel::token::{Proof, Role, Token};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use warp::http::Method;

const COLLECTION: &str = "/api/v1/tokens";

/// A token without its text.
#[derive(Debug, Serialize, JsonSchema)]
struct TokenView {
    /// Its id.
    id: String,
    /// Purpose.
    name: String,
    /// Role of the holder.
    #[schemars(schema_with = "word::<Role>")]
    role: Role,
    /// The person who holds it.
    user: Option<String>,
    /// The agent that holds it.
    agent_id: Option<String>,
    /// The projects it is limited to; null: all of them.
    projects: Option<Vec<String>>,
    /// Proof of the token: a secret `text`, or the key of a `certificate`.
    #[schemars(schema_with = "word::<Proof>")]
    proof: Proof,
    /// SHA-256 of the certificate in hex; null for a text.
    certificate_sha256: Option<String>,
    /// Time of creation.
    #[schemars(schema_with = "time")]
    created_at: Timestamp,
    /// Time of expiry.
    #[schemars(schema_with = "maybe_time")]
    expires_at: Option<Timestamp>,
    /// Time of the last use, to the minute.
    #[schemars(schema_with = "maybe_time")]
    last_used_at: Option<Timestamp>,
}

impl From<Token> for TokenView {
    fn from(token: Token) -> Self {
        Self {
            id: token.id.as_str().to_owned(),
            name: token.name,
            role: token.role,
            user: token.user,
            agent_id: token.agent_id,
            projects: token.projects,
            proof: token.proof,
            certificate_sha256: (token.proof == Proof::Certificate).then_some(token.digest),
            created_at: token.created_at,
            expires_at: token.expires_at,
            last_used_at: token.last_used_at,
        }
    }
}

/// A new token with its text.
#[derive(Serialize, JsonSchema)]
struct NewTokenView {
    /// The token.
    #[serde(flatten)]
    made: TokenView,
    /// Its text; this is the only time it is shown. Null when a certificate proves it.
    token: Option<String>,
}

/// A token to be made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewTokenBody {
    /// Purpose.
    name: String,
    /// Role of the holder.
    #[schemars(schema_with = "word::<Role>")]
    role: Role,
    /// The person who holds it; its name by default.
    #[serde(default)]
    user: Option<String>,
    /// The agent that holds it; required of the role `agent`.
    #[serde(default)]
    agent_id: Option<String>,
    /// The projects it is limited to; else all of them.
    #[serde(default)]
    projects: Option<Vec<String>>,
    /// A client certificate in PEM whose key proves the token, instead of a text.
    #[serde(default)]
    certificate: Option<String>,
    /// Time of expiry; never by default.
    #[serde(default)]
    #[schemars(schema_with = "maybe_time")]
    expires_at: Option<Timestamp>,
}

/// Identity of the caller.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WhoView {
    /// The name that events show.
    name: String,
    /// Role of the caller.
    #[schemars(schema_with = "word::<Role>")]
    role: Role,
    /// The person.
    user: Option<String>,
    /// The agent.
    agent_id: Option<String>,
    /// The projects the caller is limited to; null: all of them.
    projects: Option<Vec<String>>,
    /// The token; null on a server that asks for none.
    token_id: Option<String>,
    /// Time of expiry of the token, or of the session that began with it.
    #[schemars(schema_with = "maybe_time")]
    expires_at: Option<Timestamp>,
}

impl From<&Identity> for WhoView {
    fn from(identity: &Identity) -> Self {
        Self {
            name: identity.name().to_owned(),
            role: identity.role(),
            user: identity.user().map(str::to_owned),
            agent_id: identity.agent_id().map(str::to_owned),
            projects: identity.projects().map(<[String]>::to_vec),
            token_id: identity.token().map(|token| token.id.to_string()),
            expires_at: identity.admission().and_then(AuthenticatedToken::ends_at),
        }
    }
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
            .without_kept_answers()
            .access(Access::Admin)
            .summary("Make a token; its text is shown once")
            .answers::<NewTokenView>(201),
        Endpoint::delete("/api/v1/tokens/{id}", revoke)
            .access(Access::Admin)
            .summary("Make a token useless at once")
            .answers_without_json(204),
        Endpoint::get("/api/v1/whoami", whoami)
            .scope(ProjectScope::Unscoped)
            .summary("Who the caller is")
            .answers::<WhoView>(200),
    ]
}

async fn list(request: ApiRequest) -> Result<Reply, ApiError> {
    let tokens = request.handles().store.tokens().await?;
    let page = paginate(tokens, &request.page()?, |token| format!("{}~{}", token.created_at, token.id));
    Reply::page::<_, TokenView>(request.page_link(), page)
}

async fn create(request: ApiRequest, body: NewTokenBody) -> Result<Reply, ApiError> {
    let new = NewToken {
        name: body.name,
        role: body.role,
        user: body.user,
        agent_id: body.agent_id,
        projects: body.projects,
        expires_at: body.expires_at,
    };
    let (tokens, caller) = (&request.handles().tokens, request.caller()?);
    let (token, text) = match body.certificate {
        Some(pem) => (tokens.create_for_certificate(&caller, new, fingerprint(&pem)?).await?, None),
        None => {
            let (token, text) = tokens.create(&caller, new).await?;
            (token, Some(text.expose_secret().to_owned()))
        }
    };
    let view = NewTokenView { made: token.into(), token: text };
    Reply::created(&view, COLLECTION, &view.made.id)
}

/// SHA-256 of the one certificate in a PEM text, in hex.
fn fingerprint(pem: &str) -> Result<String, ApiError> {
    let wrong = |detail: &str| Err(ApiError::field("certificate", detail));
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found.as_deref() {
        Ok([certificate]) => Ok(hex(&Sha256::digest(certificate))),
        Ok([]) | Err(_) => wrong("is no certificate in PEM"),
        Ok(_) => wrong("holds more than one certificate; the client's own is wanted, without its issuers"),
    }
}

async fn revoke(request: ApiRequest) -> Result<Reply, ApiError> {
    request.handles().tokens.revoke(&request.caller()?, &TokenId::from_trusted(request.param("id"))).await?;
    Ok(Reply::no_content())
}

async fn whoami(request: ApiRequest) -> Result<Reply, ApiError> {
    Reply::json(&WhoView::from(&request.identity))
}
