//! Against the browser on the same machine: requests name our host, and change something only from our
//! own pages.

use crate::http::framework::cors::Origins;
use crate::http::wire::problem::ApiError;
use arbiter_core::kernel::problem_code::ProblemCode;
use std::net::SocketAddr;
use warp::http::header::{HOST, HeaderName, ORIGIN};
use warp::http::{HeaderMap, Method};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The host names that a request may be addressed to.
#[derive(Clone, Debug)]
pub struct Hosts {
    /// Lower case, each with or without a port.
    allowed: Vec<String>,
}

impl Hosts {
    /// Loopback, the listening address and the configured names.
    pub fn new(listening: SocketAddr, configured: &[String]) -> Self {
        let own = match listening {
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        };
        let mut allowed: Vec<String> = ["localhost", "127.0.0.1", "[::1]", &own].map(str::to_owned).into();
        allowed.extend(configured.iter().map(|name| name.to_ascii_lowercase()));
        Self { allowed }
    }

    /// Refuses a request that is addressed to another host: a name that points here by DNS rebinding.
    ///
    /// # Errors
    /// 421.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let mut hosts = headers.get_all(HOST).iter();
        let host = match (hosts.next().and_then(|value| value.to_str().ok()), hosts.next()) {
            (Some(host), None) => host,
            _ => return Err(ApiError::new(ProblemCode::Misdirected, "the request does not name one host")),
        };
        let name = without_port(host);
        let known =
            |allowed: &String| allowed.eq_ignore_ascii_case(name) || allowed.eq_ignore_ascii_case(host);
        if self.allowed.iter().any(known) {
            return Ok(());
        }
        let shown: String = host.chars().take(100).collect();
        Err(ApiError::new(ProblemCode::Misdirected, format!("this server is not called {shown:?}")))
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Refuses a change requested by a page of another site, unless its origin is allowed.
/// Programs send neither header.
///
/// # Errors
/// 403.
pub fn check_site(method: &Method, headers: &HeaderMap, origins: &Origins) -> Result<(), ApiError> {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
        || origins.allowed_origin(headers).is_some()
    {
        return Ok(());
    }
    match is_cross_origin(headers) {
        true => Err(ApiError::new(ProblemCode::CrossSite, "the request comes from a page of another site")),
        false => Ok(()),
    }
}

/// Takes away what says that a page of another origin asks; only for one that may ask like our own.
pub fn strip_cross_origin(headers: &mut HeaderMap) {
    headers.remove(ORIGIN);
    headers.remove(FETCH_SITE);
}

/// Returns whether a browser says that the request comes from a page that is not ours.
pub fn is_cross_origin(headers: &HeaderMap) -> bool {
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if text(&FETCH_SITE).is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return true;
    }
    let Some(origin) = text(&ORIGIN) else { return false };
    let place = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    !matches!((place, text(&HOST)), (Some(place), Some(host)) if place.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp::http::HeaderValue;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        let mut headers = HeaderMap::new();
        pairs.for_each(|(name, value)| {
            headers.append(name, value);
        });
        headers
    }

    #[test]
    fn unknown_host_is_misdirected() {
        let hosts =
            Hosts::new("192.0.2.7:8080".parse().unwrap(), &["Arbiter.example".into(), "a.b:81".into()]);
        let status = |host| hosts.check(&headers(&[(HOST, host)])).map_err(|e| e.status().as_u16());
        for good in ["localhost", "LOCALHOST:9", "127.0.0.1:8080", "[::1]:1", "[::1]", "192.0.2.7:8080"] {
            assert_eq!(status(good), Ok(()), "{good}");
        }
        for good in ["arbiter.example", "arbiter.example:443", "a.b:81"] {
            assert_eq!(status(good), Ok(()), "{good}");
        }
        for bad in ["evil.example", "localhost.evil.example", "a.b:82", "a.b", "127.0.0.1.evil", "", "::1"] {
            assert_eq!(status(bad), Err(421), "{bad}");
        }
        assert!(hosts.check(&headers(&[])).is_err());
        assert!(hosts.check(&headers(&[(HOST, "localhost"), (HOST, "localhost")])).is_err());
    }

    #[test]
    fn cross_site_change_is_refused() {
        let origins = Origins::new(&["https://board.example".into()]);
        let post = |pairs: &[(HeaderName, &'static str)]| {
            check_site(&Method::POST, &headers(pairs), &origins).is_ok()
        };
        assert!(post(&[]));
        assert!(post(&[(FETCH_SITE, "same-origin"), (ORIGIN, "http://localhost:1"), (HOST, "localhost:1")]));
        assert!(post(&[(ORIGIN, "http://localhost:1"), (HOST, "localhost:1")]));
        assert!(!post(&[(FETCH_SITE, "cross-site")]));
        assert!(!post(&[(FETCH_SITE, "same-site")]));
        assert!(!post(&[(FETCH_SITE, "none"), (ORIGIN, "http://evil"), (HOST, "localhost:1")]));
        assert!(!post(&[(ORIGIN, "http://localhost:2"), (HOST, "localhost:1")]));
        assert!(!post(&[(ORIGIN, "null"), (HOST, "localhost:1")]));
        assert!(post(&[(FETCH_SITE, "cross-site"), (ORIGIN, "https://board.example")]));
        assert!(!post(&[(FETCH_SITE, "cross-site"), (ORIGIN, "https://evil.example")]));
        assert!(check_site(&Method::GET, &headers(&[(FETCH_SITE, "cross-site")]), &origins).is_ok());
    }
}
