//! Connects to a Temporal server: TLS, API key, namespace and search attributes.

use crate::codec::Codec;
use crate::codec::names::{PROJECT, STATUS};
use crate::codec::signed::SigningKeys;
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;
use temporalio_client::errors::ClientConnectError;
use temporalio_client::{Client, ClientOptions, ClientTlsOptions, Connection, ConnectionOptions, TlsOptions};
use temporalio_common::data_converters::{DataConverter, DefaultFailureConverter, PayloadConverter};
use temporalio_common::protos::temporal::api::enums::v1::IndexedValueType;
use temporalio_common::protos::temporal::api::operatorservice::v1::AddSearchAttributesRequest;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    DescribeNamespaceRequest, RegisterNamespaceRequest,
};
use tonic::Code;
use url::Url;

/// The time limit of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The default port of a Temporal server.
const PORT: u16 = 7233;

/// The longest time after which every part of a server knows a new namespace.
const NAMESPACE_VISIBLE_WITHIN: Duration = Duration::from_secs(60);
/// The pause between two attempts to add the search attributes.
const ATTRIBUTES_PAUSE: Duration = Duration::from_millis(500);

/// Returns whether a later attempt to add search attributes may succeed: the namespace is not visible yet, or the
/// server is busy.
fn is_passing(code: Code) -> bool {
    matches!(code, Code::NotFound | Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded)
}

/// The address of a Temporal server, with credentials.
#[derive(Debug)]
pub struct Address {
    /// The server: `host`, `host:port` or a URL.
    pub server: String,
    /// The namespace.
    pub namespace: String,
    /// The retention of ended workflows, if the namespace has to be created.
    pub retention: Duration,
    /// The API key.
    pub api_key: Option<SecretString>,
    /// TLS; `None` for plain text.
    pub tls: Option<Tls>,
}

/// TLS settings of the connection.
#[derive(Debug, Default)]
pub struct Tls {
    /// The CA certificates for the server's certificate, in PEM; by default those of the system.
    pub ca: Option<Vec<u8>>,
    /// The client certificate and its private key, in PEM.
    pub client: Option<(Vec<u8>, SecretString)>,
    /// The name in the server's certificate, if it differs from the address.
    pub server_name: Option<String>,
}

/// An error of a connection attempt.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Settings that contradict each other; a retry does not help.
    #[error("{0}")]
    Settings(String),
    /// The server is unreachable or refuses the connection.
    #[error("the Temporal server at {server} {what}")]
    Server {
        /// The server.
        server: String,
        /// A description of the failure.
        what: String,
    },
}

/// A connection with properties of its server.
#[derive(Clone)]
pub struct TemporalConnection {
    /// The client.
    pub client: Client,
    /// Returns whether the server has the search attributes.
    pub attributes: bool,
    /// The retention of ended workflows, if the server tells it.
    pub retention: Option<Duration>,
    /// The keys that sign messages to workflows, shared with the workers of this connection.
    pub signing_keys: SigningKeys,
}

impl Address {
    /// Builds the server's URL.
    ///
    /// # Errors
    /// [`ConnectError::Settings`] for what is no address, and for a key or certificates that would travel in the clear.
    pub fn url(&self) -> Result<Url, ConnectError> {
        let wants_tls = self.tls.is_some() || self.api_key.is_some();
        let text = match self.server.contains("://") {
            true => self.server.clone(),
            false => format!("{}://{}", if wants_tls { "https" } else { "http" }, self.server),
        };
        let wrong = |why: &str| ConnectError::Settings(format!("temporal.address {:?} {why}", self.server));
        let mut url = Url::parse(&text).map_err(|_| wrong("is no host, host:port or URL"))?;
        match url.scheme() {
            "http" if self.api_key.is_some() => {
                return Err(wrong(
                    "is http://, and temporal.api_key_file would travel in the clear: write https://",
                ));
            }
            "http" if self.tls.is_some() => {
                return Err(wrong("is http://, and temporal.tls would not be used: write https://"));
            }
            "http" | "https" => {}
            _ => return Err(wrong("is neither http:// nor https://")),
        }
        if url.host_str().is_none_or(str::is_empty) || !matches!(url.path(), "" | "/") {
            return Err(wrong("is no host, host:port or URL without a path"));
        }
        if url.port().is_none() {
            url.set_port(Some(PORT)).map_err(|()| wrong("cannot have a port"))?;
        }
        Ok(url)
    }

