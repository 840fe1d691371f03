//! What all workflows of entities share: the mirrored state, the wishes that came in, the way to the actor and back.
//!
//! Deterministic: time, randomness and the world come in through the context and through activities only.

use crate::codec::names::{Kind, PROJECT, STATUS, attribute};
use crate::codec::payload;
use crate::codec::signed::Sealed;
use crate::control_plane::{Command, Snapshot};
use crate::workflows::activities::{ControlActivities, Look, control, snapshot};
use serde_json::{Value, json};
use std::collections::VecDeque;
use temporalio_common::data_converters::RawValue;
use temporalio_sdk::{
    ApplicationFailure, SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowTermination,
};

/// The most wishes that wait in a workflow; what comes beyond is dropped. A signal has nobody to be told.
const MAX_WAITING: usize = 1_000;
/// The most signals of one run, well before the server's limit of 10,000.
const MAX_SIGNALS: u32 = 2_000;

/// Something that somebody wants of the entity and that nobody waits for.
pub(crate) struct Wish {
    /// The signal's name.
    pub(crate) name: &'static str,
    /// What came with it.
    pub(crate) value: Value,
}

/// The mirrored state of one entity.
pub(crate) struct Core {
    kind: Kind,
    id: String,
    /// How the entity stands.
    pub(crate) snapshot: Snapshot,
    /// Whether that came from the server.
    is_known: bool,
    /// Why this workflow cannot begin.
    trouble: Option<String>,
    waiting: VecDeque<Wish>,
    asked: u64,
    signals: u32,
    must_renew: bool,
    /// Another run has taken over.
    is_superseded: bool,
    /// The status and project that can be searched for.
    shown: (Option<String>, Option<String>),
}

impl Core {
    /// The state at the start of a run, from whatever the input is.
    pub(crate) fn new(kind: Kind, context: &WorkflowContextView, input: &RawValue) -> Self {
        let workflow_id = context.workflow_id();
        let value = payload::value(input);
        let named = value.clone().and_then(|value| payload::text(&value, kind.id_field()));
        let trouble = match &named {
            Err(words) => Some(words.clone()),
            Ok(id) if kind.workflow_id(id) != workflow_id => Some(format!(
                "the workflow of {} {id} is called {}, not {workflow_id}",
                kind.noun(),
                kind.workflow_id(id)
            )),
            Ok(_) => None,
        };
        let ours = value.ok().and_then(|value| Sealed::open_value(workflow_id, value.get("mirror")?));
        let mut core = Self {
            kind,
            id: named.unwrap_or_default(),
            snapshot: Snapshot::default(),
            is_known: ours.is_some(),
            trouble,
            waiting: VecDeque::new(),
            asked: 0,
            signals: 0,
            must_renew: false,
            is_superseded: false,
            shown: (None, None),
        };
        if let Some(ours) = ours {
            core.snapshot = ours;
            core.shown = core.searched();
        }
        core
    }

    /// The entity's id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Takes a state that came back from the actor, unless a newer one is here.
    pub(crate) fn take(&mut self, newer: Snapshot) {
        if newer.run_no > self.snapshot.run_no && self.is_known {
            self.is_superseded = true;
            return;
        }
        if newer.seq > self.snapshot.seq || !self.is_known {
            self.snapshot = newer;
        }
        self.is_known = true;
    }

    /// The server has spoken of the entity under its seal, if not yet of its record.
    pub(crate) fn vouched(&mut self) {
        if !self.is_known {
            self.is_known = true;
            self.snapshot.record = json!({"id": self.id});
            self.snapshot.run_no = 1;
        }
    }

    /// Takes a `mirror` signal, if it is ours.
    pub(crate) fn mirrored<W>(&mut self, context: &SyncWorkflowContext<W>, input: &RawValue) {
        self.signaled(context);
        let value = payload::value(input).unwrap_or_default();
        match Sealed::open_value(context.workflow_id(), &value) {
            Some(newer) => self.take(newer),
            None if context.is_replaying_history_events() => {}
            None => {
                tracing::warn!(target: "workflow", workflow = context.workflow_id(), "a mirror signal that is not ours is ignored")
            }
        }
    }

