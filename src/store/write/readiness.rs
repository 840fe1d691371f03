//! Keeps `waits`, `ready` and `not_before` true in the transaction of every change that bears on them.

use crate::base::error::StoreError;
use crate::base::unit_of_work::{Change, Write};
use crate::tables::dependencies::{self, Blockers};
use crate::tables::state::readiness_rule;
use arbiter_core::bead::edit::READINESS_TYPES;
use arbiter_core::bead::readiness::{IsWaiting, ReadinessInput, is_ready};
use arbiter_core::bead::{Bead, Status};
use arbiter_core::kernel::ids::BeadId;
use arbiter_core::kernel::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A bead that has just become ready.
pub(crate) struct BecameReady {
    pub(crate) id: BeadId,
    pub(crate) project_id: String,
}

/// Result of refreshing a bead: its readiness before and after.
struct ReadinessDiff {
    project_id: String,
    was_ready: bool,
    ready: bool,
}

/// Columns of a bead's row that a refresh reads.
struct StoredReadiness {
    id: BeadId,
    status: String,
    bead_type: String,
    project_id: String,
    defer_until: Option<String>,
    waits: bool,
    ready: bool,
    not_before: Option<String>,
    shelved: Option<String>,
    pending_decisions: u64,
}

impl StoredReadiness {
    const COLUMNS: &str = "id, status, type, project_id, defer_until, waits, ready, not_before, shelved,
        (SELECT count(*) FROM decisions d WHERE d.bead_id = beads.id AND d.status = 'pending')";

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: BeadId::from_trusted(row.get::<_, String>(0)?),
            status: row.get(1)?,
            bead_type: row.get(2)?,
            project_id: row.get(3)?,
            defer_until: row.get(4)?,
            waits: row.get(5)?,
            ready: row.get(6)?,
            not_before: row.get(7)?,
            shelved: row.get(8)?,
            pending_decisions: row.get(9)?,
        })
    }

    /// Applies the rule and stores what it changes. Returns whether the bead is ready, and whether it waits.
    fn update(
        &self,
        connection: &Connection,
        blockers: Blockers,
        at: Timestamp,
    ) -> Result<(bool, bool), StoreError> {
        let waits = !blockers.waiting_on.is_empty();
        // Times are written so that the later one is the greater text.
        let not_before = self.defer_until.as_ref().max(blockers.parent_until.as_ref());
        let ready = is_ready(ReadinessInput {
            status: Status::parse(&self.status).unwrap_or(Status::Closed),
            bead_type: &self.bead_type,
            shelved: self.shelved.as_deref(),
            waits: if waits { IsWaiting::Yes } else { IsWaiting::No },
            pending_decisions: self.pending_decisions,
        });
        if waits != self.waits || ready != self.ready || not_before != self.not_before.as_ref() {
            connection
                .prepare_cached(
                    "UPDATE beads SET waits = ?2, ready = ?3, not_before = ?4,
                         ready_since = CASE WHEN ?3 THEN coalesce(ready_since, ?5) END
                     WHERE id = ?1",
                )?
                .execute(params![self.id.as_str(), waits, ready, not_before, at.to_string()])?;
        }
        Ok((ready, waits))
    }
}

fn load_stored(connection: &Connection, id: &BeadId) -> Result<Option<StoredReadiness>, StoreError> {
    let columns = StoredReadiness::COLUMNS;
    let mut statement = connection.prepare_cached(&format!("SELECT {columns} FROM beads WHERE id = ?1"))?;
    Ok(statement.query_row([id.as_str()], StoredReadiness::read).optional()?)
}

/// Notes the beads whose readiness a change may touch. Called before and after the change, since a
/// dependency is visible only on one side of its own removal.
pub(crate) fn collect_affected(
    connection: &Connection,
    change: &Change,
    seeds: &mut BTreeSet<BeadId>,
) -> Result<(), StoreError> {
    match change {
        Change::Bead(Write::Insert(bead)) => {
            seeds.insert(bead.id.clone());
        }
        Change::Bead(Write::Update { row, .. } | Write::Delete { row }) => {
            collect_neighbours(connection, row, seeds)?
        }
        Change::AddEdge(edge) | Change::RemoveEdge(edge) => {
            seeds.insert(edge.bead_id.clone());
            // A new or lost child changes what waits for the children of its parent.
            waiters(connection, edge.depends_on.as_str(), seeds)?;
        }
        Change::Decision(
            Write::Insert(decision) | Write::Update { row: decision, .. } | Write::Delete { row: decision },
        ) => seeds.extend(decision.bead_id.clone()),
        Change::BlockingRule(_) => seeds.extend(readiness_rule::affected(connection)?),
        _ => {}
    }
    Ok(())
}

