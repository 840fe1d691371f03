//! Signing a browser in and out: a token for a cookie that scripts cannot read.

use crate::http::framework::auth::Identity;
use crate::http::framework::cookie;
use crate::http::framework::project_scope::ProjectScope;
use crate::http::framework::required_role::Access;
use crate::http::system::tokens::WhoView;
use crate::http::wire::serde_fields::Secret;
use crate::http::{ApiError, ApiRequest, Endpoint, Reply};
use arbiter_core::kernel::problem_code::ProblemCode;
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::Deserialize;
use std::time::Duration;
use warp::http::header::SET_COOKIE;
use warp::http::{Method, StatusCode};

const PATH: &str = "/api/v1/session";

/// Body of a browser's sign-in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SignInBody {
    /// A token.
    token: Secret,
}

/// Signing in and out.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::with_body(Method::POST, PATH, sign_in)
            .without_kept_answers()
            .scope(ProjectScope::Unscoped)
            .access(Access::Public)
            .secret()
            .summary("Sign in with a token; the answer sets a cookie that may what the token may")
            .answers::<WhoView>(201),
        Endpoint::delete(PATH, sign_out)
            .scope(ProjectScope::Unscoped)
            .access(Access::Public)
            .summary("Sign out; the cookie is of no use any more")
            .answers_without_json(204),
    ]
}

async fn sign_in(request: ApiRequest, body: SignInBody) -> Result<Reply, ApiError> {
    let tokens = &request.handles().tokens;
    let Some(admission) = tokens.authenticate(body.token.0.expose_secret().trim()) else {
        return Err(ApiError::new(ProblemCode::Unauthorized, "the token is unknown, revoked or expired"));
    };
    let lasts = Duration::from_secs(request.context.settings().http.session_ttl_sec);
    let (secret, expires_at) = tokens.begin_session(&admission, lasts).await?;
    // Rounded up: the browser may try it a moment too long, and is told so.
    let seconds = expires_at.since(request.now()).as_millis().div_ceil(1000);
    let (name, transport) = (request.context.cookie_name(), request.context.transport());
    let cookie = cookie::set(name, secret.expose_secret(), seconds, transport);
    let reply =
        Reply::json(&WhoView::from(&Identity::Authenticated(admission)))?.with_status(StatusCode::CREATED);
    Ok(reply.with_header(SET_COOKIE, &cookie))
}

/// Signing out twice is no error: the browser only wants to be rid of the cookie.
async fn sign_out(request: ApiRequest) -> Result<Reply, ApiError> {
    let (name, transport) = (request.context.cookie_name(), request.context.transport());
    let tokens = &request.handles().tokens;
    if let Some(admission) = cookie::read(&request.headers, name).and_then(|s| tokens.authenticate_session(s))
        && let Some(digest) = admission.session()
    {
        tokens.end_session(&request.caller()?, digest).await?;
    }
    Ok(Reply::no_content().with_header(SET_COOKIE, &cookie::set(name, "", 0, transport)))
}
