//! Projects: the handle by which they are created, changed, closed, commented on and deleted.
//!
//! `project/actor.rs` is the actor of one project; `file_locks` is the actor of its file locks. Deletions that take
//! along other nouns are in `delete` and `cascade`.

pub(crate) mod actor;
pub(crate) mod bead_path;
pub(crate) mod cascade;
pub(crate) mod delete;
pub(crate) mod file_locks;
pub(crate) mod org_chart;

use crate::agent::AgentsHandle;
use crate::bead::id_prefix::PrefixCache;
use crate::call::rate_limiter::Limiters;
use crate::caller::{Caller, Cascade};
use crate::decision::DecisionsHandle;
use crate::error::Error;
use crate::error::Reply;
use crate::persona::PersonaStore;
use crate::project::actor::ProjectActor;
use crate::provider::ProvidersHandle;
use crate::runtime::random;
use crate::runtime::registry::{Affinity, IdlePolicy, Registry};
use crate::services::{Services, deref_to_services};
use crate::token::cache::TokenCache;
use crate::vault::VaultHandle;
use arbiter_core::decision::Decision;
use arbiter_core::kernel::ids::ProjectId;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::project::edit::{NewProject, ProjectPatch};
use arbiter_core::project::{Project, authorize};
use arbiter_store::{Change, Comment};
use std::sync::{Arc, Weak};
use tokio::sync::Mutex;

/// The parts that projects and their charts use.
pub(crate) struct ProjectContext {
    pub(crate) services: Arc<Services>,
    pub(crate) agents: AgentsHandle,
    pub(crate) providers: ProvidersHandle,
    pub(crate) decisions: DecisionsHandle,
    pub(crate) vault: VaultHandle,
    pub(crate) limiters: Arc<Limiters>,
    pub(crate) personas: Arc<PersonaStore>,
    pub(crate) prefixes: Arc<PrefixCache>,
    pub(crate) token_cache: Arc<TokenCache>,
    /// Held while the place of a project's bead files is checked and stored.
    pub(crate) bead_path_lock: Mutex<()>,
    pub(crate) projects: Registry<ProjectActor>,
}

deref_to_services!(ProjectContext);

impl ProjectContext {
    pub(crate) fn new(services: Arc<Services>, agents: AgentsHandle) -> Arc<Self> {
        let calls = &agents.0.run_context.calls;
        let beads = &agents.0.beads.0;
        Arc::new_cyclic(|own| Self {
            services,
            providers: calls.providers.clone(),
            decisions: beads.decisions.clone(),
            vault: calls.providers.0.vault.clone(),
            limiters: Arc::clone(&calls.limiters),
            personas: Arc::clone(&agents.0.personas),
            prefixes: Arc::clone(&beads.prefixes),
            token_cache: Arc::clone(&agents.0.token_cache),
            bead_path_lock: Mutex::default(),
            projects: Registry::new(Weak::clone(own), Affinity::Entities, IdlePolicy::Retire),
            agents: agents.clone(),
        })
    }
}

/// Handle of the projects' actors.
#[derive(Clone)]
pub struct ProjectsHandle(pub(crate) Arc<ProjectContext>);

impl ProjectsHandle {
    /// Creates a project.
    ///
    /// # Errors
    /// [`Error::Refused`] for wrong fields, a taken id or a caller that is limited to projects.
    pub async fn create(&self, caller: &Caller, new: NewProject) -> Result<Project, Error> {
        authorize::create(&caller.authority)?;
        let now = self.0.clock.now();
        let id = match &new.id {
            Some(text) => ProjectId::parse(text).map_err(|e| Refusal::field("id", e.to_string()))?,
            None => ProjectId::from_random(random::bytes16()),
        };
        let project = new.build(id, now)?;
        let _placing = bead_path::check_change(&self.0, caller, &project, None).await?;
        let mut unit = caller.unit(now, "projects");
        unit.create(&project, Change::Project);
        self.0.store.commit(unit).await?;
        Ok(project)
    }

    /// Changes a project's fields.
    ///
    /// # Errors
    /// [`Error::Refused`] for wrong fields or another revision than the caller's.
    pub async fn update(
        &self,
        caller: &Caller,
        id: &ProjectId,
        patch: ProjectPatch,
    ) -> Result<Project, Error> {
        self.change(caller, id, ProjectRequest::Update(Box::new(patch))).await
    }

    /// Closes a project; while work in it is open, asks first whether it is to be closed nevertheless.
    ///
    /// # Errors
    /// [`Error::Refused`] for a closed project, and always for a perpetual one.
    pub async fn close(&self, caller: &Caller, id: &ProjectId) -> Result<CloseOutcome, Error> {
        let caller = caller.clone();
        self.0.projects.ask(id.as_str(), |answer| Command::Close { caller, answer }).await
    }

    /// Parks or resumes a project's work; active runs continue.
    ///
    /// # Errors
    /// [`Error::Refused`] for an unknown project or a reason that is empty.
    pub async fn park(&self, caller: &Caller, id: &ProjectId, rest: Parking) -> Result<Project, Error> {
        self.change(caller, id, ProjectRequest::Park(rest)).await
    }

    /// Takes a closed project up again.
    ///
    /// # Errors
    /// [`Error::Refused`] for a project that is not closed.
    pub async fn reopen(&self, caller: &Caller, id: &ProjectId) -> Result<Project, Error> {
        self.change(caller, id, ProjectRequest::Reopen).await
    }

    /// Comments on a project.
    ///
    /// # Errors
    /// [`Error::Refused`] for an unknown project or an empty text.
    pub async fn comment(&self, caller: &Caller, id: &ProjectId, text: String) -> Result<Comment, Error> {
        let caller = caller.clone();
        self.0.projects.ask(id.as_str(), |answer| Command::Comment { caller, text, answer }).await
    }

    /// Deletes a project; with [`Cascade::Yes`] its beads go with it.
    ///
    /// # Errors
    /// [`Error::Refused`] while agents belong to it, one of its beads is claimed, or it has beads.
    pub async fn delete(&self, caller: &Caller, id: &ProjectId, cascade: Cascade) -> Result<(), Error> {
        let caller = caller.clone();
        let ask = |answer| Command::Delete { caller, cascade, answer };
        self.0.projects.ask(id.as_str(), ask).await
    }

    async fn change(
        &self,
        caller: &Caller,
        id: &ProjectId,
        request: ProjectRequest,
    ) -> Result<Project, Error> {
        let caller = caller.clone();
        self.0.projects.ask(id.as_str(), |answer| Command::Change { caller, request, answer }).await
    }
}

/// Outcome of closing a project.
#[derive(Clone, Debug, PartialEq)]
pub enum CloseOutcome {
    Closed(Box<Project>),
    /// Work is open, and this is the question.
    Asked(Box<Decision>),
}

/// Operation of a caller on a project.
pub(crate) enum ProjectRequest {
    Update(Box<ProjectPatch>),
    Reopen,
    Park(Parking),
}

/// Parking state of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parking {
    Yes(String),
    No,
}

/// Command of the project's actor.
pub(crate) enum Command {
    Close { caller: Caller, answer: Reply<CloseOutcome> },
    Change { caller: Caller, request: ProjectRequest, answer: Reply<Project> },
    Comment { caller: Caller, text: String, answer: Reply<Comment> },
    Delete { caller: Caller, cascade: Cascade, answer: Reply<()> },
}
