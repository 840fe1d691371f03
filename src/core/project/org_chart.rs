//! Org chart of a project: its roles, their occupants and their reporting lines.
//!
//! Positions are derived and never filled by hand. An agent of the project fills the position of its role, else that of
//! its persona. So the chart cannot disagree with the agents.

use crate::agent::persona;
use crate::agent::{Agent, Status};
use crate::kernel::ids::{AgentId, ProjectId, is_valid_id};
use crate::kernel::limits;
use crate::kernel::problem_code::ProblemCode;
use crate::kernel::refusal::{FieldProblem, Refusal};
use crate::kernel::time::Timestamp;
use crate::project::Project;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The most positions of a chart.
pub const MAX_POSITIONS: usize = 100;
/// The most agents that a position may ask for.
pub const MAX_INSTANCES: u32 = 1000;

/// A role that a project wants to be filled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The role; beads with the tag `role:x` look for it.
    pub role_name: String,
    pub persona_path: Option<String>,
    pub required: bool,
    /// The most agents that fill it; 0: no limit.
    pub max_instances: u32,
    pub reports_to: Option<String>,
}

/// The chart of one project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrgChart {
    pub project_id: ProjectId,
    pub positions: Vec<Position>,
    pub updated_at: Timestamp,
    /// Number of changes; the initial chart of a project is 1.
    pub revision: u64,
}

/// Initial positions of a project: role, required or not, count, and the role it reports to.
const DEFAULT_POSITIONS: [(&str, bool, u32, Option<&str>); 12] = [
    ("ceo", true, 1, None),
    ("product-manager", true, 1, Some("ceo")),
    ("engineering-manager", true, 1, Some("ceo")),
    ("project-manager", false, 1, Some("engineering-manager")),
    ("code-reviewer", false, 0, Some("engineering-manager")),
    ("qa-engineer", true, 0, Some("engineering-manager")),
    ("security-engineer", false, 0, Some("engineering-manager")),
    ("devops-engineer", false, 0, Some("engineering-manager")),
    ("web-designer", false, 0, Some("product-manager")),
    ("documentation-manager", false, 1, Some("product-manager")),
    ("decision-maker", false, 1, Some("ceo")),
    ("housekeeping-bot", false, 1, Some("project-manager")),
];

impl OrgChart {
    /// The chart that a project begins with.
    pub fn default_for(project: &Project) -> Self {
        let positions = DEFAULT_POSITIONS.map(|(role, required, max_instances, reports_to)| Position {
            role_name: role.to_owned(),
            persona_path: Some(format!("{}/{role}", persona::DEFAULT_FOLDER)),
            required,
            max_instances,
            reports_to: reports_to.map(str::to_owned),
        });
        Self {
            project_id: project.id.clone(),
            positions: positions.into(),
            updated_at: project.created_at,
            revision: 1,
        }
    }

    /// The position that an agent fills, if it is one of the project and was not shut down.
    pub fn position_of(&self, agent: &Agent) -> Option<&Position> {
        if agent.project_id.as_ref() != Some(&self.project_id) || agent.status == Status::Shutdown {
            return None;
        }
        let by_role = agent.role.as_deref().and_then(|role| self.position(role));
        by_role.or_else(|| {
            let name = agent.persona_name.as_deref()?;
            let is_it = |position: &&Position| {
                let path = position.persona_path.as_deref();
                path.is_some_and(|path| persona::lookup_names(name).any(|name| name == path))
            };
            self.positions.iter().find(is_it).or_else(|| self.position(name.rsplit('/').next()?))
        })
    }

    /// The position of a role.
    pub fn position(&self, role: &str) -> Option<&Position> {
        self.positions.iter().find(|position| position.role_name == role)
    }

