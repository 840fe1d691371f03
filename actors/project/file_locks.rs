//! The actor of one project's file locks: who works on which file, one request at a time.
//!
//! Owns the timer of the lock that runs out first; the locks themselves are rows, and what ends a hold on a bead ends
//! its locks in its own unit. Talks to the store. Restart: at once; the timer is armed anew from the stored times.

use crate::actor_kind::ActorKind;
use crate::caller::Caller;
use crate::conflict_retry::retry_on_conflict;
use crate::error::Error;
use crate::error::Reply;
use crate::runtime::cell::{Behavior, BehaviorContext};
use crate::runtime::registry::{Affinity, IdlePolicy, Registry};
use crate::services::{Services, deref_to_services};
use arbiter_core::agent::{self, Agent};
use arbiter_core::bead::Status;
use arbiter_core::kernel::ids::{BeadId, ProjectId};
use arbiter_core::kernel::limits;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::{FieldProblem, Refusal};
use arbiter_core::project::file_lock::{
    self, DEFAULT_TTL_SEC, FileLock, LockHolder, MAX_PATHS, MAX_TTL_SEC, MIN_TTL_SEC, authorize,
    normalize_path,
};
use arbiter_store::Change;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The name of the timer of the next lock that runs out.
const NEXT: &str = "next";
/// The pause before a store that failed is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// Reason of an expired lock.
const EXPIRED: &str = "it ran out";

/// The parts that file locks use.
pub(crate) struct FileLocksContext {
    pub(crate) services: Arc<Services>,
    pub(crate) file_locks: Registry<FileLocksActor>,
}

deref_to_services!(FileLocksContext);

impl FileLocksContext {
    pub(crate) fn new(services: Arc<Services>) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            services,
            file_locks: Registry::new(Weak::clone(own), Affinity::Entities, IdlePolicy::Retire),
        })
    }
}

/// Handle of the file locks' actors.
#[derive(Clone)]
pub struct FileLocksHandle(pub(crate) Arc<FileLocksContext>);

/// A caller's request for locks of a project.
#[derive(Clone, Debug)]
pub struct LockRequest {
    /// The files, as they were written; none, for a renewal: all that the holder has.
    pub paths: Option<Vec<String>>,
    /// The agent or person to hold the locks; the caller by default.
    pub agent_id: Option<String>,
    /// The bead that the locks belong to.
    pub bead_id: Option<BeadId>,
    /// Duration of each lock, in seconds.
    pub ttl_sec: Option<u64>,
}

/// A request whose holder is known and whose paths are in normal form.
pub(crate) struct CheckedRequest {
    paths: Option<Vec<String>>,
    holder: LockHolder,
    ttl_sec: Option<u64>,
}

impl FileLocksHandle {
    /// Locks files, all or none. What the holder has already is renewed.
    ///
    /// # Errors
    /// [`Error::Refused`] for paths that are none, a file that another holds (who is named), a bead that the holder
    /// does not hold, and a project or holder for which the caller may not lock.
    pub async fn acquire(
        &self,
        caller: &Caller,
        project: &ProjectId,
        request: LockRequest,
    ) -> Result<Vec<FileLock>, Error> {
        let holder = self.holder(caller, project, &request).await?;
        if request.paths.is_none() {
            return Err(Refusal::field("path", "must be given, or paths in its place").into());
        }
        let request = normalized(request, holder)?;
        if self.0.store.project(project.to_string()).await?.is_none() {
            return Err(Refusal::field("project_id", format!("no project has the id {project}")).into());
        }
        let caller = caller.clone();
        let ask = |answer| Command::Acquire { caller, request, answer };
        self.0.file_locks.ask(project.as_str(), ask).await
    }

    /// Lets locks last longer, all or none.
    ///
    /// # Errors
    /// [`Error::Refused`] for a file that the holder has not locked, or no longer, and a project or holder for which
    /// the caller may not lock.
    pub async fn renew(
        &self,
        caller: &Caller,
        project: &ProjectId,
        request: LockRequest,
    ) -> Result<Vec<FileLock>, Error> {
        let holder = self.holder(caller, project, &request).await?;
        let (request, caller) = (normalized(request, holder)?, caller.clone());
        let ask = |answer| Command::Renew { caller, request, answer };
        self.0.file_locks.ask(project.as_str(), ask).await
    }

    /// Releases a lock; with `agent_id`, only a lock of that agent. An agent releases only its own.
    ///
    /// # Errors
    /// [`Error::Refused`] for a file that is not locked, or locked by another agent than `agent_id`, and a project or
    /// holder for which the caller may not do it.
    pub async fn release(
        &self,
        caller: &Caller,
        project: &ProjectId,
        path: &str,
        agent_id: Option<String>,
    ) -> Result<(), Error> {
        let agent_id = authorize::release(&caller.authority, project.as_str(), path, agent_id)?;
        let path = normalize_path(path).map_err(|why| Refusal::field("path", why))?;
        let caller = caller.clone();
        let ask = |answer| Command::Release { caller, path, agent_id, answer };
        self.0.file_locks.ask(project.as_str(), ask).await
    }

