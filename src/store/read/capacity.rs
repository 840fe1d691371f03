//! Load and waiting time: input of the dispatcher and of the metrics.

use crate::base::error::StoreError;
use crate::base::table;
use crate::read::queries::snapshot;
use crate::store::Store;
use arbiter_core::bead::Bead;
use arbiter_core::dispatch::assign::Load;
use arbiter_core::kernel::ids::{ProjectId, ProviderId};
use arbiter_core::kernel::time::Timestamp;
use rusqlite::Connection;

/// The most kinds of waiting beads that are told apart.
const MAX_GROUPS: u32 = 200;
/// The types of dependencies that an agent makes with a bead it creates.
const SPAWN_EDGE_TYPE: &str = "discovered-from";
/// Chains of created beads are followed so far.
const MAX_CHAIN_LEN: u32 = 64;

/// Beads with equal dispatch-relevant fields.
#[derive(Clone, Debug, PartialEq)]
pub struct WaitingGroup {
    pub bead: Bead,
    pub count: u64,
}

/// Position of a bead in the tree of beads that agents have created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpawnDepth {
    /// Number of ancestors up to and including the one that no agent created.
    pub depth: u32,
    pub children: u32,
    /// Number of direct and indirect descendants of the one that no agent created.
    pub descendants: u32,
}

impl Store {
    /// Returns the load and the capacity of projects and providers.
    pub async fn load(&self) -> Result<Load, StoreError> {
        self.readers.read(|connection| snapshot(connection, load)).await
    }

    /// The projects that have a ready bead, oldest first.
    pub async fn projects_with_work(&self) -> Result<Vec<ProjectId>, StoreError> {
        self.readers.read(projects_with_work).await
    }

    /// Returns the unclaimed beads that became ready before `since`, with the fields that decide their assignment.
    pub async fn waiting(&self, now: Timestamp, since: Timestamp) -> Result<Vec<WaitingGroup>, StoreError> {
        self.readers.read(move |connection| snapshot(connection, |c| waiting(c, now, since))).await
    }

    /// Returns the position of a bead in the tree of beads that agents have created.
    pub async fn spawn_depth(&self, bead: String) -> Result<SpawnDepth, StoreError> {
        self.readers.read(move |connection| snapshot(connection, |c| spawn_depth(c, &bead))).await
    }
}

fn load(connection: &Connection) -> Result<Load, StoreError> {
    let mut load = Load::default();
    let mut statement = connection.prepare_cached(
        "SELECT b.project_id, a.provider_id, count(*) FROM leases l
         JOIN beads b ON b.id = l.bead_id JOIN agents a ON a.id = l.agent_id GROUP BY 1, 2",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let count: u32 = row.get(2)?;
        load.projects.entry(ProjectId::from_trusted(row.get::<_, String>(0)?)).or_default().active += count;
        if let Some(provider) = row.get::<_, Option<String>>(1)? {
            load.providers.entry(ProviderId::from_trusted(provider)).or_default().active += count;
        }
    }
    let mut statement = connection.prepare_cached(
        "SELECT id, max_parallel, coalesce(parked, CASE status WHEN 'closed' THEN 'it is closed' END) FROM projects
         WHERE max_parallel IS NOT NULL OR parked IS NOT NULL OR status = 'closed'",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let capacity = load.projects.entry(ProjectId::from_trusted(row.get::<_, String>(0)?)).or_default();
        (capacity.limit, capacity.parked) = (row.get(1)?, row.get(2)?);
    }
    let mut statement = connection
        .prepare_cached("SELECT id, max_concurrency FROM providers WHERE max_concurrency IS NOT NULL")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        load.providers.entry(ProviderId::from_trusted(row.get::<_, String>(0)?)).or_default().limit =
            row.get(1)?;
    }
    Ok(load)
}

fn projects_with_work(connection: &Connection) -> Result<Vec<ProjectId>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM projects p WHERE EXISTS (SELECT 1 FROM beads b WHERE b.project_id = p.id AND b.ready = 1)
         ORDER BY created_at, id",
    )?;
    let rows = statement.query_map([], |row| Ok(ProjectId::from_trusted(row.get::<_, String>(0)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn waiting(
    connection: &Connection,
    now: Timestamp,
    since: Timestamp,
) -> Result<Vec<WaitingGroup>, StoreError> {
    let role = "SELECT min(t.tag) FROM bead_tags t
                WHERE t.bead_id = b.id AND t.tag >= 'role:' AND t.tag < 'role;'";
    let sql = format!(
        "SELECT min(b.id), count(*) FROM beads b
         WHERE b.ready = 1 AND b.ready_since <= ?2 AND (b.not_before IS NULL OR b.not_before <= ?1)
         GROUP BY b.project_id, b.assigned_to, b.priority = 0 AND b.approval = 'missing', b.type,
                  coalesce(b.next_attempt_at > ?1, 0), ({role})
         ORDER BY 2 DESC, 1 LIMIT {MAX_GROUPS}"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let kinds = statement
        .query_map([now.to_string(), since.to_string()], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?
        .collect::<Result<Vec<_>, _>>()?;
    let mut groups = Vec::with_capacity(kinds.len());
    for (id, count) in kinds {
        if let Some(bead) = table::get::<Bead>(connection, &id)? {
            groups.push(WaitingGroup { bead, count });
        }
    }
    Ok(groups)
}

fn spawn_depth(connection: &Connection, bead: &str) -> Result<SpawnDepth, StoreError> {
    // Only what agents made counts: files may tell of discoveries by others.
    let made = format!("type = '{SPAWN_EDGE_TYPE}' AND created_by IN (SELECT id FROM agents)");
    let (depth, root): (u32, String) = connection
        .prepare_cached(&format!(
            "WITH RECURSIVE up (id, step) AS (
                 SELECT ?1, 0
                 UNION SELECT d.depends_on, up.step + 1 FROM up JOIN bead_dependencies d ON d.bead_id = up.id
                 WHERE d.{made} AND up.step < {MAX_CHAIN_LEN})
             SELECT max(step), id FROM up"
        ))?
        .query_row([bead], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let children = connection
        .prepare_cached(&format!(
            "SELECT count(*) FROM bead_dependencies d WHERE d.depends_on = ?1 AND d.{made}"
        ))?
        .query_row([bead], |row| row.get(0))?;
    let descendants = connection
        .prepare_cached(&format!(
            "WITH RECURSIVE down (id, step) AS (
                 SELECT ?1, 0
                 UNION SELECT d.bead_id, down.step + 1 FROM down JOIN bead_dependencies d ON d.depends_on = down.id
                 WHERE d.{made} AND down.step < {MAX_CHAIN_LEN})
             SELECT count(DISTINCT id) - 1 FROM down"
        ))?
        .query_row([root], |row| row.get(0))?;
    Ok(SpawnDepth { depth, children, descendants })
}