    /// Returns those of `agents` that fill a position.
    pub fn occupants<'a>(&self, role: &str, agents: &'a [Agent]) -> Vec<&'a AgentId> {
        let fills =
            |agent: &&Agent| self.position_of(agent).is_some_and(|position| position.role_name == role);
        agents.iter().filter(fills).map(|agent| &agent.id).collect()
    }

    /// Refuses a position that has more agents than it may have.
    ///
    /// # Errors
    /// [`Refusal::Conflict`].
    pub fn check_instance_limit(&self, role: &str, agents: &[Agent]) -> Result<(), Refusal> {
        let Some(position) = self.position(role).filter(|position| position.max_instances > 0) else {
            return Ok(());
        };
        let occupants = self.occupants(role, agents);
        if occupants.len() <= usize::try_from(position.max_instances).unwrap_or(usize::MAX) {
            return Ok(());
        }
        let ids: Vec<&str> = occupants.iter().map(|id| id.as_str()).collect();
        let detail = format!(
            "the position {role} of project {} may be filled {} times, and would be by {}",
            self.project_id,
            position.max_instances,
            ids.join(", ")
        );
        Err(Refusal::conflict(ProblemCode::PositionFull, detail))
    }

    /// Checks the positions; all problems at once.
    ///
    /// # Errors
    /// [`Refusal::Invalid`].
    pub fn check(&self) -> Result<(), Refusal> {
        let mut problems = Vec::new();
        let mut wrong = |at: String, detail: String| {
            problems.push(FieldProblem { pointer: format!("/positions{at}"), detail });
        };
        if self.positions.len() > MAX_POSITIONS {
            wrong(String::new(), limits::must_have_at_most(MAX_POSITIONS));
        }
        let mut seen = BTreeSet::new();
        for (place, position) in self.positions.iter().enumerate() {
            if !is_valid_id(&position.role_name) {
                wrong(format!("/{place}/role_name"), "must match ^[a-z0-9][a-z0-9._-]{0,63}$".to_owned());
            }
            if !seen.insert(position.role_name.as_str()) {
                wrong(format!("/{place}/role_name"), "must be unique in the chart".to_owned());
            }
            if position.max_instances > MAX_INSTANCES {
                wrong(
                    format!("/{place}/max_instances"),
                    format!("must be between 0 (no limit) and {MAX_INSTANCES}"),
                );
            }
            if let Some(manager) = &position.reports_to {
                if self.position(manager).is_none() {
                    wrong(format!("/{place}/reports_to"), "must be the role of a position".to_owned());
                } else if self.is_own_manager(position) {
                    wrong(
                        format!("/{place}/reports_to"),
                        "must not lead back to the position itself".to_owned(),
                    );
                }
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(Refusal::Invalid(problems)) }
    }

    fn is_own_manager(&self, position: &Position) -> bool {
        let mut manager = position.reports_to.as_deref();
        for _ in 0..=self.positions.len() {
            match manager {
                None => return false,
                Some(role) if role == position.role_name => return true,
                Some(role) => manager = self.position(role).and_then(|next| next.reports_to.as_deref()),
            }
        }
        // A circle above it, which is told of those that are in it.
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Kind;
    use crate::agent::edit::NewAgent;
    use crate::project::edit::NewProject;

    fn chart() -> OrgChart {
        let new = NewProject { name: "P".into(), ..NewProject::default() };
        OrgChart::default_for(&new.build(ProjectId::from_trusted("p"), Timestamp::from_millis(0)).unwrap())
    }

    fn agent(id: &str, role: Option<&str>, persona: Option<&str>) -> Agent {
        let new = NewAgent {
            name: id.into(),
            kind: Some(Kind::External),
            project_id: Some("p".into()),
            role: role.map(str::to_owned),
            persona_name: persona.map(str::to_owned),
            ..NewAgent::default()
        };
        new.build(AgentId::from_trusted(id), Timestamp::from_millis(0)).unwrap()
    }

    #[test]
    fn default_chart_is_valid_and_leads_to_the_ceo() {
        let chart = chart();
        assert!(chart.check().is_ok());
        for position in &chart.positions {
            let mut at = position;
            while let Some(manager) = &at.reports_to {
                at = chart.position(manager).unwrap();
            }
            assert_eq!(at.role_name, "ceo");
        }
    }

    #[test]
    fn position_follows_role_then_persona() {
        let chart = chart();
        let fills = |agent: &Agent| chart.position_of(agent).map(|position| position.role_name.as_str());
        assert_eq!(fills(&agent("a", Some("ceo"), Some("default/qa-engineer"))), Some("ceo"));
        assert_eq!(fills(&agent("a", Some("painter"), Some("default/qa-engineer"))), Some("qa-engineer"));
        assert_eq!(fills(&agent("a", None, Some("qa-engineer"))), Some("qa-engineer"));
        assert_eq!(fills(&agent("a", None, Some("team/ceo"))), Some("ceo"));
        assert_eq!(fills(&agent("a", None, None)), None);
        let gone = Agent { status: Status::Shutdown, ..agent("a", Some("ceo"), None) };
        let elsewhere = Agent { project_id: None, ..agent("a", Some("ceo"), None) };
        assert_eq!((fills(&gone), fills(&elsewhere)), (None, None));
    }

    #[test]
    fn position_over_its_instance_limit_is_refused() {
        let chart = chart();
        let agents = [agent("a", Some("ceo"), None), agent("b", Some("qa-engineer"), None)];
        assert!(chart.check_instance_limit("ceo", &agents).is_ok());
        let more =
            [agents.as_slice(), &[agent("c", None, Some("ceo")), agent("d", Some("qa-engineer"), None)]]
                .concat();
        assert!(chart.check_instance_limit("ceo", &more).unwrap_err().to_string().contains("a, c"));
        assert!(
            chart.check_instance_limit("qa-engineer", &more).is_ok()
                && chart.check_instance_limit("x", &more).is_ok()
        );
    }

    #[test]
    fn invalid_positions_are_reported_by_index() {
        let mut chart = chart();
        chart.positions[0].reports_to = Some("product-manager".into());
        chart.positions[2].role_name = "ceo".into();
        chart.positions[3].reports_to = Some("nobody".into());
        chart.positions[4].max_instances = 1001;
        let Err(Refusal::Invalid(problems)) = chart.check() else { panic!("it is refused") };
        let pointers: Vec<&str> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
        for wanted in [
            "/positions/0/reports_to",
            "/positions/1/reports_to",
            "/positions/2/role_name",
            "/positions/3/reports_to",
            "/positions/4/max_instances",
        ] {
            assert!(pointers.contains(&wanted), "{wanted}: {pointers:?}");
        }
    }
}