    /// The holder that the caller may lock for.
    async fn holder(
        &self,
        caller: &Caller,
        project: &ProjectId,
        request: &LockRequest,
    ) -> Result<LockHolder, Error> {
        let (named, bead) = (request.agent_id.clone(), request.bead_id.clone());
        let holder = authorize::hold(&caller.authority, project.as_str(), named, bead)?;
        let is_own = holder.agent_id == authorize::own_name(&caller.authority);
        // A foreign agent is as good as not there.
        let is_known = |agent: &Agent| agent::authorize::read(&caller.authority, agent).is_ok();
        if !is_own && !self.0.store.agent(holder.agent_id.clone()).await?.as_ref().is_some_and(is_known) {
            let detail = format!("no agent has the id {}", holder.agent_id);
            return Err(Refusal::field("agent_id", detail).into());
        }
        Ok(holder)
    }
}

/// Normalizes the paths of a request and removes duplicates.
fn normalized(request: LockRequest, holder: LockHolder) -> Result<CheckedRequest, Refusal> {
    if request.ttl_sec.is_some_and(|ttl| !(MIN_TTL_SEC..=MAX_TTL_SEC).contains(&ttl)) {
        return Err(Refusal::field("ttl_sec", limits::must_be_between(&(MIN_TTL_SEC..=MAX_TTL_SEC))));
    }
    let ttl_sec = request.ttl_sec;
    let Some(paths) = &request.paths else { return Ok(CheckedRequest { paths: None, holder, ttl_sec }) };
    if !(1..=MAX_PATHS).contains(&paths.len()) {
        return Err(Refusal::field("paths", format!("must have 1 to {MAX_PATHS} entries")));
    }
    let (mut normal, mut problems) = (BTreeSet::new(), Vec::new());
    for (place, path) in paths.iter().enumerate() {
        match normalize_path(path) {
            Ok(path) => drop(normal.insert(path)),
            Err(why) => problems.push(FieldProblem::at(&format!("paths/{place}"), why)),
        }
    }
    if problems.is_empty() {
        return Ok(CheckedRequest { paths: Some(normal.into_iter().collect()), holder, ttl_sec });
    }
    Err(Refusal::Invalid(problems))
}

/// Command of the actor for a project's locks.
pub(crate) enum Command {
    Acquire { caller: Caller, request: CheckedRequest, answer: Reply<Vec<FileLock>> },
    Renew { caller: Caller, request: CheckedRequest, answer: Reply<Vec<FileLock>> },
    Release { caller: Caller, path: String, agent_id: Option<String>, answer: Reply<()> },
    Due,
}

/// The actor of one project's locks.
pub(crate) struct FileLocksActor {
    context: BehaviorContext<Self>,
}

impl Behavior for FileLocksActor {
    type Command = Command;
    type Host = FileLocksContext;
    const KIND: ActorKind = ActorKind::FileLocks;

    fn new(context: BehaviorContext<Self>) -> Self {
        Self { context }
    }

    async fn start(&mut self) {
        self.sweep().await;
    }

    async fn handle(&mut self, command: Command) {
        match command {
            Command::Acquire { caller, request, answer } => {
                answer.with(self.acquire(&caller, &request)).await;
            }
            Command::Renew { caller, request, answer } => {
                answer.with(self.renew(&caller, &request)).await;
            }
            Command::Release { caller, path, agent_id, answer } => {
                answer.with(self.release(&caller, &path, agent_id.as_deref())).await;
            }
            Command::Due => {}
        }
        self.sweep().await;
    }
}

impl FileLocksActor {
    async fn locks(&self) -> Result<BTreeMap<String, FileLock>, Error> {
        let locks = self.context.shared.store.file_locks_in(self.context.id.clone()).await?;
        Ok(locks.into_iter().map(|lock| (lock.path.clone(), lock)).collect())
    }

    async fn acquire(&self, caller: &Caller, request: &CheckedRequest) -> Result<Vec<FileLock>, Error> {
        let shared = &self.context.shared;
        retry_on_conflict(async || {
            self.check_bead(&request.holder).await?;
            let held = self.locks().await?;
            let mut unit = caller.unit(shared.clock.now(), "file_locks");
            let ttl_sec = request.ttl_sec.unwrap_or(DEFAULT_TTL_SEC);
            let (mut taken, mut others) = (Vec::new(), Vec::new());
            for path in request.paths.iter().flatten() {
                let present = held.get(path);
                if let Some(lock) = present.filter(|lock| !lock.is_expired(unit.at)) {
                    if !lock.is_held_by(&request.holder) {
                        others.push(lock);
                        continue;
                    }
                    let renewed = lock.renewed(unit.at, Some(ttl_sec));
                    unit.change(Change::RenewFileLock(renewed.clone()));
                    taken.push(renewed);
                    continue;
                }
                if let Some(over) = present {
                    unit.emit(over.released_event(EXPIRED));
                    unit.change(Change::ReleaseFileLock(over.clone()));
                }
                let lock = FileLock {
                    project_id: ProjectId::from_trusted(self.context.id.clone()),
                    path: path.clone(),
                    agent_id: request.holder.agent_id.clone(),
                    bead_id: request.holder.bead_id.clone(),
                    ttl_sec,
                    acquired_at: unit.at,
                    expires_at: unit.at.plus(Duration::from_secs(ttl_sec)),
                };
                unit.emit(lock.acquired_event());
                unit.change(Change::TakeFileLock(lock.clone()));
                taken.push(lock);
            }
            if !others.is_empty() {
                return Err(file_lock::conflict(others).into());
            }
            shared.store.commit(unit).await?;
            Ok(taken)
        })
        .await
    }

