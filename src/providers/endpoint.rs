//! A provider's endpoint: a URL that is checked once and never parsed again.
//!
//! Owns the rules for endpoints. Must not connect or resolve. `resolver.rs` judges the addresses of a name at
//! each connection. Numeric addresses are judged here, because a connector does not resolve them.

use crate::address::{AddressScope, scope_of};
use crate::resolver::AddressRule;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use url::{Host, Url};

/// Longest endpoint, in bytes.
const MAX_ENDPOINT_BYTES: usize = 2048;

/// Longest path of a Unix socket, in bytes: the limit of the system calls.
const MAX_SOCKET_BYTES: usize = 107;
/// Base URL over a Unix socket, where no name is resolved.
const SOCKET_BASE: &str = "http://localhost/v1";

/// Names of metadata services; their addresses are refused as well.
const METADATA_NAMES: [&str; 4] =
    ["metadata.google.internal", "metadata.goog", "metadata", "instance-data.ec2.internal"];

/// Hosts allowed for plain `http`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpPolicy {
    /// Loopback and private addresses only: prompts and keys never cross the internet in clear text.
    #[default]
    LocalOnly,
    Anywhere,
}

/// Permission for a socket path in the place of a URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SocketPolicy {
    #[default]
    Refused,
    Allowed,
}

/// Rules for an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointPolicy {
    /// Hosts allowed for plain `http`.
    pub allow_public_http: HttpPolicy,
    pub sockets: SocketPolicy,
}

/// Reason why a text is not a valid endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("the endpoint is not a url")]
    NotAUrl(#[source] url::ParseError),
    /// The path of a Unix socket, for a provider type that does not support one.
    #[error("the endpoint is a path; only providers of type local and custom are reached by a Unix socket")]
    SocketRefused,
    #[error("the endpoint is no absolute path without `.` and `..`, of at most {MAX_SOCKET_BYTES} bytes")]
    SocketPath,
    /// Longer than 2048 bytes.
    #[error("the endpoint is longer than {MAX_ENDPOINT_BYTES} bytes")]
    TooLong,
    /// A scheme other than `http` and `https`.
    #[error("the endpoint's scheme {0:?} is neither http nor https")]
    Scheme(String),
    #[error("the endpoint carries a user name or password; give the key by itself")]
    UserInfo,
    #[error("the endpoint has a fragment, which no server sees")]
    Fragment,
    #[error("the endpoint names no host")]
    NoHost,
    /// Plain `http` to an address on the internet.
    #[error("the endpoint speaks http to the public address {0}; use https")]
    PublicHttp(String),
    /// A cloud's metadata service or an address that no provider can have.
    #[error("the endpoint's host {0} is never a provider")]
    ForbiddenHost(String),
}

#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    base: Url,
    host: String,
    rule: AddressRule,
    socket: Option<PathBuf>,
}

impl Endpoint {
    /// Parses the URL of a provider's API. It is used as given, except that `/v1` is appended if it has no
    /// path.
    ///
    /// # Errors
    /// [`EndpointError`] names the violated rule.
    pub fn parse(text: &str, policy: EndpointPolicy) -> Result<Self, EndpointError> {
        if text.len() > MAX_ENDPOINT_BYTES {
            return Err(EndpointError::TooLong);
        }
        if text.starts_with('/') {
            return Self::parse_socket(text, policy.sockets);
        }
        let mut endpoint = Self::parse_exact(text, policy)?;
        if matches!(endpoint.base.path(), "" | "/") {
            endpoint.base.set_path("/v1");
        }
        Ok(endpoint)
    }

    /// Parses a URL that is used exactly as given, by the same rules.
    ///
    /// # Errors
    /// [`EndpointError`] names the violated rule.
    pub(crate) fn parse_exact(text: &str, policy: EndpointPolicy) -> Result<Self, EndpointError> {
        if text.len() > MAX_ENDPOINT_BYTES {
            return Err(EndpointError::TooLong);
        }
        let base = Url::parse(text).map_err(EndpointError::NotAUrl)?;
        let is_http = match base.scheme() {
            "http" => true,
            "https" => false,
            other => return Err(EndpointError::Scheme(other.to_owned())),
        };
        if !base.username().is_empty() || base.password().is_some() {
            return Err(EndpointError::UserInfo);
        }
        if base.fragment().is_some() {
            return Err(EndpointError::Fragment);
        }
        let rule = if is_http && policy.allow_public_http == HttpPolicy::LocalOnly {
            AddressRule::LocalOnly
        } else {
            AddressRule::LocalOrPublic
        };
        let host = check_host(&base, rule)?;
        Ok(Self { base, host, rule, socket: None })
    }

