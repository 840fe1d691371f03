//! The actor of one project: its fields, its closing, its comments.
//!
//! Owns nothing in memory. Talks to the store. Restart: at once.

use crate::agent::delete_agent;
use crate::caller::{Caller, Cascade};
use crate::commit::{check_revision, until_fresh};
use crate::decision::DecisionsHandle;
use crate::entropy;
use crate::fault::Fault;
use crate::shared::Shared;
use crate::shell::{Role, Scope};
use crate::withdrawal;
use arbiter_core::decision::{CLOSE_OPTIONS, Decision, Purpose};
use arbiter_core::decision_change::NewDecision;
use arbiter_core::event::NewEvent;
use arbiter_core::event_type::EventType;
use arbiter_core::ids::{AgentId, CommentId, DecisionId, ProjectId};
use arbiter_core::project::{self, Project};
use arbiter_core::project_change::{NewProject, ProjectPatch};
use arbiter_core::refusal::Refusal;
use arbiter_core::subject;
use arbiter_store::{AgentFilter, BeadFilter, Change, Comment, PageRequest, Write};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

/// How urgent the question is whether a project with open work is to be closed.
const CLOSE_PRIORITY: u8 = 1;

/// How others reach projects.
#[derive(Clone)]
pub struct ProjectsHandle(pub(crate) Arc<Shared>);

type Answer<T> = oneshot::Sender<Result<T, Fault>>;

impl ProjectsHandle {
    /// Creates a project.
    ///
    /// # Errors
    /// [`Fault::Refused`] for wrong fields or a taken id.
    pub async fn create(&self, caller: &Caller, new: NewProject) -> Result<Project, Fault> {
        let now = self.0.clock.now();
        let id = match &new.id {
            Some(text) => ProjectId::chosen(text).map_err(|e| Refusal::field("id", e.to_string()))?,
            None => ProjectId::from_random(entropy::bytes16()),
        };
        let project = new.build(id, now)?;
        let mut unit = caller.unit(now, "projects");
        unit.create(&project, Change::Project);
        self.0.store.commit(unit).await?;
        Ok(project)
    }

    /// Changes a project's fields.
    ///
    /// # Errors
    /// [`Fault::Refused`] for wrong fields or another revision than the caller's.
    pub async fn update(
        &self,
        caller: &Caller,
        id: &ProjectId,
        patch: ProjectPatch,
    ) -> Result<Project, Fault> {
        self.change(caller, id, Wish::Update(Box::new(patch))).await
    }

    /// Closes a project; while work in it is open, asks first whether it is to be closed nevertheless.
    ///
    /// # Errors
    /// [`Fault::Refused`] for a closed project, and always for a perpetual one.
    pub async fn close(&self, caller: &Caller, id: &ProjectId) -> Result<Closing, Fault> {
        let caller = caller.clone();
        self.0.projects.ask(&self.0, id.as_str(), |answer| Command::Close { caller, answer }).await
    }

    /// Hands out none of a project's work from now on, or hands it out again; what runs goes on.
    ///
    /// # Errors
    /// [`Fault::Refused`] for an unknown project or a reason that is empty.
    pub async fn park(&self, caller: &Caller, id: &ProjectId, rest: Rest) -> Result<Project, Fault> {
        self.change(caller, id, Wish::Park(rest)).await
    }

    /// Takes a closed project up again.
    ///
    /// # Errors
    /// [`Fault::Refused`] for a project that is not closed.
    pub async fn reopen(&self, caller: &Caller, id: &ProjectId) -> Result<Project, Fault> {
        self.change(caller, id, Wish::Reopen).await
    }

    /// Comments on a project.
    ///
    /// # Errors
    /// [`Fault::Refused`] for an unknown project or an empty text.
    pub async fn comment(&self, caller: &Caller, id: &ProjectId, text: String) -> Result<Comment, Fault> {
        let caller = caller.clone();
        self.0.projects.ask(&self.0, id.as_str(), |answer| Command::Comment { caller, text, answer }).await
    }

    /// Deletes a project; with [`Cascade::Yes`] its beads go with it.
    ///
    /// # Errors
    /// [`Fault::Refused`] while agents belong to it, somebody holds one of its beads, or it has beads.
    pub async fn delete(&self, caller: &Caller, id: &ProjectId, cascade: Cascade) -> Result<(), Fault> {
        let caller = caller.clone();
        let ask = |answer| Command::Delete { caller, cascade, answer };
        self.0.projects.ask(&self.0, id.as_str(), ask).await?;
        self.0.projects.remove(id.as_str());
        Ok(())
    }

    async fn change(&self, caller: &Caller, id: &ProjectId, wish: Wish) -> Result<Project, Fault> {
        let caller = caller.clone();
        self.0.projects.ask(&self.0, id.as_str(), |answer| Command::Change { caller, wish, answer }).await
    }
}

/// What came of the wish to close a project.
#[derive(Clone, Debug, PartialEq)]
pub enum Closing {
    /// It is closed.
    Closed(Box<Project>),
    /// Work is open, and this is the question.
    Asked(Box<Decision>),
}

