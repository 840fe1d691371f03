//! Pages of other origins: only the configured ones may call the API, with a token of their own and never
//! with the cookie of a browser that signed in here.

use crate::http::framework::request_id;
use crate::http::wire::reply::TOTAL_COUNT;
use warp::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, ETAG, HeaderValue, LINK, LOCATION, ORIGIN, RETRY_AFTER, VARY,
};
use warp::http::{HeaderMap, Method};

/// The request headers that a page may send.
const REQUEST_HEADERS: &str =
    "authorization, x-api-key, content-type, if-match, idempotency-key, last-event-id, x-request-id";
/// Time for which a browser caches a preflight answer, in seconds.
const PREFLIGHT_MAX_AGE: &str = "600";

/// The origins whose pages may call.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// Origins that may call every route, with a token of their own.
    configured: Vec<String>,
    /// Origin of Temporal's page, which may decrypt payloads with the user's session.
    codec_page: Option<String>,
}

impl Origins {
    /// The configured origins.
    pub fn new(configured: &[String]) -> Self {
        let configured = configured.iter().map(|origin| origin.to_ascii_lowercase()).collect();
        Self { configured, codec_page: None }
    }

    /// Adds the page at this URL, which may use the codec.
    #[must_use]
    pub fn with_codec_page(self, url: &str) -> Self {
        // An opaque origin is written `null`, which every sandboxed page sends.
        let origin = url::Url::parse(url).ok().map(|url| url.origin()).filter(url::Origin::is_tuple);
        let origin = origin.map(|origin| origin.ascii_serialization());
        Self { codec_page: origin, ..self }
    }

    /// Returns whether a request comes from the page that may use the codec.
    pub fn is_codec_page(&self, headers: &HeaderMap) -> bool {
        let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
        let page = self.codec_page.as_deref();
        page.is_some_and(|page| origin.is_some_and(|o| o.eq_ignore_ascii_case(page)))
    }

    /// Adds the headers of an answer to the codec page.
    pub fn add_codec_headers(headers: &HeaderMap, answer: &mut HeaderMap) {
        answer.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = headers.get(ORIGIN) {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            answer.insert(
                ACCESS_CONTROL_ALLOW_HEADERS,
                HeaderValue::from_static("content-type, x-namespace, authorization"),
            );
        }
    }

    /// Returns the origin of a request if it is an allowed one.
    pub fn allowed_origin<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let mut origins = headers.get_all(ORIGIN).iter();
        let (Some(origin), None) = (origins.next(), origins.next()) else { return None };
        let text = origin.to_str().ok()?;
        self.configured.iter().any(|known| known.eq_ignore_ascii_case(text)).then_some(origin)
    }

    /// Adds the CORS headers for the requesting page. Answers vary by origin if any origin is configured.
    pub fn add_headers(&self, asked_by: Option<&HeaderValue>, answer: &mut HeaderMap) {
        if !self.configured.is_empty() {
            answer.append(VARY, HeaderValue::from_static("Origin"));
        }
        let Some(origin) = asked_by else { return };
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let seen = [ETAG, LINK, LOCATION, RETRY_AFTER, TOTAL_COUNT, request_id::HEADER];
        let seen: Vec<&str> = seen.iter().map(|name| name.as_str()).collect();
        if let Ok(seen) = HeaderValue::from_str(&seen.join(", ")) {
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, seen);
        }
    }
}

/// Returns whether a request asks what a page may do, before the page does it.
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Adds the preflight headers of a path with these methods.
pub fn add_preflight_headers(methods: &str, answer: &mut HeaderMap) {
    if let Ok(methods) = HeaderValue::from_str(methods) {
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(REQUEST_HEADERS));
    answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_MAX_AGE));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(origins: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for origin in origins {
            headers.append(ORIGIN, HeaderValue::from_static(origin));
        }
        headers
    }

    #[test]
    fn only_configured_origin_gets_cors_headers() {
        let origins = Origins::new(&["https://Board.example".into()]);
        let answer = |asked: &[&'static str]| {
            let (headers, mut answer) = (asking(asked), HeaderMap::new());
            origins.add_headers(origins.allowed_origin(&headers), &mut answer);
            assert_eq!(answer[VARY], "Origin");
            answer.get(ACCESS_CONTROL_ALLOW_ORIGIN).map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(answer(&["https://board.example"]).as_deref(), Some("https://board.example"));
        for other in ["http://board.example", "https://board.example.evil", "null", "https://board.example:1"]
        {
            assert_eq!(answer(&[other]), None, "{other}");
        }
        assert_eq!(answer(&[]), None);
        assert_eq!(answer(&["https://board.example", "https://evil.example"]), None);
    }

    #[test]
    fn unconfigured_cors_adds_no_headers() {
        let (origins, mut answer) = (Origins::default(), HeaderMap::new());
        let headers = asking(&["https://board.example"]);
        origins.add_headers(origins.allowed_origin(&headers), &mut answer);
        assert!(answer.is_empty());
    }
}
