//! `arbiter rebuild --from-temporal`: fills an empty data directory from the state of the workflows.
//!
//! Needs the vault file, whose keys decrypt the payloads. Restores the newest state of every entity that the server still
//! has. Data that is not mirrored is lost; [`NOT_RESTORED`] lists it.

use super::keys::{CALL_KEYS, PAYLOAD_KEYS, SIGNING_KEYS, codec_key};
use super::rebuild_rows::write;
use super::settings::{BridgeConfigError, load};
use crate::config::Settings;
use arbiter_actors::WorkerVault;
use arbiter_core::kernel::time::Timestamp;
use arbiter_store::{DirectoryLock, LockError, Options, Store, StoreError};
use arbiter_temporal::client::connection::ConnectError;
use arbiter_temporal::client::query::WorkflowSummary;
use arbiter_temporal::client::{WorkflowClient, WorkflowClientError};
use arbiter_temporal::codec::Codec;
use arbiter_temporal::codec::names::Kind;
use arbiter_temporal::codec::signed::SigningKeys;
use arbiter_temporal::control_plane::{
    Command, ControlPlane, DeadlineCheck, Grant, HeartbeatOutcome, Reply, ReplyFuture, Snapshot, Unavailable,
};
use arbiter_temporal::worker::{RunningWorker, WorkerRole};
use futures_util::{StreamExt, stream};
use secrecy::SecretString;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// The most concurrent queries.
const MAX_CONCURRENT_QUERIES: usize = 8;
/// The most workflows of one type that are read.
const MAX_WORKFLOWS: usize = 1_000_000;

/// Data that is not mirrored, and so not restored.
pub const NOT_RESTORED: &[&str] = &[
    "API tokens (a new admin token is made at the next start)",
    "comments, runs and their transcripts, the console's history",
    "the event log before the rebuild, with its hash chain",
    "usage and budgets, heartbeat history",
    "leases (claimed beads are given back at the next start), file locks, org charts, what bead files kept besides",
    "texts and contexts of records over 1 MiB, which are cut",
];

/// The result of a rebuild.
#[derive(Debug, Default)]
pub struct RebuildReport {
    /// Rows restored, by kind.
    pub restored: BTreeMap<&'static str, usize>,
    /// Entities that could not be restored, with the reason.
    pub lost: Vec<String>,
}

