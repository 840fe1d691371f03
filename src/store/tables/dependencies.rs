//! Dependencies between beads: edges, cycles, and what a bead waits for.

use crate::base::error::StoreError;
use crate::base::table;
use crate::tables::beads::Links;
use crate::tables::state::readiness_rule;
use arbiter_core::bead::Status;
use arbiter_core::bead::edit::{Edge, affects_readiness, check_edge_type};
use arbiter_core::bead::readiness::{
    Blocker, ConditionalMode, DependencyTarget, Gate, IsWaiting, blocking_rule,
};
use arbiter_core::kernel::ids::BeadId;
use arbiter_core::kernel::problem_code::ProblemCode;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_core::kernel::time::Timestamp;
use rusqlite::{Connection, Row, params};
use std::collections::{HashMap, HashSet, VecDeque};

/// Adds an edge between two beads that exist. One edge per ordered pair.
pub(crate) fn add(connection: &Connection, edge: &Edge, by: &str, at: Timestamp) -> Result<(), StoreError> {
    check_edge_type(&edge.kind)?;
    if !table::exists(connection, "beads", edge.depends_on.as_str())? {
        let detail = format!("no bead has the id {}", edge.depends_on);
        return Err(Refusal::field("depends_on", detail).into());
    }
    if edge.bead_id == edge.depends_on {
        return Err(Refusal::conflict(ProblemCode::DependencyCycle, "a bead cannot depend on itself").into());
    }
    if affects_readiness(&edge.kind)
        && has_path(connection, &edge.depends_on, &edge.bead_id)?
        && let Some(path) = path(connection, &edge.depends_on, &edge.bead_id)?
    {
        let names: Vec<&str> = std::iter::once(&edge.bead_id).chain(&path).map(BeadId::as_str).collect();
        let detail = format!("the dependency closes a cycle: {}", names.join(" → "));
        return Err(Refusal::conflict(ProblemCode::DependencyCycle, detail).into());
    }
    let added = connection
        .prepare_cached(
            "INSERT OR IGNORE INTO bead_dependencies (bead_id, depends_on, type, created_at, created_by, gate)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            edge.bead_id.as_str(),
            edge.depends_on.as_str(),
            edge.kind,
            at.to_string(),
            by,
            edge.gate.map(Gate::as_str),
        ])?;
    if added == 0 {
        let detail = format!("bead {} depends on {} already", edge.bead_id, edge.depends_on);
        return Err(Refusal::conflict(ProblemCode::DependencyExists, detail).into());
    }
    Ok(())
}

/// Removes an edge.
pub(crate) fn remove(connection: &Connection, edge: &Edge) -> Result<(), StoreError> {
    let removed = connection
        .prepare_cached("DELETE FROM bead_dependencies WHERE bead_id = ?1 AND depends_on = ?2")?
        .execute([edge.bead_id.as_str(), edge.depends_on.as_str()])?;
    if removed == 0 {
        let id = format!("{} → {}", edge.bead_id, edge.depends_on);
        return Err(Refusal::NotFound { entity: "dependency", id }.into());
    }
    Ok(())
}

/// Returns whether there is a way from one bead to another along edges that affect readiness. It is looked for from both ends in
/// turn, and there is none as soon as one of them leads no further: nothing depends on a new bead, however much lies behind
/// the one that it depends on.
fn has_path(connection: &Connection, from: &BeadId, to: &BeadId) -> Result<bool, StoreError> {
    let (mut ahead, mut back) = (Frontier::new(from), Frontier::new(to));
    loop {
        if let Some(found) = ahead.step(to, |at| depends_on(connection, at))? {
            return Ok(found);
        }
        if let Some(found) = back.step(from, |at| dependents(connection, at))? {
            return Ok(found);
        }
    }
}

/// A search from one end.
struct Frontier {
    seen: HashSet<BeadId>,
    queue: VecDeque<BeadId>,
}

impl Frontier {
    fn new(from: &BeadId) -> Self {
        Self { seen: HashSet::from([from.clone()]), queue: VecDeque::from([from.clone()]) }
    }

