//! The server: everything is started in order, and ended in the opposite one.

use crate::app::error::StartError;
use crate::app::{
    actor_settings, admin_token, describe, load_catalog, load_notify, logging, process, reload, server_file,
};
#[cfg(feature = "temporal")]
use crate::bridge::Bridge;
use crate::config::Loaded;
use crate::http::{self, Listener, Tls};
use arbiter_actors::{ActorSystem, Caller, Handles, SystemClock, Unlocked, VaultAccessError};
use arbiter_store::DirectoryLock;
use secrecy::SecretString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The time-out of an orderly shutdown; then the process exits.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(9);
/// The part of it that Temporal workers may take.
#[cfg(feature = "temporal")]
const BRIDGE_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(4);

/// Options of a server.
pub struct ServeOptions {
    /// The data directory.
    pub data_dir: PathBuf,
    pub loaded: Loaded,
    /// The vault's password; without it the server starts locked.
    pub password: Option<Password>,
}

/// The vault's password and where it came from.
#[derive(Debug)]
pub struct Password {
    pub text: SecretString,
    /// The source of the password.
    pub origin: PasswordOrigin,
}

/// The source of the vault's password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordOrigin {
    /// The environment, of which the system keeps a copy for as long as the process lives.
    Variable,
    /// A file named by a flag.
    File,
    /// A credential of the service manager.
    Credential,
    /// A prompt at the terminal.
    Prompt,
}

/// Runs a server until it is asked to end.
///
/// # Errors
/// [`StartError`]; its exit code is the process's.
pub fn serve(options: ServeOptions) -> Result<(), StartError> {
    logging::start(&options.loaded.settings.log);
    process::raise_limits()?;
    if options.password.as_ref().is_some_and(|password| password.origin == PasswordOrigin::Variable) {
        tracing::warn!(
            "the password came in the environment, where root can read it until this process ends; \
             --password-file or a systemd credential keeps it out of there"
        );
    }
    let runtime = runtime()?;
    let outcome = runtime.block_on(async {
        let password = options.password.map(|password| password.text);
        let shutdown_signal = process::shutdown_signal()?;
        let server = Server::start(&options.data_dir, options.loaded, password).await?;
        print_line(&format!("listening on {}", server.url));
        server.run(shutdown_signal).await
    });
    // Tasks that still run have no client any more.
    runtime.shutdown_background();
    outcome
}

/// The runtime on which HTTP, runs and calls live.
pub fn runtime() -> Result<tokio::runtime::Runtime, StartError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| StartError::Process { operation: "start the runtime", source })
}

