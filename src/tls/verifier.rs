//! Verification of a server's certificate without the system's authorities.
//!
//! A server is known by the fingerprint of its certificate or by certificates that the operator named. In both
//! cases the server proves that it has the certificate's key.

use crate::fingerprint;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;

/// Servers that a verifier accepts.
#[derive(Debug)]
enum ExpectedServer {
    Fingerprint(String),
    /// A server with one of these certificates, or with a certificate that one of them issued.
    IssuedBy(Vec<CertificateDer<'static>>, Arc<WebPkiServerVerifier>),
}

/// A certificate verifier for one server.
#[derive(Debug)]
pub struct Verifier {
    expected: ExpectedServer,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// Accepts only the certificate with this fingerprint.
    pub fn from_fingerprint(fingerprint: &str, provider: Arc<CryptoProvider>) -> Self {
        Self { expected: ExpectedServer::Fingerprint(fingerprint.to_owned()), provider }
    }

    /// Accepts these certificates and the certificates they issued.
    ///
    /// # Errors
    /// When none of the certificates can be trusted.
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
        // `openssl req -x509` marks a server's certificate as a CA. The operator named this very certificate,
        // its validity was checked earlier, and its name is checked here.
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

/// Returns whether a certificate was refused only because it is a CA's own.
fn is_ca_as_end_entity_error(error: &Error) -> bool {
    // rustls has no variant for this reason.
    matches!(error, Error::InvalidCertificate(CertificateError::Other(reason))
        if format!("{reason:?}").contains("CaUsedAsEndEntity"))
}
