//! The actor of one project: its fields, its closing, its comments.
//!
//! Owns nothing in memory. Talks to the store; how it is deleted is `project/delete.rs`. Restart: at once.

use crate::actor_kind::ActorKind;
use crate::caller::Caller;
use crate::conflict_retry::{check_revision, retry_on_conflict};
use crate::error::Error;
use crate::project::ProjectContext;
use crate::project::bead_path;
use crate::project::{CloseOutcome, Command, Parking, ProjectRequest};
use crate::runtime::cell::{Behavior, BehaviorContext};
use crate::runtime::random;
use arbiter_core::decision::edit::NewDecision;
use arbiter_core::decision::subject_digest;
use arbiter_core::decision::{CLOSE_OPTIONS, Purpose};
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::{CommentId, DecisionId};
use arbiter_core::kernel::limits;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::project::{self, Project, authorize};
use arbiter_store::{Change, Comment};
use serde_json::json;
use std::sync::atomic::Ordering;

/// Priority of the decision about closing a project with open work.
const CLOSE_PRIORITY: u8 = 1;

/// The actor of one project.
pub(crate) struct ProjectActor {
    pub(crate) context: BehaviorContext<Self>,
}

impl Behavior for ProjectActor {
    type Command = Command;
    type Host = ProjectContext;
    const KIND: ActorKind = ActorKind::Project;

    fn new(context: BehaviorContext<Self>) -> Self {
        Self { context }
    }

    async fn start(&mut self) {
        // The actor has no timer, so it may be stopped whenever it is idle.
        self.context.pin.store(false, Ordering::Release);
    }

    async fn handle(&mut self, command: Command) {
        match command {
            Command::Change { caller, request, answer } => {
                answer.with(self.change(&caller, &request)).await;
            }
            Command::Close { caller, answer } => {
                answer.with(self.close(&caller)).await;
            }
            Command::Comment { caller, text, answer } => {
                answer.with(self.comment(&caller, &text)).await;
            }
            Command::Delete { caller, cascade, answer } => {
                answer.with(self.delete(&caller, cascade)).await;
            }
        }
    }
}

impl ProjectActor {
    /// Reads the row, if the caller may reach it.
    pub(crate) async fn row(&self, caller: &Caller) -> Result<Project, Error> {
        let found = self.context.shared.store.project(self.context.id.clone()).await?;
        let project = found.ok_or_else(|| Refusal::not_found("project", &self.context.id))?;
        authorize::access(&caller.authority, project.id.as_str())?;
        Ok(project)
    }

    async fn change(&self, caller: &Caller, request: &ProjectRequest) -> Result<Project, Error> {
        let shared = &self.context.shared;
        retry_on_conflict(async || {
            let project = self.row(caller).await?;
            check_revision(caller, &project)?;
            let command = match request {
                ProjectRequest::Update(patch) => project::Command::Update(Box::new(patch.apply(&project)?)),
                ProjectRequest::Reopen => project::Command::Reopen,
                ProjectRequest::Park(Parking::Yes(reason)) => {
                    project::Command::Park { reason: reason.clone() }
                }
                ProjectRequest::Park(Parking::No) => project::Command::Resume,
            };
            let before = project.beads_path.as_deref();
            let _placing = match &command {
                project::Command::Update(after) => {
                    bead_path::check_change(shared, caller, after, before).await?
                }
                _ => None,
            };
            let mut unit = caller.unit(shared.clock.now(), "projects");
            let happenings = project.decide(&command, unit.at)?;
            let after = unit.apply(&project, &happenings, Change::Project);
            if !unit.is_empty() {
                shared.store.commit(unit).await?;
                shared.prefixes.invalidate();
            }
            Ok(after)
        })
        .await
    }

    async fn close(&self, caller: &Caller) -> Result<CloseOutcome, Error> {
        let shared = &self.context.shared;
        retry_on_conflict(async || {
            let project = self.row(caller).await?;
            check_revision(caller, &project)?;
            let counts = shared.store.bead_counts(self.context.id.clone()).await?;
            let open = counts.iter().filter(|(status, _)| status != "closed").map(|(_, n)| n).sum();
            let mut unit = caller.unit(shared.clock.now(), "projects");
            match project.decide(&project::Command::Close { open_beads: open }, unit.at) {
                Ok(happenings) => {
                    let after = unit.apply(&project, &happenings, Change::Project);
                    shared.store.commit(unit).await?;
                    Ok(CloseOutcome::Closed(Box::new(after)))
                }
                Err(Refusal::Conflict { code: ProblemCode::OpenWork, detail }) => {
                    if let Some(asked) = shared.store.pending_close_of(self.context.id.clone()).await? {
                        return Ok(CloseOutcome::Asked(Box::new(asked)));
                    }
                    let open_work = shared.store.open_work(self.context.id.clone()).await?;
                    let question = format!("{detail}. Close it nevertheless?");
                    let mut new = NewDecision::question(self.context.id.as_str(), question);
                    new.purpose = Purpose::Close;
                    new.options = CLOSE_OPTIONS.map(str::to_owned).to_vec();
                    new.requester_id = Some(caller.name.clone());
                    new.priority = Some(CLOSE_PRIORITY);
                    new.subject_digest = Some(subject_digest::of_project(&self.context.id, &open_work));
                    let id = DecisionId::from_random(random::bytes16());
                    let asked = new.build(id, unit.at, shared.settings.decision_timeout)?;
                    unit.create(&asked, Change::Decision);
                    shared.store.commit(unit).await?;
                    shared.decisions.ensure_started(&asked.id);
                    Ok(CloseOutcome::Asked(Box::new(asked)))
                }
                Err(refusal) => Err(refusal.into()),
            }
        })
        .await
    }

    async fn comment(&self, caller: &Caller, text: &str) -> Result<Comment, Error> {
        if text.trim().is_empty() || text.len() > limits::MAX_COMMENT {
            return Err(Refusal::field("comment", limits::must_have_bytes(&(1..=limits::MAX_COMMENT))).into());
        }
        let project = self.row(caller).await?;
        let mut unit = caller.unit(self.context.shared.clock.now(), "projects");
        let comment = Comment {
            id: CommentId::from_random(random::bytes16()).to_string(),
            subject: project.id.to_string(),
            author_id: caller.name.clone(),
            text: text.to_owned(),
            created_at: unit.at,
        };
        unit.emit(NewEvent {
            kind: EventType::ProjectCommented,
            project_id: Some(project.id.to_string()),
            subject: project.id.to_string(),
            data: json!({"comment_id": comment.id, "author_id": comment.author_id, "comment": comment.text}),
        });
        unit.change(Change::ProjectComment(comment.clone()));
        self.context.shared.store.commit(unit).await?;
        Ok(comment)
    }
}