/// Prints a line on stdout. A closed stdout does not stop a server.
pub fn print_line(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// A started server.
pub struct Server {
    /// The address that it listens on.
    pub url: String,
    /// The handles of its actors.
    pub handles: Handles,
    cast: ActorSystem,
    context: http::Context,
    door: Listener,
    reloading: JoinHandle<()>,
    directory: PathBuf,
    failed: mpsc::Receiver<()>,
    #[cfg(feature = "temporal")]
    bridge: Option<crate::bridge::RunningBridge>,
}

impl Server {
    /// Starts everything; requests are answered once it runs.
    pub async fn start(
        directory: &Path,
        loaded: Loaded,
        password: Option<SecretString>,
    ) -> Result<Self, StartError> {
        let tls = loaded.settings.http.tls().map(Tls::load).transpose()?.map(Arc::new);
        let lock = DirectoryLock::take(directory)?;
        // From here on without links.
        let directory = lock.directory().to_owned();
        // The address first: a port in use is reported before anything is changed.
        let address = loaded.settings.http.listen;
        let listener =
            TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })?;
        let bound = listener.local_addr().map_err(|source| StartError::Listen { address, source })?;
        if tls.is_none() && !bound.ip().is_loopback() {
            tracing::warn!(
                "listening on {bound} without TLS: anyone on the network path reads tokens and keys; \
                 give --tls-cert and --tls-key, or listen on loopback behind a proxy"
            );
        }
        let (tell_failure, failed) = mpsc::channel(1);
        let on_failure = move |error: &arbiter_store::StoreError| {
            tracing::error!(error = describe(error), "the store has failed");
            // One word is enough.
            let _ = tell_failure.try_send(());
        };
        let mut settings = actor_settings(&loaded.settings);
        settings.catalogue = Arc::new(load_catalog(&directory, &loaded.settings.providers.catalogue)?);
        settings.notify = load_notify(&loaded.settings)?;
        let clock = Arc::new(SystemClock);
        #[cfg(feature = "temporal")]
        let temporal = crate::bridge::load(&loaded.settings.temporal)?;
        #[cfg(not(feature = "temporal"))]
        if !loaded.settings.temporal.address.is_empty() {
            return Err(StartError::NoTemporal);
        }
        let cast = arbiter_actors::start(lock, settings.clone(), clock, Box::new(on_failure)).await?;
        let handles = cast.handles.clone();
        match prepare(&handles, &directory, password).await {
            Ok(()) => {}
            Err(error) => {
                cast.stop().await;
                return Err(error);
            }
        }
        logging::publish(handles.clone());
        let url = format!("{}://{bound}", if tls.is_some() { "https" } else { "http" });
        server_file::write_server_file(&directory, &url, tls.as_deref())?;
        let reloading =
            reload::reload_on_sighup(handles.clone(), tls.clone(), directory.clone(), url.clone())?;
        #[cfg(feature = "temporal")]
        let bridge =
            temporal.map(|address| Bridge::new(handles.clone(), &loaded.settings, settings, address));
        let context = http::Context::new(handles.clone(), loaded);
        #[cfg(feature = "temporal")]
        let bridge = bridge.map(|bridge| {
            context.set_bridge(bridge.clone());
            bridge.run()
        });
        let door = Listener { listener, tls };
        Ok(Self {
            url,
            handles,
            cast,
            context,
            door,
            reloading,
            directory,
            failed,
            #[cfg(feature = "temporal")]
            bridge,
        })
    }

    /// Serves until `end` ends, then stops in order. A failed store ends it at once.
    pub async fn run(self, end: impl Future<Output = ()> + Send + 'static) -> Result<(), StartError> {
        #[cfg(feature = "temporal")]
        let bridge = self.bridge;
        let Self { cast, context, door, reloading, directory, mut failed, .. } = self;
        let serving = http::serve(context, door, end);
        let outcome = tokio::select! {
            outcome = serving => outcome,
            _ = failed.recv() => return Err(StartError::StoreFailed),
        };
        let began = Instant::now();
        // A late SIGHUP would announce a server that is gone.
        reloading.abort();
        server_file::remove_server_file(&directory);
        #[cfg(feature = "temporal")]
        if let Some(bridge) = bridge
            && tokio::time::timeout(BRIDGE_SHUTDOWN_TIMEOUT, bridge.stop()).await.is_err()
        {
            tracing::warn!("Temporal workers did not stop in time; other workers take over their activities");
        }
        if tokio::time::timeout(SHUTDOWN_TIMEOUT.saturating_sub(began.elapsed()), cast.stop()).await.is_err()
        {
            tracing::warn!("shutdown timed out; the next start recovers the rest");
        }
        tracing::info!("stopped");
        outcome.map_err(|source| StartError::Process { operation: "serve", source })
    }
}

async fn prepare(
    handles: &Handles,
    directory: &Path,
    password: Option<SecretString>,
) -> Result<(), StartError> {
    if let Some(password) = password {
        match handles.vault.unlock(&Caller::system(), password).await {
            Ok(Unlocked::Created) => tracing::info!("the vault was created with the given password"),
            Ok(Unlocked::Opened) => tracing::info!("the vault is unlocked"),
            Err(error) => return Err(StartError::from_unlock_error(error)),
        }
    } else if handles.vault.view().is_missing {
        tracing::error!("{}", VaultAccessError::KeyFileMissing);
    } else {
        tracing::warn!("no password was given; the vault stays locked until an operator unlocks it");
    }
    if let Some((path, _)) = admin_token::ensure(handles, directory).await? {
        tracing::info!(path = %path.display(), "the admin token was written");
    }
    Ok(())
}