    /// A lock for a bead ends with the hold on it, so there has to be one.
    async fn check_bead(&self, holder: &LockHolder) -> Result<(), Error> {
        let Some(id) = &holder.bead_id else { return Ok(()) };
        let bead = self.context.shared.store.bead(id.to_string()).await?;
        let bead = bead.filter(|bead| bead.project_id.as_str() == self.context.id).ok_or_else(|| {
            Refusal::field("bead_id", format!("no bead of project {} has the id {id}", self.context.id))
        })?;
        if bead.status == Status::InProgress && bead.assigned_to.as_deref() == Some(&holder.agent_id) {
            return Ok(());
        }
        let detail = format!("bead {id} is not held by {}: it is {}", holder.agent_id, bead.status);
        Err(Refusal::conflict(ProblemCode::BeadNotHeld, detail).into())
    }

    async fn renew(&self, caller: &Caller, request: &CheckedRequest) -> Result<Vec<FileLock>, Error> {
        let shared = &self.context.shared;
        retry_on_conflict(async || {
            let mut held = self.locks().await?;
            let mut unit = caller.unit(shared.clock.now(), "file_locks");
            held.retain(|_, lock| !lock.is_expired(unit.at));
            let own = |lock: &&FileLock| match &request.holder.bead_id {
                Some(_) => lock.is_held_by(&request.holder),
                None => lock.agent_id == request.holder.agent_id,
            };
            let wanted: Vec<&FileLock> = match &request.paths {
                None => held.values().filter(own).collect(),
                Some(paths) => {
                    let gone = paths.iter().find(|path| !held.contains_key(*path));
                    if let Some(path) = gone {
                        return Err(Refusal::not_found("file lock", path).into());
                    }
                    paths.iter().filter_map(|path| held.get(path)).collect()
                }
            };
            let others: Vec<&FileLock> = wanted.iter().copied().filter(|lock| !own(lock)).collect();
            if !others.is_empty() {
                return Err(file_lock::conflict(others).into());
            }
            let renewed: Vec<_> = wanted.iter().map(|lock| lock.renewed(unit.at, request.ttl_sec)).collect();
            for lock in &renewed {
                unit.change(Change::RenewFileLock(lock.clone()));
            }
            if !unit.is_empty() {
                shared.store.commit(unit).await?;
            }
            Ok(renewed)
        })
        .await
    }

    async fn release(&self, caller: &Caller, path: &str, agent_id: Option<&str>) -> Result<(), Error> {
        let shared = &self.context.shared;
        retry_on_conflict(async || {
            let mut unit = caller.unit(shared.clock.now(), "file_locks");
            let held = self.locks().await?.remove(path).filter(|lock| !lock.is_expired(unit.at));
            let lock = held.ok_or_else(|| Refusal::not_found("file lock", path))?;
            if agent_id.is_some_and(|named| named != lock.agent_id) {
                return Err(file_lock::conflict([&lock]).into());
            }
            unit.emit(lock.released_event(&format!("released by {}", caller.name)));
            unit.change(Change::ReleaseFileLock(lock));
            shared.store.commit(unit).await?;
            Ok(())
        })
        .await
    }

    /// Ends what has run out, and wakes for what does so next.
    async fn sweep(&self) {
        let next = match self.release_expired().await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(project = %self.context.id, %error, "file locks that ran out could not be ended");
                Some(self.context.shared.clock.now().plus(AGAIN))
            }
        };
        self.context.pin.store(next.is_some(), Ordering::Release);
        match next {
            Some(at) => self.context.timers.set(NEXT, at, Command::Due),
            None => self.context.timers.cancel(NEXT),
        }
    }

    async fn release_expired(&self) -> Result<Option<arbiter_core::kernel::time::Timestamp>, Error> {
        let shared = &self.context.shared;
        retry_on_conflict(async || {
            let held = self.locks().await?;
            let mut unit = Caller::system().unit(shared.clock.now(), "file_locks");
            for lock in held.values().filter(|lock| lock.is_expired(unit.at)) {
                unit.events.push(lock.released_event(EXPIRED));
                unit.changes.push(Change::ReleaseFileLock(lock.clone()));
            }
            let at = unit.at;
            if !unit.is_empty() {
                shared.store.commit(unit).await?;
            }
            Ok(held.values().filter(|lock| !lock.is_expired(at)).map(|lock| lock.expires_at).min())
        })
        .await
    }
}
