//! TLS on the server's own port: the certificate it shows, and whose certificates it takes from callers.
//!
//! Owns the reading of those files and what of them is in force. Knows nothing of requests, nor of what a
//! caller's certificate is good for.

use crate::config::TlsFiles;
use crate::key_file::{self, KeyFileError};
use arbiter_tls::fingerprint;
use arc_swap::ArcSwap;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The largest file of certificates that is read, in bytes.
const MAX_CERTIFICATE_BYTES: u64 = 4 * 1024 * 1024;

/// Reason why the TLS files are unusable.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate's file could not be read.
    #[error("cannot read the certificate {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The private key's file cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A file does not hold what it should.
    #[error("{path} {detail}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Description of the defect.
        detail: String,
    },
}

/// TLS settings in use until the next reload.
struct ActiveTls {
    config: Arc<ServerConfig>,
    fingerprint: Arc<str>,
}

/// TLS as it is spoken on the server's port.
pub struct Tls {
    files: TlsFiles,
    active: ArcSwap<ActiveTls>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what is wrong with it.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let active = ArcSwap::from_pointee(read(&files)?);
        Ok(Self { files, active })
    }

    /// Reads the files again, for connections from now on. Those that are open keep what they have; a session
    /// from before is not resumed, so that a certificate whose CA is gone is not taken on memory.
    ///
    /// # Errors
    /// [`TlsError`]; then everything stays as it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.active.store(Arc::new(read(&self.files)?));
        Ok(())
    }

    /// The SHA-256, in hex, of the certificate that is shown.
    pub fn fingerprint(&self) -> Arc<str> {
        Arc::clone(&self.active.load().fingerprint)
    }

    /// Shakes hands; gives the fingerprint of the certificate that the caller proved to own, if it showed one.
    ///
    /// # Errors
    /// When the other end speaks no TLS, none that we do, or shows a certificate that is not taken.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, Option<Arc<str>>)> {
        let config = Arc::clone(&self.active.load().config);
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let certificate = shown.map(|certificate| fingerprint(certificate).into());
        Ok((stream, certificate))
    }
}

fn read(files: &TlsFiles) -> Result<ActiveTls, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(&files.certificate)?;
    // `certificates` gives at least one.
    let fingerprint = chain.first().map(|leaf| fingerprint(leaf)).unwrap_or_default().into();
    let key = private_key(&files.key)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid_file(&files.certificate, format!("cannot be used: {error}")))?;
    let builder = match &files.client_ca {
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(root_store(path)?), provider)
                // A token is as good, so a caller without a certificate is let in to show one.
                .allow_unauthenticated()
                .build()
                .map_err(|error| invalid_file(path, format!("cannot be used: {error}")))?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            let certificate = files.certificate.display();
            invalid_file(&files.key, format!("is not the key of the certificate {certificate}"))
        }
        other => invalid_file(&files.certificate, format!("cannot be used: {other}")),
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(ActiveTls { config: Arc::new(config), fingerprint })
}

fn invalid_file(path: &Path, detail: impl Into<String>) -> TlsError {
    TlsError::Invalid { path: path.to_owned(), detail: detail.into() }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = arbiter_files::open_given(path, MAX_CERTIFICATE_BYTES).and_then(|mut file| file.read_all());
    let text = read.map_err(|error| TlsError::Unreadable { path: path.to_owned(), source: error.into() })?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(invalid_file(path, "holds no certificate in PEM")),
        Ok(found) => Ok(found),
        Err(_) => Err(invalid_file(path, "is not well-formed PEM")),
    }
}

fn root_store(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|_| invalid_file(path, "holds what is no certificate"))?;
    }
    Ok(roots)
}

/// The parser's own words are not passed on: they could quote the key.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = key_file::read(path)?;
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| invalid_file(path, "holds no private key in PEM; an encrypted one cannot be used"))
}

#[cfg(test)]
mod tests;