    fn parse_socket(path: &str, policy: SocketPolicy) -> Result<Self, EndpointError> {
        if policy == SocketPolicy::Refused {
            return Err(EndpointError::SocketRefused);
        }
        let is_plain = |segment: &str| !matches!(segment, "" | "." | "..");
        if path.len() > MAX_SOCKET_BYTES || path.contains('\0') || !path[1..].split('/').all(is_plain) {
            return Err(EndpointError::SocketPath);
        }
        let base = Url::parse(SOCKET_BASE).map_err(EndpointError::NotAUrl)?;
        let (host, socket) = (path.to_owned(), Some(PathBuf::from(path)));
        Ok(Self { base, host, rule: AddressRule::LocalOnly, socket })
    }

    /// Returns the path of the Unix socket, if it is one.
    pub(crate) fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// Returns the host as `url` normalizes it (lower case, canonical numbers), or the path of a Unix socket.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn rule(&self) -> AddressRule {
        self.rule
    }

    /// Returns whether the endpoint uses TLS.
    pub fn is_encrypted(&self) -> bool {
        self.base.scheme() == "https"
    }

    /// Returns the URL as it was given.
    pub(crate) fn url(&self) -> Url {
        self.base.clone()
    }

    /// Returns the URL of a path below the base; the base's query, if any, is kept.
    pub(crate) fn below(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        // Only URLs that cannot be a base have no segments; `http` URLs always can.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }
}

/// Omits the query, which may hold a secret.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({}{})", self.base.origin().ascii_serialization(), self.base.path())
    }
}

/// Returns whether two endpoints are at the same address: scheme, host and port of URLs, the path of Unix sockets.
/// A text that is no endpoint has no address, so it is the same as an equal text alone.
pub fn is_same_address(one: &str, other: &str) -> bool {
    let address = |text: &str| {
        if text.starts_with('/') {
            return Some((String::new(), text.to_owned(), None));
        }
        let url = Url::parse(text).ok()?;
        Some((url.scheme().to_owned(), url.host_str()?.to_owned(), url.port_or_known_default()))
    };
    one == other || matches!((address(one), address(other)), (Some(one), Some(other)) if one == other)
}

