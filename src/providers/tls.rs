//! TLS settings of a provider: a client certificate, and the provider's own CA.
//!
//! Owns the rules for certificates and the texts of TLS errors. The private key is used to build a client and
//! is not kept here.

use crate::error::{CallError, CallErrorKind};
use arbiter_tls::Verifier;
use reqwest::{ClientBuilder, Identity};
use rustls::crypto::ring::{self, sign::any_supported_type};
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, InconsistentKeys, RootCertStore};
use secrecy::zeroize::{Zeroize, Zeroizing};
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;

/// Reason why a text is not a usable certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateProblem {
    /// Not PEM.
    #[error("is not well-formed PEM")]
    NotPem,
    /// A private key, which is secret; certificates are not.
    #[error("holds a private key, which belongs into the vault and nowhere else")]
    PrivateKey,
    #[error("holds no certificate in PEM")]
    Empty,
    #[error("holds something else than certificates")]
    Other,
    /// Not X.509.
    #[error("holds a certificate that cannot be read")]
    NotX509,
}

/// Checks that a text holds one or more certificates in PEM, and nothing else.
///
/// # Errors
/// [`CertificateProblem`].
pub fn check_certificates(pem: &str) -> Result<(), CertificateProblem> {
    certificates(pem).map(|_| ())
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, CertificateProblem> {
    // Checked before parsing: a key within broken PEM is a key as well.
    if pem.contains("PRIVATE KEY") {
        return Err(CertificateProblem::PrivateKey);
    }
    let mut found = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem.as_bytes()) {
        match section.map_err(|_| CertificateProblem::NotPem)? {
            (SectionKind::Certificate, der) => found.push(CertificateDer::from(der)),
            _ => return Err(CertificateProblem::Other),
        }
    }
    let mut roots = RootCertStore::empty();
    for certificate in &found {
        ParsedCertificate::try_from(certificate).map_err(|_| CertificateProblem::NotX509)?;
        roots.add(certificate.clone()).map_err(|_| CertificateProblem::NotX509)?;
    }
    if found.is_empty() { Err(CertificateProblem::Empty) } else { Ok(found) }
}

/// Client certificate and key for a provider.
#[derive(Clone, Debug)]
pub struct ClientIdentity {
    /// Certificate with its chain, in PEM.
    pub certificate: String,
    /// Private key of the certificate, in PEM.
    pub key: SecretString,
}

/// TLS settings of one provider.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Client certificate; `None` sends none.
    pub identity: Option<ClientIdentity>,
    /// CA certificates of the provider in PEM, which replace the web's authorities; `None` uses those.
    pub ca_cert: Option<String>,
}

impl Tls {
    /// Applies these settings to a client.
    pub(crate) fn apply(&self, builder: ClientBuilder) -> Result<ClientBuilder, CallError> {
        let Some(pem) = &self.ca_cert else {
            // reqwest loads the system's authorities.
            return match &self.identity {
                Some(identity) => Ok(builder.identity(identity.for_reqwest()?)),
                None => Ok(builder),
            };
        };
        let unusable = |_| refused("ca_cert cannot be used");
        let found = certificates(pem).map_err(|wrong| refused(format!("ca_cert {wrong}")))?;
        let provider = Arc::new(ring::default_provider());
        // Replaces the web's authorities: an operator with a CA trusts no other for this provider.
        let verifier = Verifier::from_certificates(found, Arc::clone(&provider)).map_err(unusable)?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        Ok(builder.tls_backend_preconfigured(match &self.identity {
            Some(identity) => {
                config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.checked()?)))
            }
            None => config.with_no_client_auth(),
        }))
    }
}

impl ClientIdentity {
    /// Returns certificate and key if they match. A parser's message is not passed on, because it could quote
    /// the key.
    fn checked(&self) -> Result<CertifiedKey, CallError> {
        let chain =
            certificates(&self.certificate).map_err(|wrong| refused(format!("client_cert {wrong}")))?;
        let mut key = PrivateKeyDer::from_pem_slice(self.key.expose_secret().as_bytes())
            .map_err(|_| refused("the vault's entry client_key_id holds no private key in PEM"))?;
        let signing = any_supported_type(&key);
        key.zeroize();
        let signing =
            signing.map_err(|_| refused("the private key of client_key_id is of no kind that is spoken"))?;
        let both = CertifiedKey::new(chain, signing);
        match both.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(both),
            Err(_) => Err(refused("client_cert does not belong to the private key of client_key_id")),
        }
    }

    fn for_reqwest(&self) -> Result<Identity, CallError> {
        self.checked()?;
        let secret = self.key.expose_secret();
        // Reserve the full capacity, so that the text is not moved and left behind.
        let mut both = Zeroizing::new(Vec::with_capacity(secret.len() + self.certificate.len() + 1));
        both.extend_from_slice(secret.as_bytes());
        both.push(b'\n');
        both.extend_from_slice(self.certificate.as_bytes());
        Identity::from_pem(&both).map_err(|_| refused("client_cert and its key cannot be used"))
    }
}

fn refused(detail: impl Into<String>) -> CallError {
    CallError::new(CallErrorKind::Refused, detail)
}

/// Explains the TLS error among the causes to the operator.
pub(crate) fn explain(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    Some(match arbiter_tls::find_tls_error(error)? {
        Error::InvalidCertificate(wrong) => match wrong {
            CertificateError::UnknownIssuer => {
                "its certificate comes from an unknown authority; ca_cert names another one".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is made for another name".to_owned()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired".to_owned()
            }
            other => format!("its certificate is not accepted: {other}"),
        },
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "it wants a client certificate; give client_cert and client_key_id".to_owned()
        }
        Error::AlertReceived(alert) => {
            format!("it refused the TLS connection ({alert:?}), perhaps for our client certificate")
        }
        other => format!("TLS failed: {other}"),
    })
}

#[cfg(test)]
mod tests;
