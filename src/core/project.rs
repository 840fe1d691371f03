//! Projects: what beads and agents belong to.

pub mod authorize;
pub mod edit;
pub mod file_lock;
pub mod org_chart;

use crate::kernel::event_type::EventType;
use crate::kernel::ids::{ProjectId, is_valid_id};
use crate::kernel::limits::{self, count_of};
use crate::kernel::problem_code::ProblemCode;
use crate::kernel::record::{FieldChanges, Record};
use crate::kernel::refusal::{Problems, Refusal};
use crate::kernel::state_machine::StateMachine;
use crate::kernel::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

string_enum! {
    /// State of a project in its lifecycle.
    pub enum Status {
        Open = "open",
        Closed = "closed",
        /// Work goes on again.
        Reopened = "reopened",
    }
}

string_enum! {
    /// Event that moves a project to another state.
    pub enum Trigger {
        Close = "close",
        /// Take it up again.
        Reopen = "reopen",
    }
}

impl StateMachine for Status {
    type Trigger = Trigger;
    const ENTITY: &'static str = "project";
    const TRANSITIONS: &'static [(Self, Trigger, Self)] = &[
        (Self::Open, Trigger::Close, Self::Closed),
        (Self::Reopened, Trigger::Close, Self::Closed),
        (Self::Closed, Trigger::Reopen, Self::Reopened),
    ];
}

string_enum! {
    /// Term of a project: closable or perpetual.
    pub enum ProjectTerm {
        Finite = "finite",
        /// Never closes.
        Perpetual = "perpetual",
    }
}

/// The longest reason of a rest, in bytes.
const MAX_REASON: usize = 4096;
/// The longest prefix of ids, in bytes.
const MAX_PREFIX: usize = 16;

/// A project as the store holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Project {
    pub id: ProjectId,
    pub name: String,
    pub git_repo: Option<String>,
    pub branch: Option<String>,
    pub beads_path: Option<String>,
    /// Prefix of the ids of its new beads; none: `bd`.
    #[serde(default)]
    pub bead_prefix: Option<String>,
    /// Maximum number of its beads in work at once; none: no limit of its own.
    #[serde(default)]
    pub max_parallel: Option<u32>,
    /// Reason why its work is not dispatched at present, if it is parked.
    #[serde(default)]
    pub parked: Option<String>,
    pub context: Map<String, Value>,
    pub status: Status,
    /// A perpetual project never closes.
    pub is_perpetual: bool,
    pub is_sticky: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub closed_at: Option<Timestamp>,
    pub revision: u64,
}

impl Record for Project {
    const ENTITY: &'static str = "project";
    const CREATED: EventType = EventType::ProjectCreated;
    const STATUS_CHANGED: &'static [EventType] = &[EventType::ProjectClosed, EventType::ProjectReopened];
    const UPDATED: EventType = EventType::ProjectUpdated;
    const TELEMETRY: &'static [&'static str] = &[];

    fn id(&self) -> &str {
        self.id.as_str()
    }
    fn project(&self) -> Option<&str> {
        Some(self.id.as_str())
    }
    fn revision(&self) -> u64 {
        self.revision
    }
    fn status_event(&self) -> EventType {
        match self.status {
            Status::Closed => EventType::ProjectClosed,
            Status::Open | Status::Reopened => EventType::ProjectReopened,
        }
    }
    fn touch(&mut self, at: Timestamp) {
        self.revision += 1;
        self.updated_at = at;
    }
}

/// Command to a project.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// End it; refused while work is open.
    Close {
        /// Beads that are not closed.
        open_beads: u64,
    },
    /// Closes it at a person's request although work is open.
    ForceClose { reason: String },
    /// Take it up again.
    Reopen,
    /// Hand out none of its work; what runs goes on.
    Park { reason: String },
    /// Hand out its work again.
    Resume,
    /// Become what `after` says in its plain fields.
    Update(Box<Project>),
}

