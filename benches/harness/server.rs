//! The real server inside a benchmark's own process: store, actors and HTTP on a loopback port, with
//! authentication on. Data is in a temporary directory.

use arbiter::app::actor_settings;
use arbiter::config::{Loaded, Settings};
use arbiter::http::{Context, serve};
use arbiter::{ExposeSecret, core};
use arbiter_actors::{ActorSystem, Caller, Handles, NewToken, SystemClock};
use arbiter_store::DirectoryLock;
use std::alloc::System;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use zeroizing_alloc::ZeroAlloc;

/// The program's allocator, whose cost belongs to every figure.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

/// Project of all data that a benchmark creates.
pub const PROJECT: &str = "bench";

/// A running server. It stops on drop, together with its runtime.
#[allow(dead_code)] // each benchmark uses a part of it
pub struct Server {
    pub address: SocketAddr,
    /// Text of an administrator's token.
    pub token: String,
    /// Handles of the server's actors.
    pub handles: Handles,
    /// Context of the HTTP routes.
    pub context: Context,
    pub runtime: Runtime,
    _actor_system: ActorSystem,
    _home: TempDir,
}

impl Server {
    /// Starts a server with one project.
    pub fn start(settings: Settings) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let home = tempfile::Builder::new().prefix("arbiter-bench-").tempdir()?;
        let directory = home.path().join("data");
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let (actor_system, token, listener) = runtime.block_on(async {
            let lock = DirectoryLock::take(&directory)?;
            let on_failure = |error: &arbiter_store::StoreError| tracing::error!(%error, "the store failed");
            let clock = Arc::new(SystemClock);
            let actor_system =
                arbiter_actors::start(lock, actor_settings(&settings), clock, Box::new(on_failure)).await?;
            let caller = Caller::system();
            let new = NewToken::of_person("bench", core::kernel::token::Role::Admin);
            let (_, token) = actor_system.handles.tokens.create(&caller, new).await?;
            let project = core::project::edit::NewProject {
                id: Some(PROJECT.into()),
                name: "Benchmarks".into(),
                ..Default::default()
            };
            actor_system.handles.projects.create(&caller, project).await?;
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            Ok::<_, Box<dyn Error + Send + Sync>>((actor_system, token.expose_secret().to_owned(), listener))
        })?;
        let handles = actor_system.handles.clone();
        let context = Context::new(handles.clone(), Loaded { settings, ..Settings::built_in() });
        let address = listener.local_addr()?;
        runtime.spawn(serve(context.clone(), listener, std::future::pending()));
        Ok(Self { address, token, handles, context, runtime, _actor_system: actor_system, _home: home })
    }
}
