//! Reads the TLS files again on SIGHUP.

use crate::app::error::StartError;
use crate::app::server_file;
use crate::http::Tls;
use arbiter_actors::Handles;
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_store::{StoreError, Unit};
use serde_json::json;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

/// Writes `config.updated` if the certificate is another one.
async fn log_certificate(handles: &Handles, old: &str, new: &str) -> Result<(), StoreError> {
    if old == new {
        return Ok(());
    }
    let change = json!({"changes": {"http.tls_cert": {"old": old, "new": new}}, "reason": "SIGHUP"});
    let mut unit = Unit::new(handles.clock.now(), "system", "config");
    unit.emit(NewEvent::of(EventType::ConfigUpdated, "config", change));
    handles.store.commit(unit).await.map(drop)
}

/// From now on SIGHUP ends nothing; it makes a server that speaks TLS read its files again and tell local
/// clients of the new certificate. A file that cannot be used changes nothing.
pub fn reload_on_sighup(
    handles: Handles,
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
            let old = tls.fingerprint();
            let (directory, url) = (directory.clone(), url.clone());
            let reading = tokio::task::spawn_blocking(move || {
                tls.reload()?;
                server_file::write_server_file(&directory, &url, Some(&tls))?;
                Ok::<_, StartError>(tls.fingerprint())
            });
            match reading.await {
                Ok(Ok(certificate)) => {
                    if let Err(error) = log_certificate(&handles, &old, &certificate).await {
                        tracing::error!(%error, "could not log the reload of the TLS files");
                    }
                    tracing::info!(%certificate, "reloaded the TLS files");
                }
                Ok(Err(error)) => {
                    let cause = error.source().map(ToString::to_string).unwrap_or_default();
                    tracing::error!(%error, cause, "could not use the new TLS files; the old ones stay in use");
                }
                Err(error) => tracing::error!(%error, "could not reload the TLS files"),
            }
        }
    }))
}
