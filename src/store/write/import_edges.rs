//! Dependencies of an import: those of parents first, circles left out, missing ends kept.

use crate::base::error::StoreError;
use crate::base::table;
use crate::write::import::{EmitFn, ImportReport, ImportedEdge};
use crate::write::readiness;
use arbiter_core::bead::edit::affects_readiness;
use arbiter_core::bead::readiness::Gate;
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::BeadId;
use rusqlite::{Connection, params};
use serde_json::json;
use std::collections::{BTreeSet, HashMap};

/// Prefix of the type of a dependency that would close a cycle.
pub const CYCLIC: &str = "cyclic:";

/// A dependency that an import wants.
pub(crate) struct PendingEdge {
    pub(crate) bead_id: BeadId,
    pub(crate) edge: ImportedEdge,
    /// True if it has an event of its own; the event of a new bead lists all its dependencies.
    pub(crate) has_own_event: bool,
}

/// Adds them.
pub(crate) fn add(
    connection: &Connection,
    mut wanted: Vec<PendingEdge>,
    seeds: &mut BTreeSet<BeadId>,
    report: &mut ImportReport,
    emit: &mut EmitFn<'_>,
) -> Result<(), StoreError> {
    wanted.sort_by_key(|one| one.edge.kind != "parent-child");
    let cycle_finder = CycleFinder::of(connection, &wanted)?;
    for (at, one) in wanted.iter().enumerate() {
        let PendingEdge { bead_id, edge, has_own_event } = one;
        let path = cycle_finder.paths.get(&at);
        report.cycles.extend(path.cloned());
        // An edge that would close a cycle is kept, but does not block.
        let kind = if path.is_some() { format!("{CYCLIC}{}", edge.kind) } else { edge.kind.clone() };
        // A bead of this import is there.
        if *has_own_event && !table::exists(connection, "beads", bead_id.as_str())? {
            continue;
        }
        let added = connection
            .prepare_cached(
                "INSERT OR IGNORE INTO bead_dependencies
                     (bead_id, depends_on, type, created_at, created_by, gate, kept)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                bead_id.as_str(),
                edge.depends_on.as_str(),
                kind,
                edge.created.0.to_string(),
                edge.created.1,
                edge.gate.map(Gate::as_str),
                edge.kept,
            ])?;
        if added == 0 {
            continue;
        }
        if !table::exists(connection, "beads", edge.depends_on.as_str())? {
            report.dangling.push((bead_id.to_string(), edge.depends_on.to_string()));
        }
        if *has_own_event {
            let project: String = connection
                .prepare_cached("SELECT project_id FROM beads WHERE id = ?1")?
                .query_row([bead_id.as_str()], |row| row.get(0))?;
            let added = NewEvent {
                kind: EventType::BeadDependencyAdded,
                project_id: Some(project),
                subject: bead_id.to_string(),
                data: json!({"depends_on": edge.depends_on, "type": kind}),
            };
            emit(added.into())?;
        }
        if affects_readiness(&kind) {
            seeds.insert(bead_id.clone());
            if kind == "parent-child" {
                readiness::waiters(connection, edge.depends_on.as_str(), seeds)?;
            }
        }
    }
    Ok(())
}

/// The wanted dependencies that would close a circle.
struct CycleFinder {
    paths: HashMap<usize, String>,
}

/// A dependency in the graph: from a bead to one it depends on, and its place among the wanted ones.
type GraphEdge = (u32, u32, Option<usize>);

