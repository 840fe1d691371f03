//! Remote execution of calls: an executor may make a chat call in the place of this process.
//!
//! Set by an edge that has workers elsewhere. The grant of the key, the budget and the ledger stay here: what is carried
//! is only the request to the provider.

use arbiter_core::provider::Provider;
use arbiter_providers::{CallError, ChatAnswer, ChatRequest};
use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::Duration;

/// A chat with a provider, as it is handed over.
#[derive(Clone, Debug)]
pub struct RemoteCall {
    pub provider: Provider,
    pub request: ChatRequest,
    pub timeout: Duration,
}

/// Outcome of a handed-over call.
#[derive(Debug)]
pub enum RemoteOutcome {
    /// The call was made: the answer, and its place of execution.
    Completed(Box<Result<ChatAnswer, CallError>>, String),
    /// The call was not accepted, so it may be made here.
    Declined,
}

/// Chats that the executor accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteScope {
    Console,
    Runs,
}

/// Executor of chats outside of this process.
pub trait RemoteExecutor: Send + Sync {
    /// Carries one.
    fn execute(&self, call: RemoteCall) -> BoxFuture<'_, RemoteOutcome>;
    /// Returns the accepted chats.
    fn scope(&self) -> RemoteScope;
}

/// The carrier of the moment, if there is one.
#[derive(Default)]
pub(crate) struct RemoteExecutorSlot(RwLock<Option<Arc<dyn RemoteExecutor>>>);

impl RemoteExecutorSlot {
    pub(crate) fn set(&self, executor: Option<Arc<dyn RemoteExecutor>>) {
        *self.0.write() = executor;
    }

    pub(crate) fn get(&self) -> Option<Arc<dyn RemoteExecutor>> {
        self.0.read().clone()
    }
}
