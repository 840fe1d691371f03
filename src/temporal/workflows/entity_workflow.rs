//! The common part of all entity workflows: mirrored state, pending signals, commands to the actor.
//!
//! Deterministic: time, randomness and I/O come only from the context and from activities.

use crate::activities::{ControlActivities, LookUpInput, control_options, snapshot};
use crate::codec::names::{Kind, PROJECT, STATUS, search_attribute_value};
use crate::codec::payload;
use crate::codec::signed::{Signed, SigningKeys};
use crate::control_plane::{Command, Snapshot};
use serde_json::{Value, json};
use std::collections::VecDeque;
use temporalio_common::WorkflowDefinition;
use temporalio_common::data_converters::RawValue;
use temporalio_sdk::{
    ApplicationFailure, ContinueAsNewOptions, SyncWorkflowContext, WorkflowContext, WorkflowContextView,
    WorkflowResult, WorkflowTermination,
};
use temporalio_workflow::workflows::WorkflowImplementation;

/// The most pending signals of a workflow; further ones are dropped, since a signal has no reply.
const MAX_PENDING_SIGNALS: usize = 1_000;
/// The most signals of one run, well before the server's limit of 10,000.
const MAX_SIGNALS: u32 = 2_000;

/// A signal that waits to be sent to the actor as a command.
pub(crate) struct PendingSignal {
    /// The signal's name.
    pub(crate) name: &'static str,
    /// The signal's argument.
    pub(crate) value: Value,
}

/// The mirrored state of one entity.
pub(crate) struct EntityState {
    kind: Kind,
    id: String,
    /// The entity's state.
    pub(crate) snapshot: Snapshot,
    /// True when the state came from the server.
    is_known: bool,
    /// The reason why this workflow cannot start.
    start_error: Option<String>,
    pending_signals: VecDeque<PendingSignal>,
    commands_sent: u64,
    signals: u32,
    must_continue_as_new: bool,
    /// Set when a later run has taken over.
    is_superseded: bool,
    /// The status and project in the search attributes.
    published_attributes: (Option<String>, Option<String>),
}

impl EntityState {
    /// Creates the state at the start of a run, from any input.
    pub(crate) fn new(kind: Kind, context: &WorkflowContextView, input: &RawValue) -> Self {
        let workflow_id = context.workflow_id();
        let value = payload::value(input);
        let named = value.clone().and_then(|value| payload::text(&value, kind.id_field()));
        let start_error = match &named {
            Err(words) => Some(words.clone()),
            Ok(id) if kind.workflow_id(id) != workflow_id => Some(format!(
                "the workflow of {} {id} is called {}, not {workflow_id}",
                kind.noun(),
                kind.workflow_id(id)
            )),
            Ok(_) => None,
        };
        let ours = value.ok().and_then(|value| {
            Signed::verify_value(&SigningKeys::of_this_thread(), workflow_id, value.get("mirror")?)
        });
        let mut entity = Self {
            kind,
            id: named.unwrap_or_default(),
            snapshot: Snapshot::default(),
            is_known: ours.is_some(),
            start_error,
            pending_signals: VecDeque::new(),
            commands_sent: 0,
            signals: 0,
            must_continue_as_new: false,
            is_superseded: false,
            published_attributes: (None, None),
        };
        if let Some(ours) = ours {
            entity.snapshot = ours;
            entity.published_attributes = entity.search_attributes();
        }
        entity
    }

    /// Returns the entity's id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Applies a state of the actor, unless a newer one is known.
    pub(crate) fn apply_snapshot(&mut self, newer: Snapshot) {
        if newer.run_no > self.snapshot.run_no && self.is_known {
            self.is_superseded = true;
            return;
        }
        if newer.seq > self.snapshot.seq || !self.is_known {
            self.snapshot = newer;
        }
        self.is_known = true;
    }

    /// Marks the entity as known: the server signed a message about it, though its record has not arrived.
    pub(crate) fn mark_known(&mut self) {
        if !self.is_known {
            self.is_known = true;
            self.snapshot.record = json!({"id": self.id});
            self.snapshot.run_no = 1;
        }
    }

    /// Applies a `mirror` signal with a valid signature; ignores any other.
    pub(crate) fn receive_mirror<W>(&mut self, context: &SyncWorkflowContext<W>, input: &RawValue) {
        self.count_signal(context);
        let value = payload::value(input).unwrap_or_default();
        match Signed::verify_value(&SigningKeys::of_this_thread(), context.workflow_id(), &value) {
            Some(newer) => self.apply_snapshot(newer),
            None if context.is_replaying_history_events() => {}
            None => {
                tracing::warn!(target: "workflow", workflow = context.workflow_id(), "could not verify a mirror signal; it is ignored")
            }
        }
    }