    /// Looks at the neighbours of one more bead; answers when it has found the goal, or has seen everything.
    fn step(
        &mut self,
        goal: &BeadId,
        neighbours: impl Fn(&str) -> Result<Vec<(BeadId, String)>, StoreError>,
    ) -> Result<Option<bool>, StoreError> {
        let Some(at) = self.queue.pop_front() else { return Ok(Some(false)) };
        for (next, _) in neighbours(at.as_str())?.into_iter().filter(|(_, kind)| affects_readiness(kind)) {
            if next == *goal {
                return Ok(Some(true));
            }
            if self.seen.insert(next.clone()) {
                self.queue.push_back(next);
            }
        }
        Ok(None)
    }
}

/// The way from one bead to another along edges that affect readiness, both ends included.
fn path(connection: &Connection, from: &BeadId, to: &BeadId) -> Result<Option<Vec<BeadId>>, StoreError> {
    let mut came_from: HashMap<BeadId, Option<BeadId>> = HashMap::from([(from.clone(), None)]);
    let mut queue = VecDeque::from([from.clone()]);
    while let Some(at) = queue.pop_front() {
        if at == *to {
            let mut way = vec![at.clone()];
            let mut step = came_from.get(&at).cloned().flatten();
            while let Some(id) = step {
                step = came_from.get(&id).cloned().flatten();
                way.push(id);
            }
            way.reverse();
            return Ok(Some(way));
        }
        for (next, kind) in depends_on(connection, at.as_str())? {
            if affects_readiness(&kind) && !came_from.contains_key(&next) {
                came_from.insert(next.clone(), Some(at.clone()));
                queue.push_back(next);
            }
        }
    }
    Ok(None)
}

