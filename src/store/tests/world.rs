//! Model of the readiness tests: the reference's graph, and the rows that the next commands are decided on.

use crate::reference::Graph;
use crate::rows::{bead, decision, edge};
use arbiter_core::bead::edit::Edge;
use arbiter_core::bead::readiness::{Blocker, BlockingRule, ConditionalMode, Gate};
use arbiter_core::bead::{Attempt, Bead, ClaimContext, Claimant, Command};
use arbiter_core::decision::{self, Decision};
use arbiter_core::kernel::ids::{AgentId, BeadId};
use arbiter_store::{Change, Unit, Write};
use std::collections::{BTreeMap, BTreeSet};

/// Dependency types, those that affect readiness first.
pub const KINDS: [&str; 7] = [
    "blocks",
    "parent-child",
    "conditional-blocks",
    "waits-for",
    "waits-for any",
    "related",
    "discovered-from",
];

/// One thing that is done; beads go by their number.
#[derive(Clone, Debug)]
pub enum GraphOp {
    Create { bead: usize, bead_type: &'static str },
    Change { bead: usize, command: usize },
    Retype { bead: usize, bead_type: &'static str },
    Delete { bead: usize },
    AddDependency { bead: usize, on: usize, kind: &'static str },
    RemoveDependency { bead: usize, on: usize },
    Ask { bead: usize },
    Answer { which: usize, command: usize },
    Shelve { bead: usize },
    BlockingRule { on_failure: bool },
}

/// Expected reason for the store to refuse a unit.
#[derive(Debug, PartialEq)]
pub enum ExpectedRefusal {
    Taken,
    Cycle,
    DuplicateEdge,
    NoSuchEdge,
    NoSuchBead,
}

/// State of the test: the reference's graph, and the rows that commands are decided on.
#[derive(Clone, Default)]
pub struct WorldModel {
    pub graph: Graph,
    pub rows: BTreeMap<String, Bead>,
    decisions: BTreeMap<String, Decision>,
    retired: BTreeSet<String>,
}

fn edge_with_gate(from: &str, to: &str, kind: &str) -> Edge {
    match kind.strip_suffix(" any") {
        Some(kind) => Edge { gate: Some(Gate::AnyChildren), ..edge(from, to, kind) },
        None => edge(from, to, kind),
    }
}

fn name(number: usize) -> String {
    format!("b{number}")
}

impl WorldModel {
    /// Adds one deed to the unit, and to the world as it will be.
    pub fn add(&mut self, graph_op: &GraphOp, unit: &mut Unit) -> Result<(), ExpectedRefusal> {
        match graph_op {
            GraphOp::Create { bead: number, bead_type } => {
                let id = name(*number);
                let row = Bead { bead_type: (*bead_type).into(), ..bead(&id) };
                unit.create(&row, Change::Bead);
                if self.rows.contains_key(&id) || self.retired.contains(&id) {
                    return Err(ExpectedRefusal::Taken);
                }
                self.put(row);
            }
            GraphOp::Change { bead, command } => self.change(&name(*bead), *command, unit),
            GraphOp::Retype { bead, bead_type } => {
                if let Some(row) = self.rows.get(&name(*bead)) {
                    let wanted = Bead { bead_type: (*bead_type).into(), ..row.clone() };
                    self.command(&name(*bead), &Command::Update(Box::new(wanted)), unit);
                }
            }
            GraphOp::Delete { bead } => {
                let id = name(*bead);
                if let Some(row) = self.rows.remove(&id) {
                    while let Some(asked) = self.asked_about(&id) {
                        self.end(&asked, &decision::Command::Cancel { reason: "r".into() }, unit);
                    }
                    self.graph.beads.remove(&id);
                    self.graph.edges.retain(|(from, _), _| *from != id);
                    self.retired.insert(id);
                    unit.change(Change::Bead(Write::Delete { row }));
                }
            }
            GraphOp::AddDependency { bead, on, kind } => {
                let (from, to) = (name(*bead), name(*on));
                if self.rows.contains_key(&from) {
                    unit.change(Change::AddEdge(edge_with_gate(&from, &to, kind)));
                    return self.depend(from, to, kind);
                }
            }
            GraphOp::RemoveDependency { bead, on } => {
                let pair = (name(*bead), name(*on));
                unit.change(Change::RemoveEdge(edge(&pair.0, &pair.1, "blocks")));
                self.graph.edges.remove(&pair).ok_or(ExpectedRefusal::NoSuchEdge)?;
            }
            GraphOp::Ask { bead } => {
                let (id, about) = (format!("d{}", self.decisions.len()), name(*bead));
                if !self.rows.contains_key(&about) {
                    return Ok(());
                }
                let asked = decision(&id, Some(&about));
                unit.create(&asked, Change::Decision);
                self.graph.pending.insert(id.clone(), about);
                self.decisions.insert(id, asked);
            }
            GraphOp::Answer { which, command } => self.answer(*which, *command, unit),
            GraphOp::Shelve { bead } => {
                if let Some(row) = self.rows.get(&name(*bead)) {
                    let shelved = if row.shelved.is_some() { None } else { Some("pinned".to_owned()) };
                    let wanted = Bead { shelved, ..row.clone() };
                    self.command(&name(*bead), &Command::Update(Box::new(wanted)), unit);
                }
            }
            GraphOp::BlockingRule { on_failure } => {
                self.graph.on_failure = *on_failure;
                unit.change(Change::BlockingRule(match on_failure {
                    true => ConditionalMode::OnFailure,
                    false => ConditionalMode::Blocks,
                }));
            }
        }
        Ok(())
    }

    fn put(&mut self, row: Bead) {
        let look = (row.status.to_string(), row.bead_type.clone());
        let id = row.id.to_string();
        match row.close_reason.clone().or(row.block_reason.clone()) {
            Some(reason) => drop(self.graph.reasons.insert(id.clone(), reason)),
            None => drop(self.graph.reasons.remove(&id)),
        }
        match row.shelved.is_some() {
            true => self.graph.shelved.insert(id),
            false => self.graph.shelved.remove(&id),
        };
        self.graph.beads.insert(row.id.to_string(), look);
        self.rows.insert(row.id.to_string(), row);
    }

    fn depend(&mut self, from: String, to: String, kind: &str) -> Result<(), ExpectedRefusal> {
        if !self.rows.contains_key(&to) {
            return Err(ExpectedRefusal::NoSuchBead);
        }
        if from == to || self.graph.closes_cycle(&from, &to, kind) {
            return Err(ExpectedRefusal::Cycle);
        }
        if self.graph.edges.contains_key(&(from.clone(), to.clone())) {
            return Err(ExpectedRefusal::DuplicateEdge);
        }
        self.graph.edges.insert((from, to), kind.to_owned());
        Ok(())
    }

    fn change(&mut self, id: &str, command: usize, unit: &mut Unit) {
        let reason = || "r".to_owned();
        let commands = [
            Command::Claim(Claimant::Agent(AgentId::from_trusted("a"))),
            Command::Release { reason: reason(), attempt: Attempt::NotCounted },
            Command::Block { reason: reason() },
            Command::Unblock { reason: reason() },
            Command::Complete { summary: reason() },
            Command::Close { reason: reason() },
            Command::Reopen,
            Command::Block { reason: "bd:pinned".to_owned() },
            Command::Close { reason: "it failed".to_owned() },
        ];
        self.command(id, &commands[command], unit);
    }

    /// Runs a command if the bead exists and allows it.
    fn command(&mut self, id: &str, command: &Command, unit: &mut Unit) {
        let Some(row) = self.rows.get(id) else { return };
        let pending = self.graph.pending.iter().filter(|(_, bead)| *bead == id);
        let claim_context = ClaimContext {
            waiting_on: self
                .graph
                .waiting_on(id)
                .into_iter()
                .map(|id| Blocker { id: BeadId::from_trusted(id), rule: BlockingRule::Blocks })
                .collect(),
            parent_until: None,
            pending_decisions: pending.map(|(decision, _)| decision.clone()).collect(),
        };
        if let Ok(happenings) = row.decide(command, &claim_context, unit.at) {
            let after = unit.apply(row, &happenings, Change::Bead);
            self.put(after);
        }
    }

    fn answer(&mut self, which: usize, command: usize, unit: &mut Unit) {
        let Some(id) = self.graph.pending.keys().nth(which % self.graph.pending.len().max(1)).cloned() else {
            return;
        };
        let commands = [
            decision::Command::Resolve {
                decision: "yes".into(),
                rationale: None,
                decider_id: "ann".into(),
                context: decision::AnswerContext::default(),
            },
            decision::Command::Expire { subject: None },
            decision::Command::Cancel { reason: "r".into() },
        ];
        self.end(&id, &commands[command], unit);
    }

    fn asked_about(&self, bead: &str) -> Option<String> {
        self.graph.pending.iter().find(|(_, about)| *about == bead).map(|(id, _)| id.clone())
    }

    fn end(&mut self, id: &str, command: &decision::Command, unit: &mut Unit) {
        let row = &self.decisions[id];
        let happenings = row.decide(command, unit.at).unwrap();
        let after = unit.apply(row, &happenings, Change::Decision);
        self.decisions.insert(id.to_owned(), after);
        self.graph.pending.remove(id);
    }
}
