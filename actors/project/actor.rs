//! The actor of one project: its fields, its closing, its comments.
//!
//! Owns nothing in memory. Talks to the store; how it is deleted is `project_delete.rs`. Restart: at once.

use crate::caller::Caller;
use crate::conflict_retry::{check_revision, until_fresh};
use crate::decision::DecisionsHandle;
use crate::error::Fault;
use crate::project::{Closing, Command, Rest, Wish};
use crate::runtime::cell::{Role, Scope};
use crate::runtime::random;
use arbiter_core::decision::edit::NewDecision;
use arbiter_core::decision::subject_digest;
use arbiter_core::decision::{CLOSE_OPTIONS, Purpose};
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::{CommentId, DecisionId};
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::project::{self, Project};
use arbiter_store::{Change, Comment};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How urgent the question is whether a project with open work is to be closed.
const CLOSE_PRIORITY: u8 = 1;

/// The actor of one project.
pub(crate) struct ProjectActor {
    pub(crate) scope: Scope<Self>,
}

impl Role for ProjectActor {
    type Command = Command;
    const KIND: &'static str = "project";

    fn new(scope: Scope<Self>) -> Self {
        Self { scope }
    }

    async fn start(&mut self) {
        // It has no timer: it may be let go whenever nobody addresses it.
        self.scope.pin.store(false, Ordering::Release);
    }

    async fn handle(&mut self, command: Command) {
        // An answer that nobody waits for any more was still given to the store.
        match command {
            Command::Change { caller, wish, answer } => {
                let _ = answer.send(self.change(&caller, &wish).await);
            }
            Command::Close { caller, answer } => {
                let _ = answer.send(self.close(&caller).await);
            }
            Command::Comment { caller, text, answer } => {
                let _ = answer.send(self.comment(&caller, &text).await);
            }
            Command::Delete { caller, cascade, answer } => {
                let _ = answer.send(self.delete(&caller, cascade).await);
            }
        }
    }
}

impl ProjectActor {
    pub(crate) async fn row(&self) -> Result<Project, Fault> {
        let found = self.scope.shared.store.project(self.scope.id.clone()).await?;
        found.ok_or_else(|| Refusal::not_found("project", &self.scope.id).into())
    }

    async fn change(&self, caller: &Caller, wish: &Wish) -> Result<Project, Fault> {
        let shared = &self.scope.shared;
        until_fresh(async || {
            let project = self.row().await?;
            check_revision(caller, &project)?;
            let command = match wish {
                Wish::Update(patch) => project::Command::Update(Box::new(patch.apply(&project)?)),
                Wish::Reopen => project::Command::Reopen,
                Wish::Park(Rest::Yes(reason)) => project::Command::Park { reason: reason.clone() },
                Wish::Park(Rest::No) => project::Command::Resume,
            };
            let mut unit = caller.unit(shared.clock.now(), "projects");
            let happenings = project.decide(&command, unit.at)?;
            let after = unit.happen(&project, &happenings, Change::Project);
            if !unit.is_empty() {
                shared.store.commit(unit).await?;
                shared.prefixes.forget();
            }
            Ok(after)
        })
        .await
    }

    async fn close(&self, caller: &Caller) -> Result<Closing, Fault> {
        let shared = &self.scope.shared;
        until_fresh(async || {
            let project = self.row().await?;
            check_revision(caller, &project)?;
            let counts = shared.store.bead_counts(self.scope.id.clone()).await?;
            let open = counts.iter().filter(|(status, _)| status != "closed").map(|(_, n)| n).sum();
            let mut unit = caller.unit(shared.clock.now(), "projects");
            match project.decide(&project::Command::Close { open_beads: open }, unit.at) {
                Ok(happenings) => {
                    let after = unit.happen(&project, &happenings, Change::Project);
                    shared.store.commit(unit).await?;
                    Ok(Closing::Closed(Box::new(after)))
                }
                Err(Refusal::Conflict { code: "open-work", detail }) => {
                    if let Some(asked) = shared.store.pending_close_of(self.scope.id.clone()).await? {
                        return Ok(Closing::Asked(Box::new(asked)));
                    }
                    let holdings = shared.store.holdings(self.scope.id.clone()).await?;
                    let question = format!("{detail}. Close it nevertheless?");
                    let mut new = NewDecision::question(self.scope.id.as_str(), question);
                    new.purpose = Purpose::Close;
                    new.options = CLOSE_OPTIONS.map(str::to_owned).to_vec();
                    new.requester_id = Some(caller.name.clone());
                    new.priority = Some(CLOSE_PRIORITY);
                    new.subject_digest = Some(subject_digest::of_project(&self.scope.id, &holdings));
                    let id = DecisionId::from_random(random::bytes16());
                    let asked = new.build(id, unit.at, shared.settings.decision_timeout)?;
                    unit.create(&asked, Change::Decision);
                    shared.store.commit(unit).await?;
                    DecisionsHandle(Arc::clone(shared)).wake(&asked.id);
                    Ok(Closing::Asked(Box::new(asked)))
                }
                Err(refusal) => Err(refusal.into()),
            }
        })
        .await
    }

    async fn comment(&self, caller: &Caller, text: &str) -> Result<Comment, Fault> {
        if text.trim().is_empty() || text.len() > 65_536 {
            return Err(Refusal::field("comment", "has 1 to 65536 bytes").into());
        }
        let project = self.row().await?;
        let mut unit = caller.unit(self.scope.shared.clock.now(), "projects");
        let comment = Comment {
            id: CommentId::from_random(random::bytes16()).to_string(),
            subject: project.id.to_string(),
            author_id: caller.name.clone(),
            text: text.to_owned(),
            created_at: unit.at,
        };
        unit.tell(NewEvent {
            kind: EventType::ProjectCommented,
            project_id: Some(project.id.to_string()),
            subject: project.id.to_string(),
            data: json!({"comment_id": comment.id, "author_id": comment.author_id, "comment": comment.text}),
        });
        unit.change(Change::ProjectComment(comment.clone()));
        self.scope.shared.store.commit(unit).await?;
        Ok(comment)
    }
}
