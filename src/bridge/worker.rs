//! `arbiter worker`: makes calls to providers on another machine, with a vault file of its own and no database.

use super::calls::ProviderCalls;
use super::keys::{CALL_KEYS, codec_key};
use super::settings::{BridgeConfigError, load};
use crate::config::Settings;
use arbiter_actors::{ProviderWorker, WorkerVault};
use arbiter_core::kernel::backoff::Backoff;
use arbiter_temporal::codec::Codec;
use arbiter_temporal::codec::signed::SigningKeys;
use arbiter_temporal::control_plane::ProviderCaller;
use arbiter_temporal::worker::{RunningWorker, WorkerRole};
use secrecy::SecretString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The pauses between attempts to connect.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

/// The options of a worker.
pub struct WorkerOptions {
    /// The directory of its key file.
    pub data_dir: PathBuf,
    /// The settings; only those of the Temporal server and of providers are used.
    pub settings: Settings,
    /// The settings of provider calls.
    pub calls: arbiter_actors::Settings,
    /// The password of its key file.
    pub password: SecretString,
}

/// An error that prevents the start of a worker.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Settings(#[from] BridgeConfigError),
    /// No server is configured.
    #[error("no Temporal server is named: give --temporal HOST, or temporal.address in the configuration")]
    NoServer,
    /// The key file cannot be opened.
    #[error("the key file {path} cannot be opened")]
    Vault {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: arbiter_vault::VaultError,
    },
    /// The key file has no key for the encryption of calls.
    #[error(
        "the key file {0} holds no key {CALL_KEYS}-1: make it on the server with \
         `arbiter vault export --key {CALL_KEYS}-1 --key KEY …`, with the keys of the providers to be called"
    )]
    NoCodec(PathBuf),
    /// A key of it cannot be read.
    #[error("the key file: {0}")]
    Key(String),
}

/// Runs a worker until `end`; `report` receives a line once it serves.
///
/// # Errors
/// [`WorkerError`], before it has begun.
pub async fn run_worker(
    options: WorkerOptions,
    end: impl Future<Output = ()>,
    report: impl Fn(&str),
) -> Result<(), WorkerError> {
    let WorkerOptions { data_dir, settings, calls, password } = options;
    let address = load(&settings.temporal)?.ok_or(WorkerError::NoServer)?;
    let path = data_dir.join("keys.json");
    if !path.exists() {
        return Err(WorkerError::NoCodec(path));
    }
    let opened = WorkerVault::open(&data_dir, password, settings.vault.kdf_iterations).await;
    let vault = opened.map_err(|source| WorkerError::Vault { path: path.clone(), source })?;
    let keys = vault.codec_keys(CALL_KEYS).await.map_err(WorkerError::Key)?;
    let mut keys: Vec<_> = keys.iter().filter_map(|(id, value)| codec_key(id, value)).collect();
    if keys.is_empty() {
        return Err(WorkerError::NoCodec(path));
    }
    let codec = Codec::new(keys.remove(0), keys);
    let calls = Arc::new(ProviderWorker::new(Arc::new(vault), calls));
    let queue = settings.temporal.providers_queue.as_str();
    let identity = format!("arbiter worker {}", std::process::id());
    tokio::pin!(end);
    let mut failures = 0_u32;
    loop {
        let connecting = address.connect(codec.clone(), SigningKeys::default(), &identity);
        let connected = tokio::select! {
            () = &mut end => return Ok(()),
            connected = connecting => connected.map_err(|error| error.to_string()),
        };
        let providers = Some(Arc::new(ProviderCalls(Arc::clone(&calls))) as Arc<dyn ProviderCaller>);
        let role = WorkerRole { providers, ..WorkerRole::default() };
        let started = connected.and_then(|connected| RunningWorker::start(&connected, queue, role));
        let why = match started {
            Err(why) => why,
            Ok(mut worker) => {
                report(&format!("serving {queue} at {}", settings.temporal.address));
                failures = 0;
                tokio::select! {
                    () = &mut end => {
                        worker.stop().await;
                        calls.disconnect();
                        return Ok(());
                    }
                    outcome = worker.ended() => outcome.err().unwrap_or_else(|| "it stopped".to_owned()),
                }
            }
        };
        failures = failures.saturating_add(1);
        let pause = BACKOFF.delay(failures);
        tracing::warn!(target: "integration", why, ?pause, "could not keep the worker running; it tries again");
        tokio::select! {
            () = &mut end => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}