    /// Takes a wish that came by signal.
    pub(crate) fn wished<W>(
        &mut self,
        context: &SyncWorkflowContext<W>,
        name: &'static str,
        input: &RawValue,
    ) {
        self.signaled(context);
        let workflow = context.workflow_id();
        match payload::value(input) {
            Ok(value) if self.waiting.len() < MAX_WAITING => self.waiting.push_back(Wish { name, value }),
            // It was said when it came; a warning is an event, and reading an old history makes none.
            _ if context.is_replaying_history_events() => {}
            Ok(_) => {
                tracing::warn!(target: "workflow", workflow, name, "too many signals wait; one is dropped");
            }
            Err(words) => tracing::warn!(target: "workflow", workflow, name, words, "a signal is ignored"),
        }
    }

    /// Counts a signal, whatever it says: every handler of one begins with this.
    pub(crate) fn signaled<W>(&mut self, context: &SyncWorkflowContext<W>) {
        self.signals = self.signals.saturating_add(1);
        self.must_renew |= context.continue_as_new_suggested() || self.signals >= MAX_SIGNALS;
    }

    /// Asks for another run, with the same state and an empty history.
    pub(crate) fn renew(&mut self) {
        self.must_renew = true;
    }

    /// Whether another run has taken over, or the entity is gone.
    pub(crate) fn is_over(&self) -> bool {
        self.is_superseded || (self.is_known && self.snapshot.is_gone())
    }

    /// Whether there is something to do besides waiting.
    pub(crate) fn wants_attention(&self) -> bool {
        !self.waiting.is_empty() || self.must_renew || self.is_over() || self.is_shown_wrong()
    }

    fn is_shown_wrong(&self) -> bool {
        self.snapshot.attributes && self.searched() != self.shown
    }

    /// The status and project to search for.
    fn searched(&self) -> (Option<String>, Option<String>) {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        (owned(self.snapshot.status()), owned(self.snapshot.project(self.kind)))
    }

    /// The input of the next run.
    pub(crate) fn input(&self, workflow_id: &str) -> RawValue {
        payload::raw(&json!({
            self.kind.id_field(): self.id,
            "mirror": Sealed::new(workflow_id, &self.snapshot),
        }))
    }
}

/// A workflow with such a state.
pub(crate) trait Mirrors: 'static {
    /// The state.
    fn core(&self) -> &Core;
    /// The state, to be changed.
    fn core_mut(&mut self) -> &mut Core;
    /// Whether the entity has come to its end.
    fn has_ended(&self) -> bool;

    /// Whether this run has come to its end.
    fn is_over(&self) -> bool {
        self.core().is_over() || self.has_ended()
    }
}

/// A workflow with its state in `core`, and when its entity has come to its end.
macro_rules! mirrors {
    ($workflow:ty, |$state:ident| $has_ended:expr) => {
        impl crate::workflows::entity_workflow::Mirrors for $workflow {
            fn core(&self) -> &crate::workflows::entity_workflow::Core {
                &self.core
            }

            fn core_mut(&mut self) -> &mut crate::workflows::entity_workflow::Core {
                &mut self.core
            }

            fn has_ended(&self) -> bool {
                let $state = self;
                $has_ended
            }
        }
    };
}
pub(crate) use mirrors;

/// How a run goes on.
pub(crate) enum Next {
    /// Not at all.
    Over,
    /// As another run.
    Renew,
    /// Something else than a wish has to be looked at.
    Woken,
}

/// Learns how the entity stands, if the start did not say so.
pub(crate) async fn begin<W: Mirrors>(ctx: &WorkflowContext<W>) -> Result<(), WorkflowTermination> {
    count(ctx, ctx.state(|s| s.core().kind), Run::Started);
    if let Some(words) = ctx.state(|s| s.core().trouble.clone()) {
        return Err(failed(&words));
    }
    if ctx.state(|s| s.core().is_known) {
        return Ok(());
    }
    let look = ctx.state(|s| Look { kind: s.core().kind, id: s.core().id.clone() });
    let reply = ctx.execute_activity(ControlActivities::look_up, look, control()).await;
    let found = snapshot(reply.map_err(|error| failed(&deepest(&error)))?).map_err(|words| failed(&words))?;
    ctx.state_mut(|s| s.core_mut().take(found));
    Ok(())
}