    /// Queues a command that arrived as a signal.
    pub(crate) fn receive_command<W>(
        &mut self,
        context: &SyncWorkflowContext<W>,
        name: &'static str,
        input: &RawValue,
    ) {
        self.count_signal(context);
        let workflow = context.workflow_id();
        match payload::value(input) {
            Ok(value) if self.pending_signals.len() < MAX_PENDING_SIGNALS => {
                self.pending_signals.push_back(PendingSignal { name, value })
            }
            // Logged when it arrived; a replay must not repeat the warning, which becomes an event.
            _ if context.is_replaying_history_events() => {}
            Ok(_) => {
                tracing::warn!(target: "workflow", workflow, name, "could not queue a signal: too many are pending");
            }
            Err(words) => {
                tracing::warn!(target: "workflow", workflow, name, words, "could not read a signal; it is ignored")
            }
        }
    }

    /// Counts a signal; every signal handler calls this first.
    pub(crate) fn count_signal<W>(&mut self, context: &SyncWorkflowContext<W>) {
        self.signals = self.signals.saturating_add(1);
        self.must_continue_as_new |= context.continue_as_new_suggested() || self.signals >= MAX_SIGNALS;
    }

    /// Requests another run, with the same state and an empty history.
    pub(crate) fn request_continue_as_new(&mut self) {
        self.must_continue_as_new = true;
    }

    /// Returns whether another run has taken over, or the entity is deleted.
    pub(crate) fn is_over(&self) -> bool {
        self.is_superseded || (self.is_known && self.snapshot.is_gone())
    }

    /// Returns whether there is work to do.
    pub(crate) fn has_work(&self) -> bool {
        !self.pending_signals.is_empty()
            || self.must_continue_as_new
            || self.is_over()
            || self.has_stale_attributes()
    }

    fn has_stale_attributes(&self) -> bool {
        self.snapshot.attributes && self.search_attributes() != self.published_attributes
    }

    /// Returns the status and project for the search attributes.
    fn search_attributes(&self) -> (Option<String>, Option<String>) {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        (owned(self.snapshot.status()), owned(self.snapshot.project(self.kind)))
    }

    /// Builds the input of the next run.
    pub(crate) fn input(&self, workflow_id: &str) -> RawValue {
        payload::raw(&json!({
            self.kind.id_field(): self.id,
            "mirror": Signed::new(&SigningKeys::of_this_thread(), workflow_id, &self.snapshot),
        }))
    }
}

/// A workflow that mirrors an entity.
pub(crate) trait EntityWorkflow: 'static {
    /// Returns the state of the entity.
    fn entity(&self) -> &EntityState;
    /// Returns the state of the entity for changes.
    fn entity_mut(&mut self) -> &mut EntityState;
    /// Returns whether the entity has reached its final status.
    fn has_ended(&self) -> bool;

    /// Returns whether this run ends.
    fn is_over(&self) -> bool {
        self.entity().is_over() || self.has_ended()
    }
}

/// Implements [`EntityWorkflow`] for a workflow with a field `entity` and a condition for the entity's end.
macro_rules! impl_entity_workflow {
    ($workflow:ty, |$state:ident| $has_ended:expr) => {
        impl crate::workflows::entity_workflow::EntityWorkflow for $workflow {
            fn entity(&self) -> &crate::workflows::entity_workflow::EntityState {
                &self.entity
            }

            fn entity_mut(&mut self) -> &mut crate::workflows::entity_workflow::EntityState {
                &mut self.entity
            }

            fn has_ended(&self) -> bool {
                let $state = self;
                $has_ended
            }
        }
    };
}
pub(crate) use impl_entity_workflow;

/// The next step of a run.
pub(crate) enum NextStep {
    /// The run ends.
    Completed,
    /// The run continues as a new one.
    ContinueAsNew,
    /// The caller's condition became true.
    Interrupted,
}

/// Looks the entity up, unless the start input contained its state.
pub(crate) async fn load_entity<W: EntityWorkflow>(
    ctx: &WorkflowContext<W>,
) -> Result<(), WorkflowTermination> {
    count_run(ctx, ctx.state(|s| s.entity().kind), RunEvent::Started);
    if let Some(words) = ctx.state(|s| s.entity().start_error.clone()) {
        return Err(workflow_failure(&words));
    }
    if ctx.state(|s| s.entity().is_known) {
        return Ok(());
    }
    let look = ctx.state(|s| LookUpInput { kind: s.entity().kind, id: s.entity().id.clone() });
    let reply = ctx.execute_activity(ControlActivities::look_up, look, control_options()).await;
    let found = snapshot(reply.map_err(|error| workflow_failure(&root_cause(&error)))?)
        .map_err(|words| workflow_failure(&words))?;
    ctx.state_mut(|s| s.entity_mut().apply_snapshot(found));
    Ok(())
}

/// Returns the end of this run that begins the next one, with the same state and an empty history.
pub(crate) fn next_run<W>(ctx: &WorkflowContext<W>, options: ContinueAsNewOptions) -> WorkflowTermination
where
    W: EntityWorkflow + WorkflowImplementation,
    W::Run: WorkflowDefinition<Input = RawValue>,
{
    let input = ctx.state(|s| s.entity().input(ctx.workflow_id()));
    match ctx.continue_as_new(input, options) {
        Err(end) => end,
    }
}

