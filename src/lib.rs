//! Arbiter runs a company of AI agents: it assigns their work, keeps the keys of their model providers in
//! an encrypted vault and records every change in an event log.
//!
//! The program `arbiter` is that server behind HTTP. This crate is the same server inside another program,
//! without HTTP: [`Arbiter`] opens a data directory and gives access to the actors. Most programs start
//! with the [`prelude`].
//!
//! ```
//! use arbiter::prelude::*;
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let home = tempfile::tempdir()?;
//! # let data_dir = home.path().join("data");
//! let arbiter = Arbiter::open(&data_dir, SecretString::from("a long password")).await?;
//! let mut closed = arbiter.subscribe(|event| event.kind.as_str() == "bead.completed").await?;
//!
//! let caller = Caller::named("example");
//! let handles = arbiter.handles();
//! let project = NewProject { id: Some("shop".into()), name: "Shop".into(), ..Default::default() };
//! handles.projects.create(&caller, project).await?;
//! let bead = NewBead {
//!     project_id: "shop".into(),
//!     title: "Write the price list".into(),
//!     ..Default::default()
//! };
//! let bead = handles.beads.create(&caller, bead).await?.bead;
//! let close = BeadAction::Close { reason: "done by hand".into() };
//! handles.beads.act(&caller, &bead.id, close, None).await?;
//!
//! let event = closed.next().await.and_then(EventItem::into_event).ok_or("the server stopped")?;
//! assert_eq!(event.subject, bead.id.as_str());
//! arbiter.close().await;
//! # Ok(()) }
//! ```
//!
//! # Runtime
//!
//! Arbiter needs a tokio runtime of several threads and lives on the one that it was opened on. A data
//! directory belongs to one process at a time. [`Arbiter::close`] stops the actors in order; changes that
//! were acknowledged are on disk even if a process ends without it.
//!
//! # Where things are
//!
//! | module | content |
//! |---|---|
//! | [`prelude`] | the types that most programs need |
//! | [`core`] | entities (`agent`, `bead`, `decision`, `project`, `provider`, …), their fields, rules and events |
//! | [`actors`] | the handles in [`Handles`], one per entity, and the requests they take |
//! | [`config`] | [`Settings`](config::Settings): the configuration file as a struct |
//! | [`error`] | every error type of this crate, and the types in their variants |
//!
//! # Features
//!
//! `temporal` (on by default): the workflows of a Temporal server that mirror agents, beads and decisions.
//!
//! Complete programs are in `examples/`: embedding, an agent in shell, OpenAI's client and a receiver of
//! webhooks.

#![warn(missing_docs)]

#[doc(hidden)]
pub mod app;
#[cfg(feature = "temporal")]
#[doc(hidden)]
pub mod bridge;
#[doc(hidden)]
pub mod cli;
pub mod config;
pub mod error;
#[doc(hidden)]
pub mod http;
mod key_file;
mod library;
#[cfg(feature = "temporal")]
mod library_temporal;
pub mod prelude;

pub use app::StartError;
pub use arbiter_actors as actors;
pub use arbiter_actors::{Caller, Error, Handles};
pub use arbiter_core as core;
pub use arbiter_store::Store;
#[cfg(feature = "temporal")]
pub use arbiter_temporal::codec::names::Kind as WorkflowKind;
#[cfg(feature = "temporal")]
pub use bridge::{Status as TemporalStatus, WorkflowError};
pub use library::{Arbiter, EventItem, EventStream};
#[cfg(feature = "temporal")]
pub use library_temporal::DecisionOutcome;
pub use secrecy::{ExposeSecret, SecretString};
