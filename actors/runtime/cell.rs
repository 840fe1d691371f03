//! The shell around every actor: one message at a time, a firewall against panics, restarts within a
//! budget, and a watch for deaths the firewall missed.
//!
//! An actor's own file says what it does ([`Role`]); this file says how it lives. A panic in a role is
//! answered (its reply channel closes), the role's memory is thrown away and built anew, and the messages
//! that wait are kept.

use crate::context::Shared;
use crate::runtime::timer::Timers;
use actix::WeakAddr;
use actix::prelude::*;
use arbiter_core::kernel::restart::{Budget, Verdict};
use futures_util::FutureExt;
use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use tokio::sync::OwnedSemaphorePermit;

/// What an actor does.
pub(crate) trait Role: Sized + Unpin + 'static {
    /// What it can be told.
    type Command: Send + 'static;
    /// Its kind, for messages and counters.
    const KIND: &'static str;

    /// The actor before it has read anything.
    fn new(scope: Scope<Self>) -> Self;
    /// Reads what it needs and arms its timers; runs before the first command and after each restart.
    fn start(&mut self) -> impl Future<Output = ()>;
    /// Does what it is told.
    fn handle(&mut self, command: Self::Command) -> impl Future<Output = ()>;
}

/// What an actor knows of its place.
pub(crate) struct Scope<R: Role> {
    /// Its id.
    pub(crate) id: String,
    /// Everything else.
    pub(crate) shared: Arc<Shared>,
    /// Wakes it later.
    pub(crate) timers: Timers<R>,
    /// Keeps it in memory although nobody addresses it.
    pub(crate) pin: Arc<AtomicBool>,
}

impl<R: Role> Clone for Scope<R> {
    fn clone(&self) -> Self {
        Self {
            id: self.id.clone(),
            shared: Arc::clone(&self.shared),
            timers: self.timers.clone(),
            pin: Arc::clone(&self.pin),
        }
    }
}

/// A command on its way; the permit bounds how many there are.
pub(crate) struct Deliver<C> {
    pub(crate) command: C,
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

impl<C: Send + 'static> Message for Deliver<C> {
    type Result = ();
}

/// What the orchestrator hears of a failed actor.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: &'static str,
    pub(crate) id: String,
    pub(crate) message: String,
    pub(crate) verdict: Verdict,
}

/// Tells of a death that did not go through the firewall.
struct DeathWatch {
    kind: &'static str,
    id: String,
    shared: Arc<Shared>,
    retired: Arc<AtomicBool>,
}

impl Drop for DeathWatch {
    fn drop(&mut self) {
        if !self.retired.load(Ordering::Acquire) && !self.shared.is_stopping() {
            self.shared.report(Failure {
                kind: self.kind,
                id: self.id.clone(),
                message: "the actor died".to_owned(),
                verdict: Verdict::Restart { after: std::time::Duration::ZERO },
            });
        }
    }
}

/// The actix actor around a role.
pub(crate) struct Shell<R: Role> {
    scope: Scope<R>,
    role: Option<R>,
    budget: Budget,
    given_up: bool,
    used_at: Arc<AtomicI64>,
    _watch: DeathWatch,
}

impl<R: Role> Shell<R> {
    pub(crate) fn new(
        id: String,
        shared: Arc<Shared>,
        address: WeakAddr<Self>,
        life: &crate::runtime::registry::Life,
    ) -> Self {
        let settings = &shared.settings;
        let budget = Budget::new(settings.restart_limit, settings.restart_window);
        let watch = DeathWatch {
            kind: R::KIND,
            id: id.clone(),
            shared: Arc::clone(&shared),
            retired: Arc::clone(&life.retired),
        };
        let timers = Timers::new(address, &shared);
        let scope = Scope { id, shared, timers, pin: Arc::clone(&life.pinned) };
        Self { scope, role: None, budget, given_up: false, used_at: Arc::clone(&life.used_at), _watch: watch }
    }

    /// Runs a piece of the role behind the firewall; nothing else is handled meanwhile.
    fn run(&mut self, command: Option<Deliver<R::Command>>, context: &mut Context<Self>) {
        let known = self.role.take();
        let scope = self.scope.clone();
        let work = async move {
            if command.is_some() {
                scope.shared.inject.strike(R::KIND, &scope.id);
            }
            let mut role = match known {
                Some(role) => role,
                None => {
                    let mut role = R::new(scope);
                    role.start().await;
                    role
                }
            };
            if let Some(Deliver { command, permit }) = command {
                role.handle(command).await;
                drop(permit);
            }
            role
        };
        let guarded = AssertUnwindSafe(work).catch_unwind().into_actor(self);
        context.wait(guarded.map(|outcome, shell, context| match outcome {
            Ok(role) => shell.role = Some(role),
            Err(panic) => shell.fail(&text_of(panic.as_ref()), context),
        }));
    }

    fn fail(&mut self, message: &str, context: &mut Context<Self>) {
        let verdict = self.budget.fail(self.scope.shared.clock.now());
        self.scope.timers.clear();
        self.scope.shared.report(Failure {
            kind: R::KIND,
            id: self.scope.id.clone(),
            message: message.to_owned(),
            verdict,
        });
        match verdict {
            // The supervisor starts the same shell again; `restarting` has thrown the role away.
            Verdict::Restart { after } if after.is_zero() => context.stop(),
            Verdict::Restart { after } => {
                let pause = actix::clock::sleep(after).into_actor(self);
                context.wait(pause.map(|(), _, context: &mut Context<Self>| context.stop()));
            }
            Verdict::GiveUp => {
                self.given_up = true;
                let window = self.scope.shared.settings.restart_window;
                context.run_later(window, |shell, context| {
                    shell.given_up = false;
                    context.stop();
                });
            }
        }
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}

impl<R: Role> Actor for Shell<R> {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.run(None, context);
    }
}

impl<R: Role> Supervised for Shell<R> {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.role = None;
    }
}

impl<R: Role> Handler<Deliver<R::Command>> for Shell<R> {
    type Result = ();

    fn handle(&mut self, message: Deliver<R::Command>, context: &mut Self::Context) {
        self.used_at.store(self.scope.shared.clock.now().as_millis(), Ordering::Relaxed);
        // Given up: the message is dropped, which its sender hears as a crash.
        if !self.given_up {
            self.run(Some(message), context);
        }
    }
}