/// Runs a workflow that does no more than mirror its entity and pass commands on. Returns the entity's last status.
pub(crate) async fn mirror_until_end<W>(ctx: &WorkflowContext<W>) -> WorkflowResult<String>
where
    W: EntityWorkflow + WorkflowImplementation,
    W::Run: WorkflowDefinition<Input = RawValue>,
{
    load_entity(ctx).await?;
    if let NextStep::ContinueAsNew = process_signals(ctx, |_| false).await? {
        return Err(next_run(ctx, ContinueAsNewOptions::default()));
    }
    Ok(ctx.state(|s| s.entity().snapshot.status().unwrap_or("deleted").to_owned()))
}

/// Sends pending signals as commands and updates search attributes, until the run ends or `is_interrupted`.
pub(crate) async fn process_signals<W: EntityWorkflow>(
    ctx: &WorkflowContext<W>,
    is_interrupted: impl Fn(&W) -> bool,
) -> Result<NextStep, WorkflowTermination> {
    loop {
        ctx.wait_condition(|s: &W| s.entity().has_work() || s.is_over() || is_interrupted(s)).await?;
        update_search_attributes(ctx)?;
        if let Some(wish) = ctx.state_mut(|s| s.entity_mut().pending_signals.pop_front()) {
            if let Err(words) = send_command(ctx, wish.name, wish.value).await {
                let workflow = ctx.workflow_id();
                if !ctx.is_replaying_history_events() {
                    tracing::info!(target: "workflow", workflow, name = wish.name, words, "could not apply a signal: it was refused");
                }
            }
            continue;
        }
        if ctx.state(EntityWorkflow::is_over) {
            // Callers of updates get their answers first.
            ctx.wait_condition(|_| ctx.all_handlers_finished()).await?;
            count_run(ctx, ctx.state(|s| s.entity().kind), RunEvent::Completed);
            return Ok(NextStep::Completed);
        }
        if ctx.state(|s| s.entity().must_continue_as_new) {
            ctx.wait_condition(|_| ctx.all_handlers_finished()).await?;
            if ctx.state(|s| s.entity().pending_signals.is_empty()) {
                return Ok(NextStep::ContinueAsNew);
            }
            continue;
        }
        if ctx.state(&is_interrupted) {
            return Ok(NextStep::Interrupted);
        }
    }
}

/// Updates the search attributes, if the server has them.
fn update_search_attributes<W: EntityWorkflow>(ctx: &WorkflowContext<W>) -> Result<(), WorkflowTermination> {
    if !ctx.state(|s| s.entity().has_stale_attributes()) {
        return Ok(());
    }
    let ((status, project), (_, was)) =
        ctx.state(|s| (s.entity().search_attributes(), s.entity().published_attributes.clone()));
    let status = STATUS.value_set(search_attribute_value(status.as_deref().unwrap_or("gone")));
    // An entity that never had a project has no such attribute. An attribute cannot be removed: the server refuses
    // the SDK's request for that.
    let project = project.or(was.map(|_| String::new()));
    let project = project.map(|project| PROJECT.value_set(search_attribute_value(&project)));
    ctx.upsert_search_attributes([status].into_iter().chain(project));
    ctx.state_mut(|s| {
        let entity = s.entity_mut();
        entity.published_attributes = entity.search_attributes();
    });
    Ok(())
}

/// Sends a command to the entity's actor and applies the state in its reply.
pub(crate) async fn send_command<W: EntityWorkflow>(
    ctx: &WorkflowContext<W>,
    wish: &str,
    value: Value,
) -> Result<Snapshot, String> {
    let run = ctx.run_id().to_owned();
    let command = ctx.state_mut(|s| {
        let entity = s.entity_mut();
        entity.commands_sent += 1;
        let command_id = format!("{run}/{}", entity.commands_sent);
        Command { kind: entity.kind, id: entity.id.clone(), wish: wish.to_owned(), value, command_id }
    });
    let reply = ctx.execute_activity(ControlActivities::apply_command, command, control_options()).await;
    let after = snapshot(reply.map_err(|error| root_cause(&error))?)?;
    ctx.state_mut(|s| s.entity_mut().apply_snapshot(after.clone()));
    Ok(after)
}

/// Counts the start or end of a run, but not during a replay.
pub(crate) fn count_run<W>(ctx: &WorkflowContext<W>, kind: Kind, what: RunEvent) {
    if ctx.is_replaying() {
        return;
    }
    let name = match what {
        RunEvent::Started => "arbiter_workflow_started_total",
        RunEvent::Completed => "arbiter_workflow_completed_total",
    };
    metrics::counter!(name, "type" => kind.workflow_type()).increment(1);
}

/// An event of a run, for the metrics.
#[derive(Clone, Copy)]
pub(crate) enum RunEvent {
    /// The run starts.
    Started,
    /// The run ends without continuing as new.
    Completed,
}

/// Builds a failure that ends the run, with this message.
pub(crate) fn workflow_failure(words: &str) -> WorkflowTermination {
    ApplicationFailure::non_retryable(anyhow::anyhow!("{words}")).into()
}

/// Returns the message of an error's root cause.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut at = error;
    while let Some(cause) = at.source() {
        at = cause;
    }
    at.to_string()
}