/// Does what came by signal, and shows the status, until the run ends or `woken`.
pub(crate) async fn serve<W: Mirrors>(
    ctx: &WorkflowContext<W>,
    woken: impl Fn(&W) -> bool,
) -> Result<Next, WorkflowTermination> {
    loop {
        ctx.wait_condition(|s: &W| s.core().wants_attention() || s.is_over() || woken(s)).await?;
        show(ctx)?;
        if let Some(wish) = ctx.state_mut(|s| s.core_mut().waiting.pop_front()) {
            if let Err(words) = ask(ctx, wish.name, wish.value).await {
                let workflow = ctx.workflow_id();
                if !ctx.is_replaying_history_events() {
                    tracing::info!(target: "workflow", workflow, name = wish.name, words, "a signal was refused");
                }
            }
            continue;
        }
        if ctx.state(Mirrors::is_over) {
            // Whoever waits for the answer to an update gets it first.
            ctx.wait_condition(|_| ctx.all_handlers_finished()).await?;
            count(ctx, ctx.state(|s| s.core().kind), Run::Completed);
            return Ok(Next::Over);
        }
        if ctx.state(|s| s.core().must_renew) {
            ctx.wait_condition(|_| ctx.all_handlers_finished()).await?;
            if ctx.state(|s| s.core().waiting.is_empty()) {
                return Ok(Next::Renew);
            }
            continue;
        }
        if ctx.state(&woken) {
            return Ok(Next::Woken);
        }
    }
}

/// Shows the status to whoever searches, where the server knows the attribute.
fn show<W: Mirrors>(ctx: &WorkflowContext<W>) -> Result<(), WorkflowTermination> {
    if !ctx.state(|s| s.core().is_shown_wrong()) {
        return Ok(());
    }
    let ((status, project), (_, was)) = ctx.state(|s| (s.core().searched(), s.core().shown.clone()));
    let status = STATUS.value_set(attribute(status.as_deref().unwrap_or("gone")));
    // What never had a project has no such attribute. One that is there cannot be taken away: the server refuses what
    // the SDK sends for that.
    let project = project.or(was.map(|_| String::new()));
    let project = project.map(|project| PROJECT.value_set(attribute(&project)));
    ctx.upsert_search_attributes([status].into_iter().chain(project));
    ctx.state_mut(|s| {
        let core = s.core_mut();
        core.shown = core.searched();
    });
    Ok(())
}

/// Asks the entity's actor for something, and takes its answer for the state.
pub(crate) async fn ask<W: Mirrors>(
    ctx: &WorkflowContext<W>,
    wish: &str,
    value: Value,
) -> Result<Snapshot, String> {
    let run = ctx.run_id().to_owned();
    let command = ctx.state_mut(|s| {
        let core = s.core_mut();
        core.asked += 1;
        let command_id = format!("{run}/{}", core.asked);
        Command { kind: core.kind, id: core.id.clone(), wish: wish.to_owned(), value, command_id }
    });
    let reply = ctx.execute_activity(ControlActivities::apply_command, command, control()).await;
    let after = snapshot(reply.map_err(|error| deepest(&error))?)?;
    ctx.state_mut(|s| s.core_mut().take(after.clone()));
    Ok(after)
}

/// Counts what a run comes to, once: not when it is replayed.
pub(crate) fn count<W>(ctx: &WorkflowContext<W>, kind: Kind, what: Run) {
    if ctx.is_replaying() {
        return;
    }
    let name = match what {
        Run::Started => "arbiter_workflow_started_total",
        Run::Completed => "arbiter_workflow_completed_total",
    };
    metrics::counter!(name, "type" => kind.workflow_type()).increment(1);
}

/// What a run comes to.
#[derive(Clone, Copy)]
pub(crate) enum Run {
    /// It begins.
    Started,
    /// It ends, but for those that continue as new.
    Completed,
}

/// The end of a run as a failure with these words.
pub(crate) fn failed(words: &str) -> WorkflowTermination {
    ApplicationFailure::non_retryable(anyhow::anyhow!("{words}")).into()
}

/// The words of an error's first cause.
pub(crate) fn deepest(error: &dyn std::error::Error) -> String {
    let mut at = error;
    while let Some(cause) = at.source() {
        at = cause;
    }
    at.to_string()
}
