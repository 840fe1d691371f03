//! Input of a handler: the request with its path, query, body and sender, and the server's handles.

use crate::http::framework::auth::Identity;
use crate::http::framework::context::Context;
use crate::http::framework::peer::Peer;
use crate::http::framework::project_scope::PathRows;
use crate::http::framework::quotas::ExpensiveGuard;
use crate::http::framework::request_id::RequestId;
use crate::http::framework::router::Params;
use crate::http::wire::body::{self, BodyPolicy, BodyStream};
use crate::http::wire::problem::ApiError;
use crate::http::wire::query::{Flag, Query};
use crate::http::wire::reply::PageLink;
use arbiter_actors::{Caller, Cascade, Handles};
use arbiter_core::kernel::event::Origin;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::kernel::token::Role;
use arbiter_store::{KeptAnswer, PageRequest};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use warp::http::HeaderMap;
use warp::http::header::IF_MATCH;

/// Rows of a page when the client does not say how many.
const DEFAULT_LIMIT: u32 = 100;
/// The most rows of a page.
const MAX_LIMIT: u32 = 1000;

/// A request on its way to its handler.
pub struct ApiRequest {
    /// The server.
    pub context: Context,
    /// Sender of the request.
    pub identity: Identity,
    /// The query's parameters.
    pub query: Query,
    /// The headers.
    pub headers: HeaderMap,
    /// Peer of the connection.
    pub peer: Peer,
    /// Its id.
    pub request_id: RequestId,
    /// The path as it came.
    pub(crate) path: String,
    pub(crate) params: Params,
    pub(crate) body: Option<BodyStream>,
    pub(crate) limit: BodyPolicy,
    /// The body, when it was read before the handler.
    pub(crate) read: Option<zeroize::Zeroizing<Vec<u8>>>,
    /// Set when the request may come twice.
    pub(crate) keep: Option<Box<KeptAnswer>>,
    /// The rows that the path names, each read once.
    pub(crate) rows: PathRows,
}

impl ApiRequest {
    /// The handles by which everything is reached.
    pub fn handles(&self) -> &Handles {
        self.context.handles()
    }

    /// Returns the current time.
    pub fn now(&self) -> Timestamp {
        self.handles().clock.now()
    }

    /// The list that this request asks for a part of.
    pub fn page_link(&self) -> PageLink<'_> {
        PageLink { path: &self.path, query: &self.query }
    }

    /// A parameter of the path, by the name in the endpoint's path; empty when there is none.
    pub fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    /// The JSON body.
    ///
    /// # Errors
    /// 400 when it is missing or no JSON, 413, 415, 422 with pointers for fields that do not fit.
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<T, ApiError> {
        let bytes = self.read_body().await?;
        if bytes.is_empty() {
            return Err(ApiError::new(
                ProblemCode::MalformedJson,
                "the request needs a JSON body and has none",
            ));
        }
        body::check_content_type(&self.headers)?;
        self.limit.parse(&bytes)
    }

    /// The JSON body, or the default when there is none.
    ///
    /// # Errors
    /// As [`ApiRequest::json`], but for a missing body.
    pub async fn json_or_default<T: DeserializeOwned + Default>(&mut self) -> Result<T, ApiError> {
        let bytes = self.read_body().await?;
        if bytes.is_empty() {
            return Ok(T::default());
        }
        body::check_content_type(&self.headers)?;
        self.limit.parse(&bytes)
    }

    pub(crate) async fn read_body(&mut self) -> Result<zeroize::Zeroizing<Vec<u8>>, ApiError> {
        if let Some(bytes) = self.read.take() {
            return Ok(bytes);
        }
        let Some(stream) = self.body.take() else { return Ok(zeroize::Zeroizing::default()) };
        let bytes = body::read(stream, &self.headers, self.limit).await?;
        if let (Role::Agent, Some(agent)) = (self.identity.role(), self.identity.agent_id()) {
            self.context.quotas().agent_bytes(agent, bytes.len(), self.now())?;
        }
        Ok(bytes)
    }

    /// Takes a share of the expensive requests, which is held until the answer is sent.
    ///
    /// # Errors
    /// 429 when there is none left.
    pub fn expensive(&self) -> Result<ExpensiveGuard, ApiError> {
        self.context.quotas().expensive(&self.identity, &self.peer)
    }

    /// Returns the caller, with the condition of `If-Match`.
    ///
    /// # Errors
    /// 400 when `If-Match` is no revision.
    pub fn caller(&self) -> Result<Caller, ApiError> {
        let name = self.identity.name().to_owned();
        let token_id = self.identity.token().map(|token| token.id.to_string());
        let origin = Some(Origin { address: self.peer.address.to_string(), token_id });
        let authority = Arc::new(self.identity.authority());
        Ok(Caller { name, authority, if_match: self.if_match()?, origin, keep: self.keep.clone() })
    }

    /// Returns the caller under the name in the body's `field`: only an administrator may name others.
    ///
    /// # Errors
    /// 403 when the name is another's.
    pub fn caller_named(&self, field: &str, name: Option<String>) -> Result<Caller, ApiError> {
        let mut caller = self.caller()?;
        if let Some(name) = name.filter(|name| *name != caller.name) {
            if self.identity.role() != Role::Admin {
                let own = &caller.name;
                return Err(ApiError::forbidden(format!("{field} is {name:?}, but the token is {own:?}'s")));
            }
            caller.name = name;
        }
        Ok(caller)
    }

    /// The revision that `If-Match` names; none without one and for `*`.
    ///
    /// # Errors
    /// 400 when it is no revision.
    pub fn if_match(&self) -> Result<Option<u64>, ApiError> {
        let Some(value) = self.headers.get(IF_MATCH) else { return Ok(None) };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(None);
        }
        let tag = text.strip_prefix("W/").unwrap_or(text);
        let number = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
        match number.and_then(|number| number.parse().ok()) {
            Some(revision) => Ok(Some(revision)),
            None => Err(ApiError::new(
                ProblemCode::BadHeader,
                format!("If-Match is {text:?}, not an ETag of ours"),
            )),
        }
    }

    /// Returns the requested page of a list.
    ///
    /// # Errors
    /// 400 when `limit` is not 1 to 1000.
    pub fn page(&self) -> Result<PageRequest, ApiError> {
        let limit = self.query.parsed::<u32>("limit")?.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(ApiError::query(format!("parameter \"limit\" is {limit}, not 1 to {MAX_LIMIT}")));
        }
        Ok(PageRequest { limit, cursor: self.query.owned("cursor")? })
    }

    /// Returns whether a deletion takes along what depends on the entity.
    ///
    /// # Errors
    /// 400 when `cascade` is given more than once.
    pub fn cascade(&self) -> Result<Cascade, ApiError> {
        Ok(if self.query.flag("cascade")? == Flag::True { Cascade::Yes } else { Cascade::No })
    }
}