impl Project {
    /// Returns the field changes that a command causes, or the reason to refuse it.
    pub fn decide(&self, command: &Command, now: Timestamp) -> Result<Vec<FieldChanges>, Refusal> {
        let mut after = self.clone();
        let step = |trigger| self.status.step(self.id.as_str(), trigger);
        let mut reason = None;
        match command {
            Command::Close { open_beads } => {
                after.status = self.step_to_close()?;
                if *open_beads > 0 {
                    let open = count_of(*open_beads, "bead");
                    let verb = if *open_beads == 1 { "is" } else { "are" };
                    let detail = format!("project {} has {open} that {verb} not closed", self.id);
                    return Err(Refusal::conflict(ProblemCode::OpenWork, detail));
                }
                after.closed_at = Some(now);
            }
            Command::ForceClose { reason: why } => {
                after.status = self.step_to_close()?;
                after.closed_at = Some(now);
                reason = Some(why.as_str());
            }
            Command::Reopen => {
                after.status = step(Trigger::Reopen)?;
                after.closed_at = None;
            }
            Command::Park { reason } => {
                if !(1..=MAX_REASON).contains(&reason.trim().len()) {
                    return Err(Refusal::field("reason", limits::must_have_bytes(&(1..=MAX_REASON))));
                }
                after.parked = Some(reason.clone());
            }
            Command::Resume => after.parked = None,
            Command::Update(wanted) => after = wanted.as_ref().clone(),
        }
        let change = FieldChanges::between(self, &after, reason);
        Ok(if change.is_noop() { vec![] } else { vec![change] })
    }

    fn step_to_close(&self) -> Result<Status, Refusal> {
        let closed = self.status.step(self.id.as_str(), Trigger::Close)?;
        if self.is_perpetual {
            let detail = format!("project {} is perpetual and never closes", self.id);
            return Err(Refusal::conflict(ProblemCode::PerpetualProject, detail));
        }
        Ok(closed)
    }
}

/// Longest path or address of a repository, in bytes.
const MAX_PLACE: usize = 4096;

/// Checks a project's own fields and reports all problems at once.
pub fn check(project: &Project) -> Result<(), Refusal> {
    let mut problems = Problems::default();
    problems.require(
        limits::is_name_length(&project.name),
        "name",
        limits::must_have_chars(&limits::NAME_CHARS),
    );
    for (name, value) in
        [("git_repo", &project.git_repo), ("branch", &project.branch), ("beads_path", &project.beads_path)]
    {
        let fits = value.as_ref().is_none_or(|text| text.len() <= MAX_PLACE);
        problems.require(fits, name, limits::must_fit(MAX_PLACE));
    }
    let place_ok = |path: &String| {
        let mut parts = path.split('/');
        parts.next() == Some("")
            && path.ends_with("/.beads")
            && parts.all(|part| !matches!(part, "" | "." | ".."))
    };
    let detail = "must be the absolute path of a directory called .beads";
    problems.require(project.beads_path.as_ref().is_none_or(place_ok), "beads_path", detail);
    let prefix_ok = |prefix: &String| {
        prefix.len() <= MAX_PREFIX && is_valid_id(prefix) && !prefix.contains('.') && !prefix.ends_with('-')
    };
    let detail = format!("must have 1 to {MAX_PREFIX} lower-case letters, digits, - and _");
    problems.require(project.bead_prefix.as_ref().is_none_or(prefix_ok), "bead_prefix", detail);
    problems.require(
        project.max_parallel != Some(0),
        "max_parallel",
        "must be at least 1; park the project instead",
    );
    limits::check_free_form(&mut problems, "context", &project.context);
    problems.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::record::{apply_all, created_event, event, replay};
    use crate::kernel::state_machine::tests::check_exhaustively;

    fn project() -> Project {
        let at = Timestamp::from_millis(0);
        Project {
            id: ProjectId::from_trusted("p"),
            name: "P".into(),
            git_repo: None,
            branch: None,
            beads_path: None,
            bead_prefix: None,
            max_parallel: None,
            parked: None,
            context: Map::new(),
            status: Status::Open,
            is_perpetual: false,
            is_sticky: false,
            created_at: at,
            updated_at: at,
            closed_at: None,
            revision: 1,
        }
    }

    #[test]
    fn transitions_every_pair_is_listed_or_refused() {
        check_exhaustively(Status::ALL, Trigger::ALL);
    }

    #[test]
    fn project_closes_without_open_beads_unless_perpetual() {
        let now = Timestamp::from_millis(9);
        let close = |open_beads| Command::Close { open_beads };
        let open = project();
        assert!(matches!(
            open.decide(&close(1), now),
            Err(Refusal::Conflict { code: ProblemCode::OpenWork, .. })
        ));
        let perpetual = Project { is_perpetual: true, ..project() };
        assert!(perpetual.decide(&close(0), now).is_err());
        let happenings = open.decide(&close(0), now).unwrap();
        let closed = apply_all(&open, &happenings, now);
        assert_eq!((closed.status, closed.closed_at), (Status::Closed, Some(now)));
        let mut log = vec![(Project::CREATED, created_event(&open).data, now)];
        log.extend(happenings.iter().map(|h| (event(&closed, h).kind, event(&closed, h).data, now)));
        assert_eq!(replay(log.iter().map(|(k, d, t)| (*k, d, *t))), Some(closed));
    }
}
