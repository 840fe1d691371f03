//! The shell around every actor: one command at a time, a panic guard, restarts within a budget, and a watch for
//! deaths that the guard missed.
//!
//! A panic in a behavior closes the reply channel of its command. The state is then built anew, and the commands
//! that wait are kept.

use crate::runtime::host::Host;
use crate::runtime::registry::{Lifecycle, WakeMark};
use crate::runtime::timer::Timers;
use actix::WeakAddr;
use actix::prelude::*;
use arbiter_core::kernel::restart::{RestartBudget, RestartVerdict};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// The noun-specific part of an actor.
pub(crate) trait Behavior: Sized + Unpin + 'static {
    /// The commands that it handles.
    type Command: Send + 'static;
    /// The program that it lives in.
    type Host: Host;
    /// Its kind, for messages and counters.
    const KIND: <Self::Host as Host>::Kind;

    /// The actor before it has read anything.
    fn new(behavior_context: BehaviorContext<Self>) -> Self;
    /// Reads what it needs and arms its timers; runs before the first command and after each restart.
    fn start(&mut self) -> impl Future<Output = ()>;
    /// Handles one command.
    fn handle(&mut self, command: Self::Command) -> impl Future<Output = ()>;
}

/// The surroundings of a behavior.
pub(crate) struct BehaviorContext<R: Behavior> {
    pub(crate) id: String,
    pub(crate) shared: Arc<R::Host>,
    pub(crate) timers: Timers<R>,
    /// Set to keep the actor in memory while it is idle.
    pub(crate) pin: Arc<AtomicBool>,
}

impl<R: Behavior> Clone for BehaviorContext<R> {
    fn clone(&self) -> Self {
        Self {
            id: self.id.clone(),
            shared: Arc::clone(&self.shared),
            timers: self.timers.clone(),
            pin: Arc::clone(&self.pin),
        }
    }
}

/// A command on its way; the permit or the wake mark bounds how many there are.
pub(crate) struct Envelope<C> {
    pub(crate) command: C,
    pub(crate) permit: Option<OwnedSemaphorePermit>,
    pub(crate) wake_mark: Option<WakeMark>,
}

impl<C: Send + 'static> Message for Envelope<C> {
    type Result = ();
}

/// A failure of an actor.
#[derive(Debug)]
pub(crate) struct ActorFailure<K> {
    pub(crate) kind: K,
    pub(crate) id: String,
    pub(crate) message: String,
    pub(crate) verdict: RestartVerdict,
    /// The number of failures that this one stands for; 1 unless the root was behind.
    pub(crate) restarts: u64,
}

/// Reports a death that the panic guard missed.
struct DeathWatch<H: Host> {
    kind: H::Kind,
    id: String,
    shared: Arc<H>,
    retired: Arc<AtomicBool>,
}

impl<H: Host> Drop for DeathWatch<H> {
    fn drop(&mut self) {
        if !self.retired.load(Ordering::Acquire) && !self.shared.is_stopping() {
            self.shared.report(ActorFailure {
                kind: self.kind,
                id: self.id.clone(),
                message: "the actor died".to_owned(),
                verdict: RestartVerdict::Restart { after: Duration::ZERO },
                restarts: 1,
            });
        }
    }
}

/// The actix actor around a behavior.
pub(crate) struct ActorCell<R: Behavior> {
    behavior_context: BehaviorContext<R>,
    behavior: Option<R>,
    budget: RestartBudget,
    given_up: bool,
    used_at: Arc<AtomicI64>,
    _watch: DeathWatch<R::Host>,
}

impl<R: Behavior> ActorCell<R> {
    pub(crate) fn new(
        id: String,
        shared: Arc<R::Host>,
        address: WeakAddr<Self>,
        lifecycle: &Lifecycle,
    ) -> Self {
        let limits = shared.limits();
        let budget = RestartBudget::new(limits.restart_limit, limits.restart_window);
        let watch = DeathWatch {
            kind: R::KIND,
            id: id.clone(),
            shared: Arc::clone(&shared),
            retired: Arc::clone(&lifecycle.retired),
        };
        let timers = Timers::new(address, &shared);
        let behavior_context = BehaviorContext { id, shared, timers, pin: Arc::clone(&lifecycle.pinned) };
        Self {
            behavior_context,
            behavior: None,
            budget,
            given_up: false,
            used_at: Arc::clone(&lifecycle.used_at),
            _watch: watch,
        }
    }

    /// Runs a part of the behavior behind the panic guard; nothing else is handled meanwhile.
    fn run(&mut self, command: Option<Envelope<R::Command>>, context: &mut Context<Self>) {
        let known = self.behavior.take();
        let behavior_context = self.behavior_context.clone();
        let work = async move {
            if command.is_some() {
                behavior_context.shared.fault_injection().panic_if_armed(&R::KIND, &behavior_context.id);
            }
            let mut behavior = match known {
                Some(behavior) => behavior,
                None => {
                    let mut behavior = R::new(behavior_context);
                    behavior.start().await;
                    behavior
                }
            };
            if let Some(Envelope { command, permit, wake_mark }) = command {
                // Cleared before the command looks at anything: a later change is a reason to wake it again.
                drop(wake_mark);
                behavior.handle(command).await;
                drop(permit);
            }
            behavior
        };
        let guarded = AssertUnwindSafe(work).catch_unwind().into_actor(self);
        context.wait(guarded.map(|outcome, cell, context| match outcome {
            Ok(behavior) => cell.behavior = Some(behavior),
            Err(panic) => cell.fail(&panic_text(panic.as_ref()), context),
        }));
    }

    fn sleep(&self, pause: Duration) -> BoxFuture<'static, ()> {
        let clock = self.behavior_context.shared.clock();
        clock.sleep_until(clock.now().plus(pause))
    }

    fn fail(&mut self, message: &str, context: &mut Context<Self>) {
        let verdict = self.budget.fail(self.behavior_context.shared.clock().now());
        self.behavior_context.timers.clear();
        self.behavior_context.shared.report(ActorFailure {
            kind: R::KIND,
            id: self.behavior_context.id.clone(),
            message: message.to_owned(),
            verdict,
            restarts: 1,
        });
        match verdict {
            // The supervisor starts the same shell again; `restarting` has dropped the behavior.
            RestartVerdict::Restart { after } if after.is_zero() => context.stop(),
            RestartVerdict::Restart { after } => {
                let pause = self.sleep(after).into_actor(self);
                context.wait(pause.map(|(), _, context: &mut Context<Self>| context.stop()));
            }
            RestartVerdict::GiveUp => {
                self.given_up = true;
                let window = self.behavior_context.shared.limits().restart_window;
                let pause = self.sleep(window).into_actor(self);
                context.spawn(pause.map(|(), cell, context: &mut Context<Self>| {
                    cell.given_up = false;
                    context.stop();
                }));
            }
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}

impl<R: Behavior> Actor for ActorCell<R> {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.run(None, context);
    }
}

impl<R: Behavior> Supervised for ActorCell<R> {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.behavior = None;
    }
}

impl<R: Behavior> Handler<Envelope<R::Command>> for ActorCell<R> {
    type Result = ();

    fn handle(&mut self, message: Envelope<R::Command>, context: &mut Self::Context) {
        self.used_at.store(self.behavior_context.shared.clock().now().as_millis(), Ordering::Relaxed);
        // Given up: the command is dropped, which the asker receives as a crash.
        if !self.given_up {
            self.run(Some(message), context);
        }
    }
}
