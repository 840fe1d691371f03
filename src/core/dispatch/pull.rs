//! Assignment of beads to agents that pull: by the dispatcher's rules, in the order of their requests.

use crate::agent::{Agent, Kind};
use crate::bead::Bead;
use crate::dispatch::assign::{Load, check_suitability};
use crate::kernel::ids::{BeadId, ProjectId};
use crate::kernel::refusal::Refusal;
use std::collections::BTreeSet;

/// Agent that asks for work.
#[derive(Clone, Copy, Debug)]
pub struct Puller<'a> {
    pub agent: &'a Agent,
    /// Only beads of this project.
    pub project: Option<&'a ProjectId>,
    /// Only beads of these projects.
    pub within: Option<&'a [String]>,
    /// Only beads with all of these tags.
    pub tags: &'a [String],
    /// Beads that were not to be had just now.
    pub refused: &'a BTreeSet<BeadId>,
}

impl Puller<'_> {
    /// Returns whether beads of a project may be given to it.
    pub fn can_pull_from(&self, project: &ProjectId) -> bool {
        let own = self.agent.project_id.as_ref();
        own.is_none_or(|own| own == project)
            && self.project.is_none_or(|wanted| wanted == project)
            && self.within.is_none_or(|within| within.iter().any(|one| one == project.as_str()))
    }

    fn can_take(&self, bead: &Bead) -> bool {
        self.can_pull_from(&bead.project_id)
            && check_suitability(bead, self.agent).is_ok()
            && self.tags.iter().all(|tag| bead.tags.contains(tag))
            && !self.refused.contains(&bead.id)
    }
}

/// Refuses an agent that does not fetch its own work.
///
/// # Errors
/// [`Refusal::Invalid`].
pub fn check_kind(agent: &Agent) -> Result<(), Refusal> {
    if agent.kind == Kind::External {
        return Ok(());
    }
    let detail = format!(
        "agent {} is of kind {} and is given its work; only external ones fetch it",
        agent.id, agent.kind
    );
    Err(Refusal::field("agent_id", detail))
}

/// Gives each seeker, in order, the most urgent bead that it may have; of equally urgent ones that of the project with
/// the least work under way, then the oldest. The answer names seekers by their place.
pub fn assign_pulls(pullers: &[Puller<'_>], mut beads: Vec<Bead>, load: &Load) -> Vec<(usize, BeadId)> {
    let mut load = load.clone();
    let mut served: BTreeSet<&str> = BTreeSet::new();
    let mut assignments = Vec::new();
    for (place, puller) in pullers.iter().enumerate() {
        // An agent with two concurrent requests gets one bead: after that it is no longer free.
        if served.contains(puller.agent.id.as_str()) {
            continue;
        }
        let found = beads
            .iter()
            .enumerate()
            .filter(|(_, bead)| !load.is_closed(&bead.project_id) && puller.can_take(bead))
            .min_by_key(|(_, bead)| (bead.priority, load.active(&bead.project_id), bead.created_at, &bead.id))
            .map(|(found, _)| found);
        if let Some(found) = found {
            let bead = beads.swap_remove(found);
            load.add_active(&bead.project_id, puller.agent);
            served.insert(puller.agent.id.as_str());
            assignments.push((place, bead.id));
        }
    }
    assignments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::edit::NewAgent;
    use crate::bead::edit::NewBead;
    use crate::dispatch::assign::Capacity;
    use crate::kernel::ids::AgentId;
    use crate::kernel::time::Timestamp;

    fn agent(id: &str, role: Option<&str>, project: Option<&str>) -> Agent {
        let new = NewAgent {
            name: id.into(),
            kind: Some(Kind::External),
            role: role.map(str::to_owned),
            project_id: project.map(str::to_owned),
            ..NewAgent::default()
        };
        new.build(AgentId::from_trusted(id), Timestamp::from_millis(0)).unwrap()
    }

    fn bead(id: &str, project: &str, priority: u8, tags: &[&str], created: i64) -> Bead {
        let new = NewBead {
            title: id.into(),
            project_id: project.into(),
            priority: Some(priority),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ..NewBead::default()
        };
        new.build(BeadId::from_trusted(id), Timestamp::from_millis(created)).unwrap().0
    }

    fn puller<'a>(agent: &'a Agent, tags: &'a [String], refused: &'a BTreeSet<BeadId>) -> Puller<'a> {
        Puller { agent, project: None, within: None, tags, refused }
    }

    fn ids(assignments: Vec<(usize, BeadId)>) -> Vec<(usize, String)> {
        assignments.into_iter().map(|(place, id)| (place, id.to_string())).collect()
    }

    #[test]
    fn pulls_prefer_urgency_then_idle_projects_then_age() {
        let (a, b, c) = (agent("a", None, None), agent("b", None, None), agent("c", None, None));
        let none = BTreeSet::new();
        let pullers = [&a, &b, &c].map(|agent| puller(agent, &[], &none));
        let beads = vec![
            bead("old", "p", 2, &[], 1),
            bead("older", "p", 2, &[], 0),
            bead("far", "q", 2, &[], 9),
            bead("now", "p", 1, &[], 9),
        ];
        let assignments = ids(assign_pulls(&pullers, beads, &Load::default()));
        assert_eq!(assignments, [(0, "now".into()), (1, "far".into()), (2, "older".into())]);
    }

    #[test]
    fn pull_filters_by_role_project_tags_and_refusals() {
        let painter = agent("painter", Some("paint"), Some("p"));
        let none = BTreeSet::new();
        let tags = ["red".to_owned()];
        let beads = || {
            vec![
                bead("other-role", "p", 1, &["role:dig"], 0),
                bead("other-project", "q", 1, &["red"], 0),
                bead("plain", "p", 2, &[], 0),
                bead("red", "p", 3, &["red", "role:paint"], 0),
            ]
        };
        assert_eq!(
            ids(assign_pulls(&[puller(&painter, &[], &none)], beads(), &Load::default())),
            [(0, "plain".into())]
        );
        assert_eq!(
            ids(assign_pulls(&[puller(&painter, &tags, &none)], beads(), &Load::default())),
            [(0, "red".into())]
        );
        let refused = BTreeSet::from([BeadId::from_trusted("plain")]);
        assert_eq!(
            ids(assign_pulls(&[puller(&painter, &[], &refused)], beads(), &Load::default())),
            [(0, "red".into())]
        );
        let within = ["q".to_owned()];
        let limited = Puller { within: Some(&within), ..puller(&painter, &[], &none) };
        assert!(assign_pulls(&[limited], beads(), &Load::default()).is_empty());
    }

    #[test]
    fn pull_respects_project_limit_and_one_bead_per_agent() {
        let (a, b) = (agent("a", None, None), agent("b", None, None));
        let none = BTreeSet::new();
        let beads = || vec![bead("one", "p", 2, &[], 0), bead("two", "p", 2, &[], 1)];
        let mut load = Load::default();
        let capacity = Capacity { active: 0, limit: Some(1), parked: None };
        load.projects.insert(ProjectId::from_trusted("p"), capacity);
        let pullers = [&a, &b].map(|agent| puller(agent, &[], &none));
        assert_eq!(ids(assign_pulls(&pullers, beads(), &load)), [(0, "one".into())]);
        let twice = [&a, &a, &b].map(|agent| puller(agent, &[], &none));
        let assignments = ids(assign_pulls(&twice, beads(), &Load::default()));
        assert_eq!(assignments, [(0, "one".into()), (2, "two".into())]);
    }
}