    /// Connects once, without retries.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(
        &self,
        codec: Codec,
        signing_keys: SigningKeys,
        identity: &str,
    ) -> Result<TemporalConnection, ConnectError> {
        let url = self.url()?;
        let tls = (url.scheme() == "https").then(|| self.tls_options());
        let options = ConnectionOptions::new(url)
            .identity(identity)
            .connect_timeout(CONNECT_TIMEOUT)
            .maybe_tls_options(tls)
            .maybe_api_key(self.api_key.as_ref().map(|key| key.expose_secret().to_owned()))
            .build();
        let connection = tokio::time::timeout(2 * CONNECT_TIMEOUT, Connection::connect(options)).await;
        let connection = connection.map_err(|_| self.server_error("does not answer"))?;
        let connection = connection
            .map_err(|error| self.server_error(&format!("cannot be used: {}", error_chain(&error))))?;
        let options = ClientOptions::new(&self.namespace).data_converter(converter(codec)).build();
        let client =
            Client::new(connection, options).map_err(|error| self.server_error(&error.to_string()))?;
        let retention = self.namespace(&client).await?;
        let attributes = self.attributes(&client).await;
        Ok(TemporalConnection { client, attributes, retention, signing_keys })
    }

    fn tls_options(&self) -> TlsOptions {
        let Some(tls) = &self.tls else { return TlsOptions::default() };
        let client = tls.client.as_ref().map(|(certificate, key)| {
            ClientTlsOptions::builder()
                .client_cert(certificate.clone())
                .client_private_key(key.expose_secret().as_bytes().to_vec())
                .build()
        });
        TlsOptions::builder()
            .maybe_server_root_ca_cert(tls.ca.clone())
            .maybe_domain(tls.server_name.clone())
            .maybe_client_tls_options(client)
            .build()
    }

    /// Looks the namespace up, or creates it where permitted. Returns its retention.
    async fn namespace(&self, client: &Client) -> Result<Option<Duration>, ConnectError> {
        let mut service = client.connection().workflow_service();
        let ask = || DescribeNamespaceRequest { namespace: self.namespace.clone(), ..Default::default() };
        let found = service.describe_namespace(tonic::Request::new(ask())).await;
        match found {
            Ok(found) => {
                let kept = found.into_inner().config.and_then(|c| c.workflow_execution_retention_ttl);
                Ok(kept.map(|kept| Duration::from_secs(u64::try_from(kept.seconds).unwrap_or(0))))
            }
            // Write access to a namespace does not include reading its description.
            Err(status) if status.code() == Code::PermissionDenied => Ok(None),
            Err(status) if status.code() == Code::NotFound => {
                let seconds = i64::try_from(self.retention.as_secs()).unwrap_or(i64::MAX);
                let request = RegisterNamespaceRequest {
                    namespace: self.namespace.clone(),
                    description: "Arbiter".to_owned(),
                    workflow_execution_retention_period: Some(prost_wkt_types::Duration {
                        seconds,
                        nanos: 0,
                    }),
                    ..Default::default()
                };
                match service.register_namespace(tonic::Request::new(request)).await {
                    Ok(_) => Ok(Some(self.retention)),
                    Err(status) if status.code() == Code::AlreadyExists => Ok(None),
                    Err(status) => Err(self.server_error(&format!(
                        "has no namespace {:?} and does not let us make it: {}",
                        self.namespace,
                        status.message()
                    ))),
                }
            }
            Err(status) => {
                Err(self.server_error(&format!("does not show its namespace: {}", status.message())))
            }
        }
    }

    /// Adds the search attributes. Returns whether the server has them.
    async fn attributes(&self, client: &Client) -> bool {
        let mut service = client.connection().operator_service();
        let keyword = i32::from(IndexedValueType::Keyword as i16);
        let names = [STATUS.name(), PROJECT.name()];
        let request = AddSearchAttributesRequest {
            search_attributes: names.into_iter().map(|name| (name.to_owned(), keyword)).collect(),
            namespace: self.namespace.clone(),
        };
        let mut waited = Duration::ZERO;
        loop {
            match service.add_search_attributes(tonic::Request::new(request.clone())).await {
                Ok(_) => return true,
                Err(status) if status.code() == Code::AlreadyExists => return true,
                // A new namespace is visible to all parts of the server only after a while, 10 s by default.
                Err(status) if is_passing(status.code()) && waited < NAMESPACE_VISIBLE_WITHIN => {
                    tokio::time::sleep(ATTRIBUTES_PAUSE).await;
                    waited += ATTRIBUTES_PAUSE;
                }
                Err(status) => {
                    let why = status.message();
                    tracing::warn!(target: "integration", why, "could not add search attributes; workflows go without them");
                    return false;
                }
            }
        }
    }

    fn server_error(&self, what: &str) -> ConnectError {
        ConnectError::Server { server: self.server.clone(), what: what.to_owned() }
    }
}

