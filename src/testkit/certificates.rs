//! Certificates for tests: a CA of its own each time, and what it issues.

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A CA that lives as long as a test.
pub struct TestCa {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate with its private key, both in PEM.
#[derive(Clone, Debug)]
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

impl TestCa {
    /// A new CA.
    ///
    /// # Panics
    /// When no key can be made, as everything here.
    pub fn new(name: &str) -> Self {
        Self::with(params(name, &[]))
    }

    /// A new CA whose own certificate holds the name or address of a server, as people make them.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn new_for(name: &str) -> Self {
        Self::with(params(name, &[name]))
    }

    fn with(mut params: CertificateParams) -> Self {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key pair");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Its own certificate in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Its own certificate and key, for a server that is its own CA.
    pub fn itself(&self) -> Issued {
        Issued { certificate: self.pem.clone(), key: self.issuer.key().serialize_pem() }
    }

    /// A certificate for a server with these names and addresses.
    pub fn server(&self, names: &[&str]) -> Issued {
        self.issue(names.first().unwrap_or(&"server"), names, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate for a client of this name.
    pub fn client(&self, name: &str) -> Issued {
        self.issue(name, &[], ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, name: &str, names: &[&str], purpose: ExtendedKeyUsagePurpose) -> Issued {
        let mut params = params(name, names);
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().expect("a key pair");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Issued { certificate, key: key.serialize_pem() }
    }
}

impl Issued {
    /// The certificate as bytes.
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("a certificate in PEM")
    }

    /// Writes `NAME.pem` and `NAME.key`, the key for us alone; returns both paths.
    pub fn write(&self, directory: &Path, name: &str) -> (PathBuf, PathBuf) {
        let paths = (directory.join(format!("{name}.pem")), directory.join(format!("{name}.key")));
        fs::write(&paths.0, &self.certificate).expect("a certificate can be written");
        fs::write(&paths.1, &self.key).expect("a key can be written");
        fs::set_permissions(&paths.1, fs::Permissions::from_mode(0o600)).expect("its mode can be set");
        paths
    }

    /// A server's configuration with this certificate; with a CA, it takes clients of that CA only.
    pub fn server_config(&self, clients: Option<&TestCa>) -> Arc<ServerConfig> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring speaks the usual versions");
        let builder = match clients {
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                let root = CertificateDer::from_pem_slice(ca.pem.as_bytes()).expect("a CA in PEM");
                roots.add(root).expect("a CA can be trusted");
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
            None => builder.with_no_client_auth(),
        };
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key in PEM");
        Arc::new(builder.with_single_cert(vec![self.der()], key).expect("certificate and key fit"))
    }
}

fn params(name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names of hosts or addresses");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
