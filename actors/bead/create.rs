//! Creating beads: one, or many of which either all come to be or none.

use crate::bead::{BeadsHandle, detail, edge_event};
use crate::caller::Caller;
use crate::error::Error;
use crate::runtime::random;
use arbiter_core::bead::ClaimContext;
use arbiter_core::bead::edit::{Edge, NewBead};
use arbiter_core::kernel::event_type::EventType;
use arbiter_core::kernel::ids::BeadId;
use arbiter_core::kernel::refusal::Refusal;
use arbiter_store::{BeadDetail, Change, Links, StoreError, Unit};

/// Attempts to generate a free id before a collision is an error.
const ID_TRIES: u32 = 4;
/// The most beads that are created at once.
pub const MAX_BULK: usize = 1_000;

impl BeadsHandle {
    /// Creates a bead with its dependencies.
    ///
    /// # Errors
    /// [`Error::Refused`] for wrong fields, a taken id, unknown beads or a cycle.
    pub async fn create(&self, caller: &Caller, new: NewBead) -> Result<BeadDetail, Error> {
        let mut created = self.create_all(caller, std::slice::from_ref(&new)).await?;
        created.pop().ok_or_else(|| Error::Busy("the store".to_owned()))
    }

    /// Creates beads in one transaction. They may depend on each other in any order, by ids chosen for them.
    ///
    /// # Errors
    /// [`Error::Refused`] when one of them is: with the fields of that one, named by its place in the list.
    pub async fn create_all(&self, caller: &Caller, new: &[NewBead]) -> Result<Vec<BeadDetail>, Error> {
        let now = self.0.clock.now();
        for attempt in 1.. {
            let mut unit = caller.unit(now, "beads");
            let batch = self.add_to(&mut unit, new).await?;
            let committed = match self.0.store.commit(unit).await {
                Ok(committed) => committed,
                // An id that was drawn is drawn again; one that was chosen is the caller's to change.
                Err(StoreError::Refused(Refusal::Exists { id, .. }))
                    if attempt < ID_TRIES
                        && batch.generated_ids.iter().any(|generated_ids| generated_ids.as_str() == id) =>
                {
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let mut details = Vec::with_capacity(batch.beads.len());
            for bead in batch.beads {
                details.push(if batch.has_edges {
                    detail(&self.0.store, bead.id.as_str()).await?
                } else {
                    let is_ready = committed.became_ready.contains(&bead.id);
                    BeadDetail {
                        bead,
                        is_ready,
                        links: Links::default(),
                        claim_context: ClaimContext::default(),
                    }
                });
            }
            return Ok(details);
        }
        Err(Error::Busy("the store".to_owned()))
    }

    /// Adds beads and their dependencies to a unit of work.
    pub(crate) async fn add_to(&self, unit: &mut Unit, new: &[NewBead]) -> Result<AddedBeads, Error> {
        let mut batch =
            AddedBeads { beads: Vec::with_capacity(new.len()), generated_ids: Vec::new(), has_edges: false };
        let mut edges: Vec<(usize, Edge)> = Vec::new();
        for (place, one) in new.iter().enumerate() {
            let of_many =
                |refusal: Refusal| if new.len() == 1 { refusal } else { refusal.within("beads", place) };
            let id = match &one.id {
                Some(text) => {
                    let problem =
                        |e: arbiter_core::kernel::ids::InvalidId| Refusal::field("id", e.to_string());
                    BeadId::parse(text).map_err(|e| of_many(problem(e)))?
                }
                None => {
                    let prefix = self.0.prefixes.of(&self.0.store, &one.project_id).await?;
                    let random = random::bytes16();
                    let id = prefix.map_or_else(
                        || BeadId::from_random(random),
                        |prefix| BeadId::with_prefix(&prefix, random),
                    );
                    batch.generated_ids.push(id.clone());
                    id
                }
            };
            let (bead, wanted) = one.build(id, unit.at).map_err(of_many)?;
            unit.create(&bead, Change::Bead);
            edges.extend(wanted.into_iter().map(|edge| (place, edge)));
            batch.beads.push(bead);
        }
        for (place, edge) in edges {
            let added = edge_event(EventType::BeadDependencyAdded, &batch.beads[place], &edge);
            unit.emit(added).change(Change::AddEdge(edge));
            batch.has_edges = true;
        }
        Ok(batch)
    }
}

/// Beads added to a unit.
pub(crate) struct AddedBeads {
    pub(crate) beads: Vec<arbiter_core::bead::Bead>,
    generated_ids: Vec<BeadId>,
    has_edges: bool,
}