/// An error that prevents a rebuild.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Settings(#[from] BridgeConfigError),
    /// No server is configured.
    #[error("no Temporal server is named: give --temporal HOST, or temporal.address in the configuration")]
    NoServer,
    /// The directory is held by another process, or cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The directory is not empty.
    #[error(
        "the data directory has a database already, with {0} events: a rebuild needs one with a key file and nothing else"
    )]
    NotEmpty(u64),
    /// The key file cannot be opened.
    #[error("the key file cannot be opened")]
    Vault(#[source] arbiter_vault::VaultError),
    /// The key file has no codec key.
    #[error("the key file has no key {PAYLOAD_KEYS}-1: nothing at the server can be read without it")]
    NoCodec,
    /// A key cannot be read.
    #[error("the key file: {0}")]
    Key(String),
    /// The server cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server does not list its workflows.
    #[error(transparent)]
    List(#[from] WorkflowClientError),
    /// The worker that reads histories does not run.
    #[error("the worker: {0}")]
    Worker(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Rebuilds a data directory; `report` receives lines of progress.
///
/// # Errors
/// [`RebuildError`], with nothing written but for the last one.
pub async fn rebuild(
    data_dir: &Path,
    settings: &Settings,
    password: SecretString,
    now: Timestamp,
    report: impl Fn(&str),
) -> Result<RebuildReport, RebuildError> {
    let address = load(&settings.temporal)?.ok_or(RebuildError::NoServer)?;
    let lock = DirectoryLock::take(data_dir)?;
    let opened = WorkerVault::open(data_dir, password, settings.vault.kdf_iterations).await;
    let vault = opened.map_err(RebuildError::Vault)?;
    let (codec, signing_keys) = read_keys(&vault).await?;
    let store = Store::open(Options {
        directory: lock.directory().to_owned(),
        readers: settings.store.readers,
        group_max: settings.store.group_commit_max,
        queue_max: settings.store.queue_max,
        now,
        publish: Box::new(|_| {}),
        on_failure: Box::new(|error| tracing::error!(%error, "could not write the store")),
    })?;
    let (_, last) = store.event_bounds().await?;
    if last > 0 {
        store.close();
        return Err(RebuildError::NotEmpty(last));
    }
    let connected = address.connect(codec, signing_keys, "arbiter rebuild").await?;
    let client = WorkflowClient::new(connected.clone(), BTreeMap::new());
    let queues: BTreeSet<&String> = settings.temporal.queues.values().collect();
    let mut workers = Vec::new();
    for queue in queues {
        let role = WorkerRole { control: Some(Arc::new(UnavailableControlPlane)), ..WorkerRole::default() };
        workers.push(RunningWorker::start(&connected, queue, role).map_err(RebuildError::Worker)?);
    }
    let gathered = gather(&client, &report).await;
    futures_util::future::join_all(workers.into_iter().map(RunningWorker::stop)).await;
    let rebuilt = match gathered {
        Ok(found) => write(&store, found, now).await,
        Err(error) => Err(error),
    };
    store.close();
    rebuilt
}

async fn read_keys(vault: &WorkerVault) -> Result<(Codec, SigningKeys), RebuildError> {
    let mut keys = Vec::new();
    for family in [PAYLOAD_KEYS, CALL_KEYS] {
        let found = vault.codec_keys(family).await.map_err(RebuildError::Key)?;
        keys.extend(found.iter().filter_map(|(id, value)| codec_key(id, value)));
    }
    let signing_keys = vault.codec_keys(SIGNING_KEYS).await.map_err(RebuildError::Key)?;
    let signing_keys =
        signing_keys.iter().filter_map(|(id, value)| codec_key(id, value).map(|key| (*key.key).clone()));
    let signing_keys = SigningKeys::new(signing_keys.collect());
    if keys.is_empty() {
        return Err(RebuildError::NoCodec);
    }
    Ok((Codec::new(keys.remove(0), keys), signing_keys))
}

/// An entity's state with the workflow run it was read from.
pub(super) struct MirroredEntity {
    pub(super) kind: Kind,
    pub(super) id: String,
    pub(super) run_id: String,
    pub(super) state: Snapshot,
}

/// All entities found, and those that could not be read.
#[derive(Default)]
pub(super) struct GatheredEntities {
    pub(super) found: Vec<MirroredEntity>,
    pub(super) lost: Vec<String>,
}

async fn gather(client: &WorkflowClient, report: &impl Fn(&str)) -> Result<GatheredEntities, RebuildError> {
    let mut gathered = GatheredEntities::default();
    for kind in [Kind::Events, Kind::Provider, Kind::Agent, Kind::Bead, Kind::Decision, Kind::Dispatcher] {
        let query = format!("WorkflowType = '{}'", kind.workflow_type());
        let listed = client.list(&query, MAX_WORKFLOWS).await?;
        let mut seen = BTreeSet::new();
        // Only the newest run of each workflow.
        let newest: Vec<WorkflowSummary> = listed
            .into_iter()
            .filter(|one| !one.is_continued_as_new() && seen.insert(one.id.clone()))
            .collect();
        report(&format!("{} workflows of type {}", newest.len(), kind.workflow_type()));
        let asking = newest.into_iter().map(|one| async move {
            let answer = client.query(&one.id, Some(&one.run_id), "getMirror").await;
            (one, answer)
        });
        let answers: Vec<_> = stream::iter(asking).buffered(MAX_CONCURRENT_QUERIES).collect().await;
        for (one, answer) in answers {
            let Some(id) = one.id.strip_prefix(kind.prefix()).map(str::to_owned) else { continue };
            match answer.map(serde_json::from_value::<Snapshot>) {
                Ok(Ok(state)) => gathered.found.push(MirroredEntity { kind, id, run_id: one.run_id, state }),
                Ok(Err(_)) => gathered.lost.push(format!("{}: its state cannot be read", one.id)),
                Err(error) => gathered.lost.push(format!("{}: {error}", one.id)),
            }
        }
    }
    Ok(gathered)
}

/// A control plane that is never available: commands wait until a server runs again.
struct UnavailableControlPlane;

fn unavailable<T: Send + 'static>() -> ReplyFuture<T> {
    Box::pin(async { Err(Unavailable("the server is being rebuilt".to_owned())) })
}

impl ControlPlane for UnavailableControlPlane {
    fn apply(&self, _: Command) -> ReplyFuture<Reply> {
        unavailable()
    }

    fn look_up(&self, _: Kind, _: String) -> ReplyFuture<Reply> {
        unavailable()
    }

    fn check_deadline(&self, _: String) -> ReplyFuture<DeadlineCheck> {
        unavailable()
    }

    fn heartbeat(&self, _: String) -> ReplyFuture<HeartbeatOutcome> {
        unavailable()
    }

    fn publish(&self, _: Option<String>, _: String, _: Vec<Value>) -> ReplyFuture<()> {
        unavailable()
    }

    fn notify(&self, _: u64) -> ReplyFuture<()> {
        unavailable()
    }

    fn dispatch(&self, _: String) -> ReplyFuture<()> {
        unavailable()
    }

    fn grant(&self, _: String) -> ReplyFuture<Grant> {
        unavailable()
    }
}
