//! The bridge to a Temporal server: what happens here is mirrored there, and what is wished for there reaches the actors.
//!
//! Owns the connection, the workers of this process, the mirror and what is told of them. Nothing in the product waits for
//! it: without a server everything goes on, and the mirror catches up when there is one.

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
use status::Counters;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// The pause after a panic.
const AFTER_PANIC: std::time::Duration = std::time::Duration::from_secs(1);

/// The bridge. Clones share it.
#[derive(Clone)]
pub struct Bridge(Arc<BridgeInner>);

pub(crate) struct BridgeInner {
    settings: Temporal,
    address: Address,
    handles: Handles,
    /// The codec of what this process writes and reads; empty while the vault is locked.
    codec: Codec,
    /// The keys that sign messages to workflows; empty while the vault is locked.
    signing_keys: SigningKeys,
    activity_counters: ActivityCounters,
    connection_state: RwLock<ConnectionState>,
    client: RwLock<Option<WorkflowClient>>,
    counters: Counters,
    congestion: CongestionControl,
    /// Calls that wait to be granted, by the id of their workflow.
    pending: Mutex<HashMap<String, Arc<RemoteCall>>>,
    /// Rings when the sender has something to do.
    sender: Notify,
    heartbeat_ms: u64,
    providers: arbiter_actors::Settings,
}

/// A running bridge. It ends when this is stopped.
pub struct RunningBridge {
    end: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl RunningBridge {
    /// Stops polling and mirroring, in order.
    pub async fn stop(self) {
        self.end.send_replace(true);
        // A task that panicked has said so.
        let _ = self.task.await;
    }
}

impl Bridge {
    /// A bridge that is not running yet; `actor_settings` are the same settings as the actors have them.
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

    /// Starts it: from now on it connects, mirrors and serves whenever that is possible.
    pub fn run(&self) -> RunningBridge {
        let (end, ended) = watch::channel(false);
        let inner = Arc::clone(&self.0);
        let task = tokio::spawn(async move {
            // A panic ends a task of its own, and another one begins.
            while tokio::spawn(supervisor::run(Arc::clone(&inner), ended.clone())).await.is_err() {
                tracing::error!(target: "integration", "the bridge to Temporal panicked; it begins again");
                tokio::time::sleep(AFTER_PANIC).await;
            }
        });
        RunningBridge { end, task }
    }

    /// How the bridge stands.
    ///
    /// # Errors
    /// [`Error::Store`] when the store cannot be read.
    pub async fn status(&self) -> Result<Status, Error> {
        status::of(&self.0).await
    }

    /// In one word, without asking the store.
    pub fn status_name(&self) -> &'static str {
        self.0.connection_state().status_name()
    }

    /// The page of a workflow, where people have one.
    pub fn ui_url(&self) -> Option<&str> {
        Some(self.0.settings.ui_url.as_str()).filter(|url| !url.is_empty())
    }

    /// The workflows that a query of Temporal's finds, newest first.
    ///
    /// # Errors
    /// [`WorkflowClientError`], also while there is no connection.
    pub async fn workflows(
        &self,
        query: &str,
        limit: usize,
    ) -> Result<Vec<WorkflowView>, WorkflowClientError> {
        let client = self.0.client().ok_or_else(status::not_connected)?;
        let listed = client.list(query, limit).await?;
        Ok(listed.into_iter().map(|one| WorkflowView::of(one, self)).collect())
    }

    /// Payloads as Temporal's remote codec protocol has them, encrypted or decrypted; none while the vault is locked.
    pub fn codec(&self) -> Option<Codec> {
        self.0.handles.vault.is_open().then(|| self.0.codec.clone())
    }

    /// New keys for the codec and the seals; what is there stays readable.
    ///
    /// # Errors
    /// [`Error::Vault`] while the vault is locked.
    pub async fn rotate(&self, caller: &Caller) -> Result<Vec<KeyId>, Error> {
        keys::rotate(&self.0, caller).await
    }
}

impl BridgeInner {
    fn connection_state(&self) -> ConnectionState {
        self.connection_state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_connection_state(&self, connection_state: ConnectionState) {
        *self.connection_state.write().unwrap_or_else(PoisonError::into_inner) = connection_state;
    }

    fn client(&self) -> Option<WorkflowClient> {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_client(&self, client: Option<WorkflowClient>) {
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = client;
    }
}
