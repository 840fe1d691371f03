//! Context shared by all routes: handles, settings, caches, counters, and the shutdown signal.

#[cfg(feature = "temporal")]
use crate::bridge::Bridge;
use crate::config::{Loaded, Settings};
use crate::http::framework::bead_cache::BeadCache;
use crate::http::framework::cookie::{self, Transport};
use crate::http::framework::idempotency::RunningKeys;
use crate::http::framework::metrics::Metrics;
use crate::http::framework::quotas::Quotas;
use crate::http::wire::sse_frames::FrameCache;
use arbiter_actors::Handles;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Context shared by all routes; clones share it.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    handles: Handles,
    loaded: Loaded,
    metrics: Metrics,
    started: Instant,
    closing: watch::Sender<bool>,
    frames: FrameCache,
    beads: BeadCache,
    running: Arc<RunningKeys>,
    cookie_name: OnceLock<String>,
    quotas: Quotas,
    #[cfg(feature = "temporal")]
    bridge: OnceLock<Bridge>,
}

impl Context {
    /// Creates a context of these handles and settings. Installs the metrics recorder if there is none.
    pub fn new(handles: Handles, loaded: Loaded) -> Self {
        let quotas = Quotas::new(&loaded.settings.http);
        Self(Arc::new(Inner {
            handles,
            loaded,
            metrics: Metrics::new(),
            started: Instant::now(),
            closing: watch::Sender::new(false),
            frames: FrameCache::default(),
            beads: BeadCache::default(),
            running: Arc::default(),
            cookie_name: OnceLock::new(),
            quotas,
            #[cfg(feature = "temporal")]
            bridge: OnceLock::new(),
        }))
    }

    /// The handles by which everything is reached.
    pub fn handles(&self) -> &Handles {
        &self.0.handles
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.0.loaded.settings
    }

    /// The settings with where each came from.
    pub fn loaded(&self) -> &Loaded {
        &self.0.loaded
    }

    /// Returns the uptime of the server.
    pub fn uptime(&self) -> Duration {
        self.0.started.elapsed()
    }

    /// Returns whether connections are encrypted.
    pub fn transport(&self) -> Transport {
        if self.settings().http.tls().is_some() { Transport::Tls } else { Transport::Plain }
    }

    /// The name of the cookie of a browser that signed in; empty before the server listens.
    pub fn cookie_name(&self) -> &str {
        self.0.cookie_name.get().map_or("", String::as_str)
    }

    /// Takes note of where the server listens.
    pub(crate) fn set_listen_addr(&self, address: SocketAddr) {
        // It listens at one address for as long as it lives.
        let _ = self.0.cookie_name.set(cookie::name(address, self.transport()));
    }

    /// The signal to end.
    pub fn closing(&self) -> ShutdownSignal {
        ShutdownSignal(self.0.closing.subscribe())
    }

    /// Returns whether the end has begun.
    pub fn is_shutting_down(&self) -> bool {
        *self.0.closing.borrow()
    }

    /// Begins the end: streams say so and end, connections take no further request.
    pub fn close(&self) {
        self.0.closing.send_replace(true);
    }

    /// Takes note of the bridge to Temporal.
    #[cfg(feature = "temporal")]
    pub fn set_bridge(&self, bridge: Bridge) {
        // There is one for as long as the server lives.
        let _ = self.0.bridge.set(bridge);
    }

    /// The bridge to Temporal, if a server is configured.
    #[cfg(feature = "temporal")]
    pub fn bridge(&self) -> Option<&Bridge> {
        self.0.bridge.get()
    }

    /// Returns the state of the bridge to Temporal, in one word.
    pub fn temporal(&self) -> &'static str {
        #[cfg(feature = "temporal")]
        if let Some(bridge) = self.bridge() {
            return bridge.status_name();
        }
        "off"
    }

    pub(crate) fn quotas(&self) -> &Quotas {
        &self.0.quotas
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn frames(&self) -> &FrameCache {
        &self.0.frames
    }

    pub(crate) fn running(&self) -> &Arc<RunningKeys> {
        &self.0.running
    }

    pub(crate) fn beads(&self) -> &BeadCache {
        &self.0.beads
    }
}

/// The signal to end, as one listener hears it.
#[derive(Clone, Debug)]
pub struct ShutdownSignal(watch::Receiver<bool>);

impl ShutdownSignal {
    /// Waits until the end has begun.
    pub async fn triggered(&mut self) {
        // Without a sender the server is gone already.
        let _ = self.0.wait_for(|closing| *closing).await;
    }
}
