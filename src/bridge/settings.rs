//! Reads the address of the Temporal server from the configuration and the files that it names.

use crate::config::Temporal;
use crate::key_file::{self, KeyFileError};
use arbiter_temporal::client::connection::{Address, ConnectError, Tls};
use secrecy::SecretString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An error in the configuration of the Temporal server.
#[derive(Debug, thiserror::Error)]
pub enum BridgeConfigError {
    /// Settings that contradict each other.
    #[error(transparent)]
    Address(#[from] ConnectError),
    /// A file with a secret cannot be used.
    #[error("{key} cannot be used")]
    Secret {
        /// The setting.
        key: &'static str,
        /// Why.
        #[source]
        source: KeyFileError,
    },
    /// A file cannot be read.
    #[error("{key} {path:?} cannot be read")]
    File {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Reads the server's address; `None` when no server is configured.
///
/// # Errors
/// [`BridgeConfigError`].
pub fn load(settings: &Temporal) -> Result<Option<Address>, BridgeConfigError> {
    if settings.address.is_empty() {
        return Ok(None);
    }
    let api_key = match is_given(&settings.api_key_file) {
        true => Some(secret("temporal.api_key_file", &settings.api_key_file)?),
        false => None,
    };
    let wants_tls = is_given(&settings.tls_ca)
        || is_given(&settings.tls_cert)
        || !settings.tls_server_name.is_empty()
        || settings.address.starts_with("https://");
    let tls = if wants_tls { Some(tls(settings)?) } else { None };
    let address = Address {
        server: settings.address.clone(),
        namespace: settings.namespace.clone(),
        retention: Duration::from_secs(u64::from(settings.retention_days) * 86_400),
        api_key,
        tls,
    };
    address.url()?;
    Ok(Some(address))
}

/// The largest file of certificates that is read, in bytes.
const MAX_CERTIFICATE_BYTES: u64 = 4 * 1024 * 1024;

fn tls(settings: &Temporal) -> Result<Tls, BridgeConfigError> {
    let read = |key, path: &Path| {
        let read =
            arbiter_files::open_given(path, MAX_CERTIFICATE_BYTES).and_then(|mut file| file.read_all());
        read.map_err(|error| BridgeConfigError::File { key, path: path.to_owned(), source: error.into() })
    };
    let ca = match is_given(&settings.tls_ca) {
        true => Some(read("temporal.tls_ca", &settings.tls_ca)?),
        false => None,
    };
    let client = match is_given(&settings.tls_cert) {
        true => Some((
            read("temporal.tls_cert", &settings.tls_cert)?,
            secret("temporal.tls_key", &settings.tls_key)?,
        )),
        false => None,
    };
    let server_name = Some(settings.tls_server_name.clone()).filter(|name| !name.is_empty());
    Ok(Tls { ca, client, server_name })
}

fn secret(key: &'static str, path: &Path) -> Result<SecretString, BridgeConfigError> {
    key_file::read_text(path).map_err(|source| BridgeConfigError::Secret { key, source })
}

fn is_given(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

#[cfg(test)]
mod tests {
    use arbiter_temporal::codec::names::{CONTROL_QUEUE, Kind, PROVIDERS_QUEUE};

    #[test]
    fn every_workflow_type_has_a_default_queue() {
        let settings = crate::config::Settings::default().temporal;
        assert_eq!(settings.providers_queue, PROVIDERS_QUEUE);
        let types: Vec<&str> = Kind::ALL.iter().map(|kind| kind.workflow_type()).collect();
        assert_eq!(settings.queues.len(), types.len());
        for kind in types {
            assert_eq!(settings.queues.get(kind).map(String::as_str), Some(CONTROL_QUEUE), "{kind}");
        }
    }
}
