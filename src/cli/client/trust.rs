//! TLS of a client command: the certificates that it trusts and its own.
//!
//! Owns the flags and the explanations of TLS errors. The local server is authenticated by the fingerprint of
//! its certificate in the data directory, which only this user can read; issuer and names are not checked.

use crate::cli::ui::failure::Failure;
use crate::cli::ui::input_file;
use crate::key_file::{self, KeyFileError};
use arbiter_tls::Verifier;
use clap::Args;
use reqwest::{ClientBuilder, Identity};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CertificateError, ClientConfig, Error};
use std::{path::Path, path::PathBuf, sync::Arc};
use zeroize::Zeroizing;

/// The flags about TLS that every client command takes. Their ids say that they are about this server, for
/// `provider add` has flags of the same names about another one.
#[derive(Clone, Debug, Default, Args)]
pub struct TlsFlags {
    /// Trust only server certificates of this CA, or this very certificate: PEM
    #[arg(id = "server_ca_cert", long = "ca-cert", env = "ARBITER_CA_CERT")]
    #[arg(global = true, help_heading = "Server", value_name = "FILE")]
    ca_cert: Option<PathBuf>,
    /// The client certificate: PEM, with its chain
    #[arg(id = "server_client_cert", long = "client-cert", env = "ARBITER_CLIENT_CERT")]
    #[arg(global = true, help_heading = "Server", value_name = "FILE")]
    client_cert: Option<PathBuf>,
    /// The private key of that certificate: PEM, mode 0600
    #[arg(id = "server_client_key", long = "client-key", env = "ARBITER_CLIENT_KEY")]
    #[arg(global = true, help_heading = "Server", value_name = "FILE")]
    client_key: Option<PathBuf>,
}

/// TLS settings for one server.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// The file of the CA to trust instead of the system's.
    ca: Option<PathBuf>,
    /// The files of our own certificate and its key.
    identity: Option<(PathBuf, PathBuf)>,
    /// The fingerprint of the one certificate to trust.
    pinned: Option<String>,
}

impl TlsFlags {
    /// Returns whether the client presents a certificate.
    pub fn has_client_certificate(&self) -> bool {
        self.client_cert.is_some()
    }

    /// Reads the certificates that the flags name. `pinned` is the fingerprint that the local server wrote, if
    /// that server is the target.
    pub fn trust(&self, pinned: Option<String>) -> Result<Trust, Failure> {
        let identity = match (self.client_cert.clone(), self.client_key.clone()) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(Failure::Usage("--client-cert and --client-key go together".to_owned())),
        };
        let pinned = pinned.filter(|_| self.ca_cert.is_none());
        Ok(Trust { ca: self.ca_cert.clone(), identity, pinned })
    }
}

impl Trust {
    /// Makes a client speak TLS so.
    pub fn apply(&self, builder: ClientBuilder) -> Result<ClientBuilder, Failure> {
        let provider = Arc::new(ring::default_provider());
        let verifier = match (&self.ca, &self.pinned) {
            (Some(path), _) => Verifier::from_certificates(certificates(path)?, Arc::clone(&provider))
                .map_err(|_| unusable_file(path, "holds a certificate that cannot be read"))?,
            (None, Some(pinned)) => Verifier::from_fingerprint(pinned, Arc::clone(&provider)),
            // The system's authorities are reqwest's affair.
            (None, None) => {
                let Some((certificate, key)) = &self.identity else { return Ok(builder) };
                let both = [private_key(key)?.as_slice(), b"\n", &contents(certificate)?].concat();
                let identity = Identity::from_pem(&Zeroizing::new(both)).map_err(|_| {
                    unusable_file(certificate, "and its key are no certificate and private key in PEM")
                })?;
                return Ok(builder.identity(identity));
            }
        };
        let cannot = |error: Error| Failure::Failed(format!("cannot speak TLS: {error}"));
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(cannot)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match &self.identity {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let secret = PrivateKeyDer::from_pem_slice(&private_key(key)?)
                    .map_err(|_| unusable_file(key, "holds no private key in PEM"))?;
                config.with_client_auth_cert(certificates(certificate)?, secret).map_err(cannot)?
            }
        };
        Ok(builder.tls_backend_preconfigured(config))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&contents(path)?).collect();
    found.ok().filter(|all| !all.is_empty()).ok_or_else(|| unusable_file(path, "holds no certificate in PEM"))
}

fn unusable_file(path: &Path, detail: &str) -> Failure {
    Failure::Usage(format!("{} {detail}", path.display()))
}

fn contents(path: &Path) -> Result<Vec<u8>, Failure> {
    input_file::read(path)
}

fn private_key(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    key_file::read(path).map_err(|error| match error {
        KeyFileError::Unreadable { path, source } => {
            Failure::io(format!("cannot read the private key {}", path.display()), source)
        }
        refused => Failure::Refused(refused.to_string()),
    })
}

/// Explains a TLS error among the causes and names the remedy.
pub fn explain(error: &(dyn std::error::Error + 'static), host: &str) -> Option<String> {
    let wrong = match arbiter_tls::find_tls_error(error)? {
        Error::InvalidCertificate(wrong) => wrong,
        Error::AlertReceived(alert) => {
            return Some(format!(
                "it refused the TLS connection ({alert:?}); does it know the CA of --client-cert?"
            ));
        }
        Error::InvalidMessage(_) => return Some("it speaks no TLS; is its address http://…?".to_owned()),
        _ => return None,
    };
    Some(match wrong {
        CertificateError::UnknownIssuer => {
            "its certificate comes from an unknown CA; give that CA's with --ca-cert FILE or ARBITER_CA_CERT"
                .to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
            "its certificate does not hold the name {host}: use a URL with a name that it holds, or give it a \
             certificate that holds {host} (subjectAltName)"
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired".to_owned()
        }
        CertificateError::ApplicationVerificationFailure => {
            "its certificate is not the one that the server wrote to the data directory".to_owned()
        }
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "its certificate is a CA's own, and not the one of --ca-cert".to_owned()
        }
        other => format!("its certificate is not accepted: {other}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn explained(error: Error) -> Option<String> {
        let error = io::Error::other(io::Error::other(error));
        explain(&error, "10.0.0.7")
    }

    #[test]
    fn client_certificate_and_key_must_be_given_together() {
        let half = TlsFlags { client_cert: Some("c.pem".into()), ..TlsFlags::default() };
        assert_eq!(half.trust(None).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn named_ca_takes_precedence_over_the_announced_certificate() {
        let named = TlsFlags { ca_cert: Some("ca.pem".into()), ..TlsFlags::default() };
        assert_eq!(named.trust(Some("ab".to_owned())).unwrap().pinned, None);
        let unnamed = TlsFlags::default().trust(Some("ab".to_owned())).unwrap();
        assert_eq!(unnamed.pinned.as_deref(), Some("ab"));
    }

    #[test]
    fn certificate_failure_is_explained_with_a_hint() {
        let said = |wrong: CertificateError| explained(wrong.into()).unwrap();
        assert!(said(CertificateError::UnknownIssuer).contains("--ca-cert"));
        assert!(said(CertificateError::NotValidForName).contains("10.0.0.7 (subjectAltName)"));
        assert_eq!(explain(&io::Error::other("no TLS at all"), "h"), None);
    }
}