fn check_host(base: &Url, rule: AddressRule) -> Result<String, EndpointError> {
    let address: IpAddr = match base.host().ok_or(EndpointError::NoHost)? {
        Host::Ipv4(v4) => v4.into(),
        Host::Ipv6(v6) => v6.into(),
        Host::Domain(name) => {
            let bare = name.trim_end_matches('.');
            return match bare {
                "" => Err(EndpointError::NoHost),
                _ if METADATA_NAMES.contains(&bare) => Err(EndpointError::ForbiddenHost(bare.to_owned())),
                _ => Ok(name.to_owned()),
            };
        }
    };
    match scope_of(address) {
        AddressScope::Forbidden => Err(EndpointError::ForbiddenHost(address.to_string())),
        found if !rule.admits(found) => Err(EndpointError::PublicHttp(address.to_string())),
        AddressScope::Local | AddressScope::Public => Ok(address.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Endpoint, EndpointError> {
        Endpoint::parse(text, EndpointPolicy::default())
    }

    #[test]
    fn address_is_scheme_host_and_port_or_socket() {
        assert!(is_same_address("https://a.example", "https://A.example:443/v2"));
        assert!(is_same_address("/run/a.sock", "/run/a.sock"));
        for (from, to) in [
            ("/run/a.sock", "/run/b.sock"),
            ("/run/a.sock", "https://a.example"),
            ("https://a.example", "/run/a.sock"),
            ("https://a.example", "http://a.example"),
            ("https://a.example", "https://a.example:8443"),
            ("https://a.example", "https://b.example"),
            ("no url", "no url either"),
            ("https://a.example", "no url"),
        ] {
            assert!(!is_same_address(from, to), "{from} to {to}");
        }
    }

    #[test]
    fn version_is_appended_only_to_an_endpoint_without_path() {
        let table = [
            ("http://localhost:11434", "http://localhost:11434/v1/models"),
            ("http://localhost:11434/", "http://localhost:11434/v1/models"),
            ("https://api.example.com/v1", "https://api.example.com/v1/models"),
            ("https://api.example.com/v1/", "https://api.example.com/v1/models"),
            ("https://api.example.com/openai/v2", "https://api.example.com/openai/v2/models"),
            ("https://a.example/o?api-version=1", "https://a.example/o/models?api-version=1"),
            ("HTTPS://API.Example.com", "https://api.example.com/v1/models"),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text).unwrap().below(&["models"]).as_str(), expected, "{text}");
        }
    }

    #[test]
    fn metadata_services_are_refused_in_every_spelling() {
        let spellings = [
            "169.254.169.254",
            "169.254.169.254:80",
            "2852039166",
            "0xa9fea9fe",
            "0xA9.0xFE.0xA9.0xFE",
            "0251.0376.0251.0376",
            "025177524776",
            "169.254.43518",
            "169.16689662",
            "0xa9.254.0251.254",
            "169.254.169.254.",
            "%31%36%39.254.169.254",
            "１６９.254.169.254",
            "169。254。169。254",
            "[::ffff:169.254.169.254]",
            "[::ffff:a9fe:a9fe]",
            "[0:0:0:0:0:ffff:169.254.169.254]",
            "[::169.254.169.254]",
            "[64:ff9b::169.254.169.254]",
            "[2002:a9fe:a9fe::]",
            "[fd00:ec2::254]",
            "[FD00:0EC2:0:0::254]",
            "metadata.google.internal",
            "METADATA.Google.Internal",
            "metadata.google.internal.",
            "metadata.google.internal..",
            "metadata%2egoogle%2einternal",
            "metadata。google。internal",
            "0.0.0.0:11434",
            "0",
            "[::]",
        ];
        for host in spellings {
            for scheme in ["http", "https"] {
                let refused = Endpoint::parse(
                    &format!("{scheme}://{host}/latest"),
                    EndpointPolicy { allow_public_http: HttpPolicy::Anywhere, ..EndpointPolicy::default() },
                );
                // `url` rejects some spellings as hosts; that is a refusal as well.
                assert!(
                    matches!(refused, Err(EndpointError::ForbiddenHost(_) | EndpointError::NotAUrl(_))),
                    "{scheme} {host}: {refused:?}"
                );
            }
        }
    }

    #[test]
    fn public_http_is_refused_unless_allowed() {
        for host in ["127.0.0.1", "0x7f.1", "2130706433", "10.1.2.3", "[::1]", "[fd12::1]", "ollama"] {
            assert!(parse(&format!("http://{host}:1")).is_ok(), "{host}");
        }
        for host in ["1.1.1.1", "16843009", "0x01.1.0x1.01", "[2606:4700::1111]", "[::ffff:1.1.1.1]"] {
            let text = format!("http://{host}");
            assert!(matches!(parse(&text), Err(EndpointError::PublicHttp(_))), "{host}");
            let policy =
                EndpointPolicy { allow_public_http: HttpPolicy::Anywhere, ..EndpointPolicy::default() };
            assert!(Endpoint::parse(&text, policy).is_ok(), "{host}");
            assert!(parse(&format!("https://{host}")).is_ok(), "{host}");
        }
    }

    #[test]
    fn endpoint_that_is_not_a_plain_url_is_refused() {
        for text in ["https://user@example.com", "https://:secret@example.com", "http://a:b@127.0.0.1"] {
            assert_eq!(parse(text), Err(EndpointError::UserInfo), "{text}");
        }
        for text in ["ftp://example.com", "file:///etc/passwd", "localhost:11434", "gopher://127.0.0.1"] {
            assert!(matches!(parse(text), Err(EndpointError::Scheme(_))), "{text}");
        }
        assert_eq!(parse("https://example.com/#x"), Err(EndpointError::Fragment));
        assert!(matches!(parse("example.com"), Err(EndpointError::NotAUrl(_))));
        assert!(matches!(parse("https://"), Err(EndpointError::NotAUrl(_))));
        assert_eq!(parse(&format!("https://{}", "a".repeat(2048))), Err(EndpointError::TooLong));
    }

    #[test]
    fn path_is_a_unix_socket_where_allowed() {
        let policy = EndpointPolicy { sockets: SocketPolicy::Allowed, ..EndpointPolicy::default() };
        let socket = Endpoint::parse("/run/llama.sock", policy).unwrap();
        assert_eq!((socket.host(), socket.below(&["models"]).path()), ("/run/llama.sock", "/v1/models"));
        assert!(!socket.is_encrypted());
        assert_eq!(parse("/run/llama.sock"), Err(EndpointError::SocketRefused));
        let long = format!("/{}", "a".repeat(107));
        for wrong in ["/", "/run//x", "/run/../etc/x", "/run/./x", "/run/x/", "/run/\0x", long.as_str()] {
            assert_eq!(Endpoint::parse(wrong, policy), Err(EndpointError::SocketPath), "{wrong:?}");
        }
        assert!(matches!(Endpoint::parse("run/x.sock", policy), Err(EndpointError::NotAUrl(_))));
    }

    #[test]
    fn endpoint_debug_hides_the_query() {
        let shown = format!("{:?}", parse("https://example.com/v1?key=secret").unwrap());
        assert_eq!(shown, "Endpoint(https://example.com/v1)");
    }
}
