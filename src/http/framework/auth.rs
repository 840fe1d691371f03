//! Authentication of a request: by its token, by the cookie of a signed-in browser, or by the client
//! certificate of its connection.

use crate::config::Authentication;
use crate::http::framework::context::Context;
use crate::http::framework::cookie;
use crate::http::framework::origin;
use crate::http::framework::peer::Peer;
use crate::http::framework::required_role::Access;
use crate::http::wire::problem::ApiError;
use arbiter_actors::AuthenticatedToken;
use arbiter_core::kernel::authority::Authority;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::token::{Role, Token};
use warp::http::HeaderMap;
use warp::http::header::{AUTHORIZATION, HeaderName};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Sender of a request.
#[derive(Clone, Debug)]
pub enum Identity {
    /// A client of a server without authentication.
    Local,
    /// A client without a token on a public route.
    Anonymous,
    /// A client that proved a token, a session or a certificate.
    Authenticated(AuthenticatedToken),
}

impl Identity {
    /// The name that events show.
    pub fn name(&self) -> &str {
        match self {
            Self::Local => "local",
            Self::Anonymous => "anonymous",
            Self::Authenticated(admission) => admission.token.holder(),
        }
    }

    /// Returns the role of the sender.
    pub fn role(&self) -> Role {
        match self {
            Self::Local => Role::Admin,
            Self::Anonymous => Role::Viewer,
            Self::Authenticated(admission) => admission.token.role,
        }
    }

    /// The person.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Local => Some("local"),
            Self::Anonymous => None,
            Self::Authenticated(admission) => admission.token.user.as_deref(),
        }
    }

    /// The agent.
    pub fn agent_id(&self) -> Option<&str> {
        self.token()?.agent_id.as_deref()
    }

    /// The token it was told by.
    pub fn token(&self) -> Option<&Token> {
        self.admission().map(|admission| &*admission.token)
    }

    /// Returns the proven token, if any.
    pub fn admission(&self) -> Option<&AuthenticatedToken> {
        match self {
            Self::Authenticated(admission) => Some(admission),
            Self::Local | Self::Anonymous => None,
        }
    }

    /// The rights it has, on which the core decides.
    pub fn authority(&self) -> Authority {
        Authority {
            name: self.name().to_owned(),
            role: self.role(),
            agent_id: self.agent_id().map(str::to_owned),
            projects: self.projects().map(<[String]>::to_vec),
        }
    }

    /// The projects it is limited to; none: all of them.
    pub fn projects(&self) -> Option<&[String]> {
        self.token()?.projects.as_deref()
    }
}

/// Finds out who sends a request and whether that suffices.
///
/// # Errors
/// 401 without anything that is valid now, 403 when its role does not suffice.
pub fn identify(
    context: &Context,
    headers: &HeaderMap,
    peer: &Peer,
    access: Access,
) -> Result<Identity, ApiError> {
    if context.settings().http.auth == Authentication::Off {
        return Ok(Identity::Local);
    }
    if access == Access::Public {
        return Ok(Identity::Anonymous);
    }
    let admission = authenticate(context, headers, peer)?;
    let role = admission.token.role;
    if !access.is_satisfied_by(role) {
        let detail = format!("this needs the role {}, and the token has {role}", access.as_str());
        return Err(ApiError::forbidden(detail));
    }
    Ok(Identity::Authenticated(admission))
}

/// Authenticates by the first credential found: a wrong token is refused even with a valid certificate.
fn authenticate(context: &Context, headers: &HeaderMap, peer: &Peer) -> Result<AuthenticatedToken, ApiError> {
    let tokens = &context.handles().tokens;
    let unknown =
        |what: &str| ApiError::new(ProblemCode::Unauthorized, format!("the {what}, revoked or expired"));
    if let Some(text) = presented_token(headers)? {
        return tokens.authenticate(text).ok_or_else(|| unknown("token is unknown"));
    }
    // A page of another origin, even an allowed one, must not use the session of the signed-in user: it needs a
    // token of its own.
    if origin::is_cross_origin(headers) {
        let detail = "a page of another origin needs a token: neither cookie nor certificate counts";
        return Err(ApiError::new(ProblemCode::Unauthorized, detail));
    }
    if let Some(secret) = cookie::read(headers, context.cookie_name()) {
        return tokens.authenticate_session(secret).ok_or_else(|| unknown("session is unknown"));
    }
    if let Some(certificate) = &peer.certificate {
        let known = tokens.authenticate_certificate(certificate);
        return known.ok_or_else(|| unknown("certificate belongs to no token"));
    }
    let detail = "the request carries no token: Authorization: Bearer TOKEN, or X-API-Key: TOKEN";
    Err(ApiError::new(ProblemCode::Unauthorized, detail))
}

/// The token in the headers.
///
/// # Errors
/// 401 when there is a header and no token in it.
fn presented_token(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let (name, bearer) = match (headers.get(AUTHORIZATION), headers.get(&API_KEY)) {
        (Some(value), _) => ("Authorization", value.to_str().ok().and_then(bearer)),
        (None, Some(value)) => ("X-API-Key", value.to_str().ok().map(str::trim)),
        (None, None) => return Ok(None),
    };
    let token = bearer.filter(|token| !token.is_empty());
    let detail = || format!("{name} holds no token; it is written Authorization: Bearer TOKEN");
    token.map(Some).ok_or_else(|| ApiError::new(ProblemCode::Unauthorized, detail()))
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp::http::HeaderValue;

    fn found(name: HeaderName, value: &'static str) -> Result<Option<String>, u16> {
        let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
        let presented_token = presented_token(&headers).map_err(|error| error.status().as_u16())?;
        Ok(presented_token.map(str::to_owned))
    }

    #[test]
    fn token_is_read_from_either_header() {
        let token = Ok(Some("arb_1".to_owned()));
        assert_eq!(found(AUTHORIZATION, "Bearer arb_1"), token);
        assert_eq!(found(AUTHORIZATION, "bearer  arb_1 "), token);
        assert_eq!(found(API_KEY, "arb_1"), token);
        assert_eq!(found(HeaderName::from_static("accept"), "arb_1"), Ok(None));
    }

    #[test]
    fn header_without_token_is_unauthorized() {
        for wrong in ["Basic YTpi", "arb_1", "Bearer", "Bearer "] {
            assert_eq!(found(AUTHORIZATION, wrong), Err(401), "{wrong}");
        }
        assert_eq!(found(API_KEY, " "), Err(401));
    }
}
