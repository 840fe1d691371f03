//! Writes the entities of a rebuild into an empty store.

use super::entities::kind_name;
use super::rebuild::{GatheredEntities, MirroredEntity, RebuildError, RebuildReport};
use crate::bridge::log_reader::SEQ_BASE_CURSOR;
use arbiter_core::agent::Agent;
use arbiter_core::bead::Bead;
use arbiter_core::bead::edit::Edge;
use arbiter_core::decision::Decision;
use arbiter_core::kernel::ids::BeadId;
use arbiter_core::kernel::record::Record;
use arbiter_core::kernel::time::Timestamp;
use arbiter_core::project::Project;
use arbiter_core::provider::Provider;
use arbiter_store::{AdoptedMirror, Change, Store, StoreError, Unit, Write};
use arbiter_temporal::codec::names::{Kind, NO_PROJECT};
use serde::de::DeserializeOwned;

/// The most rows of one commit.
const ROWS_PER_COMMIT: usize = 500;

/// Writes all entities, kind by kind, and adopts their workflows.
///
/// # Errors
/// [`RebuildError::Store`].
pub(super) async fn write(
    store: &Store,
    gathered: GatheredEntities,
    now: Timestamp,
) -> Result<RebuildReport, RebuildError> {
    let GatheredEntities { found, lost } = gathered;
    let mut rebuilt = RebuildReport { lost, ..RebuildReport::default() };
    let base = found.iter().map(|one| one.state.seq).max().unwrap_or(0);
    rows::<Project>(store, &found, Kind::Events, Change::Project, now, &mut rebuilt).await?;
    rows::<Provider>(store, &found, Kind::Provider, Change::Provider, now, &mut rebuilt).await?;
    rows::<Agent>(store, &found, Kind::Agent, Change::Agent, now, &mut rebuilt).await?;
    rows::<Bead>(store, &found, Kind::Bead, Change::Bead, now, &mut rebuilt).await?;
    edges(store, &found, now, &mut rebuilt).await?;
    rows::<Decision>(store, &found, Kind::Decision, Change::Decision, now, &mut rebuilt).await?;
    let (_, last) = store.event_bounds().await?;
    let adopted = found.iter().map(|one| AdoptedMirror {
        kind: kind_name(one.kind),
        id: one.id.clone(),
        run_no: one.state.run_no.max(1),
        run_id: one.run_id.clone(),
    });
    let mut unit = Unit::new(now, "system", "rebuild");
    unit.change(Change::MirrorAdopt(adopted.collect()))
        .change(Change::MirrorRead { seq: last, changed: vec![] })
        .change(Change::MoveCursor { name: SEQ_BASE_CURSOR, seq: base });
    store.commit(unit).await?;
    Ok(rebuilt)
}

/// Writes the rows of one kind, many to a commit. A refused row does not affect the others.
async fn rows<R: Record + DeserializeOwned>(
    store: &Store,
    found: &[MirroredEntity],
    kind: Kind,
    change: fn(Write<R>) -> Change,
    now: Timestamp,
    rebuilt: &mut RebuildReport,
) -> Result<(), StoreError> {
    let of_kind = found.iter().filter(|one| one.kind == kind && !one.state.is_gone() && one.id != NO_PROJECT);
    let mut read = Vec::new();
    for one in of_kind {
        match serde_json::from_value::<R>(one.state.record.clone()) {
            Ok(row) => read.push(row),
            Err(error) => rebuilt.lost.push(format!("{} {}: {error}", R::ENTITY, one.id)),
        }
    }
    for chunk in read.chunks(ROWS_PER_COMMIT) {
        let mut unit = Unit::new(now, "system", "rebuild");
        for row in chunk {
            unit.create(row, change);
        }
        if store.commit(unit).await.is_ok() {
            *rebuilt.restored.entry(R::ENTITY).or_default() += chunk.len();
            continue;
        }
        for row in chunk {
            let mut unit = Unit::new(now, "system", "rebuild");
            unit.create(row, change);
            match store.commit(unit).await {
                Ok(_) => *rebuilt.restored.entry(R::ENTITY).or_default() += 1,
                Err(StoreError::Refused(refusal)) => {
                    rebuilt.lost.push(format!("{} {}: {refusal}", R::ENTITY, row.id()));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

async fn edges(
    store: &Store,
    found: &[MirroredEntity],
    now: Timestamp,
    rebuilt: &mut RebuildReport,
) -> Result<(), StoreError> {
    for one in found.iter().filter(|one| one.kind == Kind::Bead) {
        let Some(edges) = one.state.record["dependencies"].as_array() else { continue };
        for edge in edges {
            let (Some(to), Some(kind)) = (edge["depends_on"].as_str(), edge["type"].as_str()) else {
                continue;
            };
            let edge = Edge::new(BeadId::from_trusted(one.id.clone()), BeadId::from_trusted(to), kind);
            let mut unit = Unit::new(now, "system", "rebuild");
            unit.change(Change::AddEdge(edge));
            match store.commit(unit).await {
                Ok(_) => *rebuilt.restored.entry("dependency").or_default() += 1,
                Err(StoreError::Refused(refusal)) => {
                    rebuilt.lost.push(format!("dependency of {} on {to}: {refusal}", one.id));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
