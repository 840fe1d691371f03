//! The bridge to a Temporal server: mirrors events and entities there and passes commands from there to the actors.
//!
//! Owns the connection, the workers of this process, the mirror and their status. No other part of the product waits for
//! the bridge: without a server all work continues, and the mirror catches up later.

mod calls;
pub(crate) mod commands;
pub(crate) mod congestion;
pub(crate) mod control_plane;
mod entities;
mod keys;
pub(crate) mod log_reader;
mod rebuild;
mod rebuild_rows;
pub(crate) mod remote_executor;
mod settings;
pub(crate) mod state_sender;
mod status;
mod supervisor;
mod worker;
mod workflows;

pub use rebuild::{NOT_RESTORED, RebuildError, RebuildReport, rebuild};
pub use settings::{BridgeConfigError, load};
pub use status::{ConnectionState, Status, WorkflowView};
pub use worker::{WorkerError, WorkerOptions, run_worker};
pub use workflows::WorkflowError;

use crate::config::Temporal;
use arbiter_actors::{Caller, Error, Handles, RemoteCall};
use arbiter_core::kernel::ids::KeyId;
use arbiter_temporal::activities::ActivityCounters;
use arbiter_temporal::client::connection::Address;
use arbiter_temporal::client::{WorkflowClient, WorkflowClientError};
use arbiter_temporal::codec::Codec;
use arbiter_temporal::codec::signed::SigningKeys;
use congestion::CongestionControl;
use parking_lot::{Mutex, RwLock};
use status::Counters;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// The pause after a panic.
const AFTER_PANIC: std::time::Duration = std::time::Duration::from_secs(1);

/// The bridge to a Temporal server. Clones share it.
#[derive(Clone)]
pub struct Bridge(Arc<BridgeInner>);

pub(crate) struct BridgeInner {
    settings: Temporal,
    address: Address,
    handles: Handles,
    /// The codec of all payloads of this process; empty while the vault is locked.
    codec: Codec,
    /// The keys that sign messages to workflows; empty while the vault is locked.
    signing_keys: SigningKeys,
    activity_counters: ActivityCounters,
    connection_state: RwLock<ConnectionState>,
    client: RwLock<Option<WorkflowClient>>,
    counters: Counters,
    congestion: CongestionControl,
    /// Calls that wait for their grant, by query id.
    pending: Mutex<HashMap<String, Arc<RemoteCall>>>,
    /// Notifies the sender of new work.
    sender: Notify,
    heartbeat_ms: u64,
    providers: arbiter_actors::Settings,
}

/// A running bridge, until it is stopped.
pub struct RunningBridge {
    end: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl RunningBridge {
    /// Stops polling and mirroring, and waits for the end of both.
    pub async fn stop(self) {
        self.end.send_replace(true);
        // A panic of the task was logged already.
        let _ = self.task.await;
    }
}

impl Bridge {
    /// Creates a bridge that is not running yet. `actor_settings` are the settings in the form of the actors.
    pub fn new(
        handles: Handles,
        settings: &crate::config::Settings,
        actor_settings: arbiter_actors::Settings,
        address: Address,
    ) -> Self {
        Self(Arc::new(BridgeInner {
            settings: settings.temporal.clone(),
            address,
            handles,
            codec: Codec::default(),
            signing_keys: SigningKeys::default(),
            activity_counters: ActivityCounters::default(),
            connection_state: RwLock::new(ConnectionState::Connecting(None)),
            client: RwLock::default(),
            counters: Counters::default(),
            congestion: CongestionControl::new(settings.temporal.max_in_flight),
            pending: Mutex::default(),
            sender: Notify::new(),
            heartbeat_ms: settings.providers.heartbeat_interval_ms,
            providers: actor_settings,
        }))
    }

    /// Starts the bridge: it connects, mirrors and serves whenever that is possible.
    pub fn run(&self) -> RunningBridge {
        let (end, ended) = watch::channel(false);
        let inner = Arc::clone(&self.0);
        let task = tokio::spawn(async move {
            // A panic ends only the inner task; the loop starts another one.
            while tokio::spawn(supervisor::run(Arc::clone(&inner), ended.clone())).await.is_err() {
                tracing::error!(target: "integration", "the bridge to Temporal panicked; it restarts");
                tokio::time::sleep(AFTER_PANIC).await;
            }
        });
        RunningBridge { end, task }
    }

    /// Reads the status of the bridge.
    ///
    /// # Errors
    /// [`Error::Store`] when the store cannot be read.
    pub async fn status(&self) -> Result<Status, Error> {
        status::of(&self.0).await
    }

    /// Returns the connection state as one word, without a read of the store.
    pub fn status_name(&self) -> &'static str {
        self.0.connection_state().status_name()
    }

    /// Returns the URL of Temporal's web page, if one is configured.
    pub fn ui_url(&self) -> Option<&str> {
        Some(self.0.settings.ui_url.as_str()).filter(|url| !url.is_empty())
    }

    /// Lists the workflows that match a Temporal list filter, newest first.
    ///
    /// # Errors
    /// [`WorkflowClientError`], also while there is no connection.
    pub async fn workflows(
        &self,
        query: &str,
        limit: usize,
    ) -> Result<Vec<WorkflowView>, WorkflowClientError> {
        let client = self.0.client().ok_or_else(status::not_connected)?;
        let listed = client.with_history_lengths(client.list(query, limit).await?).await;
        Ok(listed.into_iter().map(|one| WorkflowView::of(one, self)).collect())
    }

    /// Returns the codec for Temporal's remote codec protocol; `None` while the vault is locked.
    pub fn codec(&self) -> Option<Codec> {
        self.0.handles.vault.is_open().then(|| self.0.codec.clone())
    }

    /// Creates new keys for encryption and signatures. Older payloads stay readable.
    ///
    /// # Errors
    /// [`Error::Vault`] while the vault is locked.
    pub async fn rotate(&self, caller: &Caller) -> Result<Vec<KeyId>, Error> {
        keys::rotate(&self.0, caller).await
    }
}

impl BridgeInner {
    fn connection_state(&self) -> ConnectionState {
        self.connection_state.read().clone()
    }

    fn set_connection_state(&self, connection_state: ConnectionState) {
        *self.connection_state.write() = connection_state;
    }

    fn client(&self) -> Option<WorkflowClient> {
        self.client.read().clone()
    }

    fn set_client(&self, client: Option<WorkflowClient>) {
        *self.client.write() = client;
    }
}
