//! Reads the TLS files again on SIGHUP.

use crate::app::error::StartError;
use crate::app::server_file;
use crate::http::Tls;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

/// From now on SIGHUP ends nothing; it makes a server that speaks TLS read its files again and tell local
/// clients of the new certificate. A file that cannot be used changes nothing.
pub fn reload_on_sighup(
    tls: Option<Arc<Tls>>,
    directory: PathBuf,
    url: String,
) -> Result<JoinHandle<()>, StartError> {
    let fail = |source| StartError::Process { operation: "listen for signals", source };
    let mut hangups = signal(SignalKind::hangup()).map_err(fail)?;
    Ok(tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            let Some(tls) = tls.clone() else {
                tracing::info!("SIGHUP: there is nothing to read again");
                continue;
            };
            let (directory, url) = (directory.clone(), url.clone());
            let reading = tokio::task::spawn_blocking(move || {
                tls.reload()?;
                server_file::write_server_file(&directory, &url, Some(&tls))?;
                Ok::<_, StartError>(tls.fingerprint())
            });
            match reading.await {
                Ok(Ok(certificate)) => tracing::info!(%certificate, "reloaded the TLS files"),
                Ok(Err(error)) => {
                    let cause = error.source().map(ToString::to_string).unwrap_or_default();
                    tracing::error!(%error, cause, "could not use the new TLS files; the old ones stay in use");
                }
                Err(error) => tracing::error!(%error, "could not reload the TLS files"),
            }
        }
    }))
}
