//! Which certificate a server may show, when the system's authorities are not asked.
//!
//! Owns the two ways of knowing a server: by the fingerprint of its certificate, or by certificates that
//! the user named. The server always proves to have the key of what it shows.

use crate::fingerprint;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;

/// Whom a server may be.
#[derive(Debug)]
enum ExpectedServer {
    Fingerprint(String),
    /// Who has a certificate of one of these issuers, or one of these themselves.
    IssuedBy(Vec<CertificateDer<'static>>, Arc<WebPkiServerVerifier>),
}

/// Takes the certificates of one server.
#[derive(Debug)]
pub struct Verifier {
    expected: ExpectedServer,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// Takes the one certificate with this fingerprint.
    pub fn from_fingerprint(fingerprint: &str, provider: Arc<CryptoProvider>) -> Self {
        Self { expected: ExpectedServer::Fingerprint(fingerprint.to_owned()), provider }
    }

    /// Takes what these certificates have issued, and these themselves.
    ///
    /// # Errors
    /// When none of them can be trusted.
    pub fn from_certificates(
        certificates: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone())?;
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { expected: ExpectedServer::IssuedBy(certificates, verifier), provider })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (certificates, verifier) = match &self.expected {
            ExpectedServer::Fingerprint(expected) if fingerprint(shown) == *expected => {
                return Ok(ServerCertVerified::assertion());
            }
            ExpectedServer::Fingerprint(_) => {
                return Err(CertificateError::ApplicationVerificationFailure.into());
            }
            ExpectedServer::IssuedBy(certificates, verifier) => (certificates, verifier),
        };
        let refusal = match verifier.verify_server_cert(shown, chain, name, ocsp, now) {
            Err(refusal) if is_ca_as_end_entity_error(&refusal) && certificates.contains(shown) => refusal,
            outcome => return outcome,
        };
        // What `openssl req -x509` makes for a server is a CA by its own word. The user named this very
        // certificate, its time was checked before that word, and its name is checked here.
        let parsed = ParsedCertificate::try_from(shown).map_err(|_| refusal)?;
        verify_server_name(&parsed, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Returns whether a certificate was refused for nothing but being a CA's own.
fn is_ca_as_end_entity_error(error: &Error) -> bool {
    // The reason has no variant of its own in rustls.
    matches!(error, Error::InvalidCertificate(CertificateError::Other(reason))
        if format!("{reason:?}").contains("CaUsedAsEndEntity"))
}
