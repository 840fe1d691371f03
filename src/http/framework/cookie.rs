//! The cookie of a browser that signed in: its name, how it is read, and how it is set.

use std::net::SocketAddr;
use warp::http::HeaderMap;
use warp::http::header::COOKIE;

/// Encryption of the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Plain HTTP.
    Plain,
    /// HTTPS.
    Tls,
}

/// The name of the cookie. Cookies do not keep ports apart, so the name does; and a browser takes a name
/// with this prefix only over HTTPS, for this host alone.
pub fn name(listening: SocketAddr, transport: Transport) -> String {
    let prefix = if transport == Transport::Tls { "__Host-" } else { "" };
    format!("{prefix}arbiter-{}", listening.port())
}

/// The value of a cookie.
pub fn read<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = pairs.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).find(|value| !value.is_empty())
}

/// Returns the header that sets a cookie for `seconds`. Scripts cannot read it, and no other site can make a
/// browser send it.
pub fn set(name: &str, value: &str, seconds: u128, transport: Transport) -> String {
    let secure = if transport == Transport::Tls { "; Secure" } else { "" };
    format!("{name}={value}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Strict{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp::http::HeaderValue;

    #[test]
    fn cookie_is_matched_by_its_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("arbiter-80=; a=b; xarbiter-8080=no"));
        headers.append(COOKIE, HeaderValue::from_static("arbiter-8080=yes; arbiter-80=other"));
        assert_eq!(read(&headers, "arbiter-8080"), Some("yes"));
        assert_eq!(read(&headers, "arbiter-80"), Some("other"));
        assert_eq!(read(&headers, "arbiter"), None);
    }

    #[test]
    fn tls_cookie_is_secure_and_host_bound() {
        let listening = "127.0.0.1:8443".parse().unwrap();
        let name = name(listening, Transport::Tls);
        assert_eq!(name, "__Host-arbiter-8443");
        let set = set(&name, "s", 60, Transport::Tls);
        assert_eq!(set, "__Host-arbiter-8443=s; Max-Age=60; Path=/; HttpOnly; SameSite=Strict; Secure");
    }
}
