//! Dependencies of an import: those of parents first, circles left out, missing ends kept.

use crate::base::error::StoreError;
use crate::base::table;
use crate::write::import::{ImportReport, ImportedEdge, Tell};
use crate::write::readiness;
use arbiter_core::bead::edit::affects_readiness;
use arbiter_core::bead::readiness::Gate;
use arbiter_core::kernel::event::NewEvent;
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::BeadId;
use rusqlite::{Connection, params};
use serde_json::json;
use std::collections::{BTreeSet, HashMap};

/// What stands before the type of a dependency that would close a circle.
pub const CYCLIC: &str = "cyclic:";

/// A dependency that an import wants.
pub(crate) struct PendingEdge {
    pub(crate) bead_id: BeadId,
    pub(crate) edge: ImportedEdge,
    /// True if it has an event of its own; that of a new bead tells of all its dependencies.
    pub(crate) is_told: bool,
}

/// Adds them.
pub(crate) fn add(
    connection: &Connection,
    mut wanted: Vec<PendingEdge>,
    seeds: &mut BTreeSet<BeadId>,
    report: &mut ImportReport,
    tell: &mut Tell<'_>,
) -> Result<(), StoreError> {
    wanted.sort_by_key(|one| one.edge.kind != "parent-child");
    let circles = CycleFinder::of(connection, &wanted)?;
    for (at, one) in wanted.iter().enumerate() {
        let PendingEdge { bead_id, edge, is_told } = one;
        let path = circles.paths.get(&at);
        report.cycles.extend(path.cloned());
        // What would close a circle is kept, but holds nobody back.
        let kind = if path.is_some() { format!("{CYCLIC}{}", edge.kind) } else { edge.kind.clone() };
        // A bead of this import is there.
        if *is_told && !table::exists(connection, "beads", bead_id.as_str())? {
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
        if *is_told {
            let project: String = connection
                .prepare_cached("SELECT project_id FROM beads WHERE id = ?1")?
                .query_row([bead_id.as_str()], |row| row.get(0))?;
            let added = NewEvent {
                kind: EventType::BeadDependencyAdded,
                project_id: Some(project),
                subject: bead_id.to_string(),
                data: json!({"depends_on": edge.depends_on, "type": kind}),
            };
            tell(added.into())?;
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
type Arrow = (u32, u32, Option<usize>);

impl CycleFinder {
    fn of(connection: &Connection, wanted: &[PendingEdge]) -> Result<Self, StoreError> {
        let mut numbers = IdInterner::default();
        let mut arrows: Vec<Arrow> = Vec::new();
        for (at, one) in wanted.iter().enumerate().filter(|(_, one)| affects_readiness(&one.edge.kind)) {
            let (from, to) = (one.bead_id.as_str(), one.edge.depends_on.as_str());
            arrows.push((numbers.of(from), numbers.of(to), Some(at)));
        }
        if arrows.is_empty() {
            return Ok(Self { paths: HashMap::new() });
        }
        let mut statement = connection.prepare_cached(
            "SELECT bead_id, depends_on FROM bead_dependencies
             WHERE type IN ('blocks', 'parent-child', 'conditional-blocks', 'waits-for')",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let from = numbers.of(row.get_ref(0)?.as_str().unwrap_or_default());
            let to = numbers.of(row.get_ref(1)?.as_str().unwrap_or_default());
            arrows.push((from, to, None));
        }
        let mut paths = HashMap::new();
        // Each time the newest wanted one of a circle goes, until there is none.
        while let Some(circle) = circle(numbers.names.len(), &arrows) {
            let Some(gone) = circle.iter().filter_map(|arrow| arrow.2).max() else { break };
            let start = circle.iter().position(|arrow| arrow.2 == Some(gone)).unwrap_or(0);
            let mut names: Vec<&str> = Vec::new();
            for step in 0..circle.len() {
                names.push(numbers.name(circle[(start + step) % circle.len()].0));
            }
            names.push(numbers.name(circle[start].0));
            paths.insert(gone, names.join(" → "));
            arrows.retain(|arrow| arrow.2 != Some(gone));
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
fn circle(count: usize, arrows: &[Arrow]) -> Option<Vec<Arrow>> {
    let mut out: Vec<Vec<Arrow>> = vec![Vec::new(); count];
    let mut incoming = vec![0_usize; count];
    for arrow in arrows {
        out[arrow.0 as usize].push(*arrow);
        incoming[arrow.1 as usize] += 1;
    }
    // Whatever nothing leads to lies on no circle.
    let mut free: Vec<usize> = (0..count).filter(|node| incoming[*node] == 0).collect();
    let mut left = count;
    while let Some(node) = free.pop() {
        left -= 1;
        for arrow in &out[node] {
            let to = arrow.1 as usize;
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
    let mut back: Vec<Option<Arrow>> = vec![None; count];
    for arrow in arrows {
        if incoming[arrow.0 as usize] > 0 && incoming[arrow.1 as usize] > 0 {
            back[arrow.1 as usize] = Some(*arrow);
        }
    }
    let start = (0..count).find(|node| incoming[*node] > 0)?;
    let mut seen: HashMap<u32, usize> = HashMap::new();
    let mut way: Vec<Arrow> = Vec::new();
    let mut at = u32::try_from(start).ok()?;
    loop {
        if let Some(first) = seen.get(&at) {
            let mut circle = way.split_off(*first);
            circle.reverse();
            return Some(circle);
        }
        seen.insert(at, way.len());
        let arrow = back[at as usize]?;
        way.push(arrow);
        at = arrow.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_is_found_wherever_it_lies_and_none_where_there_is_none() {
        let arrow = |from, to| (from, to, Some(from as usize));
        assert_eq!(circle(4, &[arrow(0, 1), arrow(1, 2), arrow(0, 2), arrow(3, 0)]), None);
        let found =
            circle(6, &[arrow(0, 1), arrow(1, 2), arrow(2, 3), arrow(3, 1), arrow(3, 4), arrow(5, 0)])
                .unwrap();
        let mut nodes: Vec<u32> = found.iter().map(|arrow| arrow.0).collect();
        for pair in 0..found.len() {
            assert_eq!(found[pair].1, found[(pair + 1) % found.len()].0, "{found:?}");
        }
        nodes.sort_unstable();
        assert_eq!(nodes, [1, 2, 3]);
        assert_eq!(circle(1, &[arrow(0, 0)]).unwrap(), [arrow(0, 0)]);
    }
}