/// What a caller wants of a project.
pub(crate) enum Wish {
    Update(Box<ProjectPatch>),
    Reopen,
    Park(Rest),
}

/// Whether a project rests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It does, and why.
    Yes(String),
    /// It does no longer.
    No,
}

/// What a project can be told.
pub(crate) enum Command {
    Close { caller: Caller, answer: Answer<Closing> },
    Change { caller: Caller, wish: Wish, answer: Answer<Project> },
    Comment { caller: Caller, text: String, answer: Answer<Comment> },
    Delete { caller: Caller, cascade: Cascade, answer: Answer<()> },
}

/// The actor of one project.
pub(crate) struct ProjectActor {
    scope: Scope<Self>,
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
    async fn row(&self) -> Result<Project, Fault> {
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
                    new.subject_digest = Some(subject::of_project(&self.scope.id, &holdings));
                    let id = DecisionId::from_random(entropy::bytes16());
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
            id: CommentId::from_random(entropy::bytes16()).to_string(),
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

    async fn delete(&self, caller: &Caller, cascade: Cascade) -> Result<(), Fault> {
        let shared = &self.scope.shared;
        let gone = until_fresh(async || self.take_away(caller, cascade).await).await?;
        shared.prefixes.forget();
        withdrawal::tell(shared, &gone.decisions);
        if !gone.agents.is_empty() {
            shared.token_cache.load(shared).await?;
        }
        for agent in &gone.agents {
            shared.runs.abort_all(agent);
            shared.agents.remove(agent.as_str());
        }
        Ok(())
    }

    /// Deletes the project and what belongs to it in one unit.
    async fn take_away(&self, caller: &Caller, cascade: Cascade) -> Result<Gone, Fault> {
        let shared = &self.scope.shared;
        let project = self.row().await?;
        check_revision(caller, &project)?;
        let mut unit = caller.unit(shared.clock.now(), "projects");
        let own = AgentFilter { project_id: Some(self.scope.id.clone()), ..AgentFilter::default() };
        let agents = shared.store.agents(own, page(1000)).await?.items;
        if let (Cascade::No, Some(agent)) = (cascade, agents.first()) {
            let detail = format!(
                "agent {} belongs to project {}; use cascade=true to delete it too",
                agent.id, project.id
            );
            return Err(Refusal::conflict("in-use", detail).into());
        }
        for agent in &agents {
            if let Some(bead) = &agent.current_bead {
                let detail = format!("bead {bead} is held by agent {}: release it first", agent.id);
                return Err(Refusal::conflict("bead-held", detail).into());
            }
            delete_agent(shared, &mut unit, agent).await?;
        }
        let decisions = shared.store.pending_decisions_in(self.scope.id.clone()).await?;
        let withdrawn = withdrawal::withdraw(&mut unit, &decisions, |decision| match &decision.bead_id {
            Some(bead) => format!("bead {bead} was deleted with its project"),
            None => format!("project {} was deleted", project.id),
        })?;
        let filter = BeadFilter { project_id: Some(self.scope.id.clone()), ..BeadFilter::default() };
        let mut cursor = None;
        loop {
            let request = PageRequest { limit: 500, cursor };
            let beads = shared.store.beads(filter.clone(), request).await?;
            if cascade == Cascade::No && beads.total > 0 {
                let detail = format!("project {} has beads; use cascade=true to delete them too", project.id);
                return Err(Refusal::conflict("in-use", detail).into());
            }
            for detail in beads.items {
                let bead = detail.bead;
                if bead.status == arbiter_core::bead::Status::InProgress {
                    let detail = format!("bead {} is held: release it first", bead.id);
                    return Err(Refusal::conflict("bead-held", detail).into());
                }
                unit.tell(NewEvent {
                    kind: EventType::BeadDeleted,
                    project_id: Some(project.id.to_string()),
                    subject: bead.id.to_string(),
                    data: json!({"title": bead.title}),
                });
                unit.change(Change::Bead(Write::Delete { row: bead }));
            }
            cursor = beads.next;
            if cursor.is_none() {
                break;
            }
        }
        for lock in shared.store.file_locks_in(self.scope.id.clone()).await? {
            unit.tell(lock.released("the project was deleted"));
            unit.change(Change::ReleaseFileLock(lock));
        }
        unit.tell(NewEvent {
            kind: EventType::ProjectDeleted,
            project_id: Some(project.id.to_string()),
            subject: project.id.to_string(),
            data: json!({"name": project.name}),
        });
        unit.change(Change::Project(Write::Delete { row: project }));
        shared.store.commit(unit).await?;
        Ok(Gone { decisions: withdrawn, agents: agents.into_iter().map(|agent| agent.id).collect() })
    }
}

/// What ended or went with a project, and whose actors have to hear of it.
struct Gone {
    decisions: Vec<DecisionId>,
    agents: Vec<AgentId>,
}

fn page(limit: u32) -> PageRequest {
    PageRequest { limit, cursor: None }
}
