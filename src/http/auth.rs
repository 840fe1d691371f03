//! Who sends a request, by the token it carries.

use crate::config::Authentication;
use crate::http::access::Access;
use crate::http::context::Context;
use crate::http::problem::ApiError;
use arbiter_core::token::{Role, Token};
use warp::http::HeaderMap;
use warp::http::header::{AUTHORIZATION, HeaderName};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Who sends a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name that events show.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The person.
    pub user: Option<String>,
    /// The agent.
    pub agent_id: Option<String>,
    /// The token it was told by.
    pub token_id: Option<String>,
}

impl Identity {
    /// Whoever reaches a server that asks for no tokens.
    pub fn local() -> Self {
        let name = "local".to_owned();
        Self { user: Some(name.clone()), name, role: Role::Admin, agent_id: None, token_id: None }
    }

    /// Whoever comes without a token to a route that needs none.
    fn nobody() -> Self {
        let name = "anonymous".to_owned();
        Self { name, role: Role::Viewer, user: None, agent_id: None, token_id: None }
    }
}

impl From<Token> for Identity {
    fn from(token: Token) -> Self {
        Self {
            name: token.holder().to_owned(),
            role: token.role,
            user: token.user,
            agent_id: token.agent_id,
            token_id: Some(token.id.as_str().to_owned()),
        }
    }
}

/// Finds out who sends a request and whether that suffices.
///
/// # Errors
/// 401 without a valid token, 403 when its role does not suffice.
pub fn identify(context: &Context, headers: &HeaderMap, access: Access) -> Result<Identity, ApiError> {
    if context.settings().http.auth == Authentication::Off {
        return Ok(Identity::local());
    }
    if access == Access::Public {
        return Ok(Identity::nobody());
    }
    let Some(token) = token(headers) else {
        let detail = "the request carries no token: Authorization: Bearer TOKEN, or X-API-Key: TOKEN";
        return Err(ApiError::new("unauthorized", detail));
    };
    let Some(token) = context.handles().tokens.authenticate(token) else {
        return Err(ApiError::new("unauthorized", "the token is unknown, revoked or expired"));
    };
    if !access.allows(token.role) {
        let detail = format!("this needs the role {}, and the token has {}", access.as_str(), token.role);
        return Err(ApiError::forbidden(detail));
    }
    Ok(token.into())
}

/// The token in the headers.
fn token(headers: &HeaderMap) -> Option<&str> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then_some(token.trim());
    }
    Some(headers.get(&API_KEY)?.to_str().ok()?.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp::http::HeaderValue;

    fn found(name: HeaderName, value: &'static str) -> Option<String> {
        let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
        token(&headers).map(str::to_owned)
    }

    #[test]
    fn a_token_comes_in_one_of_two_headers() {
        assert_eq!(found(AUTHORIZATION, "Bearer arb_1").as_deref(), Some("arb_1"));
        assert_eq!(found(AUTHORIZATION, "bearer  arb_1 ").as_deref(), Some("arb_1"));
        assert_eq!(found(API_KEY, "arb_1").as_deref(), Some("arb_1"));
        for wrong in ["Basic YTpi", "arb_1", "Bearer"] {
            assert_eq!(found(AUTHORIZATION, wrong), None, "{wrong}");
        }
    }
}