/// Returns the converter between values and payloads.
pub fn converter(codec: Codec) -> DataConverter {
    // `true` encrypts the messages of failures as well.
    DataConverter::new(PayloadConverter::default(), DefaultFailureConverter::new(true), codec)
}

/// Formats an error with its causes, without Rust's debug text.
fn error_chain(error: &ClientConnectError) -> String {
    let (mut text, mut cause) = match error {
        ClientConnectError::SystemInfoCallError(status) => {
            (status.message().to_owned(), std::error::Error::source(status))
        }
        ClientConnectError::TonicTransportError(error) => {
            (error.to_string(), std::error::Error::source(error))
        }
        other => (other.to_string(), std::error::Error::source(other)),
    };
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text.push_str(&format!(": {words}"));
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(server: &str) -> Address {
        Address {
            server: server.to_owned(),
            namespace: "default".to_owned(),
            retention: Duration::from_secs(86_400),
            api_key: None,
            tls: None,
        }
    }

    #[test]
    fn address_accepts_host_with_optional_port_and_scheme() {
        for (server, url) in [
            ("localhost", "http://localhost:7233/"),
            ("10.0.0.1:17233", "http://10.0.0.1:17233/"),
            ("[::1]:7", "http://[::1]:7/"),
            ("https://eu.example.com:7233", "https://eu.example.com:7233/"),
        ] {
            assert_eq!(address(server).url().unwrap().as_str(), url);
        }
        for bad in ["", "http://", "ftp://x", "http://x/path", "a b"] {
            assert!(address(bad).url().is_err(), "{bad}");
        }
    }

    #[test]
    fn search_attributes_are_retried_until_namespace_is_visible() {
        for code in [Code::NotFound, Code::Unavailable] {
            assert!(is_passing(code), "{code}");
        }
        for code in [Code::PermissionDenied, Code::Unimplemented, Code::InvalidArgument] {
            assert!(!is_passing(code), "{code}");
        }
    }

    #[test]
    fn credentials_over_plain_http_are_refused() {
        let key = Some(SecretString::from("a canary"));
        let keyed = Address { api_key: key, ..address("http://localhost") };
        let error = keyed.url().unwrap_err().to_string();
        assert!(error.contains("https://") && !error.contains("canary"), "{error}");
        assert!(!format!("{keyed:?}").contains("canary"));
        let tls = Address { tls: Some(Tls::default()), ..address("http://localhost") };
        assert!(tls.url().is_err());
        let tls = Address { tls: Some(Tls::default()), ..address("localhost") };
        assert_eq!(tls.url().unwrap().scheme(), "https");
    }
}