/// Returns the beads that a bead depends on, with the type of each edge.
pub(crate) fn depends_on(connection: &Connection, id: &str) -> Result<Vec<(BeadId, String)>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT depends_on, type FROM bead_dependencies WHERE bead_id = ?1 ORDER BY 1")?;
    let rows =
        statement.query_map([id], |row| Ok((BeadId::from_trusted(row.get::<_, String>(0)?), row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns the beads that depend on a bead, with the type of each edge.
pub(crate) fn dependents(connection: &Connection, id: &str) -> Result<Vec<(BeadId, String)>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT bead_id, type FROM bead_dependencies WHERE depends_on = ?1 ORDER BY 1")?;
    let rows =
        statement.query_map([id], |row| Ok((BeadId::from_trusted(row.get::<_, String>(0)?), row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns the beads that wait for the children of a bead. A separate query, since any number of other beads may depend
/// on it.
pub(crate) fn waiters(connection: &Connection, id: &str) -> Result<Vec<BeadId>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT bead_id FROM bead_dependencies WHERE depends_on = ?1 AND type = 'waits-for' ORDER BY 1",
    )?;
    let rows = statement.query_map([id], |row| Ok(BeadId::from_trusted(row.get::<_, String>(0)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The other ends of a bead's edges, sorted by what they mean for it.
pub(crate) fn links(
    connection: &Connection,
    id: &str,
    depends_on: &[(BeadId, String)],
) -> Result<Links, StoreError> {
    let mut links = Links::default();
    for (target, kind) in depends_on {
        match kind.as_str() {
            "parent-child" => links.parent = Some(target.clone()),
            kind if affects_readiness(kind) => links.blocked_by.push(target.clone()),
            _ => links.related_to.push(target.clone()),
        }
    }
    for (source, kind) in dependents(connection, id)? {
        match kind.as_str() {
            "parent-child" => links.children.push(source),
            kind if affects_readiness(kind) => links.blocks.push(source),
            _ => links.related_to.push(source),
        }
    }
    links.related_to.sort();
    links.related_to.dedup();
    Ok(links)
}

/// Result of evaluating a bead's dependencies.
#[derive(Default)]
pub(crate) struct Blockers {
    pub(crate) waiting_on: Vec<Blocker>,
    pub(crate) parent_until: Option<String>,
}

/// Columns of a dependency and of its target, as [`Evaluation::add`] reads them.
const TARGET_COLUMNS: &str = "b.status, b.waits, b.defer_until, coalesce(b.close_reason, b.block_reason)";

/// Evaluates a bead's dependencies.
pub(crate) fn blockers(connection: &Connection, bead: &BeadId) -> Result<Blockers, StoreError> {
    blockers_after(connection, bead, &[], &[])
}

/// Evaluates a bead's dependencies as they are once some are removed and others added.
pub(crate) fn blockers_after(
    connection: &Connection,
    bead: &BeadId,
    add: &[Edge],
    remove: &[Edge],
) -> Result<Blockers, StoreError> {
    let mut evaluation = Evaluation { connection, conditional: None, blockers: Blockers::default() };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT d.depends_on, d.type, d.gate, {TARGET_COLUMNS}
         FROM bead_dependencies d LEFT JOIN beads b ON b.id = d.depends_on
         WHERE d.bead_id = ?1 ORDER BY 1"
    ))?;
    let mut rows = statement.query([bead.as_str()])?;
    while let Some(row) = rows.next()? {
        let (target, kind): (String, String) = (row.get(0)?, row.get(1)?);
        if !remove.iter().any(|edge| edge.depends_on.as_str() == target) {
            evaluation.add(target, kind, row)?;
        }
    }
    let mut statement = connection
        .prepare_cached(&format!("SELECT NULL, NULL, ?2, {TARGET_COLUMNS} FROM beads b WHERE b.id = ?1"))?;
    for edge in add {
        let mut rows =
            statement.query(params![edge.depends_on.as_str(), edge.gate.map(|gate| gate.as_str())])?;
        if let Some(row) = rows.next()? {
            evaluation.add(edge.depends_on.to_string(), edge.kind.clone(), row)?;
        }
    }
    Ok(evaluation.blockers)
}

/// The evaluation of one bead's dependencies, one after the other.
struct Evaluation<'a> {
    connection: &'a Connection,
    /// The meaning of `conditional-blocks`, once it was asked for.
    conditional: Option<ConditionalMode>,
    blockers: Blockers,
}

impl Evaluation<'_> {
    /// Adds a dependency; the row holds its gate and [`TARGET_COLUMNS`] from the third column on.
    fn add(&mut self, target: String, kind: String, row: &Row<'_>) -> Result<(), StoreError> {
        if !affects_readiness(&kind) {
            return Ok(());
        }
        let target = BeadId::from_trusted(target);
        let gate: Option<String> = row.get(2)?;
        let status: Option<String> = row.get(3)?;
        let (open_children, closed_children) = match kind.as_str() {
            "waits-for" => count_children(self.connection, &target)?,
            _ => (0, 0),
        };
        let conditional = match (kind.as_str(), self.conditional) {
            ("conditional-blocks", None) => {
                *self.conditional.insert(readiness_rule::conditional(self.connection)?)
            }
            _ => self.conditional.unwrap_or(ConditionalMode::Blocks),
        };
        if kind == "parent-child" {
            let until = row.get(5)?;
            self.blockers.parent_until = self.blockers.parent_until.take().max(until);
        }
        let seen = DependencyTarget {
            kind,
            gate: gate.and_then(|word| Gate::parse(&word)).unwrap_or(Gate::AllChildren),
            status: status.and_then(|word| Status::parse(&word)),
            reason: row.get(6)?,
            waits: if row.get::<_, Option<bool>>(4)? == Some(true) { IsWaiting::Yes } else { IsWaiting::No },
            open_children,
            closed_children,
        };
        if let Some(rule) = blocking_rule(&seen, conditional) {
            self.blockers.waiting_on.push(Blocker { id: target, rule });
        }
        Ok(())
    }
}

/// Returns the number of open and of closed children of a bead.
fn count_children(connection: &Connection, bead: &BeadId) -> Result<(u64, u64), StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT count(*) FILTER (WHERE c.status <> 'closed'), count(*) FILTER (WHERE c.status = 'closed')
         FROM bead_dependencies d JOIN beads c ON c.id = d.bead_id
         WHERE d.depends_on = ?1 AND d.type = 'parent-child'",
    )?;
    Ok(statement.query_row([bead.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

/// Every edge of a project's beads.
pub(crate) fn of_project(connection: &Connection, project: Option<&str>) -> Result<Vec<Edge>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT d.bead_id, d.depends_on, d.type, d.gate FROM bead_dependencies d JOIN beads b ON b.id = d.bead_id
         WHERE ?1 IS NULL OR b.project_id = ?1 ORDER BY 1, 2",
    )?;
    let rows = statement.query_map([project], |row| {
        Ok(Edge {
            bead_id: BeadId::from_trusted(row.get::<_, String>(0)?),
            depends_on: BeadId::from_trusted(row.get::<_, String>(1)?),
            kind: row.get(2)?,
            gate: row.get::<_, Option<String>>(3)?.and_then(|word| Gate::parse(&word)),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