pub(crate) fn collect_neighbours(
    connection: &Connection,
    bead: &Bead,
    seeds: &mut BTreeSet<BeadId>,
) -> Result<(), StoreError> {
    seeds.insert(bead.id.clone());
    seeds.extend(dependencies::dependents(connection, bead.id.as_str())?.into_iter().map(|(id, _)| id));
    for (target, kind) in dependencies::depends_on(connection, bead.id.as_str())? {
        if kind == "parent-child" {
            waiters(connection, target.as_str(), seeds)?;
        }
    }
    Ok(())
}

pub(crate) fn waiters(
    connection: &Connection,
    id: &str,
    seeds: &mut BTreeSet<BeadId>,
) -> Result<(), StoreError> {
    seeds.extend(dependencies::waiters(connection, id)?);
    Ok(())
}

/// Refreshes many new beads: all those with a row id above `last_old`. Those without dependencies in either direction
/// are read at once, the others one by one.
pub(crate) fn refresh_new(
    connection: &Connection,
    last_old: i64,
    mut seeds: BTreeSet<BeadId>,
    at: Timestamp,
) -> Result<Vec<BecameReady>, StoreError> {
    let affecting = READINESS_TYPES.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(", ");
    let mut statement = connection.prepare(&format!(
        "SELECT {} FROM beads WHERE rowid > ?1
             AND NOT EXISTS (SELECT 1 FROM bead_dependencies d
                             WHERE d.bead_id = beads.id AND d.type IN ({affecting}))
         ORDER BY rowid",
        StoredReadiness::COLUMNS
    ))?;
    let free = statement.query_map([last_old], StoredReadiness::read)?;
    let free = free.collect::<Result<Vec<_>, _>>()?;
    let mut newly_ready = Vec::new();
    for one in free {
        let (ready, _) = one.update(connection, Blockers::default(), at)?;
        if ready && !one.ready {
            newly_ready.push(BecameReady { id: one.id, project_id: one.project_id });
        }
    }
    let mut statement = connection.prepare(&format!(
        "SELECT d.bead_id FROM beads b JOIN bead_dependencies d ON d.depends_on = b.id
         WHERE b.rowid > ?1 AND d.type IN ({affecting})"
    ))?;
    let rows = statement.query_map([last_old], |row| Ok(BeadId::from_trusted(row.get::<_, String>(0)?)))?;
    for id in rows {
        seeds.insert(id?);
    }
    newly_ready.extend(refresh(connection, seeds, at)?);
    Ok(newly_ready)
}

/// Recomputes the noted beads and, where `waits` changed, their children. Returns those that are ready and
/// were not: a bead may be looked at before the parent it waits for, and again after it.
pub(crate) fn refresh(
    connection: &Connection,
    seeds: BTreeSet<BeadId>,
    at: Timestamp,
) -> Result<Vec<BecameReady>, StoreError> {
    let mut queue: VecDeque<BeadId> = seeds.into_iter().collect();
    let mut seen: BTreeMap<BeadId, ReadinessDiff> = BTreeMap::new();
    while let Some(id) = queue.pop_front() {
        let Some(before) = load_stored(connection, &id)? else { continue };
        let blockers = dependencies::blockers(connection, &id)?;
        let (ready, waits) = before.update(connection, blockers, at)?;
        if waits != before.waits {
            let children = dependencies::dependents(connection, id.as_str())?;
            queue.extend(children.into_iter().filter(|(_, kind)| kind == "parent-child").map(|(id, _)| id));
        }
        let StoredReadiness { project_id, ready: was_ready, .. } = before;
        seen.entry(id).or_insert(ReadinessDiff { project_id, was_ready, ready }).ready = ready;
    }
    let newly_ready = seen.into_iter().filter(|(_, seen)| seen.ready && !seen.was_ready);
    Ok(newly_ready.map(|(id, seen)| BecameReady { id, project_id: seen.project_id }).collect())
}