impl CycleFinder {
    fn of(connection: &Connection, wanted: &[PendingEdge]) -> Result<Self, StoreError> {
        let mut interner = IdInterner::default();
        let mut graph_edges: Vec<GraphEdge> = Vec::new();
        for (at, one) in wanted.iter().enumerate().filter(|(_, one)| affects_readiness(&one.edge.kind)) {
            let (from, to) = (one.bead_id.as_str(), one.edge.depends_on.as_str());
            graph_edges.push((interner.of(from), interner.of(to), Some(at)));
        }
        if graph_edges.is_empty() {
            return Ok(Self { paths: HashMap::new() });
        }
        let mut statement = connection.prepare_cached(
            "SELECT bead_id, depends_on FROM bead_dependencies
             WHERE type IN ('blocks', 'parent-child', 'conditional-blocks', 'waits-for')",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let from = interner.of(row.get_ref(0)?.as_str().unwrap_or_default());
            let to = interner.of(row.get_ref(1)?.as_str().unwrap_or_default());
            graph_edges.push((from, to, None));
        }
        let mut paths = HashMap::new();
        // Each time the newest wanted one of a circle goes, until there is none.
        while let Some(cycle) = cycle(interner.names.len(), &graph_edges) {
            let Some(gone) = cycle.iter().filter_map(|graph_edge| graph_edge.2).max() else { break };
            let start = cycle.iter().position(|graph_edge| graph_edge.2 == Some(gone)).unwrap_or(0);
            let mut names: Vec<&str> = Vec::new();
            for step in 0..cycle.len() {
                names.push(interner.name(cycle[(start + step) % cycle.len()].0));
            }
            names.push(interner.name(cycle[start].0));
            paths.insert(gone, names.join(" → "));
            graph_edges.retain(|graph_edge| graph_edge.2 != Some(gone));
        }
        Ok(Self { paths })
    }
}

/// Names as numbers.
#[derive(Default)]
struct IdInterner {
    by_name: HashMap<String, u32>,
    names: Vec<String>,
}

impl IdInterner {
    fn of(&mut self, name: &str) -> u32 {
        if let Some(number) = self.by_name.get(name) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.by_name.insert(name.to_owned(), number);
        self.names.push(name.to_owned());
        number
    }

    fn name(&self, number: u32) -> &str {
        self.names.get(number as usize).map_or("?", String::as_str)
    }
}

/// Some circle of the graph, as its arrows in order.
fn cycle(count: usize, graph_edges: &[GraphEdge]) -> Option<Vec<GraphEdge>> {
    let mut out: Vec<Vec<GraphEdge>> = vec![Vec::new(); count];
    let mut incoming = vec![0_usize; count];
    for graph_edge in graph_edges {
        out[graph_edge.0 as usize].push(*graph_edge);
        incoming[graph_edge.1 as usize] += 1;
    }
    // A node without incoming edges lies on no cycle.
    let mut free: Vec<usize> = (0..count).filter(|node| incoming[*node] == 0).collect();
    let mut left = count;
    while let Some(node) = free.pop() {
        left -= 1;
        for graph_edge in &out[node] {
            let to = graph_edge.1 as usize;
            incoming[to] -= 1;
            if incoming[to] == 0 {
                free.push(to);
            }
        }
    }
    if left == 0 {
        return None;
    }
    // From any node that is left one can go back for ever, since something that is left leads to each.
    let mut back: Vec<Option<GraphEdge>> = vec![None; count];
    for graph_edge in graph_edges {
        if incoming[graph_edge.0 as usize] > 0 && incoming[graph_edge.1 as usize] > 0 {
            back[graph_edge.1 as usize] = Some(*graph_edge);
        }
    }
    let start = (0..count).find(|node| incoming[*node] > 0)?;
    let mut seen: HashMap<u32, usize> = HashMap::new();
    let mut way: Vec<GraphEdge> = Vec::new();
    let mut at = u32::try_from(start).ok()?;
    loop {
        if let Some(first) = seen.get(&at) {
            let mut cycle = way.split_off(*first);
            cycle.reverse();
            return Some(cycle);
        }
        seen.insert(at, way.len());
        let graph_edge = back[at as usize]?;
        way.push(graph_edge);
        at = graph_edge.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycle_is_found_only_where_there_is_one() {
        let graph_edge = |from, to| (from, to, Some(from as usize));
        assert_eq!(cycle(4, &[graph_edge(0, 1), graph_edge(1, 2), graph_edge(0, 2), graph_edge(3, 0)]), None);
        let found = cycle(
            6,
            &[
                graph_edge(0, 1),
                graph_edge(1, 2),
                graph_edge(2, 3),
                graph_edge(3, 1),
                graph_edge(3, 4),
                graph_edge(5, 0),
            ],
        )
        .unwrap();
        let mut nodes: Vec<u32> = found.iter().map(|graph_edge| graph_edge.0).collect();
        for pair in 0..found.len() {
            assert_eq!(found[pair].1, found[(pair + 1) % found.len()].0, "{found:?}");
        }
        nodes.sort_unstable();
        assert_eq!(nodes, [1, 2, 3]);
        assert_eq!(cycle(1, &[graph_edge(0, 0)]).unwrap(), [graph_edge(0, 0)]);
    }
}
