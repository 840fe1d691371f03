//! Successful answers.

use crate::http::wire::problem::ApiError;
use crate::http::wire::query::Query;
use arbiter_store::Page;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use serde::Serialize;
use std::convert::Infallible;
use warp::Reply as _;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LINK, LOCATION};
use warp::http::{HeaderMap, StatusCode};
use warp::reply::Response;

/// Header with the total number of rows of a list.
pub const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");
/// Header that names a row of a list which cannot be read, with the reason; one for each row.
pub const UNREADABLE: HeaderName = HeaderName::from_static("arbiter-unreadable");
/// Most bytes of a header that names an unreadable row.
const MAX_UNREADABLE: usize = 200;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The list that an answer is a part of; a link to the next part keeps its path and its query.
#[derive(Clone, Copy, Debug)]
pub struct PageLink<'a> {
    pub path: &'a str,
    pub query: &'a Query,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    response: Response,
    /// The body, unless it is a stream.
    body: Bytes,
    is_stream: bool,
}

impl Reply {
    fn bytes(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Self {
        let mut response = Response::new(body.clone().into());
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        Self { response, body, is_stream: false }
    }

    /// JSON.
    ///
    /// # Errors
    /// 500 when the value cannot be written as JSON.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, ApiError> {
        Ok(Self::bytes(StatusCode::OK, JSON, to_json(value)?))
    }

    /// JSON that was written before.
    pub fn rendered_json(body: Bytes) -> Self {
        Self::bytes(StatusCode::OK, JSON, body)
    }

    /// An entity with its revision.
    ///
    /// # Errors
    /// 500 when the value cannot be written as JSON.
    pub fn entity<T: Serialize>(value: &T, revision: u64) -> Result<Self, ApiError> {
        Ok(Self::json(value)?.with_revision(revision))
    }

    /// A new entity, and where it is.
    ///
    /// # Errors
    /// 500 when the value cannot be written as JSON.
    pub fn created<T: Serialize>(value: &T, collection: &str, id: &str) -> Result<Self, ApiError> {
        Ok(Self::json(value)?.created_at(&format!("{collection}/{}", escape(id))))
    }

    /// As the answer to a creation: the new entity is at this path.
    #[must_use]
    pub fn created_at(self, path: &str) -> Self {
        self.with_status(StatusCode::CREATED).with_header(LOCATION, path)
    }

    /// Text of another kind than JSON.
    pub fn text(content_type: &'static str, text: impl Into<Bytes>) -> Self {
        Self::bytes(StatusCode::OK, HeaderValue::from_static(content_type), text.into())
    }

    /// Nothing but success.
    pub fn no_content() -> Self {
        Self { response: Response::default(), body: Bytes::new(), is_stream: false }
            .with_status(StatusCode::NO_CONTENT)
    }

    /// A part of a list, with a link to the next one.
    ///
    /// # Errors
    /// 500 when a row cannot be written as JSON.
    pub fn page<T, V: Serialize + From<T>>(link: PageLink<'_>, page: Page<T>) -> Result<Self, ApiError> {
        let views: Vec<V> = page.items.into_iter().map(V::from).collect();
        let mut reply = Self::json(&views)?.with_header(TOTAL_COUNT, &page.total.to_string());
        for row in &page.unreadable {
            let shown = format!("{}: {}", row.key, row.reason);
            if let Ok(value) = HeaderValue::from_bytes(excerpt(&shown).as_bytes()) {
                reply.response.headers_mut().append(UNREADABLE, value);
            }
        }
        Ok(reply.with_next(link, page.next.as_deref()))
    }

    /// With a link to the next part of a list, if there is one.
    #[must_use]
    pub fn with_next(self, link: PageLink<'_>, cursor: Option<&str>) -> Self {
        match cursor {
            None => self,
            Some(cursor) => {
                let link = format!("<{}?{}>; rel=\"next\"", link.path, link.query.with("cursor", cursor));
                self.with_header(LINK, &link)
            }
        }
    }

    /// Builds a body that lasts as long as the stream.
    pub fn stream(content_type: &'static str, stream: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self::breakable_stream(content_type, stream.map(Ok::<Bytes, Infallible>))
    }

    /// A body that holds a guard until it is sent.
    pub fn guarded(content_type: &'static str, body: Bytes, guard: impl Send + 'static) -> Self {
        let pieces = futures_util::stream::unfold((Some(body), guard), |(body, guard)| async move {
            body.map(|body| (body, (None, guard)))
        });
        Self::stream(content_type, pieces)
    }

    /// Streams pieces that may fail midway: the client sees that the answer is incomplete.
    pub fn breakable_stream<E>(
        content_type: &'static str,
        stream: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    ) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        // The filter wants a stream that can be shared between threads, which no future of ours is; a lock
        // that is never contended makes it one.
        let mut stream = Mutex::new(Box::pin(stream));
        let shared = futures_util::stream::poll_fn(move |context| {
            let stream = stream.get_mut();
            stream.as_mut().poll_next(context)
        });
        let mut response = warp::reply::stream(shared).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self { response, body: Bytes::new(), is_stream: true }.with_header(CACHE_CONTROL, "no-cache")
    }

    /// With another status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        *self.response.status_mut() = status;
        self
    }

    /// With a header; one that cannot be written is left out.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.response.headers_mut().insert(name, value);
        }
        self
    }

    /// With the entity's revision as its tag.
    #[must_use]
    pub fn with_revision(self, revision: u64) -> Self {
        self.with_header(ETAG, &format!("\"{revision}\""))
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Returns whether the body is a stream.
    pub fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// The body; empty for a stream.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The headers, to be added to.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        self.response.headers_mut()
    }

    /// The answer as the filter gives it.
    pub fn into_response(self) -> Response {
        self.response
    }
}

/// Cuts a text to what a header may hold.
fn excerpt(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_UNREADABLE)]
}

/// A value as JSON.
pub fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, ApiError> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|error| crate::http::wire::error_mapping::internal(&error))
}

/// An id as one segment of a path.
fn escape(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    id.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn created_reply_has_escaped_location() {
        let reply = Reply::created(&"x", "/api/v1/beads", "a/b é").unwrap().with_revision(1);
        assert_eq!(reply.status(), StatusCode::CREATED);
        assert_eq!(reply.headers()[LOCATION], "/api/v1/beads/a%2Fb%20%C3%A9");
        assert_eq!(reply.headers()[ETAG], "\"1\"");
        assert_eq!(reply.headers()[CONTENT_TYPE], "application/json");
    }
}
